"""Which migrations there are, and which of them were applied to the bound database.

One table keeps the record for all packages. A step of ours is recorded by its name, as it was before other packages had
any; one of another package as ``package/name``, so that several packages may have a step of the same name.
"""

from datetime import datetime
from typing import NamedTuple

import peewee
from playhouse.migrations import Migration

from astra_models import base
from astra_models.schema.package import Package

HISTORY = "schema_migration"


class Step(NamedTuple):
    """A migration.

    Parameters
    ----------
    package : str
        Whose tables it changes.
    name : str
        Its number and name.
    applied : datetime or None
        When it was applied, in local time; None if it wasn't.
    file : Migration or None
        What it does; None if its file is gone.
    """

    package: str
    name: str
    applied: datetime | None
    file: Migration | None


class _Record(peewee.Model):
    """A row of the record, as `playhouse.migrations` has it; it is no model of ours, which all follow `bind`."""

    name = peewee.CharField(unique=True)
    applied = peewee.DateTimeField(default=datetime.now)

    class Meta:
        legacy_table_names = False  # as playhouse names the index


def steps_of(package: Package) -> list[Step]:
    """Give the migrations of a package in order."""
    applied = _applied(package)
    files = Migration.load_directory(str(package.migrations)) if package.migrations is not None else []
    steps = [Step(package.name, file.name, applied.pop(file.name, None), file) for file in files]
    return steps + [Step(package.name, name, when, None) for name, when in sorted(applied.items())]


def record(package: Package, step: Step) -> None:
    """Note that a step was applied, in the transaction that is open."""
    _history().create(name=_prefix(package) + step.name)


def make_history() -> None:
    """Make the table of the record, if it isn't there."""
    _history().create_table()


def _applied(package: Package) -> dict[str, datetime]:
    history, prefix = _history(), _prefix(package)
    if not history.table_exists():
        return {}
    names = {row.name: row.applied for row in history.select()}
    if package.is_ours:
        return {name: when for name, when in names.items() if "/" not in name}
    return {name.removeprefix(prefix): when for name, when in names.items() if name.startswith(prefix)}


def _prefix(package: Package) -> str:
    return "" if package.is_ours else f"{package.name}/"


def _history() -> type[_Record]:
    """Make the model of the record in the bound database and schema."""
    settings = {"database": base.database.obj, "schema": base.bound_schema(), "table_name": HISTORY}
    return type("History", (_Record,), {"Meta": type("Meta", (), settings)})
