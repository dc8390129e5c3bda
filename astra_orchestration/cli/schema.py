"""``astra init``, ``astra migrate`` and ``astra check-schema``: making tables, and keeping up with releases."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give, into_file
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    complain,
    console,
    escaped,
    require_configured,
    say,
    table,
    used_database,
    where,
)

if TYPE_CHECKING:
    from astra_models.schema.check import Difference

schema_commands = typer.Typer(cls=AstraGroup)
migrations = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Bring older tables up to date with this release.")
schema_commands.add_typer(migrations, name="migrate")


@schema_commands.command(epilog="Example: [bold]ASTRA_DATABASE_PATH=astra.db astra init[/]")
def init(
    schema: Annotated[str | None, typer.Option(help="PostgreSQL schema, instead of the configured one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the schema and the tables that are missing; what is there stays as it is."""
    from astra_models.outputs import packages
    from astra_models.schema.migration import init as make_all
    from astra_models.schema.migration import require_current

    require_configured()
    if schema is not None:
        _choose(schema)
    found = packages()
    made = make_all(found)
    give(used_database() | {"made": made})
    say(f"{where()}: " + (f"made {', '.join(made)}" if made else "all tables are there, nothing was made"))
    require_current(found)
    if schema is not None:
        say(f"for other commands to use it, set [bold]schema: {escaped(schema)}[/] in the configuration file")


@migrations.command(epilog="Example: [bold]astra migrate status[/]")
def status(as_json: AsJson = False) -> None:
    """List the migrations, and when they were applied; exits with 1 if some weren't."""
    from astra_models.outputs import packages
    from astra_models.schema.migration import steps

    require_configured()
    listed = steps(packages())
    migrations = [{"package": one.package, "name": one.name, "applied": one.applied} for one in listed]
    give(used_database() | {"migrations": migrations})
    say(where())
    rows = [(step.package, step.name, _when(step.applied)) for step in listed]
    shown = table(("package", "migration", "applied"), rows)
    shown.columns[1].justify = "left"
    console.print(shown)
    if not all(step.applied for step in listed):
        raise typer.Exit(1)


@migrations.command(epilog="Example: [bold]astra migrate up[/]")
def up(as_json: AsJson = False) -> None:
    """Apply the migrations that haven't been; one that fails is undone."""
    from astra_models.outputs import packages
    from astra_models.schema.migration import migrate

    require_configured()
    applied = migrate(packages())
    give(used_database() | {"applied": applied})
    say(f"{where()}: " + (f"applied {', '.join(applied)}" if applied else "everything was applied already"))


@migrations.command(epilog="Example: [bold]astra migrate make my_package[/]")
def make(
    package: Annotated[str, typer.Argument(help="The package: the name that it is installed or imported by.")],
    name: Annotated[str | None, typer.Option(help="Name of the step, instead of what it adds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a migration that brings the tables of a package up to its models, into its folder `migrations`."""
    from astra_models.outputs import package_named
    from astra_models.schema.making import make_step

    require_configured()
    written = make_step(package_named(package), name)
    give({"file": written.path, "adds": written.adds, "left_out": written.left_out})
    say(f"{escaped(str(written.path))}: {', '.join(map(escaped, written.adds))}; `astra migrate up` applies it")
    for difference in written.left_out:
        complain(f"[yellow]not in it:[/] {escaped(difference)}")


@schema_commands.command("check-schema", epilog="Example: [bold]astra check-schema --json[/]")
def check_schema(
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """List what differs between the database and the models, and whether it matters; exits with 1 if something does."""
    from astra_models.outputs import all_models
    from astra_models.schema import check

    into_file(into)
    require_configured()
    found = check.check_schema(all_models())
    if as_json:
        give(used_database() | {"differences": found})
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


def _when(applied: datetime | None) -> str:
    return "[yellow]no[/]" if applied is None else applied.isoformat(" ", "seconds")


def _show(found: "list[Difference]") -> None:
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
