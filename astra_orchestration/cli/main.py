"""``astra``: the project from a terminal."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from astra_orchestration.cli.answers import give
from astra_orchestration.cli.completing import pipeline_names
from astra_orchestration.cli.contents import ABOUT, VERSION_OPTION
from astra_orchestration.cli.engines import engine_given
from astra_orchestration.cli.exit_codes import end_with
from astra_orchestration.cli.interrupts import watch_for_signals
from astra_orchestration.cli.lazily import GroupOfAll
from astra_orchestration.cli.parameters import parameters_given
from astra_orchestration.cli.rejected import Reason
from astra_orchestration.cli.terminal import (
    AsJson,
    complain,
    connect_to_configured,
    console,
    escaped,
    flush_output,
    make_tables,
    progress_bar,
    run_bar,
    say,
    table,
)

if TYPE_CHECKING:
    from astra_models.upsert import UpsertReport
    from astra_orchestration.cli.materialize import Outcome

app = typer.Typer(
    cls=GroupOfAll,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help=ABOUT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help=VERSION_OPTION)
    ] = False,
) -> None:
    """Analyse stellar spectra, and keep the results."""


def main() -> None:
    """Run the command line."""
    watch_for_signals()
    try:
        app()
    finally:
        flush_output()


@app.command(epilog="Example: [bold]astra sample --stars 200 --seed 1[/]")
def sample(
    stars: Annotated[int, typer.Option(min=1, help="Number of stars.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same survey.")] = 1,
    folder: Annotated[str, typer.Option(help="Where the files go.")] = "var/sample",
    apogee_stars: Annotated[
        int | None,
        typer.Option(
            min=0, help="APOGEE stars besides; if not given, three for ten stars, at most 60, none for under 20."
        ),
    ] = None,
    aspcap: Annotated[bool, typer.Option("--aspcap", help="Also small grids of models and masks for FERRE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a small survey of one's own: FITS files of the real formats, with known truth."""
    from astra_orchestration.sample import make_sample, usual_apogee_stars

    n_apogee = usual_apogee_stars(stars) if apogee_stars is None else apogee_stars
    with progress_bar("stars", stars + n_apogee) as advance:
        summary = make_sample(folder, stars=stars, seed=seed, progress=advance, apogee_stars=n_apogee, aspcap=aspcap)
    give(summary)
    say(
        f"{escaped(summary.folder)}: {summary.visits} visits and {summary.co_adds} co-adds of {summary.stars} stars, "
        f"and {len(summary.broken)} files that are broken on purpose "
        f"({'they were there already' if summary.was_there else f'made in {summary.seconds:.1f} s'})",
    )
    say(f"the truth is in {escaped(summary.truth)}")
    if summary.apogee_stars:
        say(
            f"{summary.apogee_stars} APOGEE stars, as apStar and mwmStar, have theirs in "
            f"{escaped(str(summary.apogee_truth))}; labels of {summary.labeled} are in {escaped(str(summary.labels))}"
        )
    if aspcap:
        configuration = os.path.join(summary.folder, "aspcap", "aspcap.yml")
        say(f"{len(summary.grids)} grids for FERRE are in {escaped(summary.folder)}; ASPCAP finds them after")
        say(f"export ASTRA_ASPCAP={escaped(shlex.quote(configuration))}", soft_wrap=True)


@app.command(epilog="Example: [bold]astra run corv --sdss-id 54392544 --rerun all[/]")
def run(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline, such as corv.", autocompletion=pipeline_names)],
    limit: Annotated[int | None, typer.Option(min=0, help="At most this many spectra.")] = None,
    sdss_id: Annotated[list[int] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    rerun: Annotated[
        Literal["due", "failed", "all"], typer.Option(help="What is due, only what failed, or everything again.")
    ] = "due",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Results per transaction.")] = None,
    min_answered: Annotated[
        float,
        typer.Option(min=0, max=1, help="Fail if a smaller share of what is due (20 or more) has a result in the end."),
    ] = 0.5,
    reason: Annotated[
        Reason | None, typer.Option(help="With --rerun failed: only what is listed for this reason, such as timeout.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Where it is called: in_process, local, slurm, or the address of a scheduler.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes call it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many are due, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Analyse what is due, here in the terminal. The pipeline's asset does the same under Dagster."""
    from astra_models.analysis.forecast import forecast
    from astra_models.analysis.recipe import warnings_of
    from astra_models.analysis.stream import analyse, count_work, write
    from astra_models.outputs import load_pipeline
    from astra_models.rejected import RejectedResult

    wanted = load_pipeline(pipeline)
    connect_to_configured(*wanted.output_models, *wanted.spectrum_models, RejectedResult)
    parameters = parameters_given(context)
    chosen = engine_given(engine, workers)
    if dry_run:
        counted = count_work(wanted, limit=limit, sdss_ids=sdss_id, rerun=rerun, reason=reason, parameters=parameters)
        give({"pipeline": pipeline, "due": counted.due, "due_for": counted.reasons, "waiting": counted.waiting})
        say(f"{pipeline}: {counted}")
        if counted.due and (time_needed := forecast(wanted, counted.due, workers or 1)):
            say(time_needed)
        return
    stream = analyse(
        wanted,
        limit=limit,
        sdss_ids=sdss_id,
        rerun=rerun,
        batch_size=batch_size,
        parameters=parameters,
        min_answered=min_answered,
        reason=reason,
        engine=chosen,
    )
    if not stream.due:
        waiting = count_work(wanted, sdss_ids=sdss_id, parameters=parameters).waiting
        give({"pipeline": pipeline, "due": 0, "due_for": {}, "waiting": waiting})
        say(_nothing_due(pipeline, waiting))
        return
    _warn(warnings_of(wanted, parameters))
    started = time.monotonic()
    with run_bar(stream.due) as advance:
        report = write(stream, on_progress=advance, interval=0.1, growth=1)
    names = ["inserted", "updated", "unchanged", *(["kept"] if report.kept else []), "rejected"]
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in names)
    for why, count in report.reasons.most_common(5):
        complain(f"[yellow]rejected[/] {count}: {escaped(why)}")
    answered, expected = stream.answered(report), stream.expected or 0
    missing = f"; {answered} of {expected} answered" if answered < expected else ""
    elsewhere = stream.due - expected
    give(_counts(pipeline, report) | {"due": stream.due, "answered": answered, "taken_by_others": elsewhere})
    say(f"{pipeline}: {stream.due} due, {counts}{missing}{_taken(elsewhere)}")
    if stream.usage is not None and stream.usage.peak_memory:
        say(stream.usage.summary(time.monotonic() - started))
    stream.require_answered(report)
    end_with(landed=report.rows - report.rejected, refused=report.rejected)


def _taken(elsewhere: int) -> str:
    return f"; {elsewhere} were taken by other runs (`astra leases`)" if elsewhere else ""


def _counts(pipeline: str, report: "UpsertReport") -> dict[str, object]:
    names = ("inserted", "updated", "unchanged", "kept", "rejected", "reasons")
    counts: dict[str, object] = {name: getattr(report, name) for name in names}
    return {"pipeline": pipeline} | counts


def _nothing_due(pipeline: str, waiting: int) -> str:
    why = f"; {waiting:,} wait for another pipeline's result (`astra explain`)" if waiting else ""
    return f"{pipeline}: nothing is due{why}"


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        complain(f"[yellow]warning:[/] {escaped(warning)}")


@app.command(epilog="Example: [bold]astra version[/]")
def version(as_json: AsJson = False) -> None:
    """Print the installed version, and the integer that results carry."""
    from astra_models.version import installed_v_astra, installed_version

    give({"version": str(installed_version()), "v_astra": installed_v_astra()})
    say(f"astra {installed_version()} (v_astra {installed_v_astra()})")


@app.command(epilog='Example: [bold]astra materialize --spectra "data/*.fits"[/]')
def materialize(
    spectra: Annotated[
        list[str] | None, typer.Option(envvar="ASTRA_SPECTRA", help="Files or patterns, instead of the sample survey.")
    ] = None,
    stars: Annotated[int | None, typer.Option(min=1, help="Size of the sample survey.")] = None,
    apogee_stars: Annotated[int | None, typer.Option(min=0, help="APOGEE stars of the sample survey.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if something was refused or rejected.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the tables, and materialize every asset once, in this process; the Dagster UI shows the run."""
    make_tables()
    from astra_orchestration.cli.materialize import count_outcomes, materialize_everything

    outcomes = materialize_everything(paths=spectra or (), stars=stars, apogee_stars=apogee_stars, say=_say)
    landed, refused = count_outcomes(outcomes)
    give({"assets": outcomes, "refused": refused})
    _show(outcomes)
    if failed := [outcome.asset for outcome in outcomes if outcome.failed]:
        complain(
            f"[bold red]failed:[/] {', '.join(failed)}; `make dev` shows the run in the Dagster UI", soft_wrap=True
        )
        raise typer.Exit(1)
    due = [outcome.counts["due"] for outcome in outcomes if "due" in outcome.counts]
    if due and not any(due):
        say("nothing is due")
    if refused:
        complain(f"[yellow]rejected:[/] {', '.join(refused)}; `astra rejected` and the lines above say why")
    if strict or not landed:
        end_with(landed, len(refused))


def _show(outcomes: "Sequence[Outcome]") -> None:
    any_kept = any(outcome.counts.get("kept") for outcome in outcomes)
    columns = ("due", "inserted", "updated", "unchanged", *(("kept",) if any_kept else ()), "rejected")
    rows = [
        (outcome.asset, *(outcome.counts.get(name, "") for name in columns), _seconds(outcome)) for outcome in outcomes
    ]
    console.print(table(("asset", *columns, "seconds"), rows))


def _say(asset: str, text: str) -> None:
    say(f"[bold]{asset:<14}[/] {escaped(text)}")


def _seconds(outcome: "Outcome") -> str:
    if outcome.failed:
        return "[red]failed[/]"
    if outcome.not_set_up:
        return "not set up"
    return "" if outcome.seconds is None else f"{outcome.seconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
