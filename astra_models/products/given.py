"""What is given to choose rows and columns by, checked before a database is asked."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import peewee

from astra_models.columns.condition_text import read_condition
from astra_models.errors import SelectionError
from astra_models.fields.flags import Flag
from astra_models.messages import shown

Condition = bool | peewee.ColumnBase
"""A condition in a query. A hybrid property, such as ``flag_bad``, is one of a model, and a bool of a row."""

__all__ = ["Condition", "condition_of", "number_of_rows", "require_joined", "whole_numbers"]


def number_of_rows(given: Any, name: str = "limit", least: int = 0) -> int:
    """Give a number of rows as Python's integer.

    Raises
    ------
    SelectionError
        If it is no whole number, or too small.
    """
    try:
        number = operator.index(given)
    except TypeError as error:
        raise SelectionError(f"{name} is a number of rows, not {shown(given)}") from error
    if number < least:
        raise SelectionError(f"{name} is a number of rows, {least} or more, not {number}")
    return number


def whole_numbers(given: Iterable[int], name: str) -> list[int]:
    """Give identifiers as Python's integers: those of an array may be of any type that has them exactly.

    Raises
    ------
    SelectionError
        If they are not several, or one is no whole number.
    """
    try:
        values = None if isinstance(given, str | bytes) else list(given)
    except TypeError:
        values = None
    if values is None:  # one number; the digits of text would be several
        raise SelectionError(f"{name} are several, such as [{shown(given)}]")
    return [_whole(value, name) for value in values]


def _whole(value: Any, name: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SelectionError(f"{name} are whole numbers, and {shown(value)} is none") from error
    if not isinstance(value, str) and number != value:
        raise SelectionError(f"{name} are whole numbers, and {shown(value)} is none")
    return number


def condition_of(given: Condition | str, models: Sequence[type[peewee.Model]]) -> Condition:
    """Give a condition as peewee takes it, of text or as it is.

    Raises
    ------
    SelectionError
        If it is no condition, or can't be read.
    """
    if isinstance(given, str):
        return read_condition(given, models)
    if not isinstance(given, bool | peewee.ColumnBase):
        raise SelectionError(
            f"a condition is written as 'teff > 20000 and not flag_low_snr' or as (Corv.teff > 20000) & "
            f"~Corv.flag_low_snr, not as {shown(given)}"
        )
    return given


def require_joined(condition: object, models: Sequence[type[peewee.Model]]) -> None:
    """Make sure that a condition is about no other tables than some.

    Raises
    ------
    SelectionError
        If it is, with what to do.
    """
    for other in _models_of(condition):
        if other not in models:
            raise SelectionError(
                f"a condition is about {other.__name__}, whose rows aren't beside those of {models[0].__name__}; "
                f"add joins=[{other.__name__}]"
            )


def _models_of(node: object) -> Iterator[type[peewee.Model]]:
    """Give the models of the columns in an expression; queries within it have tables of their own."""
    if isinstance(node, peewee.Field | Flag):
        if isinstance(node.model, type):
            yield node.model
    elif isinstance(node, peewee.Expression):
        yield from _models_of(node.lhs)
        yield from _models_of(node.rhs)
    elif isinstance(node, peewee.WrappedNode):
        yield from _models_of(node.node)
    elif isinstance(node, peewee.Function | peewee.NodeList):
        for each in (node.arguments if isinstance(node, peewee.Function) else node.nodes) or ():
            yield from _models_of(each)
