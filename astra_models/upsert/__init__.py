"""Writing results: one row per spectrum and major.minor version, whatever is given, and no good row lost."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from astra_models.base import BaseModel
from astra_models.database.sql import is_postgresql
from astra_models.schema.tables import require_tables
from astra_models.upsert.batch import Batch, make_batch
from astra_models.upsert.given import is_table, split_rows
from astra_models.upsert.merging import split_by_columns
from astra_models.upsert.plan import Existing, Rules, Unchanged, plan_for
from astra_models.upsert.postgresql import PostgresqlWriter
from astra_models.upsert.sqlite import SqliteWriter
from astra_models.upsert.writer import Stored, UpsertReport, Writer
from astra_models.upsert.writers import Writers, one_at_a_time, span_of, useful_writers
from astra_models.upsert.writing import write_batch

if TYPE_CHECKING:
    from astra_models.upsert.given import Given, Table

__all__ = ["UpsertReport", "upsert"]

Extra = Literal["raise", "ignore"]


def upsert(
    model: type[BaseModel],
    rows: "Iterable[object] | Table",
    *,
    batch_size: int | None = None,
    existing: Existing = "newest",
    keep_good: bool = False,
    unchanged: Unchanged = "write",
    extra: Extra = "raise",
    run_id: str | None = None,
    on_stored: Callable[[Batch, Stored], None] | None = None,
    before_write: Callable[[Batch], None] | None = None,
    writers: int = 1,
) -> UpsertReport:
    """Write results, replacing those of the same spectrum and major.minor version.

    Each batch is written in a transaction of its own. What happens to a row's columns:

    - the key (``spectrum_pk``, and ``v_astra`` without its patch number) says which row is meant;
    - a new row gets the values that are given, and the defaults of the other columns;
    - an existing row keeps ``task_pk`` and ``created``; all its other columns are overwritten, by their defaults
      where no value is given, unless `existing` says otherwise;
    - ``modified`` is the time of the write, whatever is given; the database assigns ``task_pk``;
    - NaN becomes NULL, infinity is kept; NULL becomes the default in a column that can't be NULL.

    Parameters
    ----------
    model : type
        The output model.
    rows : iterable
        Model instances, dicts (keys may differ from row to row, and may be flags), an astropy Table (units are
        converted), a NumPy structured array, or an iterable of these.
    batch_size : int, optional
        Rows per transaction; as many as make a few megabytes if not given.
    existing : {"newest", "replace", "keep", "merge"}, optional
        What to do with a row whose key is stored already. "newest" replaces the stored row, unless that is of a newer
        patch; "replace" always does; "keep" leaves it as it is; "merge" overwrites only the columns that the row sets,
        unless the stored row is of a newer patch. It is the same for rows of one batch.
    keep_good : bool, optional
        Whether a row without any measured value (all columns of the model itself are NULL, flags and
        ``initial_*`` aside) leaves a stored row that has some as it is.
    unchanged : {"write", "skip", "count"}, optional
        What to do with a row that equals the stored one, ``created`` and ``modified`` aside: write it, or skip it.
        "count" writes all rows, and counts as unchanged those with the same result: what only differs in the model's
        `provenance_columns` (timings and the patch, of a pipeline's result) has.
    extra : {"raise", "ignore"}, optional
        Whether columns that the model doesn't have raise an error or are ignored.
    run_id : str, optional
        The run, for the list of rows that can't be stored.
    on_stored : callable, optional
        Called after each batch with the batch, and a dict of ``(task_pk, created)`` by unique key.
    before_write : callable, optional
        Called with each batch at the begin of its transaction; if it raises, nothing of the batch is written.
    writers : int, optional
        How many connections to PostgreSQL write batches at the same time, each in a thread of its own; `before_write`
        is called there, by one of them at a time, and `on_stored` in the caller's thread. If one of them fails, batches
        that wait already may still be written. Batches whose ranges of keys overlap are written one after the
        other, so the table is the same as with one writer: tables, and rows in the order of their keys, gain. SQLite,
        and a transaction of the caller, always have one writer.

    Returns
    -------
    UpsertReport
        What became of the rows. A row that can't be stored raises nothing and doesn't affect other rows: it is
        counted as rejected and kept in ``rejected_result``. After a connection lost during a COMMIT, rows that were
        inserted may be counted as updated.

    Raises
    ------
    UnknownColumnError
        If rows have a column that the model doesn't have; nothing of that batch is written.
    MissingColumnError
        If rows have a value for a column that the table in this database lacks; nothing of that batch is written.
    ReadOnlyTableError
        If the table lacks what an upsert needs: a production schema's without the unique key, for example.
    MissingTableError
        If the model's table isn't in the database.
    DatabaseUnavailableError
        If the database can't be reached, or couldn't be for too long.
    TransactionInterruptedError
        If a transient failure happened inside a transaction of the caller.
    """
    plan_for(model)
    _check_options(("existing", existing, Existing), ("unchanged", unchanged, Unchanged), ("extra", extra, Extra))
    require_tables(model)
    plan = plan_for(model)  # again: only now is the table known
    rules = Rules(existing, keep_good, unchanged)
    writer_class = writer_class_for(model)
    writer = writer_class(plan, rules, returning=on_stored is not None)
    report = UpsertReport()
    parts = split_rows(plan, rows, batch_size or plan.batch_size)

    def prepare(part: "Given") -> list[Prepared]:
        if existing != "merge":
            return [_prepared(writer, part, extra, rules)]
        return [
            _prepared(writer_class(its_plan, rules, returning=on_stored is not None), some, extra, rules)
            for its_plan, some in split_by_columns(plan, part, extra)
        ]

    upcoming = _one_ahead(prepare, parts) if is_table(rows) else _one_by_one(prepare, parts)
    if (n_writers := useful_writers(writer.database, writers)) > 1:
        one_by_one = None if before_write is None else one_at_a_time(threading.Lock(), before_write)
        write = partial(_timed_write, run_id=run_id, before_write=one_by_one)
        return _by_writers(upcoming, write, Writers(writer.database, n_writers), on_stored)
    write = partial(_timed_write, run_id=run_id, before_write=before_write)
    report = UpsertReport()
    for prepared, seconds in upcoming:
        report += UpsertReport(seconds=seconds)
        for its_writer, batch in prepared:
            counts, stored = write(its_writer, batch)
            report += counts
            if on_stored is not None:
                on_stored(batch, stored)
    return report


def _timed_write(
    writer: Writer, batch: Batch, run_id: str | None, before_write: Callable[[Batch], None] | None
) -> tuple[UpsertReport, Stored]:
    started = time.monotonic()
    counts, stored = write_batch(writer, batch, run_id, before_write)
    return replace(counts, seconds=time.monotonic() - started), stored


def _by_writers(
    upcoming: "Iterator[tuple[list[Prepared], float]]",
    write: Callable[[Writer, Batch], tuple[UpsertReport, Stored]],
    writers: Writers[Batch, tuple[UpsertReport, Stored]],
    on_stored: Callable[[Batch, Stored], None] | None,
) -> UpsertReport:
    """Write batches by several connections; the report's time is what passed."""
    started = time.monotonic()
    report = UpsertReport()
    for batch, (counts, stored) in _written(upcoming, write, writers):
        report += counts
        if on_stored is not None:
            on_stored(batch, stored)
    return replace(report, seconds=time.monotonic() - started)


def _written(
    upcoming: "Iterator[tuple[list[Prepared], float]]",
    write: Callable[[Writer, Batch], tuple[UpsertReport, Stored]],
    writers: Writers[Batch, tuple[UpsertReport, Stored]],
) -> Iterator[tuple[Batch, tuple[UpsertReport, Stored]]]:
    with writers:
        for prepared, _ in upcoming:
            for writer, batch in prepared:
                yield from writers.put(batch, span_of(batch), partial(write, writer, batch))
        yield from writers.rest()


def writer_class_for(model: type[BaseModel]) -> type[PostgresqlWriter | SqliteWriter]:
    """Give what writes batches into the bound database."""
    return PostgresqlWriter if is_postgresql(model._meta.database) else SqliteWriter


Prepared = tuple[Writer, Batch]


def _check_options(*options: tuple[str, str, object]) -> None:
    for name, value, known in options:
        if value not in get_args(known):
            raise ValueError(f"{name}={value!r} is none of {get_args(known)}")


def _prepared(writer: Writer, part: "Given", extra: Extra, rules: Rules) -> Prepared:
    batch = make_batch(writer.plan, part, extra, rules)
    writer.prepare(batch)
    return writer, batch


def _one_by_one(
    prepare: "Callable[[Given], list[Prepared]]", parts: "Iterable[Given]"
) -> Iterator[tuple[list[Prepared], float]]:
    """Prepare each part when it is asked for; give also the seconds that it took."""
    for part in parts:
        started = time.monotonic()
        batches = prepare(part)
        yield batches, time.monotonic() - started


def _one_ahead(
    prepare: "Callable[[Given], list[Prepared]]", parts: "Iterable[Given]"
) -> Iterator[tuple[list[Prepared], float]]:
    """Prepare each part while the one before it is being written; give also the seconds that were waited for it."""
    prepared = map(prepare, parts)
    with ThreadPoolExecutor(1, "astra-upsert") as thread:
        upcoming = thread.submit(next, prepared, None)
        while True:
            started = time.monotonic()
            batches = upcoming.result()
            if batches is None:
                return
            upcoming = thread.submit(next, prepared, None)
            yield batches, time.monotonic() - started
