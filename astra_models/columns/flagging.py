"""Flags that follow from a result's values, by rules that are declared with the flags.

A rule is a function of whatever has the columns as attributes::

    flag_cool = result_flags.flag(2**3, "teff below 3,000 K", when=lambda row: row.teff < 3000)

It is asked of one row when a result is made, of whole columns when many are, and of the model in a query, for rows that
are stored already. All three say the same: a comparison with a missing value is neither true nor false, and numbers
are compared in the precision of their column. Rules add flags to those that a pipeline sets itself, and clear none.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import peewee

from astra_models.columns.conditions import Truth, Value, in_single_precision
from astra_models.columns.values import plain, real_number
from astra_models.errors import ModelError
from astra_models.fields import BitField, FloatField
from astra_models.fields.flags import Flag, any_bit
from astra_models.fields.plain import FLOAT32_MAX
from astra_models.messages import MISTAKES

__all__ = ["Rules", "add_flags", "flags_to_update", "rows_with_flags", "rules_of"]


@dataclass(frozen=True)
class Rules:
    """The rules of a model.

    Parameters
    ----------
    flags : tuple of Flag
        Flags that have a rule.
    inputs : mapping of str to peewee.Field
        The columns that the rules are about.
    """

    flags: tuple[Flag, ...]
    inputs: Mapping[str, peewee.Field]

    @cached_property
    def defaults(self) -> dict[str, object]:
        """The values that these columns have in a result that says nothing of them."""
        return {name: field.default for name, field in self.inputs.items() if not callable(field.default)}


class _Columns:
    """Gives a rule the values of columns, as attributes, each made once."""

    def __init__(self, value_of: Callable[[str], Value]):
        self.value_of = value_of

    def __getattr__(self, name: str) -> Value:
        value = self.value_of(name)
        vars(self)[name] = value
        return value


def rules_of(model: type[peewee.Model]) -> Rules:
    """Give a model's rules, each tried once on values of which nothing is known.

    Raises
    ------
    ModelError
        If a rule isn't a condition on columns of the model.
    """
    inputs: dict[str, peewee.Field] = {}

    def nothing_known(name: str) -> Value:
        if name not in model._meta.fields:
            raise ModelError(f"{model.__name__}: a rule of a flag is about {name!r}, which is no column of it")
        inputs[name] = model._meta.fields[name]
        return _nothing_known(inputs[name])

    bits = [field for field in model._meta.sorted_fields if isinstance(field, BitField)]
    flags = tuple(flag for field in bits for flag in field.flags.values() if flag.when is not None)
    columns = _Columns(nothing_known)
    for flag in flags:
        try:
            answer = _ask(flag, columns)
        except ModelError:
            raise
        except (TypeError, AttributeError) as error:
            raise ModelError(
                f"{model.__name__}.{flag.name}: its rule uses what rules can't ({error}); they have <, <=, >, >=, ==, "
                "!=, +, -, *, &, |, ~, is_null(), between(), in_() and not_in(), with a column on the left"
            ) from error
        if not isinstance(answer, Truth):
            raise ModelError(
                f"{model.__name__}.{flag.name}: its rule has to give a condition on columns, such as row.teff < 3000"
            )
    return Rules(flags, inputs)


def add_flags(rules: Rules, given: dict[str, Any]) -> None:
    """Set the flags that follow from a row's values; of columns that aren't given, nothing is known.

    Parameters
    ----------
    rules : Rules
        The model's.
    given : dict of str to object
        Values by the names of columns and flags. Flags are added.
    """

    def value_of(name: str) -> Value:
        field = rules.inputs[name]
        return _one_value(field, given[name]) if name in given else _nothing_known(field)

    if given.keys().isdisjoint(rules.inputs):
        return
    columns = _Columns(value_of)
    for flag in rules.flags:
        if _ask(flag, columns).is_true:
            given[flag.name] = True


def rows_with_flags(rules: Rules, columns: Mapping[str, np.ndarray], n_rows: int) -> list[tuple[Flag, np.ndarray]]:
    """Say which of many rows have which flag by its rule; a column that isn't there has its default.

    Parameters
    ----------
    rules : Rules
        The model's.
    columns : mapping of str to ndarray, each of shape (n_rows,)
        Values by the names of columns.
    n_rows : int
        How many rows there are.

    Returns
    -------
    list of (Flag, ndarray of bool, of shape (n_rows,))
        Without flags that no row has.
    """

    def value_of(name: str) -> Value:
        field = rules.inputs[name]
        return _many_values(field, columns[name]) if name in columns else _one_value(field, field.default)

    rows = _Columns(value_of)
    found = ((flag, np.broadcast_to(_ask(flag, rows).is_true, n_rows)) for flag in rules.flags)
    return [(flag, is_set) for flag, is_set in found if is_set.any()]


def flags_to_update(model: type[peewee.Model]) -> dict[BitField, tuple[peewee.Node, peewee.Node]]:
    """Give the columns of flags with rules, each with its new value and which rows lack a flag, for UPDATE queries.

    Parameters
    ----------
    model : type
        The model.
    """
    by_column: dict[BitField, list[tuple[Flag, Any]]] = {}
    for flag in rules_of(model).flags:
        by_column.setdefault(flag.field, []).append((flag, _ask(flag, model)))
    updates: dict[BitField, tuple[peewee.Node, peewee.Node]] = {}
    for field, flags in by_column.items():
        column = getattr(model, field.name)
        bits: peewee.Node = peewee.fn.COALESCE(column, 0)
        for flag, condition in flags:
            bits = peewee.Expression(bits, peewee.OP.BIN_OR, peewee.Case(None, [(condition, flag.value)], 0))
        lacks = [condition & ~any_bit(column, flag.value) for flag, condition in flags]
        updates[field] = bits, reduce(operator.or_, lacks)
    return updates


def _ask(flag: Flag, columns: Any) -> Any:
    assert flag.when is not None
    return flag.when(columns)


def _nothing_known(field: peewee.Field) -> Value:
    return Value(_any_value_of(field), False, False, isinstance(field, FloatField))


def _any_value_of(field: peewee.Field) -> str | float:
    return "" if isinstance(field, peewee.TextField) else 0.0


def _one_value(field: peewee.Field, given: Any) -> Value:
    """Give the value of a row. What its column will refuse is as if nothing were known of it."""
    single = isinstance(field, FloatField)
    if type(given) is not float:
        try:
            given = plain(given, getattr(field, "unit", None))
            given = given if given is None or isinstance(field, peewee.TextField) else real_number(given)
        except MISTAKES:
            return _nothing_known(field)
    if given is None or given != given:
        return Value(_any_value_of(field), False, True, single)
    return Value(in_single_precision(given) if single else given, True, False, single)


def _many_values(field: peewee.Field, given: np.ndarray) -> Value:
    """Give the values of many rows, each as `_one_value` gives it."""
    single = isinstance(field, FloatField)
    if given.dtype.kind not in "fiub" or isinstance(field, peewee.TextField):
        rows = [_one_value(field, value) for value in given.tolist()]
        known, missing = (np.array([getattr(row, name) for row in rows], bool) for name in ("known", "missing"))
        kind = object if isinstance(field, peewee.TextField) else float
        return Value(np.array([row.value for row in rows], kind), known, missing, single)
    values = np.ma.getdata(given).astype(np.float64)
    missing = np.ma.getmaskarray(given) | np.isnan(values)
    values = np.where(missing, 0.0, values)
    if single and given.dtype != np.float32:
        in_range = np.abs(values) <= FLOAT32_MAX
        values = np.where(in_range, np.where(in_range, values, 0.0).astype(np.float32), values)
    return Value(values, ~missing, missing, single)
