"""Spectrum files into the tables of sources and spectra.

Headers of a batch of files are read first; then the batch is written in one transaction, so that none is
open while files are read. A row that a file made before is found by the natural key of its kind, and written
only if the file now says something else. A file that can't be ingested is listed with the reason and takes
no other along.
"""

import functools
import operator
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import peewee

from astra_models.apogee import (
    ApogeeCoaddedSpectrumInApStar,
    ApogeeVisitSpectrum,
    ApogeeVisitSpectrumInApStar,
)
from astra_models.base import database
from astra_models.boss import BossVisitSpectrum
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.errors import UnrecognizedFileError
from astra_models.fields import utc_now
from astra_models.ingest.rows.sources import KnownSource, SourceMatcher
from astra_models.ingest.spectra.content import FileContent, Values
from astra_models.ingest.spectra.recognise import read_spectrum_file
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
MADE_OF: dict[type[SpectrumMixin], tuple[type[SpectrumMixin], tuple[str, ...]]] = {
    BossRestFrameVisitSpectrum: (BossVisitSpectrum, ("run2d", "fieldid", "mjd", "catalogid")),
    ApogeeVisitSpectrumInApStar: (ApogeeVisitSpectrum, ("apred", "telescope", "plate", "mjd", "fiber")),
}
"""Spectra whose ``drp_spectrum_pk`` is the key of a visit, and the columns that both have."""

CHUNK = 100

_NOT_STORABLE = (peewee.DataError, peewee.IntegrityError, ValueError, OverflowError)


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
        once.
    refused : list of (str, str)
        Path and reason of each file that was not ingested.
    notes : list of (str, str)
        Path and remark where a file was ingested, but not all of it.
    files : int
        How many different files were given.
    seconds : float
        How long it took.
    """

    tables: dict[str, TableCounts] = field(default_factory=lambda: {name: TableCounts() for name in TABLES})
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
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
    progress: Callable[[int], None] | None = None,
    batch_size: int = 200,
) -> IngestReport:
    """Make sources and spectra of FITS files; what is there already stays as it is.

    Parameters
    ----------
    paths : iterable of str or Path
        Files. A file that is named twice is read once.
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
    Kinds are recognised by their content: spec and specFull of SDSS-I to SDSS-V, optical templates, apVisit, apStar,
    mwmStar, mwmVisit. A visit's spectrum in an apStar or mwmVisit refers to the visit itself (``drp_spectrum_pk``) if
    that was ingested before, or in the same batch. Errors of the database itself are raised; whatever is wrong with a
    file is reported.
    """
    start = time.monotonic()
    require_tables(Source, Spectrum, *MODELS)
    report = IngestReport()
    sources: dict[int, str] = {}
    unique = iter(dict.fromkeys(os.path.abspath(path) for path in paths))
    while some := list(islice(unique, batch_size)):
        contents = [content for path in some if (content := _read(path, report)) is not None]
        for content in contents:
            report.notes.extend((content.path, note) for note in content.notes)
        _write_batch(contents, report, sources)
        report.files += len(some)
        if progress is not None:
            progress(report.files)
    _count(report.tables["source"], Counter(sources.values()))
    report.seconds = time.monotonic() - start
    return report


def read_checked(path: str | Path) -> FileContent:
    """Read what a file says of its spectra and their source, if the tables can hold it.

    Raises
    ------
    UnrecognizedFileError
        If it isn't a file of spectra that can be ingested.
    """
    content = read_spectrum_file(path)
    for model, values in content.spectra:
        _check_range(model, values)
    _check_range(Source, content.source or {})
    return content


def _read(path: str, report: IngestReport) -> FileContent | None:
    try:
        return read_checked(path)
    except UnrecognizedFileError as error:
        report.refused.append((path, str(error)))
        return None


def _check_range(model: type[peewee.Model], values: Values) -> None:
    """Refuse whole numbers that a column can't hold, which SQLite would take and PostgreSQL would not."""
    for name, value in values.items():
        column = model._meta.fields[name]
        if value is None or not isinstance(column, peewee.IntegerField):
            continue
        bits = 63 if isinstance(column, peewee.BigIntegerField) else 31
        if not -(1 << bits) <= value < 1 << bits:
            raise UnrecognizedFileError(
                f"its {name} is {value}, which a {bits + 1}-bit column can't hold; the file is damaged, or "
                "means something else by it"
            )


def _write_batch(contents: list[FileContent], report: IngestReport, sources: dict[int, str]) -> None:
    """Write a batch; if the database refuses it, write file by file and report those that it refuses."""
    if not contents:
        return
    try:
        outcome = _write(contents)
    except _NOT_STORABLE as error:
        if len(contents) == 1:
            report.refused.append((contents[0].path, f"the database refused it: {str(error).strip()}"))
            return
        for content in contents:
            _write_batch([content], report, sources)
        return
    for table, counts in outcome.spectra.items():
        _count(report.tables[table], counts)
    for pk, status in outcome.sources.items():
        if sources.setdefault(pk, status) == "unchanged":
            sources[pk] = status


@dataclass
class _Outcome:
    sources: dict[int, str]
    spectra: dict[str, Counter[str]]


def _write(contents: Sequence[FileContent]) -> _Outcome:
    def work() -> _Outcome:
        _keep_other_ingestions_out()
        matcher = SourceMatcher(content.source for content in contents if content.source)
        owners = [matcher.match(content.source) if content.source else None for content in contents]
        sources = dict(matcher.write())
        rows = _rows_by_model(contents, owners)
        spectra = {model._meta.table_name: _write_spectra(model, values) for model, values in rows.items()}
        return _Outcome(sources, spectra)

    return run_transaction(database.obj, work)


def _keep_other_ingestions_out() -> None:
    """Make other writers of sources wait for this transaction, and no readers.

    Two ingestions that see the same new star at the same time would otherwise both insert it. On SQLite the
    transaction itself has the only lock there is.
    """
    if is_postgresql(database.obj):
        database.execute_sql(f"LOCK TABLE {quoted_table(Source)} IN SHARE ROW EXCLUSIVE MODE")


def _rows_by_model(
    contents: Sequence[FileContent], owners: Sequence[KnownSource | None]
) -> dict[type[SpectrumMixin], list[Values]]:
    """Values of spectra by model, each key once: of two files with the same spectrum the last counts."""
    rows: dict[type[SpectrumMixin], dict[tuple[Any, ...], Values]] = {model: {} for model in MODELS}
    for content, owner in zip(contents, owners, strict=True):
        for model, values in content.spectra:
            keyed = values | {"source_pk": owner.pk if owner else None}
            rows[model][tuple(values[name] for name in model.natural_key)] = keyed
    return {model: [keyed[key] for key in sorted(keyed)] for model, keyed in rows.items()}


def _write_spectra(model: type[SpectrumMixin], rows: list[Values]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for chunk in _chunks(rows):
        if model in MADE_OF:
            _add_visits(model, chunk)
        existing = _existing(model, chunk)
        new = []
        for values in chunk:
            row = existing.get(_key(model, values))
            if row is None:
                new.append(values)
            else:
                counts[_update_if_different(model, row, values)] += 1
        counts["inserted"] += _insert(model, new)
    return counts


def _add_visits(model: type[SpectrumMixin], rows: list[Values]) -> None:
    """Add the key of the visit that each was made of, if its own file was ingested; of the same release, if it can."""
    visit, names = MADE_OF[model]
    conditions = [functools.reduce(operator.and_, (getattr(visit, n) == values[n] for n in names)) for values in rows]
    known: dict[tuple[Any, ...], int] = {}
    for found in visit.select().where(_any_of(conditions)).order_by(visit.spectrum_pk):
        key = tuple(getattr(found, name) for name in names)
        known[key] = known[*key, found.__data__["release"]] = found.spectrum_pk
    for values in rows:
        key = tuple(values[name] for name in names)
        spectrum_pk = known.get((*key, values["release"]), known.get(key))
        if spectrum_pk is not None:
            values["drp_spectrum_pk"] = spectrum_pk


def _insert(model: type[SpectrumMixin], rows: list[Values]) -> int:
    now = utc_now()
    # Kinds of a model don't all set the same columns; peewee takes the columns of the first row for all.
    by_columns: dict[tuple[str, ...], list[Values]] = {}
    for values in rows:
        by_columns.setdefault(tuple(sorted(values)), []).append(values)
    for alike in by_columns.values():
        pks = _new_spectrum_pks(len(alike))
        complete = [
            values | {"spectrum_pk": pk, "created": now, "modified": now} for values, pk in zip(alike, pks, strict=True)
        ]
        model.insert_many(complete).execute()
    return len(rows)


def _new_spectrum_pks(n: int) -> list[int]:
    query = Spectrum.insert_many([{"spectrum_flags": 0}] * n).returning(Spectrum.pk)
    return sorted(row.pk for row in query.execute())


def _update_if_different(model: type[SpectrumMixin], row: SpectrumMixin, values: Values) -> str:
    changed = {name: value for name, value in values.items() if not _is_same(model, row, name, value)}
    if not changed:
        return "unchanged"
    model.update(changed | {"modified": utc_now()}).where(model.pk == row.pk).execute()
    return "updated"


def _is_same(model: type[SpectrumMixin], row: SpectrumMixin, name: str, value: Any) -> bool:
    """Compare what would come back from the database with what came."""
    column = model._meta.fields[name]
    stored = row.__data__.get(name)
    if isinstance(column, peewee.ForeignKeyField):
        return stored == value
    return column.python_value(column.db_value(value)) == stored


def _existing(model: type[SpectrumMixin], rows: list[Values]) -> dict[tuple[Any, ...], SpectrumMixin]:
    conditions = [
        functools.reduce(operator.and_, (getattr(model, name) == values[name] for name in model.natural_key))
        for values in rows
    ]
    query = model.select().where(_any_of(conditions))
    return {_key(model, row.__data__): row for row in query}


def _any_of(conditions: list[Any]) -> Any:
    """Combine conditions pair by pair: SQLite can't parse a hundred levels of brackets."""
    while len(conditions) > 1:
        pairs = (conditions[i : i + 2] for i in range(0, len(conditions), 2))
        conditions = [functools.reduce(operator.or_, pair) for pair in pairs]
    return conditions[0]


def _key(model: type[SpectrumMixin], values: Values) -> tuple[Any, ...]:
    return tuple(values[name] for name in model.natural_key)


def _chunks(rows: list[Values]) -> Iterator[list[Values]]:
    yield from (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def _count(counts: TableCounts, found: Counter[str]) -> None:
    counts.inserted += found["inserted"]
    counts.updated += found["updated"]
    counts.unchanged += found["unchanged"]
