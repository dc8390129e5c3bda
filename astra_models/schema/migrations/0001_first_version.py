"""The tables of version 0.9.0, as they were. A database that was made then has them already."""

from pathlib import Path

import peewee


def up(migrator, db):
    """Make the tables that are missing."""
    on_postgresql = isinstance(db, peewee.PostgresqlDatabase)
    if on_postgresql and migrator.schema is not None:
        db.execute_sql("SELECT set_config('search_path', quote_ident(%s), true)", (migrator.schema,))
    statements = Path(__file__).with_suffix(".postgresql.sql" if on_postgresql else ".sqlite.sql").read_text()
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute_sql(statement)
