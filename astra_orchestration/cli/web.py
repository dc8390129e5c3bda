"""``astra ui`` and ``astra web``: the Dagster UI, with everything it needs or as a web server alone."""

from pathlib import Path
from typing import Annotated

import typer

from astra_orchestration.cli.terminal import AstraGroup, complain, escaped, say

__all__ = ["web_commands"]

web_commands = typer.Typer(cls=AstraGroup, add_completion=False)

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the web server.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for everyone.")]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Nothing can be launched or changed in the UI.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="Name by which browsers may call this server, besides localhost; may be repeated."),
]


@web_commands.command(epilog="Example: [bold]astra ui --port 3001[/]")
def ui(
    port: Port = 3000,
    host: Host = "127.0.0.1",
    allow_host: AllowHost = None,
    read_only: ReadOnly = False,
    wait_for_runs: Annotated[
        float, typer.Option(min=0, help="Seconds that runs may go on when this ends, before they are told to end.")
    ] = 0.0,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that runs for this DAGSTER_HOME.")] = False,
) -> None:
    """Serve the Dagster UI and its daemon until Ctrl-C, which ends every process and run that this started."""
    from astra_orchestration.cli.serve import serve
    from astra_orchestration.web.guard import checked_names

    if stop:
        _stop()
        return
    names = checked_names(allow_host or ())
    say("starting the Dagster UI ...")
    _say_who_can_come(host, names)
    code = serve(
        host,
        port,
        lambda address: say(f"Dagster UI: [bold]{address}[/]  (Ctrl-C ends it)"),
        read_only=read_only,
        allowed_hosts=names,
        wait_for_runs=wait_for_runs,
        say=say,
    )
    say("the Dagster UI has ended")
    raise typer.Exit(code)


@web_commands.command(epilog="Example: [bold]astra web --workspace workspace.yaml --allow-host astra.example.org[/]")
def web(
    port: Port = 3000,
    host: Host = "127.0.0.1",
    allow_host: AllowHost = None,
    read_only: ReadOnly = False,
    workspace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Workspace file that says where the code servers are."),
    ] = None,
    path_prefix: Annotated[str, typer.Option(help="Path under which everything is, such as /astra.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
) -> None:
    """Serve the Dagster UI without a daemon, which has to run elsewhere; a part of a deployment."""
    from astra_orchestration.cli.serve import browsable, require_dagster_home, require_free_port
    from astra_orchestration.web.guard import checked_names
    from astra_orchestration.web.server import serve_web

    names = checked_names(allow_host or ())
    require_dagster_home()
    require_free_port(host, port)
    address = f"{browsable(host, port, names)}{path_prefix}"
    if not quiet:
        _say_who_can_come(host, names)
    serve_web(
        host,
        port,
        lambda: None if quiet else say(f"Dagster UI: [bold]{address}[/]  (Ctrl-C ends it)"),
        workspace=workspace,
        path_prefix=path_prefix,
        read_only=read_only,
        allowed_hosts=names,
    )


def _stop() -> None:
    from astra_orchestration.cli.running import stop
    from astra_orchestration.cli.serve import require_dagster_home

    ended = stop(require_dagster_home())
    say("no Dagster UI runs here" if ended is None else f"the Dagster UI has ended ({ended})")


def _say_who_can_come(host: str, names: list[str]) -> None:
    if host not in ("127.0.0.1", "localhost", "::1") and not names:
        complain(
            f"listening on {escaped(host)}, but browsers are let in by the names of this machine only (localhost); "
            "name what others call it: --allow-host astra.example.org"
        )
