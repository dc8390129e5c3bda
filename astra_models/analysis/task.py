"""Pipelines: generators of results, timed, and called again for what they didn't answer.

A pipeline is a generator function whose annotations say what it takes and gives::

    @task
    def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        model = load()
        yield ...                      # what took time until here was overhead
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=model(spectrum.flux))

The task sees which spectra the generator has taken. A generator that raised is finished; it is called again for
those that it took and didn't answer, one by one, and for the rest. What still raises, and spectra without a
result, become `RejectedResult` rows among the results.
"""

import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

from astra_models.analysis.annotations import input_models, output_models
from astra_models.analysis.recording import record
from astra_models.errors import MissingPixelsError, PipelineError, TaskError
from astra_models.rejected import EXCEPTION, NO_RESULT, RejectedResult
from astra_models.version import installed_v_astra

BATCH_SIZE = 1000
SECONDS_PER_BATCH = 60.0
MOST_FAILURES_BEFORE_A_RESULT = 10_000
MOST_OPEN_WITH_PIXELS = 1000
MOST_UNREADABLE_FILES = 20  # more than that without any result: the disk is at fault, and all of them are still due

logger = logging.getLogger(__name__)


@overload
def task(function: Callable[..., Any], /) -> "Task": ...


@overload
def task(*, batch_size: int = BATCH_SIZE) -> Callable[[Callable[..., Any]], "Task"]: ...


def task(function: Callable[..., Any] | None = None, /, *, batch_size: int = BATCH_SIZE) -> Any:
    """Make a pipeline of a generator function.

    Parameters
    ----------
    function : callable
        A generator function. Its first parameter's annotation names the kinds of spectra that it takes, its return
        annotation the models of its results.
    batch_size : int, optional
        Results that are written together.

    Returns
    -------
    Task
        The pipeline.

    Raises
    ------
    TaskError
        If the annotations don't say so.
    """
    names = sys._getframe(1).f_locals
    if function is None:
        return lambda function: Task(function, batch_size, names)
    return Task(function, batch_size, names)


class Task:
    """A pipeline: call it with spectra to analyse them.

    Attributes
    ----------
    name : str
        The function's name.
    spectrum_models, output_models : tuple of type
        The kinds of spectra that it takes, and the models of its results.
    batch_size : int
        Results that are written together.
    """

    def __init__(self, function: Callable[..., Any], batch_size: int, names: dict[str, Any]):
        functools.update_wrapper(self, function)
        if not inspect.isgeneratorfunction(function):
            raise TaskError(f"{function.__name__} is not a generator: it has to yield its results")
        if batch_size < 1:
            raise TaskError(f"{function.__name__}: batch_size={batch_size} is not a positive number of results")
        self.function = function
        self.name = function.__name__
        self.batch_size = batch_size
        self.spectrum_models = input_models(function, names)
        self.output_models = output_models(function, names)

    def __call__(
        self,
        spectra: Iterable[Any],
        *args: Any,
        write_to_database: bool = True,
        batch_size: int | None = None,
        run_id: str | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Analyse spectra.

        Parameters
        ----------
        spectra : iterable
            The spectra.
        *args, **kwargs
            Further arguments of the function.
        write_to_database : bool, optional
            Whether to write the results, and what failed, batch by batch.
        batch_size : int, optional
            Results that are written together; the task's own if not given.
        run_id : str, optional
            Under which failures are kept.

        Yields
        ------
        PipelineOutputMixin
            The results, with ``task_pk`` if they were written. Those that can't be stored are left out, and kept in
            ``rejected_result``.

        Raises
        ------
        PipelineError
            If the function raised on every call before it gave any result, other than for a few unreadable files.
        """
        for batch in self.batches(spectra, *args, batch_size=batch_size, **kwargs):
            if write_to_database:
                stored: list[Any] = []
                record(batch, run_id=run_id, stored=stored)
                yield from stored
            else:
                yield from (item for item in batch if not isinstance(item, RejectedResult))

    def batches(
        self, spectra: Iterable[Any], *args: Any, batch_size: int | None = None, **kwargs: Any
    ) -> Iterator[list[Any]]:
        """Analyse spectra, and give results and failures in bounded batches, as `record` takes them.

        A batch is closed when it is full, or old: what a slow pipeline has found is soon safe.

        Yields
        ------
        list
            Results, and unsaved `RejectedResult` rows.
        """
        analysis = Analysis(self, spectra, args, kwargs)
        size = batch_size or self.batch_size
        batch: list[Any] = []
        started = time.monotonic()
        for item in analysis:
            batch.append(item)
            if len(batch) >= size or time.monotonic() - started > SECONDS_PER_BATCH:
                analysis.share_overhead(batch)
                yield batch
                batch, started = [], time.monotonic()
        if batch:
            analysis.share_overhead(batch)
            yield batch


class Analysis:
    """One pass of a task over spectra: an iterator of results and failures.

    Parameters
    ----------
    pipeline : Task
        The task.
    spectra : iterable
        What it is to analyse.
    args, kwargs
        Further arguments of its function.
    """

    def __init__(self, pipeline: Task, spectra: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.pipeline = pipeline
        self.args = args
        self.kwargs = kwargs
        self.overhead = 0.0
        self.waiting = 0.0
        self._source = iter(spectra)
        self._open: dict[Any, Any] = {}
        self._n_taken = 0
        self._source_error: Exception | None = None
        self._exhausted = False
        self._any_result = False
        self._held: list[RejectedResult] = []
        self._n_unreadable = 0
        self._first_error: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        error = None
        while not self._exhausted:
            n_taken = self._n_taken
            error = yield from self._call(self._taken())
            if error is not None and self._n_taken == n_taken:
                raise self._failed(error) from (self._first_error or error)
            yield from self._answer_open(error)
        if self._held and not self._files_are_at_fault:
            raise self._failed(error) from self._first_error
        yield from self._held

    @property
    def _files_are_at_fault(self) -> bool:
        """Whether what failed so far are a few files that can't be read, which no pipeline can help."""
        return self._n_unreadable == len(self._held) <= MOST_UNREADABLE_FILES

    def share_overhead(self, batch: list[Any]) -> None:
        """Share the overhead since the last batch among this batch's results."""
        results = [item for item in batch if not isinstance(item, RejectedResult)]
        for result in results:
            result.t_overhead = self.overhead / len(results)
        if results:
            self.overhead = 0.0

    def _taken(self) -> Iterator[Any]:
        """Hand out spectra, and keep them as open until they are answered."""
        while True:
            started = time.monotonic()
            try:
                spectrum = next(self._source)
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:
                self._source_error = error
                raise
            finally:
                self.waiting += time.monotonic() - started
            self._n_taken += 1
            self._open[spectrum.spectrum_pk] = spectrum
            if len(self._open) > MOST_OPEN_WITH_PIXELS:
                self._release_oldest()
            yield spectrum

    def _release_oldest(self) -> None:
        for spectrum, _ in zip(self._open.values(), range(len(self._open) - MOST_OPEN_WITH_PIXELS), strict=False):
            if hasattr(spectrum, "release_pixels"):
                spectrum.release_pixels()

    def _call(self, spectra: Iterable[Any]) -> Any:
        """Run the generator until it ends or raises, and give its results; return what it raised."""
        generator = self.pipeline.function(spectra, *self.args, **self.kwargs)
        try:
            while True:
                started, self.waiting = time.monotonic(), 0.0
                try:
                    item = next(generator)
                except StopIteration:
                    return None
                except Exception as error:
                    if self._source_error is not None:  # not the pipeline's fault, nor the spectra's
                        raise self._source_error from None
                    logger.warning("%s raised %s", self.pipeline.name, _message(error))
                    return error
                finally:
                    busy = time.monotonic() - started - self.waiting
                    self.overhead += self.waiting
                if item is ...:
                    self.overhead += busy
                    continue
                yield from self._result(item, busy)
        finally:
            generator.close()

    def _result(self, result: Any, t_elapsed: float) -> Iterator[Any]:
        if not isinstance(result, self.pipeline.output_models):
            raise TaskError(
                f"{self.pipeline.name} yielded a {type(result).__name__}, but says that it gives "
                f"{', '.join(model.__name__ for model in self.pipeline.output_models)}"
            )
        self._open.pop(result.spectrum_pk, None)
        self._any_result = True
        result.t_elapsed = t_elapsed
        yield from self._held
        self._held = []
        yield result

    def _answer_open(self, error: Exception | None) -> Iterator[Any]:
        """Settle the spectra that a finished call took and didn't answer."""
        open_spectra = list(self._open.values())
        for spectrum in open_spectra:
            one_error = error
            if error is not None and len(open_spectra) > 1:
                self._open = {spectrum.spectrum_pk: spectrum}
                one_error = yield from self._call([spectrum])
                if spectrum.spectrum_pk not in self._open:
                    continue
            yield from self._failure(spectrum, one_error)
        self._open = {}

    def _failure(self, spectrum: Any, error: Exception | None) -> Iterator[RejectedResult]:
        failure = RejectedResult(
            model=self.pipeline.output_models[0].__name__,
            spectrum_pk=spectrum.spectrum_pk,
            source_pk=spectrum.source_pk,
            v_astra=installed_v_astra(),
            reason=NO_RESULT if error is None else EXCEPTION,
            message=f"{self.pipeline.name} gave no result" if error is None else _message(error),
        )
        if error is None or self._any_result:
            yield failure
            return
        # Whether the pipeline or its input is at fault is only known once there is a result.
        self._held.append(failure)
        self._n_unreadable += isinstance(error, MissingPixelsError)
        self._first_error = self._first_error or error
        if len(self._held) > MOST_FAILURES_BEFORE_A_RESULT:
            raise self._failed(error) from self._first_error

    def _failed(self, error: Exception | None) -> PipelineError:
        if self._held:
            when = f"on all {len(self._held)} spectra that it was given, and gave no result"
        elif self._any_result:
            when = "before it took another spectrum (what it gave until then is kept)"
        else:
            when = "before it took a spectrum"
        reason = _message(error) if error is not None else self._held[-1].message
        return PipelineError(
            f"{self.pipeline.name} raised {when}: {reason}. What has no result is still due: mend the pipeline or its "
            "input and run again"
        )


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
