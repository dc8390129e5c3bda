"""The values of one column, checked and converted to a typed NumPy array.

Whole columns are converted at once. Only a column in which something doesn't fit is converted value by value, to find
which rows can't be stored and why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import peewee

from astra_models.columns import values as one_value
from astra_models.fields import (
    BitField,
    BooleanField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    FloatField,
    TextField,
)
from astra_models.messages import MISTAKES, said

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MOMENT, LAST_MOMENT = (
    np.datetime64(end.replace(tzinfo=None), "s") for end in (one_value.FIRST_MOMENT, one_value.LAST_MOMENT)
)


class Kind(NamedTuple):
    """How a column's values are held here, and the PostgreSQL type that they are sent as."""

    dtype: np.dtype
    sql: str

    def __reduce__(self) -> "tuple[Callable[[str], Kind], tuple[str]]":
        """Be the same object, and not only an equal one, in another process."""
        return _kind_named, (self.sql,)


INT32 = Kind(np.dtype(np.int32), "integer")
INT64 = Kind(np.dtype(np.int64), "bigint")
FLOAT32 = Kind(np.dtype(np.float32), "real")
FLOAT64 = Kind(np.dtype(np.float64), "double precision")
BOOLEAN = Kind(np.dtype(np.bool_), "boolean")
MOMENT = Kind(np.dtype("datetime64[us]"), "timestamptz")
LOCAL_MOMENT = Kind(np.dtype(np.int64), "timestamp")  # microseconds since 2000, as PostgreSQL counts them
TEXT = Kind(np.dtype(object), "text")
BYTES = Kind(np.dtype(object), "bytea")
FLOATS = Kind(np.dtype(object), "real[]")
COMPUTED = Kind(np.dtype(object), "")
"""Of what a query computes: known when the values are there. No table has such a column."""

_KINDS_KNOWN = (INT32, INT64, FLOAT32, FLOAT64, BOOLEAN, MOMENT, LOCAL_MOMENT, TEXT, BYTES, FLOATS, COMPUTED)
_NAMED = {kind.sql: kind for kind in _KINDS_KNOWN}


def _kind_named(sql: str) -> Kind:
    return _NAMED[sql]


_KINDS: tuple[tuple[type[peewee.Field], Kind], ...] = (
    (FloatArrayField, FLOATS),
    (FloatField, FLOAT32),
    (DoubleField, FLOAT64),
    (BooleanField, BOOLEAN),
    (DateTimeField, MOMENT),
    (TextField, TEXT),
    (BitField, INT64),
    (peewee.BigIntegerField, INT64),
    (peewee.BigAutoField, INT64),
    (peewee.IntegerField, INT32),
    (peewee.FloatField, FLOAT64),
    (peewee.BooleanField, BOOLEAN),
    (peewee.CharField, TEXT),
    (peewee.TextField, TEXT),
    (peewee.DateTimeField, MOMENT),
    (peewee.BlobField, BYTES),
)

_OF_ONE_FAMILY: tuple[set[Kind], ...] = ({INT32, INT64}, {FLOAT32, FLOAT64})

# Columns of a production schema that are of another type than ours.
_STORED_KINDS = {
    "integer": INT32,
    "bigint": INT64,
    "real": FLOAT32,
    "double precision": FLOAT64,
    "text": TEXT,
    "character varying": TEXT,
    "timestamp without time zone": LOCAL_MOMENT,
    "timestamp with time zone": MOMENT,
}

_INTEGERS = {int, bool, *np.sctypeDict.values()} & {
    int, bool, np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
}  # fmt: skip
_FLOATS = _INTEGERS | {float, np.float16, np.float32, np.float64}
_NONE = type(None)
FLOAT_TYPES = _FLOATS | {_NONE}
"""Types of values that a column of floats takes as they are."""


class Refusal(NamedTuple):
    """Why one row can't be stored."""

    row: int
    check: str
    message: str


@dataclass(frozen=True)
class Column:
    """A column's values and which of them are NULL (there the value means nothing).

    Parameters
    ----------
    kind : Kind
        What the values are.
    values : ndarray, shape (n_rows,)
        Of the kind's dtype.
    null : ndarray of bool, shape (n_rows,)
        True where the value is NULL.
    """

    kind: Kind
    values: np.ndarray
    null: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Column":
        """Give the column of some rows, in the order asked for."""
        return Column(self.kind, self.values[rows], self.null[rows])

    def value(self, row: int) -> object:
        """Give the value of one row, None for NULL."""
        if self.null[row]:
            return None
        value = self.values[row]
        return value.item() if isinstance(value, np.generic) else value


Raw = Sequence[object] | np.ndarray | Column
"""Values as they are given: Python or NumPy scalars, None for NULL; an array, masked where NULL; or a typed column."""


def kind_of(field: peewee.Field) -> Kind:
    """Give the kind of a field: how its values are held here and sent to the bound database.

    Raises
    ------
    TypeError
        If fields of this type can't be upserted.
    """
    stored = _STORED_KINDS.get(getattr(field, "stored_type", None) or "")
    return stored or _declared_kind(field)


def _declared_kind(field: peewee.Field) -> Kind:
    target = field
    while isinstance(target, peewee.ForeignKeyField):
        target = target.rel_field
    for field_type, kind in _KINDS:
        if isinstance(target, field_type):
            return kind
    raise TypeError(f"{field!r}: columns of type {type(field).__name__} can't be upserted")


def constant_column(field: peewee.Field, value: object, n_rows: int) -> Column:
    """Make a column that has the same value, or NULL, in every row."""
    one, _ = to_column(field, [value])
    return Column(one.kind, np.repeat(one.values, n_rows), np.repeat(one.null, n_rows))


def to_column(field: peewee.Field, raw: Raw | Column) -> tuple[Column, list[Refusal]]:
    """Convert the values given for a column, and refuse those that it can't hold.

    Parameters
    ----------
    field : peewee.Field
        The column.
    raw : sequence, ndarray or Column, length n_rows
        What was given; see `Raw`. Of a column, values are only checked against the range of this one.

    Returns
    -------
    column : Column
        The values; NULL where a value was refused.
    refusals : list of Refusal
        One for each value that the column can't hold.
    """
    stored = kind_of(field)
    # What is stored otherwise than it is checked is made of what was checked.
    kind = _declared_kind(field) if stored in (LOCAL_MOMENT, TEXT) else stored
    if isinstance(raw, Column) and raw.kind is stored is not MOMENT:
        return raw, []
    if isinstance(raw, Column):
        column, raw = _from_column(kind, raw), np.ma.MaskedArray(raw.values, raw.null)
    else:
        column = _from_array(kind, raw) if isinstance(raw, np.ndarray) else None
    refusals: list[Refusal] = []
    if column is None:
        values = _as_list(raw) if isinstance(raw, np.ndarray) else raw
        column = _at_once(kind, values)
        if column is None:
            cleaned, refusals = _one_by_one(field, _converter(field, kind), values)
            column = _from_list(kind, cleaned)
            assert column is not None
    column, refusals = _within_range(field, column, refusals)
    return (column, refusals) if stored == kind else _as_stored(field, stored, column, refusals)


def _as_list(raw: np.ndarray) -> list[object]:
    # NumPy makes whole numbers of times to the nanosecond, and tuples of structures.
    return raw.tolist() if raw.ndim <= 1 and raw.dtype.kind not in "mMV" else list(raw)


def _as_stored(
    field: peewee.Field, stored: Kind, column: Column, refusals: list[Refusal]
) -> tuple[Column, list[Refusal]]:
    """Make a zone's local times of moments, and text of versions."""
    distinct, places = np.unique(np.where(column.null, column.values[:1], column.values), return_inverse=True)
    cleaned, unstorable = _one_by_one(field, field.db_value, distinct.tolist())
    why = {refusal.row: refusal for refusal in unstorable}
    found = [why[place]._replace(row=row) for row, place in enumerate(places.tolist()) if place in why]
    found = [refusal for refusal in found if not column.null[refusal.row]]
    null = column.null | np.isin(places, list(why))
    values = np.array(cleaned, dtype=object)
    if stored is LOCAL_MOMENT:
        values = (values.astype("datetime64[us]") - np.datetime64("2000-01-01", "us")).astype(stored.dtype)
    return Column(stored, values[places], null), refusals + found


def _from_column(kind: Kind, given: Column) -> Column | None:
    if kind is MOMENT and given.kind is MOMENT:
        return _moments_from_array(given.values, given.null)
    if kind is not given.kind and {kind, given.kind} not in _OF_ONE_FAMILY:
        return None
    is_narrow = kind in (INT32, FLOAT32)  # whether it fits is looked at later
    return Column(kind, given.values if is_narrow else given.values.astype(kind.dtype, copy=False), given.null)


def _from_array(kind: Kind, raw: np.ndarray) -> Column | None:
    mask = np.ma.getmaskarray(raw) if isinstance(raw, np.ma.MaskedArray) else None
    data = np.ma.getdata(raw)
    if data.ndim != 1:
        return None
    if kind is MOMENT and data.dtype.kind == "M":
        return _moments_from_array(data, mask)
    dtype = _dtype_of_all(kind, data.dtype)
    return None if dtype is None else _with_nulls(kind, data.astype(dtype), mask)


def _dtype_of_all(kind: Kind, given: np.dtype) -> np.dtype | None:
    """Give the type to which an array is converted whose values all fit in it, None if that has to be looked at."""
    if given.kind not in "fiub" or given.itemsize > 8:  # extended precision has a larger range
        return None
    if kind is FLOAT32 and given.kind == "f" and given.itemsize <= 4:
        return FLOAT32.dtype
    if kind in (FLOAT32, FLOAT64):
        return FLOAT64.dtype
    if kind in (INT32, INT64) and given.kind in "ib":
        return INT64.dtype
    return BOOLEAN.dtype if kind is BOOLEAN and given.kind == "b" else None


def _moments_from_array(data: np.ndarray, mask: np.ndarray | None) -> Column | None:
    null = np.isnat(data) if mask is None else np.isnat(data) | mask
    seconds = data.astype(FIRST_MOMENT.dtype)
    if not ((seconds >= FIRST_MOMENT) & (seconds <= LAST_MOMENT) | null).all():
        return None
    return Column(MOMENT, data.astype(MOMENT.dtype), null)


def _with_nulls(kind: Kind, values: np.ndarray, mask: np.ndarray | None) -> Column:
    null = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    return Column(kind, values, null if mask is None else null | mask)


def _at_once(kind: Kind, raw: Sequence[object]) -> Column | None:
    """Convert a list at once if its types allow it, else None: value by value, it is found which of them don't."""
    try:
        return _from_list(kind, raw)
    except MISTAKES:
        return None


def _from_list(kind: Kind, raw: Sequence[object]) -> Column | None:
    types = set(map(type, raw))
    if kind in (FLOAT32, FLOAT64):
        return _floats_at_once(kind, raw) if types <= FLOAT_TYPES else None
    null = np.array([value is None for value in raw]) if _NONE in types else None
    values = _CONVERT[kind](raw, types - {_NONE})
    if values is None:
        return None
    return Column(kind, values, np.zeros(len(raw), bool) if null is None else null)


def _floats_at_once(kind: Kind, raw: Sequence[object]) -> Column | None:
    try:
        values = np.array(raw, dtype=np.float64)
    except (OverflowError, ValueError, TypeError):
        return None
    return Column(kind, values, np.isnan(values))


def _integers(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    if not types <= _INTEGERS:
        return None
    try:
        return np.array([0 if value is None else value for value in raw], dtype=np.int64)
    except OverflowError:
        return None


def _booleans(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    return np.array(raw, dtype=np.bool_) if types <= {bool, np.bool_} else None


def _moments(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    if not types <= {datetime} or any(value is not None and value.tzinfo is None for value in raw):
        return None
    if any(value is not None and not one_value.FIRST_MOMENT <= value <= one_value.LAST_MOMENT for value in raw):
        return None
    return np.array([0 if value is None else _microseconds(value) for value in raw], "int64").view(MOMENT.dtype)


def _microseconds(moment: datetime) -> int:
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _texts(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    if not types <= {str, np.str_}:
        return None
    together = "".join(filter(None, raw))
    try:
        together.encode()
    except UnicodeEncodeError:
        return None
    return None if "\0" in together else _objects(raw)


def _float_arrays(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    # What is no plain array may have a unit, which is converted value by value.
    if not types <= {np.ndarray} or any(value is not None and value.dtype.kind not in "fiub" for value in raw):
        return None
    return _objects([None if value is None else one_value.array_of_floats(value) for value in raw])


def _bytes(raw: Sequence[Any], types: set[type]) -> np.ndarray | None:
    return _objects(raw) if types <= {bytes} else None


def _objects(raw: Sequence[Any]) -> np.ndarray:
    return np.fromiter(raw, object, len(raw))  # np.array would make one array of arrays of the same length


_CONVERT: dict[Kind, Callable[[Sequence[Any], set[type]], np.ndarray | None]] = {
    INT32: _integers,
    INT64: _integers,
    BOOLEAN: _booleans,
    MOMENT: _moments,
    TEXT: _texts,
    FLOATS: _float_arrays,
    BYTES: _bytes,
}


def _one_by_one(
    field: peewee.Field, convert: Callable[[Any], object], raw: Sequence[object]
) -> tuple[list[object], list[Refusal]]:
    values, refusals = [], []
    for row, value in enumerate(raw):
        try:
            values.append(convert(value))
        except MISTAKES as error:  # the value's own methods may raise anything: its row is refused
            values.append(None)
            refusals.append(Refusal(row, f"{field.name}: wrong type", f"{field.name}: {said(error)}"))
    return values, refusals


def _converter(field: peewee.Field, kind: Kind) -> Callable[[object], object]:
    """Give what converts one value of a column, however odd, to a type of which many are converted at once.

    It raises TypeError, ValueError or OverflowError if the column can't hold the value, and what the value's own
    methods raise.
    """
    unit = getattr(field, "unit", None)
    convert: Callable[[object], object] = {
        MOMENT: partial(one_value.moment, field),
        FLOATS: partial(one_value.array_of_floats, unit=unit),
        BOOLEAN: one_value.truth,
        TEXT: one_value.text,
        BYTES: one_value.raw_bytes,
    }.get(kind) or (one_value.real_number if kind in (FLOAT32, FLOAT64) else one_value.whole_number)

    def converted(value: object) -> object:
        value = one_value.plain(value, unit)
        return None if value is None else convert(value)

    return converted


def _within_range(field: peewee.Field, column: Column, refusals: list[Refusal]) -> tuple[Column, list[Refusal]]:
    """Narrow to the kind's own type, and refuse what doesn't fit in it."""
    kind, values, null = column.kind, column.values, column.null
    if kind not in (INT32, FLOAT32) or values.dtype == kind.dtype:
        return column, refusals
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(kind.dtype)
    if kind is INT32:
        outside = (narrow != values) & ~null
        reason, sentence = "beyond 32 bits", "does not fit in 32 bits"
    else:
        outside = np.isinf(narrow) & ~np.isinf(values)
        reason, sentence = "beyond single precision", "is beyond single precision (3.4e38)"
    if outside.any():
        found = np.flatnonzero(outside)
        refusals = refusals + [
            Refusal(int(row), f"{field.name}: {reason}", f"{field.name}: {values[row]!s} {sentence}") for row in found
        ]
        null = null | outside
    return Column(kind, narrow, null), refusals
