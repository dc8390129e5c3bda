"""Rows of SQLite, whole ones put into typed arrays at once.

Python's module gives a tuple of objects for each row. `struct` writes all numbers of such a tuple into a buffer by one
call, and takes nothing for a number that isn't one; NumPy then has the columns of many rows as one array. NULL is asked
for as a number that the column can't hold.
"""

import operator
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import peewee

from astra_models.columns.typed import BOOLEAN, FLOAT32, FLOAT64, INT32, INT64, Column, Kind
from astra_models.products.query import OutColumn, Row, Selection, read_rows
from astra_models.products.reading.values import Raw, nothing, typed

NULL_FLOAT = -1.5e308
NULL_WHOLE = -(1 << 63)
LARGEST_INT32 = (1 << 31) - 1


class Run(NamedTuple):
    """Columns of one kind, which follow each other in a packed row."""

    kind: Kind
    places: list[int]

    @property
    def code(self) -> str:
        """Their type as `struct` has it."""
        return "d" if self.kind in (FLOAT32, FLOAT64) else "q"

    @property
    def instead(self) -> float | int:
        """What stands for NULL."""
        return NULL_FLOAT if self.code == "d" else NULL_WHOLE

    def values(self, sent: np.ndarray, has_mark: np.ndarray) -> list[Column]:
        """Make columns of what is in packed rows, shape (n_columns, n_rows), some of which have a mark for NULL.

        Raises
        ------
        OverflowError
            If a number is larger than its column's type.
        """
        null = (sent == self.instead) & has_mark[:, np.newaxis]
        sent[null] = np.nan if self.code == "d" else 0
        if self.kind is INT32 and sent.size and max(-sent.min() - 1, sent.max()) > LARGEST_INT32:
            raise OverflowError("larger than 32 bits")
        with np.errstate(over="ignore"):
            values = sent.astype(self.kind.dtype, copy=False)
        return [Column(self.kind, *each) for each in zip(values, null, strict=True)]


class Packing:
    """How the rows of a selection are packed.

    Parameters
    ----------
    selection : Selection
        Its columns are asked for in another order: those that can be packed, run by run, and then the others.
    """

    def __init__(self, selection: Selection):
        self._columns = selection.columns
        self._runs = _runs(selection.columns)
        run_of = {place: run for run in self._runs for place in run.places}
        self._packed = list(run_of)
        there = (place for place, column in enumerate(selection.columns) if column.is_there)
        self._others = [place for place in there if place not in run_of]
        self._marks = {place: run.instead for place, run in run_of.items() if selection.columns[place].nullable}
        self._struct = struct.Struct("=" + "".join(f"{len(run.places)}{run.code}" for run in self._runs))
        numbers = {"d": np.float64, "q": np.int64}
        self._dtype = np.dtype([(run.kind.sql, numbers[run.code], len(run.places)) for run in self._runs])

    @property
    def asked(self) -> list[peewee.Node]:
        """What is asked for."""
        places = (*self._packed, *self._others)
        return [_asked(self._columns[place], self._marks.get(place)) for place in places]

    def columns(self, rows: list[Row]) -> list[Column]:
        """Make columns of rows as they were asked for."""
        try:
            found = self._at_once(rows)
            left = self._others
        except (struct.error, OverflowError):  # something is no such number: value by value, it is found and named
            found, left = {}, [*self._packed, *self._others]
        for n_from_end, place in zip(range(-len(left), 0), left, strict=True):
            raw = tuple(map(operator.itemgetter(n_from_end), rows))
            found[place] = typed(self._columns[place], _with_nulls(raw, self._marks.get(place)))
        return [found.get(place) or nothing(column, len(rows)) for place, column in enumerate(self._columns)]

    def _at_once(self, rows: list[Row]) -> dict[int, Column]:
        if not self._packed:
            return {}
        pack, n_packed = self._struct.pack, len(self._packed)
        numbers = np.frombuffer(b"".join([pack(*row[:n_packed]) for row in rows]), self._dtype)
        found: dict[int, Column] = {}
        for run in self._runs:
            has_mark = np.array([place in self._marks for place in run.places])
            found |= zip(run.places, run.values(numbers[run.kind.sql].T.copy(), has_mark), strict=True)
        return found


def _runs(columns: list[OutColumn]) -> list[Run]:
    """Say which columns can be packed."""
    packed = [
        (place, column.kind) for place, column in enumerate(columns) if column.is_there and _can_be_packed(column)
    ]
    kinds = (FLOAT32, FLOAT64, INT32, INT64, BOOLEAN)
    runs = [Run(kind, [place for place, of in packed if of is kind]) for kind in kinds]
    return [run for run in runs if run.places]


def _can_be_packed(column: OutColumn) -> bool:
    # Every number of 64 bits is a value that such a column may have: none is left for NULL.
    has_mark = not (column.nullable and column.kind in (FLOAT64, INT64))
    return column.is_there and has_mark and getattr(column.field, "stored_type", None) is None


def read_packed(selection: Selection, at_once: int, skipped: int = 0) -> Iterator[list[Column]]:
    """Read the rows of a selection of models' columns from SQLite.

    Parameters
    ----------
    selection : Selection
        What to read; in a `snapshot`.
    at_once : int
        Rows at a time.
    skipped : int, optional
        As many rows are left out at the beginning.

    Yields
    ------
    list of Column
        One for each column of the selection.

    Raises
    ------
    FieldValueError
        If the table holds something that its column can't.
    """
    packing = Packing(selection)
    query = selection.ordered(*packing.asked)
    if skipped:
        query = query.offset(skipped)
    for rows in read_rows(query, at_once):
        yield packing.columns(rows)


def _asked(column: OutColumn, instead: float | None) -> peewee.Node:
    if instead is None:
        return column.selected
    return peewee.fn.COALESCE(column.selected, peewee.Value(instead, converter=type(instead)))


def _with_nulls(raw: Raw, instead: float | None) -> Raw:
    return raw if instead is None else tuple(None if value == instead else value for value in raw)
