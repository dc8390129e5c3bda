"""Rows of SQLite, whole ones put into typed arrays at once.

Python's module gives a tuple of objects for each row. `struct` writes all numbers of such a tuple into a buffer by one
call, and takes nothing for a number that isn't one; NumPy then has the columns of many rows as one array. NULL is asked
for as a number that the column can't hold.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import peewee

from astra_models.columns.typed import BOOLEAN, FLOAT32, FLOAT64, INT32, INT64, Column, Kind
from astra_models.products.query import OutColumn, Selection, read_rows
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


def _runs(selection: Selection) -> list[Run]:
    """Say which columns of a selection can be packed."""
    runs = [Run(kind, []) for kind in (FLOAT32, FLOAT64, INT32, INT64, BOOLEAN)]
    for run in runs:
        for place, column in enumerate(selection.columns):
            if column.kind is run.kind and column.is_there and _can_be_packed(column):
                run.places.append(place)
    return [run for run in runs if run.places]


def _can_be_packed(column: OutColumn) -> bool:
    # Every number of 64 bits is a value that such a column may have: none is left for NULL.
    has_mark = not (column.nullable and column.kind in (FLOAT64, INT64))
    return has_mark and getattr(column.field, "stored_type", None) is None


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
    runs = _runs(selection)
    packed = [place for run in runs for place in run.places]
    others = [place for place, column in enumerate(selection.columns) if column.is_there and place not in packed]
    marks = {place: run.instead for run in runs for place in run.places if selection.columns[place].nullable}
    asked = [_asked(selection.columns[place], marks.get(place)) for place in (*packed, *others)]
    query = selection.ordered(*asked)
    if skipped:
        query = query.offset(skipped)
    pack = struct.Struct("=" + "".join(f"{len(run.places)}{run.code}" for run in runs)).pack
    dtype = np.dtype([(run.kind.sql, np.float64 if run.code == "d" else np.int64, len(run.places)) for run in runs])
    for rows in read_rows(query, at_once):
        found: dict[int, Column] = {}
        try:
            sent = b"".join([pack(*row[: len(packed)]) for row in rows])
            numbers = np.frombuffer(sent, dtype) if packed else np.empty(0, dtype)
            for run in runs:
                has_mark = np.array([place in marks for place in run.places])
                found |= zip(run.places, run.values(numbers[run.kind.sql].T.copy(), has_mark), strict=True)
            left = others
        except (struct.error, OverflowError):  # something is no such number: value by value, it is found and named
            left = [*packed, *others]
        for place, raw in zip(left, zip(*(row[len(row) - len(left) :] for row in rows), strict=True), strict=True):
            found[place] = typed(selection.columns[place], _with_nulls(raw, marks.get(place)))
        yield [found.get(place) or nothing(column, len(rows)) for place, column in enumerate(selection.columns)]


def _asked(column: OutColumn, instead: float | None) -> peewee.Node:
    if instead is None:
        return column.selected
    return peewee.fn.COALESCE(column.selected, peewee.Value(instead, converter=type(instead)))


def _with_nulls(raw: Raw, instead: float | None) -> Raw:
    return raw if instead is None else tuple(None if value == instead else value for value in raw)
