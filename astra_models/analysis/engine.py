"""Where a pipeline is called: in this process, unless another engine is given.

An engine is handed work, and gives batches of results and failures, or what other processes found, ready to be written.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from astra_models.analysis.analyst import Found
from astra_models.analysis.calling import Batches
from astra_models.analysis.gathering import Gathering
from astra_models.analysis.isolation import Limits, analyse_isolated
from astra_models.analysis.job import Job, make_job
from astra_models.analysis.recipe import HasParameters
from astra_models.analysis.runs import PlannedRun
from astra_models.analysis.usage import RunUsage
from astra_models.analysis.work import Chunk, ChunkSize, Work, chunks
from astra_models.columns.many import ManyResults
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.spectrum import SpectrumMixin, load_spectra

__all__ = ["Counted", "Engine", "InProcess", "Part", "Parts", "job_of"]

Part = Sequence[PipelineOutputMixin | ManyResults[PipelineOutputMixin] | RejectedResult] | Found
Counted = Callable[[Iterable[SpectrumMixin]], Iterator[SpectrumMixin]]


class Parts(Protocol):
    """Results of a run, part by part.

    Attributes
    ----------
    planned : PlannedRun or None
        What the run is made with.
    usage : RunUsage
        What was used so far.
    """

    planned: PlannedRun | None
    usage: RunUsage

    @property
    def answered(self) -> int:
        """How many spectra have a result so far."""
        ...

    def __iter__(self) -> Iterator[Part]: ...


class Engine(Protocol):
    """Calls pipelines somewhere."""

    def start(
        self, pipeline: Pipeline, work: Work, parameters: Mapping[str, object], batch_size: int | None, counted: Counted
    ) -> Parts:
        """Begin a run: nothing happens before its first part is asked for.

        Parameters
        ----------
        pipeline : Pipeline
            The pipeline.
        work : Work
            What is to be analysed.
        parameters : mapping of str to object
            Values of the pipeline's parameters.
        batch_size : int or None
            Results per batch, if batches are made in this process.
        counted : callable
            Passes on spectra, and counts them.
        """
        ...


def job_of(pipeline: Pipeline, parameters: Mapping[str, object], *, with_database: bool = True) -> Job | None:
    """Say what another process needs to run a pipeline as this one would, defaults from this environment included."""
    if isinstance(pipeline, HasParameters):
        parameters = pipeline.recipe(**parameters).values
    return make_job(pipeline, parameters, with_database=with_database)


class InProcess:
    """The engine that calls a pipeline in this process.

    What was in hand when another run died is tried in a child process, after the rest.

    Parameters
    ----------
    limits : Limits, optional
        What a spectrum may take there.
    """

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()

    def start(
        self, pipeline: Pipeline, work: Work, parameters: Mapping[str, object], batch_size: int | None, counted: Counted
    ) -> Parts:
        """Begin a run."""
        return _InProcessParts(self.limits, pipeline, work, parameters, batch_size, counted)


class _InProcessParts:
    def __init__(
        self,
        limits: Limits,
        pipeline: Pipeline,
        work: Work,
        parameters: Mapping[str, object],
        batch_size: int | None,
        counted: Counted,
    ):
        self.usage = RunUsage()
        self._limits = limits
        self._work = work
        self._suspects: list[Chunk] = []
        self._job = job_of(pipeline, parameters)  # None if no other process could import it
        self._isolated = Gathering(pipeline.name, pipeline.output_models, self.usage)
        self._batches = pipeline.batches(counted(self._spectra()), batch_size=batch_size, **parameters)
        self.planned = self._batches.planned if isinstance(self._batches, Batches) else None

    @property
    def answered(self) -> int:
        """How many spectra have a result so far."""
        here = self._batches.answered if isinstance(self._batches, Batches) else 0
        return here + self._isolated.answered

    def __iter__(self) -> Iterator[Part]:
        started = time.process_time()
        yield from self._batches
        self.usage.core_seconds += time.process_time() - started
        if self._suspects:
            yield from self._isolate()

    def _spectra(self) -> Iterator[SpectrumMixin]:
        for chunk in chunks(self._work, ChunkSize()):
            if chunk.isolated and self._job is not None:
                self._suspects.append(chunk)
            else:
                yield from load_spectra(chunk.model, chunk.keys)

    def _isolate(self) -> Iterator[Part]:
        assert self._job is not None
        for chunk in self._suspects:
            for found in analyse_isolated(self._job, chunk.model, chunk.keys, self._limits):
                yield self._isolated.take(found)
        if (last := self._isolated.end()) is not None:
            yield last
