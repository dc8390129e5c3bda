"""``astra backup`` and ``astra restore``: both databases, with one command each."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, complain, escaped, require_configured, say

if TYPE_CHECKING:
    from astra_orchestration.backup.folder import Backup, Part

backup_commands = typer.Typer(cls=AstraGroup)

Only = Annotated[
    Literal["results", "dagster"] | None,
    typer.Option(help="Leave the other one out: the results, or Dagster's records of runs."),
]


@backup_commands.command(epilog="Example: [bold]astra backup /backups/$(date +%F)[/]")
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for this backup.")],
    only: Only = None,
    as_json: AsJson = False,
) -> None:
    """Copy the results, and Dagster's records of DAGSTER_HOME, into a folder; runs may go on meanwhile."""
    from astra_orchestration.backup import make_backup
    from astra_orchestration.backup.making import BOTH
    from astra_orchestration.backup.places import dagster_home

    if only != "dagster":
        require_configured()
    if only is None and dagster_home() is None:
        complain("[yellow]DAGSTER_HOME isn't set, so Dagster's records of runs aren't in it[/]")
    made = make_backup(folder, BOTH if only is None else [only])
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    give(_described(folder, made) | {"bytes": n_bytes})
    say(f"{escaped(str(folder))}: {_listed(made.parts)}, {n_bytes / 1e6:.1f} MB")


@backup_commands.command(epilog="Example: [bold]astra restore /backups/2026-11-28[/]")
def restore(
    folder: Annotated[Path, typer.Argument(help="What `astra backup` made.", exists=True, file_okay=False)],
    only: Only = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, after all of it was checked. Stop the services first."""
    from astra_orchestration.backup import restore_backup
    from astra_orchestration.backup.making import BOTH
    from astra_orchestration.backup.places import dagster_home
    from astra_orchestration.cli.running import noted

    if only != "dagster":
        require_configured()
    home = dagster_home()
    # As long as it lasts, no UI can start here; one that runs is an error.
    with noted(home, "astra restore") if home is not None else nullcontext():
        made = restore_backup(folder, BOTH if only is None else [only], force=force)
    give(_described(folder, made))
    say(f"restored from {escaped(str(folder))}, made {made.made} UTC by Astra {escaped(made.version)}")


def _described(folder: Path, backup: "Backup") -> dict[str, object]:
    return {"folder": folder, "made": backup.made, "version": backup.version, "parts": backup.parts}


def _listed(parts: "list[Part]") -> str:
    counts = {which: sum(part.of == which for part in parts) for which in ("results", "dagster")}
    return ", ".join(f"{which} ({n} file{'s' * (n > 1)})" for which, n in counts.items() if n)
