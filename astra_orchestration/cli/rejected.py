"""``astra rejected`` and ``astra replay``: what has no result and why, and trying refused rows again."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from astra_orchestration.cli.answers import give, into_file
from astra_orchestration.cli.completing import pipeline_names
from astra_orchestration.cli.exit_codes import end_with
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    complain,
    connect_to_configured,
    console,
    escaped,
    named_as_pipeline,
    say,
    table,
)

if TYPE_CHECKING:
    from astra_models.rejected import RejectedResult

rejected_commands = typer.Typer(cls=AstraGroup)

ROWS_SHOWN = 50
COUNTS = ("inserted", "updated", "kept", "rejected", "left")
NOTHING_TRIED: dict[str, object] = {**dict.fromkeys(("rows", *COUNTS, "dropped"), 0), "reasons": {}}

Reason = Literal["exception", "no_result", "crash", "timeout", "memory", "refused", "not_ingested", "contract"]
"""Those of `astra_models.rejected`, which isn't imported before a command needs it (a test compares)."""


@rejected_commands.command(epilog="Example: [bold]astra rejected --pipeline corv --reason exception[/]")
def rejected(
    pipeline: Annotated[
        str | None, typer.Option(help="Only this pipeline, or output model.", autocompletion=pipeline_names)
    ] = None,
    reason: Annotated[
        Reason | None,
        typer.Option(help="Only what is listed for this reason."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only this run: its id, or how the id begins.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows, the latest.")] = ROWS_SHOWN,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where each of them was raised.")] = False,
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """List what failed, gave no result or could not be stored, and why."""
    from astra_models.rejected import RejectedResult, select_rejected

    into_file(into)
    connect_to_configured(RejectedResult)
    models = None if pipeline is None else _models_called(pipeline)
    query = select_rejected(models, reason=reason, run_id=run)
    total = query.count()
    if as_json:
        listed = query.order_by(RejectedResult.pk.desc()).limit(limit)
        give({"total": total, "rejected": [_as_object(row) for row in listed]})
        return
    if not total:
        say("nothing is rejected")
        return
    rows = query.order_by(RejectedResult.pk.desc()).limit(limit)
    if traceback:
        for row in rows:
            _show_traceback(row)
    else:
        _show_table(rows)
    say(f"{min(total, limit)} of {total} shown" if total > limit else f"{total} in all")


@rejected_commands.command(epilog="Example: [bold]astra replay 5f1c2a[/]")
def replay(
    run: Annotated[str | None, typer.Argument(metavar="RUN_ID", help="The run: its id, or how the id begins.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The refused rows of all runs.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Drop the rows instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try to store refused rows again, at the version that they were made with."""
    from astra_models.analysis import replay as replaying
    from astra_models.errors import NothingRejectedError
    from astra_models.rejected import RejectedResult

    if (run is None) != every:
        raise typer.BadParameter("give a RUN_ID, or --all")
    connect_to_configured(RejectedResult)
    if discard:
        dropped = replaying.discard(run)
        give(NOTHING_TRIED | {"dropped": dropped})
        say(f"{dropped} refused rows dropped")
        return
    try:
        report = replaying.replay(run)
    except NothingRejectedError as error:
        if run is not None or error.__cause__ is not None:
            raise
        give(NOTHING_TRIED)
        say("no refused rows are listed, nothing is tried")
        return
    give(NOTHING_TRIED | {name: getattr(report, name) for name in ("rows", *COUNTS)} | {"reasons": report.reasons})
    counts = f"{report.inserted} inserted, {report.updated} updated"
    kept = f", {report.kept} kept (a newer result is stored)" if report.kept else ""
    say(f"{report.rows} tried: {counts}{kept}, {report.rejected} refused again")
    for why, count in report.reasons.most_common(5):
        complain(f"[yellow]refused[/] {count}: {escaped(why)}")
    if report.left:
        complain(
            f"[yellow]can't be replayed[/] {report.left}: a value was kept as a description only, which must not "
            "become data. These rows stay listed: analyse their spectra again, or drop them with --discard"
        )
    end_with(landed=report.rows - report.rejected, refused=report.rejected + report.left)


def _models_called(name: str) -> list[str]:
    """Name the models that are meant: those of a pipeline's results, the one of that name, or one that is listed."""
    from astra_models import outputs
    from astra_models.errors import PackageClashError, PackageImportError, SelectionError, UnknownPipelineError
    from astra_models.rejected import RejectedResult

    with suppress(UnknownPipelineError, PackageImportError, PackageClashError):
        return [model.__name__ for model in outputs.load_pipeline(name).output_models]
    try:
        return [outputs.model_named(name).__name__]
    except SelectionError:  # it may be of a package that isn't installed any more
        listed = RejectedResult.select(RejectedResult.model).where(RejectedResult.model == name)
        if listed.exists():
            return [name]
        raise


def _show_table(rows: "Iterable[RejectedResult]") -> None:
    columns = ("when", "pipeline", "spectrum_pk", "version", "reason", "run", "message")
    listed = table(columns, map(_shown, rows))
    for column in listed.columns[1:]:
        column.justify = "left"
    console.print(listed)


def _show_traceback(row: "RejectedResult") -> None:
    *head, message = _shown(row)
    say(f"[bold]{' '.join(filter(None, head))}[/]")
    say((escaped(row.traceback) if row.traceback else message) + "\n")


def _as_object(row: "RejectedResult") -> dict[str, object]:
    from astra_models.version import version_integer_to_string

    version = None if row.v_astra is None else version_integer_to_string(row.v_astra)
    values = {
        "when": row.created,
        "pipeline": named_as_pipeline(row.model),
        "spectrum_pk": row.spectrum_pk,
        "version": version,
    }
    return values | {"reason": row.reason, "run_id": row.run_id, "message": row.message, "traceback": row.traceback}


def _shown(row: "RejectedResult") -> tuple[str, ...]:
    from astra_models.messages import safe_text
    from astra_models.version import version_integer_to_string

    version = "" if row.v_astra is None else version_integer_to_string(row.v_astra)
    key = "" if row.spectrum_pk is None else str(row.spectrum_pk)
    when = row.created.isoformat(" ", "seconds").removesuffix("+00:00")
    message = safe_text(row.message)  # rows of older releases have it as it was raised
    return (
        when,
        escaped(named_as_pipeline(row.model)),
        key,
        version,
        row.reason,
        escaped((row.run_id or "")[:8]),
        escaped(message),
    )
