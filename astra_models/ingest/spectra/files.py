"""Files of spectra into the tables of sources and spectra.

The headers of a batch of files are read first; then the batch is written in one transaction, so that none is open while
files are read. A spectrum that is there is found by the natural key of its kind, and written only if the file now says
something else; what is stored of its source stays, and only what is missing is filled in. A file that can't be ingested
is listed with the reason and doesn't affect other files.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from peewee import PeeweeException

from astra_models.apogee import (
    ApogeeCoaddedSpectrumInApStar,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
)
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import Column
from astra_models.errors import AstraError, UnknownReleaseError, UnrecognizedFileError
from astra_models.fits.door import refusing
from astra_models.ingest.rows.checked import LINKS, Problems, Rows, Stored, Table, check_rows
from astra_models.ingest.rows.links import MADE_OF
from astra_models.ingest.rows.sources import IDENTIFIERS, count_sources
from astra_models.ingest.rows.writing import VISIT, Outcome, add_sources, write_rows
from astra_models.ingest.spectra.content import FileContent
from astra_models.ingest.spectra.known import KnownFiles, Looked, Read, is_passing
from astra_models.ingest.spectra.recognise import more_models, read_spectrum_file
from astra_models.ingest.spectra.values import Value
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.schema.tables import require_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin

MODELS: tuple[type[SpectrumMixin], ...] = (  # visits before what is made of them
    BossVisitSpectrum,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
    ApogeeCoaddedSpectrumInApStar,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
)
TABLES = tuple(model._meta.table_name for model in (Source, *MODELS))
FILES_AT_ONCE = 200
LOOKED_AT_ONCE = 1000
_Given = tuple[int, Mapping[str, Value]]
"""The number of a file, and values of columns."""

NO_SOURCE = f"it names no source ({', '.join(IDENTIFIERS)}): its spectra are kept without one"

_OUT_OF_RANGE = re.compile(r"(\w+): (\S+) does not fit in (\d+) bits")
_TOLD = r"its \1 is \2, which a \3-bit column can't hold; the file is damaged, or means something else by it"


@dataclass
class TableCounts:
    """What happened to the rows of a table."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass
class IngestReport:
    """What happened to the files that were given.

    Parameters
    ----------
    tables : dict of str to TableCounts
        Per table, rows that were inserted, updated, or found as they are. A source of several files counts
        once. Spectra of files that are known, and aren't opened, are found as they are.
    refused : list of (str, str)
        Path and reason of each file that was not ingested.
    notes : list of (str, str)
        Path and remark where a file was ingested, but not all of it.
    files : int
        How many different files were given.
    known : int
        How many of them were ingested before and are as they were then, so that they weren't read.
    refused_before : int
        How many of the refused were refused before and are as they were then.
    changed : list of (str, str)
        Path and remark of files whose bytes have changed though size and time have not (`verify`).
    seconds : float
        How long it took.
    """

    tables: dict[str, TableCounts] = field(default_factory=lambda: {name: TableCounts() for name in TABLES})
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    known: int = 0
    refused_before: int = 0
    changed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ingested(self) -> int:
        """How many files are ingested, now or before."""
        return self.files - len(self.refused)

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing was written."""
        return not any(counts.inserted or counts.updated for counts in self.tables.values())


def ingest_spectra(
    paths: Iterable[str | Path],
    *,
    progress: Callable[[int], None] | None = None,
    batch_size: int = FILES_AT_ONCE,
    again: bool = False,
    verify: bool = False,
    release: str | None = None,
) -> IngestReport:
    """Make sources and spectra of FITS files; what is there already stays as it is.

    A file that was ingested, or refused, before and has the same size and time isn't opened.

    Parameters
    ----------
    paths : iterable of str or Path
        Files. A file that is named twice is read once.
    progress : callable, optional
        Called after each batch with the number of files dealt with so far.
    batch_size : int, optional
        Files per transaction.
    again : bool, optional
        Whether to read all files, known or not.
    verify : bool, optional
        Whether to read every byte of files that are known, and to ingest those again whose bytes have changed.
    release : str, optional
        The data release of files that don't say it: aspcapStar files of a reduction that isn't known.

    Returns
    -------
    IngestReport
        Counts, and the files that were refused.

    Raises
    ------
    MissingTableError
        If the database doesn't have the tables.

    Notes
    -----
    Kinds are detected from their content: spec and specFull of SDSS-I to SDSS-V, optical templates, apVisit, apStar,
    aspcapStar, mwmStar, mwmVisit, and kinds of other packages. An aspcapStar is read each time: the file of its
    spectrum is the apStar. A visit's spectrum in an apStar or mwmVisit refers to the visit itself
    (``drp_spectrum_pk``) if that was ingested before, or in the same batch.
    Errors of the database itself are raised; whatever is wrong with a file is reported.
    """
    start = time.monotonic()
    require_tables(Source, Spectrum, *MODELS)
    report = IngestReport()
    known = KnownFiles((*MODELS, *more_models()), again=again, verify=verify)
    sources: dict[int, str] = {}
    for some in _some_at_a_time(paths, LOOKED_AT_ONCE):
        looked = known.look_at(some)
        _add_known(report, looked)
        add_sources(sources, dict.fromkeys(looked.sources, "unchanged"))
        if progress is not None and len(looked.unread) < len(some):
            progress(report.files)
        for batch in _checked(looked.unread, batch_size, release):
            contents = known.fingerprints(content.path for content in batch.contents)
            outcome = write_rows(
                batch.rows, careful=True, remember=lambda out, b=batch, c=contents: known.remember(b.read(out, c))
            )
            report.refused += batch.refused_with(outcome.problems)
            report.notes += batch.notes
            add_sources(sources, outcome.sources)
            for table, counts in outcome.tables.items():
                if table != Source._meta.table_name:
                    _add(report.tables.setdefault(table, TableCounts()), counts)
            report.files += batch.files
            if progress is not None:
                progress(report.files)
    _add(report.tables[Source._meta.table_name], Counter(sources.values()))
    report.seconds = time.monotonic() - start
    return report


@dataclass
class SpectraPreview:
    """What files of spectra would become.

    Parameters
    ----------
    rows : dict of str to int
        Per table, the rows that the files have for it, each once.
    columns : dict of str to dict
        Per table, the columns that they have values for, in the order of the table.
    refused : list of (str, str)
        Path and reason of each file that would not be ingested.
    files : int
        How many different files were given.
    """

    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0


def preview_spectra(paths: Iterable[str | Path], release: str | None = None) -> SpectraPreview:
    """Read and check files of spectra as `ingest_spectra` does, and write nothing; no database is needed for it.

    Parameters
    ----------
    paths : iterable of str or Path
        Files. A file that is named twice is read once.
    release : str, optional
        As for `ingest_spectra`.
    """
    preview = SpectraPreview()
    identifiers: list[dict[str, Column]] = []
    spectra: dict[str, set[tuple[object, ...]]] = {}
    results: Counter[type[BaseModel]] = Counter()
    filled: dict[str, set[str]] = {}
    for some in _checked(paths, FILES_AT_ONCE, release):
        preview.refused += some.refused_with(some.rows.problems)
        preview.files += some.files
        for batch in some.rows.batches:
            name, columns = batch.plan.model._meta.table_name, batch.columns
            if batch.plan.model is Source:
                identifiers.append({column: columns[column] for column in IDENTIFIERS})
            elif issubclass(batch.plan.model, SpectrumMixin):
                keys = zip(*(columns[key.name].values.tolist() for key in batch.plan.key), strict=True)
                spectra.setdefault(name, set()).update(keys)
            else:
                results[batch.plan.model] += len(batch)
            given = (batch.plan.given or frozenset()).difference(LINKS)
            filled.setdefault(name, set()).update(column for column in given if not columns[column].null.all())
    counts = {Source._meta.table_name: count_sources(identifiers)} | {name: len(keys) for name, keys in spectra.items()}
    counts |= {model._meta.table_name: n_rows for model, n_rows in results.items()}
    for model in (Source, *MODELS, *more_models(), *results):
        if n_rows := counts.get(model._meta.table_name):
            _add_table(preview, model, n_rows, filled[model._meta.table_name])
    return preview


def _add_table(preview: SpectraPreview, model: type[BaseModel], n_rows: int, filled: set[str]) -> None:
    name = model._meta.table_name
    preview.rows[name] = n_rows
    preview.columns[name] = {column: column for column in model._meta.fields if column in filled}


def _add_known(report: IngestReport, looked: Looked) -> None:
    report.files += looked.known + len(looked.refused)
    report.known += looked.known
    report.refused += looked.refused
    report.refused_before += len(looked.refused)
    report.notes += looked.notes
    report.changed += looked.changed
    for table, n_spectra in looked.spectra.items():
        report.tables.setdefault(table, TableCounts()).unchanged += n_spectra


def _add(counts: TableCounts, more: Mapping[str, int]) -> None:
    counts.inserted += more.get("inserted", 0)
    counts.updated += more.get("updated", 0)
    counts.unchanged += more.get("unchanged", 0)


@dataclass(frozen=True)
class _Batch:
    """Some files: what they say, checked, and which can't be read, and why, by path; some of these only for now."""

    paths: Sequence[str]
    contents: Sequence[FileContent]
    unread: Mapping[str, str]
    for_now: Collection[str]
    rows: Rows

    @property
    def files(self) -> int:
        """How many files there are, those that can't be read included."""
        return len(self.paths)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Remarks on files that are ingested."""
        return [
            (content.path, NO_SOURCE)
            for content in self.contents
            if content.source is not None and all(content.source.get(name) is None for name in IDENTIFIERS)
        ]

    def refused_with(self, problems: Problems) -> list[tuple[str, str]]:
        """Give the files that are refused, in their order: those that can't be read, and those with problems."""
        reasons = {self.contents[number].path: _OUT_OF_RANGE.sub(_TOLD, reason) for number, reason in problems}
        return [(path, reason) for path in self.paths if (reason := self.unread.get(path) or reasons.get(path))]

    def read(self, outcome: Outcome, contents: Mapping[str, int]) -> dict[str, Read]:
        """Tell by path what became of files, with their fingerprints; without those that may be refused for now only.

        What the database refuses, it may accept another time.
        """
        spectra: dict[int, list[int]] = {}
        for numbers, keys in outcome.spectra:
            for number, key in zip(numbers.tolist(), keys.tolist(), strict=True):
                spectra.setdefault(number, []).append(key)
        refused = dict(self.refused_with(self.rows.problems))
        notes = dict(self.notes)
        open_questions = {self.contents[number].path for number, _ in outcome.problems}.union(self.for_now)
        # The file of the spectrum is another one, whose contents are to be known.
        open_questions |= {content.path for content in self.contents if content.results}
        found = {path: Read(None, reason) for path, reason in refused.items()}
        for number, content in enumerate(self.contents):
            if content.path in contents and content.path not in refused:
                has_visits = any(model in MADE_OF for model, _ in content.spectra)
                found[content.path] = Read(
                    contents[content.path], None, notes.get(content.path), spectra.get(number, ()), has_visits
                )
        return {path: read for path, read in found.items() if path not in open_questions}


def _some_at_a_time(paths: Iterable[str | Path], n_files: int) -> Iterator[list[str]]:
    """Give different files, as absolute paths."""
    unique = iter(dict.fromkeys(os.path.abspath(path) for path in paths))
    while some := list(islice(unique, n_files)):
        yield some


def _checked(paths: Iterable[str | Path], batch_size: int, release: str | None) -> Iterator[_Batch]:
    """Read and check files, some at a time."""
    read = read_spectrum_file if release is None else partial(read_spectrum_file, release=release)
    for some in _some_at_a_time(paths, batch_size):
        contents: list[FileContent] = []
        unread: dict[str, str] = {}
        for_now: set[str] = set()
        for path in some:
            try:
                contents.append(read(path))
            except UnrecognizedFileError as error:
                unread[path] = str(error)
                for_now |= {path} if is_passing(error) or isinstance(error, UnknownReleaseError) else set()
        yield _batch(some, contents, unread, for_now)


def _batch(paths: Sequence[str], contents: Sequence[FileContent], unread: dict[str, str], for_now: set[str]) -> _Batch:
    """Check what files say; a file that can't even be checked is one that can't be read."""
    try:
        return _Batch(paths, contents, unread, for_now, _rows(contents))
    except UnrecognizedFileError:
        whole: list[FileContent] = []
        for content in contents:
            try:
                _rows([content])
                whole.append(content)
            except UnrecognizedFileError as error:
                unread[content.path] = str(error)
        if len(whole) == len(contents):
            raise
        return _Batch(paths, whole, unread, for_now, _rows(whole))


def _rows(contents: Sequence[FileContent]) -> Rows:
    with refusing(AstraError, PeeweeException):
        return check_rows(_tables(contents), np.arange(len(contents)))


def _tables(contents: Sequence[FileContent]) -> list[Table]:
    """Make columns of what files say, table by table: sources, spectra, results.

    Kinds of files that are for one table don't all set the same columns: each has rows of its own.
    """
    sources: list[_Given] = []
    spectra: dict[tuple[type[BaseModel], tuple[str, ...], Stored], list[_Given]] = {}
    results: dict[tuple[type[BaseModel], tuple[str, ...]], list[_Given]] = {}
    for number, content in enumerate(contents):
        if content.source is not None:
            sources.append((number, content.source))
        stored = Stored.FOUND if content.results else Stored.REPLACED
        for model, values in content.spectra:
            spectra.setdefault((model, tuple(values), stored), []).append((number, values))
        for model, values in content.results:
            results.setdefault((model, tuple(values)), []).append((number, values))
    names = dict.fromkeys([*IDENTIFIERS, *(name for _, values in sources for name in values)])
    tables = [_table(Source, names, sources, Stored.KEPT)] if sources else []
    place: dict[type[BaseModel], int] = {model: number for number, model in enumerate(MODELS)}
    in_order = sorted(spectra.items(), key=lambda kind: place.get(kind[0][0], len(place)))
    tables += [_table(model, names, given, stored) for (model, names, stored), given in in_order]
    return tables + [_table(model, names, given, Stored.FILLED) for (model, names), given in results.items()]


def _table(model: type[BaseModel], names: Iterable[str], given: Sequence[_Given], stored: Stored) -> Table:
    columns: dict[str, list[Value]] = {name: [values.get(name) for _, values in given] for name in names}
    if model in MADE_OF:
        columns[VISIT] = [None] * len(given)  # it is looked for when they are written
    return Table(model, columns, np.array([number for number, _ in given], dtype=int), stored)
