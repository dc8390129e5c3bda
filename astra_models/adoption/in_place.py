"""Working on a production schema as it is: whether it can be read, what can't be written, and what to configure."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from astra_models import base
from astra_models.base import bind, bound_schema, database
from astra_models.database.config import postgresql_database
from astra_models.database.layout import layout_of
from astra_models.database.postgresql import PostgresqlDatabase
from astra_models.database.retry import run_transaction
from astra_models.errors import AdoptionError
from astra_models.outputs import all_models
from astra_models.schema.tables import existing_tables

__all__ = ["InPlace", "bound_to", "try_in_place"]


@dataclass(frozen=True)
class InPlace:
    """What works on a production schema as it is.

    Parameters
    ----------
    readable : list of str
        Tables of which a row was read, or that are empty.
    read_only : dict of str to list of str
        Tables that can't be upserted into, and why.
    missing : list of str
        Tables of ours that aren't there.
    configuration : str
        The section of the configuration file, as YAML.
    """

    readable: list[str]
    read_only: dict[str, list[str]]
    missing: list[str]
    configuration: str


@contextmanager
def bound_to(schema: str, timezone: str | None = None) -> Iterator[None]:
    """Bind all models to another schema of the bound database for a while."""
    before = base.database.obj, bound_schema()
    target = before[0]
    if timezone is not None and isinstance(target, PostgresqlDatabase):
        settings = {key: value for key, value in target.connect_params.items() if value is not None}
        target = postgresql_database(str(target.database), timezone=timezone, **settings)
    bind(target, schema)
    try:
        yield
    finally:
        if target is not before[0]:
            target.close()
        bind(*before)


def try_in_place(schema: str, timezone: str) -> InPlace:
    """Read a row of every table of a production schema as it is, and say what can't be written.

    Parameters
    ----------
    schema : str
        The production schema.
    timezone : str
        The zone of its times.

    Raises
    ------
    AdoptionError
        If its name has a percent sign, which the driver takes for the place of a parameter.
    """
    if "%" in schema:
        raise AdoptionError(f"a schema with a percent sign in its name can't be used in place: {schema!r}; copy it")
    with bound_to(schema, timezone):
        there = existing_tables()
        models = [model for model in all_models() if model._meta.table_name in there]
        for model in models:
            run_transaction(database, lambda model=model: list(model.select().limit(1)))
        layouts = {str(model._meta.table_name): layout_of(model) for model in models}
    read_only = {name: list(layout.obstacles) for name, layout in layouts.items() if layout and layout.obstacles}
    missing = sorted(str(model._meta.table_name) for model in all_models() if model._meta.table_name not in there)
    return InPlace(sorted(layouts), read_only, missing, _configuration(schema, timezone))


def _configuration(schema: str, timezone: str) -> str:
    """Give the section of the configuration file; JSON's texts are YAML's, whatever is in them."""
    lines = [f"dbname: {json.dumps(str(database.obj.database))}"]
    shown = {key: database.obj.connect_params.get(key) for key in ("host", "port", "user")}
    lines += [f"{key}: {json.dumps(value)}" for key, value in shown.items() if value is not None]
    lines += [f"schema: {json.dumps(schema)}", f"timezone: {json.dumps(timezone)}"]
    return "\n".join(["database:", *(f"  {line}" for line in lines)])
