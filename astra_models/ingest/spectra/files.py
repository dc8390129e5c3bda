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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from astra_models.apogee import (
    ApogeeCoaddedSpectrumInApStar,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
)
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import Column
from astra_models.errors import UnrecognizedFileError
from astra_models.ingest.rows.checked import LINKS, Rows, Stored, Table, check_rows
from astra_models.ingest.rows.identity import IDENTIFIERS, MADE_OF, count_sources
from astra_models.ingest.rows.writing import VISIT, Outcome, add_sources, write_rows
from astra_models.ingest.spectra.content import FileContent
from astra_models.ingest.spectra.recognise import read_spectrum_file
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
NO_SOURCE = f"it names no source ({', '.join(IDENTIFIERS)}): its spectra are kept without one"

_OUT_OF_RANGE = re.compile(r"(\w+): (\S+) does not fit in (\d+) bits")
_TOLD = r"its \1 is \2, which a \3-bit column can't hold; the file is damaged, or means something else by it"


@dataclass
class TableCounts:
    """What happened to the rows of a table; in a dry run, how many the files have for it, each once."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rows: int = 0


@dataclass
class IngestReport:
    """What happened to the files that were given.

    Parameters
    ----------
    tables : dict of str to TableCounts
        Per table, rows that were inserted, updated, or found as they are. A source of several files counts
        once.
    refused : list of (str, str)
        Path and reason of each file that was not ingested.
    notes : list of (str, str)
        Path and remark where a file was ingested, but not all of it.
    columns : dict of str to dict of str to str
        Of a dry run: per table, the columns that the files have values for.
    files : int
        How many different files were given.
    seconds : float
        How long it took.
    """

    tables: dict[str, TableCounts] = field(default_factory=lambda: {name: TableCounts() for name in TABLES})
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    files: int = 0
    seconds: float = 0.0

    @property
    def ingested(self) -> int:
        """How many files were ingested."""
        return self.files - len(self.refused)

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing was written."""
        return not any(counts.inserted or counts.updated for counts in self.tables.values())


def ingest_spectra(
    paths: Iterable[str | Path],
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    batch_size: int = 200,
) -> IngestReport:
    """Make sources and spectra of FITS files; what is there already stays as it is.

    Parameters
    ----------
    paths : iterable of str or Path
        Files. A file that is named twice is read once.
    dry_run : bool, optional
        Whether to read and check everything, and write nothing. No database is needed for it.
    progress : callable, optional
        Called after each batch with the number of files dealt with so far.
    batch_size : int, optional
        Files per transaction.

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
    mwmStar, mwmVisit. A visit's spectrum in an apStar or mwmVisit refers to the visit itself (``drp_spectrum_pk``) if
    that was ingested before, or in the same batch. Errors of the database itself are raised; whatever is wrong with a
    file is reported.
    """
    start = time.monotonic()
    if not dry_run:
        require_tables(Source, Spectrum, *MODELS)
    report = IngestReport()
    preview = _Preview()
    sources: dict[int, str] = {}
    unique = iter(dict.fromkeys(os.path.abspath(path) for path in paths))
    while some := list(islice(unique, batch_size)):
        contents, refused = _read(some)
        rows = _checked(contents)
        outcome = preview.add(rows) if dry_run else write_rows(rows, careful=True)
        refused |= {contents[number].path: _OUT_OF_RANGE.sub(_TOLD, reason) for number, reason in outcome.problems}
        report.refused += [(path, refused[path]) for path in some if path in refused]
        report.notes += [
            (content.path, note) for content in contents if content.path not in refused for note in content.notes
        ]
        for table, counts in outcome.tables.items():
            _add(report.tables[table], {} if table == TABLES[0] else counts)
        add_sources(sources, outcome.sources)
        report.files += len(some)
        if progress is not None:
            progress(report.files)
    _add(report.tables[TABLES[0]], Counter(sources.values()))
    preview.tell(report)
    report.seconds = time.monotonic() - start
    return report


def _add(counts: TableCounts, more: Mapping[str, int]) -> None:
    counts.inserted += more.get("inserted", 0)
    counts.updated += more.get("updated", 0)
    counts.unchanged += more.get("unchanged", 0)


def _read(paths: Sequence[str]) -> tuple[list[FileContent], dict[str, str]]:
    """Read files; gives also why some can't be read, by path."""
    contents: list[FileContent] = []
    refused: dict[str, str] = {}
    for path in paths:
        try:
            contents.append(read_spectrum_file(path))
        except UnrecognizedFileError as error:
            refused[path] = str(error)
    return contents, refused


def _checked(contents: Sequence[FileContent]) -> Rows:
    """Make columns of what files say, table by table, and check them.

    Kinds of files that are for one table don't all set the same columns: each has rows of its own.
    """
    given: dict[tuple[type, tuple[str, ...]], list[tuple[int, Mapping[str, Value]]]] = {}
    sources: list[tuple[int, Mapping[str, Value]]] = []
    for number, content in enumerate(contents):
        if content.source is not None:
            sources.append((number, content.source))
            if all(content.source.get(name) is None for name in IDENTIFIERS):
                content.notes.append(NO_SOURCE)
        for model, values in content.spectra:
            given.setdefault((model, tuple(values)), []).append((number, values))
    tables = [_table(Source, list(dict.fromkeys(name for _, values in sources for name in values)), sources)]
    tables += [_table(model, names, given[model, names]) for model, names in sorted(given, key=_order)]
    return check_rows([table for table in tables if len(table.records)], np.arange(len(contents)))


def _order(kind: tuple[type[SpectrumMixin], tuple[str, ...]]) -> int:
    return MODELS.index(kind[0])


def _table(
    model: type[Source] | type[SpectrumMixin], names: Sequence[str], given: Sequence[tuple[int, Mapping[str, Value]]]
) -> Table:
    columns: dict[str, list[Value]] = {name: [values.get(name) for _, values in given] for name in names}
    if model in MADE_OF:
        columns[VISIT] = [None] * len(given)  # it is looked for when they are written
    records = np.array([number for number, _ in given], dtype=int)
    return Table(model, columns, records, Stored.KEPT if model is Source else Stored.REPLACED)


class _Preview:
    """Counts what would be written, each source and each spectrum once."""

    def __init__(self) -> None:
        self._identifiers: list[dict[str, Column]] = []
        self._spectra: dict[str, set[tuple[object, ...]]] = {}
        self._filled: dict[str, set[str]] = {}

    def add(self, rows: Rows) -> Outcome:
        """Count the rows of a batch."""
        for batch in rows.batches:
            model, columns = batch.plan.model, batch.columns
            if model is Source:
                self._identifiers.append({name: columns[name] for name in IDENTIFIERS if name in columns})
            else:
                keys = zip(*(columns[key.name].values.tolist() for key in batch.plan.key), strict=True)
                self._spectra.setdefault(model._meta.table_name, set()).update(keys)
            given = (batch.plan.given or frozenset()).difference(LINKS)
            filled = {name for name in given if not columns[name].null.all()}
            self._filled.setdefault(model._meta.table_name, set()).update(filled)
        return Outcome(problems=rows.problems)

    def tell(self, report: IngestReport) -> None:
        """Put into a report what was counted."""
        counts = {name: len(keys) for name, keys in self._spectra.items()}
        if self._identifiers:
            counts[Source._meta.table_name] = count_sources(_put_together(self._identifiers))
        for model in (Source, *MODELS):
            name = model._meta.table_name
            if counts.get(name):
                report.tables[name].rows = counts[name]
                report.columns[name] = {column: column for column in model._meta.fields if column in self._filled[name]}


def _put_together(some: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Make one column of those of several batches; a batch may not have it."""
    together: dict[str, Column] = {}
    for name in IDENTIFIERS:
        kind = next((columns[name].kind for columns in some if name in columns), None)
        if kind is None:
            continue
        lengths = [len(next(iter(columns.values())).null) for columns in some]
        values = [
            columns[name].values if name in columns else np.zeros(length, kind.dtype)
            for columns, length in zip(some, lengths, strict=True)
        ]
        null = [
            columns[name].null if name in columns else np.ones(length, bool)
            for columns, length in zip(some, lengths, strict=True)
        ]
        together[name] = Column(kind, np.concatenate(values), np.concatenate(null))
    return together
