"""Calling a pipeline's generator over spectra, timed, until each has a result or a failure.

A generator that raised is finished. It is called again for the spectra that it took and didn't answer, one by one, and
for the rest. What still raises, and spectra without a result, become `RejectedResult` rows among the results. So do
results that it wasn't asked for (`asked`); these aren't stored, and their spectra stay due.
"""

import inspect
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache
from types import EllipsisType
from typing import Generic, TypeVar

import numpy as np

from astra_models.analysis.asked import AnySpectrum, Asked, Handed, Taken, Versions
from astra_models.analysis.failures import Failures, Held, made_from
from astra_models.analysis.runs import PlannedRun
from astra_models.columns.many import ManyResults
from astra_models.database.peewee_internals import mark_as_changed
from astra_models.errors import PipelineError, TaskError
from astra_models.fields import FloatArrayField
from astra_models.messages import MISTAKES, error_text, one_line, presentable, safe_text
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.version import installed_v_astra

__all__ = ["AnySpectrum", "Batches", "Item", "Output", "PipelineCalls", "rows_of"]

SECONDS_PER_BATCH = 60.0
MOST_FAILURES_BEFORE_A_RESULT = 10_000
MOST_REFUSED_WITHOUT_PROGRESS = 10_000

Output = TypeVar("Output", bound=PipelineOutputMixin)

Item = Output | ManyResults[Output] | RejectedResult
"""What a pass gives: a result, many of them as columns, or a failure."""

logger = logging.getLogger(__name__)


def rows_of(items: Iterable[Item[Output]]) -> Iterator[Output | RejectedResult]:
    """Give results and failures one by one."""
    for item in items:
        if isinstance(item, ManyResults):
            yield from item
        else:
            yield item


class Batches(Generic[Output]):
    """Results and failures in batches, and how many spectra have a result so far.

    A batch is closed when it is full, or after a minute: what a slow pipeline has found is soon safe. If the pipeline
    fails, what it gave until then comes first.

    Parameters
    ----------
    calls : PipelineCalls
        Gives the results.
    size : int
        Results and failures per batch.
    planned : PlannedRun, optional
        What the run is made with, to be written down when the first batch is.
    """

    def __init__(self, calls: "PipelineCalls[Output]", size: int, planned: PlannedRun | None = None):
        self.planned = planned
        self._calls = calls
        self._batches = _in_batches(calls, size)

    @property
    def answered(self) -> int:
        """How many spectra the pipeline gave a result for."""
        return self._calls.asked.n_answered

    def __iter__(self) -> Iterator[list[Item[Output]]]:
        return self._batches

    def __next__(self) -> list[Item[Output]]:
        return next(self._batches)

    def close(self) -> None:
        """End the pipeline; what isn't in a batch yet is lost."""
        self._batches.close()


class PipelineCalls(Generic[Output]):
    """One pass of a pipeline over spectra: an iterator of results and failures.

    Parameters
    ----------
    name : str
        The pipeline's name.
    call : callable
        Calls the pipeline's generator function with spectra.
    output_models : tuple of type
        The models that its results may be of; failures are recorded for the first.
    spectra : iterable
        The spectra.
    versions : {"installed", "older"}, optional
        Which versions its results may have.
    decides : bool, optional
        Whether all spectra are here, so that in the end it is known whether the pipeline itself is at fault. If not,
        what is held back then is for the caller to take.

    Attributes
    ----------
    held : Held
        Failures that are held back while there is no result.
    on_take : callable or None
        Called with the key of each spectrum that the pipeline takes, before it gets it.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[Iterable[object]], Generator[Output | ManyResults[Output] | EllipsisType, None, None]],
        output_models: tuple[type[Output], ...],
        spectra: Iterable[AnySpectrum | Handed],
        versions: Versions = "installed",
        *,
        decides: bool = True,
    ):
        self.decides = decides
        self.on_take: Callable[[int | None], None] | None = None
        self.name = name
        self.call = call
        self.output_models = output_models
        self.overhead = 0.0
        self.waiting = 0.0
        self.v_astra = installed_v_astra()
        self.asked = Asked(output_models, self.v_astra, versions)
        self._source = iter(spectra)
        self._upcoming: list[AnySpectrum | Handed] = []
        self._source_error: BaseException | None = None
        self._exhausted = False
        self._any_result = False
        self.failures = Failures(name, output_models[0], self.v_astra)
        self.held = Held(self.failures)
        self._n_refused = 0
        self._n_underway = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be said of the spectra that the pipeline took so far."""
        return not self._n_underway and not self.asked.is_any_open

    def __iter__(self) -> Iterator[Item[Output]]:
        try:
            yield from self._until_exhausted()
            if self.decides:
                yield from self.held.decide(self.output_models)
        finally:
            self.asked.close()

    def share_overhead(self, batch: list[Item[Output]]) -> None:
        """Share the overhead since the last batch among this batch's results."""
        results = [item for item in batch if not isinstance(item, RejectedResult)]
        n_results = sum(map(_n_rows, results))
        for result in results:
            if isinstance(result, ManyResults):
                result.set("t_overhead", self.overhead / n_results)
            else:
                result.t_overhead = self.overhead / n_results
        if results:
            self.overhead = 0.0

    def _until_exhausted(self) -> Iterator[Item[Output]]:
        while not self._exhausted:
            n_taken = self.asked.n_taken
            error = yield from self._call(self._taken())
            if self.asked.n_taken == n_taken and (error is not None or self._has_more()):
                raise self._failed(error) from self._cause(error)
            self._n_underway += 1
            yield from self._settle(error)
            self._n_underway -= 1

    def _taken(self) -> Iterator[object]:
        """Hand out spectra, and keep them as open until they are answered."""
        while (spectrum := self._next()) is not None:
            taken = self.asked.take(spectrum)
            self._n_refused = 0
            if self.on_take is not None:
                self.on_take(taken.key)
            yield taken.item

    def _next(self) -> AnySpectrum | Handed | None:
        """Read the next spectrum; None if there is none left."""
        if self._upcoming:
            return self._upcoming.pop()
        started = time.monotonic()
        try:
            spectrum = next(self._source, None)
        except MISTAKES as error:
            self._source_error = error
            raise
        finally:
            self.waiting += time.monotonic() - started
        self._exhausted = spectrum is None
        return spectrum

    def _has_more(self) -> bool:
        spectrum = self._next()
        if spectrum is not None:
            self._upcoming.append(spectrum)
        return spectrum is not None

    def _call(self, spectra: Iterable[object]) -> Generator[Item[Output], None, BaseException | None]:
        """Run the generator until it ends or raises, and give its results; return what it raised."""
        generator = self.call(spectra)
        try:
            while True:
                started, self.waiting = time.monotonic(), 0.0
                try:
                    item = next(generator)
                except StopIteration:
                    self._raise_error_of_source()
                    return None
                except MISTAKES as error:
                    self._raise_error_of_source()
                    logger.warning("%s raised %s", self.name, one_line(error_text(error)))
                    return error
                finally:
                    busy = time.monotonic() - started - self.waiting
                    self.overhead += self.waiting
                answers = self._answers(item, busy)
                if not answers:
                    self.overhead += busy
                    continue
                if self._any_result and self.held.any:
                    self._n_underway += 1
                    yield from self.held.let_go()
                    self._n_underway -= 1
                self._n_underway += 1
                yield from answers[:-1]
                self._n_underway -= 1
                yield answers[-1]
        finally:
            generator.close()

    def _raise_error_of_source(self) -> None:
        """Raise what the source of the spectra raised: it isn't the pipeline's fault, and not for it to hide."""
        if self._source_error is not None:
            raise self._source_error from None

    def _answers(self, given: Output | ManyResults[Output] | EllipsisType, t_elapsed: float) -> list[Item[Output]]:
        """Give what came of a yield: nothing, if it only says that time went into overhead."""
        if given is ...:
            return []
        return self._many(given, t_elapsed) if isinstance(given, ManyResults) else [self._answer(given, t_elapsed)]

    def _many(self, given: ManyResults[Output], t_elapsed: float) -> list[Item[Output]]:
        """Give many results as they are now, without those that are none, and why these aren't."""
        self._require_model(given.model)
        results, refused = self.asked.answer_many(given.copy())
        answers: list[Item[Output]] = []
        if len(results):
            self._any_result = True
            self._n_refused = 0
            results.set("t_elapsed", t_elapsed / len(given))
            answers.append(results)
        return answers + [self._refused(result, problem) for result, problem in refused]

    def _require_model(self, model: type) -> None:
        if not issubclass(model, self.output_models):
            raise TaskError(
                f"{self.name} yielded a {safe_text(model.__name__, 100)}, but says that it gives "
                f"{', '.join(model.__name__ for model in self.output_models)}"
            )

    def _answer(self, given: Output, t_elapsed: float) -> Output | RejectedResult:
        """Give a result as it is now, or why it is none."""
        self._require_model(type(given))
        result = _copy(given)
        problem = self.asked.answer(result)
        if problem is not None:
            return self._refused(result, problem)
        self._any_result = True
        self._n_refused = 0
        result.t_elapsed = t_elapsed
        return result

    def _refused(self, result: Output, problem: str) -> RejectedResult:
        self._n_refused += 1
        if self._n_refused > MOST_REFUSED_WITHOUT_PROGRESS:
            raise PipelineError(
                f"{self.name} gave {self._n_refused - 1} results in a row that can't be accepted, without taking a "
                f"spectrum: the last one is {problem}"
            )
        return self.failures.refused(result, problem)

    def _settle(self, error: BaseException | None) -> Iterator[Item[Output]]:
        """Settle the spectra that a finished call took and didn't answer."""
        left = self.asked.unanswered()
        for taken in left:
            one_error = error
            if error is not None and len(left) > 1:
                once_more = self._once_more(taken)
                one_error = yield from self._call(once_more)
                if inspect.getgeneratorstate(once_more) == inspect.GEN_CREATED:
                    raise self._failed(one_error) from self._cause(one_error)
                if not self.asked.unanswered():
                    continue
            if not taken.is_blamed:
                yield from self._failure(taken, one_error)

    def _once_more(self, taken: Taken) -> Generator[object, None, None]:
        """Hand out a spectrum that was taken before."""
        if taken.spectrum is not None:
            self.asked.ask_again(taken)
            yield taken.item

    def _failure(self, taken: Taken, error: BaseException | None) -> Iterator[RejectedResult]:
        if not self._any_result:
            # Whether the pipeline or its input is at fault is only known once there is a result.
            self.held.add(taken, error)
            if len(self.held.raised) > MOST_FAILURES_BEFORE_A_RESULT:
                raise self._failed(error) from self._cause(error)
        elif error is None:
            yield self.failures.silent(made_from(taken))
        else:
            yield self.failures.raised(taken, error)

    def _failed(self, error: BaseException | None) -> PipelineError:
        raised = self.held.raised
        if raised:
            when = f"on all {len(raised)} spectra that it was given, and gave no result"
        elif self._any_result:
            when = "before it took another spectrum (what it gave until then is kept)"
        else:
            when = "before it took a spectrum"
        what = "raised" if error is not None or raised else "ended"
        reason = error_text(error) if error is not None else raised[-1].message if raised else "it has to take one"
        return PipelineError(
            f"{self.name} {what} {when}: {reason}. What has no result is still due: mend the pipeline or its "
            "input and run again"
        )

    def _cause(self, error: BaseException | None) -> BaseException | None:
        cause = self.held.first_error or error
        return None if cause is None else presentable(cause)


def _copy(given: Output) -> Output:
    """Copy a result: the generator may set other values on the same object, or in the same array, for the next one."""
    copy = type(given).__new__(type(given))
    attributes = vars(copy)
    attributes |= vars(given)
    mark_as_changed(copy)
    attributes["__data__"] = values = given.__data__.copy()
    if given.__rel__:
        attributes["__rel__"] = given.__rel__.copy()
    if _may_hold_arrays(type(given)):
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                values[name] = value.copy()
    return copy


@cache
def _may_hold_arrays(model: type[PipelineOutputMixin]) -> bool:
    return any(isinstance(field, FloatArrayField) for field in model._meta.sorted_fields)


def _n_rows(item: Item[Output]) -> int:
    return len(item) if isinstance(item, ManyResults) else 1


def _in_batches(calls: PipelineCalls[Output], size: int) -> Generator[list[Item[Output]], None, None]:
    batch: list[Item[Output]] = []
    n_rows = 0
    started = time.monotonic()
    failure: Exception | None = None
    items = iter(calls)
    while True:
        try:
            item = next(items, None)
        except Exception as error:
            failure, item = error, None
        if item is not None:
            batch.append(item)
            n_rows += _n_rows(item)
        if batch and (item is None or n_rows >= size or time.monotonic() - started > SECONDS_PER_BATCH):
            calls.share_overhead(batch)
            yield batch
            batch, n_rows, started = [], 0, time.monotonic()
        if failure is not None:
            raise failure
        if item is None:
            return
