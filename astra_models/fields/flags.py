"""Bit fields: many named booleans in one integer column."""

import copy
from collections.abc import Callable
from typing import Any, Self, overload

import numpy as np
import peewee

from astra_models.errors import FlagError
from astra_models.fields import glossary
from astra_models.fields.plain import BigIntegerField

HIGHEST_BIT = 62
EVERY_BIT = 2 ** (HIGHEST_BIT + 1) - 1
_BITS = frozenset(1 << n for n in range(HIGHEST_BIT + 1))

Rule = Callable[[Any], Any]
"""Gives a condition on the columns of what it is given: a row, columns, or a model."""


class Flag(peewee.ModelDescriptor, peewee.ColumnBase):
    """One named bit of a `BitField`: a boolean attribute of rows, a condition in queries.

    Parameters
    ----------
    field : BitField
        The column that the bit is in.
    value : int
        The bit's value, ``2**n``.
    help_text : str or None
        What it means when the bit is set.
    model : type, optional
        The model whose column a condition is about.
    when : callable, optional
        The rule by which results have the flag.
    """

    def __init__(
        self,
        field: "BitField",
        value: int,
        help_text: str | None,
        model: type | None = None,
        when: Rule | None = None,
    ):
        super().__init__()
        self.when = when
        self.field = field
        self.value = value
        self.help_text = help_text
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:  # with its column, as `DescribedField` is copied
        copied = memo[id(self)] = object.__new__(type(self))
        copied.__dict__ |= vars(self) | {"field": copy.deepcopy(self.field, memo)}
        return copied

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.field.flags[name] = self
        if self.help_text:
            glossary.note(name, self.help_text)

    @overload
    def __get__(self, row: None, model: type | None = None) -> Self: ...

    @overload
    def __get__(self, row: object, model: type | None = None) -> bool: ...

    def __get__(self, row: object, model: type | None = None) -> Self | bool:
        if row is None:
            bound = copy.copy(self)
            bound.model = model
            return bound
        return bool((getattr(row, self.field.name) or 0) & self.value)

    def __set__(self, row: object, is_set: bool | np.bool_) -> None:
        bits = getattr(row, self.field.name) or 0
        setattr(row, self.field.name, self.put_into(bits, is_set))

    def put_into(self, bits: int, is_set: object) -> int:
        """Set or clear the bit.

        Raises
        ------
        FlagError
            If `is_set` is text, which would be true whatever it says.
        """
        if isinstance(is_set, str | bytes):
            raise FlagError(f"{self.name}: {is_set!r} is neither true nor false; give True or False")
        return bits | self.value if is_set else bits & ~self.value

    def set(self) -> peewee.Expression:
        """Give the column with the bit set, for an UPDATE query."""
        return peewee.Expression(self._column, peewee.OP.BIN_OR, self.value)

    def clear(self) -> peewee.Expression:
        """Give the column without the bit, for an UPDATE query."""
        return peewee.Expression(self._column, peewee.OP.BIN_AND, ~self.value)

    def __sql__(self, ctx: peewee.Context) -> peewee.Context:
        return ctx.sql(any_bit(getattr(self.model, self.field.name), self.value))

    @property
    def _column(self) -> peewee.Node:
        """The column, for queries. Where it is NULL no flag is set, as on a row."""
        return peewee.fn.COALESCE(getattr(self.model, self.field.name), 0)


@overload
def any_bit(bits: int | None, mask: int = ...) -> bool: ...


@overload
def any_bit(bits: peewee.Node, mask: int = ...) -> peewee.Expression: ...


def any_bit(bits: Any, mask: int = EVERY_BIT) -> bool | peewee.Expression:
    """Tell whether any of some bits is set: of a row's value, or, of a column, by the condition of that.

    Parameters
    ----------
    bits : int or None or peewee.Node
        The row's value, or the column. NULL has no bit set.
    mask : int, optional
        Which bits; all of them by default.
    """
    if isinstance(bits, peewee.Node):
        return peewee.Expression(peewee.fn.COALESCE(bits, 0), peewee.OP.BIN_AND, mask) != 0
    return bool((bits or 0) & mask)


class BitField(peewee.BitwiseMixin, BigIntegerField):
    """Up to 63 booleans in one integer column.

    Declare each with ``flag_low_snr = result_flags.flag(2**0, help_text="S/N below 3")`` in the model's body, or let
    ``flag()`` take the next free bit.
    ``row.flag_low_snr = True`` sets the bit, ``Model.flag_low_snr`` is a condition for queries.
    """

    def __init__(self, *args: object, **kwargs: Any):
        kwargs.setdefault("unit", "")
        kwargs.setdefault("default", 0)
        super().__init__(*args, **kwargs)
        self.flags: dict[str, Flag] = {}
        self._taken = 0
        self._next = 1

    def flag(self, value: int | None = None, help_text: str | None = None, when: Rule | None = None) -> Flag:
        """Declare a named bit.

        Parameters
        ----------
        value : int, optional
            ``2**n`` with n from 0 to 62. If it isn't given, the bit is the next free one after that of the flag
            declared last: the first one if there is none.
        help_text : str, optional
            What it means when the bit is set.
        when : callable, optional
            A rule by which results have the flag: it is given a row, or a whole table of columns, or the model in a
            query, and gives a condition on its columns, such as ``lambda row: (row.teff < 1700) | row.teff.is_null()``.
            See `astra_models.columns.flagging`.

        Raises
        ------
        FlagError
            If `value` is not a single bit in range, or the bit has a name already, or no bit is left.
        """
        if value is None:
            value = self._next_free()
        if not isinstance(value, int | np.integer) or int(value) not in _BITS:
            raise FlagError(f"flag value {value!r} is not 2**n with n from 0 to {HIGHEST_BIT}")
        value = int(value)
        if self._taken & value:
            raise FlagError(f"bit {value.bit_length() - 1} (2**{value.bit_length() - 1}) already has a flag")
        self._taken |= value
        self._next = value << 1
        return Flag(self, value, help_text, when=when)

    def _next_free(self) -> int:
        value = self._next
        while self._taken & value:
            value <<= 1
        if value not in _BITS:
            free = [n for n in range(HIGHEST_BIT + 1) if not self._taken & 1 << n]
            hint = f"give one of those before it that are free, such as 2**{free[0]}" if free else "add a second column"
            raise FlagError(f"flag() without a value: no bit is left after bit {HIGHEST_BIT}, the last one; {hint}")
        return value
