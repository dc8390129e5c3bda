"""Adding to tables what the models have and they lack: columns, indexes, whole tables. Nothing is ever dropped."""

from collections.abc import Iterator
from typing import Any

import peewee

from astra_models.base import BaseModel
from astra_models.database.catalog import StoredColumn, StoredTable, declared_type, read_tables
from astra_models.database.layout import declared_fields
from astra_models.database.peewee_internals import create_statement, references_first
from astra_models.database.sql import quote, quoted_table


def add_what_is_missing(database: peewee.Database, schema: str | None) -> None:
    """Make the tables of all our models as the models say, in the transaction that is open.

    Models of other packages are left to those.
    """
    alter = _alter if isinstance(database, peewee.PostgresqlDatabase) else _rebuild
    tables = read_tables(database, schema)
    for model in own_models():
        table = tables.get(model._meta.table_name)
        if table is not None:
            alter(model, table, database)
        model.create_table()  # the table, if it isn't there, and the indexes that aren't


def own_models() -> list[Any]:
    """Give all our models that are tables, those that others refer to first."""
    models = [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]
    return references_first(models)


def _alter(model: Any, table: StoredTable, database: peewee.Database) -> None:
    for column in declared_fields(model):
        name = quote(column.column_name)
        stored = table.columns.get(column.column_name)
        changes = _add(column, database) if stored is None else _change(column, stored, database)
        for change, *parameters in changes:
            database.execute_sql(f"ALTER TABLE {quoted_table(model)} {change.format(name)}", parameters)


def _add(column: Any, database: peewee.Database) -> Iterator[tuple[Any, ...]]:
    """Give the changes that add a column; the rows that are there get its default."""
    sql, _ = database.get_sql_context().sql(column.ddl(database.get_sql_context())).query()
    if isinstance(column, peewee.ForeignKeyField):
        sql += f" REFERENCES {quoted_table(column.rel_model)} ({quote(column.rel_field.column_name)})"
    if column.null or hasattr(column, "expression"):
        yield (f"ADD COLUMN {sql}",)
    else:
        yield f"ADD COLUMN {sql} DEFAULT %s", _default(column)
        yield ("ALTER COLUMN {} DROP DEFAULT",)


def _change(column: Any, stored: StoredColumn, database: peewee.Database) -> Iterator[tuple[Any, ...]]:
    """Give the changes that make a column what the model says."""
    declared = declared_type(column, database)
    if stored.type != declared:
        yield (f"ALTER COLUMN {{}} TYPE {declared}",)
    if stored.required and column.null:
        yield ("ALTER COLUMN {} DROP NOT NULL",)
    elif not stored.required and not column.null:
        yield ("ALTER COLUMN {} SET NOT NULL",)


def _rebuild(model: Any, table: StoredTable, database: peewee.Database) -> None:
    """Copy the rows into a new table, which takes the old one's place: SQLite can't alter much of a table.

    The migration has foreign keys switched off meanwhile, so that references to it stay.
    """
    if all(_as_declared(column, table, database) for column in declared_fields(model)):
        return
    name = model._meta.table_name
    new, old = quote(f"{name} (new)"), quote(name)
    columns, values, parameters = [], [], []
    for column in declared_fields(model):
        there = column.column_name in table.columns
        if hasattr(column, "expression") or (column.null and not there):
            continue
        columns.append(quote(column.column_name))
        values.append("?" if not there else columns[-1])
        parameters += [] if there else [_default(column)]
    database.execute_sql(create_statement(model).replace(old, new, 1))
    database.execute_sql(
        f"INSERT INTO {new} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {old}", tuple(parameters)
    )
    database.execute_sql(f"DROP TABLE {old}")
    database.execute_sql(f"ALTER TABLE {new} RENAME TO {old}")


def _as_declared(column: Any, table: StoredTable, database: peewee.Database) -> bool:
    stored = table.columns.get(column.column_name)
    return stored is not None and (stored.type, stored.required) == (declared_type(column, database), not column.null)


def _default(column: Any) -> Any:
    return column.db_value(column.default() if callable(column.default) else column.default)
