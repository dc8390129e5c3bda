"""What a database driver gives, made into typed arrays with a mask of NULLs."""

import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from astra_models.columns.typed import BOOLEAN, BYTES, COMPUTED, FLOATS, INT32, INT64, MOMENT, TEXT, Column
from astra_models.products.query import OutColumn, Selection, read_rows

Raw = tuple[Any, ...]
"""Values of a column as the driver gives them."""

VALUES_AT_ONCE = 100_000
"""As many as the processor's cache holds: more take longer each."""


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
        One for each column of the selection. Text is in arrays of ``str`` objects, moments are ISO 8601 text in UTC,
        lists are float32 arrays and bytes are ``bytes``, both as objects; None where NULL.
    """
    read = [column.selected for column in selection.columns if column.is_there]
    converters = [_converter(column) for column in selection.columns]
    query = selection.ordered(*read)
    for rows in read_rows(query, at_once or max(VALUES_AT_ONCE // len(selection.columns), 1)):
        given = iter(zip(*rows, strict=True))
        nothing = (None,) * len(rows)
        raw = [next(given) if column.is_there else nothing for column in selection.columns]
        yield [convert(values) for convert, values in zip(converters, raw, strict=True)]


def _converter(column: OutColumn) -> Callable[[Raw], Column]:
    """Give the function that makes a `Column` of what the driver gives for one."""
    kind, field = column.kind, column.field

    def convert(raw: Raw) -> Column:
        if kind.dtype.kind == "f":
            values = np.array(raw, dtype=np.float64)  # None becomes NaN
            return Column(kind, values.astype(kind.dtype), np.isnan(values))
        null = np.fromiter(map(operator.is_, raw, itertools.repeat(None)), bool, len(raw))
        if kind in (INT32, INT64, BOOLEAN):
            if getattr(field, "stored_type", None) is not None:
                raw = tuple(map(field.python_value, raw))
            blank = [0 if value is None else value for value in raw] if null.any() else raw
            return Column(kind, np.array(blank, dtype=kind.dtype), null)
        values = np.empty(len(raw), object)
        moments = _moments(column, raw, null) if kind is MOMENT else None
        if moments is not None:
            values[~null] = moments
            return Column(kind, values, null)
        values[:] = raw if kind in (TEXT, COMPUTED) else [_read_one(column, value) for value in raw]
        return Column(kind, values, null)

    return convert


def _moments(column: OutColumn, raw: Raw, null: np.ndarray) -> np.ndarray | None:
    """Write moments that aren't NULL as text all at once, if all of them are stored as SQLite has ours."""
    if getattr(column.field, "stored_type", None) is not None:
        return None
    known = raw if not null.any() else [value for value in raw if value is not None]
    if not all(type(value) is str and len(value) in _LENGTHS and value.endswith(_UTC) for value in known):
        return None
    try:
        moments = np.array([value[: -len(_UTC)] for value in known], dtype="datetime64[us]")
    except ValueError:  # one by one, it is found and named
        return None
    return np.datetime_as_string(moments, unit="us").astype(object)


_UTC = "+00:00"
_LENGTHS = (25, 32)  # of 2026-01-02 03:04:05+00:00, and with microseconds


def _read_one(column: OutColumn, value: Any) -> object:
    if value is None:
        return None
    if column.kind is BYTES:
        return bytes(value)
    value = column.field.python_value(value)
    if column.kind is MOMENT:
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return np.asarray(value, dtype=np.float32) if column.kind is FLOATS else value


def padded(values: np.ndarray, width: int, dtype: DTypeLike) -> np.ndarray:
    """Put lists of different length into the rows of one array: NaN after the last of floats, 0 of bytes."""
    kind = np.dtype(dtype)
    table = np.full((len(values), width), np.nan if kind.kind == "f" else 0, dtype=kind)
    for row, value in zip(table, values, strict=True):
        if value is not None:
            row[: len(value)] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    return table
