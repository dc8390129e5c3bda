"""``astra adopt``: a schema that sdss/astra made becomes one of ours, or is used as it is."""

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give, into_file
from astra_orchestration.cli.exit_codes import end_with
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    complain,
    console,
    escaped,
    print_plainly,
    require_configured,
    rows_bar,
    say,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astra_models.adoption import Adopted, Finding, Survey, Verified

adopt_commands = typer.Typer(cls=AstraGroup)

KEYS_SHOWN = 10
WITH_NAMES = ("left behind", "new", "name", "type", "time", "version")
"""Differences of whole columns, which are shown by their names; the others are of values, and counted."""


@adopt_commands.command(epilog="Example: [bold]astra adopt astra_080 --into astra_090 --timezone America/Denver[/]")
def adopt(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema that sdss/astra made: astra_080.")],
    into: Annotated[
        str | None, typer.Option(metavar="NEW", help="Copy its rows into this schema, which is made if it isn't there.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Try it as it is, and print the configuration for that.")
    ] = False,
    timezone: Annotated[
        str | None, typer.Option(help="The zone of its times, such as America/Denver; the configured one, else UTC.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --into: copy nothing, compare the rows that are there.")
    ] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Don't compare the rows after copying.")] = False,
    chunk: Annotated[int, typer.Option(min=1, help="Rows per transaction.")] = 50_000,
    as_json: AsJson = False,
    report: IntoFile = None,
) -> None:
    """Adopt a production schema: say what will differ, then copy it into a schema of ours, or use it in place.

    Without --into or --in-place, nothing is written: the report says what will differ, and for how many rows.

    With --into, rows are copied inside the server, and compared by checksum. Keys, times and versions are kept.

    Run it again if it was stopped, and later to take what changed there. The production schema is only read.
    """
    if in_place and into is not None:
        raise typer.BadParameter("give one of --into and --in-place")
    if (verify or no_verify) and into is None:
        raise typer.BadParameter("--verify and --no-verify go with --into")
    into_file(report)
    require_configured()
    zone = _zone(timezone, quiet=as_json)
    if verify:
        assert into is not None
        _verify(schema, into, as_json)
    elif into is not None:
        _copy(schema, into, zone, not no_verify, chunk, as_json)
    elif in_place:
        _try_in_place(schema, zone, as_json)
    else:
        _survey(schema, zone, as_json)


def _zone(given: str | None, quiet: bool) -> str:
    """Give the zone of the times, and say where it comes from."""
    import zoneinfo

    from astra_models.base import database

    configured = getattr(database.obj, "timezone", None)
    zone = given or configured or "UTC"
    try:
        zoneinfo.ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{zone!r} is no time zone; give its name, such as America/Denver") from None
    if quiet:
        return zone
    if given:
        say(f"times without a zone are taken as those of {escaped(zone)}")
    elif configured:
        say(f"times without a zone are taken as those of {escaped(zone)}, which is configured")
    else:
        say("times without a zone are taken as UTC; if the machines that wrote them had another: --timezone")
    return zone


# ---- what will differ


def _survey(schema: str, zone: str, as_json: bool) -> None:
    from astra_models.adoption import survey_schema

    found = survey_schema(schema, zone)
    if as_json:
        give(_as_data(found))
        return
    console.print(table(("table", "rows"), [(escaped(name), f"{rows:,}") for name, rows in found.rows.items()]))
    _say_left_behind(found)
    say(f"tables of ours that aren't there, and will be empty: {escaped(', '.join(found.plan.new)) or 'none'}")
    _say_columns(found.findings)
    _show_values(found.findings)
    rejected = sum(finding.rows or 0 for finding in found.findings if finding.rejects)
    if rejected:
        complain(
            f"[yellow]rows that can't be stored here: {rejected:,}[/], and those that refer to them; they go to "
            "rejected_result, with the reason"
        )
    name = escaped(shlex.quote(schema))
    say("nothing was written; go on with one of")
    say(f"  [bold]astra adopt {name} --in-place[/]      use it as it is")
    say(f"  [bold]astra adopt {name} --into NEW[/]      copy it into a schema of ours")


def _as_data(found: "Survey") -> dict[str, object]:
    return {
        "schema": found.plan.schema,
        "timezone": found.plan.timezone,
        "tables": found.rows,
        "left_behind": {
            name: {"rows": rows, "why": found.plan.left_behind[name]} for name, rows in found.left_behind.items()
        },
        "new": found.plan.new,
        "findings": found.findings,
    }


def _say_left_behind(found: "Survey") -> None:
    for name, rows in found.left_behind.items():
        why = found.plan.left_behind[name]
        complain(f"[yellow]left behind:[/] table {escaped(name)} ({rows:,} rows): {escaped(why)}")


def _say_columns(findings: "Iterable[Finding]") -> None:
    """Say which columns are other ones, each kind in a line."""
    by_kind: dict[tuple[str, str], dict[str, list[str]]] = {}
    for finding in findings:
        if finding.what in WITH_NAMES:
            kind = "new" if finding.what == "new" else f"{finding.there} -> {finding.here}"
            if finding.what == "left behind":
                kind = "left behind"
            elif finding.what == "name":
                kind = "other name"
            name = f"{finding.column} ({finding.rows:,} values)" if finding.what == "left behind" else finding.column
            if finding.what == "name":
                name = f"{finding.column} -> {finding.here}"
            by_kind.setdefault((kind, finding.outcome), {}).setdefault(finding.table, []).append(name)
    for (kind, outcome), tables in by_kind.items():
        say(f"[bold]{escaped(kind)}[/]: {escaped(outcome)}")
        for name, columns in tables.items():
            say(f"  {escaped(name)}: {escaped(', '.join(columns))}")


def _show_values(findings: "Iterable[Finding]") -> None:
    rows = [
        (
            escaped(finding.table),
            escaped(finding.column),
            escaped(finding.there),
            escaped(finding.here),
            f"{finding.rows or 0:,}",
            escaped(finding.outcome),
        )
        for finding in findings
        if finding.what not in WITH_NAMES and finding.rows
    ]
    if not rows:
        say("no value will be another one")
        return
    listed = table(("table", "column", "there", "here", "rows", "outcome"), rows)
    for column in listed.columns:
        column.justify, column.overflow = "left", "fold"
    console.print(listed)


# ---- in place


def _try_in_place(schema: str, zone: str, as_json: bool) -> None:
    from astra_models.adoption import require_foreign, try_in_place

    require_foreign(schema)
    found = try_in_place(schema, zone)
    if as_json:
        give(found)
        return
    say(f"a row of each of {len(found.readable)} tables was read: {escaped(', '.join(found.readable))}")
    for name, obstacles in found.read_only.items():
        complain(f"[yellow]can only be read:[/] {escaped(name)}: {escaped('; '.join(obstacles))}")
    say(f"tables that aren't there: {escaped(', '.join(found.missing)) or 'none'}")
    say("put this into ~/.config/sdss/astra/astra.yml; nothing was written")
    print_plainly(found.configuration)


# ---- copying


def _copy(schema: str, into: str, zone: str, check: bool, chunk: int, as_json: bool) -> None:
    from astra_models.adoption import adopt as copy

    with _progress(as_json) as progress:
        report = copy(schema, into, zone, check=check, chunk=chunk, progress=progress)
    if as_json:
        give(report)
    else:
        _show_copied(report)
        _show_verified(report.verified)
    rejected = sum(copied.rejected for copied in report.tables.values())
    if not report.is_good:
        raise typer.Exit(1)
    landed = sum(copied.rows + copied.before for copied in report.tables.values())
    end_with(landed=landed, refused=rejected)


@contextmanager
def _progress(quiet: bool) -> "Iterator[Callable[[str, int, int], None] | None]":
    if quiet:
        yield None
        return
    with rows_bar("rows") as (checking, progress):
        checking(1, 1)
        yield lambda name, done, total: progress(done, total)


def _show_copied(report: "Adopted") -> None:
    columns = ("rows", "before", "new", "changed", "rejected")
    rows = [
        (escaped(name), *(f"{getattr(copied, column):,}" for column in columns))
        for name, copied in report.tables.items()
        if copied.rows or copied.before or copied.rejected
    ]
    console.print(table(("table", "copied", "before", "new there", "changed there", "rejected"), rows))
    for name, why in report.left_behind.items():
        complain(f"[yellow]left behind:[/] table {escaped(name)}: {escaped(why)}")
    for name, copied in report.tables.items():
        if copied.changed_in_both:
            keys = _keys(copied.changed_in_both)
            complain(f"[yellow]changed there and here, kept as it is here:[/] {escaped(name)} {keys}")
        if copied.deleted:
            complain(f"[yellow]deleted there, kept here:[/] {escaped(name)}: {copied.deleted:,} rows")
    if any(copied.rejected for copied in report.tables.values()):
        complain("rows that couldn't be stored are in rejected_result, with the reason (`astra rejected`)")
    rows_copied = sum(copied.rows for copied in report.tables.values())
    speed = rows_copied / max(report.seconds, 1e-9)
    say(f"{escaped(report.target)}: {rows_copied:,} rows in {report.seconds:.1f} s ({speed:,.0f} rows/s)")
    say(f"to use it, write [bold]schema: {escaped(json.dumps(report.target))}[/] into the configuration file")


def _verify(schema: str, into: str, as_json: bool) -> None:
    from astra_models.adoption import verify_adopted

    with _progress(as_json) as progress:
        found = verify_adopted(into, progress, schema=schema)
    if as_json:
        give({"verified": found})
    else:
        _show_verified(found)
    if not all(one.is_good for one in found.values()):
        raise typer.Exit(1)


def _show_verified(found: "Mapping[str, Verified]") -> None:
    if not found:
        return
    for name, one in found.items():
        if one.different:
            complain(f"[red]not as it was adopted:[/] {escaped(name)} {_keys(one.different)}")
        if one.missing:
            complain(f"[red]missing:[/] {escaped(name)} {_keys(one.missing)}")
        if one.changed_here:
            say(f"changed here since: {escaped(name)} {_keys(one.changed_here)}")
        if one.renewed:
            say(f"written anew here since: {escaped(name)}: {one.renewed:,} rows")
        if one.not_comparable:
            say(f"adopted by another release, not compared: {escaped(name)}: {one.not_comparable:,} rows")
    good = sum(one.rows for one in found.values())
    bad = sum(len(one.different) + len(one.missing) for one in found.values())
    say(f"compared by checksum: {good:,} rows are as they were there" + (f", [red]{bad:,} are not[/]" if bad else ""))


def _keys(keys: list[int]) -> str:
    more = f" and {len(keys) - KEYS_SHOWN:,} more" if len(keys) > KEYS_SHOWN else ""
    return ", ".join(map(str, keys[:KEYS_SHOWN])) + more
