"""Sources that may be within a radius of some positions: those in their cells, and in the cells around."""

import json
import logging
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_postgresql, quoted_table, rows_of
from astra_models.errors import AstraError
from astra_models.messages import error_text
from astra_models.sky.cells import (
    ORDER,
    Positions,
    SourceCell,
    all_positions,
    cells_of,
    remove_cells_without_source,
    update_cells,
)

__all__ = ["Index"]

logger = logging.getLogger(__name__)

WIDTH = 58.6 * 3600  # arcsec: of a cell of order 0, halved with each order
WIDER = 4
"""How many radii wide a cell has to be, so that the cells around it hold all within a radius of any place in it.

Cells are of one area, but towards the poles up to about three times as long as they are wide.
"""
RANGES_AT_ONCE = 20_000
MOSTLY = 0.2
"""The share of the sky from which on all cells are read, as they lie: by the index a row takes much longer."""


class Index:
    """The sources by their place on the sky, as they are when it is first used.

    The table of cells is brought up to date then. Where that can't be done, because there is none or it can't be
    written, all positions are read instead; `problem` says why.

    Parameters
    ----------
    without_gone : bool, optional
        Whether cells are removed whose sources aren't there any more. That takes a while with many sources.
    """

    def __init__(self, *, without_gone: bool = False) -> None:
        self.problem: str | None = None
        self._without_gone = without_gone
        self._all: Positions | None = None

    def within(self, ra: np.ndarray, dec: np.ndarray, radius: float) -> Positions:
        """Read the sources that may be within a radius of any of some positions.

        Parameters
        ----------
        ra, dec : array, shape (n,)
            Positions in degrees.
        radius : float
            In arcsec.

        Returns
        -------
        Positions
            All sources that are, and some that aren't.
        """
        ranges = _ranges_within(ra, dec, radius)
        if ranges is None:
            self._all = all_positions() if self._all is None else self._all
            return self._all
        if self._everything is not None:
            return self._everything
        parts = (ranges[start : start + RANGES_AT_ONCE] for start in range(0, len(ranges), RANGES_AT_ONCE))
        return Positions([row for part in parts for row in _rows_in(part)])

    def fastest(self) -> float:
        """Give the largest proper motion of a source, in mas / yr."""
        if self._everything is not None:
            return float(np.max(np.hypot(self._everything.pmra, self._everything.pmde), initial=0))
        return SourceCell.select(peewee.fn.MAX(SourceCell.motion)).scalar() or 0.0

    def faster_than(self, motion: float) -> Positions:
        """Read the sources with a larger proper motion, in mas / yr."""
        if self._everything is not None:
            return self._everything
        return Positions(rows_of(_cells().where(SourceCell.motion > motion)))

    @property
    def _everything(self) -> Positions | None:
        """All positions, if they were read or have to be, because the table of cells can't be used."""
        if self._all is None and self._cant_be_used:
            self._all = all_positions()
        return self._all

    @cached_property
    def _cant_be_used(self) -> bool:
        try:
            if not SourceCell.table_exists():
                self.problem = "there is no table source_cell; `astra migrate up` makes it"
            else:
                update_cells()
                if self._without_gone:
                    run_transaction(database, remove_cells_without_source)
        except (peewee.PeeweeException, AstraError) as error:
            self.problem = f"the table source_cell can't be brought up to date: {error_text(error)}"
        if self.problem is not None:
            logger.warning("all positions of sources are read, because %s", self.problem)
        return self.problem is not None


def _cells() -> "peewee.ModelSelect[SourceCell]":
    return SourceCell.select(SourceCell.source_pk, SourceCell.ra, SourceCell.dec, SourceCell.pmra, SourceCell.pmde)


def _ranges_within(ra: np.ndarray, dec: np.ndarray, radius: float) -> list[tuple[int, int]] | None:
    """Give the ranges of cells that hold all within a radius of some positions; None if that is much of the sky."""
    order = _order_for(radius)
    if order is None:
        return None
    cells = _with_neighbours(np.unique(cells_of(ra, dec, order)), order)
    return None if len(cells) > MOSTLY * 12 * 4**order else _ranges(cells, order)


def _order_for(radius: float) -> int | None:
    """Give the highest order whose cells are wide enough for a radius in arcsec; None if there is none."""
    fitting = [order for order in range(ORDER + 1) if WIDTH / 2**order >= WIDER * radius]
    return max(fitting, default=None)


def _with_neighbours(cells: np.ndarray, order: int) -> np.ndarray:
    from astropy_healpix import HEALPix

    with np.errstate(invalid="ignore"):  # where there is no neighbour
        around = HEALPix(nside=2**order, order="nested").neighbours(cells).ravel()
    return np.unique(np.concatenate([cells, around[around >= 0]]))  # some have seven neighbours


def _ranges(cells: np.ndarray, order: int) -> list[tuple[int, int]]:
    """Give cells of an order as ranges of cells of the table's order, joined where they touch."""
    ends = np.flatnonzero(np.diff(cells) > 1)
    first = cells[np.concatenate([[0], ends + 1])] if len(cells) else cells
    last = cells[np.concatenate([ends, [len(cells) - 1]])] if len(cells) else cells
    shift = 2 * (ORDER - order)
    return list(zip((first << shift).tolist(), (((last + 1) << shift) - 1).tolist(), strict=True))


def _rows_in(ranges: list[tuple[int, int]]) -> Iterator[tuple[object, ...]]:
    """Read the sources in ranges of cells, each range by the index."""
    table = quoted_table(SourceCell)
    columns = "source_pk, ra, dec, pmra, pmde"
    if is_postgresql(database):
        # A subquery with an OFFSET is run for each range, by the index, whatever the planner thinks of many ranges.
        sql = (
            f"SELECT x.* FROM unnest(%s::bigint[], %s::bigint[]) r (a, b) CROSS JOIN LATERAL "
            f"(SELECT {columns} FROM {table} WHERE cell BETWEEN r.a AND r.b OFFSET 0) x"
        )
        yield from database.execute_sql(sql, tuple(map(list, zip(*ranges, strict=True)))).fetchall()
        return
    sql = (
        f"SELECT c.source_pk, c.ra, c.dec, c.pmra, c.pmde FROM json_each(?) r CROSS JOIN {table} c "
        "ON c.cell BETWEEN json_extract(r.value, '$[0]') AND json_extract(r.value, '$[1]')"
    )
    yield from database.execute_sql(sql, (json.dumps(ranges),))
