"""Which spectra a run takes up: a word for the launchpad and the command line."""

from enum import StrEnum

__all__ = ["Rerun"]


class Rerun(StrEnum):
    """What is due, only what failed, or everything again."""

    due = "due"
    failed = "failed"
    all = "all"
