"""``astra init``, ``astra migrate`` and ``astra check-schema``: making tables, and keeping up with releases."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from astra_orchestration.cli.terminal import (
    AstraGroup,
    complain,
    console,
    escaped,
    load_all_models,
    require_configured,
    say,
    table,
    where,
)

schema_commands = typer.Typer(cls=AstraGroup)
migrations = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Bring older tables up to date with this release.")
schema_commands.add_typer(migrations, name="migrate")


@schema_commands.command(epilog="Example: [bold]ASTRA_DATABASE_PATH=astra.db astra init[/]")
def init(
    schema: Annotated[str | None, typer.Option(help="PostgreSQL schema, instead of the configured one.")] = None,
) -> None:
    """Make the schema and the tables that are missing; what is there stays as it is."""
    from astra_models.schema.migration import init as make_all
    from astra_models.schema.migration import require_current

    require_configured()
    if schema is not None:
        _choose(schema)
    load_all_models()
    made = make_all()
    say(f"{where()}: " + (f"made {', '.join(made)}" if made else "all tables are there, nothing was made"))
    require_current()
    if schema is not None:
        say(f"for other commands to use it, set [bold]schema: {escaped(schema)}[/] in the configuration file")


@migrations.command(epilog="Example: [bold]astra migrate status[/]")
def status() -> None:
    """List the migrations, and when they were applied; exits with 1 if some weren't."""
    from astra_models.schema.migration import steps

    require_configured()
    listed = steps()
    say(where())
    console.print(table(("migration", "applied"), [(step.name, _when(step.applied)) for step in listed]))
    if not all(step.applied for step in listed):
        raise typer.Exit(1)


@migrations.command(epilog="Example: [bold]astra migrate up[/]")
def up() -> None:
    """Apply the migrations that haven't been; one that fails is undone."""
    from astra_models.schema.migration import migrate

    require_configured()
    load_all_models()
    applied = migrate()
    say(f"{where()}: " + (f"applied {', '.join(applied)}" if applied else "everything was applied already"))


@schema_commands.command("check-schema", epilog="Example: [bold]astra check-schema --json[/]")
def check_schema(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List what differs between the database and the models, and whether it matters; exits with 1 if something does."""
    from astra_models.schema import check
    from astra_models.schema.migration import import_models

    require_configured()
    import_models()
    load_all_models()
    found = check.check_schema()
    if as_json:
        print(json.dumps([asdict(difference) for difference in found], indent=2))  # noqa: T201  rich would wrap it
    else:
        _show(found)
    if any(difference.matters for difference in found):
        raise typer.Exit(1)


def _choose(schema: str) -> None:
    from astra_models import base
    from astra_models.database.sql import is_postgresql
    from astra_models.errors import ConfigurationError

    if not is_postgresql(base.database):
        raise ConfigurationError(f"{where()} has no schemas: leave --schema out")
    base.bind(base.database.obj, schema)


def _when(applied: Any) -> str:
    return "[yellow]no[/]" if applied is None else applied.isoformat(" ", "seconds")


def _show(found: list[Any]) -> None:
    say(where())
    if not found:
        say("the tables are as the models say")
        return
    rows = [
        (
            escaped(difference.table),
            escaped(difference.column),
            difference.what,
            escaped(difference.here),
            escaped(difference.there),
            ("[red]yes[/]: " if difference.matters else "no: ") + escaped(difference.why),
        )
        for difference in found
    ]
    listed = table(("table", "column", "what", "here", "there", "matters"), rows)
    for column in listed.columns[1:]:
        column.justify, column.overflow = "left", "fold"
    console.print(listed)
    matter = sum(difference.matters for difference in found)
    (complain if matter else say)(f"{len(found)} differences, {matter} of them matter")
