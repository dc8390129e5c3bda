"""The index of the sky: in which cell each source is, in a table of its own.

Cells are HEALPix pixels of order 12 (51 arcsec wide) in nested numbering, in which a pixel of a lower order is a range
of them (Gorski et al. 2005, ApJ 622, 759). Each row keeps the position that its cell was made from: `update_cells`
compares it with the source's, so that the index follows whatever changed a position, and however. The table ``source``
stays as it is; its column ``healpix`` is a part of paths, and of another order.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import peewee

from astra_models.base import BaseModel, database
from astra_models.columns.copy_format import HEADER
from astra_models.database.retry import run_transaction
from astra_models.database.sql import driver_errors, is_any_of, is_postgresql, quoted_table
from astra_models.fields import BigIntegerField, DoubleField, FloatField
from astra_models.source import Source

__all__ = [
    "ORDER",
    "Positions",
    "SourceCell",
    "all_positions",
    "cells_of",
    "is_on_the_sky",
    "positions_of",
    "update_cells",
]

ORDER = 12
ROWS_AT_ONCE = 50_000
_SENT = (("pk", ">i8"), ("ra", ">f8"), ("dec", ">f8"), ("pmra", ">f8"), ("pmde", ">f8"))
_AS_SENT = "pk::bigint, ra::float8, dec::float8, COALESCE(pmra, 0)::float8, COALESCE(pmde, 0)::float8"
_NUMBERS = "('real', 'integer')"
COPIED = np.dtype([("n", ">i2"), *(each for name, kind in _SENT for each in ((f"n_{name}", ">i4"), (name, kind)))])
"""A row of numbers, none of which is NULL, as PostgreSQL's binary COPY sends it."""
COLUMNS = ("source_pk", "cell", "ra", "dec", "pmra", "pmde", "motion")


class SourceCell(BaseModel):
    """Where a source is on the sky: its HEALPix cell, and the position and motion that this was made from."""

    source_pk = BigIntegerField(primary_key=True, unit="", help_text="Key of the source")
    cell = BigIntegerField(index=True, unit="", help_text="HEALPix pixel, of order 12 in nested numbering")
    ra = DoubleField(unit="deg", help_text="Right ascension of the source when the cell was found")
    dec = DoubleField(unit="deg", help_text="Declination of the source when the cell was found")
    pmra = FloatField(null=True, unit="mas / yr", help_text="Proper motion in right ascension, times cos(dec)")
    pmde = FloatField(null=True, unit="mas / yr", help_text="Proper motion in declination")
    motion = FloatField(index=True, unit="mas / yr", help_text="Total proper motion; 0 if it isn't known")


class Positions:
    """Positions of sources, as columns.

    Attributes
    ----------
    source_pk : array of int64, shape (n_sources,)
        Their keys.
    ra, dec : array of float64, shape (n_sources,)
        Positions, in degrees.
    pmra, pmde : array of float64, shape (n_sources,)
        Proper motions in mas / yr, that in right ascension times cos(dec); 0 where it isn't known.
    """

    def __init__(self, rows: "np.ndarray | list[tuple[Any, ...]]"):
        table = np.array(rows, dtype=np.float64).reshape(-1, 5)  # keys are exact up to 2**53
        self.source_pk = table[:, 0].astype(np.int64)
        self.ra, self.dec = table[:, 1], table[:, 2]
        self.pmra, self.pmde = (np.where(np.isfinite(motion), motion, 0) for motion in table[:, 3:].T)

    def __len__(self) -> int:
        return len(self.source_pk)

    def take(self, which: np.ndarray) -> "Positions":
        """Give some of them."""
        return Positions(np.column_stack([self.source_pk, self.ra, self.dec, self.pmra, self.pmde])[which])


def cells_of(ra: np.ndarray, dec: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Give the HEALPix pixels of positions.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Positions in degrees.
    order : int, optional
        Of the pixels: there are ``12 * 4**order``.

    Returns
    -------
    array of int64, shape (n,)
        Numbers of pixels, nested.
    """
    import astropy.units as u
    from astropy_healpix import HEALPix

    pixels = HEALPix(nside=2**order, order="nested")
    return np.asarray(pixels.lonlat_to_healpix(ra * u.deg, dec * u.deg), dtype=np.int64)


def update_cells() -> int:
    """Bring the index up to the sources that there are now.

    Returns
    -------
    int
        How many cells were missing, or of another position or motion than the source has now, if it has one.

    Raises
    ------
    peewee.PeeweeException or AstraError
        If the table isn't there, or can't be written.
    """
    done = 0
    outdated = list(_outdated())  # in no transaction: whoever may only read needs none if there is nothing
    for start in range(0, len(outdated), ROWS_AT_ONCE):
        part = outdated[start : start + ROWS_AT_ONCE]
        some = [row[:-1] for row in part if is_on_the_sky(*row[1:3])]
        lost = [row[0] for row in part if row[-1] and not is_on_the_sky(*row[1:3])]
        if some or lost:
            run_transaction(database, lambda some=some, lost=lost: _replace(some, lost))
        done += len(some) + len(lost)
    return done


def remove_cells_without_source() -> int:
    """Remove the cells whose sources are gone, and give their number."""
    gone = ~peewee.fn.EXISTS(Source.select(peewee.SQL("1")).where(Source.pk == SourceCell.source_pk))
    return SourceCell.delete().where(gone).execute()


def all_positions() -> Positions:
    """Read the positions of all sources that have one, from their own table, in no order."""
    table = quoted_table(Source)
    if is_postgresql(database):
        positions = Positions(_copied(f"SELECT {_AS_SENT} FROM {table} WHERE ra IS NOT NULL AND dec IS NOT NULL"))
    else:
        cursor = database.execute_sql(
            f"SELECT pk, ra, dec, pmra, pmde FROM {table} WHERE typeof(ra) IN {_NUMBERS} AND typeof(dec) IN {_NUMBERS}"
        )
        parts = iter(lambda: cursor.fetchmany(ROWS_AT_ONCE), [])
        positions = Positions(np.concatenate([np.empty((0, 5)), *(np.array(part, np.float64) for part in parts)]))
    return positions.take((np.abs(positions.dec) <= 90) & np.isfinite(positions.ra))


def _copied(query: str) -> np.ndarray:
    sent = io.BytesIO()
    with driver_errors, database.connection().cursor() as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", sent)
    rows = np.frombuffer(sent.getbuffer()[len(HEADER) : -2], COPIED)
    return np.column_stack([rows[name] for name, _ in _SENT])


def positions_of(where: peewee.Expression) -> Positions:
    """Read the positions of some sources from their own table."""
    query = Source.select(Source.pk, Source.ra, Source.dec, Source.pmra, Source.pmde).where(where)
    return Positions([row for row in query.tuples().iterator() if is_on_the_sky(*row[1:3])])


def _outdated() -> Iterator[tuple[Any, ...]]:
    """Read the sources whose cell is missing, or was made from another position than theirs, which may be none."""
    differs = "IS DISTINCT FROM" if is_postgresql(database) else "IS NOT"
    same = " OR ".join(f"c.{name} {differs} s.{name}" for name in ("ra", "dec", "pmra", "pmde"))
    sql = (
        f"SELECT s.pk, s.ra, s.dec, s.pmra, s.pmde, c.source_pk IS NOT NULL FROM {quoted_table(Source)} s "
        f"LEFT JOIN {quoted_table(SourceCell)} c ON c.source_pk = s.pk "
        f"WHERE ({same}) AND (c.source_pk IS NOT NULL OR (s.ra IS NOT NULL AND s.dec IS NOT NULL))"
    )
    yield from database.execute_sql(sql).fetchall()


def is_on_the_sky(ra: object, dec: object) -> bool:
    """Tell whether two values of a source are a position, in degrees."""
    return isinstance(ra, float | int) and isinstance(dec, float | int) and -90 <= dec <= 90 and abs(ra) < np.inf


def _copy(values: tuple[list[Any], ...]) -> None:
    """Send columns to a table of this transaction's own: several times as fast as sending them in a statement."""
    database.execute_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS new_cell (LIKE {quoted_table(SourceCell)}) ON COMMIT DELETE ROWS"
    )
    lines = ("\t".join("\\N" if value is None else repr(value) for value in row) for row in zip(*values, strict=True))
    with driver_errors, database.connection().cursor() as cursor:
        cursor.copy_expert("COPY pg_temp.new_cell FROM STDIN", io.StringIO("\n".join(lines)))


def _replace(rows: list[tuple[Any, ...]], lost: list[int]) -> None:
    if lost:
        SourceCell.delete().where(is_any_of(SourceCell.source_pk, lost)).execute()
    if rows:
        _write(rows)


def _write(rows: list[tuple[Any, ...]]) -> None:
    positions = Positions(rows)
    motion = np.hypot(positions.pmra, positions.pmde)
    motion[~np.isfinite(motion)] = 0
    values = (
        positions.source_pk.tolist(),
        cells_of(positions.ra, positions.dec).tolist(),
        *([row[place] for row in rows] for place in range(1, 5)),  # as they are, to be compared with the source's
        motion.tolist(),
    )
    into = f"INSERT INTO {quoted_table(SourceCell)} ({', '.join(COLUMNS)})"
    replaced = ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS[1:])
    conflict = f"ON CONFLICT (source_pk) DO UPDATE SET {replaced}"
    if is_postgresql(database):
        _copy(values)
        database.execute_sql(f"{into} SELECT {', '.join(COLUMNS)} FROM pg_temp.new_cell {conflict}")
        return
    marks = ", ".join("?" * len(COLUMNS))
    # SQLite reads an upsert of VALUES without a WHERE as it is meant.
    with driver_errors:
        database.connection().executemany(f"{into} VALUES ({marks}) {conflict}", zip(*values, strict=True))
