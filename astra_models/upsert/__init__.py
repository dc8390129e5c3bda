"""Writing results: one row per spectrum and major.minor version, whatever is given, and no good row lost."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from astra_models.columns.typed import Refusal
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_postgresql
from astra_models.schema.tables import require_tables
from astra_models.upsert.batch import Batch, is_table, make_batch, split_rows
from astra_models.upsert.failures import forget_failures
from astra_models.upsert.plan import plan_for
from astra_models.upsert.postgresql import PostgresqlWriter
from astra_models.upsert.quarantine import (
    ROW_ERRORS,
    is_about_rows,
    record_refusals,
    write_good_rows,
    write_whole,
)
from astra_models.upsert.sqlite import SqliteWriter
from astra_models.upsert.writer import Stored, UpsertReport, Writer, Written

__all__ = ["UpsertReport", "upsert"]

Stores = Callable[[Batch, Stored], None]


def upsert(
    model: Any,
    rows: Iterable[Any],
    *,
    batch_size: int | None = None,
    keep_good: bool = False,
    unchanged: Literal["write", "skip"] = "write",
    extra: Literal["raise", "ignore"] = "raise",
    run_id: str | None = None,
    on_stored: Stores | None = None,
) -> UpsertReport:
    """Write results, replacing those of the same spectrum and major.minor version.

    Each batch is written in a transaction of its own. What happens to a row's columns:

    - the key (``spectrum_pk``, and ``v_astra`` without its patch number) says which row is meant;
    - a new row gets every column that is given, and the column's default where none is;
    - a row that exists keeps ``task_pk`` and ``created``; every other column is overwritten, those that aren't
      given by their defaults; never by another row's value;
    - ``modified`` is the time of the write, whatever is given; ``task_pk`` is the database's to assign;
    - NaN is NULL, infinity is kept; NULL in a column that can't be NULL becomes the column's default.

    Parameters
    ----------
    model : type
        The output model.
    rows : iterable
        Model instances, dicts (keys may differ from row to row, and may be flags), an astropy Table (units are
        converted), a NumPy structured array, or an iterable of these.
    batch_size : int, optional
        Rows per transaction; as many as make a few megabytes if not given.
    keep_good : bool, optional
        Whether a row without any measured value (all columns of the model itself NULL, flags and ``initial_*``
        aside) leaves a stored row that has one as it is.
    unchanged : {"write", "skip"}, optional
        Whether a row that equals the stored one, ``created`` and ``modified`` aside, is written all the same.
    extra : {"raise", "ignore"}, optional
        What to do about columns that the model doesn't have.
    run_id : str, optional
        The run, for the rows that can't be stored.
    on_stored : callable, optional
        Called after each batch with the batch, and ``(task_pk, created)`` by key.

    Returns
    -------
    UpsertReport
        What became of the rows. A row that can't be stored doesn't raise and takes no other along: it is counted as
        rejected and kept in ``rejected_result``. After a connection lost during a COMMIT, rows that were inserted
        may be counted as updated.

    Raises
    ------
    UnknownColumnError
        If rows have a column that the model doesn't have; nothing of that batch is written.
    MissingColumnError
        If rows have a value for a column that the table in this database lacks; nothing of that batch is written.
    ReadOnlyTableError
        If the table isn't as an upsert needs it: a production schema's without the unique key, for example.
    MissingTableError
        If the model's table isn't in the database.
    DatabaseUnavailableError
        If the database can't be reached, or not for too long.
    TransactionInterruptedError
        If a passing failure happened inside a transaction of the caller.
    """
    plan = plan_for(model)
    for name, value, known in (
        ("unchanged", unchanged, ("write", "skip")),
        ("extra", extra, ("raise", "ignore")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} is none of {known}")
    require_tables(model)
    plan = plan_for(model)  # again: only now is the table known
    writer_class = PostgresqlWriter if is_postgresql(model._meta.database) else SqliteWriter
    writer = writer_class(plan, keep_good, unchanged == "skip", returning=on_stored is not None)
    report = UpsertReport()
    parts = split_rows(plan, rows, batch_size or plan.batch_size)

    def prepare(part: Any) -> Batch:
        batch = make_batch(plan, part, extra)
        writer.prepare(batch)
        return batch

    for batch, seconds in _one_ahead(prepare, parts) if is_table(rows) else _one_by_one(prepare, parts):
        started = time.monotonic()
        counts, stored = _write(writer, batch, run_id)
        report += replace(counts, seconds=seconds + time.monotonic() - started)
        if on_stored is not None:
            on_stored(batch, stored)
    return report


def _one_by_one(prepare: Callable[[Any], Batch], parts: Iterable[Any]) -> Iterator[tuple[Batch, float]]:
    """Prepare each part when it is asked for; gives also the seconds that it took."""
    for part in parts:
        started = time.monotonic()
        batch = prepare(part)
        yield batch, time.monotonic() - started


def _one_ahead(prepare: Callable[[Any], Batch], parts: Iterable[Any]) -> Iterator[tuple[Batch, float]]:
    """Prepare each part while the one before it is being written; gives also the seconds that were waited for it."""
    batches = map(prepare, parts)
    with ThreadPoolExecutor(1, "astra-upsert") as thread:
        upcoming = thread.submit(next, batches, None)
        while True:
            started = time.monotonic()
            batch = upcoming.result()
            if batch is None:
                return
            upcoming = thread.submit(next, batches, None)
            yield batch, time.monotonic() - started


def _write(writer: Writer, batch: Batch, run_id: str | None) -> tuple[UpsertReport, Stored]:
    """Write a batch in a transaction of its own; if the database refuses it, in another one without the bad rows."""

    def transaction(write: Callable[[Writer, Batch], tuple[Written, list[Refusal]]]) -> tuple[UpsertReport, Stored]:
        written, refusals = write(writer, batch)
        forget_failures(batch)
        reasons = record_refusals(batch, refusals, run_id)
        report = UpsertReport(
            inserted=written.inserted,
            updated=written.updated,
            unchanged=written.unchanged,
            kept=written.kept,
            rejected=len(refusals),
            superseded=batch.superseded,
            reasons=reasons,
        )
        return report, written.stored

    try:
        return run_transaction(writer.database, partial(transaction, write_whole))
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return run_transaction(writer.database, partial(transaction, write_good_rows))
