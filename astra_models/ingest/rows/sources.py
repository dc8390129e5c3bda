"""Which sources the rows of files are of: the one statement of identity.

A source is looked for by one identifier after the other, `IDENTIFIERS`, the strongest first, among the other rows and
in the database. Rows that have a stronger identifier are looked at before those that only have weaker ones, so that the
order in which the files of a star come changes nothing. Two sources are never merged: where a stronger identifier tells
two apart, a weaker one that both have stays with the first of them, and is left out of the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from astra_models.columns.typed import Column
from astra_models.database.sql import is_any_of, rows_of
from astra_models.ingest.rows.links import Columns, Links, links_of, number_new
from astra_models.ingest.rows.positions import directions, directions_of, in_words, separations
from astra_models.source import Source
from astra_models.upsert.lookup import find_a_few, find_rows

FAR_APART = "another star has the same identifier, further away on the sky than max_separation allows"
IDENTIFIERS = ("sdss_id", "sdss4_apogee_id", "gaia_dr3_source_id", "gaia_dr2_source_id", "catalogid")
UNIQUE = IDENTIFIERS[:-1]

Identifier = int | str | None
Identity = tuple[Identifier, ...]
"""The identifiers that a row has, the strongest first; None where it has none."""


class Apart(NamedTuple):
    """How far apart on the sky rows of one source may be.

    Parameters
    ----------
    maximum : float
        Arcsec.
    numbers : ndarray of int
        The rows' numbers, for messages.
    """

    maximum: float
    numbers: np.ndarray


class FarApart(Exception):  # noqa: N818  it is no error: the other rows are written
    """Rows would become one source with others that are elsewhere on the sky.

    Parameters
    ----------
    rows : dict of int to str
        These rows, and why they can't be stored.
    """

    def __init__(self, rows: dict[int, str]):
        super().__init__(f"{len(rows)} rows are far from others of the same source")
        self.rows = rows


def link_sources(
    columns: Columns, wanted: Column | None, careful: bool, keeps: bool, apart: Apart | None = None
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
    apart : Apart, optional
        How far apart rows of one source may be; as far as they are if not given.

    Returns
    -------
    links : Links
        Which sources the rows are of.
    columns : dict of str to Column
        The same columns, NULL where another source has an identifier.

    Raises
    ------
    FarApart
        If some rows are too far from others of their source.
    """
    names = [name for name in IDENTIFIERS if name in columns]
    rows = _identities([columns[name] for name in names]) or [()] * len(next(iter(columns.values())).null)
    distinct = _in_order(rows)
    matcher = _Matcher(names, keeps)
    matcher.load(distinct, careful)
    numbers = {identity: matcher.match(identity) for identity in distinct}
    matched = np.array([numbers.get(identity, -1) for identity in rows], dtype=int)
    if apart is not None and {"ra", "dec"} <= columns.keys():
        sky = _Sky(directions(columns["ra"], columns["dec"]), apart)
        if sky.has_far(matched, matcher.pks):
            again = _Matcher(names, keeps)
            again.load(distinct, careful)
            if far := sky.refuse(again, rows, distinct):
                raise FarApart(far)
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


class _Sky:
    """Keeps rows apart that would become one source although they are far apart on the sky.

    Parameters
    ----------
    here : ndarray of float, shape (n_rows, 3)
        The rows' directions.
    apart : Apart
        How far apart they may be.
    """

    def __init__(self, here: np.ndarray, apart: Apart):
        self._here, self._apart = here, apart
        self._has_position = ~np.isnan(here[:, 0])

    def has_far(self, matched: np.ndarray, pks: Sequence[int]) -> bool:
        """Tell whether some row is far from its source, as stored, or else from the first row of it."""
        places = np.flatnonzero(self._has_position & (matched >= 0))
        reference = np.full((len(pks), 3), np.nan)
        reference[matched[places[::-1]]] = self._here[places[::-1]]  # of several, NumPy keeps the last
        for number, direction in _stored_directions(pks).items():
            reference[number] = direction
        return bool((separations(reference[matched[places]], self._here[places]) > self._apart.maximum).any())

    def refuse(self, matcher: "_Matcher", rows: Sequence[Identity], distinct: Sequence[Identity]) -> dict[int, str]:
        """Match rows again, one after the other, and give those that are too far from their source, and why.

        No other row is led to that source by what a refused one says.
        """
        places: dict[Identity, list[int]] = {}
        for place, identity in enumerate(rows):
            places.setdefault(identity, []).append(place)
        reference = _stored_directions(matcher.pks)
        who = {number: f"the stored source {matcher.pks[number]}" for number in reference}
        refused: dict[int, str] = {}
        for identity in distinct:
            number = matcher.find(identity)
            there, name = (None, "") if number not in reference else (reference[number], who[number])
            with_position = [place for place in places[identity] if self._has_position[place]]
            if there is None and with_position:
                there, name = self._here[with_position[0]], f"row {self._apart.numbers[with_position[0]]}"
            far = {} if there is None else self._far_from(there, with_position)
            refused |= {place: self._reason(matcher, identity, name, angle) for place, angle in far.items()}
            if len(far) < len(places[identity]):
                number = matcher.match(identity)
                if there is not None:
                    reference.setdefault(number, there)
                    who.setdefault(number, name)
        return refused

    def _far_from(self, there: np.ndarray, places: Sequence[int]) -> dict[int, float]:
        angles = separations(there, self._here[places]).tolist()
        return {place: angle for place, angle in zip(places, angles, strict=True) if angle > self._apart.maximum}

    def _reason(self, matcher: "_Matcher", identity: Identity, who: str, angle: float) -> str:
        name, value = matcher.in_common(identity)
        maximum = in_words(self._apart.maximum)
        return f"{FAR_APART} ({maximum}): {name} {value} is that of {who} already, {in_words(angle)} away"


def _stored_directions(pks: Sequence[int]) -> dict[int, np.ndarray]:
    """Give by number where sources are that are stored, and have a position."""
    stored = [number for number, pk in enumerate(pks) if pk]
    if not stored:
        return {}
    fields = [Source._meta.fields[name] for name in ("ra", "dec")]
    keys = np.array([pks[number] for number in stored], np.int64)
    found = find_rows(Source, {Source._meta.fields["pk"]: keys}, fields)
    ra, dec = (np.array([row[i] for row in found], float) for i in (1, 2))  # None becomes NaN
    there = directions_of(ra, dec)
    return {stored[row[0]]: there[i] for i, row in enumerate(found) if not np.isnan(there[i, 0])}


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
        number = self.find(identity)
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

    def in_common(self, identity: Identity) -> tuple[str, Identifier]:
        """Give name and value of the identifier by which a row is found, or else of its strongest."""
        number = self.find(identity)
        levels = [level for level, value in enumerate(identity) if value is not None]
        held = [level for level in levels if self._holders[level].get(identity[level], -1) == number]
        level = (held or levels)[0]
        return self._names[level], identity[level]

    def find(self, identity: Identity) -> int | None:
        """Give the number of the source that a row is of, if there is one already."""
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
