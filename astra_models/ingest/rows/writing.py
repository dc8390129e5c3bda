"""Rows of a result file into the tables of sources, spectra and results, linked, each once.

A chunk of rows is a transaction. Sources come first, then spectra, then results, each table as whole columns. What the
database refuses is found by halving the chunk, and kept with the reason; good rows land all the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from astra_models.base import database
from astra_models.columns.typed import Column, to_column
from astra_models.database.retry import one_line, run_transaction
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.ingest.rows.links import Links, link_results, link_sources, link_spectra
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert.batch import Batch, check_columns, last_of_each_key
from astra_models.upsert.lookup import find_rows
from astra_models.upsert.plan import UpsertPlan, plan_for, plan_for_columns
from astra_models.upsert.postgresql import PostgresqlWriter
from astra_models.upsert.quarantine import ROW_ERRORS, is_about_rows
from astra_models.upsert.sqlite import SqliteWriter
from astra_models.upsert.writer import Writer

NO_IDENTIFIER = f"it has no identifier of a source ({', '.join(IDENTIFIERS)})"
NO_VERSION = "neither the row nor the file says of which version it is (v_astra)"
MAY_BE_EMPTY = ("field", "prefix", "reduction", "plate")
"""Text of natural keys that some kinds of spectra, or some releases, don't have."""
_LINKS = ("pk", "source_pk", "spectrum_pk", "task_pk")


@dataclass
class Outcome:
    """What became of a chunk's rows.

    Parameters
    ----------
    tables : dict of str to Counter
        Per table, how many rows were inserted, updated, unchanged.
    problems : list of (int, str)
        Rows that can't be stored, by their number in the file, and why.
    superseded : int
        Rows that a later one of the same thing took the place of: result, or else spectrum, or source.
    """

    tables: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    superseded: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        names = dict.fromkeys([*self.tables, *other.tables])
        tables = {name: self.tables.get(name, Counter()) + other.tables.get(name, Counter()) for name in names}
        return Outcome(tables, self.problems + other.problems, self.superseded + other.superseded)


@dataclass(frozen=True)
class Rows:
    """Rows of a file as checked columns of the tables that they go into, the same rows in each.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_rows,)
        Their numbers in the file.
    batches : dict of type to Batch
        Per table. Keys that link the tables are not filled in yet.
    wanted : dict
        The keys that the file gives: ``source_pk``, ``task_pk``, and of spectra by their model.
    spectrum : type or None
        Which kind of spectrum the results are of. If there is another, it is the one that this kind is made of.
    problems : list of (int, str)
        Rows that were taken out, by number, and why.
    """

    numbers: np.ndarray
    batches: dict[Any, Batch]
    wanted: dict[Any, Column]
    spectrum: Any
    problems: list[tuple[int, str]]

    def take(self, places: np.ndarray) -> "Rows":
        """Give some of the rows, without the problems."""
        batches = {model: batch.take(places) for model, batch in self.batches.items()}
        wanted = {name: column.take(places) for name, column in self.wanted.items()}
        return Rows(self.numbers[places], batches, wanted, self.spectrum, [])

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class _Part:
    """Rows of one table, of which either all are new or none is."""

    writer: Writer
    batch: Batch
    are_new: bool
    superseded: int

    def prepare(self) -> None:
        """Encode the rows, which needs no database; it may be done in another thread."""
        self.writer.prepare(self.batch)

    def write(self) -> Outcome:
        """Write the rows, in the transaction that is open."""
        if self.are_new:
            self.writer.insert(self.batch)
            counts = Counter(inserted=len(self.batch))
        else:
            written = self.writer.write(self.batch)
            counts = Counter(inserted=written.inserted, updated=written.updated, unchanged=written.unchanged)
        return Outcome({self.batch.plan.model._meta.table_name: counts}, superseded=self.superseded)


def check_rows(columns: Mapping[Any, Mapping[str, Any]], numbers: np.ndarray, spectrum: Any = None) -> Rows:
    """Convert columns of a file to their types, and take out the rows that can't be stored.

    Parameters
    ----------
    columns : mapping of type to mapping of str to array
        Per table, values by column, all of the same length. The columns ``source_pk``, ``spectrum_pk`` and ``task_pk``
        (``pk`` of the source) are the file's own numbers.
    numbers : ndarray of int
        The rows' numbers in the file.
    spectrum : type, optional
        Which kind of spectrum the results are of.
    """
    n_rows = len(numbers)
    batches = {model: _checked(model, given, n_rows) for model, given in columns.items()}
    messages: dict[int, list[str]] = {}
    for batch in batches.values():
        for refusal in batch.refusals:
            messages.setdefault(refusal.row, []).append(refusal.message)
    for row in _without_identifier(batches[Source], n_rows):
        messages.setdefault(row, []).append(NO_IDENTIFIER)
    for row, message in (*_without_version(columns), *_without_name(batches)):
        messages.setdefault(row, []).append(message)
    good = np.ones(n_rows, bool)
    good[list(messages)] = False
    kept = {model: _taken(batch, np.flatnonzero(good[batch.rows])) for model, batch in batches.items()}
    wanted = {name: column.take(good) for name, column in _own_numbers(columns).items()}
    problems = [(int(numbers[row]), "; ".join(some)) for row, some in sorted(messages.items())]
    return Rows(numbers[good], kept, wanted, spectrum, problems)


def write_rows(rows: Rows) -> Outcome:
    """Write rows in a transaction of their own, without those that the database refuses."""
    return run_transaction(database.obj, partial(_write, rows)) + Outcome(problems=rows.problems)


def _checked(model: Any, given: Mapping[str, Any], n_rows: int) -> Batch:
    plan = _plan(model, tuple(sorted(given)))
    zeros = np.zeros(n_rows, np.int64)
    links = {name: zeros for name in _LINKS if name in {target.name for target in plan.fields}}
    return check_columns(plan, {**given, **links}, n_rows, None)


def _plan(model: Any, given: Sequence[str]) -> UpsertPlan:
    if model is Source:
        return plan_for_columns(Source, given, ("pk",), own_keys=True, fills=True)
    if _is_spectrum(model):
        return plan_for_columns(model, {*given, "source_pk", "spectrum_pk"}, model.natural_key, fills=True)
    plan_for(model)  # says why, if its table can't be written
    links = {name for name in ("source_pk", "spectrum_pk") if name in model._meta.fields}
    return plan_for_columns(model, {*given, *links}, model.upsert_key, own_keys=True)


def _is_spectrum(model: Any) -> bool:
    return issubclass(model, SpectrumMixin)


def _own_numbers(columns: Mapping[Any, Mapping[str, Any]]) -> dict[Any, Column]:
    """Give the keys that the file has for sources, spectra and results."""
    found: dict[Any, Column] = {}
    for model, given in columns.items():
        for name in _LINKS:
            key = {"pk": "source_pk", "spectrum_pk": model}.get(name, name)
            if name in given:
                found.setdefault(key, to_column(Source._meta.fields["pk"], given[name])[0])
    return found


def _without_identifier(batch: Batch, n_rows: int) -> list[int]:
    null = [batch.columns[name].null for name in IDENTIFIERS if name in batch.columns]
    return batch.rows[np.all(null, axis=0)].tolist() if null else list(range(n_rows))


def _without_version(columns: Mapping[Any, Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    for given in columns.values():
        for row in np.flatnonzero(np.ma.getmask(given.get("v_astra", ()))).tolist():
            yield row, NO_VERSION


def _without_name(batches: Mapping[Any, Batch]) -> Iterator[tuple[int, str]]:
    """Find rows of which the spectrum can't be told from others."""
    for model in filter(_is_spectrum, batches):
        for name in [name for name in model.natural_key if name not in MAY_BE_EMPTY]:
            column = batches[model].columns.get(name)
            if column is not None and column.values.dtype == object:
                for row in batches[model].rows[column.values == ""].tolist():
                    yield row, f"its spectrum can't be told from others: {name} is empty"


def _write(rows: Rows) -> Outcome:
    if is_postgresql(database.obj):  # SQLite has only one writer at a time
        database.execute_sql(f"LOCK TABLE {quoted_table(Source)} IN SHARE ROW EXCLUSIVE MODE")
    return _write_good(rows, careful=False)


def _write_good(rows: Rows, careful: bool) -> Outcome:
    """Write rows; if the database refuses that, look at them carefully, and if it still does, halve them."""
    if not len(rows):
        return Outcome()
    try:
        with database.atomic():
            return _write_all(rows, careful)
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        if not careful:
            return _write_good(rows, careful=True)
        if len(rows) == 1:
            return Outcome(problems=[(int(rows.numbers[0]), f"the database refused it: {one_line(error)}")])
    middle = len(rows) // 2
    halves = (np.arange(middle), np.arange(middle, len(rows)))
    one, other = (_write_good(rows.take(places), careful=True) for places in halves)
    return one + other


def _write_all(rows: Rows, careful: bool) -> Outcome:
    """Link rows, and write table after table; while one is written, the next ones are made ready."""
    outcome = Outcome()
    parts = list(_linked(rows, careful))
    with ThreadPoolExecutor(1, "astra-prepare") as thread:
        for part, ready in [(part, thread.submit(part.prepare)) for part in parts]:
            ready.result()
            outcome += part.write()
    return outcome


def _linked(rows: Rows, careful: bool) -> Iterator[_Part]:
    """Give the rows of each table with the keys that link them, in the order in which they are to be written."""
    batch = rows.batches[Source]
    columns = {name: replace(column, null=column.null.copy()) for name, column in batch.columns.items()}
    links = link_sources(columns, rows.wanted.get("source_pk"), careful)
    yield from _parts(replace(batch, columns=columns), links, {"pk": links.key}, _repeated(rows, Source, links))
    keys = {"source_pk": links.keys_of_rows}
    made_of: np.ndarray | None = None
    for model in sorted(filter(_is_spectrum, rows.batches), key=lambda model: model is rows.spectrum):
        batch = _with_visits(rows.batches[model], keys["source_pk"], made_of)
        links = link_spectra(model, model.natural_key, batch.columns, rows.wanted.get(model), careful)
        _insert_spectra(links)
        linked = {"source_pk": keys["source_pk"][links.row], "spectrum_pk": links.key}
        yield from _parts(batch, links, linked, _repeated(rows, model, links))
        keys["spectrum_pk"] = made_of = links.keys_of_rows
    for model, batch in rows.batches.items():
        if model is not Source and not _is_spectrum(model):
            yield from _results(batch, keys, rows.wanted.get("task_pk"), careful)


def _repeated(rows: Rows, model: Any, links: Links) -> int:
    """Count rows that a later one of the same thing takes the place of, if it is that thing that the rows are for."""
    results = [model for model in rows.batches if model is not Source and not _is_spectrum(model)]
    is_what_they_are_for = not results and model is (rows.spectrum or list(rows.batches)[-1])
    return len(rows) - len(links.row) if is_what_they_are_for else 0


def _parts(batch: Batch, links: Links, keys: Mapping[str, np.ndarray], superseded: int = 0) -> Iterator[_Part]:
    """Give the last row of each thing, with the keys that it was given: those that are new, and those that aren't."""
    batch = _with_keys(_taken(batch, links.row), keys)
    for is_new in (True, False):
        some = last_of_each_key(_taken(batch, np.flatnonzero(links.is_new == is_new)))
        if len(some):
            yield _Part(_writer(batch.plan, is_new), some, is_new, superseded)
            superseded = 0


def _results(batch: Batch, keys: Mapping[str, np.ndarray], wanted: Column | None, careful: bool) -> Iterator[_Part]:
    known = {name: values for name, values in keys.items() if name in batch.columns}
    batch = _with_keys(batch, known)
    if "spectrum_pk" in batch.columns and "spectrum_pk" not in keys:
        batch.columns["spectrum_pk"].null[:] = True  # the file doesn't say enough of the spectrum to find it
    places = replace(batch, rows=np.arange(len(batch)))
    last = last_of_each_key(places)
    links = link_results(last, None if wanted is None else wanted.take(last.rows), careful)
    yield from _parts(last, links, {batch.plan.primary_key.name: links.key}, last.superseded)


def _insert_spectra(links: Links) -> None:
    new = np.sort(links.key[links.is_new])
    if len(new):
        plan = plan_for_columns(Spectrum, ("spectrum_flags",), ("pk",), own_keys=True)
        _writer(plan).insert(check_columns(plan, {"pk": new}, len(new), None))


def _with_keys(batch: Batch, keys: Mapping[str, np.ndarray]) -> Batch:
    columns = dict(batch.columns)
    for name, values in keys.items():
        kind = columns[name].kind
        columns[name] = Column(kind, values.astype(kind.dtype), np.zeros(len(values), bool))
    return replace(batch, columns=columns)


def _with_visits(batch: Batch, source_pk: np.ndarray, visits: np.ndarray | None) -> Batch:
    """Let spectra refer to the visits that they are made of.

    Where the file doesn't tell what those are, its key is only taken if it is that of a visit of the same source.
    """
    name = "drp_spectrum_pk"
    if visits is not None and name in batch.plan.model._meta.fields:
        return _with_keys(batch, {name: visits})
    if name not in batch.columns:
        return batch
    visit, column = batch.plan.model._meta.fields[name].rel_field, batch.columns[name]
    null = np.ones(len(batch), bool)
    for place, owner in find_rows(visit.model, {visit: column.values}, [visit.model._meta.fields["source_pk"]]):
        null[place] = column.null[place] or owner != source_pk[place]
    return replace(batch, columns=batch.columns | {name: replace(column, null=null)})


def _taken(batch: Batch, places: np.ndarray) -> Batch:
    is_all = len(places) == len(batch) and bool((places == np.arange(len(batch))).all())
    return batch if is_all else batch.take(places)


def _writer(plan: UpsertPlan, are_new: bool = True) -> Writer:
    writer_class: Callable[..., Writer] = PostgresqlWriter if is_postgresql(database.obj) else SqliteWriter
    return writer_class(plan, False, not are_new, returning=False)
