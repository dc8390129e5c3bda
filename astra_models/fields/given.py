"""Values given by name, for a row of a model: columns, flags, and attributes that can be set, such as pixel arrays.

A name that the model doesn't have is an error that names the nearest one. Nothing is lost by a misspelling.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import peewee

from astra_models.errors import UnknownColumnError, did_you_mean
from astra_models.fields.flags import BitField, Flag

__all__ = ["columns_of", "known_names", "rows_to_insert", "unknown_column"]


def columns_of(model: type[peewee.Model], given: Mapping[Any, Any], *, attributes: bool = False) -> dict[Any, Any]:
    """Give values by the names of columns, with flags as bits of theirs.

    Parameters
    ----------
    model : type
        The model.
    given : mapping
        Values by the name of a column or flag, or by the field itself.
    attributes : bool, optional
        Whether other attributes that can be set, such as pixel arrays, are given as they are. They come last.

    Raises
    ------
    UnknownColumnError
        If the model has no such column or flag.
    """
    combined = model._meta.combined
    columns: dict[Any, Any] = {}
    others: dict[str, object] = {}
    flags: list[tuple[Flag, object]] = []
    for key, value in given.items():
        if isinstance(key, str) and key in combined:
            columns[combined[key].name] = value
            continue
        declared = _declared(model, key)
        if isinstance(declared, Flag):
            flags.append((declared, value))
        elif attributes and _can_be_set(key, declared):
            others[key] = value
        elif isinstance(key, peewee.Field):
            columns[key.name] = value
        elif isinstance(key, peewee.Node):  # as peewee takes it
            columns[key] = value
        else:
            raise unknown_column(model, str(key))
    for flag, is_set in flags:
        name = flag.field.name
        bits = columns.get(name)
        if bits is None:
            default: Any = model._meta.fields[name].default
            made: Any = default() if callable(default) else default
            bits = made or 0
        columns[name] = flag.put_into(bits, is_set)
    return columns | others if others else columns


def rows_to_insert(model: type[peewee.Model], rows: Iterable[Any]) -> Iterator[Any]:
    """Give rows for an INSERT as they come, dicts by the names of columns; the others are left as they are.

    Raises
    ------
    UnknownColumnError
        If a row has a column that the model, or the first row, doesn't have: peewee would leave it out.
    """
    first = None
    names = model._meta.fields.keys()
    for given in rows:
        if not isinstance(given, Mapping):
            yield given
            continue
        row = given if isinstance(given, dict) and names >= given.keys() else columns_of(model, given)
        first = row.keys() if first is None else first
        if not row.keys() <= first:
            raise UnknownColumnError(
                f"{model.__name__}: a row has {', '.join(map(str, row.keys() - first))}, and the first row doesn't; "
                "give all rows the same columns"
            )
        yield row


def known_names(model: type[peewee.Model]) -> list[str]:
    """Name the columns and flags of a model."""
    fields = model._meta.sorted_fields
    return [field.name for field in fields] + [
        name for field in fields if isinstance(field, BitField) for name in field.flags
    ]


def unknown_column(model: type[peewee.Model], name: str) -> UnknownColumnError:
    """Make the error about a name that no column or flag has, which says what may have been meant."""
    hint = did_you_mean(name, known_names(model))
    return UnknownColumnError(f"{model.__name__} has no column or flag {name!r}; {hint}")


def _declared(model: type[peewee.Model], name: object) -> object:
    """Give what a class declares under a name, without asking it for its value."""
    if not isinstance(name, str):
        return None
    return next((vars(base)[name] for base in model.__mro__ if name in vars(base)), None)


def _can_be_set(name: object, attribute: object) -> bool:
    """Tell whether an attribute takes values of its own accord, as pixel arrays do."""
    if str(name).startswith("_"):
        return False
    if isinstance(attribute, property):
        return attribute.fset is not None
    return hasattr(type(attribute), "__set__")
