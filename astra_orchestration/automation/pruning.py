"""Deleting old runs from Dagster's records: it keeps each for ever, on SQLite as a file of a quarter of a megabyte.

Kept, however old, are runs that haven't ended, and the latest materialization of each asset: without it the UI would
say that the asset was never made. Results and the table ``pipeline_run`` aren't touched.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

__all__ = ["KEEP_DAYS", "prune_runs", "prune_runs_job", "prune_runs_schedule"]

KEEP_DAYS = 180
PAGE = 1000
AT_ONCE = 100
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


class PruneConfig(dg.Config):
    """How long runs are kept."""

    keep_days: int = Field(default=KEEP_DAYS, ge=1, description="Runs that ended earlier are deleted with their events")


def prune_runs(instance: dg.DagsterInstance, keep_days: int = KEEP_DAYS) -> int:
    """Delete runs that ended long ago, with their events and logs.

    Parameters
    ----------
    instance : DagsterInstance
        Dagster's records.
    keep_days : int, optional
        Runs are kept for so long after their end.

    Returns
    -------
    int
        How many were deleted.
    """
    before = datetime.now(UTC) - timedelta(days=keep_days)
    kept = _latest_of_assets(instance)
    old = [run_id for run_id in _ended_before(instance, before) if run_id not in kept]
    for first in range(0, len(old), AT_ONCE):
        _delete(instance, old[first : first + AT_ONCE])
    return len(old)


def _latest_of_assets(instance: dg.DagsterInstance) -> set[str]:
    found = set()
    for record in instance.get_asset_records():
        latest = record.asset_entry.last_materialization_record
        if latest is not None:
            found.add(latest.run_id)
    return found


def _ended_before(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    """Give the ids of runs that ended before a time."""
    wanted = dg.RunsFilter(statuses=ENDED, updated_before=before)
    found: list[str] = []
    while page := instance.get_run_ids(wanted, limit=PAGE, cursor=found[-1] if found else None):
        found += page
    return found


def _delete(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    # Only here: SQLAlchemy and Alembic would cost every import of the definitions.
    from dagster._core.storage.event_log import SqliteEventLogStorage

    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        # `delete_run` would open the file of each run's events to empty it, and leave it there.
        with storage.index_connection() as index:
            for run_id in run_ids:
                storage.delete_events_for_run(index, run_id)
    for run_id in run_ids:
        if isinstance(storage, SqliteEventLogStorage):
            instance.run_storage.delete_run(run_id)
            path = Path(storage.path_for_shard(run_id))
            for end in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        else:
            instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])


@dg.op(name="delete_old_runs")
def _prune(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    deleted = prune_runs(context.instance, config.keep_days)
    context.log.info(f"{deleted} runs that ended more than {config.keep_days} days ago are deleted")


@dg.job(name="prune_runs", description="Delete old runs, their events and logs from Dagster's records; results stay.")
def prune_runs_job() -> None:
    """Delete old runs."""
    _prune()


prune_runs_schedule = dg.ScheduleDefinition(
    name="prune_runs_schedule",
    job=prune_runs_job,
    cron_schedule="30 12 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every day at 12:30 UTC: deletes runs that ended more than {KEEP_DAYS} days ago.",
)
