"""Calling a pipeline's generator over spectra, timed, until each has a result or a failure.

A generator that raised is finished. It is called again for the spectra that it took and didn't answer, one by one, and
for the rest. What still raises, and spectra without a result, become `RejectedResult` rows among the results.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from types import EllipsisType
from typing import Generic, TypeVar

from astra_models.errors import MissingPixelsError, PipelineError, TaskError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import EXCEPTION, NO_RESULT, RejectedResult
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import installed_v_astra

__all__ = ["AnySpectrum", "PipelineCalls", "in_batches"]

SECONDS_PER_BATCH = 60.0
MOST_FAILURES_BEFORE_A_RESULT = 10_000
MOST_OPEN_WITH_PIXELS = 1000
MOST_UNREADABLE_FILES = 20  # more than that without any result: the disk is at fault, and all of them are still due

AnySpectrum = SpectrumMixin | Spectrum
Output = TypeVar("Output", bound=PipelineOutputMixin)

logger = logging.getLogger(__name__)


def in_batches(calls: "PipelineCalls[Output]", size: int) -> Iterator[list[Output | RejectedResult]]:
    """Give results and failures in batches, and share the overhead among the results of each.

    A batch is closed when it is full, or after a minute: what a slow pipeline has found is soon safe.
    """
    batch: list[Output | RejectedResult] = []
    started = time.monotonic()
    for item in calls:
        batch.append(item)
        if len(batch) >= size or time.monotonic() - started > SECONDS_PER_BATCH:
            calls.share_overhead(batch)
            yield batch
            batch, started = [], time.monotonic()
    if batch:
        calls.share_overhead(batch)
        yield batch


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
    """

    def __init__(
        self,
        name: str,
        call: Callable[[Iterable[AnySpectrum]], Generator[Output | EllipsisType, None, None]],
        output_models: tuple[type[Output], ...],
        spectra: Iterable[AnySpectrum],
    ):
        self.name = name
        self.call = call
        self.output_models = output_models
        self.overhead = 0.0
        self.waiting = 0.0
        self._source = iter(spectra)
        self._open: dict[int, AnySpectrum] = {}
        self._n_taken = 0
        self._source_error: Exception | None = None
        self._exhausted = False
        self._any_result = False
        self._held: list[RejectedResult] = []
        self._n_unreadable = 0
        self._first_error: Exception | None = None

    def __iter__(self) -> Iterator[Output | RejectedResult]:
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

    def share_overhead(self, batch: list[Output | RejectedResult]) -> None:
        """Share the overhead since the last batch among this batch's results."""
        results = [item for item in batch if not isinstance(item, RejectedResult)]
        for result in results:
            result.t_overhead = self.overhead / len(results)
        if results:
            self.overhead = 0.0

    @property
    def _files_are_at_fault(self) -> bool:
        """Whether what failed so far are a few files that can't be read, which no pipeline can help."""
        return self._n_unreadable == len(self._held) <= MOST_UNREADABLE_FILES

    def _taken(self) -> Iterator[AnySpectrum]:
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

    def _call(self, spectra: Iterable[AnySpectrum]) -> Generator[Output | RejectedResult, None, Exception | None]:
        """Run the generator until it ends or raises, and give its results; return what it raised."""
        generator = self.call(spectra)
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
                    logger.warning("%s raised %s", self.name, _message(error))
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

    def _result(self, result: Output, t_elapsed: float) -> Iterator[Output | RejectedResult]:
        if not isinstance(result, self.output_models):
            raise TaskError(
                f"{self.name} yielded a {type(result).__name__}, but says that it gives "
                f"{', '.join(model.__name__ for model in self.output_models)}"
            )
        self._open.pop(result.spectrum_pk, None)
        self._any_result = True
        result.t_elapsed = t_elapsed
        yield from self._held
        self._held = []
        yield result

    def _answer_open(self, error: Exception | None) -> Iterator[Output | RejectedResult]:
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

    def _failure(self, spectrum: AnySpectrum, error: Exception | None) -> Iterator[RejectedResult]:
        failure = RejectedResult(
            model=self.output_models[0].__name__,
            spectrum_pk=spectrum.spectrum_pk,
            source_pk=spectrum.source_pk,
            v_astra=installed_v_astra(),
            reason=NO_RESULT if error is None else EXCEPTION,
            message=f"{self.name} gave no result" if error is None else _message(error),
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
            f"{self.name} raised {when}: {reason}. What has no result is still due: mend the pipeline or its "
            "input and run again"
        )


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
