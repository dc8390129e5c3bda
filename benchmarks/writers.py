"""How fast results become rows by the ways beside rows one by one: several writers, many at once, ready columns.

What is compared takes turns within each round, so that a machine that is busy for a while slows both. Ratios are
medians of the rounds' ratios, with the machine's load beside them. The server shares the machine's cores with what is
measured.

    python benchmarks/writers.py [--rounds 3] [--million 1000000] [--rows 100000] [--file-rows 200000]
                                 [--write docs/benchmarks.md]
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

import numpy as np
from _figures import write_figures
from ingest import empty as empty_survey
from upsert import Narrow, Wide, bound, empty_table, make_columns, prepare

from astra_models import task
from astra_models.analysis.analyst import Found
from astra_models.analysis.failures import Undecided
from astra_models.analysis.recording import Recording, record_found
from astra_models.analysis.stream import ResultStream, analyse, write
from astra_models.analysis.usage import Usage
from astra_models.analysis.work import ChunkSize, chunks
from astra_models.aspcap import ASPCAP
from astra_models.base import bind, database
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.ingest import ingest_result_file
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.upsert import upsert
from astra_models.upsert.batch import make_batch
from astra_models.upsert.plan import plan_for
from astra_orchestration.sample.summary_file import write_result_file

AT_ONCE = 10_000
KEYS = ("spectrum_pk", "source_pk", "v_astra", "t_elapsed", "t_overhead")

Way = Callable[[], object]


@task
def empty(spectra: Iterable[BossVisitSpectrum]) -> Iterator[Rocket]:
    """Give every spectrum the same result."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5000.0, logg=4.5)


@dataclass
class Ratio:
    """How much faster one way is than another, over some rounds.

    Parameters
    ----------
    what : str
        What is compared.
    ratios : list of float
        One a round.
    rate : float
        Rows per second of the first way, median.
    load : float
        The machine's load average afterwards.
    """

    what: str
    ratios: list[float]
    rate: float
    load: float

    def __str__(self) -> str:
        low, middle, high = min(self.ratios), statistics.median(self.ratios), max(self.ratios)
        spread = f"{low:.2f} to {high:.2f}"
        return (
            f"| {self.what} | {middle:.2f} | {spread} | {self.rate:,.0f} rows/s | {self.load:.1f} | {os.cpu_count()} |"
        )


def compare(what: str, model: Any, n_rows: int, ways: tuple[Way, Way], rounds: int, again: bool = False) -> Ratio:
    """Time two ways of writing rows in turn, each into an empty table, or once more into one that has them."""
    rates: list[tuple[float, ...]] = []
    for _ in range(rounds):
        both = []
        for way in ways:
            empty_table(model)
            if again:
                way()
            both.append(n_rows / timed(way))
            assert model.select().count() == n_rows
        rates.append(tuple(both))
    ratio = Ratio(what, [one / other for one, other in rates], statistics.median(r for r, _ in rates), load())
    print(ratio, flush=True)
    return ratio


def timed(way: Way) -> float:
    """Run something, and give the seconds that it took."""
    gc.collect()
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def load() -> float:
    """Give the load average of the last minute."""
    return os.getloadavg()[0]


def several_writers(columns: np.ndarray, rounds: int) -> list[Ratio]:
    """Compare two connections with one."""
    ways = (lambda: upsert(Narrow, columns, writers=2), lambda: upsert(Narrow, columns))
    name = f"{len(columns):,} narrow rows by 2 connections against 1"
    return [
        compare(f"{name}, {phase}", Narrow, len(columns), ways, rounds, again=phase == "again")
        for phase in ("insert", "again")
    ]


def file_by_writers(n_rows: int, rounds: int) -> Ratio:
    """Compare the ingestion of a summary file by two connections with that by one; four tables."""
    with tempfile.TemporaryDirectory() as folder, bound("postgresql"):
        create_tables()
        path = write_result_file(Path(folder) / "astraAllStarASPCAP-0.6.0.fits.gz", ASPCAP, n_rows)
        ratios, rates = [], []
        for _ in range(rounds):
            both = []
            for writers in (2, 1):
                empty_survey()
                both.append(n_rows / timed(lambda writers=writers: ingest_result_file(path, writers=writers)))
                assert ASPCAP.select().count() == n_rows
            ratios.append(both[0] / both[1])
            rates.append(both[0])
    what = f"astraAllStarASPCAP of {n_rows:,} rows ingested by 2 connections against 1"
    ratio = Ratio(what, ratios, statistics.median(rates), load())
    print(ratio, flush=True)
    return ratio


def many_at_once(columns: np.ndarray, rounds: int) -> list[Ratio]:
    """Compare results made by `from_spectra` with the same columns as they are, stored directly and by a task."""
    columns = np.sort(columns, order="spectrum_pk")
    pairs = zip(columns["spectrum_pk"].tolist(), columns["source_pk"].tolist(), strict=True)
    spectra = [BossVisitSpectrum(spectrum_pk=key, source_pk=source) for key, source in pairs]
    names = [name for name in columns.dtype.names or () if name not in KEYS]

    def directly() -> None:
        upsert(Narrow, Narrow.from_spectra(spectra, **{name: columns[name] for name in names}))

    @task
    def together(some: Iterable[BossVisitSpectrum]) -> Iterator[Narrow]:
        them = list(some)
        for start in range(0, len(them), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            yield Narrow.from_spectra(them[part], **{name: columns[name][part] for name in names})

    def by_task() -> None:
        batches = together.batches(spectra, batch_size=AT_ONCE)
        write(ResultStream(batches, together.output_models))

    def as_columns() -> None:
        upsert(Narrow, columns)

    return [
        compare(f"`from_spectra`, {how}, against columns", Narrow, len(columns), (way, as_columns), rounds)
        for how, way in (("stored directly", directly), ("by a task, spectra in memory", by_task))
    ]


def ready_columns(model: Any, shape: str, columns: np.ndarray, rounds: int) -> Ratio:
    """Compare what workers send, unpacked and written, with the same rows from columns."""
    columns = np.sort(columns, order="spectrum_pk")
    plan = plan_for(model)
    packed = []
    for start in range(0, len(columns), plan.batch_size):
        some = columns[start : start + plan.batch_size]
        found = [(model, make_batch(plan, some).columns)]
        keys = some["spectrum_pk"].tolist()
        packed.append(Found(keys, found, [], Undecided([], [], 0), len(keys), Usage("", 0, 0.0, 0.0, 0)).pack())

    def write_found() -> None:
        for one in packed:
            record_found(Found.unpack(one), Recording())

    def as_columns() -> None:
        upsert(model, columns)

    what = f"{shape} columns of workers, unpacked and written, against `upsert` of columns"
    return compare(what, model, len(columns), (write_found, as_columns), rounds)


def in_process(n_spectra: int) -> list[str]:
    """Measure the processor time of each result through Dagster and the IO manager, and claims; on SQLite."""
    import end_to_end
    from dagster import materialize

    from astra_orchestration.assets.pipelines import pipeline_asset
    from astra_orchestration.resources import resources_for

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        bind(sqlite_database(path))
        end_to_end.prepare(n_spectra)
        claims = []
        stream = analyse(empty)
        assert stream.work is not None
        handed_out = chunks(stream.work, ChunkSize())
        while True:
            started = time.perf_counter()
            if next(handed_out, None) is None:
                break
            claims.append(time.perf_counter() - started)
        stream.work.leases.close()
        database.close()
        asset, resources = pipeline_asset(empty), resources_for({"sqlite": {"path": str(path)}})
        started = time.process_time()
        result = materialize([asset], resources=resources)
        seconds = time.process_time() - started
        assert result.success
        assert Rocket.select().count() == n_spectra
        database.close()
    each = f"{seconds / n_spectra * 1e6:.0f} us of a core"
    claim = f"{statistics.median(claims) * 1e3:.1f} ms"
    end = f"{load():.1f} | {os.cpu_count()} |"
    lines = [
        f"| per result in process through Dagster, {n_spectra:,} spectra, SQLite |  |  | {each} | {end}",
        f"| a claim with its second question, median of {len(claims)}, SQLite |  |  | {claim} | {end}",
    ]
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--file-rows", type=int, default=200_000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        "| what | ratio | rounds | rate or time | load average | cores |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with bound("postgresql"):
        prepare(max(options.million, options.rows))
        narrow = make_columns(Narrow, options.rows, seed=1)
        wide = make_columns(Wide, max(1, options.rows // 10), seed=1)
        ratios = many_at_once(narrow, options.rounds)
        ratios.append(ready_columns(Narrow, "narrow", narrow, options.rounds))
        ratios.append(ready_columns(Wide, "wide", wide, options.rounds))
        ratios += several_writers(make_columns(Narrow, options.million, seed=1), options.rounds)
    ratios.append(file_by_writers(options.file_rows, options.rounds))
    lines += map(str, ratios)
    lines += in_process(options.rows)
    if options.write:
        write_figures(options.write, "writers", lines)


if __name__ == "__main__":
    main()
