"""What engines cost: workers against plain processes, per result, in memory, until the first result, and for a claim.

Each figure is a ratio or a median of rounds in which the candidates take turns, each in a process of its own; beside it
are the machine's load average when it was taken, and its cores.

    python benchmarks/engines.py [--only sleeping] [--scale 0.1] [--rounds 3] [--write docs/benchmarks.md]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from _figures import write_figures
from _memory import grown_since, start_counting
from _pipelines import naps, nothing, weighs
from _spectra import Target, new_database, open_database, prepare

from astra_models.analysis.due import StillDue, due_options
from astra_models.analysis.engine import Engine, InProcess
from astra_models.analysis.leases import Leases
from astra_models.analysis.stream import analyse, write_batches
from astra_models.base import database
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket
from astra_models.spectrum import load_spectra
from astra_models.version import installed_v_astra
from astra_orchestration.engines.clusters import Local
from astra_orchestration.engines.on_workers import OnWorkers
from astra_orchestration.pipelines.corv import corv

WORKERS = 2
NAP = 0.05
STARS = 60
KEYS_PER_CLAIM = 500
BACKENDS = ("sqlite", "postgresql")

Sizes = Callable[[int], int]


class Figure(NamedTuple):
    """A measured figure: what, its value as text, what it must be at least or most, and what it aims at."""

    what: str
    value: str
    must: str
    aim: str
    load: str = ""


class Arrivals:
    """When results arrive: their rate from the first batch to the last is without the start."""

    def __init__(self, arrivals: Sequence[tuple[float, int]]):
        self.arrivals = sorted((when, number) for when, number in arrivals if number)

    @property
    def rate(self) -> float:
        """Results per second, from the first batch to the last."""
        (first, before), (last, _) = self.arrivals[0], self.arrivals[-1]
        return (sum(number for _, number in self.arrivals) - before) / (last - first)


# ---- what is measured, each in a process of its own


def local() -> Engine:
    """Make the engine of this machine's workers."""
    return OnWorkers(Local(workers=WORKERS))


def run(pipeline: Any, engine: Engine, **options: Any) -> list[tuple[float, int]]:
    """Run a pipeline over what is due, and give when how many results were written."""
    stream = analyse(pipeline, engine=engine, **options)
    return [(time.time(), report.rows) for report, _ in write_batches(stream)]


def naps_on_workers() -> object:
    """Give when results arrive from workers that sleep."""
    return run(naps, local(), parameters={"seconds": NAP})


def naps_in_process() -> object:
    """Give when results arrive of a process that sleeps, a fifth as many."""
    due = len(BossVisitSpectrum.select())
    return run(naps, InProcess(), parameters={"seconds": NAP}, batch_size=40, limit=max(20, due // 5))


def spent() -> float:
    """Give the CPU time of this process and of those that it started and that ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def corv_on_workers() -> object:
    """Give when results of Corv arrive from workers, and the CPU time of all processes."""
    return {"arrivals": run(corv, local(), parameters={"all_spectra": True}), "cpu": spent()}


def corv_in_halves(half: int) -> object:
    """Give when results of Corv arrive in one of two plain processes, and its CPU time."""
    keys = [key for (key,) in BossVisitSpectrum.select(BossVisitSpectrum.spectrum_pk).tuples()]
    spectra = load_spectra(BossVisitSpectrum, keys[half::2])
    return {"arrivals": [(time.time(), 1) for _ in corv(spectra, batch_size=20)], "cpu": spent()}


def nothing_on_workers() -> object:
    """Give when empty results arrive, and by how many MB the run grew."""
    before = start_counting()
    arrivals = run(nothing, local())
    return {"arrivals": arrivals, "megabytes": grown_since(before)}


def first_result() -> object:
    """Give the seconds from the start of a run to its first result, and the memory of a worker before it (MB)."""
    started = time.time()
    when = run(weighs, local(), limit=100)[0][0]
    return {"seconds": when - started, "megabytes": max(row.teff for row in Rocket.select())}


def claims() -> object:
    """Give the median time of a claim, in ms."""
    leases = Leases(Rocket, installed_v_astra())
    ask = StillDue(Rocket, BossVisitSpectrum, **due_options(nothing, BossVisitSpectrum, None))
    keys = [key for (key,) in BossVisitSpectrum.select(BossVisitSpectrum.spectrum_pk).tuples()]
    took = []
    for first in range(0, len(keys), KEYS_PER_CLAIM):
        started = time.perf_counter()
        leases.claim(keys[first : first + KEYS_PER_CLAIM], ask, are_consecutive=True)
        took.append(1000 * (time.perf_counter() - started))
    leases.close()
    return statistics.median(took)


MEASURES: dict[str, Callable[..., object]] = {
    measure.__name__: measure
    for measure in (
        naps_on_workers,
        naps_in_process,
        corv_on_workers,
        corv_in_halves,
        nothing_on_workers,
        first_result,
        claims,
    )
}


def start(name: str, target: Target, *arguments: object) -> "subprocess.Popen[str]":
    """Start a process that measures something."""
    command = [sys.executable, "-W", "ignore", __file__, "--measure", json.dumps([name, target, *arguments])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result_of(process: "subprocess.Popen[str]") -> Any:
    """Wait for a process that measures, and give what it found."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measurement ended with exit code {process.returncode}")
    return json.loads(output.splitlines()[-1])


def measure(name: str, target: Target, *arguments: object) -> Any:
    """Measure something in a process of its own."""
    return result_of(start(name, target, *arguments))


def again(target: Target) -> None:
    """Make everything due again."""
    open_database(target)
    Rocket.delete().execute()
    corv.output_models[0].delete().execute()
    database.close()


# ---- the figures


def sleeping(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Compare workers that sleep with one process that does."""
    ratios = []
    with stored("sqlite", sizes(2000)) as target:
        for _ in range(rounds):
            one = Arrivals(measure("naps_in_process", target)).rate
            again(target)
            ratios.append(Arrivals(measure("naps_on_workers", target)).rate / (WORKERS * one))
            again(target)
    what = f"sleeping {1000 * NAP:.0f} ms a spectrum, {sizes(2000):,} spectra, against {WORKERS} x one process"
    yield Figure(what, f"{statistics.median(ratios):.3f}", "0.95", "0.98")


def fitting(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Compare Corv on workers with two plain processes."""
    from astra_orchestration.sample import make_sample

    ratios, of_cpu = [], []
    with tempfile.TemporaryDirectory(prefix="astra-bench-") as folder:
        visits = sorted((Path(make_sample(folder, stars=STARS).folder) / "visits").rglob("*.fits"))
        with stored("sqlite", sizes(2000), [str(path) for path in visits]) as target:
            for _ in range(rounds):
                plain = [result_of(half) for half in [start("corv_in_halves", target, half) for half in range(2)]]
                again(target)
                on_workers = measure("corv_on_workers", target)
                again(target)
                rate = Arrivals([arrival for half in plain for arrival in half["arrivals"]]).rate
                ratios.append(Arrivals(on_workers["arrivals"]).rate / rate)
                of_cpu.append(sum(half["cpu"] for half in plain) / on_workers["cpu"])
    what = f"Corv, {sizes(2000):,} spectra, against two plain processes with half each"
    yield Figure(what, f"{statistics.median(ratios):.3f}", "0.85", "0.95")
    yield Figure(
        "the same by CPU time of all processes, start and imports too", f"{statistics.median(of_cpu):.3f}", "", ""
    )


def empty(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Measure what a result costs that took no time to find."""
    for backend in BACKENDS:
        with stored(backend, sizes(100_000)) as target:
            each = []
            for _ in range(rounds):
                each.append(1e6 / Arrivals(measure("nothing_on_workers", target)["arrivals"]).rate)
                again(target)
        what = f"empty pipeline, per result, {sizes(100_000):,} narrow ones, {backend}"
        yield Figure(what, f"{statistics.median(each):.0f} us", "< 200 us", "< 100 us")


def memory(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Measure by how much a run grows."""
    del rounds  # the same each time
    for backend in BACKENDS:
        with stored(backend, sizes(200_000)) as target:
            megabytes = measure("nothing_on_workers", target)["megabytes"]
        what = f"the run's memory over {sizes(200_000):,} spectra, above its start, {backend}"
        yield Figure(what, f"{megabytes:.0f} MB", "< 100 MB", "")


def starting(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Measure how long it takes until something is found, and what a worker weighs until then."""
    with stored("sqlite", sizes(1000)) as target:
        found = []
        for _ in range(rounds):
            found.append(measure("first_result", target))
            again(target)
    seconds = statistics.median(one["seconds"] for one in found)
    yield Figure("from the start of a run to its first result", f"{seconds:.1f} s", "< 10 s", "< 5 s")
    megabytes = max(one["megabytes"] for one in found)
    yield Figure("a worker's memory before its first spectrum", f"{megabytes:.0f} MB", "< 100 MB", "")


def claiming(sizes: Sizes, rounds: int) -> Iterator[Figure]:
    """Measure what it takes to lease spectra."""
    for backend in BACKENDS:
        with stored(backend, sizes(100_000)) as target:
            spent = statistics.median(measure("claims", target) for _ in range(rounds))
        what = f"a claim of {KEYS_PER_CLAIM} spectra with its second question, {backend}"
        yield Figure(what, f"{spent:.2f} ms", "< 5 ms", "< 1 ms")


FIGURES = {function.__name__: function for function in (sleeping, fitting, empty, memory, starting, claiming)}


@contextmanager
def stored(backend: str, n_spectra: int, files: Sequence[str] = ()) -> Iterator[Target]:
    """Make a database with spectra, and give how to open it."""
    with new_database(backend) as target:
        open_database(target)
        prepare(n_spectra, files)
        yield target


def lines_of(names: Sequence[str], scale: float, rounds: int) -> Iterator[str]:
    """Give the lines of the table."""
    yield "| figure | measured | must | aim | load average | cores |"
    yield f"|{' --- |' * 6}"
    for name in names:
        for figure in FIGURES[name](lambda number: max(40, int(number * scale)), rounds):
            load = f"{os.getloadavg()[0]:.1f}"
            cores = len(os.sched_getaffinity(0))
            yield f"| {figure.what} | {figure.value} | {figure.must} | {figure.aim} | {load} | {cores} |"


def main() -> None:
    """Run the benchmark and print, or write, its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(FIGURES), action="append", help="only this figure")
    parser.add_argument("--scale", type=float, default=1.0, help="this much of the spectra")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, target, *arguments = json.loads(options.measure)
        open_database(target)
        print(json.dumps(MEASURES[name](*arguments)))
        return
    lines = []
    for line in lines_of(options.only or list(FIGURES), options.scale, options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        write_figures(options.write, "engines", lines)


if __name__ == "__main__":
    main()
