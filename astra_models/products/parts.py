"""Rows as astropy Tables, some at a time, each of the types that a table of all rows would have.

Formats whose header says how wide text and lists are need that before the first row is written: one query asks it.
"""

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import peewee

from astra_models.base import database
from astra_models.columns.typed import BYTES, FLOATS, TEXT, Column
from astra_models.garbage import imports_set_aside
from astra_models.products.fits.layout import length_in_elements
from astra_models.products.query import OutColumn, Selection
from astra_models.products.reading import hand_on_columns, joined
from astra_models.products.table import described

if TYPE_CHECKING:
    from astropy.table import Table

VALUES_AT_ONCE = 200_000


class Size(NamedTuple):
    """How large a selection is.

    Parameters
    ----------
    rows : int
        How many rows it has.
    widths : dict of str to int
        Length of the longest text in characters, bytes, or list, by the name of its column.
    """

    rows: int
    widths: dict[str, int]


def size_of(selection: Selection) -> Size:
    """Ask how large a selection is. Call it in the rows' `snapshot`."""
    wide = [column for column in selection.columns if column.kind in (TEXT, BYTES, FLOATS) and column.is_there]
    query = selection.select(peewee.fn.COUNT(peewee.SQL("*")), *(peewee.fn.MAX(_length(column)) for column in wide))
    ((rows, *longest),) = database.execute(query.tuples())
    return Size(rows, {column.name: length or 0 for column, length in zip(wide, longest, strict=True)})


def _length(column: OutColumn) -> peewee.ColumnBase:
    return length_in_elements(column) if column.kind is FLOATS else peewee.fn.LENGTH(column.selected)


def empty_part(selection: Selection, size: Size) -> "Table":
    """Make the table of a selection without its rows."""
    return _table(selection, size, joined(selection.columns, []))


def hand_on_parts(selection: Selection, size: Size, take: Callable[["Table"], None]) -> None:
    """Read a selection, and call a function with some rows at a time.

    Parameters
    ----------
    selection : Selection
        What to read; in a `snapshot`.
    size : Size
        How large it is.
    take : callable
        Called with a table of some rows.
    """

    def hand_on(columns: list[Column]) -> None:
        take(_table(selection, size, columns))
        gc.collect()  # astropy's writers refer to each other in circles, and hold all that they wrote

    with imports_set_aside():
        hand_on_columns(selection, hand_on, selection.rows_of(VALUES_AT_ONCE))


def _table(selection: Selection, size: Size, columns: list[Column]) -> "Table":
    from astropy.table import Table

    parts = zip(selection.columns, columns, strict=True)
    return Table({out.name: described(out, column, max(size.widths.get(out.name, 0), 1)) for out, column in parts})
