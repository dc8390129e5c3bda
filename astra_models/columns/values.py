"""One value of a column, whatever it is: converted to an exact Python or NumPy type, missing, or refused.

Values are asked for their type, not for their class: a property ``__class__`` can lie, or raise. Methods of an unknown
type are only called for what has to be known of it; what they raise is the caller's to catch (`shown.MISTAKES`).
"""

import math
import numbers
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import numpy as np
import peewee

from astra_models.errors import FieldValueError
from astra_models.messages import name_of_type, shown

FIRST_MOMENT = datetime(1, 1, 2, tzinfo=UTC)
LAST_MOMENT = datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)
"""A day from the ends of what Python has: a driver gives moments in the time zone of its session."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
MOST_NUMBERS = 10_000_000
_MOST_NESTED = 4
_MISSING_IN_PANDAS = ("NAType", "NaTType")


@dataclass(frozen=True)
class Unstorable:
    """Stands for a value that was found to be one that the column can't hold.

    Parameters
    ----------
    message : str
        Why.
    """

    message: str


def is_a(value: object, *kinds: type) -> bool:
    """Tell whether a value's type is one of these, or derived from one."""
    return issubclass(type(value), kinds)


def plain(value: object, unit: str | None = None) -> Any:
    """Give a value without what it is wrapped in: an array of no dimension is a scalar.

    Parameters
    ----------
    value : object
        Anything.
    unit : str, optional
        The column's; a quantity is converted to it.

    Returns
    -------
    object
        None if the value is missing; a Python scalar for NumPy's, where there is one; the key of a row; else the value
        as it is.

    Raises
    ------
    FieldValueError
        If its unit can't be converted, or it is `Unstorable`.
    """
    for _ in range(_MOST_NESTED):  # an array of no dimension may hold another one
        if value is None or value is np.ma.masked or _is_missing_in_pandas(value):
            return None
        if is_a(value, np.generic):
            return _python_scalar(cast("np.generic", value))
        if is_a(value, peewee.Model):
            value = cast("peewee.Model", value).get_id()
        elif is_a(value, np.ndarray) and np.ndim(cast("np.ndarray", value)) == 0:
            value = _only_element(in_unit(value, unit))
        elif is_a(value, Unstorable):
            raise FieldValueError(cast("Unstorable", value).message)
        else:
            return value
    raise FieldValueError(f"{shown(value)} is inside too many arrays")


def in_unit(values: Any, unit: str | None) -> Any:
    """Give numbers in a column's unit; those that have none, or whose column has none, stay as they are.

    Raises
    ------
    FieldValueError
        If the unit can't be converted.
    """
    own = getattr(values, "unit", None)
    if own is None or not unit or str(own) == unit:
        return values
    from astropy import units

    try:
        factor = units.Unit(own).to(units.Unit(unit))
    except (units.UnitConversionError, ValueError, TypeError) as error:
        raise FieldValueError(f"unit {own} can't be converted to {unit}") from error
    return values if factor == 1 else values * factor


def whole_number(value: object) -> int | None:
    """Convert to an integer of 64 bits."""
    if _is_nan(value):
        return None
    if not is_a(value, numbers.Integral, float, np.floating, Decimal, Fraction) or is_a(value, np.timedelta64):
        raise TypeError(f"{shown(value)} is not a whole number")
    number = cast("int | float", value)
    if not -(2**63) <= number < 2**63:
        finite = is_a(value, numbers.Integral) or math.isfinite(number)
        raise OverflowError(f"{shown(value)} does not fit in 64 bits" if finite else f"{number} is not a whole number")
    whole = int(number)
    if whole != number:
        raise ValueError(f"{shown(value)} is not a whole number")
    return whole


def real_number(value: object) -> float | None:
    """Convert to a number of double precision."""
    if _is_nan(value):
        return None
    if not is_a(value, numbers.Real, Decimal) or is_a(value, np.timedelta64):
        raise TypeError(f"{shown(value)} is not a number")
    try:
        number = float(cast("float", value))
    except OverflowError:
        number = math.inf
    if math.isinf(number) and number not in (value, -cast("float", value)):
        raise OverflowError(f"{shown(value)} is beyond double precision (1.8e308)")
    return number


def truth(value: object) -> bool | None:
    """Convert to true or false."""
    if _is_nan(value):
        return None
    if not is_a(value, numbers.Real) or is_a(value, np.timedelta64) or value not in (0, 1):
        raise TypeError(f"{shown(value)} is neither true nor false")
    return bool(value)


def text(value: object) -> str:
    """Convert to text that every database takes."""
    if is_a(value, bytes):
        value = bytes.decode(cast("bytes", value))
    if not is_a(value, str):
        raise TypeError(f"{shown(value)} is not text")
    exact = str.__str__(cast("str", value))
    if "\0" in exact:
        raise ValueError(f"{shown(exact)} holds a NUL character")
    try:
        exact.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{shown(exact)} holds half a character") from error
    return exact


def moment(field: peewee.Field, value: object) -> datetime | None:
    """Convert to a moment in UTC."""
    if is_a(value, str):
        value = str.__str__(cast("str", value))
    elif is_a(value, datetime):
        value = _exact_datetime(cast("datetime", value))
    converted = field.python_value(value)
    if converted is None:
        return None
    if not is_a(converted, datetime):
        raise TypeError(f"{shown(value)} is not a datetime")
    found = _exact_datetime(converted)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if not FIRST_MOMENT <= found <= LAST_MOMENT:
        ends = f"{FIRST_MOMENT.date()} and {LAST_MOMENT.date()}"
        raise OverflowError(f"{found} is not between {ends}; leave it out, or give None, where there is no such moment")
    return found


def array_of_floats(value: object, unit: str | None = None) -> np.ndarray:
    """Convert a flat list of numbers to an array of single precision; missing ones become NaN."""
    if is_a(value, list, tuple, np.ndarray) and _length(value) > MOST_NUMBERS:
        raise ValueError(f"{shown(value)} has more than {MOST_NUMBERS} numbers")
    if is_a(value, list, tuple):
        base = list if is_a(value, list) else tuple
        items = base.__getitem__(value, slice(None))  # pyright: ignore[reportArgumentType, reportCallIssue]
        doubles = np.array([_or_nan(real_number(plain(item, unit))) for item in items], np.float64)
    elif is_a(value, np.ndarray):
        doubles = _doubles(in_unit(value, unit), unit)
    else:
        raise TypeError(f"{shown(value)} is not a list of numbers")
    if (np.isfinite(doubles) & (np.abs(doubles) > FLOAT32_MAX)).any():
        raise OverflowError(f"{shown(value)} has a number beyond single precision (3.4e38)")
    return doubles.astype(np.float32)


def raw_bytes(value: object) -> bytes:
    """Convert what holds bytes, an array of uint8 included."""
    if is_a(value, np.ndarray) and cast("np.ndarray", value).dtype == np.uint8:
        return cast("np.ndarray", value).tobytes()
    if not is_a(value, bytes, bytearray, memoryview):
        raise TypeError(f"{shown(value)} is not bytes")
    return bytes(cast("bytes", value))


def _length(values: Any) -> int:
    if is_a(values, np.ndarray):
        return values.size
    return list.__len__(values) if is_a(values, list) else tuple.__len__(values)


def _is_missing_in_pandas(value: object) -> bool:
    if name_of_type(value) not in _MISSING_IN_PANDAS:
        return False
    return str(type.__dict__["__module__"].__get__(type(value))).partition(".")[0] == "pandas"


def _python_scalar(value: np.generic) -> Any:
    """Give the Python scalar of NumPy's, where that says the same; NumPy makes integers of some times."""
    if is_a(value, np.datetime64, np.timedelta64):
        return None if np.isnat(cast("np.datetime64", value)) else value
    return value if is_a(value, np.void) else value.item()


def _only_element(array: Any) -> object:
    if hasattr(array, "unmasked"):  # astropy's own kind of masked arrays
        return None if np.all(array.mask) else np.asarray(array.unmasked)[()]
    if is_a(array, np.ma.MaskedArray) and np.all(np.ma.getmaskarray(array)):
        return None
    return np.ma.getdata(array).view(np.ndarray)[()]


def _is_nan(value: object) -> bool:
    if is_a(value, Decimal):
        return cast("Decimal", value).is_nan()
    return is_a(value, float, np.floating) and math.isnan(cast("float", value))


def _exact_datetime(value: datetime) -> datetime:
    """Give a datetime without what a subclass adds; it has a zone only if that says how far it is from UTC."""
    zone = value.tzinfo if value.tzinfo is not None and value.utcoffset() is not None else None
    day = (value.year, value.month, value.day)
    return datetime(*day, value.hour, value.minute, value.second, value.microsecond, tzinfo=zone, fold=value.fold)


def _doubles(array: Any, unit: str | None) -> np.ndarray:
    if np.ndim(array) != 1:
        raise ValueError(f"{shown(array)} is not a flat list of numbers")
    mask = getattr(array, "mask", False)
    data = np.asarray(getattr(array, "unmasked", np.ma.getdata(array)))
    if data.dtype.kind == "O":
        doubles = np.array([_or_nan(real_number(plain(item, unit))) for item in data], np.float64)
    elif data.dtype.kind in "fiub":
        with np.errstate(over="ignore", invalid="ignore"):
            doubles = data.astype(np.float64)
    else:
        raise TypeError(f"{shown(array)} is not a list of numbers")
    if data.dtype.kind == "f" and (np.isinf(doubles) & ~np.isinf(data)).any():
        raise OverflowError(f"{shown(array)} has a number beyond double precision")
    return np.where(mask, np.nan, doubles)


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
