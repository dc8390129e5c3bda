"""``astra status``: which database is used, and how far the survey in it is."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give, into_file, plain
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    connect_to_configured,
    console,
    escaped,
    say,
    table,
    used_database,
    where,
)

if TYPE_CHECKING:
    from astra_models.status import FileStatus, Status, VersionStatus

ALWAYS = ("source", "spectrum")
NOT_COUNTED = "-"

status_commands = typer.Typer(cls=AstraGroup)


@status_commands.command(epilog="Example: [bold]astra status --json[/]")
def status(
    as_json: AsJson = False,
    why: Annotated[bool, typer.Option("--why", help="Also why spectra are due, and how many wait.")] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count large tables, too, and keep what is found for the next time.")
    ] = False,
    into: IntoFile = None,
) -> None:
    """Show which database is used, what it holds, and per pipeline and version what is due, done and failed."""
    into_file(into)
    connect_to_configured()
    from astra_models.status.survey import survey_status

    found = survey_status(exact=exact)
    if as_json:
        give(described() | plain(found))
    else:
        _show(found)
        if why:
            _show_reasons(found)


def shown_time(moment: datetime | None) -> str:
    """Give a time in UTC, to the second; empty text for None."""
    return "" if moment is None else moment.isoformat(" ", "seconds").removesuffix("+00:00")


def described() -> dict[str, object]:
    """Say which database is used, by which version."""
    from astra_models.version import installed_v_astra, installed_version

    return used_database() | {"version": str(installed_version()), "v_astra": installed_v_astra()}


def _show(found: "Status") -> None:
    say(where())
    rows = [(name, _told(count)) for name, count in found.tables.items() if count != 0 or name in ALWAYS]
    console.print(table(("table", "rows"), rows))
    columns = ("pipeline", "version", "due", "done", "failed", "rejected", "last written (UTC)", "from")
    listed = table(columns, map(_row, found.pipelines))
    listed.columns[-1].justify, listed.columns[-1].overflow = "left", "fold"
    console.print(listed)
    _show_times(found)
    if found.files:
        say(f"other files: {escaped(_names(found.files))}{_rejected_of(found.files)}")


def _show_times(found: "Status") -> None:
    """Say what was counted when, and what wasn't."""
    counted = [(moment, name) for name, moment in found.counted.items()]
    counted += [(status.counted, status.pipeline) for status in found.pipelines if status.counted is not None]
    for moment, some in groupby(sorted(counted), lambda one: one[0]):
        names = ", ".join(dict.fromkeys(name for _, name in some))
        say(f"counted at {shown_time(moment)} UTC, not now: {escaped(names)}")
    never = any(count is None for count in found.tables.values()) or any(one.uncounted for one in found.pipelines)
    if counted or never:
        say(f"{'-: not counted; ' if never else ''}`astra status --exact` counts")


def _told(count: int | None) -> str:
    return NOT_COUNTED if count is None else str(count)


def _show_reasons(found: "Status") -> None:
    for status in found.pipelines:
        if status.due is None:
            continue
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in status.reasons.items())
        waiting = f"; {status.waiting:,} wait for another pipeline's result" if status.waiting else ""
        say(f"{status.pipeline}: {status.due:,} due{': ' if reasons else ''}{reasons}{waiting}")


def _row(status: "VersionStatus") -> tuple[str, ...]:
    # Of an older version that a file has brought, this installation has computed nothing, as far as it knows.
    is_computed = status.computed and (status.due is not None or not status.files)
    origin = ["computed here"] * is_computed + [escaped(_names(status.files))] * bool(status.files)
    counts = (status.done, status.failed, status.rejected)
    due = str(status.due) if status.due is not None else NOT_COUNTED if "due" in status.uncounted else ""
    return status.pipeline, status.version or "", due, *map(_told, counts), shown_time(status.last), ", ".join(origin)


def _rejected_of(files: "Sequence[FileStatus]") -> str:
    rejected = sum(file.rejected for file in files)
    return f" ({rejected:,} {'row' if rejected == 1 else 'rows'} rejected)" if rejected else ""


def _names(files: "Sequence[FileStatus]") -> str:
    """Name a few files, the newest first."""
    names = list(dict.fromkeys(file.name for file in reversed(files)))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
