"""What a stage that ADBC fills takes, with a hand-written upsert from there, and what a second connection gains.

All ways take turns within one run. Each starts from an empty table, writes its rows, and writes them again. Beside the
medians are the seconds of CPU of this process and of the server, and the load of the machine: a second writer can only
pay where a core is free. The comparison with ADBC (`adbc_ingest` into a temporary table, then INSERT ... ON CONFLICT)
is made if `adbc-driver-postgresql` and `pyarrow` are installed.

    python benchmarks/upsert_by_hand.py [--rounds 3] [--rows 100000] [--writers 2]
        [--write docs/benchmarks.md]
"""

import argparse
import gc
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
from _figures import write_figures
from upsert import Job, Narrow, bound, check_table, empty_table, make_columns, prepare

from astra_models.base import database
from astra_models.database.sql import quote, quoted_table
from astra_models.upsert import upsert
from astra_models.upsert.plan import plan_for

PHASES = ("insert", "re-upsert")


@dataclass
class Measured:
    """What the rounds of one way and phase took: seconds, and seconds of CPU here and in the server."""

    seconds: list[float] = field(default_factory=list)
    here: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)


def several(writers: int, job: Job) -> None:
    """Write over so many connections."""
    upsert(job.model, job.columns, writers=writers)


def by_hand(uri: str, job: Job) -> None:
    """Write with ADBC into a stage, and from there with one statement; nothing is checked."""
    pyarrow = importlib.import_module("pyarrow")
    dbapi = importlib.import_module("adbc_driver_postgresql.dbapi")
    names = list(job.columns.dtype.names or ())
    arrays = [pyarrow.array(np.ascontiguousarray(job.columns[name]), from_pandas=True) for name in names]
    columns = ", ".join(map(quote, [*names, "created", "modified"]))
    staged = ", ".join([*map(quote, names), "now(), now()"])
    key = ", ".join(quote(key.column_name) for key in plan_for(job.model).key)
    others = [name for name in [*names, "modified"] if name not in ("spectrum_pk", "v_astra_major_minor")]
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in others)
    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("stage_by_hand", pyarrow.table(arrays, names=names), mode="create", temporary=True)
        cursor.execute(
            f"INSERT INTO {quoted_table(job.model)} ({columns}) SELECT {staged} FROM stage_by_hand "
            f"ORDER BY spectrum_pk ON CONFLICT ({key}) DO UPDATE SET {updates}"
        )
        connection.commit()


def has_adbc() -> bool:
    """Tell whether what the comparison needs is installed."""
    return all(importlib.util.find_spec(name) for name in ("adbc_driver_postgresql", "pyarrow"))


def server_uri() -> str:
    """Give the address of the server that is bound."""
    connection = database.connection()
    parameters = connection.get_dsn_parameters()
    return "postgresql:///{dbname}?host={host}&port={port}&user={user}".format(**{"port": 5432} | parameters)


def server_seconds() -> float:
    """Give the seconds of CPU that the server has taken, in processes that have ended, too."""
    ((backend,),) = database.execute_sql("SELECT pg_backend_pid()").fetchall()
    postmaster = _stat(backend)[1]
    own = sum(map(int, _stat(postmaster)[11:15]))
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return (own + sum(sum(map(int, _stat(child)[11:13])) for child in children)) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int | str) -> list[str]:
    """Give what the system knows about a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def measure(job: Job, ways: dict[str, Callable[[Job], None]], rounds: int) -> dict[tuple[str, str], Measured]:
    """Let all ways take turns."""
    measured: dict[tuple[str, str], Measured] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            empty_table(job.model)
            for phase in PHASES:
                _measure_once(measured.setdefault((name, phase), Measured()), partial(way, job))
            check_table(job, len(job.columns))
    return measured


def _measure_once(measured: Measured, write: Callable[[], None]) -> None:
    gc.collect()
    server, here, started = server_seconds(), time.process_time(), time.perf_counter()
    write()
    measured.seconds.append(time.perf_counter() - started)
    measured.here.append(time.process_time() - here)
    measured.server.append(server_seconds() - server)


def lines_of(measured: dict[tuple[str, str], Measured], n_rows: int) -> Iterator[str]:
    """Make the rows of a Markdown table; a ratio is the median of those of the rounds."""
    for (name, phase), its in measured.items():
        one = measured["1 writer", phase]
        ratio = statistics.median(first / own for first, own in zip(one.seconds, its.seconds, strict=True))
        medians = [statistics.median(values) for values in (its.seconds, its.here, its.server)]
        figures = f"{n_rows / medians[0]:,.0f} | {ratio:.2f} | {medians[1]:.1f} | {medians[2]:.1f}"
        yield f"| {n_rows:,} | {name} | {phase} | {figures} | {os.getloadavg()[0]:.1f} |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        "| rows | way | phase | rows/s | times one writer | CPU here (s) | CPU of the server (s) | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with bound("postgresql"):
        prepare(options.rows)
        ways: dict[str, Callable[[Job], None]] = {"1 writer": partial(several, 1)}
        ways[f"{options.writers} writers"] = partial(several, options.writers)
        if has_adbc():
            ways["ADBC and a statement"] = partial(by_hand, server_uri())
        job = Job(Narrow, make_columns(Narrow, options.rows, seed=1), 1000)
        lines += lines_of(measure(job, ways, options.rounds), options.rows)
        print("\n".join(lines), flush=True)
    if options.write:
        write_figures(options.write, "upsert_by_hand", lines)


if __name__ == "__main__":
    main()
