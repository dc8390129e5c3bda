"""Where, in Dagster's UI, what a check found is mended."""

from urllib.parse import urlencode

import yaml

__all__ = ["LOCATION", "RETRY_JOB", "launchpad_link"]

RETRY_JOB = "retry_failed"
LOCATION = "astra_orchestration.definitions"
"""The name of our code location, unless a workspace file gives it another."""


def launchpad_link(pipeline: str | None = None, reason: str | None = None, location: str = LOCATION) -> str:
    """Give the address of the launchpad of `retry_failed`, filled in.

    A run doesn't know by which address people reach the UI. So the address is relative: it is right on every page of
    the UI whose path has two parts, such as ``/assets/corv`` and ``/runs/5f1c``, also behind a path prefix.

    Parameters
    ----------
    pipeline : str, optional
        The only pipeline to run.
    reason : str, optional
        The only reason, as it is in ``rejected_result``.
    location : str, optional
        The name of the code location.
    """
    config = {"pipelines": [pipeline] if pipeline else [], "reasons": [reason] if reason else []}
    return f"../locations/{location}/jobs/{RETRY_JOB}/playground/setup?" + urlencode({"config": yaml.safe_dump(config)})
