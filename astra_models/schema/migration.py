"""Migrations: numbered steps from one release's tables to the next one's, each applied once, in order.

They are run by `playhouse.migrations`: each step and the record that it was applied are one transaction. A new
database is made from the models, with all steps on record. A production schema that other software made isn't
migrated: it opens as it is (see `layout`).
"""

import importlib
import pkgutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import peewee
from playhouse.migrations import Runner

import astra_models
from astra_models.base import bound_schema, database
from astra_models.database.catalog import StoredTable, read_tables
from astra_models.database.layout import declared_fields, layouts
from astra_models.database.retry import describe, one_line, run_transaction
from astra_models.database.sql import is_postgresql
from astra_models.errors import MigrationError, OutdatedSchemaError, SchemaPermissionError
from astra_models.schema.additions import own_models
from astra_models.schema.tables import create_tables, existing_tables

__all__ = ["Step", "init", "migrate", "require_current", "steps"]

FOLDER = Path(__file__).with_name("migrations")
HISTORY = "schema_migration"
NOT_ALLOWED = "42501"
FIRST_TABLES = {
    "source",
    "spectrum",
    "boss_visit_spectrum",
    "boss_combined_spectrum",
    "apogee_coadded_spectrum_in_ap_star",
    "corv",
    "rocket",
    "rejected_result",
}
"""The tables of the first version, which kept no record of migrations."""

Result = TypeVar("Result")


class Step(NamedTuple):
    """A migration.

    Parameters
    ----------
    name : str
        Its number and name.
    applied : datetime or None
        When it was applied, in local time; None if it wasn't.
    """

    name: str
    applied: datetime | None


def init() -> list[str]:
    """Make the schema and all tables that are missing. A database that was empty then has all migrations on record.

    Returns
    -------
    list of str
        Names of the tables that were made.

    Raises
    ------
    DatabaseUnavailableError
        If the database can't be reached, or isn't there.
    SchemaPermissionError
        If this user may not make schemas or tables.
    """
    import_models()

    def make() -> list[str]:
        is_new = _ours().isdisjoint(existing_tables())
        made = create_tables()
        if is_new:
            _runner().fake()
        layouts.forget()
        return made

    return _allowed(make, "make schemas and tables")


def steps() -> list[Step]:
    """Give all migrations in order, and when they were applied to the bound database."""
    rows = run_transaction(database, lambda: _runner().status())
    return [Step(row.name, row.applied) for row in rows]


def migrate() -> list[str]:
    """Apply the migrations that haven't been, each in a transaction of its own.

    Returns
    -------
    list of str
        Names of the migrations that were applied.

    Raises
    ------
    MigrationError
        If the tables aren't ours, or a migration fails; it is then undone, and those before it stay.
    SchemaPermissionError
        If this user may not change tables.
    """
    import_models()
    tables = run_transaction(database, lambda: read_tables(database.obj, bound_schema()))
    if _ours().isdisjoint(tables):
        raise MigrationError(f"{_where()} has none of our tables; make them with `astra init`")
    if _is_foreign(tables):
        raise MigrationError(
            f"the tables in {_where()} were made by other software; they are used as they are, and not migrated. "
            "`astra check-schema` lists what differs"
        )
    with layouts.suspended():
        return _allowed(_apply, "change tables")


def require_current() -> None:
    """Make sure that the bound database has the tables of this release. It is asked once after each `bind`.

    Raises
    ------
    OutdatedSchemaError
        If migrations haven't been applied.
    """
    if layouts.current:
        return
    pending = run_transaction(database, _pending)
    if pending:
        raise OutdatedSchemaError(
            f"the tables in {_where()} are those of an older release ({', '.join(pending)} to be applied); bring them "
            "up to date with `astra migrate up`, after a backup"
        )
    layouts.current = True


def import_models() -> None:
    """Import all our models, so that no table is forgotten."""
    for module in pkgutil.iter_modules(astra_models.__path__, "astra_models."):
        importlib.import_module(module.name)


def _ours() -> set[str]:
    return {model._meta.table_name for model in own_models()}


def _runner() -> Any:
    return Runner(database.obj, directory=str(FOLDER), table_name=HISTORY, schema=bound_schema())


def _pending() -> list[str]:
    names = [row.name for row in _runner().status() if row.applied is None]
    if not names or HISTORY in existing_tables():
        return names
    # Without a record: empty, made by other software or by hand, or by us before there was one.
    tables = read_tables(database.obj, bound_schema())
    is_first = tables.keys() >= FIRST_TABLES and not tables.keys() >= _ours()
    return names if not _is_foreign(tables) and (is_first or _lacks_columns(tables)) else []


def _is_foreign(tables: dict[str, StoredTable]) -> bool:
    """Tell whether tables are those of a production schema: its keys have 32 bits, ours 64."""
    spectrum = tables.get("spectrum")
    return is_postgresql(database) and spectrum is not None and spectrum.columns["pk"].type != "bigint"


def _lacks_columns(tables: dict[str, StoredTable]) -> bool:
    return any(
        column.column_name not in tables[model._meta.table_name].columns
        for model in own_models()
        if model._meta.table_name in tables
        for column in declared_fields(model)
    )


def _apply() -> list[str]:
    try:
        return _runner().up()
    except (peewee.IntegrityError, peewee.DataError) as error:
        raise MigrationError(
            f"{_where()}: a migration failed and was undone: {one_line(error)}; mend those rows, then run "
            "`astra migrate up` again (`astra migrate status` shows how far it came)"
        ) from error


def _allowed(work: Callable[[], Result], what: str) -> Result:
    """Do something that needs permission."""
    try:
        return work()
    except peewee.PeeweeException as error:
        original = getattr(error, "orig", error)
        is_denied = getattr(original, "pgcode", None) == NOT_ALLOWED or "readonly database" in str(original)
        if not is_denied:
            raise
        raise SchemaPermissionError(
            f"{_where()}: you may not {what} here ({one_line(error)}); ask its owner to do it, or to let you"
        ) from error


def _where() -> str:
    return describe(database) + (f", schema {bound_schema()!r}" if bound_schema() else "")
