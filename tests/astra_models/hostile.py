"""Values that no column asks for: broken objects, NumPy's corners, the ends of ranges."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from astropy import units
from astropy.time import Time
from astropy.utils.masked import Masked

METHODS = (
    *("__repr__", "__str__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__", "__float__", "__int__"),
    *("__index__", "__array__", "__getitem__", "__contains__", "__lt__", "__format__", "__reduce__", "__complex__"),
)
ERRORS: tuple[type[BaseException], ...] = (ValueError, SystemExit, RecursionError, GeneratorExit)


def raising(error: type[BaseException], *methods: str, base: type = object) -> Any:
    """Give an object of which these methods, or all of them, raise; also what it says of its class."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error("broken \0 on \ud800 purpose \x1b[31m")

    body: dict[str, Any] = dict.fromkeys(methods or METHODS, fail)
    if not methods:
        body |= {"__class__": property(fail), "__getattr__": fail, "unit": property(fail), "dtype": property(fail)}
    return type("Broken", (base,), body)


class Unhashable(type):
    """A metaclass whose classes can't be members of a set."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class OfUnhashableType(metaclass=Unhashable):
    """Its type can't be a member of a set."""


class LyingClass:
    """It says that it is a float."""

    __class__ = float  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


class BrokenZone(tzinfo):
    """A time zone that doesn't know how far it is from UTC."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        raise RuntimeError("no offset")


class NoZone(tzinfo):
    """A time zone that says nothing."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None


class BrokenMapping(Mapping[str, Any]):
    """A mapping that raises when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Iterator[str]:
        return iter(["spectrum_pk"])

    def __len__(self) -> int:
        return 1


class LoudText(str):
    """Text whose methods raise."""

    __str__ = __repr__ = encode = raising(ValueError, "__str__").__str__


class Colour(Enum):
    """An enumeration."""

    RED = 1


class Number(IntEnum):
    """An enumeration of numbers."""

    ONE = 1


class Word(StrEnum):
    """An enumeration of words."""

    A = "a"


def cyclic() -> list[Any]:
    """Give a list that has itself in it, twice."""
    items: list[Any] = []
    items += [items, 1.0, items]
    return items


def deep() -> list[Any]:
    """Give a list in a list in a list ..."""
    items: list[Any] = []
    for _ in range(2_000):
        items = [items]
    return items


def holding(value: Any) -> np.ndarray:
    """Give an array without dimensions that holds an object."""
    array = np.empty((), object)
    array[()] = value
    return array


def numpy_scalars() -> Iterator[np.generic]:
    """Give values of each of NumPy's types: zero, one, the ends of its range, NaN."""
    for kind in sorted(set(np.sctypeDict.values()), key=lambda kind: kind.__name__):
        if issubclass(kind, np.flexible | np.object_):
            continue
        if issubclass(kind, np.datetime64 | np.timedelta64):
            yield from (kind(number, unit) for number in (0, 2**62) for unit in ("ns", "s", "D"))
            yield from (kind("NaT"), kind("NaT", "ns"))
            continue
        yield from (kind(0), kind(1))
        if issubclass(kind, np.integer):
            yield from (np.iinfo(kind).min, np.iinfo(kind).max)  # pyright: ignore[reportReturnType]
            yield from (kind(np.iinfo(kind).min), kind(np.iinfo(kind).max))
        elif issubclass(kind, np.inexact):
            yield from (kind(np.finfo(kind).max), kind(np.inf), kind(np.nan))  # pyright: ignore
    yield from (np.str_("a"), np.str_("\0"), np.bytes_(b"a"), np.bytes_(b"\xff"), np.void(b"abc"))
    yield np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])[0]
    yield np.longdouble("1e400")


def odd_values() -> list[Callable[[], Any]]:
    """Give functions that make values of all kinds."""
    near_end = timezone(timedelta(hours=-7))
    plain: list[Any] = [
        *numpy_scalars(),
        *(np.array(scalar) for scalar in numpy_scalars()),
        *(np.ma.array(scalar, mask=mask) for mask in (False, True) for scalar in (3.0, 3, "a", True)),
        *(holding(value) for value in (None, 3.0, "a", [1.0], holding(2.0), object())),
        *(np.ma.array(holding(3.0), mask=mask) for mask in (False, True)),
        *(np.ma.masked, np.ma.array([1.0, 2.0], mask=[True, False]), np.array([1.0, 2.0]), np.array([[1.0], [2.0]])),
        *(np.array([]), np.array(["a"]), np.array([1 + 2j]), np.array([None, 1.0]), np.array([object()], object)),
        *(np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.broadcast_to(0.0, (10**10,)), np.arange(3)),
        *(5 * units.km / units.s, 5 * units.K, units.Quantity([1.0], "kK"), Masked(5 * units.K, mask=True)),
        *(Masked(5.0), Masked(5.0, mask=True), Time("2024-07-01"), units.K),
        *(10**5000, -(10**5000), 2**63, -(2**63), 2**62, 0, True, 1.5, 1e300, math.inf, math.nan, 1e39, 1 + 2j),
        *(Decimal(text) for text in ("NaN", "sNaN", "Infinity", "1e400", "5", "1e999999", "0.1")),
        *(Fraction(1, 3), Fraction(10**5000), Fraction(5), Colour.RED, Number.ONE, Word.A),
        *(datetime.max, datetime.min, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        *(datetime.max.replace(tzinfo=near_end), datetime.min.replace(tzinfo=timezone(timedelta(hours=7)))),
        *(datetime(2024, 7, 1, tzinfo=BrokenZone()), datetime(2024, 7, 1, tzinfo=NoZone()), datetime(2024, 7, 1)),
        *(date.max, date.min, date(2024, 7, 1), timedelta(1), "9999-12-31T23:59:59+00:00", "2024-07-01"),
        *("", "a\0b", "\ud800", "é", "x" * 300_000, LoudText("a"), b"", b"\xff", bytearray(b"a"), memoryview(b"a")),
        *([], [1.0, 2.0], [1.0, None], [[1.0]], ["a"], (1.0,), [1e39], [object()], {"a": 1}, {1}, {}, range(3)),
        *(object, object(), len, ..., NotImplemented, ValueError("x"), iter([1.0]), OfUnhashableType(), LyingClass()),
    ]
    made = [cyclic, deep, *(raising(error) for error in ERRORS)]
    made += [raising(ValueError, method) for method in METHODS]
    made += [partial(raising(ValueError, base=base), 1) for base in (float, int, str)]
    made += [raising(ValueError, base=base) for base in (list, dict, tuple, Exception)]
    return [*((lambda value=value: value) for value in plain), *made]
