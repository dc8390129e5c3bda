"""Which sources, spectra and results the rows of files are: the one statement of identity.

A source is looked for by one identifier after the other, `IDENTIFIERS`, the strongest first, among the other rows and
in the database. Two sources are never merged: where a stronger identifier tells two apart, a weaker one that both have
stays with the first of them, and is left out of the other. A spectrum is found by its natural key, a result by its
unique key. What is in the database keeps its primary key; a new row keeps the key that the file gives it, if that is
free.

Where it is likely that all are new, the database isn't asked for each: its unique constraints tell if that was wrong,
and the rows are looked at again, carefully.
"""

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import peewee

from astra_models.apogee import ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import Column
from astra_models.database.sql import is_any_of
from astra_models.mwm import BossRestFrameVisitSpectrum
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert.batch import Batch
from astra_models.upsert.lookup import find_a_few, find_rows, hand_out_keys

IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
UNIQUE = IDENTIFIERS[:-1]
MADE_OF: dict[type[SpectrumMixin], tuple[type[SpectrumMixin], tuple[str, ...]]] = {
    BossRestFrameVisitSpectrum: (BossVisitSpectrum, ("run2d", "fieldid", "mjd", "catalogid")),
    ApogeeVisitSpectrumInApStar: (ApogeeVisitSpectrum, ("apred", "telescope", "plate", "mjd", "fiber")),
}
"""Spectra whose ``drp_spectrum_pk`` is the key of a visit, and the columns that both have."""

VISITS_AT_ONCE = 100

Columns = Mapping[str, Column]
Key = tuple[object, ...]


@dataclass
class Links:
    """Which things (sources, spectra, results) rows are of.

    Parameters
    ----------
    group : ndarray of int, shape (n_rows,)
        For each row, the number of its thing; -1 if it says nothing by which it could be found.
    row : ndarray of int, shape (n_groups,)
        For each thing, the last row that is of it.
    key : ndarray of int, shape (n_groups,)
        For each thing, its primary key.
    is_new : ndarray of bool, shape (n_groups,)
        Whether it is not in the database yet.
    """

    group: np.ndarray
    row: np.ndarray
    key: np.ndarray
    is_new: np.ndarray

    @property
    def keys_of_rows(self) -> np.ndarray:
        """For each row, the key of its thing; 0 where there is none."""
        return np.where(self.group >= 0, self.key[self.group], 0) if len(self.key) else np.zeros(len(self.group), int)

    def gathered(self, column: Column, first: bool) -> Column:
        """Give each thing the first, or the last, value that its rows have for a column."""
        if len(self.row) == len(self.group):
            return column.take(self.row)
        places = np.flatnonzero(~column.null & (self.group >= 0))
        row = self.row.copy()
        row[self.group[places]] = places  # of several, NumPy keeps the last
        if first:
            row[self.group[places[::-1]]] = places[::-1]
        return column.take(row)


def link_sources(
    columns: Columns, wanted: Column | None, careful: bool, keeps: bool
) -> tuple[Links, dict[str, Column]]:
    """Find or number the sources of rows.

    Parameters
    ----------
    columns : mapping of str to Column
        Those of the source that the file has.
    wanted : Column or None
        The keys that the file gives the sources.
    careful : bool
        Whether to ask the database about every identifier and key.
    keeps : bool
        Whether an identifier that a source has in the database stays, whatever the file says.

    Returns
    -------
    links : Links
        Which sources the rows are of.
    columns : dict of str to Column
        The same columns, NULL where another source has an identifier.
    """
    n_rows = len(next(iter(columns.values())).values)
    sources = _Sources({name: columns[name] for name in IDENTIFIERS if name in columns}, n_rows, keeps)
    for name in sources.known:
        _find_stored(sources, name, careful)
        _unite(sources, name)
    of_rows = sources.of_rows()
    links = _links(_in_order(of_rows))
    links.key = sources.pk[of_rows[links.row]]
    links.is_new = links.key == 0
    _number_new(Source, links, wanted, careful)
    left_out = {
        name: replace(columns[name], null=columns[name].null | (of_source[sources.first] & (sources.first >= 0)))
        for name, of_source in sources.left_out.items()
        if of_source.any()
    }
    return links, {**columns, **left_out}


def count_sources(batches: Sequence[Columns]) -> int:
    """Count the sources that rows are of, as far as the rows themselves tell.

    Parameters
    ----------
    batches : sequence of mapping of str to Column
        The identifiers of rows, all of `IDENTIFIERS` in each.
    """
    if not batches:
        return 0
    together = {name: _put_together([columns[name] for columns in batches]) for name in IDENTIFIERS}
    sources = _Sources(together, len(together[IDENTIFIERS[0]].null), keeps=True)
    for name in IDENTIFIERS:
        _unite(sources, name)
    return int(sources.is_apart.sum())


def _put_together(columns: Sequence[Column]) -> Column:
    values, null = (np.concatenate([getattr(column, name) for column in columns]) for name in ("values", "null"))
    return Column(columns[0].kind, values, null)


def link_spectra(model: type[SpectrumMixin], columns: Columns, wanted: Column | None, careful: bool) -> Links:
    """Find or number the spectra of rows.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    columns : mapping of str to Column
        Those of the spectrum that the file has.
    wanted : Column or None
        The keys that the file gives the spectra.
    careful : bool
        Whether to ask the database about every spectrum and key.
    """
    numbers: dict[Key, int] = {}
    names = zip(*(_comparable(columns[name]).tolist() for name in model.natural_key), strict=True)
    links = _links(np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int))
    keys = {model._meta.fields[name]: columns[name].take(links.row).values for name in model.natural_key}
    if careful or find_a_few(model, keys)[0]:
        for place, spectrum_pk in find_rows(model, keys, [model._meta.fields["spectrum_pk"]]):
            if spectrum_pk is not None:
                links.key[place], links.is_new[place] = spectrum_pk, False
    _number_new(Spectrum, links, wanted, careful)
    return links


def link_results(batch: Batch, wanted: Column | None, careful: bool) -> Links:
    """Find or number results, each row of its own.

    Parameters
    ----------
    batch : Batch
        Results, each key once, with the keys of their sources and spectra.
    wanted : Column or None
        The keys that the file gives the results.
    careful : bool
        Whether to ask the database about every result and key.
    """
    model = batch.plan.model
    links = _links(np.arange(len(batch)))
    if careful or find_a_few(model, batch.keys())[0]:
        for place, primary_key in find_rows(model, batch.keys(), [model._meta.primary_key]):
            links.key[place], links.is_new[place] = primary_key, False
    _number_new(model, links, wanted, careful)
    return links


class Visit(NamedTuple):
    """A visit that other spectra may be made of: what both say of it, its release and its key."""

    name: Key
    release: str
    spectrum_pk: int


def visits_of(model: type[SpectrumMixin], columns: Columns, spectrum_pks: np.ndarray) -> list[Visit]:
    """Give the visits among spectra that are being written, under the name by which others refer to them."""
    shared = [names for visit, names in MADE_OF.values() if visit is model]
    if not shared:
        return []
    names = zip(*(columns[name].values.tolist() for name in shared[0]), strict=True)
    releases = columns["release"].values.tolist()
    return [Visit(*visit) for visit in zip(names, releases, spectrum_pks.tolist(), strict=True)]


def find_visits(model: type[SpectrumMixin], columns: Columns, written: Iterable[Visit]) -> np.ndarray:
    """Find the visits that spectra are made of: those of the same release, if there are any, else the newest.

    Parameters
    ----------
    model : type
        The kind of spectrum, one of `MADE_OF`.
    columns : mapping of str to Column
        Those of the spectra.
    written : iterable of Visit
        Visits that are being written, which the database doesn't have yet.

    Returns
    -------
    ndarray of int
        For each spectrum, the key of its visit; 0 where there is none.
    """
    visit, shared = MADE_OF[model]
    names = list(zip(*(columns[name].values.tolist() for name in shared), strict=True))
    fields = [visit._meta.fields[name] for name in (*shared, "release", "spectrum_pk")]
    found = list(written)
    distinct = list(dict.fromkeys(names))
    for start in range(0, len(distinct), VISITS_AT_ONCE):
        wanted = [_all_equal(fields, name) for name in distinct[start : start + VISITS_AT_ONCE]]
        rows = visit.select(*fields).where(_any_of(wanted)).tuples()
        found += [Visit(tuple(row[:-2]), row[-2], row[-1]) for row in rows]
    known: dict[object, int] = {}
    for name, release, spectrum_pk in sorted(found, key=operator.attrgetter("spectrum_pk")):
        known[name] = known[name, release] = spectrum_pk
    releases = columns["release"].values.tolist()
    return np.array([known.get(pair, known.get(pair[0], 0)) for pair in zip(names, releases, strict=True)], np.int64)


def _all_equal(fields: Sequence[peewee.Field], values: Key) -> peewee.Expression:
    return functools.reduce(operator.and_, (field == value for field, value in zip(fields, values, strict=False)))


def _any_of(conditions: list[peewee.Expression]) -> peewee.Expression:
    """Combine conditions pair by pair: SQLite can't parse a hundred levels of brackets."""
    while len(conditions) > 1:
        pairs = (conditions[i : i + 2] for i in range(0, len(conditions), 2))
        conditions = [functools.reduce(operator.or_, pair) for pair in pairs]
    return conditions[0]


# ---- sources


class _Sources:
    """The sources that rows are of, as far as they are told apart so far.

    At first, these are the rows that share the strongest identifier that they have. Those that turn out to be the same
    are merged: `leads_to` says into which.

    Parameters
    ----------
    identifiers : dict of str to Column
        The identifiers of rows, the strongest first.
    n_rows : int
        How many rows there are.
    keeps : bool
        Whether what the database has comes before what the rows say.
    """

    def __init__(self, identifiers: Columns, n_rows: int, keeps: bool):
        self.first = _by_strongest(identifiers.values(), n_rows)
        links = _links(self.first)
        n_sources = len(links.row)
        self.known = {name: links.gathered(column, first=True) for name, column in identifiers.items()}
        self.keeps = keeps
        self.leads_to = np.arange(n_sources)
        self.pk = np.zeros(n_sources, np.int64)
        self.left_out = {name: np.zeros(n_sources, bool) for name in UNIQUE if name in identifiers}
        self._by_pk: dict[int, int] = {}

    @property
    def is_apart(self) -> np.ndarray:
        """Which sources are not merged into another."""
        return self.leads_to == np.arange(len(self.leads_to))

    def of_rows(self) -> np.ndarray:
        """For each row, its source; -1 if it has no identifier."""
        return np.where(self.first >= 0, self.leads_to[self.first], -1) if len(self.leads_to) else self.first

    def stronger(self, source: int, name: str) -> int:
        """Tell which identifiers stronger than one a source has, as bits."""
        names = list(self.known)
        return sum(
            1 << bit for bit, other in enumerate(names[: names.index(name)]) if not self.known[other].null[source]
        )

    def first_known(self, sources: np.ndarray) -> str | None:
        """Give the first identifier that any of some sources has, if none of all sources was found yet."""
        if self._by_pk:
            return None
        return next((name for name, column in self.known.items() if not column.null[sources].all()), None)

    def is_told_apart(self, source: int, name: str, stored: Sequence[object]) -> bool:
        """Tell whether an identifier stronger than one says that a source is none that is stored."""
        return any(
            value is not None and not column.null[source] and column.values[source] != value
            for value, (other, column) in zip(stored, self.known.items(), strict=True)
            if IDENTIFIERS.index(other) < IDENTIFIERS.index(name)
        )

    def found(self, source: int, name: str, pk: int, stored: Sequence[object]) -> None:
        """Take note of a source in the database that has the same identifier.

        Parameters
        ----------
        source : int
            Which source.
        name : str
            The identifier.
        pk : int
            Key of the one that is stored.
        stored : sequence
            All of its identifiers.
        """
        source = int(self.leads_to[source])
        if self.pk[source] == pk:
            return
        holder = self._by_pk.get(pk)
        is_another = self.pk[source] != 0 or self.is_told_apart(source, name, stored)
        if is_another or (holder is not None and self.stronger(holder, name) & self.stronger(source, name)):
            self.leave_out(source, name)
        elif holder is not None:
            self.merge(source, holder)
        else:
            self.pk[source], self._by_pk[pk] = pk, source
            for value, column in zip(stored, self.known.values(), strict=True):
                if value is not None and (self.keeps or column.null[source]):
                    column.values[source], column.null[source] = value, False

    def all_found(self, sources: np.ndarray, rows: Sequence[tuple]) -> None:
        """Take note of all that are found by the first identifier that there is, which can't contradict each other."""
        places, pks, *stored = (list(values) for values in zip(*rows, strict=True))
        found = sources[places]
        self.pk[found] = pks
        self._by_pk.update(zip(pks, found.tolist(), strict=True))
        for values, column in zip(stored, self.known.values(), strict=True):
            there = np.array([value is not None for value in values]) & (self.keeps | column.null[found])
            column.values[found[there]] = [value for value, is_there in zip(values, there, strict=True) if is_there]
            column.null[found[there]] = False

    def merge(self, source: int, other: int) -> None:
        """Make one source of two: what `other` doesn't have it gets from `source`."""
        self.leads_to[self.leads_to == source] = other
        for column in self.known.values():
            if column.null[other]:
                column.values[other], column.null[other] = column.values[source], column.null[source]

    def leave_out(self, source: int, name: str) -> None:
        """Take from a source an identifier that another has, if two can't share it."""
        if name in UNIQUE:
            self.known[name].null[source] = True
            self.left_out[name] |= self.leads_to == source


def _by_strongest(identifiers: Iterable[Column], n_rows: int) -> np.ndarray:
    """Number the rows by the strongest identifier that they have; -1 if they have none."""
    group = np.full(n_rows, -1)
    for column in identifiers:
        todo = (group < 0) & ~column.null
        if todo.any():
            group[todo] = group.max(initial=-1) + 1 + np.unique(_comparable(column)[todo], return_inverse=True)[1]
    return _in_order(group)


def _find_stored(sources: _Sources, name: str, careful: bool) -> None:
    """Look up sources by an identifier: those that were not found by a stronger one; carefully, also the others."""
    is_unique, known = name in UNIQUE, sources.known[name]
    open_ones = (sources.pk == 0) | (careful and is_unique)
    sought = np.flatnonzero(sources.is_apart & ~known.null & open_ones)
    values = known.values[sought]
    if not len(sought) or (is_unique and not careful and not find_a_few(Source, {_field(name): values})[0]):
        return
    fields = [_field("pk"), *map(_field, sources.known)]
    rows = find_rows(Source, {_field(name): values}, fields) if is_unique else _find_shared(name, values, fields)
    if rows and is_unique and name == sources.first_known(sought):
        sources.all_found(sought, rows)
        return
    for place, pk, *stored in sorted(rows, key=operator.itemgetter(0, 1)):
        sources.found(int(sought[place]), name, pk, stored)


def _find_shared(name: str, values: np.ndarray, fields: Sequence[peewee.Field]) -> list[tuple]:
    """Find sources by an identifier that several of them may have, as `find_rows` does by one that is unique."""
    places: dict[int, list[int]] = {}
    for place, value in enumerate(values.tolist()):
        places.setdefault(value, []).append(place)
    query = Source.select(_field(name), *fields).where(is_any_of(_field(name), places))
    return [(place, *row) for value, *row in query.tuples() for place in places[value]]


def _unite(sources: _Sources, name: str) -> None:
    """Merge sources that share an identifier, unless a stronger one that both have tells them apart."""
    column = sources.known[name]
    for members in _sharing(column, np.flatnonzero(sources.is_apart & ~column.null)):
        apart: dict[int, list[int]] = {}  # by the identifiers that tell them apart; one bit is for what is stored
        for source in sorted(members.tolist(), key=lambda source: (sources.pk[source] == 0, source)):
            own = sources.stronger(source, name) << 1 | bool(sources.pk[source])
            other = next((bits for bits, some in apart.items() if some and not bits & own), None)
            if other is not None:
                first = apart[other].pop(0)
                sources.merge(source, first)
                apart.setdefault(other | own, []).append(first)
                continue
            if apart:
                sources.leave_out(source, name)
            apart.setdefault(own, []).append(source)


def _sharing(column: Column, places: np.ndarray) -> Iterator[np.ndarray]:
    """Give the places that have the same value, where several have."""
    _, inverse, counts = np.unique(_comparable(column.take(places)), return_inverse=True, return_counts=True)
    if (counts > 1).any():
        order = np.argsort(inverse, kind="stable")
        ends = np.cumsum(counts)
        for number in np.flatnonzero(counts > 1).tolist():
            yield places[order[ends[number] - counts[number] : ends[number]]]


def _field(name: str) -> peewee.Field:
    return Source._meta.fields[name]


# ---- helpers


def _comparable(column: Column) -> np.ndarray:
    """Give values that NumPy can sort, NULL as the same everywhere."""
    if column.values.dtype != object:
        return np.where(column.null, 0, column.values)
    return np.where(column.null, "", column.values).astype(str)


def _in_order(group: np.ndarray) -> np.ndarray:
    """Number things anew, in the order in which they first appear; what is of none stays so."""
    some = np.flatnonzero(group >= 0)
    _, first, inverse = np.unique(group[some], return_index=True, return_inverse=True)
    rank = np.empty(len(first), int)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered = np.full(len(group), -1)
    numbered[some] = rank[inverse]
    return numbered


def _links(group: np.ndarray) -> Links:
    n_groups = int(group.max(initial=-1)) + 1
    row = np.zeros(n_groups, int)
    has_one = group >= 0
    row[group[has_one]] = np.flatnonzero(has_one)  # of several, NumPy keeps the last
    return Links(group, row, np.zeros(n_groups, np.int64), np.ones(n_groups, bool))


def _number_new(model: type[BaseModel], links: Links, wanted: Column | None, careful: bool) -> None:
    """Give new things the keys that the file gives them, as far as these are free, else the database's next ones."""
    new = np.flatnonzero(links.is_new)
    if not len(new):
        return
    keys = np.zeros(len(new), np.int64)
    if wanted is not None:
        asked = wanted.take(links.row[new])
        keys = np.where(asked.null, 0, asked.values)
    keep = np.zeros(len(new), bool)
    keep[np.unique(keys, return_index=True)[1]] = True
    keep &= (keys > 0) & ~np.isin(keys, links.key[~links.is_new])
    if careful and keep.any():
        places = np.flatnonzero(keep)
        for place, *_ in find_rows(model, {model._meta.primary_key: keys[places]}):
            keep[places[place]] = False
    highest = int(keys[keep].max(initial=0))
    keys[~keep] = hand_out_keys(model, int((~keep).sum()), above=highest)
    links.key[new] = keys
