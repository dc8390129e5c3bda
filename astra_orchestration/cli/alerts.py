"""``astra alerts``: who is told of failed runs, and a message to try it."""

from typing import Annotated

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, complain, escaped, say

alerts_commands = typer.Typer(cls=AstraGroup)


@alerts_commands.command(epilog="Example: [bold]astra alerts --test[/]")
def alerts(
    test: Annotated[bool, typer.Option("--test", help="Send a message by each of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how people are told of failed runs; exits with 1 if nobody is, or if a message can't be delivered."""
    from astra_orchestration.alerts import Alert, DeliveryError, alert_settings

    settings = alert_settings()
    failed = bool(settings.problems)
    for problem in settings.problems:
        complain(f"[yellow]switched off:[/] {escaped(problem)}")
    told: list[dict[str, object]] = []
    give({"told": told, "problems": list(settings.problems)})
    if why := settings.why_nobody_is_told():
        complain(escaped(why))
        raise typer.Exit(1)
    message = Alert("test", "this is a test", "somebody tries whether alerts arrive; nothing failed", url=settings.ui)
    for adapter in settings.adapters:
        if not test:
            told.append({"name": adapter.name, "delivered": None})
            say(f"{adapter.name}: is told of failed runs")
            continue
        try:
            adapter.send(message)
            told.append({"name": adapter.name, "delivered": True})
            say(f"{adapter.name}: delivered")
        except DeliveryError as error:
            failed = True
            told.append({"name": adapter.name, "delivered": False})
            complain(f"[red]not delivered:[/] {escaped(str(error))}")
    raise typer.Exit(1 if failed else 0)
