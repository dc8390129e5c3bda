"""What differs between the models and the tables of the bound database, and whether it matters."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import peewee

from astra_models.base import BaseModel, bound_schema, database
from astra_models.database.catalog import StoredTable, declared_type, read_tables
from astra_models.database.layout import LOCAL_TIME, can_hold, declared_name, layouts, stored_name
from astra_models.database.peewee_internals import declared_fields
from astra_models.database.retry import run_transaction

__all__ = ["Difference", "check_schema", "differences"]

_KIND_OF_INDEX = {True: "key", False: "index"}


@dataclass(frozen=True)
class Difference:
    """A difference between a model and its table.

    Parameters
    ----------
    table, column : str
        Where; `column` is "" for the table as a whole, and several names for a key or an index.
    what : str
        table, column, name, type, NULL, generated, key or index.
    here, there : str
        How it is in the models, and in the database.
    matters : bool
        Whether some values can't be stored, or not as we would store them.
    why : str
        What it leads to.
    """

    table: str
    column: str
    what: str
    here: str
    there: str
    matters: bool
    why: str


def check_schema(models: Iterable[type[BaseModel]] | None = None) -> list[Difference]:
    """Compare models with the tables of the bound database.

    Parameters
    ----------
    models : iterable of type, optional
        The models; all that have been imported if not given.

    Raises
    ------
    DatabaseUnavailableError
        If there is no connection to be had.
    """
    with layouts.suspended():
        tables = run_transaction(database, lambda: read_tables(database.obj, bound_schema()))
        return list(_compare(models, tables))


def _compare(models: Iterable[type[BaseModel]] | None, tables: dict[str, StoredTable]) -> Iterator[Difference]:
    chosen = list(BaseModel.concrete_models() if models is None else models)
    chosen.sort(key=lambda model: model._meta.table_name)
    for model in chosen:
        yield from differences(model, tables.get(model._meta.table_name))


def differences(model: type[BaseModel], table: StoredTable | None) -> Iterator[Difference]:
    """Compare a model with its table; None if there is no such table."""
    name = model._meta.table_name
    if table is None:
        yield Difference(name, "", "table", "yes", "none", True, "nothing can be stored in it; `astra init` makes it")
        return
    found = {column: stored_name(column, table.columns) for column in declared_fields(model)}
    for column, there in found.items():
        yield from _of_column(column, there, table)
    yield from _unknown_columns(name, table, set(found.values()))
    yield from _of_indexes(model, table, {column.name: there for column, there in found.items()})


def _of_column(column: peewee.Field, name: str | None, table: StoredTable) -> Iterator[Difference]:
    target = database.obj
    table_name, declared = column.model._meta.table_name, declared_type(column, target)
    if name is None:
        why = "it is read as None, and rows that have a value for it are refused"
        yield Difference(table_name, column.name, "column", declared, "none", True, why)
        return
    stored = table.columns[name]
    if name != declared_name(column):
        yield Difference(
            table_name, column.name, "name", declared_name(column), name, False, "it is read and written as it is"
        )
    if stored.type != declared:
        matters, why = _about_types(column, declared, stored.type)
        yield Difference(table_name, column.name, "type", declared, stored.type, matters, why)
    if hasattr(column, "expression") != stored.generated:
        why = "rows can't be upserted: they are found again by it"
        yield Difference(table_name, column.name, "generated", "yes", "no", True, why)
    elif stored.required != (not column.null):
        why = "a row without a value is refused" if stored.required else "it may be None all the same"
        matters = stored.required and not stored.default
        yield Difference(table_name, column.name, "NULL", _null(not column.null), _null(stored.required), matters, why)


def _about_types(column: peewee.Field, declared: str, stored: str) -> tuple[bool, str]:
    """Tell whether a type matters, and why."""
    if not can_hold(column, declared, stored):
        return True, "rows can't be upserted"
    if stored == LOCAL_TIME:
        zone = getattr(database.obj, "timezone", None)
        return zone is None, f"taken as the local time of {zone}" if zone else "no zone is configured: timezone"
    if (declared, stored) == ("bigint", "integer"):
        return False, "a number over 2147483647 is refused"
    if (declared, stored) == ("double precision", "real"):
        return True, "rounded to seven digits"
    if stored.startswith(("text", "character")) and not declared.startswith(("text", "character")):
        return False, "read and written as a number; compare it by == alone, for < and > would compare text"
    return False, "it holds all values"


def _null(required: bool) -> str:
    return "NOT NULL" if required else "NULL"


def _unknown_columns(table_name: str, table: StoredTable, known: set[str | None]) -> Iterator[Difference]:
    for name, stored in table.columns.items():
        if name in known:
            continue
        blocks = stored.required and not stored.default and not stored.generated
        why = "rows can't be inserted: it can't be NULL and has no default" if blocks else "it is left alone"
        yield Difference(table_name, name, "column", "none", stored.type, blocks, why)


def _of_indexes(model: type[BaseModel], table: StoredTable, names: Mapping[str, str | None]) -> Iterator[Difference]:
    wanted = {
        (tuple(names[column] or column for column in columns), unique) for columns, unique in declared_indexes(model)
    }
    there = {(index.columns, index.unique) for index in table.indexes}
    name = model._meta.table_name
    for columns, unique in sorted(wanted - there):
        # An index on more columns serves queries, too, if it begins with these.
        if unique or not any(index[: len(columns)] == columns for index, _ in there):
            why = "the same row may get in twice" if unique else "queries that use it are slower"
            yield Difference(name, ", ".join(columns), _KIND_OF_INDEX[unique], "yes", "none", unique, why)
    for columns, unique in sorted(there - wanted):
        weaker = any(is_key and set(key) <= set(columns) for key, is_key in wanted)
        matters = unique and not weaker
        why = "rows that are the same in it are refused" if matters else "it costs writing time"
        yield Difference(name, ", ".join(columns), _KIND_OF_INDEX[unique], "none", "yes", matters, why)


def declared_indexes(model: type[BaseModel]) -> list[tuple[tuple[str, ...], bool]]:
    """Give the names of the fields of each index that a model asks for, and whether it is a key."""
    meta = model._meta
    key = tuple(column.name for column in meta.get_primary_keys())
    indexes: list[tuple[tuple[str, ...], bool]] = [(key, True)] if key else []
    for column in declared_fields(model):
        if not column.primary_key and (column.index or column.unique):
            indexes.append(((column.name,), bool(column.unique)))
    for columns, unique in meta.indexes:
        indexes.append((tuple(meta.combined[column].name for column in columns), bool(unique)))
    for constraint in meta.constraints or ():
        if isinstance(constraint, peewee.SQL) and (found := re.fullmatch(r"UNIQUE \((.*)\)", constraint.sql)):
            indexes.append((tuple(column.strip(' "') for column in found[1].split(",")), True))
    return indexes
