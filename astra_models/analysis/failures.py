"""What a pipeline failed on, as rows for ``rejected_result``, and holding them back while nothing has succeeded.

If a pipeline raises on every spectrum, or has nothing to say of any, it is at fault itself, or what it needs is
missing. Its spectra must stay due then: they aren't listed, and the run fails.
"""

import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import peewee

from astra_models.analysis.asked import Taken, whole
from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.errors import MissingPixelsError, PipelineError
from astra_models.messages import error_text, presentable, traceback_text
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import CONTRACT, EXCEPTION, MEMORY, NO_RESULT, RejectedResult, payload_to_json

__all__ = ["FEWEST_SILENT", "Failures", "Held", "Spectral", "Undecided", "has_results", "made_from"]

MOST_UNREADABLE_FILES = 20  # more than that without any result: the disk is at fault, and all of them are still due
FEWEST_SILENT = 20  # fewer spectra without a result may be a quiet night
UNKNOWN = -(2**63)


class Spectral(NamedTuple):
    """What a failure was of, as ``rejected_result`` has it.

    Parameters
    ----------
    spectrum_pk, source_pk : int or None
        The spectrum, and its source.
    spectrum_revision, upstream_revision : int or None
        What the pipeline was given, see `PipelineOutputMixin`.
    """

    spectrum_pk: int | None
    source_pk: int | None
    spectrum_revision: int | None
    upstream_revision: int | None


def made_from(taken: Taken) -> Spectral:
    """Say what a failure of a spectrum is of."""
    return Spectral(taken.key, taken.known_source, taken.revision, taken.upstream)


class Failures:
    """Makes the rows of what failed.

    Parameters
    ----------
    name : str
        The pipeline's name.
    model : type
        The output model that failures are recorded for.
    v_astra : int
        The installed version.
    """

    def __init__(self, name: str, model: type[PipelineOutputMixin], v_astra: int):
        self.name = name
        self.model = model.__name__
        self.v_astra = v_astra
        self._last_traceback = ""

    def raised(self, taken: Taken, error: BaseException) -> RejectedResult:
        """Give the row of a spectrum on which the pipeline raised."""
        text = traceback_text(error, skip=1)
        if text == self._last_traceback:
            text = self._last_traceback  # of thousands of rows that are held, the same text is in memory once
        self._last_traceback = text
        reason = MEMORY if isinstance(error, MemoryError) else EXCEPTION
        row = self._row(made_from(taken), reason, error_text(error))
        row.traceback = text
        return row

    def silent(self, of: "Spectral") -> RejectedResult:
        """Give the row of a spectrum for which the pipeline gave nothing."""
        return self._row(of, NO_RESULT, f"{self.name} gave no result")

    def refused(self, result: PipelineOutputMixin, problem: str) -> RejectedResult:
        """Give the row of a result that isn't an answer to what the pipeline was asked."""
        given = result.__data__
        of = Spectral(whole(given.get("spectrum_pk")), whole(given.get("source_pk")), None, None)
        row = self._row(of, CONTRACT, problem)
        row.model = type(result).__name__
        row.payload = payload_to_json(given)
        return row

    def ended(self, of: "Spectral", reason: str, message: str) -> RejectedResult:
        """Give the row of a spectrum that ended the process in which it was analysed."""
        return self._row(of, reason, message)

    def _row(self, of: "Spectral", reason: str, message: str) -> RejectedResult:
        return RejectedResult(model=self.model, v_astra=self.v_astra, reason=reason, message=message, **of._asdict())


class Undecided(NamedTuple):
    """Failures on the way to where it is known whether anything has succeeded.

    Parameters
    ----------
    raised : list of RejectedResult
        Spectra on which the pipeline raised.
    silent : list of Spectral
        Spectra for which it gave nothing.
    n_unreadable : int
        How many of the first have a file that can't be read.
    """

    raised: list[RejectedResult]
    silent: list[Spectral]
    n_unreadable: int

    def __add__(self, other: "Undecided") -> "Undecided":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Undecided(self.raised + other.raised, self.silent + other.silent, self.n_unreadable + other.n_unreadable)


class Held:
    """Failures that aren't listed yet, because nothing has succeeded.

    Parameters
    ----------
    failures : Failures
        Makes the rows.
    """

    def __init__(self, failures: Failures):
        self.failures = failures
        self.raised: list[RejectedResult] = []
        self.first_error: BaseException | None = None
        self._n_unreadable = 0
        self._silent = array.array("q")  # the numbers of one after the other: there may be millions

    @property
    def any(self) -> bool:
        """Whether anything is held."""
        return bool(self.raised or self._silent)

    @property
    def n_silent(self) -> int:
        """How many spectra there were no results for."""
        return len(self._silent) // len(Spectral._fields)

    @property
    def are_files_at_fault(self) -> bool:
        """Whether all that was raised is of a few files that can't be read, which no pipeline can help."""
        return self._n_unreadable == len(self.raised) <= MOST_UNREADABLE_FILES

    def add(self, taken: Taken, error: BaseException | None) -> None:
        """Hold a spectrum on which the pipeline raised, or, if there is no error, for which it gave nothing."""
        if error is None:
            self._silent.extend(UNKNOWN if number is None else number for number in made_from(taken))
            return
        self.raised.append(self.failures.raised(taken, error))
        self._n_unreadable += issubclass(type(error), MissingPixelsError)
        self.first_error = self.first_error or error

    def take_in(self, other: "Undecided") -> None:
        """Hold what another process held back."""
        self.raised += other.raised
        self._n_unreadable += other.n_unreadable
        for of in other.silent:
            self._silent.extend(UNKNOWN if number is None else number for number in of)

    def hand_over(self) -> "Undecided":
        """Give all that is held to another process, which decides; nothing is held any more."""
        raised, silent, n_unreadable = self.raised, list(self._each_silent(self._silent)), self._n_unreadable
        self.raised, self._silent, self._n_unreadable = [], array.array("q"), 0
        return Undecided(raised, silent, n_unreadable)

    def let_go(self) -> Iterator[RejectedResult]:
        """Give all that is held, as rows; nothing is held any more."""
        raised, silent = self.raised, self._silent
        self.raised, self._silent = [], array.array("q")
        yield from raised
        yield from map(self.failures.silent, self._each_silent(silent))

    def decide(self, models: Sequence[type[PipelineOutputMixin]]) -> Iterator[RejectedResult]:
        """Give all that is held, as rows, if the pipeline isn't at fault itself, now that it has ended.

        Raises
        ------
        PipelineError
            If it is: it raised on every spectrum, or gave nothing for 20 or more, and no result is stored.
        """
        failures = self.failures
        if self.raised and not self.are_files_at_fault:
            raise PipelineError(
                f"{failures.name} raised on all {len(self.raised)} spectra that it was given, and gave no result: "
                f"{self.raised[-1].message}. What has no result is still due: mend the pipeline or its input and run "
                "again"
            ) from (None if self.first_error is None else presentable(self.first_error))
        n_held = self.n_silent + len(self.raised)
        if self.n_silent and n_held >= FEWEST_SILENT and not has_results(models, failures.v_astra):
            raise PipelineError(
                f"{failures.name} gave no result for any of {n_held} spectra, and none of this version is stored. They "
                "are still due: mend the pipeline or its input and run again"
            )
        yield from self.let_go()

    @staticmethod
    def _each_silent(numbers: "array.array[int]") -> Iterator[Spectral]:
        for start in range(0, len(numbers), len(Spectral._fields)):
            some = numbers[start : start + len(Spectral._fields)]
            yield Spectral(*(None if number == UNKNOWN else number for number in some))


def has_results(models: Sequence[type[PipelineOutputMixin]], v_astra: int) -> bool:
    """Tell whether any table of a pipeline's results has one of a version."""
    return any(_has_results(model, v_astra) for model in models)


def _has_results(model: type[PipelineOutputMixin], v_astra: int) -> bool:
    query = model.select(peewee.SQL("1")).where(model.v_astra == v_astra)
    return run_transaction(database, lambda: model.table_exists() and query.exists())
