"""How long it takes to read a million results as a frame, beside pandas' own way and ADBC's.

The same columns of the same rows, in one run: `to_pandas` and `to_arrow`; `pandas.read_sql` by the drivers that this
project has; and ADBC's driver for each database, which guesses types of SQLite from the first rows. Times are by the
clock, and of CPU without that of the server; the best of the rounds.

    python benchmarks/frames.py [--rows 1000000] [--rounds 3] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import pandas as pd
from _figures import write_figures
from queries import fill_tables
from upsert import bound

from astra_models.base import database
from astra_models.corv import Corv
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.products import to_arrow, to_pandas
from astra_models.products.reading import by_adbc

COLUMNS = ["task_pk", "spectrum_pk", "v_astra", "created", "teff", "e_teff", "logg", "v_rad", "rchi2", "result_flags"]
Read = Callable[[], Any]


def ways(sql: str) -> Iterator[tuple[str, Read]]:
    """Give the ways to read the same rows, by name; those whose packages aren't installed are left out."""
    yield "`to_pandas`", lambda: to_pandas(Corv, columns=COLUMNS)
    yield "`to_arrow`", lambda: to_arrow(Corv, columns=COLUMNS)
    if not is_postgresql(database):
        yield "`to_arrow`, without the extra `fast`", without_fast
    yield "`pandas.read_sql`", lambda: pd.read_sql(sql, database.connection())
    try:
        if is_postgresql(database):
            from adbc_driver_postgresql import dbapi

            target = database.connection().get_dsn_parameters()
            uri = f"postgresql:///{target['dbname']}?host={target['host']}&user={target['user']}&port={target['port']}"
        else:
            from adbc_driver_sqlite import dbapi

            uri = f"file:{database.obj.database}"
    except ImportError:
        return

    def read() -> Any:
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    yield "ADBC, an Arrow table", read


def without_fast() -> Any:
    """Read by Python's own module, whatever is installed."""
    with patch.object(by_adbc, "WORTHWHILE", 1 << 62):
        return to_arrow(Corv, columns=COLUMNS)


class Taken(NamedTuple):
    """What reading takes, in seconds: by the clock, and of CPU in this process and those that it starts."""

    clock: float
    cpu: float


def best(read: Read, n_rows: int, rounds: int) -> Taken:
    """Give the least that reading takes."""
    taken = []
    for _ in range(rounds):
        started, before = time.perf_counter(), sum(os.times()[:4])
        found = read()
        taken.append(Taken(time.perf_counter() - started, sum(os.times()[:4]) - before))
        assert len(found) == n_rows
    return Taken(*map(min, zip(*taken, strict=True)))


def measure(backend: str, n_rows: int, rounds: int) -> dict[str, Taken]:
    """Give what each way takes."""
    with bound(backend):
        fill_tables(n_rows)
        Corv.delete().where(Corv.v_astra > 9_000 - 1).execute()
        Corv.update(e_teff=50.5, logg=8.1, v_rad=-10.25).where(Corv.task_pk.bin_and(7) != 0).execute()
        database.execute_sql("VACUUM ANALYZE" if is_postgresql(database) else "ANALYZE")
        sql = f"SELECT {', '.join(COLUMNS)} FROM {quoted_table(Corv)} ORDER BY task_pk"
        return {name: best(read, n_rows, rounds) for name, read in ways(sql)}


def figures_of(name: str, times: dict[str, Taken]) -> tuple[str, str, str]:
    """Give the cells of one way with one database; empty if there is none such."""
    if name not in times:
        return "", "", ""
    clock, cpu = times[name]
    return f"{clock:.2f} s", f"{cpu:.2f} s", f"{times['`pandas.read_sql`'].clock / clock:.1f}"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "pandas only supports SQLAlchemy")
    measured = {
        backend: measure(backend, options.rows, options.rounds)
        for backend in options.backend or ["postgresql", "sqlite"]
    }
    lines = [f"{options.rows:,} rows, {len(COLUMNS)} columns.", ""]
    heading = [text for backend in measured for text in (backend, "CPU", "times as fast as `pandas.read_sql`")]
    lines += [f"| | {' | '.join(heading)} |", f"|{' --- |' * (1 + len(heading))}"]
    for name in dict.fromkeys(name for times in measured.values() for name in times):
        figures = [text for times in measured.values() for text in figures_of(name, times)]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    print("\n".join(lines))
    if options.write:
        write_figures(options.write, "frames", lines)


if __name__ == "__main__":
    main()
