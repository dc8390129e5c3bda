"""Bit fields: many named booleans in one integer column."""

import copy
from typing import Any, Self, overload

import numpy as np
import peewee

from astra_models.errors import FlagError
from astra_models.fields.plain import BigIntegerField

HIGHEST_BIT = 62
_BITS = frozenset(1 << n for n in range(HIGHEST_BIT + 1))


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
    """

    def __init__(self, field: "BitField", value: int, help_text: str | None, model: type | None = None):
        super().__init__()
        self.field = field
        self.value = value
        self.help_text = help_text
        self.model = model

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.field.flags[name] = self

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
        setattr(row, self.field.name, bits | self.value if is_set else bits & ~self.value)

    def __sql__(self, ctx: peewee.Context) -> peewee.Context:
        column = getattr(self.model, self.field.name)
        return ctx.sql(column.bin_and(self.value) != 0)


class BitField(peewee.BitwiseMixin, BigIntegerField):
    """Up to 63 booleans in one integer column.

    Declare each with ``flag_low_snr = result_flags.flag(2**0, help_text="S/N below 3")`` in the model's body.
    ``row.flag_low_snr = True`` sets the bit, ``Model.flag_low_snr`` is a condition for queries.
    """

    def __init__(self, *args: object, **kwargs: Any):
        kwargs.setdefault("unit", "")
        kwargs.setdefault("default", 0)
        super().__init__(*args, **kwargs)
        self.flags: dict[str, Flag] = {}
        self._taken = 0

    def flag(self, value: int, help_text: str | None = None) -> Flag:
        """Declare a named bit.

        Parameters
        ----------
        value : int
            ``2**n`` with n from 0 to 62.
        help_text : str, optional
            What it means when the bit is set.

        Raises
        ------
        FlagError
            If `value` is not a single bit in range, or the bit has a name already.
        """
        if not isinstance(value, int | np.integer) or int(value) not in _BITS:
            raise FlagError(f"flag value {value!r} is not 2**n with n from 0 to {HIGHEST_BIT}")
        value = int(value)
        if self._taken & value:
            raise FlagError(f"bit {value.bit_length() - 1} (2**{value.bit_length() - 1}) already has a flag")
        self._taken |= value
        return Flag(self, value, help_text)
