"""Column types: peewee's, with units, and with values that both databases keep alike.

Every field takes ``unit=`` (an `astropy.units` string, ``""`` for dimensionless) and ``help_text=``; what isn't
given comes from the `glossary` by the column's name. NumPy scalars are accepted everywhere, NaN is NULL,
infinity is kept, and times are aware and in UTC.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Self, SupportsInt

import numpy as np
import peewee

from astra_models.errors import FieldValueError
from astra_models.fields import glossary

_CHANGEABLE = (dict, list, set, peewee.Node)

FLOAT32_MAX = float(np.finfo(np.float32).max)


def utc_now() -> datetime:
    """Give the current time, aware and in UTC."""
    return datetime.now(UTC)


def is_masked(value: object) -> bool:
    """Tell whether a value is NumPy's mark of a missing one. Without its module there is none."""
    return "numpy.ma" in sys.modules and value is np.ma.masked


class DescribedField(peewee.Field):
    """What all our fields share: a unit, a description, and no trouble with NumPy scalars.

    Parameters
    ----------
    unit : str, optional
        Unit as `astropy.units` reads it, ``""`` for a dimensionless number.
    help_text : str, optional
        What the column holds, in under 80 characters.
    **kwargs
        As for `peewee.Field`.
    """

    stored_type: str | None = None
    """The column's type in the bound database, where it isn't the field's own (see `database.layout`)."""

    if TYPE_CHECKING:

        def __new__(cls, *args: object, **kwargs: object) -> Any:
            """Make what is a column of the model, and a value of its rows."""

    def __init__(self, *args: object, unit: str | None = None, help_text: str | None = None, **kwargs: object):
        super().__init__(*args, help_text=help_text, **kwargs)
        self.unit = unit

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # peewee copies every column of a base for every model of it. Nearly all that a column has is of the kinds that
        # can be shared; to have that found out by `copy` is a tenth of the time in which our models are imported.
        copied = memo[id(self)] = object.__new__(type(self))
        for name, value in vars(self).items():
            copied.__dict__[name] = deepcopy(value, memo) if isinstance(value, _CHANGEABLE) else value
        return copied

    def bind(self, model: type[peewee.Model], name: str, set_attribute: bool = True) -> None:
        """Attach the field to its model, and look up what the glossary knows of its name."""
        super().bind(model, name, set_attribute)
        entry = glossary.look_up(name)
        if entry is None:
            if self.help_text:
                glossary.note(name, self.help_text)
        else:
            self.unit = entry.unit if self.unit is None else self.unit
            self.help_text = self.help_text or entry.description

    def db_value(self, value: object) -> object:
        """Convert a Python or NumPy value to what the driver takes; NaN and masked become NULL."""
        if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
            value = None if is_masked(value) else value.item()
        if isinstance(value, float) and math.isnan(value):
            value = None
        return super().db_value(value)


class WholeNumberField(DescribedField):
    """A whole number that its column has room for, on either database."""

    bits = 64

    def db_value(self, value: object) -> int | None:
        """Convert to a Python integer.

        Raises
        ------
        FieldValueError
            If `value` isn't a whole number, or beyond the range of the column.
        """
        number = super().db_value(value)
        if number is None:
            return None
        if not isinstance(number, int) or (not isinstance(value, str) and number != value):
            raise FieldValueError(f"{self.name}: {value!r} is not a whole number")
        if not -(1 << self.bits - 1) <= number < 1 << self.bits - 1:
            raise FieldValueError(f"{self.name}: {number} is beyond the range of a {self.bits}-bit integer")
        return number

    def adapt(self, value: SupportsInt | str) -> SupportsInt | str:
        """Convert a number to an integer; anything else is left as it is."""
        try:
            return int(value)
        except (ValueError, TypeError, OverflowError):
            return value


class AutoField(WholeNumberField, peewee.BigAutoField):
    """A 64-bit primary key that the database assigns."""


class IntegerField(WholeNumberField, peewee.IntegerField):
    """A 32-bit integer."""

    bits = 32


class BigIntegerField(WholeNumberField, peewee.BigIntegerField):
    """A 64-bit integer."""


class BooleanField(DescribedField, peewee.BooleanField):
    """True, false or NULL."""


class TextField(DescribedField, peewee.TextField):
    """Text of any length."""

    def db_value(self, value: object) -> str | None:
        """Convert to text.

        Raises
        ------
        FieldValueError
            If it has a NUL character, which PostgreSQL can't store.
        """
        text = super().db_value(value)
        if text is not None and "\0" in str(text):
            raise FieldValueError(f"{self.name}: {text!r} has a NUL character; remove it")
        return text if text is None else str(text)


class BytesField(DescribedField, peewee.BlobField):
    """Bytes: BYTEA on PostgreSQL, BLOB on SQLite, ``bytes`` in Python from either."""

    def db_value(self, value: object) -> bytes | None:
        """Convert what holds bytes, a NumPy array of uint8 included, to bytes.

        Raises
        ------
        FieldValueError
            If `value` is something else. That includes an array of booleans, which may mean bits or bytes.
        """
        if value is None or is_masked(value):
            return None
        if isinstance(value, np.ndarray) and value.dtype == np.uint8:
            return value.tobytes()
        if not isinstance(value, bytes | bytearray | memoryview):
            raise FieldValueError(
                f"{self.name}: {value!r} is not bytes; np.packbits(..., bitorder='little') makes them of booleans"
            )
        return bytes(value)

    def python_value(self, value: bytes | memoryview | None) -> bytes | None:
        """Give bytes, whatever the driver gives."""
        return None if value is None else bytes(value)


class GeneratedField(IntegerField):
    """An integer that the database computes from other columns; it is never written.

    Parameters
    ----------
    expression : str
        SQL over a column of the same row. It is part of the code, never made from input.
    source : str
        That column.
    compute : callable
        The same computation, on an array of that column's values.
    """

    def __init__(self, expression: str, source: str, compute: Callable[[np.ndarray], np.ndarray], **kwargs: Any):
        self.expression = expression
        self.source = source
        self.compute = compute
        kwargs["constraints"] = [peewee.SQL(f"GENERATED ALWAYS AS ({expression}) STORED")]
        super().__init__(**kwargs)


class DoubleField(DescribedField, peewee.DoubleField):
    """A double-precision number: positions, times, and whatever needs more than seven digits."""

    def db_value(self, value: object) -> float | None:
        """Convert to a Python float; NaN becomes NULL.

        Raises
        ------
        FieldValueError
            If `value` isn't a number.
        """
        number = super().db_value(value)
        if number is not None and not isinstance(number, float):
            raise FieldValueError(f"{self.name}: {value!r} is not a number")
        return None if number is None or math.isnan(number) else number


class FloatField(DoubleField):
    """A single-precision number: REAL on PostgreSQL, rounded to float32 before SQLite stores it."""

    field_type = "FLOAT"

    def db_value(self, value: object) -> float | None:
        """Round to float32; NaN becomes NULL.

        Raises
        ------
        FieldValueError
            If a finite value is beyond the range of float32.
        """
        number = super().db_value(value)
        if number is None:
            return None
        if abs(number) > FLOAT32_MAX and math.isfinite(number):
            raise FieldValueError(
                f"{self.name}: {number!r} is beyond single precision (3.4e38); store infinity or None instead"
            )
        return float(np.float32(number))

    def python_value(self, value: float | None) -> float | None:
        """Give the float32 value, the same from either database."""
        return None if value is None else float(np.float32(value))


def _is_on_postgresql(field: peewee.Field) -> bool:
    return isinstance(field.model._meta.get_database_instance(), peewee.PostgresqlDatabase)


def _utc_part(part: str) -> property:
    def extract(field: "DateTimeField") -> peewee.Node:
        database = field.model._meta.database
        moment = peewee.fn.timezone("UTC", field.cast("timestamptz")) if _is_on_postgresql(field) else field
        return database.extract_date(part, moment)

    return property(extract, doc=f"The {part}, in UTC, for queries.")


class DateTimeField(DescribedField, peewee.DateTimeField):
    """A moment, aware and in UTC. A naive one is taken as UTC.

    A column of times without a zone, as there are in production, holds the local time of `zone`.
    """

    field_type = "TIMESTAMPTZ"
    zone: tzinfo | None = None

    def db_value(self, value: object) -> str | None:
        """Write as ISO text with a fixed number of digits, so that text sorts as time does.

        Raises
        ------
        FieldValueError
            If `value` is neither a moment nor ISO text.
        """
        moment = self._moment(value)
        if moment is not None and self.zone is not None:
            moment = moment.astimezone(self.zone).replace(tzinfo=None)
        return None if moment is None else moment.isoformat(" ", "microseconds")

    def python_value(self, value: object) -> datetime | None:
        """Read what either database gives as an aware datetime in UTC."""
        if self.zone is not None and isinstance(value, datetime) and value.tzinfo is None:
            value = value.replace(tzinfo=self.zone)
        return self._moment(value)

    if not TYPE_CHECKING:  # which has them from peewee
        year, month, day, hour, minute, second = (
            _utc_part(part) for part in ("year", "month", "day", "hour", "minute", "second")
        )

    def _moment(self, value: object) -> datetime | None:
        if isinstance(value, np.datetime64):
            # Microseconds of the far future overflow without notice; seconds are a whole number beyond the year 9999.
            if isinstance(value.astype("datetime64[s]").item(), int):
                raise FieldValueError(f"{self.name}: {value} is not a datetime of the years 1 to 9999")
            value = value.astype("datetime64[us]").item()
        if value is None or is_masked(value):
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError as error:
                raise FieldValueError(f"{self.name}: {value!r} is not a moment in ISO 8601 format") from error
        if not isinstance(value, datetime):
            raise FieldValueError(f"{self.name}: {value!r} is not a datetime")
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FloatArrayField(DescribedField):
    """A short list of single-precision numbers: an array on PostgreSQL, JSON text on SQLite."""

    def ddl_datatype(self, ctx: peewee.Context) -> peewee.SQL:
        """Give the column's type in the bound database."""
        return peewee.SQL("REAL[]" if _is_on_postgresql(self) else "TEXT")

    def db_value(self, value: object) -> list[float] | str | None:
        """Round every element to float32.

        Raises
        ------
        FieldValueError
            If `value` isn't a flat list of numbers, or one is beyond the range of float32.
        """
        if value is None:
            return None
        try:
            numbers: np.ndarray = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise FieldValueError(f"{self.name}: {value!r} is not a list of numbers") from error
        if numbers.ndim != 1:
            raise FieldValueError(f"{self.name}: {value!r} is not a flat list of numbers")
        if np.any(np.isfinite(numbers) & (np.abs(numbers) > FLOAT32_MAX)):
            raise FieldValueError(f"{self.name}: {value!r} has a number beyond single precision (3.4e38)")
        rounded = numbers.astype(np.float32).tolist()
        return rounded if _is_on_postgresql(self) else json.dumps(rounded)

    def python_value(self, value: Iterable[float] | str | None) -> list[float] | None:
        """Give a list of the float32 values."""
        if value is None:
            return None
        numbers = json.loads(value) if isinstance(value, str) else value
        return np.asarray(numbers, dtype=np.float32).tolist()


class _KeyAccessor(peewee.ForeignKeyAccessor):
    def __get__(self, instance: peewee.Model | None, instance_type: type | None = None) -> object:
        return self.field if instance is None else vars(instance)["__data__"].get(self.name)


class ForeignKeyField(DescribedField, peewee.ForeignKeyField):
    """A key of another table. The attribute is the key itself, and the column has the field's own name.

    Reading the attribute never runs a query, and gives the key also when the other table was joined; name a
    joined row with ``join(..., attr="source")``. Nothing is deleted in cascade: results outlive mistakes.
    """

    accessor_class = _KeyAccessor

    def __init__(self, model: type[peewee.Model] | str, *args: object, **kwargs: Any):
        kwargs.setdefault("lazy_load", False)
        kwargs.setdefault("backref", "+")
        super().__init__(model, *args, **kwargs)

    def bind(self, model: type[peewee.Model], name: str, set_attribute: bool = True) -> None:
        """Attach the field to its model."""
        self.column_name = self.column_name or name
        self.declared_backref = self.declared_backref or "+"  # peewee forgets it when a field is inherited
        super().bind(model, name, set_attribute)
