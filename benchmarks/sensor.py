"""How long a tick of the sensor takes with nothing due: the first one, which asks in full, and those after it.

Tables are filled as by `selection.py`, with narrow rows. The second look is right after the first, while all rows are
within its slack: their times are set to years ago, as after a quiet day.

    python benchmarks/sensor.py [--spectra 10000000] [--backend sqlite] [--write docs/benchmarks.md]
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
os.environ.setdefault("ASTRA_VERSION", "0.9.0")

import dagster as dg
from _figures import write_figures
from selection import analyze, fill_tables
from upsert import bound

from astra_models import task
from astra_models.base import database
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.snow_white import SnowWhite
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.resources import DatabaseResource, resources_for

ROUNDS = 5


@task
def snow_white(spectra: Iterable[BossVisitSpectrum]) -> Iterable[SnowWhite]:
    """Analyse nothing."""
    yield from ()


@task
def corv(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Corv]:
    """Analyse nothing."""
    yield from ()


class Bound(DatabaseResource):
    """The database that is bound."""

    def connect(self, *models: object) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Leave it bound."""
        return database.obj


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> tuple[float, str]:
    """Give the time of a tick, and what it says."""
    definitions = dg.Definitions(assets=ASSETS, resources=resources_for())
    with dg.build_sensor_context(instance, resources={"database": Bound()}, definitions=definitions) as context:
        started = time.perf_counter()
        data = sensor.evaluate_tick(context)
        taken = time.perf_counter() - started
    return taken, data.skip_message or str([request.tags for request in data.run_requests or ()])


ASSETS = [pipeline_asset(snow_white), pipeline_asset(corv)]


def measure(backend: str, n_spectra: int) -> Iterator[str]:
    """Tick on one database, and give the rows of the table."""
    sensor = version_sensor(ASSETS, name="measured")
    with bound(backend), dg.DagsterInstance.local_temp() as instance:
        fill_tables(n_spectra, wide=False)
        database.execute_sql("UPDATE corv SET spectrum_revision = 0 WHERE spectrum_revision <> 0")
        database.execute_sql(
            "UPDATE pipeline_run SET pipeline = 'of the benchmark', started = '2026-01-01 00:00:00+00:00'"
        )
        analyze()
        first, said = tick(sensor, instance)
        while "in the next tick" in said:
            more, said = tick(sensor, instance)
            first += more
        yield f"| {backend} | all in full, as after a new version | {first:.2f} s |"
        times = [tick(sensor, instance) for _ in range(ROUNDS)]
        assert {said for _, said in times} == {"all tables are at version 0.9.0"}, times
        yield f"| {backend} | a tick with nothing due | {1e3 * statistics.median(taken for taken, _ in times):.0f} ms |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=10_000_000)
    parser.add_argument("--backend", choices=["postgresql", "sqlite"], action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        f"{options.spectra:,} spectra, and as many results of each of two pipelines, one made from the other's.",
        "",
    ]
    lines += ["| database | what is timed | time |", "|" + " --- |" * 3]
    for backend in options.backend or ["postgresql", "sqlite"]:
        for line in measure(backend, options.spectra):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        write_figures(options.write, "sensor", lines)


if __name__ == "__main__":
    main()
