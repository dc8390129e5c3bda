"""Migrations: numbered steps from one release's tables to the next one's, each applied once, in order.

Each package has its own: ours, and any package of pipelines. A step and the record that it was applied are one
transaction. A new database is made from the models, with all steps on record. A production schema that other software
made isn't migrated: it opens as it is (see `layout`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import peewee
from playhouse.migrate import SchemaMigrator

from astra_models.base import bound_schema, database
from astra_models.database.catalog import StoredTable, read_tables
from astra_models.database.layout import layouts
from astra_models.database.peewee_internals import declared_fields
from astra_models.database.retry import describe, one_line, run_transaction
from astra_models.database.sql import is_postgresql
from astra_models.errors import MigrationError, OutdatedSchemaError, SchemaPermissionError, StorageError
from astra_models.schema.history import Step, make_history, record, steps_of
from astra_models.schema.package import Package
from astra_models.schema.tables import create_tables, existing_tables

__all__ = ["Step", "init", "migrate", "pending_steps", "require_current", "steps"]

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


def init(packages: Sequence[Package]) -> list[str]:
    """Make the schema and all tables that are missing. A package that had none then has all its steps on record.

    Parameters
    ----------
    packages : sequence of Package
        The packages whose tables are made.

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

    def make() -> list[str]:
        there = existing_tables()
        made = create_tables([model for package in packages for model in package.models])
        for package in packages:
            if package.tables and package.tables.isdisjoint(there):
                _record_all(package)
        layouts.forget()
        return made

    return _allowed(make, "make schemas and tables")


def steps(packages: Sequence[Package]) -> list[Step]:
    """Give the migrations of packages in order, and when they were applied to the bound database.

    Another package without any table there has nothing to migrate; `init` makes its tables as they are now.
    """
    there = existing_tables()
    concerned = [package for package in packages if package.is_ours or not package.tables.isdisjoint(there)]
    return run_transaction(database, lambda: [step for package in concerned for step in steps_of(package)])


def migrate(packages: Sequence[Package]) -> list[str]:
    """Apply the migrations that haven't been, each in a transaction of its own.

    A step that fails doesn't affect other packages.

    Returns
    -------
    list of str
        Names of the migrations that were applied; those of other packages as ``package/name``.

    Raises
    ------
    MigrationError
        If the tables aren't ours, or a migration fails; it is then undone, and those before it stay.
    SchemaPermissionError
        If this user may not change tables.
    """
    tables = run_transaction(database, lambda: read_tables(database.obj, bound_schema()))
    concerned = [package for package in packages if not package.tables.isdisjoint(tables)]
    if not any(package.is_ours for package in concerned):
        raise MigrationError(f"{where()} has none of our tables; make them with `astra init`")
    if _is_foreign(tables):
        concerned = [package for package in concerned if not package.is_ours]
        if not concerned:
            raise MigrationError(
                f"the tables in {where()} were made by other software; they are used as they are, and not migrated. "
                "`astra check-schema` lists what differs"
            )
    with layouts.suspended():
        return _allowed(lambda: _apply(concerned), "change tables")


def require_current(packages: Iterable[Package]) -> None:
    """Make sure that the bound database has the tables of these releases. It is asked once after each `bind`.

    Raises
    ------
    OutdatedSchemaError
        If migrations haven't been applied.
    """
    unknown = [package for package in packages if package.name not in layouts.current]
    if not unknown:
        return
    pending = run_transaction(database, lambda: [name for package in unknown for name in pending_steps(package)])
    if pending:
        raise OutdatedSchemaError(
            f"the tables in {where()} are those of an older release ({', '.join(pending)} to be applied); bring them "
            "up to date with `astra migrate up`, after a backup"
        )
    layouts.current.update(package.name for package in unknown)


def pending_steps(package: Package) -> list[str]:
    """Name the migrations of a package that its tables in the bound database need."""
    found = steps_of(package)
    names = [_title(package, step) for step in found if step.applied is None]
    if not names:
        return []
    tables = read_tables(database.obj, bound_schema())
    if any(step.applied for step in found):
        return [] if package.tables.isdisjoint(tables) and not package.is_ours else names
    # Without a record: empty, made by other software or by hand, or by us before there was one.
    is_first = package.is_ours and tables.keys() >= FIRST_TABLES and not tables.keys() >= package.tables
    return names if not _is_foreign(tables) and (is_first or _lacks_columns(package, tables)) else []


def where() -> str:
    """Name the bound database and its schema, for messages."""
    return describe(database) + (f", schema {bound_schema()!r}" if bound_schema() else "")


def _record_all(package: Package) -> None:
    unrecorded = [step for step in steps_of(package) if step.applied is None]
    if unrecorded:
        make_history()
    for step in unrecorded:
        record(package, step)


def _is_foreign(tables: dict[str, StoredTable]) -> bool:
    """Tell whether tables are those of a production schema: its keys have 32 bits, ours 64."""
    spectrum = tables.get("spectrum")
    return is_postgresql(database) and spectrum is not None and spectrum.columns["pk"].type != "bigint"


def _lacks_columns(package: Package, tables: dict[str, StoredTable]) -> bool:
    return any(
        column.column_name not in tables[model._meta.table_name].columns
        for model in package.models
        if model._meta.table_name in tables
        for column in declared_fields(model)
    )


def _apply(packages: Sequence[Package]) -> list[str]:
    """Apply what hasn't been; a package whose step fails doesn't stop the next one."""
    make_history()
    applied: list[str] = []
    failures: list[MigrationError] = []
    for package in packages:
        try:
            for step in steps_of(package):
                if step.applied is None:
                    _apply_step(package, step)
                    applied.append(_title(package, step))
        except MigrationError as error:
            failures.append(error)
    if failures:
        raise MigrationError("; ".join(map(str, failures))) from failures[0]
    run_transaction(database, lambda: _complete_tables(packages))
    return applied


def _complete_tables(packages: Sequence[Package]) -> None:
    there = existing_tables()
    for package in packages:
        for model in package.models:
            if model._meta.table_name in there:
                model.complete_table()


def _apply_step(package: Package, step: Step) -> None:
    assert step.file is not None, "a step that wasn't applied has a file"
    target = database.obj
    migrator = SchemaMigrator.from_database(target, schema=bound_schema())
    try:
        module = step.file.load()
        with migrator.migration_context(getattr(module, "atomic", True)):
            module.up(migrator, target)
            record(package, step)
    except (peewee.IntegrityError, peewee.DataError) as error:
        raise MigrationError(
            f"{where()}: a migration failed and was undone: {_title(package, step)}: {one_line(error)}; mend those "
            "rows, then run `astra migrate up` again (`astra migrate status` shows how far it came)"
        ) from error
    except Exception as error:
        if package.is_ours or _is_denied(error):
            raise
        raise MigrationError(
            f"{where()}: a migration failed and was undone: {_title(package, step)}: {type(error).__name__}: "
            f"{one_line(error)}; mend the step in {package.migrations}, then run `astra migrate up` again"
        ) from error


def _title(package: Package, step: Step) -> str:
    return step.name if package.is_ours else f"{package.name}/{step.name}"


def _allowed(work: Callable[[], Result], what: str) -> Result:
    """Do something that needs permission."""
    try:
        return work()
    except (peewee.PeeweeException, StorageError) as error:
        denied = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
        if not _is_denied(denied):
            raise
        raise SchemaPermissionError(
            f"{where()}: you may not {what} here ({one_line(denied)}); ask its owner to do it, or to let you"
        ) from error


def _is_denied(error: BaseException) -> bool:
    original = getattr(error, "orig", error)
    return getattr(original, "pgcode", None) == NOT_ALLOWED or "readonly database" in str(original)
