"""The engine that has workers call a pipeline: chunks of spectra go out, columns ready to be written come back.

A bounded number of chunks is in flight. What this process does is write.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from astra_models.analysis.analyst import Found
from astra_models.analysis.engine import Counted, Part, Parts, job_of
from astra_models.analysis.gathering import Gathering
from astra_models.analysis.job import Job
from astra_models.analysis.marks import MarkFile
from astra_models.analysis.recipe import HasParameters
from astra_models.analysis.runs import plan_run
from astra_models.analysis.usage import RunUsage
from astra_models.analysis.work import Chunk, ChunkSize, Work
from astra_models.errors import DatabaseUnavailableError, WorkerError
from astra_models.messages import error_text
from astra_models.outputs import Pipeline
from astra_models.spectrum import load_spectra
from astra_models.upsert.plan import BYTES_PER_VALUE, plan_for
from astra_orchestration.engines.clusters import Cluster, Workers
from astra_orchestration.engines.tasks import TOPIC, Order, analyse, analyse_in_child, mark_of

if TYPE_CHECKING:
    from concurrent.futures import Future as Result

    from distributed import Future

    Fetched = Result[list[bytes] | None]

__all__ = ["OnWorkers"]

CHUNKS_PER_WORKER = 2
FETCHED_AHEAD = 3
"""Chunks that are fetched while one is written: each takes a few trips between processes."""
MOST_LOSSES = 10
SECONDS_BETWEEN_CHECKS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sent:
    """A chunk that is with the workers.

    Parameters
    ----------
    chunk : Chunk
        The chunk.
    order : Order
        The order that it was sent by.
    losses : int
        How many workers were lost while they had it.
    """

    chunk: Chunk
    order: Order
    losses: int = 0


class OnWorkers:
    """The engine that has workers call a pipeline.

    Parameters
    ----------
    cluster : Cluster
        Where the workers are.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster

    def start(
        self, pipeline: Pipeline, work: Work, parameters: Mapping[str, object], batch_size: int | None, counted: Counted
    ) -> Parts:
        """Begin a run.

        Raises
        ------
        WorkerError
            If workers couldn't import the pipeline.
        """
        del batch_size  # what comes back is written chunk by chunk
        job = job_of(pipeline, parameters, with_database=self.cluster.carry == "keys")
        if job is None:
            raise WorkerError(
                f"{pipeline.name} can't be imported by workers; define it in a module that is installed there, or run "
                "it in process"
            )
        return _WorkerParts(self.cluster, pipeline, work, job, counted)


class _WorkerParts:
    def __init__(self, cluster: Cluster, pipeline: Pipeline, work: Work, job: Job, counted: Counted):
        self.usage = RunUsage(cluster.name, 1)
        self.planned = None
        if isinstance(pipeline, HasParameters):
            self.planned = plan_run(pipeline.recipe_as_used(job.parameters), getattr(pipeline, "function", None))
        self._cluster = cluster
        self._pipeline = pipeline
        self._work = work
        self._job = job
        self._counted = counted
        self._gathering = Gathering(pipeline.name, pipeline.output_models, self.usage)
        self._numbers = itertools.count()
        self._heard: set[str] = set()

    @property
    def answered(self) -> int:
        """How many spectra have a result so far."""
        return self._gathering.answered

    def __iter__(self) -> Iterator[Part]:
        if not self._work.left:
            return
        with self._cluster.open() as workers:
            self.usage.workers = workers.number
            self.usage.dashboard = workers.client.dashboard_link
            workers.client.subscribe_topic(TOPIC, self._hear)
            fetchers = ThreadPoolExecutor(FETCHED_AHEAD, "astra-fetch")
            try:
                yield from self._results(workers, fetchers)
            finally:
                fetchers.shutdown(wait=False, cancel_futures=True)
        if (last := self._gathering.end()) is not None:
            yield last

    def _results(self, workers: Workers, fetchers: ThreadPoolExecutor) -> Iterator[Found]:
        size = ChunkSize(workers.number, self._bytes_per_spectrum(), first=1)
        sent: dict[Future, _Sent] = {}
        completed: SimpleQueue[Future] = SimpleQueue()
        fetched: deque[tuple[Future, Fetched]] = deque()

        def send(item: _Sent, suspect: int | None = None) -> None:
            if item.chunk.isolated or item.losses:
                future = workers.client.submit(analyse_in_child, item.order.pack(), suspect, pure=False)
            else:
                future = workers.client.submit(analyse, item.order.pack(), pure=False)
            sent[future] = item
            future.add_done_callback(completed.put)

        is_more = True
        while True:
            n_new = 0
            # What has come back says how large the next ones are to be: many workers aren't all sent small ones first.
            most = CHUNKS_PER_WORKER * workers.number
            while is_more and len(sent) < most and (n_new < 2 or (completed.empty() and not fetched)):
                chunk = self._work.chunk(size.of_next(self._work.left))
                is_more = chunk is not None
                if chunk is not None:
                    send(_Sent(chunk, self.make_order(chunk, workers)))
                    n_new += 1
            if not sent:
                return
            while not fetched or (len(fetched) < FETCHED_AHEAD and not completed.empty()):
                future = _next(completed, workers.check)
                fetched.append((future, fetchers.submit(self._result_of, future, workers)))
            future, result = fetched.popleft()
            packed = result.result()
            item = sent.pop(future)
            if packed is None:
                send(self._after_loss(item), self._suspect(item))
                continue
            future.release()
            for some in packed:
                found = Found.unpack(some)
                size.note(len(found.keys), found.usage.seconds_without_setup, len(some))
                for _ in self._counted(found.keys):  # pyright: ignore[reportArgumentType]  only their number counts
                    pass
                yield self._gathering.take(found)

    def _hear(self, event: tuple[float, str]) -> None:
        """Log what a worker tells, once."""
        _, said = event
        if said not in self._heard:
            self._heard.add(said)
            logger.warning("%s: a worker says: %s", self._pipeline.name, said)

    def _result_of(self, future: "Future", workers: Workers) -> list[bytes] | None:
        """Give what a worker sent; None if it was lost.

        Raises
        ------
        WorkerError
            If there are no workers any more, or they can't do what they were sent.
        """
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            return future.result()
        except (KilledWorker, FutureCancelledError):
            workers.check()
            return None
        except ImportError as error:
            raise WorkerError(
                f"{self._pipeline.name}: a worker can't import what it needs: {error_text(error)}; install the same "
                "packages there, or set PYTHONPATH where workers start"
            ) from error
        except DatabaseUnavailableError as error:
            if self._gathering.answered:
                raise
            raise WorkerError(
                f"{self._pipeline.name}: a worker can't reach the database: {error_text(error)}; if it may not, set "
                "the engine's `carry` to rows, or to pixels"
            ) from error

    def _after_loss(self, item: _Sent) -> _Sent:
        self.usage.lost_workers += 1
        if item.losses >= MOST_LOSSES:
            raise WorkerError(
                f"{self._pipeline.name}: {item.losses + 1} workers were lost one after the other while they had the "
                f"same {len(item.chunk.keys)} spectra, although these were tried in child processes; look at the "
                "workers' logs, and at the nodes"
            )
        logger.warning(
            "%s: a worker was lost; the %d spectra that it may have had in hand are tried in a child process",
            self._pipeline.name,
            len(item.chunk.keys),
        )
        return replace(item, losses=item.losses + 1)

    def _suspect(self, item: _Sent) -> int | None:
        """Give the spectrum that a lost worker was at, if its mark can be read."""
        path = mark_of(item.order.marks, item.order.number)
        if not path.exists():
            return None
        try:
            mark = MarkFile(path)
        except OSError as error:  # the worker had no room for it
            logger.warning("%s can't be read: %s", path, error_text(error))
            return None
        key = mark.read().key
        mark.remove()
        return key

    def make_order(self, chunk: Chunk, workers: Workers) -> Order:
        """Make the order by which a chunk is sent."""
        return Order(
            self._job,
            chunk.model,
            chunk.keys,
            self._items(chunk),
            self._cluster.limits,
            self._gathering.slowest,
            workers.marks,
            next(self._numbers),
            is_patient=self._gathering.answered > 0,
        )

    def _items(self, chunk: Chunk) -> list | None:
        if self._cluster.carry == "keys":
            return None
        spectra = list(load_spectra(chunk.model, chunk.keys))
        if self._cluster.carry == "pixels":
            for spectrum in spectra:
                spectrum.read_pixels()
        with_results = getattr(self._pipeline, "with_results", None)
        return list(spectra if with_results is None else with_results(spectra))

    def _bytes_per_spectrum(self) -> float:
        return sum(BYTES_PER_VALUE * len(plan_for(model).fields) for model in self._pipeline.output_models)


def _next(completed: "SimpleQueue[Future]", check: Callable[[], None]) -> "Future":
    """Wait for the next chunk that is done, or lost."""
    while True:
        check()
        try:
            return completed.get(timeout=SECONDS_BETWEEN_CHECKS)
        except Empty:
            continue
