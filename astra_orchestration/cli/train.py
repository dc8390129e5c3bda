"""``astra train``: classifiers of one's own."""

from typing import Annotated

import typer

from astra_orchestration.cli.terminal import AstraGroup, say

train_commands = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Train classifiers.")


@train_commands.callback()
def train() -> None:
    """Train classifiers."""


@train_commands.command("snow_white", epilog="Example: [bold]astra train snow_white --to classifier.npz[/]")
def snow_white(
    to: Annotated[str, typer.Option(help="The file that is written.")] = "classifier.npz",
    grid: Annotated[str | None, typer.Option(help="Grid of DA models, by name or path; by default da.")] = None,
    low_gravity: Annotated[
        str | None,
        typer.Option(help="Grid of models of log g 5 to 5.6; by default da_low_gravity, if it is registered."),
    ] = None,
    labelled: Annotated[
        str | None, typer.Option(help="Table of spectra of known class, with the columns path and classification.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, grids and versions give the same file.")] = 1,
) -> None:
    """Train Snow White's classifier (minutes on one core); needs scikit-learn, the extra `train`."""
    from astra_orchestration.pipelines.snow_white.training import train_to_file

    found, checksum = train_to_file(to, grid, low_gravity, labelled, seed=seed)
    right = found.provenance["cross-validation"]["right"]
    say(f"{to}: {len(found.roots)} trees, {len(found.classes)} classes, {right:.1%} right in cross-validation")
    say(f"SHA-256 {checksum}", soft_wrap=True)
    say(f"`astra run snow_white --classifier {to}` uses it")
