"""Names of columns: those that are wanted, and one for each of what a query selects, as tables show it."""

import itertools
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any

import peewee

from astra_models.database.peewee_internals import function_of, name_of_alias
from astra_models.errors import SelectionError
from astra_models.fields.flags import Flag
from astra_models.messages import shown

__all__ = ["column_names", "free_name", "names_of"]

NAMELESS = "column"


def column_names(given: Sequence[str] | str) -> list[str]:
    """Give the columns that are wanted, each once: a list of names, or text with commas between them.

    Raises
    ------
    SelectionError
        If there is none, or one is no text.
    """
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    for name in names:
        if not isinstance(name, str):
            called = f", such as {name.name!r}" if isinstance(name, peewee.Field) else ""
            raise SelectionError(f"columns are given by their names{called}, not as {shown(name)}")
    if not names:
        raise SelectionError("no columns are named; leave columns= out to have all")
    return list(dict.fromkeys(names))


def names_of(nodes: Sequence[Any]) -> Iterator[str]:
    """Name each of what a query selects; of several of one name, each gets its table's in front, or else a number."""
    names = [_name(node) for node in nodes]
    often = Counter(names)
    taken: set[str] = set()
    for node, name in zip(nodes, names, strict=True):
        table = _table(node)
        free = free_name(name, f"{table}_{name}" if often[name] > 1 and table else name, taken)
        taken.add(free)
        yield free


def free_name(name: str, wanted: str, taken: Container[str]) -> str:
    """Give a column the name that is wanted or, if that is taken, its own with a number."""
    names = itertools.chain([wanted], (f"{name}_{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)


def _name(node: Any) -> str:
    if isinstance(node, peewee.Alias):
        return name_of_alias(node)
    if isinstance(node, peewee.FieldAlias):
        return str(node.field.name)
    if isinstance(node, peewee.Field | Flag | peewee.Column):
        return str(node.name)
    if isinstance(node, peewee.SelectBase):
        return name_of_alias(node) or NAMELESS
    function = function_of(node)
    if function is not None:
        of = _name(function.arguments[0]) if function.arguments and _is_node(function.arguments[0]) else ""
        return "_".join(part for part in (str(function.name).lower(), of) if part and part != NAMELESS)
    return NAMELESS


def _is_node(argument: object) -> bool:
    return isinstance(argument, peewee.Node)


def _table(node: Any) -> str:
    """Name the table of a column, or its alias in the query."""
    if isinstance(node, peewee.FieldAlias):
        return str(vars(node.source).get("alias") or node.field.model._meta.table_name)
    if isinstance(node, peewee.Field | Flag) and node.model is not None:
        return str(node.model._meta.table_name)
    return ""
