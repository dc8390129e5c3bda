"""Result files into the database: once each, in bounded memory, with an account of what became of every row.

A file is read a chunk at a time, in a thread of its own, while the chunk before is being written. A file that was
ingested before is known by its checksum, and nothing is written; what of a new version of a file is the same as before
is left alone.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

import astra_models.outputs  # noqa: F401  any of the tables may be what a file is for
from astra_models.base import database
from astra_models.columns.typed import Column
from astra_models.database.retry import run_transaction
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.door import refusing
from astra_models.ingest.rows.checked import Problems, Rows, Stored, Table, check_rows
from astra_models.ingest.rows.side_by_side import write_chunks
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.ingest.rows.writing import Outcome
from astra_models.ingest.tables.mapping import GivenMapping, MappingError, mappings_to_know_by
from astra_models.ingest.tables.opening import ResultFile, file_sha256, open_result_file
from astra_models.ingest.tables.parts import Chunk, Model, Part
from astra_models.ingest.tables.placing import rank
from astra_models.ingested import NO_MAPPING, UNKNOWN_MAPPING, IngestedFile, ingested_before, ingested_file
from astra_models.rejected import NOT_INGESTED, RejectedResult, payload_to_json
from astra_models.schema.tables import require_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert.batch import Batch

NO_IDENTIFIER = f"it has no identifier of a source ({', '.join(IDENTIFIERS)})"
NO_VERSION = "neither the row nor the file says of which version it is (v_astra)"
OTHER_MAPPING = "it was ingested before by another mapping: what that one said otherwise is replaced"
MAY_BE_EMPTY = ("field", "prefix", "reduction", "plate")
"""Text of natural keys that some kinds of spectra, or some releases, don't have."""

LINKED = (Source, SpectrumMixin)
"""Tables of what results are of."""

VALUES_PER_CHUNK = 2_000_000
REASON_SHOWN = 120


@dataclass
class ResultFileReport:
    """What became of a result file.

    Parameters
    ----------
    path : str
        The file.
    kind : str
        What kind of file it is.
    rows : int
        How many rows it has.
    sha256 : str
        Its checksum, as in ``ingested_file``.
    mappings : tuple of str
        Checksums of the mappings by which it may have been read, of which ``ingested_file`` has one.
    tables : dict of str to Counter
        Per table, how many rows were inserted, updated, or found as they are.
    columns : dict of str to dict of str to str
        Per table, by our column, the file's.
    rejected : int
        Rows that couldn't be stored; they are in ``rejected_result``.
    superseded : int
        Rows that a later one of the same thing took the place of: result, or else spectrum, or source.
    reasons : Counter
        Why rows were rejected.
    unplaced : list of (str, str, str)
        Part, column and reason of each column that no table of ours has.
    notes : list of str
        What else there is to say.
    known : bool
        Whether it had been ingested before, so that nothing was written.
    replaces : bool
        Whether a file of this name, with other contents, had been ingested before.
    dry_run : bool
        Whether nothing was to be written.
    seconds : float
        How long it took.
    """

    path: str
    kind: str
    rows: int
    sha256: str
    mappings: tuple[str, ...] = (NO_MAPPING,)
    tables: dict[str, Counter[str]] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    rejected: int = 0
    superseded: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unplaced: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    known: bool = False
    replaces: bool = False
    dry_run: bool = False
    seconds: float = 0.0

    def counts(self) -> Counter[str]:
        """Count the rows of the table that the file is for: that of results, or else of spectra, or of sources."""
        return next(reversed(self.tables.values()), Counter())


def ingest_result_file(
    path: str | Path,
    *,
    mapping: GivenMapping | None = None,
    run_id: str | None = None,
    dry_run: bool = False,
    again: bool = False,
    damaged: Literal["refuse", "read"] = "refuse",
    writers: int = 1,
    checking: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ResultFileReport:
    """Ingest a file of results, of spectra, or of sources.

    Parameters
    ----------
    path : str or Path
        The file: any of the survey's summary files, or any table with a `mapping`.
    mapping : mapping or str or Path, optional
        What the columns of any other table are; see ``docs/mappings.md``.
    run_id : str, optional
        The run, for what is rejected.
    dry_run : bool, optional
        Whether to read and check everything, and write nothing.
    again : bool, optional
        Whether to go through a file that has been ingested before.
    damaged : {"refuse", "read"}, optional
        What to do about a truncated file and a wrong checksum: refuse it, or read the rows that are whole.
    writers : int, optional
        How many connections to PostgreSQL write at the same time; SQLite always has one.
    checking : callable, optional
        Called, while the file is checked before its rows are read, with the numbers of bytes done and of all bytes.
    progress : callable, optional
        Called after each chunk with the numbers of rows done and of all rows.

    Returns
    -------
    ResultFileReport
        What became of the rows, and what of the file has no place in the database.

    Raises
    ------
    UnrecognizedFileError
        If the file isn't one that is known, or is damaged and to be refused; nothing was written then, or whole
        chunks were, and ingesting the mended file completes them.
    MissingTableError
        If the database doesn't have the tables.
    """
    started = time.monotonic()
    if not (dry_run or again):
        known = _as_known(path, mapping)
        if known is not None:
            return known
    told = None if checking is None else lambda done: checking(done, os.path.getsize(path))
    file = open_result_file(path, mapping, damaged=damaged, progress=told)
    report = ResultFileReport(
        str(file.path),
        file.kind,
        file.n_rows,
        file.sha256,
        mappings_to_know_by(mapping),
        dry_run=dry_run,
        notes=list(file.notes),
    )
    if not dry_run:
        require_tables(Source, Spectrum, IngestedFile, *_models(file))
        before = ingested_before(Path(file.path).name, file.sha256, report.mappings)
        report.replaces = _has_namesake(file)
        report.notes += [OTHER_MAPPING] if before == "mapping" else []
    done = 0
    for part in file.parts:
        for n_rows in _ingest_part(file, part, report, run_id, writers):
            done += n_rows
            if progress is not None:
                progress(done, report.rows)
        _tell_of_columns(part, report)
    report.seconds = time.monotonic() - started
    if not dry_run:
        _remember(file, report, run_id)
    return report


def _as_known(path: str | Path, mapping: GivenMapping | None) -> ResultFileReport | None:
    """Report on a file of which every row was dealt with before by the same mapping; None if it is new."""
    require_tables(IngestedFile)
    try:
        of_its_size = IngestedFile.select().where(IngestedFile.size == os.path.getsize(path))
        if not of_its_size.exists():
            return None
        mappings = mappings_to_know_by(mapping)
        sha256, _ = file_sha256(path)
    except (OSError, UnrecognizedFileError, MappingError):
        return None  # opening it says what is wrong
    row = ingested_file(sha256, mappings)
    return None if row is None else ResultFileReport(str(path), row.kind, row.rows, sha256, mappings, known=True)


def _models(file: ResultFile) -> list[Model]:
    return list(dict.fromkeys(model for part in file.parts for model in part.targets))


def _has_namesake(file: ResultFile) -> bool:
    same_name = IngestedFile.name == Path(file.path).name
    return IngestedFile.select().where(same_name, IngestedFile.sha256 != file.sha256).exists()


def _ingest_part(
    file: ResultFile, part: Part, report: ResultFileReport, run_id: str | None, writers: int
) -> Iterator[int]:
    """Ingest a table of a file; gives the number of rows of each chunk when it has been dealt with."""
    if not report.dry_run:
        _forget_rejections(file, part)
    n_columns = sum(len(columns) for columns in part.targets.values())
    n_rows = max(100, min(20_000, VALUES_PER_CHUNK // max(1, n_columns)))
    chunks = _one_ahead(file.path, part.chunks(n_rows))
    how = {"max_separation": file.max_separation, "makes_spectra": file.makes_spectra}
    chunks = ((chunk, replace(rows, **how)) for chunk, rows in chunks)
    outcomes = (
        ((chunk, _dry_outcome(rows)) for chunk, rows in chunks) if report.dry_run else write_chunks(chunks, writers)
    )
    for chunk, outcome in outcomes:
        problems = _by_row([*chunk.problems, *outcome.problems])
        _count(report, outcome, problems)
        if problems and not report.dry_run:
            _keep_rejected(file, part, chunk, problems, run_id)
        yield len(chunk.rows)


def _tell_of_columns(part: Part, report: ResultFileReport) -> None:
    report.notes += [f"{part.name}: {note}" for note in part.notes]
    report.unplaced += [(part.name, column, why) for column, why in part.unplaced]
    for model, columns in part.targets.items():
        report.columns.setdefault(model._meta.table_name, {}).update(columns)


def _one_ahead(path: str, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Rows]]:
    """Read and check each chunk while the one before it is being written; whatever reading raises refuses the file."""
    iterator = iter(chunks)

    def following() -> tuple[Chunk, Rows] | None:
        try:
            with refusing(MappingError):
                chunk = next(iterator, None)
                return None if chunk is None else (chunk, _checked(chunk))
        except UnrecognizedFileError as error:
            if str(error).startswith(path):
                raise
            raise type(error)(f"{path}: {error}") from error

    with ThreadPoolExecutor(1, "astra-ingest") as thread:
        upcoming: Future[tuple[Chunk, Rows] | None] = thread.submit(following)
        while (chunk := upcoming.result()) is not None:
            upcoming = thread.submit(following)
            yield chunk


def check_chunk(
    columns: Mapping[Model, Mapping[str, Column]], numbers: np.ndarray, spectrum: type[SpectrumMixin] | None = None
) -> Rows:
    """Check rows of a file, and take out those that can't be stored.

    Parameters
    ----------
    columns : mapping of type to mapping of str to Column
        Per table, the same rows in each.
    numbers : ndarray of int
        The rows' numbers in the file.
    spectrum : type, optional
        Which kind of spectrum the results are of. If there is another, it is the one that this kind is made of.
    """
    places = np.arange(len(numbers))
    # Of the spectra, those that results are of come last.
    tables = [
        Table(model, columns[model], places, Stored.FILLED if issubclass(model, LINKED) else Stored.REPLACED)
        for model in sorted(columns, key=lambda model: (rank(model), model is spectrum))
    ]
    return check_rows(tables, numbers, partial(_what_rows_lack, columns))


def _checked(chunk: Chunk) -> Rows:
    good = ~np.isin(chunk.rows, [row for row, _ in chunk.problems])
    columns = chunk.columns
    if not good.all():
        columns = {model: {name: given[name].take(good) for name in given} for model, given in columns.items()}
    return check_chunk(columns, chunk.rows[good], chunk.spectrum_model)


def _what_rows_lack(columns: Mapping[Model, Mapping[str, Column]], batches: Sequence[Batch]) -> Problems:
    """Find rows that don't say what they are of."""
    sources = batches[0]
    null = [sources.columns[name].null for name in IDENTIFIERS if name in sources.columns]
    nameless = sources.rows[np.all(null, axis=0)] if null else sources.rows
    found = [(row, NO_IDENTIFIER) for row in nameless.tolist()]
    for given in columns.values():
        if "v_astra" in given:
            found += [(row, NO_VERSION) for row in np.flatnonzero(given["v_astra"].null).tolist()]
    for batch in batches:
        for name in getattr(batch.plan.model, "natural_key", ()):
            column = batch.columns[name]
            if name not in MAY_BE_EMPTY and column.values.dtype == object:
                message = f"its spectrum can't be told from others: {name} is empty"
                found += [(row, message) for row in batch.rows[column.values == ""].tolist()]
    return found


def _dry_outcome(rows: Rows) -> Outcome:
    tables = {batch.plan.model._meta.table_name: Counter(rows=len(rows)) for batch in rows.batches}
    return Outcome(tables, rows.problems)


def _by_row(problems: Problems) -> Problems:
    """Make one problem of all that a row has: it is rejected once."""
    messages: dict[int, list[str]] = {}
    for row, message in sorted(problems):
        messages.setdefault(row, []).append(message)
    return [(row, "; ".join(some)) for row, some in messages.items()]


def _count(report: ResultFileReport, outcome: Outcome, problems: Problems) -> None:
    for table, counts in outcome.tables.items():
        report.tables[table] = report.tables.get(table, Counter()) + counts
    report.rejected += len(problems)
    report.superseded += outcome.superseded
    report.reasons.update(message[:REASON_SHOWN] for _, message in problems)


def _keep_rejected(file: ResultFile, part: Part, chunk: Chunk, problems: Problems, run_id: str | None) -> None:
    model = (part.output_model or part.spectrum_model or Source).__name__
    rows = [
        {
            "model": model,
            "v_astra": file.v_astra,
            "reason": NOT_INGESTED,
            "message": f"{_place_of_rows(file, part)} {row}: {message}",
            "payload": payload_to_json(chunk.payload(row)),
            "run_id": run_id,
        }
        for row, message in problems
    ]
    run_transaction(database.obj, RejectedResult.insert_many(rows).execute)


def _forget_rejections(file: ResultFile, part: Part) -> None:
    """Take rows of this file off the list: they are tried again now."""
    of_file = RejectedResult.message.startswith(_place_of_rows(file, part))
    query = RejectedResult.delete().where(RejectedResult.reason == NOT_INGESTED, of_file)
    run_transaction(database.obj, query.execute)


def _place_of_rows(file: ResultFile, part: Part) -> str:
    return f"{Path(file.path).name} {part.name}, row"


def _remember(file: ResultFile, report: ResultFileReport, run_id: str | None) -> None:
    counts = report.counts()
    values = {
        "name": Path(file.path).name,
        "sha256": file.sha256,
        "mapping": file.mapping,
        "size": file.size,
        "kind": file.kind,
        "model": next((part.output_model.__name__ for part in file.parts if part.output_model), None),
        "release": file.release,
        "v_astra": file.v_astra,
        "rows": report.rows,
        "inserted": counts["inserted"],
        "updated": counts["updated"],
        "unchanged": counts["unchanged"],
        "rejected": report.rejected,
        "seconds": report.seconds,
        "run_id": run_id,
    }
    unknown = IngestedFile.sha256 == file.sha256, IngestedFile.mapping == UNKNOWN_MAPPING
    key = [IngestedFile.sha256, IngestedFile.mapping]

    def write() -> None:
        if not IngestedFile.select().where(key[0] == file.sha256, key[1] == file.mapping).exists():
            IngestedFile.update(mapping=file.mapping).where(*unknown).execute()
        IngestedFile.insert(values).on_conflict(conflict_target=key, update=values).execute()

    run_transaction(database.obj, write)
