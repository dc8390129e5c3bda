"""How long the look at a pipeline's table takes that ends each of its runs: all checks, and the numbers of its asset.

The table has a row as wide as real ones for every spectrum; tables are filled as by `selection.py`. The process's own
CPU time is given beside the time that passes; the server of PostgreSQL works in processes of its own.

    python benchmarks/checks.py [--rows 1000000] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import logging
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
os.environ.setdefault("ASTRA_VERSION", "0.9.0")

import dagster as dg
from _figures import write_figures
from selection import fill_tables
from upsert import bound

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.upsert import UpsertReport
from astra_orchestration.checks.looking import Look

ROUNDS = 5


@task
def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
    """Analyse nothing."""
    yield from ()


def look() -> tuple[float, float, int]:
    """Look once; give the time that passes, CPU time, and how many checks were made."""
    wall, cpu = time.perf_counter(), time.process_time()
    seen = Look(corv, dg.AssetKey("corv"), logging.getLogger("benchmark"))
    seen.metadata(UpsertReport())
    results = list(seen.results())
    taken = time.perf_counter() - wall, time.process_time() - cpu
    broken = [result.description for result in results if "the check itself failed" in (result.description or "")]
    if broken:
        raise SystemExit(str(broken[0]))
    return *taken, len(results)


def measure(backend: str, rows: int) -> Iterator[str]:
    """Look at a table in one database, and give the rows of the benchmark's table."""
    with bound(backend):
        fill_tables(rows)
        first, *others = [look() for _ in range(1 + ROUNDS)]
        yield f"| {backend} | the first look | {first[0]:.2f} s | {first[1]:.2f} s |"
        wall, cpu = (statistics.median(column) for column in list(zip(*others, strict=True))[:2])
        yield f"| {backend} | a look, {first[2]} checks | {wall:.2f} s | {cpu:.2f} s |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    load = f"Load average at the start {os.getloadavg()[0]:.1f}, on {len(os.sched_getaffinity(0))} cores."
    lines = [f"A table of {options.rows:,} rows, and as many spectra. {load}", ""]
    lines += ["| database | what is timed | time | CPU time of the run's process |", "|" + " --- |" * 4]
    for backend in options.backend or ["postgresql", "sqlite"]:
        for line in measure(backend, options.rows):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        write_figures(options.write, "checks", lines)


if __name__ == "__main__":
    main()
