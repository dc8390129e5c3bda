"""Which sources the rows of files are of: the one statement of identity.

A source is looked for by one identifier after the other, `IDENTIFIERS`, the strongest first, among the other rows and
in the database. Two sources are never merged: where a stronger identifier tells two apart, a weaker one that both have
stays with the first of them, and is left out of the other. So the order in which the files of a star come, or their
coming again, changes nothing.
"""

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import peewee

from astra_models.base import database
from astra_models.columns.typed import Column
from astra_models.database.sql import is_any_of
from astra_models.ingest.rows.links import Columns, Links, comparable, links_of, number_new
from astra_models.source import Source
from astra_models.upsert.lookup import find_a_few, find_rows

IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
UNIQUE = IDENTIFIERS[:-1]


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
    links = links_of(_in_order(of_rows))
    links.key = sources.pk[of_rows[links.row]]
    links.is_new = links.key == 0
    number_new(Source, links, wanted, careful)
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
        links = links_of(self.first)
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

    def all_found(self, sources: np.ndarray, rows: Sequence[tuple[Any, ...]]) -> None:
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
    """Give each row the number of the strongest identifier that it has; -1 if it has none."""
    group = np.full(n_rows, -1)
    for column in identifiers:
        todo = (group < 0) & ~column.null
        if todo.any():
            group[todo] = group.max(initial=-1) + 1 + np.unique(comparable(column)[todo], return_inverse=True)[1]
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


def _find_shared(name: str, values: np.ndarray, fields: Sequence[peewee.Field]) -> list[tuple[Any, ...]]:
    """Find sources by an identifier that several of them may have, as `find_rows` does by one that is unique."""
    places: dict[int, list[int]] = {}
    for place, value in enumerate(values.tolist()):
        places.setdefault(value, []).append(place)
    query = Source.select(_field(name), *fields).where(is_any_of(_field(name), places))
    return [(place, *row) for value, *row in database.execute(query) for place in places[value]]


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
    _, inverse, counts = np.unique(comparable(column.take(places)), return_inverse=True, return_counts=True)
    if (counts > 1).any():
        order = np.argsort(inverse, kind="stable")
        ends = np.cumsum(counts)
        for number in np.flatnonzero(counts > 1).tolist():
            yield places[order[ends[number] - counts[number] : ends[number]]]


def _in_order(group: np.ndarray) -> np.ndarray:
    """Give things new numbers, in the order in which they first appear; -1 stays."""
    some = np.flatnonzero(group >= 0)
    _, first, inverse = np.unique(group[some], return_index=True, return_inverse=True)
    rank = np.empty(len(first), int)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered = np.full(len(group), -1)
    numbered[some] = rank[inverse]
    return numbered


def _field(name: str) -> peewee.Field:
    return Source._meta.fields[name]
