"""What a pipeline was asked, and what it may answer: each spectrum that it took, once for every model of its results.

Memory is bounded by the spectra that are open. An answered spectrum is forgotten, and whatever comes for it then is
refused as for one that was never taken. Only where results may be of several models (or versions) a spectrum is
remembered after its first answer: the latest ones in memory, the others in a temporary file.
"""

import json
import operator
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from astra_models.columns.many import ManyResults, key_column
from astra_models.errors import AstraError
from astra_models.messages import MISTAKES, safe_text
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import version_integer_to_string

__all__ = ["AnySpectrum", "Asked", "Taken", "Versions", "whole"]

MOST_OPEN_WITH_PIXELS = 1000
MOST_PARTLY_ANSWERED = 10_000
BITS_OF_KEY = 63

AnySpectrum = SpectrumMixin | Spectrum
Versions = Literal["installed", "older"]
Output = TypeVar("Output", bound=PipelineOutputMixin)
_FILLED_IN = ("spectrum_pk", "source_pk", "v_astra", "spectrum_revision", "upstream_revision")
Slot = tuple[object, ...]
"""Number of the model, major.minor version (0 unless results may be of several), and what more is in the key."""

PLAIN_KEY = ("spectrum_pk", "source_pk", "v_astra", "v_astra_major_minor")


@dataclass(frozen=True)
class Handed:
    """A spectrum with the results that are handed to a pipeline with it.

    Parameters
    ----------
    spectrum : SpectrumMixin or Spectrum
        The spectrum.
    results : tuple of PipelineOutputMixin or None
        One for each need.
    upstream_revision : int or None
        The sum of their revisions; None where the tables don't keep any.
    """

    spectrum: AnySpectrum
    results: tuple[PipelineOutputMixin | None, ...]
    upstream_revision: int | None

    @property
    def item(self) -> tuple[object, ...]:
        """What the pipeline gets."""
        return (self.spectrum, *self.results)


class Taken:
    """A spectrum that a pipeline took.

    Parameters
    ----------
    handed : SpectrumMixin or Spectrum or Handed or None
        The row, or the row with results of other pipelines; None once it was answered.
    key : int or None
        Its ``spectrum_pk``; None for a spectrum that isn't in the database.
    place : int
        The how manyth it was.
    """

    __slots__ = (
        *("_source", "answered", "handed", "is_blamed", "key", "place", "revision", "spectrum", "times", "upstream"),
    )

    def __init__(self, handed: AnySpectrum | Handed | None, key: int | None, place: int):
        self.handed = handed
        is_handed = isinstance(handed, Handed)
        spectrum = handed.spectrum if is_handed else handed
        self.spectrum = spectrum
        self.key = key
        self.place = place
        self.times = 1
        self.answered: dict[Slot, int] = {}
        self.is_blamed = False
        # As it was handed out: a pipeline may change the row.
        row = spectrum.__data__ if isinstance(spectrum, SpectrumMixin) else {}
        self._source = row.get("source_pk", ...)
        self.revision = _revision(row)
        self.upstream = handed.upstream_revision if is_handed else None

    @property
    def item(self) -> object:
        """What the pipeline gets."""
        return self.handed.item if isinstance(self.handed, Handed) else self.handed

    @property
    def source(self) -> object:
        """The key of its source; `...` if it can't be found out."""
        if self._source is ... and self.spectrum is not None:
            try:
                self._source = getattr(self.spectrum, "source_pk", None)
            except AstraError:  # a spectrum of no kind
                return ...
        return self._source

    @property
    def known_source(self) -> int | None:
        """The key of its source; None if it has none, or it can't be found out."""
        return None if self.source is ... else whole(self.source)

    def to_text(self) -> str:
        """Give what is remembered of an answered spectrum."""
        answered = [(*slot, count) for slot, count in self.answered.items()]
        made_from = (self.revision, self.upstream)
        return json.dumps([self.place, self.times, self.source is ..., self.known_source, answered, *made_from])

    @classmethod
    def from_text(cls, key: int, text: str) -> "Taken":
        """Restore what is remembered."""
        place, times, unknown, source, answered, revision, upstream = json.loads(text)
        taken = cls(None, key, place)
        taken.revision, taken.upstream = revision, upstream
        taken.times = times
        taken._source = ... if unknown else source
        taken.answered = {tuple(slot): count for *slot, count in answered}
        return taken


class Asked:
    """The spectra that a pipeline took, and which results answer them.

    Parameters
    ----------
    models : sequence of type
        The models that its results may be of.
    v_astra : int
        The installed version.
    versions : {"installed", "older"}, optional
        Which versions results may have: the installed one, or older ones too.
    """

    def __init__(self, models: Sequence[type[PipelineOutputMixin]], v_astra: int, versions: Versions = "installed"):
        self.n_taken = 0
        self.n_answered = 0
        self._models = list(models)
        self._v_astra = v_astra
        self._versions = versions
        self._more_of_key = [tuple(name for name in model.upsert_key if name not in PLAIN_KEY) for model in models]
        self._is_plain = len(self._models) == 1 and versions == "installed" and not any(self._more_of_key)
        self._open: dict[int, Taken] = {}
        self._unsaved: list[Taken] = []
        self._with_pixels: OrderedDict[int, None] = OrderedDict()
        self._partly: dict[int, Taken] = {}
        self._file: _File | None = None
        self._blames: list[int] = []

    def take(self, handed: AnySpectrum | Handed) -> Taken:
        """Note that the pipeline took a spectrum, and release the pixels of one that has been open for long."""
        spectrum = handed.spectrum if isinstance(handed, Handed) else handed
        is_row = isinstance(spectrum, SpectrumMixin)  # its attributes take longer than its columns
        key = whole(spectrum.__data__.get("spectrum_pk") if is_row else getattr(spectrum, "spectrum_pk", None))
        self.n_taken += 1
        taken = Taken(handed, key, self.n_taken)
        if key is None:
            self._unsaved.append(taken)
            return taken
        before = self._open.pop(key, None)
        if before is None and (self._partly or self._file is not None):
            before = self._pop_remembered(key)
        if before is not None:  # it was given twice
            taken.times, taken.answered = before.times + 1, before.answered
        self._open[key] = taken
        self._with_pixels[key] = None
        if len(self._with_pixels) > MOST_OPEN_WITH_PIXELS:
            oldest, _ = self._with_pixels.popitem(last=False)
            _release_pixels(self._open.get(oldest))
        return taken

    def ask_again(self, taken: Taken) -> None:
        """Let a spectrum be open again, alone."""
        taken.is_blamed = False
        if taken.key is None:
            self._unsaved.append(taken)
        else:
            self._open[taken.key] = taken

    @property
    def is_any_open(self) -> bool:
        """Whether a spectrum that was taken has no answer yet."""
        return bool(self._open or self._unsaved)

    def unanswered(self) -> list[Taken]:
        """Give the spectra that are open, which are so no longer; those that a refused result was for are blamed."""
        left = sorted((one for one in [*self._open.values(), *self._unsaved] if not one.answered), key=_place)
        earlier: list[Taken] = []
        rest = iter(left)
        upcoming = next(rest, None)
        for blame in self._blames:
            while upcoming is not None and upcoming.place <= blame:
                earlier.append(upcoming)
                upcoming = next(rest, None)
            if earlier:
                earlier.pop().is_blamed = True
        self._open, self._unsaved, self._blames = {}, [], []
        self._with_pixels.clear()
        return left

    def answer(self, result: PipelineOutputMixin) -> str | None:
        """Take a result as an answer, and fill in the keys that it was given otherwise or not at all.

        Returns
        -------
        str or None
            Why it is none.
        """
        row = result.__data__
        given = row.get("spectrum_pk")
        if self._is_plain_answer(given, row):
            return None
        key = whole(given)
        if key is None and given is not None:
            return self._blame(f"spectrum_pk is no key: {_shown(given)}")
        slot, problem = self._slot(result)
        taken = self._find(key, row.get("source_pk"), slot)
        if taken is None:
            return self._blame(
                f"not taken, or answered already: spectrum_pk {key}, {type(result).__name__}; a spectrum is answered "
                f"after it was taken, once for each {' and '.join(('model', *self._more_of_key[self._model(result)]))}"
            )
        problem = problem or self._problem_of_source(taken, row.get("source_pk"))
        if problem is not None:
            taken.is_blamed = True
            return problem
        row["spectrum_pk"], row["v_astra"] = key, whole(row["v_astra"])
        if taken.source is not ...:
            row["source_pk"] = taken.source
        _stamp(row, taken)
        self._note(taken, slot)
        return None

    def _only_answer(self, key: object, source: object) -> Taken | None:
        """Take the only answer to a spectrum that is open, if it is one: what most rows are."""
        if type(key) is not int:
            return None
        taken = self._open.get(key)
        if taken is None or taken.times > 1 or taken.answered or source != taken.source:
            return None
        del self._open[key]
        self._with_pixels.pop(key, None)
        self.n_answered += 1
        return taken

    def _is_plain_answer(self, key: object, row: dict[str, Any]) -> bool:
        """Take the answer that nearly all are at once: the only one to a spectrum that is open, with all its keys."""
        if type(key) is not int or not self._is_plain:
            return False
        taken = self._open.get(key)
        v_astra, source = row.get("v_astra"), row.get("source_pk")
        if taken is None or taken.times > 1 or type(v_astra) is not int or type(source) is not int:
            return False
        if v_astra != self._v_astra or source != taken.source:
            return False
        _stamp(row, taken)
        del self._open[key]
        self._with_pixels.pop(key, None)
        self.n_answered += 1
        return True

    def answer_many(self, many: ManyResults[Output]) -> tuple[ManyResults[Output], list[tuple[Output, str]]]:
        """Take many results as answers, row by row, as `answer`; what they lack is filled in.

        Returns
        -------
        ManyResults
            The rows that are answers.
        list of (PipelineOutputMixin, str)
            The others, and why they are none.
        """
        own = [many.columns[name].tolist() for name in ("spectrum_pk", "source_pk")]
        are_plain = "v_astra" not in many.columns and self._is_plain
        places: list[int] = []
        filled: list[tuple[object, ...]] = []
        refused: list[tuple[Output, str]] = []
        for place, (key, source) in enumerate(zip(*own, strict=True)):
            if are_plain and (taken := self._only_answer(key, source)) is not None:
                filled.append((key, source, self._v_astra, taken.revision, taken.upstream))
            else:
                result = many.row(place)
                if (problem := self.answer(result)) is not None:
                    refused.append((result, problem))
                    continue
                filled.append(tuple(map(result.__data__.get, _FILLED_IN)))
            places.append(place)
        answers = many if len(places) == len(many) else many[np.array(places, dtype=np.int64)]
        for name, values in zip(_FILLED_IN, zip(*filled, strict=True), strict=True) if filled else ():
            answers.columns[name] = key_column(values)
        return answers, refused

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _slot(self, result: PipelineOutputMixin) -> tuple[Slot, str | None]:
        """Say which of the answers to a spectrum a result is, and what is wrong with its version."""
        row = result.__data__
        given = row.get("v_astra")
        if given is None:
            given = row["v_astra"] = self._v_astra
        v_astra = whole(given)
        model = self._model(result)
        more = tuple(safe_text(row.get(name), 100) for name in self._more_of_key[model])
        if self._versions == "installed" and v_astra == self._v_astra:
            return (model, 0, *more), None
        if self._versions == "older" and v_astra is not None and 0 <= v_astra <= self._v_astra:
            return (model, v_astra // 1000, *more), None
        wanted = f"the installed one is {self._v_astra} ({version_integer_to_string(self._v_astra)})"
        remedy = "leave it out" if self._versions == "installed" else "give that or an older one"
        return (model, 0, *more), f"another version: v_astra is {_shown(given)}, and {wanted}; {remedy}"

    def _model(self, result: PipelineOutputMixin) -> int:
        return 0 if len(self._models) == 1 else self._models.index(_model_among(self._models, result))

    def _problem_of_source(self, taken: Taken, given: object) -> str | None:
        if given is None or taken.source is ... or given is taken.source:
            return None
        if taken.source is not None and whole(given) == whole(taken.source):
            return None
        return (
            f"another source: source_pk is {_shown(given)}, and that of spectrum {taken.key} is {taken.source}; leave "
            "it out"
        )

    def _find(self, key: int | None, source: object, slot: Slot) -> Taken | None:
        """Find the spectrum that is answered, if there may be an answer to it yet."""
        if key is None:
            fitting = (one for one in self._unsaved if self._may_answer(one, slot))
            return next((one for one in fitting if self._problem_of_source(one, source) is None), None)
        taken = self._open.get(key)
        if taken is None:
            taken = self._pop_remembered(key)
            if taken is not None:
                self._remember(key, taken)
        return taken if taken is not None and self._may_answer(taken, slot) else None

    def _pop_remembered(self, key: int) -> Taken | None:
        """Take a spectrum that has an answer, and may have others, out of memory or the file."""
        taken = self._partly.pop(key, None)
        return self._file.pop(key) if taken is None and self._file is not None else taken

    def _remember(self, key: int, taken: Taken) -> None:
        self._partly[key] = taken
        if len(self._partly) > MOST_PARTLY_ANSWERED:
            self._put_aside()

    def _may_answer(self, taken: Taken, slot: Slot) -> bool:
        return taken.answered.get(slot, 0) < taken.times

    def _note(self, taken: Taken, slot: Slot) -> None:
        """Note that a spectrum has an answer."""
        if not taken.answered:
            self.n_answered += 1
        taken.answered[slot] = taken.answered.get(slot, 0) + 1
        # Of results of older versions, or with more than the spectrum in their key, there may always be another.
        is_complete = (
            self._versions == "installed"
            and not any(self._more_of_key)
            and all(taken.answered.get((model, 0), 0) == taken.times for model in range(len(self._models)))
        )
        if taken.key is None:
            if is_complete:
                self._unsaved.remove(taken)
            return
        self._open.pop(taken.key, None)
        self._with_pixels.pop(taken.key, None)
        self._partly.pop(taken.key, None)
        if not is_complete:
            _ = taken.source  # while the row is there
            taken.spectrum = taken.handed = None
            self._remember(taken.key, taken)

    def _put_aside(self) -> None:
        """Move the older half of what is remembered in memory to the file."""
        older = list(self._partly.values())[: MOST_PARTLY_ANSWERED // 2]
        self._file = self._file or _File()
        self._file.add(older)
        for taken in older:
            if taken.key is not None:
                self._partly.pop(taken.key, None)

    def _blame(self, problem: str) -> str:
        """Note that a result was for none of the open spectra: the one that it was meant for must not seem unanswered.

        It is taken for the last one that is open when all is settled.
        """
        if len(self._blames) < len(self._open) + len(self._unsaved):
            self._blames.append(self.n_taken)
        return problem


class _File:
    """What is remembered of many spectra, in a temporary file, which SQLite deletes."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE taken (key INTEGER PRIMARY KEY, entry TEXT)")
        self.close: Callable[[], None] = self._database.close

    def add(self, some: Sequence[Taken]) -> None:
        """Keep what is remembered of spectra that have a key."""
        rows = [(taken.key, taken.to_text()) for taken in some]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO taken VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def pop(self, key: int) -> Taken | None:
        """Give what is remembered of a spectrum, and forget it; None if nothing is."""
        found = self._database.execute("SELECT entry FROM taken WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        self._database.execute("DELETE FROM taken WHERE key = ?", (key,))
        return Taken.from_text(key, found[0])


def whole(value: object) -> int | None:
    """Give a key or version as an integer of 64 bits, or None if it is none."""
    if type(value) is int:
        return value if value.bit_length() <= BITS_OF_KEY else None
    if value is None or isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        number: Any = value.item() if isinstance(value, np.ndarray) else value
        whole_number = operator.index(number) if not isinstance(number, float) else int(number)
        return whole_number if whole_number == number and whole_number.bit_length() <= BITS_OF_KEY else None
    except MISTAKES:  # a value may be anything
        return None


def _stamp(row: dict[str, Any], taken: Taken) -> None:
    """Write down in a result what it was made from: the task says so, and not the pipeline."""
    row["spectrum_revision"], row["upstream_revision"] = taken.revision, taken.upstream


def _revision(row: Mapping[str, Any]) -> int | None:
    """Give the revision of a spectrum's row; None if it wasn't read, or the table has none."""
    return (row["revision"] or 0) if "revision" in row else None


def _model_among(models: Sequence[type[PipelineOutputMixin]], result: PipelineOutputMixin) -> type[PipelineOutputMixin]:
    """Give the model that a result is of: its class, or the base of it that is named."""
    return type(result) if type(result) in models else next(model for model in models if isinstance(result, model))


def _release_pixels(taken: Taken | None) -> None:
    spectrum = None if taken is None else taken.spectrum
    row = spectrum._resolved if isinstance(spectrum, Spectrum) else spectrum
    if isinstance(row, SpectrumMixin):
        row.release_pixels()


def _place(taken: Taken) -> int:
    return taken.place


def _shown(value: object) -> str:
    return safe_text(value, 100)
