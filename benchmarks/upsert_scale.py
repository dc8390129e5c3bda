"""Whether upserts stay as fast, and as small in memory, as tables grow.

Rows come from a generator of structured arrays, so that none of them are in memory before their turn; each size runs
in a process of its own, into an empty table.

    python benchmarks/upsert_scale.py [--sizes 10000 100000 1000000 3000000] [--backend sqlite]
        [--write docs/benchmarks.md]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import numpy as np
from _figures import write_figures
from _memory import grown_since, start_counting
from upsert import Narrow, Wide, bound, make_columns

from astra_models.base import database
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.upsert import upsert
from astra_models.upsert.plan import plan_for


def pieces(model: Any, n_rows: int) -> Iterator[np.ndarray]:
    """Make rows, as many at a time as are written in one transaction."""
    piece = make_columns(model, min(n_rows, plan_for(model).batch_size), seed=1)
    order = np.argsort(piece["spectrum_pk"])
    for start in range(0, n_rows, len(piece)):
        moved = piece[order[: n_rows - start]]
        moved["spectrum_pk"] += start
        yield moved


def measure(backend: str, shape: str, n_rows: int) -> None:
    """Insert and upsert again, and print rows per second and the growth of memory."""
    model = {"narrow": Narrow, "wide": Wide}[shape]
    with bound(backend):
        create_tables()
        Source.insert_many([{"sdss_id": i} for i in range(1000)]).execute()
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_rows}) "
        database.execute_sql(f"{numbers} INSERT INTO spectrum (spectrum_flags) SELECT 0 FROM n")
        upsert(model, pieces(model, 500))  # so that what is imported on first use is not counted
        before = start_counting()
        rates = []
        for _ in range(2):
            started = time.perf_counter()
            upsert(model, pieces(model, n_rows))
            rates.append(n_rows / (time.perf_counter() - started))
        grown = grown_since(before)
        print(f"| {backend} {shape} | {n_rows:,} | {rates[0]:,.0f} | {rates[1]:,.0f} | {grown:.0f} |", flush=True)


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--shape", choices=["narrow", "wide"], action="append")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        backend, shape, n_rows = options.one
        measure(backend, shape, int(n_rows))
        return
    lines = ["| table | rows | inserted/s | upserted again/s | MB above the start |", "| --- | --- | --- | --- | --- |"]
    print("\n".join(lines), flush=True)
    for backend in options.backend or ["postgresql", "sqlite"]:
        for shape in options.shape or ["narrow", "wide"]:
            for size in options.sizes:
                n_rows = size if shape == "narrow" else size // 10
                command = [sys.executable, "-W", "ignore", __file__, "--one", backend, shape, str(n_rows)]
                lines += subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
                print(lines[-1], flush=True)
    if options.write:
        write_figures(options.write, "upsert_scale", lines)


if __name__ == "__main__":
    main()
