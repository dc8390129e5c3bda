"""``astra watch``: a look at the machinery from outside, for a timer; it works when daemon and code server don't."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, complain, escaped, say

if TYPE_CHECKING:
    from astra_orchestration.alerts.troubles import Trouble

watch_commands = typer.Typer(cls=AstraGroup)

NAME = "astra-watch.json"
"""In ``DAGSTER_HOME``: what was told, and when. Dagster's own records may be what is down."""


@watch_commands.command(epilog="Example: [bold]astra watch --tell[/]")
def watch(
    tell: Annotated[
        bool, typer.Option("--tell", help="Also tell people, as `astra alerts` shows: of each trouble once a day.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look whether the daemon beats, sensors tick, and no tick fails; exits with 1 if something is wrong."""
    from astra_orchestration.cli.serve import require_dagster_home

    home, now = require_dagster_home(), time.time()
    found, untold = _look(home, now)
    for trouble in found:
        complain(f"[red]{escaped(trouble.subject)}:[/] {escaped(trouble.what)}; {escaped(trouble.why)}")
        complain(f"  {escaped(trouble.what_to_do)}")
    if not found:
        say("the daemon beats, sensors tick, and no tick fails")
    is_told = _tell(home, untold, now) if tell else True
    names = ("kind", "subject", "what", "why", "what_to_do")
    troubles = [{name: getattr(trouble, name) for name in names} for trouble in found]
    give({"troubles": troubles, "are_told": is_told if tell else None})
    raise typer.Exit(1 if found or not is_told else 0)


def _look(home: Path, now: float) -> "tuple[list[Trouble], list[Trouble]]":
    """Give what is wrong, and what of it the sensor doesn't tell of itself."""
    import dagster as dg

    from astra_orchestration.alerts.troubles import all_troubles, told_by_sensor, unreadable

    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            found = all_troubles(instance, now)
            if not told_by_sensor(instance, now):
                return found, found
            return found, [trouble for trouble in found if trouble.kind == "location_silent"]
    except Exception as error:  # its settings or its database: whatever it is, it is what has to be told
        found = [unreadable(error)]
        return found, found


def _tell(home: Path, found: "list[Trouble]", now: float) -> bool:
    """Tell people; False if that isn't possible."""
    from astra_orchestration.alerts import alert_settings
    from astra_orchestration.alerts.troubles import remembered, tell

    settings = alert_settings()
    if why := settings.why_nobody_is_told():
        complain(escaped(why))
        return False
    path = home / NAME
    kept, problems, sent = tell(found, remembered(path.read_text() if path.exists() else None), settings, now)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(kept))
    os.replace(new, path)
    for problem in (*settings.problems, *problems):
        complain(f"[red]not delivered:[/] {escaped(problem)}")
    if sent:
        say(f"{sent} alert{'s' * (sent > 1)} delivered")
    return not problems
