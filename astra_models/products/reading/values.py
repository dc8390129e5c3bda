"""Values as a database driver gives them, column by column, made into typed arrays with a mask of NULLs."""

import itertools
import operator
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from astra_models.columns.typed import BOOLEAN, BYTES, COMPUTED, FLOATS, INT32, INT64, MOMENT, TEXT, Column
from astra_models.errors import FieldValueError
from astra_models.messages import shown
from astra_models.products.query import OutColumn

Raw = tuple[Any, ...]
"""Values of a column as the driver gives them."""

NO_MOMENT = np.datetime64("NaT", "us")
UTC = "+00:00"
LENGTHS_OF_MOMENTS = (25, 32)  # of 2026-01-02 03:04:05+00:00, and with microseconds


def typed(column: OutColumn, raw: Raw) -> Column:
    """Make typed values of what the driver gives for a column.

    Raises
    ------
    FieldValueError
        If the table holds something that the column can't: SQLite stores text in a column of numbers.
    """
    try:
        return _typed(column, raw)
    except FieldValueError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise _unlike(column, raw, ()) from error


def _typed(column: OutColumn, raw: Raw) -> Column:
    kind = column.kind
    if kind.dtype.kind == "f":
        _require(column, raw, (int, float, Decimal))  # NumPy makes numbers of text, too
        values = np.array(raw, dtype=np.float64)  # None becomes NaN
        with np.errstate(over="ignore"):
            return Column(kind, values.astype(kind.dtype), np.isnan(values))
    null = np.fromiter(map(operator.is_, raw, itertools.repeat(None)), bool, len(raw))
    if kind in (INT32, INT64, BOOLEAN):
        if getattr(column.field, "stored_type", None) is not None:
            raw = tuple(map(column.field.python_value, raw))
        _require(column, raw, (int,))
        return Column(kind, np.array([0 if value is None else value for value in raw], dtype=kind.dtype), null)
    if kind is MOMENT:
        return Column(kind, _moments(column, raw, null), null)
    values = np.empty(len(raw), object)
    if kind is TEXT:
        _require(column, raw, (str,))
    values[:] = raw if kind in (TEXT, COMPUTED) else [_read_one(column, value) for value in raw]
    return Column(kind, values, null)


def _require(column: OutColumn, raw: Raw, types: tuple[type, ...]) -> None:
    if not all(issubclass(kind, types) for kind in set(map(type, raw)) - {type(None)}):
        raise _unlike(column, raw, types)


def _unlike(column: OutColumn, raw: Raw, types: tuple[type, ...]) -> FieldValueError:
    """Say which value isn't what its column is declared to hold."""
    needed = types or (int, float)
    odd = next((value for value in raw if value is not None and not isinstance(value, needed)), None)
    return FieldValueError(
        f"{column.name}: there is {shown(odd)}, where {_WORDS.get(column.kind.dtype.kind, 'text')} should be; "
        "correct that row, or leave it out by a condition"
    )


_WORDS = {"f": "a number", "i": "a whole number", "b": "true or false", "M": "a moment"}


def _moments(column: OutColumn, raw: Raw, null: np.ndarray) -> np.ndarray:
    """Read moments: all at once if they are stored as SQLite has ours, else one by one."""
    values = np.full(len(raw), NO_MOMENT)
    known = raw if not null.any() else tuple(value for value in raw if value is not None)
    found = _iso_at_once(column, known)
    if found is None:
        found = np.array([_read_one(column, value) for value in known], values.dtype)
    values[~null] = found
    return values


def _iso_at_once(column: OutColumn, known: Raw) -> np.ndarray | None:
    if getattr(column.field, "stored_type", None) is not None:
        return None
    if set(map(type, known)) != {str} or not set(map(len, known)) <= {*LENGTHS_OF_MOMENTS}:
        return None
    text = "\n".join((*known, ""))
    if not text.count("\n") == text.count(f"{UTC}\n") == len(known):
        return None
    try:
        return np.array(text.replace(f"{UTC}\n", "\n").split("\n")[:-1], dtype="datetime64[us]")
    except ValueError:  # one by one, it is found and named
        return None


def _read_one(column: OutColumn, value: Any) -> object:
    if value is None:
        return None
    if column.kind is BYTES:
        return bytes(value)
    value = column.field.python_value(value)
    if column.kind is MOMENT:
        return value.replace(tzinfo=None)
    return np.asarray(value, dtype=np.float32) if column.kind is FLOATS else value


def nothing(column: OutColumn, n_rows: int) -> Column:
    """Make the values of a column that is NULL in every row."""
    if column.kind is MOMENT:
        values = np.full(n_rows, NO_MOMENT)
    elif column.kind.dtype.kind == "f":
        values = np.full(n_rows, np.nan, column.kind.dtype)
    else:
        values = np.full(n_rows, None if column.kind.dtype == object else 0, column.kind.dtype)
    return Column(column.kind, values, np.ones(n_rows, bool))


def text_of_moments(column: Column) -> np.ndarray:
    """Write moments as ISO 8601 text in UTC, with microseconds; empty where NULL."""
    return np.where(column.null, "", np.datetime_as_string(column.values, unit="us"))


def joined(columns: Sequence[OutColumn], parts: Sequence[Sequence[Column]]) -> list[Column]:
    """Put rows that were read one part after the other together."""
    if not parts:
        return [nothing(column, 0) for column in columns]
    return [_joined(column, [part[place] for part in parts]) for place, column in enumerate(columns)]


def _joined(column: OutColumn, parts: list[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part.values for part in parts])
    return Column(column.kind, values, np.concatenate([part.null for part in parts]))


def padded(values: np.ndarray, width: int, dtype: DTypeLike) -> np.ndarray:
    """Put lists of different length into the rows of one array: NaN after the last of floats, 0 of bytes."""
    kind = np.dtype(dtype)
    table = np.full((len(values), width), np.nan if kind.kind == "f" else 0, dtype=kind)
    for row, value in zip(table, values, strict=True):
        if value is not None:
            row[: len(value)] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    return table
