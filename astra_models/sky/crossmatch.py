"""A table of one's own matched with the sources, by identifiers and by position."""

import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import peewee
from numpy.typing import ArrayLike

from astra_models.base import database
from astra_models.columns.selected import column_names, free_name
from astra_models.columns.typed import FLOAT32, FLOAT64, INT32, INT64, TEXT, kind_of
from astra_models.database.sql import is_any_of
from astra_models.errors import SelectionError, did_you_mean
from astra_models.messages import shown
from astra_models.sky.candidates import Index
from astra_models.sky.cells import Positions, positions_of
from astra_models.sky.identifiers import Identified, identified, identifier_columns
from astra_models.sky.motion import SOURCE_EPOCH, at_epoch, julian_year
from astra_models.sky.near import arcsec, icrs, pairs_within, sky
from astra_models.source import Source

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.time import Time
    from astropy.units import UnitBase

__all__ = ["crossmatch"]

logger = logging.getLogger(__name__)

SLOW = 500.0
"""Proper motion in mas / yr up to which sources are found by their cells; the few that are faster are all read."""

RA = ("ra", "raj2000", "_raj2000", "ra_icrs", "ra_deg", "radeg", "ra_2000", "_ra")
DEC = ("dec", "dej2000", "_dej2000", "decj2000", "de_icrs", "dec_deg", "dedeg", "dec_2000", "de", "_de", "_dec")
NOT_MATCHED = -1
PLAIN = (INT32, INT64, FLOAT32, FLOAT64, TEXT)
"""Kinds of columns whose values are what the driver gives."""
COLUMNS = ("rows", "source_pk", "separation", "matched_by", "disagrees", "conflicts")
_Columns = dict[str, np.ndarray]


def crossmatch(
    table: "Table | SkyCoord",
    radius: object = None,
    *,
    all: bool = False,  # noqa: A002  the word for it in the field
    left: bool = False,
    epoch: "float | Time | None" = None,
    source_epoch: "float | Time" = SOURCE_EPOCH,
    ra: str | None = None,
    dec: str | None = None,
    identifiers: Mapping[str, str] | bool = True,
    columns: Sequence[str] | str = ("sdss_id",),
) -> "Table":
    """Find the sources of a table's rows.

    A row is first looked up by the identifiers that the table has, then by its position.

    Parameters
    ----------
    table : astropy.table.Table, pandas.DataFrame or astropy.coordinates.SkyCoord
        Positions in a column of coordinates, or in two of degrees (or of another unit, if the columns have one; text is
        in hours and degrees), and identifiers.
    radius : Quantity or float, optional
        How far from its position a row's source may be; a number is in arcsec. Without it, identifiers alone count.
    all : bool, optional
        Whether a row is given once for each source within the radius, and not only for the nearest.
    left : bool, optional
        Whether rows without a source are given, too, masked.
    epoch : float or astropy.time.Time, optional
        The epoch of the table's positions, in Julian years or as a time: sources are moved there by their proper
        motions. Without it, they are taken where they are.
    source_epoch : float or astropy.time.Time, optional
        The epoch of the positions in the database, `SOURCE_EPOCH` (2016.0, that of Gaia DR3) by default.
    ra, dec : str, optional
        The columns of the position, if they aren't called by one of the usual names.
    identifiers : mapping of str to str, or bool, optional
        Which column of the table is which identifier of `Source`: ``{"Gaia": "gaia_dr3_source_id"}``. By default
        columns of the same names, in capitals or not; with False none. Text is compared without blanks, in capitals
        or not.
    columns : sequence of str, optional
        Columns of `Source` in the result.

    Returns
    -------
    astropy.table.Table
        The table's columns; ``source_pk`` and the `columns`, with ``source_`` before a name that the table has itself;
        ``separation`` in arcsec, masked where there is no position; ``matched_by``, the identifier's name or
        ``position``; ``disagrees``, whether the source that an identifier names is further off than `radius`; and
        ``conflicts``, the row's weaker identifiers that name another source, empty if none does (it is logged, too).
        In the order of the table, the nearest first. ``meta["sky_index"]`` says why no index was used, if none was.

    Raises
    ------
    SelectionError
        If the table has neither positions nor identifiers that can be used, or a column isn't there.
    """
    given = _as_table(table)
    columns = _columns_of_source(columns)
    years = None if epoch is None else julian_year(epoch) - julian_year(source_epoch)
    places = None if radius is None and not _has_position(given, ra, dec) else _places(given, ra, dec)
    limit = None if radius is None else arcsec(radius)
    named = identifier_columns(given, identifiers)
    if limit is None and not named:
        raise SelectionError(
            "the table has no column of an identifier, and no radius is given: give a radius, such as 5 * u.arcsec, or "
            "say which column is which identifier, by identifiers={'Gaia': 'gaia_dr3_source_id'}"
        )
    by_identifier = identified(given, named)
    _tell_of_conflicts(given, named, by_identifier)
    found, index = _found(by_identifier, places, limit, years, all)
    sources = _Sources(found.source_pk, columns)
    if index is not None and sources.lack_some:
        found, index = _found(by_identifier, places, limit, years, all, without_gone=True)
        sources = _Sources(found.source_pk, columns)
    if left:
        found.add_rows_without(len(given))
    result = found.joined_to(given, sources)
    if index is not None and index.problem and result.meta is not None:
        result.meta["sky_index"] = f"not used: {index.problem}"
    return result


def _columns_of_source(given: Sequence[str] | str) -> list[str]:
    fields = Source._meta.fields
    names = column_names(given) if len(given) else []
    for name in names:
        if name not in fields:
            raise SelectionError(f"Source has no column {shown(name)}; {did_you_mean(name, fields)}")
    return [name for name in names if not fields[name].primary_key]  # which is given anyway


def _tell_of_conflicts(table: "Table", named: Mapping[str, str], found: Sequence[Identified]) -> None:
    """Log how many rows have identifiers of different sources, with an example."""
    conflicting = [one for one in found if one.conflicts]
    if not conflicting:
        return
    first = conflicting[0]
    given = ", ".join(f"{named[name]} {shown(table[named[name]][first.row])}" for name in (first.by, *first.conflicts))
    logger.warning(
        "%d of %d rows have identifiers of different sources, such as row %d (%s): the strongest counts, here %s; "
        "the others are in the column conflicts",
        *(len(conflicting), len(table), first.row, given, named[first.by]),
    )


def _as_table(table: Any) -> "Table":
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    if isinstance(table, SkyCoord):
        place = icrs(table).ravel()
        return Table({"ra": place.ra, "dec": place.dec})
    if isinstance(table, Table):
        return table
    if hasattr(table, "to_records") and hasattr(table, "columns"):
        return Table.from_pandas(table)
    return Table(table)


# ---- the table's positions


def _position_columns(table: "Table", ra: str | None, dec: str | None) -> tuple[str, str] | str | None:
    from astropy.coordinates import SkyCoord

    _require_columns(table, [name for name in (ra, dec) if name is not None])
    coords = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    if coords and ra is None and dec is None:
        return coords[0]
    ra, dec = ra or _named_as(table, RA), dec or _named_as(table, DEC)
    return (ra, dec) if ra and dec else None


def _named_as(table: "Table", names: Sequence[str]) -> str | None:
    """Give the first column that is called by one of the usual names, in capitals or not."""
    lower = {name.lower(): name for name in reversed(table.colnames)}
    return next((lower[name] for name in names if name in lower), None)


def _require_columns(table: "Table", names: Sequence[str]) -> None:
    for name in names:
        if name not in table.colnames:
            raise SelectionError(f"the table has no column {shown(name)}; {did_you_mean(name, table.colnames)}")


def _has_position(table: "Table", ra: str | None, dec: str | None) -> bool:
    return _position_columns(table, ra, dec) is not None


def _places(table: Any, ra: str | None, dec: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Give the positions of rows in degrees, ICRS; NaN where there is none."""
    found = _position_columns(table, ra, dec)
    if found is None:
        raise SelectionError(
            f"no columns of a position are known among {', '.join(table.colnames)}; name them by ra= and dec="
        )
    if isinstance(found, str):
        place: Any = icrs(table[found])
        _require_one_each(table, [found])
        return np.asarray(place.ra.deg, float), np.asarray(place.dec.deg, float)
    _require_one_each(table, found)
    is_text = table[found[0]].dtype.kind in "USO"
    lon, lat = (_angle(table[name], is_hours=is_text and name == found[0]) for name in found)
    lat[~(np.abs(lat) <= 90)] = np.nan
    return lon, lat


def _require_one_each(table: Any, names: Sequence[str]) -> None:
    for name in names:
        if table[name].ndim != 1:
            raise SelectionError(f"the column {name} has several positions in a row; a row has one")


def _angle(column: np.ndarray, is_hours: bool) -> np.ndarray:
    """Give a column's angles in degrees; NaN where there is none, or none that can be read."""
    import astropy.units as u
    from astropy.coordinates import Angle

    if column.dtype.kind in "USO":
        unit = u.hourangle if is_hours else u.deg
        return np.array([_read_angle(value, unit) for value in np.ma.filled(column, "")], dtype=np.float64)
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    if np.ma.isMaskedArray(column):
        values = np.where(np.ma.getmaskarray(column), np.nan, values)
    unit = getattr(column, "unit", None) or u.deg
    try:
        degrees = np.asarray(Angle(values, unit).deg, float)
    except u.UnitsError as error:
        raise SelectionError(f"a column of a position is of angles, and one is in {shown(str(unit))}") from error
    return np.where(np.isfinite(degrees), degrees, np.nan)


def _read_angle(text: object, unit: "UnitBase") -> float:
    from astropy.coordinates import Angle

    words = text.decode() if isinstance(text, bytes) else str(text)
    try:
        return float(words) if _is_number(words) else float(np.asarray(Angle(words, unit).deg))
    except ValueError:  # no angle: as if it were missing
        return float("nan")


def _is_number(words: str) -> bool:
    try:
        float(words)
    except ValueError:
        return False
    return True


# ---- matching


class _Sources:
    """The sources that were matched, with the columns that are asked for."""

    def __init__(self, source_pk: np.ndarray, names: Sequence[str]):
        self._fields = [Source._meta.fields[name] for name in ("pk", *names)]
        keys = np.unique(source_pk)
        rows = database.execute(Source.select(*self._fields).where(is_any_of(Source.pk, keys.tolist()))).fetchall()
        self._rows = sorted(rows, key=operator.itemgetter(0))
        self.lack_some = len(rows) < len(keys)
        """Whether one isn't there any more."""

    def columns(self, source_pk: np.ndarray) -> Iterator[tuple[peewee.Field, np.ndarray]]:
        """Give the columns of sources by their keys, masked where there is none of a key."""
        rows = [*self._rows, (None,) * len(self._fields)]
        keys = np.array([row[0] for row in self._rows], np.int64)
        place = np.searchsorted(keys, source_pk)
        place[~np.isin(source_pk, keys)] = len(keys)
        for column, field in enumerate(self._fields):
            values = [row[column] for row in rows]
            is_plain = kind_of(field) in PLAIN and getattr(field, "stored_type", None) is None
            yield field, _column(values if is_plain else list(map(field.python_value, values)), field)[place]


class _Matches:
    """Which rows have which sources."""

    def __init__(self, **columns: ArrayLike):
        self.rows, self.source_pk = np.asarray(columns["rows"], int), np.asarray(columns["source_pk"], np.int64)
        self.separation = np.asarray(columns["separation"], float)
        self.matched_by = np.asarray(columns["matched_by"], dtype=str)
        self.disagrees = np.asarray(columns["disagrees"], bool)
        self.conflicts = np.asarray(columns["conflicts"], dtype=str)

    def _sort(self) -> None:
        order = np.lexsort((self.source_pk, np.nan_to_num(self.separation, nan=np.inf), self.rows))
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[order])

    def add_rows_without(self, n_rows: int) -> None:
        """Add the rows that have no source."""
        without = np.setdiff1d(np.arange(n_rows), self.rows)
        self.rows = np.concatenate([self.rows, without])
        self.source_pk = np.concatenate([self.source_pk, np.full(len(without), NOT_MATCHED)])
        self.separation = np.concatenate([self.separation, np.full(len(without), np.nan)])
        self.matched_by = np.concatenate([self.matched_by, np.full(len(without), "", dtype="U1")])
        self.disagrees = np.concatenate([self.disagrees, np.zeros(len(without), bool)])
        self.conflicts = np.concatenate([self.conflicts, np.full(len(without), "", dtype="U1")])

    def joined_to(self, table: Any, sources: _Sources) -> "Table":
        """Make the table of rows with their sources."""
        import astropy.units as u
        from astropy.table import MaskedColumn

        self._sort()
        result = table[self.rows]
        missing = self.source_pk == NOT_MATCHED
        for field, column in sources.columns(self.source_pk):
            result[_free("source_pk" if field.primary_key else field.name, result.colnames)] = column
        result[_free("separation", result.colnames)] = MaskedColumn(
            np.nan_to_num(self.separation), mask=np.isnan(self.separation), unit=u.arcsec, description="From the source"
        )
        result[_free("matched_by", result.colnames)] = MaskedColumn(
            self.matched_by, mask=missing, description="What matched"
        )
        result[_free("disagrees", result.colnames)] = MaskedColumn(
            self.disagrees, mask=missing, description="Whether the identifier's source is beyond the radius"
        )
        result[_free("conflicts", result.colnames)] = MaskedColumn(
            self.conflicts, mask=missing, description="Weaker identifiers that name another source"
        )
        return result


def _free(name: str, taken: Sequence[str]) -> str:
    return free_name(name, name if name not in taken else f"source_{name}", taken)


def _column(values: list[Any], field: peewee.Field) -> np.ndarray:
    from astropy.table import MaskedColumn

    mask = np.array([value is None for value in values], bool)
    known = [value for value in values if value is not None]
    kind = type(known[0]) if known else {"TEXT": str}.get(field.field_type, float)
    empty = "" if kind is str else kind(0) if kind in (int, float, bool) else None
    filled = [empty if value is None else value for value in values]
    dtype = np.int64 if kind is int else np.float64 if kind is float else str if kind is str else object
    unit = getattr(field, "unit", None) or None
    return MaskedColumn(np.array(filled, dtype=dtype), mask=mask, unit=unit, description=field.help_text)


def _found(
    by_identifier: Sequence[Identified],
    places: tuple[np.ndarray, np.ndarray] | None,
    limit: float | None,
    years: float | None,
    every: bool,
    *,
    without_gone: bool = False,
) -> tuple[_Matches, Index | None]:
    parts = [_by_identifier(by_identifier, places, limit, years)] if by_identifier else []
    index = None
    if limit is not None and places is not None:
        index = Index(without_gone=without_gone)
        rows, keys, separation = _by_position(index, places, limit, years)
        if every:  # what an identifier has found is given once
            keep = ~_are_among(rows, keys, by_identifier)
        else:
            keep = ~np.isin(rows, [one.row for one in by_identifier]) & _is_nearest(rows, separation)
        parts.append(_by_place(rows[keep], keys[keep], separation[keep]))
    if not parts:
        return _Matches(**{name: [] for name in COLUMNS}), index
    return _Matches(**{name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}), index


def _by_place(rows: np.ndarray, keys: np.ndarray, separation: np.ndarray) -> _Columns:
    n, by = len(rows), {"rows": rows, "source_pk": keys, "separation": separation}
    return by | {"matched_by": np.full(n, "position"), "disagrees": np.zeros(n, bool), "conflicts": np.full(n, "")}


def _are_among(rows: np.ndarray, keys: np.ndarray, by_identifier: Sequence[Identified]) -> np.ndarray:
    """Tell which pairs of rows and sources an identifier has found."""
    pairs = {(one.row, one.source_pk) for one in by_identifier}
    if not pairs:
        return np.zeros(len(rows), bool)
    return np.array([pair in pairs for pair in zip(rows.tolist(), keys.tolist(), strict=True)], bool)


def _is_nearest(rows: np.ndarray, separation: np.ndarray) -> np.ndarray:
    order = np.lexsort((separation, rows))
    first = np.ones(len(rows), bool)
    first[1:] = rows[order][1:] != rows[order][:-1]
    nearest = np.zeros(len(rows), bool)
    nearest[order] = first
    return nearest


def _by_position(
    index: Index, places: tuple[np.ndarray, np.ndarray], limit: float, years: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give rows, keys of sources and separations (arcsec) of all pairs within the limit."""
    good = np.flatnonzero(np.isfinite(places[0]) & np.isfinite(places[1]))
    ra, dec = places[0][good], places[1][good]
    sources = index.within(ra, dec, limit + abs(years) * min(SLOW, index.fastest()) / 1000 if years else limit)
    if years:
        sources = _moved(_united(sources, index.faster_than(SLOW)), years)
    rows, numbers, separation = pairs_within(sky(ra, dec), sources, limit)
    return good[rows], sources.source_pk[numbers], separation


def _united(one: Positions, other: Positions) -> Positions:
    rows = [np.column_stack([each.source_pk, each.ra, each.dec, each.pmra, each.pmde]) for each in (one, other)]
    together = np.concatenate(rows)
    return Positions(together[np.unique(together[:, 0], return_index=True)[1]])


def _moved(sources: Positions, years: float) -> Positions:
    sources.ra, sources.dec = at_epoch(sources.ra, sources.dec, sources.pmra, sources.pmde, years)
    return sources


def _by_identifier(
    found: Sequence[Identified],
    places: tuple[np.ndarray, np.ndarray] | None,
    limit: float | None,
    years: float | None,
) -> _Columns:
    rows, keys = np.array([one.row for one in found]), np.array([one.source_pk for one in found])
    separation = np.full(len(found), np.nan)
    if places is not None:
        separation = np.fromiter(_separations(rows, keys, places, years), float, len(found))
    return {
        "rows": rows,
        "source_pk": keys,
        "separation": separation,
        "matched_by": np.array([one.by for one in found]),
        "disagrees": separation > limit if limit is not None else np.zeros(len(found), bool),
        "conflicts": np.array([", ".join(one.conflicts) for one in found]),
    }


def _separations(
    rows: np.ndarray, keys: np.ndarray, places: tuple[np.ndarray, np.ndarray], years: float | None
) -> Iterator[float]:
    sources = positions_of(is_any_of(Source.pk, np.unique(keys)))
    if years:
        sources = _moved(sources, years)
    where = {key: place for place, key in enumerate(sources.source_pk.tolist())}
    known = np.array([where.get(key, NOT_MATCHED) for key in keys.tolist()])
    both = (known >= 0) & np.isfinite(places[0][rows]) & np.isfinite(places[1][rows])
    result = np.full(len(rows), np.nan)
    if both.any():
        mine = sky(places[0][rows][both], places[1][rows][both])
        theirs = sky(sources.ra[known[both]], sources.dec[known[both]])
        result[both] = mine.separation(theirs).arcsec
    yield from result.tolist()
