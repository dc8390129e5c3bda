"""Retrying what failed: a job."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from astra_models.errors import SelectionError, did_you_mean
from astra_models.rejected import REASONS
from astra_orchestration.checks.links import RETRY_JOB

__all__ = ["RetryConfig", "retry_job"]


class RetryConfig(dg.Config):
    """What is tried again. Left as it is, all that is listed as failed."""

    pipelines: list[str] = Field(default=[], description="Only these pipelines; all if it is empty")
    reasons: list[str] = Field(
        default=[],
        description=f"Only what is listed for these reasons, of {', '.join(REASONS)}; for any if it is empty",
    )


def retry_job(assets: Sequence[dg.AssetsDefinition], name: str = RETRY_JOB) -> Any:
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
            raise SelectionError(f"{RETRY_JOB}: there is no {what} {name!r}; {did_you_mean(name, known)}")
