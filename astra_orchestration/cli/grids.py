"""``astra grids``: the grids of model spectra that pipelines of white dwarfs use."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, complain, console, escaped, say, table

if TYPE_CHECKING:
    from astra_orchestration.pipelines.white_dwarfs.registry import Grid

grids_commands = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Grids of model spectra: fetch, list, add.")


@grids_commands.command("list", epilog="Example: [bold]astra grids list[/]")
def list_grids(as_json: AsJson = False) -> None:
    """List the registered grids; exits with 1 if the file of one is gone, or isn't as it was."""
    from astra_orchestration.pipelines.white_dwarfs.registry import DEFAULT, grids, grids_folder

    found = [(grid, grid.problem()) for grid in grids()]
    give({"grids": [_described(grid) | {"problem": problem} for grid, problem in found]})
    if not found:
        say(f"no grid is registered in {grids_folder()}; `astra grids fetch da` brings one of DA white dwarfs")
        return
    rows = [
        (f"{grid.name} (default)" if grid.name == DEFAULT else grid.name, grid.sha256[:12], grid.path, grid.source)
        for grid, _ in found
    ]
    console.print(table(["grid", "SHA-256", "path", "source"], rows))
    problems = [f"{grid.name}: {problem}" for grid, problem in found if problem]
    for problem in problems:
        complain(f"[red]can't be used:[/] {escaped(problem)}", soft_wrap=True)
    raise typer.Exit(1 if problems else 0)


@grids_commands.command(epilog="Example: [bold]astra grids fetch da --from corv-0.2-py3-none-any.whl[/]")
def fetch(
    what: Annotated[Literal["da"], typer.Argument(help="Which grid: da, models of DA white dwarfs.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="WHEEL", help="A wheel that is here, instead of pip's index.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a grid by pip, as its index is configured, and register it; nothing of the package is installed or run."""
    from astra_orchestration.pipelines.white_dwarfs.warwick import fetch as fetch_da

    fetched = list(fetch_da(from_))
    give({"grids": [_described(grid) | {"problem": None} for grid in fetched]})
    for grid in fetched:
        _tell(grid)


@grids_commands.command(epilog="Example: [bold]astra grids add koester models/koester[/]")
def add(
    name: Annotated[str, typer.Argument(help="What it is to be called.")],
    path: Annotated[str, typer.Argument(help="An npz file, or a folder of Koester models; it stays where it is.")],
    source: Annotated[str, typer.Option(help="Where it is from.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="The name may get another grid than it has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register a grid of one's own by a name: `astra run corv --grid NAME` uses it."""
    from astra_orchestration.pipelines.white_dwarfs.registry import add_grid

    grid = add_grid(name, path, source, replace=replace)
    give({"grids": [_described(grid) | {"problem": None}]})
    _tell(grid)


def _described(grid: "Grid") -> dict[str, object]:
    return {name: getattr(grid, name) for name in ("name", "sha256", "path", "source")}


def _tell(grid: "Grid") -> None:
    from astra_orchestration.pipelines.white_dwarfs.registry import DEFAULT

    say(f"[bold]{escaped(grid.name)}[/]: {escaped(grid.path)} (SHA-256 {grid.sha256})", soft_wrap=True)
    if grid.name == DEFAULT:
        say("it is used wherever no other grid is named")
