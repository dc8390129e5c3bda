"""The rows of a selection as typed arrays with a mask of NULLs, read in the way that is fastest for the database.

PostgreSQL's binary COPY (`copied`), whole rows of SQLite (`packed`), many of them by ADBC (`by_adbc`), or any driver's
values one by one (`values`).
Moments are ``datetime64[us]`` in UTC; text is ``str``, lists are float32 arrays and bytes are ``bytes``, all of them in
arrays of objects. A value that is NULL is None, NaN, NaT, or 0 of a whole number.
"""

from collections.abc import Callable, Iterator

import peewee

from astra_models.base import database
from astra_models.columns.typed import Column
from astra_models.database.sql import is_postgresql
from astra_models.products.query import Selection, can_be_shared, read_rows
from astra_models.products.reading.by_adbc import all_by_adbc, is_worthwhile, read_by_adbc
from astra_models.products.reading.copied import can_be_copied, copied_in_parts, copied_in_ranges, copy_columns
from astra_models.products.reading.packed import read_packed
from astra_models.products.reading.values import joined, nothing, padded, text_of_moments, typed

__all__ = ["all_columns", "hand_on_columns", "padded", "read_columns", "text_of_moments"]

VALUES_AT_ONCE = 100_000
"""As many as the processor's cache holds: more take longer each."""
SENT_AT_ONCE = 500_000
COPIED_AT_ONCE = 1_000_000
"""Values of a block that comes from another process."""


def read_columns(selection: Selection, at_once: int | None = None) -> Iterator[list[Column]]:
    """Read a selection, some rows at a time.

    Parameters
    ----------
    selection : Selection
        What to read; in a `snapshot`.
    at_once : int, optional
        Rows at a time. By default, the more columns there are, the fewer rows.

    Yields
    ------
    list of Column
        One for each column of the selection.

    Raises
    ------
    FieldValueError
        If the table holds something that its column can't.
    """
    few = selection.rows_of(VALUES_AT_ONCE)
    if is_postgresql(database):
        if selection.is_key and isinstance(selection.order[0], peewee.Field) and can_be_copied(selection):
            return copied_in_parts(selection, at_once or selection.rows_of(COPIED_AT_ONCE))
        return _typed_rows(selection, at_once or few)
    if is_worthwhile(selection):
        read, few = read_by_adbc, selection.rows_of(SENT_AT_ONCE)
    else:
        read = read_packed if selection.is_key else _typed_rows
    if at_once is None:
        return read(selection, few)
    return _regrouped(selection, read(selection, min(few, at_once)), at_once)


def hand_on_columns(selection: Selection, take: Callable[[list[Column]], None], at_once: int | None = None) -> None:
    """Read a selection, and call a function with some rows at a time; faster on PostgreSQL than `read_columns`."""
    if is_postgresql(database) and can_be_copied(selection):
        copy_columns(selection, take, at_once or selection.rows_of(COPIED_AT_ONCE))
        return
    for columns in read_columns(selection, at_once):
        take(columns)


def all_columns(selection: Selection) -> list[Column]:
    """Read all rows of a selection; large ones by all processors, each a range of the key."""
    parts: list[list[Column]] = []
    if is_postgresql(database) and can_be_shared() and can_be_copied(selection):
        parts = copied_in_ranges(selection, selection.rows_of(COPIED_AT_ONCE))
    elif not is_postgresql(database) and is_worthwhile(selection):
        found = all_by_adbc(selection, selection.rows_of(SENT_AT_ONCE))
        parts = list(read_packed(selection, selection.rows_of(VALUES_AT_ONCE))) if found is None else found
    else:
        hand_on_columns(selection, parts.append)
    return joined(selection.columns, parts)


def _typed_rows(selection: Selection, at_once: int) -> Iterator[list[Column]]:
    query = selection.ordered(*(column.selected for column in selection.columns if column.is_there))
    for rows in read_rows(query, at_once):
        given = zip(*rows, strict=True)
        yield [
            typed(column, next(given)) if column.is_there else nothing(column, len(rows))
            for column in selection.columns
        ]


def _regrouped(selection: Selection, pieces: Iterator[list[Column]], at_once: int) -> Iterator[list[Column]]:
    """Put rows that were read few at a time together, to so many at a time."""
    left: list[list[Column]] = []
    n_left = 0
    for piece in pieces:
        left.append(piece)
        n_left += len(piece[0].null)
        while n_left >= at_once:
            columns = joined(selection.columns, left)
            yield [column.take(slice(at_once)) for column in columns]
            n_left -= at_once
            left = [[column.take(slice(at_once, None)) for column in columns]] if n_left else []
    if left:
        yield joined(selection.columns, left)
