"""Which sources the rows of files are of: the one statement of identity.

A source is looked for by one identifier after the other, `IDENTIFIERS`, the strongest first, among the other rows and
in the database. Rows that have a stronger identifier are looked at before those that only have weaker ones, so that the
order in which the files of a star come changes nothing. Two sources are never merged: where a stronger identifier tells
two apart, a weaker one that both have stays with the first of them, and is left out of the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np

from astra_models.columns.typed import Column
from astra_models.database.sql import is_any_of, rows_of
from astra_models.ingest.rows.links import Columns, Links, links_of, number_new
from astra_models.source import Source
from astra_models.upsert.lookup import find_a_few, find_rows

IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
UNIQUE = IDENTIFIERS[:-1]

Identifier = int | str | None
Identity = tuple[Identifier, ...]
"""The identifiers that a row has, the strongest first; None where it has none."""


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
        Whether to ask the database about every identifier and key. If not, a few tell whether it is worth while.
    keeps : bool
        Whether an identifier that a source has in the database stays, whatever the file says.

    Returns
    -------
    links : Links
        Which sources the rows are of.
    columns : dict of str to Column
        The same columns, NULL where another source has an identifier.
    """
    names = [name for name in IDENTIFIERS if name in columns]
    rows = _identities([columns[name] for name in names]) or [()] * len(next(iter(columns.values())).null)
    matcher = _Matcher(names, keeps)
    distinct = _in_order(rows)
    matcher.load(distinct, careful)
    numbers = {identity: matcher.match(identity) for identity in distinct}
    matched = np.array([numbers.get(identity, -1) for identity in rows], dtype=int)
    some = matched >= 0
    group = matched.copy()
    group[some] = np.unique(matched[some], return_inverse=True)[1]
    links = links_of(group)
    links.key = np.array(matcher.pks, np.int64)[matched[links.row]]
    links.is_new = links.key == 0
    number_new(Source, links, wanted, careful)
    left_out = {
        name: replace(columns[name], null=columns[name].null | np.array([row in identities for row in rows]))
        for name, identities in matcher.left_out.items()
    }
    return links, {**columns, **left_out}


def count_sources(batches: Iterable[Columns]) -> int:
    """Count the sources that rows are of, as far as the rows themselves tell.

    Parameters
    ----------
    batches : iterable of mapping of str to Column
        The identifiers of rows, all of `IDENTIFIERS` in each.
    """
    rows = [row for columns in batches for row in _identities([columns[name] for name in IDENTIFIERS])]
    matcher = _Matcher(IDENTIFIERS, keeps=True)
    return len({matcher.match(identity) for identity in _in_order(rows)})


class _Matcher:
    """Tells sources apart: those in the database, and those that are new.

    Parameters
    ----------
    names : sequence of str
        The identifiers that rows have.
    keeps : bool
        Whether an identifier that a source has stays.

    Attributes
    ----------
    pks : list of int
        The key of each source that was matched or loaded, 0 if it is new.
    left_out : dict of str to set of Identity
        By identifier, the rows of which it is left out because another source has it.
    """

    def __init__(self, names: Sequence[str], keeps: bool):
        self.pks: list[int] = []
        self.left_out: dict[str, set[Identity]] = {}
        self._names, self._keeps = names, keeps
        self._sources: list[list[Identifier]] = []
        self._holders: list[dict[Identifier, int]] = [{} for _ in names]

    def load(self, identities: Sequence[Identity], careful: bool) -> None:
        """Look sources up in the database: by weaker identifiers those that aren't found by stronger ones.

        Carefully, all of them are looked up, for another source may have an identifier that is to be filled in.
        """
        loaded: dict[int, list[Identifier]] = {}
        for level, name in enumerate(self._names):
            values = list(dict.fromkeys(value for value in map(itemgetter(level), identities) if value is not None))
            rows = _stored_sources(name, values, self._names, careful)
            loaded.update((pk, stored) for pk, *stored in rows)
            if rows and not careful:
                found = {row[level + 1] for row in rows}
                identities = [identity for identity in identities if identity[level] not in found]
        for pk in sorted(loaded):
            number = self._add(pk, loaded[pk])
            for holders, value in zip(self._holders, loaded[pk], strict=True):
                if value is not None:
                    holders.setdefault(value, number)

    def match(self, identity: Identity) -> int:
        """Give the number of the source that a row is of; what it doesn't have yet, it gets from the row."""
        number = self._find(identity)
        if number is None:
            number = self._add(0, [None] * len(identity))
        source = self._sources[number]
        for level, (value, holders) in enumerate(zip(identity, self._holders, strict=True)):
            if value is None or (self._keeps and source[level] is not None):
                continue
            is_held = holders.setdefault(value, number) != number
            if is_held and self._names[level] in UNIQUE:
                self.left_out.setdefault(self._names[level], set()).add(identity)
            elif source[level] is None:
                source[level] = value
        return number

    def _find(self, identity: Identity) -> int | None:
        for level, value in enumerate(identity):
            number = None if value is None else self._holders[level].get(value)
            if number is not None and not self._are_told_apart(self._sources[number], identity, level):
                return number
        return None

    def _are_told_apart(self, source: Sequence[Identifier], identity: Identity, level: int) -> bool:
        """Tell whether an identifier stronger than the one that both have says that they are two sources."""
        return any(
            one is not None and other is not None and one != other
            for one, other in zip(source[:level], identity[:level], strict=True)
        )

    def _add(self, pk: int, identifiers: list[Identifier]) -> int:
        self.pks.append(pk)
        self._sources.append(identifiers)
        return len(self.pks) - 1


def _stored_sources(name: str, values: list[Identifier], wanted: Sequence[str], careful: bool) -> list[tuple[Any, ...]]:
    """Give key and identifiers of the sources in the database that have an identifier."""
    fields = [Source._meta.fields[column] for column in ("pk", *wanted)]
    field = Source._meta.fields[name]
    if not values:
        return []
    if name not in UNIQUE:  # there may be several
        wanted_keys = [int(value) for value in values if value is not None]
        return rows_of(Source.select(*fields).where(is_any_of(field, wanted_keys)))
    keys = {field: np.array(values, object)}
    if not careful and not find_a_few(Source, keys)[0]:
        return []
    return [row[1:] for row in find_rows(Source, keys, fields)]


def _identities(identifiers: Sequence[Column]) -> list[Identity]:
    """Give the identifiers of each row."""
    nothing = np.array(None)
    return list(zip(*(np.where(column.null, nothing, column.values).tolist() for column in identifiers), strict=True))


def _in_order(rows: Iterable[Identity]) -> list[Identity]:
    """Give the different ones, those with the strongest identifier first; without those that have none."""
    ordered: list[Identity] = []
    others = list(dict.fromkeys(rows))
    for level in range(len(others[0]) if others else 0):
        ordered += [identity for identity in others if identity[level] is not None]
        others = [identity for identity in others if identity[level] is None]
    return ordered
