"""Checked rows into the tables of sources, spectra and results, linked, each once: the one writer of files.

All records of a chunk are one transaction. Sources come first, then spectra, then results, each table as whole columns.
Records that the database refuses are found by halving the chunk, and reported with the reason; this doesn't affect the
others.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from astra_models.base import database
from astra_models.columns.typed import Column
from astra_models.database.retry import one_line, run_transaction
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.ingest.rows.checked import Problems, Rows, some_of
from astra_models.ingest.rows.links import (
    MADE_OF,
    Links,
    find_visits,
    link_results,
    link_spectra,
    links_of,
    number_new,
    stored_spectra,
)
from astra_models.ingest.rows.sources import Apart, FarApart, link_sources
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert.batch import Batch, check_columns, last_of_each_key
from astra_models.upsert.lookup import find_rows
from astra_models.upsert.plan import Rules, UpsertPlan, plan_for_columns
from astra_models.upsert.postgresql import PostgresqlWriter
from astra_models.upsert.quarantine import ROW_ERRORS, is_about_rows
from astra_models.upsert.sqlite import SqliteWriter
from astra_models.upsert.writer import Writer

VISIT = "drp_spectrum_pk"


@dataclass
class Outcome:
    """What became of a chunk's records.

    Parameters
    ----------
    tables : dict of str to Counter
        Per table, how many rows were inserted, updated, unchanged.
    problems : list of (int, str)
        Records that can't be stored, by their number in the file, and why.
    superseded : int
        Rows that a later one of the same thing took the place of: result, or else spectrum, or source.
    sources : dict of int to str
        By the key of a source: inserted, updated or unchanged, where what is stored of sources stays.
    spectra : list of (ndarray of int, ndarray of int)
        Numbers of records, and for each the key of a spectrum that it has.
    source_pk : list of (ndarray of int, ndarray of int)
        Numbers of records, and for each the key of its source.
    """

    tables: dict[str, Counter[str]] = field(default_factory=dict)
    problems: Problems = field(default_factory=list)
    superseded: int = 0
    sources: dict[int, str] = field(default_factory=dict)
    spectra: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    source_pk: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        names = dict.fromkeys([*self.tables, *other.tables])
        tables = {name: self.tables.get(name, Counter()) + other.tables.get(name, Counter()) for name in names}
        sources = dict(self.sources)
        add_sources(sources, other.sources)
        problems, spectra = self.problems + other.problems, self.spectra + other.spectra
        source_pk = self.source_pk + other.source_pk
        return Outcome(tables, problems, self.superseded + other.superseded, sources, spectra, source_pk)


def add_sources(known: dict[int, str], more: Mapping[int, str]) -> None:
    """Add what became of sources to what became of some before: what was new or changed then stays so."""
    for pk, status in more.items():
        if known.setdefault(pk, status) == "unchanged":
            known[pk] = status


def write_rows(
    rows: Rows, careful: bool = False, remember: Callable[[Outcome], None] = lambda outcome: None
) -> Outcome:
    """Write rows in a transaction of their own, without those that the database refuses.

    Parameters
    ----------
    rows : Rows
        Checked rows.
    careful : bool, optional
        Whether to ask the database about every key from the start. If not, that is done where it is likely that rows
        are there, or if the database refuses them.
    remember : callable, optional
        Called in the same transaction, with what became of the rows, to write more; again if the transaction is.
    """
    return run_transaction(database.obj, partial(_write, rows, careful, remember)) + Outcome(problems=rows.problems)


def write_sources(rows: Rows) -> tuple[Outcome, Rows]:
    """Write the sources of rows, in a transaction of their own.

    Returns
    -------
    Outcome
        What became of the sources.
    Rows
        The rest, of which the sources are known; without the records that the database refused.
    """
    found = write_rows(replace(rows, batches=[batch for batch in rows.batches if batch.plan.model is Source]))
    none = np.zeros(0, np.int64)  # all may have been refused
    numbers, keys = (np.concatenate([none, *arrays]) for arrays in zip((none, none), *found.source_pk, strict=True))
    by_number = np.argsort(numbers)
    known = np.flatnonzero(np.isin(rows.numbers, numbers))
    rest = rows.take(known)
    keys = keys[by_number][np.searchsorted(numbers[by_number], rest.numbers)]
    others = [batch for batch in rest.batches if batch.plan.model is not Source]
    return replace(found, superseded=0), replace(rest, batches=others, source_pk=keys)


def _write(rows: Rows, careful: bool, remember: Callable[[Outcome], None]) -> Outcome:
    writes_sources = any(batch.plan.model is Source for batch in rows.batches)
    if len(rows) and writes_sources and is_postgresql(database.obj):  # SQLite has only one writer at a time
        # Two ingestions that see the same new star at the same time would both insert it.
        database.execute_sql(f"LOCK TABLE {quoted_table(Source)} IN SHARE ROW EXCLUSIVE MODE")
    outcome = _write_good(rows, careful)
    remember(outcome)
    return outcome


def _write_good(rows: Rows, careful: bool) -> Outcome:
    """Write rows; if the database refuses that, look at them carefully, and if it still does, halve them."""
    if not len(rows):
        return Outcome()
    try:
        with database.atomic():
            return _write_all(rows, careful)
    except FarApart as found:
        rest = np.delete(np.arange(len(rows)), list(found.rows))
        problems = [(int(rows.numbers[record]), why) for record, why in sorted(found.rows.items())]
        return _write_good(rows.take(rest), careful) + Outcome(problems=problems)
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
    linker = _Linker(rows, careful)
    outcome = Outcome()
    with ThreadPoolExecutor(1, "astra-prepare") as thread:
        for parts in linker.parts():
            for part, ready in [(part, thread.submit(part.prepare)) for part in parts]:
                ready.result()
                outcome += part.write()
    source_pk = [(rows.numbers, linker.source_pk)]
    return outcome + Outcome({}, [], linker.superseded, linker.sources, linker.spectra, source_pk)


@dataclass(frozen=True)
class _Part:
    """Rows of one table, of which either all are new or none is."""

    writer: Writer
    batch: Batch
    are_new: bool

    def prepare(self) -> None:
        """Encode the rows, which needs no database; it may be done in another thread."""
        self.writer.prepare(self.batch)

    def write(self) -> Outcome:
        """Write the rows, in the transaction that is open."""
        if self.batch.only_new and not self.are_new:
            counts = Counter(unchanged=len(self.batch))
        elif self.are_new:
            self.writer.insert(self.batch)
            counts = Counter(inserted=len(self.batch))
        else:
            written = self.writer.write(self.batch)
            counts = Counter(inserted=written.inserted, updated=written.updated, unchanged=written.unchanged)
        return Outcome({self.batch.plan.model._meta.table_name: counts})


class _Linker:
    """Gives the rows of each table the keys that link them.

    Parameters
    ----------
    rows : Rows
        Checked rows.
    careful : bool
        Whether to ask the database about every key.
    """

    def __init__(self, rows: Rows, careful: bool):
        self.rows, self.careful = rows, careful
        self.sources: dict[int, str] = {}
        self.superseded = 0
        self.spectra: list[tuple[np.ndarray, np.ndarray]] = []
        # Of each record; 0 where there is none.
        self.source_pk = np.zeros(len(rows), np.int64) if rows.source_pk is None else rows.source_pk
        self._spectrum_pk: np.ndarray | None = None  # the same, of the spectra that came last

    def parts(self) -> Iterator[list[_Part]]:
        """Give the rows of the tables in the order in which they are to be written; the first before the next is asked.

        Spectra that are made of visits are linked to what is in the database then.
        """
        linked: list[_Part] = []
        for batch in filter(len, self.rows.batches):
            model = batch.plan.model
            is_there = any(part.batch.plan.model is model for part in linked)  # its rows may be the same ones
            if is_there or (model in MADE_OF and not batch.plan.fills):
                yield linked
                linked = []
            if model is Source:
                parts = self._link_sources(batch)
            elif issubclass(model, SpectrumMixin):
                parts = self._link_spectra(model, batch)
            else:
                parts = self._results(batch)
            self.superseded = len(batch)  # in the end, of the table that the rows are for: the last
            for part in parts:
                self.superseded -= len(part.batch)
                linked.append(part)
        yield linked

    def _link_sources(self, batch: Batch) -> Iterator[_Part]:
        keeps = self.rows.keeps
        maximum, wanted = self.rows.max_separation, self.rows.wanted.get("source_pk")
        apart = None if maximum is None else Apart(maximum, self.rows.numbers[batch.rows])
        try:
            links, columns = link_sources(batch.columns, wanted, self.careful, keeps, apart)
        except FarApart as found:
            raise FarApart({int(batch.rows[row]): why for row, why in found.rows.items()}) from None
        self.source_pk[batch.rows] = links.keys_of_rows
        batch = _gathered(replace(batch, columns=columns), links, {"pk": links.key}, first=keeps)
        if keeps:
            batch = _without_stored(batch, links)
            self.sources = _statuses(batch, links)
        return _parts(batch, links)

    def _link_spectra(self, model: type[SpectrumMixin], batch: Batch) -> Iterator[_Part]:
        batch = self._with_visits(model, _with_keys(batch, {"source_pk": self.source_pk[batch.rows]}))
        links = link_spectra(model, batch.columns, self.rows.wanted.get(model), self.careful)
        _insert_spectra(links)
        if self._spectrum_pk is None:
            self._spectrum_pk = np.zeros(len(self.rows), np.int64)
        self._spectrum_pk[batch.rows] = links.keys_of_rows
        self.spectra.append((self.rows.numbers[batch.rows], links.keys_of_rows))
        batch = _gathered(batch, links, {"spectrum_pk": links.key})
        return _parts(batch if batch.plan.fills else _with_stored_visits(batch, links), links)

    def _results(self, batch: Batch) -> Iterator[_Part]:
        if self._spectrum_pk is None and self.rows.makes_spectra and "spectrum_pk" in batch.columns:
            self._spectrum_pk = self._numbered_spectra(batch)
        keys = {"source_pk": self.source_pk[batch.rows]}
        if self._spectrum_pk is not None:
            keys["spectrum_pk"] = self._spectrum_pk[batch.rows]
        batch = _with_keys(batch, {name: values for name, values in keys.items() if name in batch.columns})
        if "spectrum_pk" in batch.columns and self._spectrum_pk is None:
            batch.columns["spectrum_pk"].null[:] = True  # the file doesn't say enough of the spectrum to find it
        last = last_of_each_key(batch)
        wanted = self.rows.wanted.get("task_pk")
        links = link_results(last, None if wanted is None else wanted.take(last.rows), self.careful)
        return _parts(_with_keys(last, {batch.plan.primary_key.name: links.key}), links)

    def _numbered_spectra(self, batch: Batch) -> np.ndarray:
        """Find or make the spectra of results of which the file has nothing but the numbers; gives those of records.

        A number is that of a stored spectrum if something of the same source has it.
        """
        wanted = self.rows.wanted[batch.plan.model]
        theirs = np.where(wanted.null, 0, wanted.values)[batch.rows]
        source_pk = self.source_pk[batch.rows]
        pairs: dict[tuple[int, int], int] = {}
        named = zip(theirs.tolist(), source_pk.tolist(), strict=True)
        links = links_of(np.array([pairs.setdefault(pair, len(pairs)) for pair in named], dtype=int))
        stored = stored_spectra(theirs[links.row], source_pk[links.row])
        links.key[stored], links.is_new[stored] = theirs[links.row][stored], False
        number_new(Spectrum, links, wanted.take(batch.rows), careful=True)
        _insert_spectra(links)
        found = np.zeros(len(self.rows), np.int64)
        found[batch.rows] = links.keys_of_rows
        return found

    def _with_visits(self, model: type[SpectrumMixin], batch: Batch) -> Batch:
        """Let spectra refer to the visits that they are made of.

        Rows of a table are of a spectrum and of its visit, or have the visit's key: that is only taken if it is that
        of a visit of the same source. Other files name the visit by what both have in common.
        """
        column = batch.columns.get(VISIT)
        if not batch.plan.fills and model in MADE_OF:
            return _with_keys(batch, {VISIT: find_visits(model, batch.columns)})
        if batch.plan.fills and self._spectrum_pk is not None and VISIT in model._meta.fields:
            return _with_keys(batch, {VISIT: self._spectrum_pk})
        if column is None:
            return batch
        visit, source_pk = model._meta.fields[VISIT].rel_field, batch.columns["source_pk"].values
        null = np.ones(len(batch), bool)
        for place, owner in find_rows(visit.model, {visit: column.values}, [visit.model._meta.fields["source_pk"]]):
            null[place] = column.null[place] or owner != source_pk[place]
        return replace(batch, columns=batch.columns | {VISIT: replace(column, null=null)})


def _gathered(batch: Batch, links: Links, keys: Mapping[str, np.ndarray], first: bool = False) -> Batch:
    """Make one row of each thing, with the key that it was given.

    It has the first, or the last, value that its rows have; where also what a file doesn't say counts, its last row is
    taken as it is.
    """
    if len(links.row) == len(links.group) or not batch.plan.fills:
        return _with_keys(some_of(batch, links.row), keys)
    columns = {name: links.gathered(column, first) for name, column in batch.columns.items()}
    return _with_keys(replace(batch, columns=columns, rows=batch.rows[links.row]), keys)


def _without_stored(batch: Batch, links: Links) -> Batch:
    """Set to NULL what a stored source has already: only what is missing is filled in."""
    known = np.flatnonzero(~links.is_new)
    columns = {
        name: replace(column, null=column.null.copy())
        for name, column in batch.columns.items()
        if name in (batch.plan.given or ())
    }
    fields = [Source._meta.fields[name] for name in columns]
    for place, *stored in find_rows(Source, {Source._meta.fields["pk"]: links.key[known]}, fields):
        for value, column in zip(stored, columns.values(), strict=True):
            if value is not None:
                column.null[known[place]] = True
    return replace(batch, columns=batch.columns | columns)


def _statuses(batch: Batch, links: Links) -> dict[int, str]:
    """Tell what becomes of sources of which only what is missing is filled in."""
    given = [batch.columns[name].null for name in batch.plan.given or () if name in batch.columns]
    has_more = ~np.all(given, axis=0)
    status = np.where(links.is_new, "inserted", np.where(has_more, "updated", "unchanged"))
    return dict(zip(links.key.tolist(), status.tolist(), strict=True))


def _with_stored_visits(batch: Batch, links: Links) -> Batch:
    """Let a spectrum whose visit isn't found refer to the one that it referred to before."""
    if VISIT not in batch.columns or links.is_new.all():
        return batch
    model, column = batch.plan.model, batch.columns[VISIT]
    values, null = column.values.copy(), column.null.copy()
    sought = np.flatnonzero(null & ~links.is_new)
    spectrum_pk, visit = (model._meta.fields[name] for name in ("spectrum_pk", VISIT))
    for place, stored in find_rows(model, {spectrum_pk: links.key[sought]}, [visit]):
        if stored is not None:
            values[sought[place]], null[sought[place]] = stored, False
    return replace(batch, columns=batch.columns | {VISIT: Column(column.kind, values, null)})


def _parts(batch: Batch, links: Links) -> Iterator[_Part]:
    """Give the rows that are new, and those that aren't, each key once."""
    for is_new in (True, False):
        some = last_of_each_key(some_of(batch, np.flatnonzero(links.is_new == is_new)))
        if len(some):
            yield _Part(_writer(batch.plan, is_new), some, is_new)


def _insert_spectra(links: Links) -> None:
    new = np.sort(links.key[links.is_new])
    if len(new):
        plan = plan_for_columns(Spectrum, ("spectrum_flags",), ("pk",), own_keys=True)
        _writer(plan).insert(check_columns(plan, {"pk": new}, len(new), None))


def _with_keys(batch: Batch, keys: Mapping[str, np.ndarray]) -> Batch:
    """Fill in keys; 0 is none."""
    columns = dict(batch.columns)
    for name, values in keys.items():
        kind = columns[name].kind
        columns[name] = Column(kind, values.astype(kind.dtype), values == 0)
    return replace(batch, columns=columns)


def _writer(plan: UpsertPlan, are_new: bool = True) -> Writer:
    writer_class: Callable[..., Writer] = PostgresqlWriter if is_postgresql(database.obj) else SqliteWriter
    rules = Rules(existing="replace", unchanged="write" if are_new else "skip")
    return writer_class(plan, rules, returning=False)
