"""Requesting runs of the pipelines that a new version of Astra makes due.

The installed version is compared with the versions in the tables, and with that of each asset's latest full
materialization. There is no cursor: a change is seen whenever it happened. Run keys name version and attempt, so that
a failed run is requested again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from astra_models.analysis.due import DueReason, newest_version, why_version_is_due
from astra_models.pipeline import PipelineOutputMixin
from astra_models.version import installed_v_astra, version_integer_to_string
from astra_orchestration.assets.pipelines import all_pipeline_assets, output_models
from astra_orchestration.resources.database import DatabaseResource

__all__ = ["MOST_ATTEMPTS", "astra_version_sensor", "version_sensor"]

MOST_ATTEMPTS = 3
VERSION_TAG = "astra/version"
ATTEMPT_TAG = "astra/attempt"
CHANGE_TAG = "astra/change"
CHANGES = {
    DueReason.older_patch: "patch: rows are updated in place",
    DueReason.missing: "minor or major: new rows",
}
MATERIALIZATIONS_READ = 20


@dataclass(frozen=True)
class Holding:
    """What is stored of a pipeline.

    Attributes
    ----------
    key : AssetKey
        The pipeline's asset.
    newest : int or None
        The newest version in its table, as ``v_astra``; None if the table is empty or not there.
    materialized : int or None
        The version of the latest materialization that wasn't narrowed to some spectra.
    """

    key: dg.AssetKey
    newest: int | None
    materialized: int | None

    @property
    def latest(self) -> int:
        """The newer one of both versions; 0 if there is none."""
        return max(self.newest or 0, self.materialized or 0)

    def why_due(self, installed: int) -> DueReason | None:
        """Say why the pipeline is due at the installed version; None if it isn't, or nobody has run it yet.

        Some results may be there already, from a run of a few spectra. A rollback makes nothing due.
        """
        if self.newest is None or self.latest > installed:
            return None
        return why_version_is_due(self.newest if self.materialized is None else self.materialized, installed)


def version_sensor(assets: Sequence[dg.AssetsDefinition], name: str = "astra_version_sensor") -> dg.SensorDefinition:
    """Make a sensor that watches the tables of some pipelines.

    Parameters
    ----------
    assets : sequence of AssetsDefinition
        Assets made by `pipeline_asset`.
    name : str, optional
        Name of the sensor.
    """
    models = output_models(assets)

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*models),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="A patch release updates rows in place, any other adds new ones, an older version does nothing.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.RunRequest | dg.SkipReason:
        database.connect()
        return _decide(context.instance, _holdings(context.instance, models), installed_v_astra())

    return sensor


def _holdings(instance: dg.DagsterInstance, models: Mapping[dg.AssetKey, type[PipelineOutputMixin]]) -> list[Holding]:
    return [
        Holding(key, newest_version(model) if model.table_exists() else None, _materialized(instance, key))
        for key, model in models.items()
    ]


def _materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> int | None:
    for record in instance.fetch_materializations(key, limit=MATERIALIZATIONS_READ).records:
        materialization = record.asset_materialization
        values = {name: entry.value for name, entry in materialization.metadata.items()} if materialization else {}
        version = values.get("v_astra")
        if isinstance(version, int) and not values.get("narrowed"):
            return version
    return None


def _decide(instance: dg.DagsterInstance, holdings: Sequence[Holding], installed: int) -> dg.RunRequest | dg.SkipReason:
    version = version_integer_to_string(installed)
    due = {holding.key: why for holding in holdings if (why := holding.why_due(installed)) is not None}
    if not due:
        return dg.SkipReason(_why_nothing(holdings, installed))
    runs = instance.get_runs(dg.RunsFilter(tags={VERSION_TAG: version}))
    if refusal := _why_not_again(runs, version):
        return dg.SkipReason(refusal)
    attempt = _attempts(runs) + 1
    return dg.RunRequest(
        run_key=f"{version}:{attempt}",
        asset_selection=list(due),
        tags={VERSION_TAG: version, ATTEMPT_TAG: str(attempt), CHANGE_TAG: _change(due.values())},
    )


def _why_nothing(holdings: Sequence[Holding], installed: int) -> str:
    version = version_integer_to_string(installed)
    ahead = [
        f"{holding.key.to_user_string()} ({version_integer_to_string(holding.latest)})"
        for holding in holdings
        if holding.latest > installed
    ]
    if ahead:
        return (
            f"{version} is installed, which is older than the results of {', '.join(ahead)}: nothing is asked for "
            'after a rollback; to replace those results, launch a run with rerun: "all"'
        )
    if all(holding.newest is None for holding in holdings):
        return "the tables have no results yet: materialize the pipelines once"
    return f"all tables are at version {version}"


def _why_not_again(runs: Sequence[dg.DagsterRun], version: str) -> str | None:
    """Say why there is to be no further attempt; `runs` are the version's, the latest first."""
    if not runs:
        return None
    latest = runs[0]
    if not latest.is_finished:
        return f"the run {latest.run_id} for version {version} is under way"
    if latest.is_success:
        return f"the run {latest.run_id} for version {version} succeeded"
    if latest.status == dg.DagsterRunStatus.CANCELED:
        return f"the run {latest.run_id} for version {version} was cancelled: re-execute it when it is wanted"
    if _attempts(runs) >= MOST_ATTEMPTS:
        return (
            f"{MOST_ATTEMPTS} runs for version {version} failed, the last of them {latest.run_id}: mend the cause, "
            "then re-execute it"
        )
    return None


def _attempts(runs: Sequence[dg.DagsterRun]) -> int:
    return max((int(run.tags.get(ATTEMPT_TAG, 1)) for run in runs), default=0)


def _change(reasons: Iterable[DueReason]) -> str:
    return "; ".join(sorted({CHANGES[reason] for reason in reasons}))


astra_version_sensor = version_sensor(all_pipeline_assets())
