"""How far a survey is, and everything about one star."""

from astra_models.status.survey import (
    FileStatus,
    Status,
    VersionStatus,
    major_minor,
    result_models,
    survey_status,
)

__all__ = [
    "FileStatus",
    "Status",
    "VersionStatus",
    "major_minor",
    "result_models",
    "survey_status",
]
