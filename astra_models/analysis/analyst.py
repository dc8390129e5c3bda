"""A pipeline called chunk by chunk, in any process, and what it found as columns, ready to be written.

The pipeline's generator is kept from one chunk to the next, so that what it set up is set up once in a process. Only a
generator that wants more spectra before it has answered those that it took is told that there are none, and called
anew for the next chunk.
"""

import heapq
import os
import pickle
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from astra_models.analysis.asked import AnySpectrum, Handed
from astra_models.analysis.calling import Item, PipelineCalls
from astra_models.analysis.failures import Undecided
from astra_models.analysis.job import Job
from astra_models.analysis.usage import SLOWEST, Usage
from astra_models.columns.many import ManyResults
from astra_models.columns.typed import Column
from astra_models.host import host_name
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.spectrum import SpectrumMixin, load_spectra
from astra_models.upsert.batch import make_batch
from astra_models.upsert.plan import plan_for
from astra_models.upsert.quarantine import rejected_row

if TYPE_CHECKING:
    from astra_models.upsert.given import Given

__all__ = ["Analyst", "Found"]


@dataclass
class Found:
    """What a pipeline found in a chunk.

    Parameters
    ----------
    keys : list of int
        The chunk's spectra.
    columns : list of (type, dict of str to Column)
        Results, checked, by output model.
    failures : list of RejectedResult
        What failed, and results that can't be stored.
    undecided : Undecided
        What failed while nothing has succeeded in this process.
    answered : int
        How many spectra have a result.
    usage : Usage
        What it took.
    """

    keys: list[int]
    columns: list[tuple[type[PipelineOutputMixin], dict[str, Column]]]
    failures: list[RejectedResult]
    undecided: Undecided
    answered: int
    usage: Usage

    def pack(self) -> bytes:
        """Give all of it as one buffer, for the process that sent the chunk."""
        return pickle.dumps(self, protocol=5)

    @staticmethod
    def unpack(packed: bytes) -> "Found":
        """Restore what a process of this run packed."""
        return pickle.loads(packed)

    @property
    def rows(self) -> int:
        """How many results and failures there are."""
        return sum(len(next(iter(columns.values())).null) for _, columns in self.columns) + len(self.failures)


class Analyst:
    """Calls one pipeline for chunk after chunk.

    Parameters
    ----------
    job : Job
        The pipeline and its parameters.
    on_take : callable, optional
        Called with the key of each spectrum before the pipeline gets it.
    """

    def __init__(self, job: Job, on_take: Callable[[int | None], None] | None = None):
        self._task = job.load()
        self._recipe = self._task.recipe_as_used(job.parameters)
        self.on_take = on_take
        self._calls: PipelineCalls[PipelineOutputMixin] | None = None
        self._items: Iterator[Item[PipelineOutputMixin]] = iter(())
        self._feed = _Feed()
        self._setup = 0.0
        # What may have several answers is only complete when its generator has ended.
        self._keeps_generator = len(self._task.output_models) == 1 and self._task.v_astra == "installed"

    def analyse(self, model: type[SpectrumMixin], keys: Sequence[int]) -> Found:
        """Analyse the spectra of a chunk, which are read from the database."""
        return self.analyse_handed(list(keys), self._task.with_results(load_spectra(model, keys)))

    def analyse_handed(self, keys: list[int], spectra: Iterable[AnySpectrum | Handed]) -> Found:
        """Analyse the spectra of a chunk, with the results of other pipelines that the pipeline takes."""
        started, cpu, self._setup = time.monotonic(), time.process_time(), 0.0
        self._feed.add(spectra)
        results: list[PipelineOutputMixin | ManyResults[PipelineOutputMixin]] = []
        failures: list[RejectedResult] = []
        undecided = Undecided([], [], 0)
        answered = 0
        while self._feed.has_more():
            if self._calls is not None:
                self._calls.on_take = self.on_take
            calls = self._calls or self._begin()
            before = calls.asked.n_answered
            batch: list[Item[PipelineOutputMixin]] = []
            for item in self._items:
                batch.append(item)
                if self._keeps_generator and calls.is_idle and not self._feed.has_more():
                    break
            else:
                self._calls = None
            answered += calls.asked.n_answered - before
            calls.share_overhead(batch)
            failures += [item for item in batch if isinstance(item, RejectedResult)]
            results += [item for item in batch if not isinstance(item, RejectedResult)]
            undecided += calls.held.hand_over()
        columns, refused = columns_of(self._task.output_models, results)
        usage = Usage(
            host_name(),
            os.getpid(),
            time.monotonic() - started,
            time.process_time() - cpu,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            _slowest(results),
            self._setup,
        )
        return Found(keys, columns, failures + refused, undecided, answered, usage)

    def _begin(self) -> PipelineCalls[PipelineOutputMixin]:
        self._calls = self._task.calls(self._feed, self._recipe, decides=False)
        self._items = iter(self._calls)
        self._calls.on_take = self._at_first(self._calls)
        return self._calls

    def _at_first(self, calls: PipelineCalls[PipelineOutputMixin]) -> Callable[[int | None], None]:
        """Have the time noted that the pipeline takes until it asks for a spectrum."""
        began = time.monotonic()

        def note(key: int | None) -> None:
            self._setup += time.monotonic() - began - calls.waiting
            calls.on_take = self.on_take
            if self.on_take is not None:
                self.on_take(key)

        return note


class _Feed:
    """Spectra for a generator that goes on: it may end, and have more later."""

    def __init__(self) -> None:
        self._parts: deque[Iterator[AnySpectrum | Handed]] = deque()
        self._next: AnySpectrum | Handed | None = None

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> AnySpectrum | Handed:
        if not self.has_more():
            raise StopIteration
        upcoming, self._next = self._next, None
        assert upcoming is not None
        return upcoming

    def add(self, spectra: Iterable[AnySpectrum | Handed]) -> None:
        """Add spectra."""
        self._parts.append(iter(spectra))

    def has_more(self) -> bool:
        """Tell whether there is another one."""
        while self._next is None and self._parts:
            self._next = next(self._parts[0], None)
            if self._next is None:
                self._parts.popleft()
        return self._next is not None


def columns_of(
    models: Sequence[type[PipelineOutputMixin]],
    results: Sequence[PipelineOutputMixin | ManyResults[PipelineOutputMixin]],
) -> tuple[list[tuple[type[PipelineOutputMixin], dict[str, Column]]], list[RejectedResult]]:
    """Give results as checked columns, by model, and those that can't be stored as rows of the list of these."""
    together: list[tuple[type[PipelineOutputMixin], Given]] = []
    by_model: dict[type[PipelineOutputMixin], list[PipelineOutputMixin]] = {}
    for result in results:
        if isinstance(result, ManyResults):
            together.append((result.model, result))
            by_model.pop(result.model, None)  # rows that follow are written after it
        elif type(result) in by_model:
            by_model[type(result)].append(result)
        else:
            together.append((type(result), by_model.setdefault(type(result), [result])))
    columns = []
    refused: list[RejectedResult] = []
    for model, some in together:
        batch = make_batch(plan_for(model), some)
        refused += [RejectedResult(**rejected_row(batch, refusal)) for refusal in batch.refusals]
        if len(batch):
            columns.append((model, batch.columns))
    return columns, refused


def _slowest(
    results: Sequence[PipelineOutputMixin | ManyResults[PipelineOutputMixin]],
) -> list[tuple[float, int]]:
    return heapq.nlargest(SLOWEST, (one for result in results for one in _times(result)))


def _times(result: PipelineOutputMixin | ManyResults[PipelineOutputMixin]) -> Iterable[tuple[float, int]]:
    if isinstance(result, ManyResults):  # all took equally long, as far as that is known
        some = result[:SLOWEST]
        return zip(some["t_elapsed"].tolist(), some["spectrum_pk"].tolist(), strict=True)
    return [(result.t_elapsed or 0.0, result.spectrum_pk)]
