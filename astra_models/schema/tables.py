"""Tables and schema of the bound database: what is there, and making it."""

from collections.abc import Iterable

import peewee

from astra_models.base import BaseModel, bound_schema, database
from astra_models.database.retry import describe, run_transaction
from astra_models.database.sql import is_postgresql, quote, quoted_table
from astra_models.database_identity import DatabaseIdentity, make_identity
from astra_models.errors import MissingTableError
from astra_models.rejected import RejectedResult


def existing_tables() -> set[str]:
    """Name the tables in the bound database and schema.

    Raises
    ------
    DatabaseUnavailableError
        If there is no connection to be had.
    """
    return set(run_transaction(database, lambda: database.get_tables(schema=bound_schema())))


def require_tables(*models: type[BaseModel]) -> None:
    """Make sure that tables are there. ``rejected_result``, which every write needs, is made if it isn't.

    Raises
    ------
    MissingTableError
        If a table, or the schema, is missing.
    """
    tables = existing_tables()
    for model in models:
        if model._meta.table_name not in tables:
            raise _missing(model)
    if RejectedResult._meta.table_name not in tables:
        RejectedResult.create_table()


def require_tables_to_read(*models: type[BaseModel]) -> None:
    """Make sure that tables can be read, or views of their names.

    Raises
    ------
    MissingTableError
        If one, or the schema, is missing.
    """
    tables = existing_tables()
    for model in models:
        if model._meta.table_name in tables:
            continue
        try:
            with database.atomic():  # an error ends no transaction of the caller's
                database.execute_sql(f"SELECT 1 FROM {quoted_table(model)} LIMIT 0")
        except (peewee.OperationalError, peewee.ProgrammingError) as error:
            raise _missing(model) from error


def _missing(model: type[BaseModel]) -> MissingTableError:
    _require_schema()
    return MissingTableError(
        f"{describe(database)} has no table {quoted_table(model)} for {model.__name__}; make all tables with "
        f"`astra init`, or this one with {model.__name__}.create_table()"
    )


def create_tables(models: Iterable[type[BaseModel]] | None = None) -> list[str]:
    """Create the schema and tables, as far as they are missing.

    Parameters
    ----------
    models : iterable of type, optional
        The models of the tables; all that have been imported if not given.

    Returns
    -------
    list of str
        Names of the tables that were made.
    """
    wanted = list(BaseModel.concrete_models() if models is None else models)

    def create() -> list[str]:
        schema = bound_schema()
        if schema is not None and is_postgresql(database) and not _has_schema(schema):
            database.execute_sql(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        before = set(database.get_tables(schema=schema))
        missing = [model for model in wanted if model._meta.table_name not in before]
        database.create_tables(missing)
        if DatabaseIdentity in missing:
            make_identity()
        return [model._meta.table_name for model in missing]

    return run_transaction(database, create)


def _require_schema() -> None:
    schema = bound_schema()
    if schema is None or not is_postgresql(database):
        return
    if not _has_schema(schema):
        raise MissingTableError(
            f"{describe(database)} has no schema {schema!r}; make it and its tables with `astra init`"
        )


def _has_schema(schema: str) -> bool:
    found = database.execute_sql("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,))
    return found.fetchone() is not None
