"""Retrying what failed: a job, and the address of its launchpad, filled in."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import dagster as dg
import yaml
from pydantic import Field

from astra_models.errors import SelectionError, did_you_mean
from astra_models.rejected import REASONS

__all__ = ["JOB", "LOCATION", "RetryConfig", "launchpad_link", "retry_job"]

JOB = "retry_failed"
LOCATION = "astra_orchestration.definitions"
"""The name of our code location, unless a workspace file gives it another."""


class RetryConfig(dg.Config):
    """What is tried again. Left as it is, all that is listed as failed."""

    pipelines: list[str] = Field(default=[], description="Only these pipelines; all if it is empty")
    reasons: list[str] = Field(
        default=[],
        description=f"Only what is listed for these reasons, of {', '.join(REASONS)}; for any if it is empty",
    )


def retry_job(assets: Sequence[dg.AssetsDefinition], name: str = JOB) -> Any:
    """Make the job that runs pipelines on what failed.

    Parameters
    ----------
    assets : sequence of AssetsDefinition
        Assets made by `pipeline_asset`.
    name : str, optional
        Name of the job.
    """
    known = [asset.key.to_user_string() for asset in assets]

    @dg.config_mapping
    def what_to_retry(val: RetryConfig) -> dict[str, Any]:
        _require_known("pipeline", val.pipelines, known)
        _require_known("reason", val.reasons, REASONS)
        failed = {"rerun": "failed", "reason": ", ".join(val.reasons) or None}
        nothing = {"limit": 0}  # all steps of the job run: Dagster gives no way to leave one out by configuration
        chosen = {name: failed if not val.pipelines or name in val.pipelines else nothing for name in known}
        return {"ops": {name: {"config": config} for name, config in chosen.items()}}

    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*(asset.key for asset in assets)),
        config=what_to_retry,
        description="Run pipelines on what is listed as failed (`astra rejected`), all of it or a part.",
    )


def _require_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise SelectionError(f"{JOB}: there is no {what} {name!r}; {did_you_mean(name, known)}")


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
    return f"../locations/{location}/jobs/{JOB}/playground/setup?" + urlencode({"config": yaml.safe_dump(config)})
