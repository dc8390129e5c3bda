"""Quoting, and the few statements in which PostgreSQL and SQLite differ."""

import json
from collections.abc import Iterable
from typing import Any

import peewee

from astra_models.database.peewee_internals import driver_errors

__all__ = [
    "ROLLBACK_TO_SAVEPOINT",
    "AnyDatabase",
    "driver_errors",
    "is_any_of",
    "is_postgresql",
    "quote",
    "quoted_table",
    "rows_of",
]

ROLLBACK_TO_SAVEPOINT = "ROLLBACK TO SAVEPOINT"
"""How the statement begins that peewee sends when something fails inside a savepoint."""

AnyDatabase = peewee.Database | peewee.Proxy
"""A database, or what stands for the one that is bound."""


def is_postgresql(database: AnyDatabase) -> bool:
    """Tell whether a database, or the proxy of one, is PostgreSQL."""
    target = database.obj if isinstance(database, peewee.Proxy) else database
    return isinstance(target, peewee.PostgresqlDatabase)


def quote(*names: str | None) -> str:
    """Quote an identifier, with its schema before it if there is one."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names if name is not None)


def quoted_table(model: type[peewee.Model]) -> str:
    """Quote the name of a model's table, with its schema."""
    return quote(model._meta.schema, model._meta.table_name)


def rows_of(query: peewee.BaseQuery) -> list[tuple[Any, ...]]:
    """Run a query, and give its rows as tuples."""
    return list(query.tuples())


def is_any_of(column: peewee.Field, values: Iterable[int]) -> peewee.Expression:
    """Make the condition that a column is one of any number of integers, sent as one parameter.

    Parameters
    ----------
    column : peewee.Field
        An integer column.
    values : iterable of int
        The integers; a database's limit on the number of parameters doesn't apply.
    """
    integers = [int(value) for value in values]
    # With converters of their own: the column's would take the whole list for one of its values.
    if is_postgresql(column.model._meta.database):
        array = peewee.Value(integers, converter=list, unpack=False)
        any_of = peewee.fn.ANY(peewee.NodeList((array, peewee.SQL("::bigint[]"))))
        return peewee.Expression(column, "=", any_of, flat=True)
    listed = peewee.fn.json_each(peewee.Value(json.dumps(integers), converter=str, unpack=False))
    return column.in_(peewee.NodeList((peewee.SQL("(SELECT value FROM"), listed, peewee.SQL(")"))))
