"""Conditions on values that may be missing, of one row or of many: true, false, or neither, as in a database."""

import operator
from collections.abc import Callable, Iterable
from functools import cache, reduce
from typing import Any

import numpy as np

from astra_models.errors import ModelError
from astra_models.fields.plain import FLOAT32_MAX

__all__ = ["Truth", "Value", "in_single_precision"]

Bits = bool | np.ndarray


class Truth:
    """What is known of a condition.

    Parameters
    ----------
    is_true, is_false : bool or ndarray of bool, of shape (n_rows,)
        Where neither is so, something that it depends on is missing.
    """

    __slots__ = ("is_false", "is_true")

    def __init__(self, is_true: Bits, is_false: Bits):
        self.is_true = is_true
        self.is_false = is_false

    def __and__(self, other: "Truth") -> "Truth":
        return Truth(self.is_true & other.is_true, self.is_false | other.is_false)

    def __or__(self, other: "Truth") -> "Truth":
        return Truth(self.is_true | other.is_true, self.is_false & other.is_false)

    def __invert__(self) -> "Truth":
        return Truth(self.is_false, self.is_true)

    def __bool__(self) -> bool:
        raise ModelError(
            "a rule can't have and, or, not, if, or a chained comparison, which a query has no way to ask; "
            "write (row.a < 1) | (row.a > 2), & and ~"
        )


class Value:
    """A column's value in one row, or its values in many. Compare it with a constant on its right, or another one.

    Parameters
    ----------
    value : float or str or ndarray of shape (n_rows,)
        The value; where it is missing, anything of its type.
    known : bool or ndarray of bool
        Whether there is one.
    missing : bool or ndarray of bool
        Whether it is known that there is none.
    single : bool, optional
        Whether the column has single precision: constants are then rounded as its values are.
    """

    __slots__ = ("known", "missing", "single", "value")
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, value: Any, known: Bits, missing: Bits, single: bool = False):
        self.value = value
        self.known = known
        self.missing = missing
        self.single = single

    def is_null(self, is_null: bool = True) -> Truth:
        """Tell whether the value is missing; as `peewee.Field.is_null`."""
        return Truth(self.missing, self.known) if is_null else Truth(self.known, self.missing)

    def between(self, low: object, high: object) -> Truth:
        """Tell whether the value is one from `low` to `high`, both included; as `peewee.Field.between`."""
        return (self >= low) & (self <= high)

    def in_(self, values: Iterable[object]) -> Truth:
        """Tell whether the value is one of these; as `peewee.Field.in_`."""
        return reduce(operator.or_, (self == value for value in values))

    def not_in(self, values: Iterable[object]) -> Truth:
        """Tell whether the value is none of these; as `peewee.Field.not_in`."""
        return ~self.in_(values)

    def __lt__(self, other: object) -> Truth:
        return self._compared(operator.lt, other)

    def __le__(self, other: object) -> Truth:
        return self._compared(operator.le, other)

    def __gt__(self, other: object) -> Truth:
        return self._compared(operator.gt, other)

    def __ge__(self, other: object) -> Truth:
        return self._compared(operator.ge, other)

    def __eq__(self, other: object) -> Truth:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._compared(operator.eq, other)

    def __ne__(self, other: object) -> Truth:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._compared(operator.ne, other)

    def __add__(self, other: object) -> "Value":
        return self._computed(operator.add, other)

    def __sub__(self, other: object) -> "Value":
        return self._computed(operator.sub, other)

    def __mul__(self, other: object) -> "Value":
        return self._computed(operator.mul, other)

    def _compared(self, compare: Callable[[Any, Any], Any], other: object) -> Truth:
        if isinstance(other, Value):
            known, holds = self.known & other.known, compare(self.value, other.value)
        else:
            known, holds = self.known, compare(self.value, _rounded(other) if self.single else other)
        return Truth(known & holds, known & (holds ^ True))

    def _computed(self, compute: Callable[[Any, Any], Any], other: object) -> "Value":
        if not isinstance(other, Value):
            return Value(compute(self.value, _rounded(other) if self.single else other), self.known, self.missing)
        known, missing = self.known & other.known, self.missing | other.missing
        return Value(compute(self.value, other.value), known, missing)


def in_single_precision(number: float) -> float:
    """Round a number as a column of single precision does; one beyond its range is left as it is."""
    return float(np.float32(number)) if abs(number) <= FLOAT32_MAX else number


@cache
def _rounded(constant: Any) -> Any:
    """Round a constant of a rule, which is asked over and over."""
    return in_single_precision(constant)
