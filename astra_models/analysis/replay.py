"""Storing refused rows again, once the cause is mended.

A row of which some value was kept as a description only stays in the list: stored, the description would become data.
"""

from dataclasses import dataclass

import peewee

from astra_models.base import database
from astra_models.columns.payload import Restored, payload_from_json
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_postgresql
from astra_models.errors import InexactPayloadError, NothingRejectedError, SelectionError
from astra_models.outputs import output_model_named
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import CONTRACT, REFUSED, RejectedResult
from astra_models.schema.tables import require_tables
from astra_models.upsert import UpsertReport, upsert

ROWS_PER_TRANSACTION = 500


@dataclass(frozen=True)
class ReplayReport(UpsertReport):
    """What became of refused rows that were tried again.

    Parameters
    ----------
    left : int
        Rows that weren't tried, because some value of them was kept as a description only; they stay listed.
    """

    left: int = 0


def replay(run_id: str | None = None) -> ReplayReport:
    """Upsert refused rows again, each at the version that it was made with.

    A batch is deleted from ``rejected_result`` in the transaction that stores it; rows that are refused again are
    listed again. A stored row of a newer patch isn't replaced.

    Parameters
    ----------
    run_id : str, optional
        The run whose rows to try: its id, or how the id begins; all runs if not given.

    Returns
    -------
    ReplayReport
        What became of the rows.

    Raises
    ------
    NothingRejectedError
        If there is nothing to try.
    """
    require_tables(RejectedResult)
    last = _refused(run_id).select(peewee.fn.MAX(RejectedResult.pk)).scalar()
    if last is None:
        raise NothingRejectedError(f"no refused rows {_of_run(run_id)}; `astra rejected` lists what there is")
    report, left, after = UpsertReport(), 0, 0
    while after < last:
        some, n_left, after = run_transaction(database, lambda after=after: _replay_some(run_id, after, last))
        report, left = report + some, left + n_left
    return ReplayReport(**vars(report), left=left)


def discard(run_id: str | None = None) -> int:
    """Delete refused rows for good, and results that weren't asked for.

    Returns
    -------
    int
        How many.

    Raises
    ------
    NothingRejectedError
        If there are none.
    """
    require_tables(RejectedResult)
    condition = _condition(run_id, (REFUSED, CONTRACT))
    deleted = run_transaction(database, RejectedResult.delete().where(condition).execute)
    if not deleted:
        raise NothingRejectedError(f"no refused rows {_of_run(run_id)}; `astra rejected` lists what there is")
    return deleted


def _replay_some(run_id: str | None, after: int, last: int) -> tuple[UpsertReport, int, int]:
    """Delete some rows from the list and upsert them, in the open transaction.

    What became of them is given, how many couldn't be tried, and the last key of all of these.
    """
    query = _refused(run_id).where(RejectedResult.pk > after, RejectedResult.pk <= last)
    query = query.order_by(RejectedResult.pk).limit(ROWS_PER_TRANSACTION)
    if is_postgresql(database):
        query = query.for_update(skip_locked=True)
    rejected = list(query)
    if not rejected:
        return UpsertReport(), 0, last
    rows = {row.pk: _row_of(row) for row in rejected}
    tried = [row for row in rejected if rows[row.pk] is not None]
    RejectedResult.delete().where(RejectedResult.pk.in_([row.pk for row in tried])).execute()
    report = UpsertReport()
    groups: dict[tuple[str, str | None], list[dict[str, Restored] | None]] = {}
    for row in tried:
        groups.setdefault((row.model, row.run_id), []).append(rows[row.pk])
    for (model_name, run), some in groups.items():
        report += upsert(_output_model(model_name), some, extra="ignore", run_id=run)
    return report, len(rejected) - len(tried), rejected[-1].pk


def _row_of(rejected: RejectedResult) -> dict[str, Restored] | None:
    """Give the row that was refused, or None if not all of it was kept."""
    try:
        row = payload_from_json(rejected.payload)
    except InexactPayloadError:
        return None
    if list(row) == ["row"]:  # what was given was no row at all
        return None
    row["v_astra"] = row.get("v_astra") or rejected.v_astra
    return row


def _refused(run_id: str | None) -> "peewee.ModelSelect[RejectedResult]":
    return RejectedResult.select().where(_condition(run_id))


def _condition(run_id: str | None, reasons: tuple[str, ...] = (REFUSED,)) -> peewee.Expression:
    refused = RejectedResult.reason.in_(reasons) & RejectedResult.payload.is_null(False)
    return refused if run_id is None else refused & RejectedResult.run_id.startswith(run_id)


def _of_run(run_id: str | None) -> str:
    return "are listed" if run_id is None else f"of run {run_id} are listed"


def _output_model(name: str) -> type[PipelineOutputMixin]:
    try:
        return output_model_named(name)
    except SelectionError as error:
        raise NothingRejectedError(f"rows of {name} were refused, but {error}") from error
