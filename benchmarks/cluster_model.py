"""What 10 to 10,000 workers do on ten million spectra: a discrete-event model, fed with measured costs.

Workers take chunks, as large as `astra_models.analysis.work.ChunkSize` makes them. The run's process does one thing at
a time: it leases and sends chunks, and writes what comes back. All files are on one file system, which opens so many in
a second. ``--measure`` compares the model with workers of this machine that sleep, and with 200 fake ones: of Dask, so
that its scheduler is real, but all they do with a chunk is to sleep.

    python benchmarks/cluster_model.py [--measure] [--plot docs/images/cluster.svg] [--write docs/benchmarks.md]
"""

import argparse
import asyncio
import heapq
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distributed import Client, Future

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from _figures import write_figures

from astra_models.analysis.work import ChunkSize
from astra_orchestration.engines.on_workers import CHUNKS_PER_WORKER, FETCHED_AHEAD

SPECTRA = 10_000_000
WORKERS = (10, 100, 1_000, 10_000)
SECONDS = {0.005: "5 ms", 0.05: "50 ms", 5.0: "5 s", 600.0: "10 min"}
MOST_CHUNKS = 60_000
"""After so many the rest is taken to go on as the second half of them did."""
FEWEST_TO_SHARE = 100
FAKE_WORKERS, PROCESSES = 200, 4
CHUNK_BYTES = 20_000
FEW_WAIT = 0.95
FULL = 0.85
"""What is this busy has others wait for it."""
COLOURS = {0.005: "#0072b2", 0.05: "#009e73", 5.0: "#d55e00", 600.0: "#cc79a7"}


@dataclass(frozen=True)
class Costs:
    """What things take, in seconds, as measured on one core of 2026 (`benchmarks/engines.py`, `benchmarks/upsert.py`).

    Parameters
    ----------
    claim : float
        Leasing a chunk, by the run's process.
    task : float
        What Dask's scheduler and client take for a chunk; they are in the run's process.
    row : float
        Unpacking a result and writing it, by the run's process.
    spectrum : float
        What a worker takes for a spectrum beside the pipeline: its row of the database, its result.
    read : float
        Opening a spectrum's file and reading its pixels, by a worker.
    files : float
        What the file system takes for a file, if thousands ask at once: the inverse of the most files in a second.
    database : float
        What the database takes for a row, if several connections write.
    setup : float
        What a worker does once: imports, and the pipeline's model.
    seconds_per_chunk : float or None
        How long a chunk is to take; as `ChunkSize` says if not given.
    """

    claim: float = 0.0015
    task: float = 0.016
    row: float = 23e-6
    spectrum: float = 107e-6
    read: float = 1.5e-3
    files: float = 1 / 20_000
    database: float = 10e-6
    setup: float = 5.0
    seconds_per_chunk: float | None = None


class Outcome(NamedTuple):
    """How a run went: seconds, the share of the workers' time that pipelines used, and how busy everything else was."""

    seconds: float
    efficiency: float
    scheduler: float
    writer: float
    files: float

    @property
    def bottleneck(self) -> str:
        """What workers wait for, if that is one thing; scheduler and writer are in one process."""
        if self.efficiency > FEW_WAIT:
            return "none"
        if self.files > FULL:
            return "file system"
        if self.scheduler + self.writer > FULL:
            return "scheduler" if self.scheduler > self.writer else "writer"
        return "start and end" if self.efficiency < 0.5 else "reading files"


def simulate(workers: int, n_spectra: int, seconds: float, costs: Costs, runs: int = 1) -> Outcome:
    """Run a pipeline on workers.

    Parameters
    ----------
    workers : int
        How many there are.
    n_spectra : int
        How many spectra are due.
    seconds : float
        What the pipeline takes for one.
    costs : Costs
        What everything else takes.
    runs : int, optional
        How many runs share the work by leases, each with as many of the workers.
    """
    if runs > 1:  # they are alike, and wait for each other at the database and the file system only
        shared = replace(costs, row=max(costs.row, runs * costs.database), files=runs * costs.files)
        return simulate(max(1, workers // runs), -(-n_spectra // runs), seconds, shared)
    return _Run(workers, n_spectra, seconds, costs).outcome()


class _Run:
    def __init__(self, workers: int, n_spectra: int, seconds: float, costs: Costs):
        self.workers = workers
        self.n_spectra = n_spectra
        self.seconds = seconds
        self.costs = costs
        self.size = ChunkSize(workers, seconds=costs.seconds_per_chunk, first=1)
        self.left = n_spectra
        self.done = 0
        self.now = 0.0
        """Of the run's process."""
        self.scheduling = self.writing = self.reading = 0.0
        self.files_free = 0.0
        self.idle = [(0.0, worker) for worker in range(workers)]
        self.waiting: deque[tuple[float, int]] = deque()
        self.back: list[tuple[float, int, float, int]] = []
        self.in_flight = 0
        self.is_set_up = [False] * workers
        self.marks: list[tuple[float, int]] = []

    def outcome(self) -> Outcome:
        """Let it run."""
        n_chunks = 0
        while self.in_flight or self.left:
            n_new = 0
            while self.left and self.in_flight < CHUNKS_PER_WORKER * self.workers and (n_new < 2 or not self._is_any()):
                self._send()
                n_new += 1
            self._take()
            n_chunks += 1
            self.marks.append((self.now, self.done))
            if n_chunks >= max(MOST_CHUNKS, 12 * self.workers):
                break
        end, share = self.now, self.n_spectra / self.done
        if self.done < self.n_spectra:
            half = self.marks[len(self.marks) // 2 - 1]
            end += (self.n_spectra - self.done) * (self.now - half[0]) / (self.done - half[1])
        useful = self.n_spectra * self.seconds / self.workers
        busy = (self.scheduling, self.writing, self.reading)
        return Outcome(end, useful / end, *(share * some / end for some in busy))

    def _is_any(self) -> bool:
        return bool(self.back) and self.back[0][0] <= self.now

    def _send(self) -> None:
        spent = self.costs.claim + self.costs.task
        self.now += spent
        self.scheduling += spent
        number = min(self.left, self.size.of_next(self.left))
        self.left -= number
        self.in_flight += 1
        self.waiting.append((self.now, number))
        self._hand_out()

    def _hand_out(self) -> None:
        while self.waiting and self.idle:
            sent, number = self.waiting.popleft()
            free, worker = heapq.heappop(self.idle)
            start = max(sent, free)
            setup = 0.0 if self.is_set_up[worker] else self.costs.setup
            self.is_set_up[worker] = True
            self.files_free = max(self.files_free, start) + number * self.costs.files
            self.reading += number * self.costs.files
            took = number * (self.seconds + self.costs.read + self.costs.spectrum)
            end = max(start + setup + took, self.files_free)
            heapq.heappush(self.back, (end, number, end - start - setup, worker))

    def _take(self) -> None:
        end, number, took, worker = heapq.heappop(self.back)
        heapq.heappush(self.idle, (end, worker))
        self._hand_out()
        self.now = max(self.now, end) + number * self.costs.row
        self.writing += number * self.costs.row
        self.in_flight -= 1
        self.done += number
        self.size.note(number, took)


# ---- what it says


def hours(seconds: float) -> str:
    """Write a time in hours or days."""
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h" if seconds < 200 * 3600 else f"{seconds / 86_400:,.0f} days"


def forecasts(costs: Costs) -> Iterator[str]:
    """Give the table of what so many workers do, and what helps."""
    columns = ("a spectrum takes", "workers", "time", "efficiency", "first bottleneck")
    yield f"| {' | '.join(columns)} | 4 runs that share | 4 runs, chunks of 60 s |"
    yield f"|{' --- |' * 7}"
    longer = replace(costs, seconds_per_chunk=60.0)
    for seconds, name in SECONDS.items():
        for workers in WORKERS:
            one = simulate(workers, SPECTRA, seconds, costs)
            shared = [simulate(workers, SPECTRA, seconds, some, runs=4) for some in (costs, longer)]
            helps = [f"{hours(some.seconds)}, {some.efficiency:.0%} ({some.bottleneck})" for some in shared]
            if workers < FEWEST_TO_SHARE:
                helps = ["", ""]
            yield (
                f"| {name} | {workers:,} | {hours(one.seconds)} | {one.efficiency:.0%} | {one.bottleneck} | "
                f"{' | '.join(helps)} |"
            )


def plot(path: Path, costs: Costs) -> None:
    """Draw the efficiency against the number of workers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "astra"
    figure, axes = pyplot.subplots(figsize=(7, 4.2), facecolor="white")
    workers = [10, 30, 100, 300, 1_000, 3_000, 10_000]
    for seconds, name in SECONDS.items():
        for runs, style in ((1, "-"), (4, "--")):
            ratios = [simulate(number, SPECTRA, seconds, costs, runs).efficiency for number in workers]
            label = f"{name} a spectrum" if runs == 1 else None
            axes.plot(workers, ratios, style, color=COLOURS[seconds], label=label, marker="o", markersize=3)
    axes.plot([], [], "--", color="black", label="4 runs that share the work")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="workers", ylabel="share of the workers' time that pipelines use")
    axes.set_title("Ten million spectra")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


# ---- against measurements


def on_this_machine(n_spectra: int) -> Iterator[str]:
    """Compare with workers of this machine that sleep over each spectrum."""
    from _pipelines import naps
    from _spectra import new_database, open_database, prepare

    from astra_models.analysis.stream import analyse, write_batches
    from astra_orchestration.engines.clusters import Local
    from astra_orchestration.engines.on_workers import OnWorkers

    yield "| workers | what they do | measured | model |"
    yield f"|{' --- |' * 4}"
    costs = Costs(read=0.0, files=0.0, setup=0.0)
    for workers in (1, 2, 4):
        with new_database("sqlite") as target:
            open_database(target)
            prepare(n_spectra)
            stream = analyse(naps, engine=OnWorkers(Local(workers=workers)), parameters={"seconds": 0.05})
            arrivals = [(time.monotonic(), report.rows) for report, _ in write_batches(stream)]
        rate = (sum(number for _, number in arrivals) - arrivals[0][1]) / (arrivals[-1][0] - arrivals[0][0])
        modelled = n_spectra / simulate(workers, n_spectra, 0.05, costs).seconds
        yield f"| {workers} | {n_spectra:,} spectra of 50 ms | {rate:.1f} spectra/s | {modelled:.1f} |"


@contextmanager
def fake_workers() -> Iterator["Client"]:
    """Start a scheduler in this process, as a run does, and workers that share few processes; gives its client."""
    from distributed import Client, LocalCluster

    quiet = LocalCluster(n_workers=0, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL)
    with quiet as cluster, Client(cluster) as client:
        command = [sys.executable, __file__, "--serve", cluster.scheduler_address]
        processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(PROCESSES)]
        try:
            client.wait_for_workers(FAKE_WORKERS, timeout=120)
            yield client
        finally:
            for process in processes:
                process.terminate()
                process.wait()


async def serve(address: str) -> None:
    """Be some of the workers of a scheduler, until it ends."""
    from distributed import Worker

    workers = [await Worker(address, nthreads=1) for _ in range(FAKE_WORKERS // PROCESSES)]
    for worker in workers:
        await worker.finished()


def sleep_over_chunk(packed: bytes, seconds: float) -> bytes:
    """Do what a fake worker does: sleep, and send back as much as it got."""
    time.sleep(seconds)
    return packed


def chunks_per_second(client: "Client", seconds: float, n_chunks: int) -> float:
    """Measure how many chunks fake workers do, when all have some."""
    packed = bytes(CHUNK_BYTES)
    completed: SimpleQueue[Future] = SimpleQueue()
    fetched: deque[Any] = deque()
    in_flight = 0
    arrivals: list[float] = []
    with ThreadPoolExecutor(FETCHED_AHEAD) as fetchers:  # as the engine does it
        while len(arrivals) < n_chunks:
            n_new = 0
            while in_flight < CHUNKS_PER_WORKER * FAKE_WORKERS and (n_new < 2 or (completed.empty() and not fetched)):
                future = client.submit(sleep_over_chunk, packed, seconds, pure=False)
                future.add_done_callback(completed.put)
                in_flight += 1
                n_new += 1
            while not fetched or (len(fetched) < FETCHED_AHEAD and not completed.empty()):
                fetched.append(fetchers.submit(lambda: completed.get().result()))
            assert fetched.popleft().result() == packed
            in_flight -= 1
            arrivals.append(time.monotonic())
    half = len(arrivals) // 2
    return (len(arrivals) - half) / (arrivals[-1] - arrivals[half - 1])


def with_fake_workers() -> Iterator[str]:
    """Compare what is left for the scheduler, when workers do nothing, with the model."""
    yield "| fake workers | a chunk takes | measured | model |"
    yield f"|{' --- |' * 4}"
    costs = Costs(claim=0.0, row=0.0, spectrum=0.0, read=0.0, files=0.0, setup=0.0, seconds_per_chunk=1.0)
    with fake_workers() as client:
        for seconds, n_chunks in ((10.0, 800), (5.0, 1_200), (1.0, 3_000)):
            measured = chunks_per_second(client, seconds, n_chunks)
            one = simulate(FAKE_WORKERS, n_chunks, seconds, costs)
            yield f"| {FAKE_WORKERS} | {seconds:.0f} s | {measured:.1f} chunks/s | {n_chunks / one.seconds:.1f} |"


def lines_of(measure: bool, costs: Costs) -> Iterator[str]:
    """Give the lines of the tables."""
    yield from forecasts(costs)
    if measure:
        yield ""
        yield from on_this_machine(600)
        yield ""
        yield from with_fake_workers()


def main() -> None:
    """Run the model, and print or write what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="compare it with measurements, too")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    lines = []
    for line in lines_of(options.measure, Costs()):
        print(line, flush=True)
        lines.append(line)
    if options.plot:
        plot(options.plot, Costs())
    if options.write:
        write_figures(options.write, "cluster_model", lines)


if __name__ == "__main__":
    main()
