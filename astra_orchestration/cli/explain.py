"""``astra explain``: everything that is known of one star."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.tree import Tree

from astra_orchestration.cli.answers import give, into_file, plain
from astra_orchestration.cli.status import shown_time
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    connect_to_configured,
    console,
    escaped,
    named_as_pipeline,
    say,
    table,
)

if TYPE_CHECKING:
    from astra_models.status.star import Analysis, Listed, Result, SpectrumOfStar, Star

explain_commands = typer.Typer(cls=AstraGroup)

EMPTY = {
    "spectra": "no spectra",
    "results": "no results",
    "due, done, failed": "none of its spectra is of a kind that is analysed here",
    "rejected": "nothing failed or was refused",
}
COLOURS = {"due": "yellow", "failed": "red", "done": "green", "waiting": "yellow", "left out": "blue"}


@explain_commands.command(epilog="Example: [bold]astra explain 54392544[/]")
def explain(
    sdss_id: Annotated[int | None, typer.Argument(metavar="[SDSS_ID]", help="The star's SDSS-V identifier.")] = None,
    apogee_id: Annotated[str | None, typer.Option(help="Its SDSS-IV identifier: 2M00000002+7417074.")] = None,
    gaia: Annotated[int | None, typer.Option(help="Its Gaia source identifier, of DR3 or DR2.")] = None,
    spectrum_pk: Annotated[int | None, typer.Option(help="Key of one of its spectra.")] = None,
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """Show everything about a star: its spectra, the results of all versions, what is due, what failed, and why."""
    if [sdss_id, apogee_id, gaia, spectrum_pk].count(None) != 3:
        raise typer.BadParameter("give one identifier: SDSS_ID, --apogee-id, --gaia or --spectrum-pk")
    into_file(into)
    connect_to_configured()
    from astra_models.status.explain import explain_star, find_star

    source = find_star(sdss_id, apogee_id=apogee_id, gaia_id=gaia, spectrum_pk=spectrum_pk)
    star = explain_star(source)
    if as_json:
        data = plain(star)
        for listed in data["rejected"]:
            listed["pipeline"] = named_as_pipeline(listed["model"])
        give(data)
    else:
        _show(star)


def _show(star: "Star") -> None:
    say(", ".join(f"{name} [bold]{escaped(str(value))}[/]" for name, value in star.identifiers.items()))
    if star.position:
        say(", ".join(f"{name} {value:.6f}" for name, value in star.position.items()) + " deg")
    _section(
        "spectra",
        ("spectrum_pk", "kind", "telescope", "MJD", "S/N", "changed (UTC)", "file"),
        map(_spectrum, star.spectra),
    )
    if unknown := [spectrum.problem for spectrum in star.spectra if spectrum.problem]:
        others = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        say(f"no file is known: {escaped(unknown[0])}{others}")
    console.print(_results(star.results)) if star.results else say(EMPTY["results"])
    _section("due, done, failed", ("pipeline", "spectrum_pk", "", "why"), map(_analysis, star.analyses))
    columns = ("of", "spectrum_pk", "version", "reason", "message", "when (UTC)", "run")
    _section("rejected", columns, map(_rejected, star.rejected))


def _section(title: str, columns: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    listed = table(columns, rows)
    if not listed.row_count:
        say(EMPTY[title])
        return
    listed.title, listed.title_justify = title, "left"
    for column in listed.columns:
        column.justify, column.overflow = "left", "fold"
    console.print(listed)


def _spectrum(spectrum: "SpectrumOfStar") -> tuple[object, ...]:
    snr = "" if spectrum.snr is None else f"{spectrum.snr:.1f}"
    file = "[dim]not known[/]" if spectrum.file is None else escaped(spectrum.file)
    if spectrum.file is not None and not spectrum.is_there:
        file = f"[red]not there[/]: {file}"
    return (
        _key(spectrum.spectrum_pk),
        spectrum.kind,
        spectrum.telescope or "",
        spectrum.key.get("mjd", ""),
        snr,
        shown_time(spectrum.modified),
        file,
    )


def _results(results: "list[Result]") -> Tree:
    """Draw the results of each pipeline; a table would be too narrow for the flags."""
    from astra_models.notebook.main_columns import told

    tree = Tree("[italic]results[/]", guide_style="dim")
    for pipeline, some in groupby(results, lambda result: result.pipeline):
        branch = tree.add(f"[bold]{escaped(pipeline)}[/]")
        for result in some:
            of = "" if result.spectrum_pk is None else f" of spectrum {result.spectrum_pk}"
            old = "" if result.is_newest else " [dim](there is a newer one)[/]"
            leaf = branch.add(f"[bold]{result.version}[/]{of}, {shown_time(result.modified)} UTC{old}")
            leaf.add(escaped(", ".join(told(result.values, result.units))) or "nothing measured")
            if result.flags:
                flags = ", ".join(flag.removeprefix("flag_") for flag in result.flags)
                leaf.add(f"[yellow]flags:[/] {escaped(flags)}")
            if result.adopted:
                leaf.add(f"adopted from {escaped(result.adopted)}")
            elif result.files:
                leaf.add(f"from {escaped(' or '.join(result.files))}")
    return tree


def _analysis(analysis: "Analysis") -> tuple[str, ...]:
    state = f"[{COLOURS[analysis.state]}]{analysis.state}[/]"
    return analysis.pipeline, _key(analysis.spectrum_pk), state, escaped(analysis.why)


def _rejected(listed: "Listed") -> tuple[str, ...]:
    message, run = escaped(listed.message), (listed.run_id or "")[:8]
    key = _key(listed.spectrum_pk)
    return (
        escaped(named_as_pipeline(listed.model)),
        key,
        listed.version or "",
        listed.reason,
        message,
        shown_time(listed.when),
        run,
    )


def _key(spectrum_pk: int | None) -> str:
    return "" if spectrum_pk is None else str(spectrum_pk)
