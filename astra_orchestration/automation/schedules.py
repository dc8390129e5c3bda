"""What runs every night: new spectra first, then every pipeline on what is due."""

from collections.abc import Iterator

import dagster as dg

from astra_models.analysis.recipe import is_set_up
from astra_models.errors import AstraError
from astra_orchestration.assets.pipelines import is_pipeline_asset, pipeline_of
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["nightly_job", "nightly_schedule"]

nightly_job = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.groups("catalogue", "pipelines").materializable(),
    description="Ingest new spectra, then analyse whatever is due.",
)


@dg.schedule(
    job=nightly_job,
    name="nightly_schedule",
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    description="Every night at 04:00 UTC, without pipelines that aren't set up. Off until an operator switches it on: "
    "it takes hours of all that is due.",
)
def nightly_schedule(context: dg.ScheduleEvaluationContext, database: DatabaseResource) -> dg.RunRequest:
    """Ask for a run of all that can be done here."""
    try:
        database.connect()
    except AstraError as error:  # the run is retried, a tick isn't
        context.log.warning(f"all pipelines are asked for, as what is set up can't be told: {error}")
        return dg.RunRequest()
    return dg.RunRequest(asset_selection=list(_can_be_done(context.repository_def)))


def _can_be_done(repository: dg.RepositoryDefinition | None) -> Iterator[dg.AssetKey]:
    assert repository is not None, "Dagster gives it to every tick"
    assets = repository.assets_defs_by_key
    for key in sorted(nightly_job.selection.resolve(repository.asset_graph)):
        asset = assets.get(key)
        if asset is None or not is_pipeline_asset(asset) or is_set_up(pipeline_of(asset)):
            yield key
