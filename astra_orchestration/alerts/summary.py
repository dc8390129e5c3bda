"""What happened in a period: per pipeline done, due and rejected, and which runs failed."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import dagster as dg

from astra_models.messages import error_text, storable
from astra_orchestration.alerts.secrets import without_secrets
from astra_orchestration.alerts.settings import AlertSettings
from astra_orchestration.alerts.text import Alert

__all__ = ["summary_alert"]

MOST_LISTED = 20
COLUMNS = ("pipeline", "runs", "done", "due", "rejected", "not ended")


def summary_alert(
    instance: dg.DagsterInstance, connect: Callable[[], object], period: str, settings: AlertSettings
) -> Alert:
    """Write the summary of a period. If the database can't be read, it says so.

    Parameters
    ----------
    instance : DagsterInstance
        Dagster's records, for the runs that failed.
    connect : callable
        Binds the models to the database of results, and makes sure that it has the table of runs.
    period : str
        Its beginning and end in seconds since 1970, with a colon between them.
    settings : AlertSettings
        Where the UI is.
    """
    since, until = (datetime.fromtimestamp(float(part), UTC) for part in period.split(":"))
    try:
        lines = _pipelines(connect, since, until)
        trouble = ""
    except Exception as error:  # a summary is due also when the database is down: that is what it has to tell
        lines = []
        trouble = without_secrets(f"the database can't be read: {error_text(error, 400)}")
    failed = _failed(instance, since, until, settings)
    done = "" if trouble else f"{sum(int(line.split()[1]) for line in lines[1:])} runs of pipelines, "
    return Alert(
        kind="summary",
        subject=f"{done}{len(failed) or 'no'} failed runs since {since:%Y-%m-%d %H:%M} UTC",
        what=f"the summary from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC",
        why=trouble,
        what_to_do="see to the database" if trouble else ("see to the failed runs" if failed else ""),
        url=f"{settings.ui}/runs",
        table=[*(lines or ([] if trouble else ["no pipeline ran"])), "", *(failed or ["no run failed"])],
    )


def _pipelines(connect: Callable[[], object], since: datetime, until: datetime) -> list[str]:
    import peewee

    from astra_models import base
    from astra_models.database.retry import run_transaction
    from astra_models.database.sql import rows_of
    from astra_models.pipeline_run import PipelineRun as Run

    connect()
    ended = Run.ended.is_null(False)
    at = peewee.fn.COALESCE(Run.ended, Run.started)
    sums = [peewee.fn.COALESCE(peewee.fn.SUM(getattr(Run, name)), 0) for name in ("answered", "due", "rejected")]
    open_ = peewee.fn.SUM(peewee.Case(None, [(ended, 0)], 1))
    query = (
        Run.select(Run.pipeline, peewee.fn.COUNT(Run.pk), *sums, open_)
        .where((at > since) & (at <= until))
        .group_by(Run.pipeline)
        .order_by(Run.pipeline)
    )
    rows = run_transaction(base.database, lambda: rows_of(query))
    return _table([COLUMNS, *rows]) if rows else []


def _table(rows: Iterable[Iterable[object]]) -> list[str]:
    shown = [[storable(str(cell), 40) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in shown
    ]


def _failed(instance: dg.DagsterInstance, since: datetime, until: datetime, settings: AlertSettings) -> list[str]:
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since, updated_before=until)
    runs = instance.get_runs(wanted, limit=MOST_LISTED + 1)
    lines = []
    for run in runs[:MOST_LISTED]:
        keys = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
        lines.append(f"failed: {storable(keys, 80)}  {settings.page_of(run.run_id)}")
    return [*lines, "and more"] if len(runs) > MOST_LISTED else lines
