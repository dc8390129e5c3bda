"""How fast a result file is ingested, against raw COPY of the same rows and against the incumbent's way.

The file is an astraAllStarASPCAP with made-up values. Ours reads it, gzipped, from disk, links every row to its source
and spectrum, and fills four tables. The limit writes the very same rows, dumped from those tables beforehand, into the
same indexed tables again: by COPY, or on SQLite by a bare executemany. The incumbent makes a model instance of each row
of an astropy Table, for each of the tables, and inserts them a thousand at a time; it gets a part of the rows.

    python benchmarks/ingest.py [--rows 200000] [--incumbent-rows 5000] [--rounds 1] [--write docs/benchmarks.md]
"""

import argparse
import io
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import peewee
from _figures import write_figures
from _memory import grown_since, start_counting
from astropy.table import Table
from upsert import bound

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_models.base import database
from astra_models.database.sql import is_postgresql, quote, quoted_table
from astra_models.fields import BytesField, GeneratedField
from astra_models.ingest import ingest_result_file
from astra_models.ingested import IngestedFile
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.sample.summary_file import write_result_file

TABLES: tuple[Any, ...] = (Source, Spectrum, ApogeeCoaddedSpectrumInApStar, ASPCAP)
ROWS_AT_ONCE = 10_000
INCUMBENT_AT_ONCE = {True: 1000, False: 500}
MEMORY = "MB above the start, ours"


def columns_of(model: Any) -> list[str]:
    """Give the columns that are written."""
    return [quote(field.column_name) for field in model._meta.sorted_fields if not isinstance(field, GeneratedField)]


def dump() -> dict[Any, Any]:
    """Give all rows as the database takes them fastest."""
    rows: dict[Any, Any] = {}
    for model in TABLES:
        columns = ", ".join(columns_of(model))
        if is_postgresql(database):
            rows[model] = io.BytesIO()
            statement = f"COPY (SELECT {columns} FROM {quoted_table(model)}) TO STDOUT (FORMAT BINARY)"
            database.cursor().copy_expert(statement, rows[model])
        else:
            rows[model] = database.execute_sql(f"SELECT {columns} FROM {quoted_table(model)}").fetchall()
    return rows


def empty() -> None:
    """Empty the tables."""
    if is_postgresql(database):
        database.execute_sql(f"TRUNCATE {', '.join(quoted_table(model) for model in TABLES)} CASCADE")
        database.execute_sql("CHECKPOINT")
    else:
        for model in reversed(TABLES):
            model.delete().execute()
        database.execute_sql("VACUUM")
    IngestedFile.delete().execute()


def limit(rows: dict[Any, Any]) -> None:
    """Write rows as fast as the database can at all."""
    for model, ready in rows.items():
        columns = columns_of(model)
        if is_postgresql(database):
            ready.seek(0)
            statement = f"COPY {quoted_table(model)} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
            with database.atomic():
                database.cursor().copy_expert(statement, ready, 1 << 20)
            continue
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {quoted_table(model)} ({', '.join(columns)}) VALUES ({places})"
        for start in range(0, len(ready), ROWS_AT_ONCE):
            with database.atomic("IMMEDIATE"):
                database.connection().executemany(statement, ready[start : start + ROWS_AT_ONCE])


def plain_model(model: Any) -> Any:
    """Make a table's model as the incumbent has it: peewee's own fields, which check nothing."""
    fields: dict[str, Any] = {}
    for field in model._meta.sorted_fields:
        if isinstance(field, GeneratedField):
            continue
        kind = next(
            (kind for kind in (peewee.FloatField, peewee.TextField, peewee.DateTimeField) if isinstance(field, kind)),
            peewee.BlobField if isinstance(field, BytesField) else peewee.IntegerField,
        )
        fields[field.name] = peewee.BigAutoField() if field.primary_key else kind(null=True, default=field.default)
    meta = type("Meta", (), {"database": database, "table_name": model._meta.table_name, "legacy_table_names": False})
    return type(peewee.Model)(f"Plain{model.__name__}", (peewee.Model,), {**fields, "Meta": meta})


def incumbent(table: Table, models: dict[Any, Any]) -> None:
    """Write the rows of a Table the incumbent's way."""
    names = table.colnames
    at_once = INCUMBENT_AT_ONCE[is_postgresql(database)]
    for some in _some(table, at_once):
        rows = [dict(zip(names, map(_python, row), strict=True)) for row in some]
        for model, plain in models.items():
            fields = plain._meta.fields
            key = plain._meta.primary_key
            instances = [plain(**_values(model, row, fields)) for row in rows]
            query = plain.insert_many([instance.__data__ for instance in instances])
            query = query.on_conflict(conflict_target=[key], preserve=[f for f in fields.values() if f is not key])
            list(query.returning(key).tuples().execute())


def _some(table: Table, at_once: int) -> Iterator[list[Any]]:
    rows = iter(table)
    while some := list(itertools.islice(rows, at_once)):
        yield some


def _python(value: Any) -> Any:
    if hasattr(value, "tobytes") and getattr(value, "ndim", 0):
        return value.tobytes()
    return value.item() if hasattr(value, "item") else value


def _values(model: Any, row: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    values = {name: row[name] for name in fields if name in row and not isinstance(row[name], bytes)}
    if "sdss5_target_flags" in fields:
        values["sdss5_target_flags"] = row["sdss5_target_flags"]
    values |= {"v_astra": 6000} if "v_astra" in values else {}
    values = {name: None if value in (-1, "") else value for name, value in values.items()}
    primary_key = {Source: "source_pk", Spectrum: "spectrum_pk"}.get(model)
    return values | ({"pk": row[primary_key]} if primary_key else {})


def timed(work: Callable[..., Any], *given: Any) -> float:
    """Give the seconds that some work takes."""
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def measure(path: Path, n_rows: int, small: Path, n_small: int, rounds: int) -> dict[str, float]:
    """Time all candidates in turn; gives the medians of rows per second."""
    table = Table.read(small, hdu=2)
    plain = {model: plain_model(model) for model in TABLES}
    rates: dict[str, list[float]] = {}
    before = start_counting()
    for _ in range(rounds):
        empty()
        rates.setdefault("ours", []).append(n_rows / timed(ingest_result_file, path))
        rates.setdefault(
            MEMORY, [grown_since(before)]
        )  # of the first round: what the limit has taken stays the highest
        rates.setdefault("ours, again", []).append(n_rows / timed(lambda: ingest_result_file(path, again=True)))
        assert ASPCAP.select().count() == n_rows
        rows = dump()
        empty()
        rates.setdefault("limit", []).append(n_rows / timed(limit, rows))
        del rows
        empty()
        rates.setdefault("incumbent", []).append(n_small / timed(incumbent, table, plain))
        assert ASPCAP.select().count() == n_small
    return {name: statistics.median(values) for name, values in rates.items()}


def measure_backend(backend: str, *given: Any) -> dict[str, float]:
    """Measure on one database."""
    with bound(backend):
        create_tables()
        return measure(*given)


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--incumbent-rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        "| database | way | rows/s | times the incumbent | of the limit |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "astraAllStarASPCAP.fits.gz", Path(folder) / "small.fits"
        write_result_file(path, ASPCAP, options.rows, style="dr19")
        write_result_file(small, ASPCAP, options.incumbent_rows, style="dr19")
        given = (path, options.rows, small, options.incumbent_rows, options.rounds)
        for backend in options.backend or ["postgresql", "sqlite"]:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # for its memory
                medians = process.submit(measure_backend, backend, *given).result()
            grown = medians.pop(MEMORY)
            for name, rate in medians.items():
                times, share = rate / medians["incumbent"], rate / medians["limit"]
                lines.append(f"| {backend} | {name} | {rate:,.0f} | {times:.1f} | {share:.2f} |")
            lines.append(f"| {backend} | memory | {grown:.0f} MB above the start | | |")
            print("\n".join(lines), flush=True)
    if options.write:
        write_figures(options.write, "ingest", lines)


if __name__ == "__main__":
    main()
