"""What a migration of a package does: adding columns, indexes and tables, on PostgreSQL and SQLite alike.

A step has all of its SQL, so that it does the same however the models change. What exists already is left as it is.
"""

import peewee
from playhouse.migrate import SchemaMigrator

from astra_models.database.catalog import read_tables
from astra_models.database.sql import quote
from astra_models.errors import MigrationError

__all__ = ["add_column", "add_index", "create_table"]

Default = int | float | str | bytes | bool | None


def add_column(
    migrator: SchemaMigrator,
    table: str,
    column: str,
    definition: str,
    *,
    sqlite: str | None = None,
    default: Default = None,
) -> None:
    """Add a column to a table that is there.

    Parameters
    ----------
    migrator : SchemaMigrator
        What the step was given.
    table, column : str
        Their names.
    definition : str
        Type and constraints, such as ``"BIGINT NOT NULL"``.
    sqlite : str, optional
        The same for SQLite, if it differs.
    default : int, float, str, bytes or bool, optional
        The value for existing rows; a column that can't be NULL needs one.

    Raises
    ------
    MigrationError
        If there is no such table.
    """
    found = read_tables(migrator.database, migrator.schema).get(table)
    if found is None:
        raise MigrationError(f"there is no table {table!r} to add the column {column!r} to; make it with `astra init`")
    if column in found.columns:
        return
    on_postgresql = _is_postgresql(migrator)
    words = f"{quote(column)} {definition if on_postgresql or sqlite is None else sqlite}"
    if default is not None:
        words += f" DEFAULT {_literal(default, on_postgresql)}"
    _execute(migrator, f"ALTER TABLE {quote(table)} ADD COLUMN {words}")
    if default is not None and on_postgresql:  # SQLite keeps it: it can't change a column
        _execute(migrator, f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)} DROP DEFAULT")


def create_table(migrator: SchemaMigrator, *, postgresql: str, sqlite: str) -> None:
    """Create a table, if it isn't there.

    Parameters
    ----------
    migrator : SchemaMigrator
        What the step was given.
    postgresql, sqlite : str
        The ``CREATE TABLE IF NOT EXISTS`` statement for each.
    """
    _execute(migrator, postgresql if _is_postgresql(migrator) else sqlite)


def add_index(migrator: SchemaMigrator, name: str, table: str, *columns: str, unique: bool = False) -> None:
    """Add an index, if there is none of its name.

    Parameters
    ----------
    migrator : SchemaMigrator
        What the step was given.
    name, table : str
        Their names.
    *columns : str
        The columns, in order.
    unique : bool, optional
        Whether no two rows may have the same values in them.
    """
    kind = "UNIQUE INDEX" if unique else "INDEX"
    listed = ", ".join(map(quote, columns))
    _execute(migrator, f"CREATE {kind} IF NOT EXISTS {quote(name)} ON {quote(table)} ({listed})")


def _is_postgresql(migrator: SchemaMigrator) -> bool:
    return isinstance(migrator.database, peewee.PostgresqlDatabase)


def _execute(migrator: SchemaMigrator, statement: str) -> None:
    """Run a statement, in which names without a schema are those of the bound one, until the transaction ends."""
    if _is_postgresql(migrator):
        if migrator.schema is not None:
            migrator.database.execute_sql("SELECT set_config('search_path', quote_ident(%s), true)", (migrator.schema,))
        statement = statement.replace("%", "%%")  # which the driver takes for the place of a parameter
    migrator.database.execute_sql(statement)


def _literal(value: Default, on_postgresql: bool) -> str:
    """Write a value as SQL; statements that change tables take no parameters."""
    if isinstance(value, bool):
        return str(value).lower() if on_postgresql else str(int(value))
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'" if on_postgresql else f"X'{value.hex()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
