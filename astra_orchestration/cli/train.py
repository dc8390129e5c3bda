"""``astra train``: classifiers and models of one's own."""

from typing import Annotated, Literal

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.terminal import AsJson, AstraGroup, connect_to_configured, escaped, say

train_commands = typer.Typer(cls=AstraGroup, no_args_is_help=True, help="Train classifiers and models.")


@train_commands.callback()
def train() -> None:
    """Train classifiers and models."""


@train_commands.command("snow_white", epilog="Example: [bold]astra train snow_white --to classifier.npz[/]")
def snow_white(
    to: Annotated[str, typer.Option("--to", "--output", "-o", help="The file that is written.")] = "classifier.npz",
    grid: Annotated[str | None, typer.Option(help="Grid of DA models, by name or path; by default da.")] = None,
    low_gravity: Annotated[
        str | None,
        typer.Option(help="Grid of models of log g 5 to 5.6; by default da_low_gravity, if it is registered."),
    ] = None,
    labelled: Annotated[
        str | None, typer.Option(help="Table of spectra of known class, with the columns path and classification.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, grids and versions give the same file.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train Snow White's classifier (minutes on one core); needs scikit-learn, the extra `train`."""
    from astra_orchestration.pipelines.snow_white.training import train_to_file

    found, checksum = train_to_file(to, grid, low_gravity, labelled, seed=seed)
    right = found.provenance["cross-validation"]["right"]
    give({"file": to, "sha256": checksum, "trees": len(found.roots), "classes": list(found.classes), "right": right})
    say(f"{escaped(to)}: {len(found.roots)} trees, {len(found.classes)} classes, {right:.1%} right in cross-validation")
    say(f"SHA-256 {checksum}", soft_wrap=True)
    say(f"`astra run snow_white --classifier {escaped(to)}` uses it")


@train_commands.command(
    "the_cannon",
    epilog="Example: [bold]astra train the_cannon --labels aspcap --where 'snr > 50 and logg < 3.5'[/]",
)
def the_cannon(
    labels: Annotated[str, typer.Option(help="Table of results, or its model, that has the labels.")] = "aspcap",
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label to learn, such as mg_fe; may be repeated. By default those of the atmosphere."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Which stars: comparisons of columns, 'is null', flags and 'not', joined by 'and'."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", "--output", "-o", help="The file that is written; by default the one that runs look for."),
    ] = None,
    degree: Annotated[Literal["linear", "quadratic"], typer.Option(help="Terms of the labels.")] = "quadratic",
    windows: Annotated[
        str | None,
        typer.Option(help="CSV file with the columns label, first, last: where labels may be used (vacuum Angstrom)."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the cross-validation's parts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train The Cannon on labels in the database; results of an older model are then due."""
    from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
    from astra_models.mwm import ApogeeCombinedSpectrum
    from astra_models.outputs import output_model_named
    from astra_orchestration.pipelines.the_cannon.training_run import train_to_file

    connect_to_configured(output_model_named(labels), ApogeeCoaddedSpectrumInApStar, ApogeeCombinedSpectrum)
    found = train_to_file(
        to,
        labels,
        labels=label,
        where=where,
        degree=degree,
        windows=windows,
        folds=folds,
        seed=seed,
        say=lambda text: say(escaped(text)),
    )
    validation = found.validation
    give(
        {
            "file": found.path,
            "sha256": found.checksum,
            "stars": len(validation.truth),
            "labels": [
                {"name": name, "spread": spread, "factor": factor, "floor": floor}
                for name, spread, factor, floor in zip(
                    found.model.labels, validation.spread, validation.factors, validation.floors, strict=True
                )
            ],
        }
    )
    say("cross-validation: robust standard deviation, and what errors are")
    for name, spread, factor, floor in zip(
        found.model.labels, validation.spread, validation.factors, validation.floors, strict=True
    ):
        more = f", with a floor of {floor:.3g}" if floor else ""
        say(f"  {name:<12} {spread:>9.3g}   formal errors times {factor:.2f}{more}")
    say(f"{escaped(str(found.path))}: {len(found.validation.truth)} stars, {found.seconds:.0f} s", soft_wrap=True)
    say(f"SHA-256 {found.checksum}", soft_wrap=True)
    say("`astra run the_cannon` uses it" if to is None else f"`astra run the_cannon --model {escaped(to)}` uses it")
