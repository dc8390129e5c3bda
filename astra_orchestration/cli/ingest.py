"""``astra ingest``: files into the database, whatever they are.

A file of results, a table or a file of spectra: which it is, is detected from its content. A file that is refused
doesn't affect the others.
"""

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from astra_orchestration.cli.answers import give, plain
from astra_orchestration.cli.exit_codes import end_with
from astra_orchestration.cli.refusals import Refusal, tell_refusals
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    complain,
    connect_to_configured,
    console,
    escaped,
    progress_bar,
    rows_bar,
    say,
    table,
)

if TYPE_CHECKING:
    from astra_models.ingest import ResultFileReport

COUNTS = ("inserted", "updated", "unchanged")
SPECTRA_COUNTS = ("files", "ingested", "known", "refused_before")
REASONS_SHOWN = 5
BEFORE = {
    "same": "it was ingested before: without --again, nothing would be written",
    "mapping": "it was ingested before by another mapping: this one would replace what that one said otherwise",
    "other": "a file of this name with other contents was ingested before: this one would update it",
}


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name every file that is refused.")]


class IngestGroup(AstraGroup):
    """A group whose usual command needs no name: ``astra ingest FILE...`` is ``astra ingest files FILE...``."""

    usual = "files"

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Put the usual command's name in front, unless a command is named."""
        is_named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if is_named else [self.usual, *args])


class Sorted(NamedTuple):
    """What files were given: those of results, as far as is known, of spectra, and why some are refused or unknown.

    Also what became of all: ``landed`` and ``rejected``, counted in files and rows; and reports of files of results.
    """

    results: list[str]
    spectra: list[str]
    refused: list[Refusal]
    unknown: list[Refusal]
    counts: Counter[str]
    reports: list[dict[str, object]]


ingest_commands = typer.Typer(cls=IngestGroup, help="Read files into the database.")


@ingest_commands.command("files", epilog="Example: [bold]astra ingest astraAllStarASPCAP-0.6.0.fits.gz[/]")
def ingest_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, or patterns.")],
    mapping: Annotated[
        str | None,
        typer.Option(
            metavar="YAML", help="What the columns are, for another table: a file, or a name (`astra mapping`)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and write nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Go through files that were ingested before.")] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Read the whole rows of a truncated file, and one with a wrong checksum.")
    ] = False,
    writers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Connections to PostgreSQL that write files of results.")
    ] = 1,
    release: Annotated[
        str | None, typer.Option(metavar="DR", help="Data release of files that don't say it, such as dr14.")
    ] = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Ingest files of results (astraAllStar*, mwmAllStar, spAll...), tables with a mapping, and files of spectra.

    What a file is, is detected from its content. One that was ingested before is known by its checksum, and left alone.
    [bold]astra ingest spectra FILE...[/] takes files of spectra alone.
    """
    if not dry_run:
        connect_to_configured()
    given, spectra = _sort(files, mapping), None
    for path in given.results:
        how = {"damaged": "read" if damaged else "refuse", "writers": writers}
        _ingest_results(path, given, mapping=mapping, dry_run=dry_run, again=again, **how)
    if given.spectra:
        if dry_run:
            refused, spectra = _preview_spectra(given.spectra, release)
        else:
            refused, spectra = _ingest_spectra(given.spectra, again=again, release=release, verbose=verbose)
        given.refused.extend(refused)
        given.counts["landed"] += len(given.spectra) - len(refused)
    refusals = [refusal._asdict() for refusal in (*given.refused, *given.unknown)]
    give({"files": given.reports, "spectra": spectra, "refused": refusals, "dry_run": dry_run})
    _complain_of(given, verbose)
    end_with(given.counts["landed"], len(given.refused) + len(given.unknown) + given.counts["rejected"])


@ingest_commands.command("spectra", epilog='Example: [bold]astra ingest spectra "var/sample/**/*.fits"[/]')
def ingest_spectra_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="FITS files, or patterns.")],
    again: Annotated[bool, typer.Option("--again", help="Read files that are known, too.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte of files that are known, to see whether it has changed.")
    ] = False,
    release: Annotated[
        str | None, typer.Option(metavar="DR", help="Data release of files that don't say it, such as dr14.")
    ] = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Make sources and spectra of FITS files; what is there already stays as it is.

    A file that was ingested, or refused, before is known by its size and time, and isn't opened.
    """
    from astra_models.configuration import find_files

    connect_to_configured()
    paths = find_files(files)
    refused, spectra = _ingest_spectra(paths, again=again, verify=verify, release=release, verbose=verbose)
    give({"files": [], "spectra": spectra, "refused": [one._asdict() for one in refused], "dry_run": False})
    tell_refusals(refused, verbose=verbose)
    end_with(landed=len(paths) - len(refused), refused=len(refused))


def _sort(patterns: Sequence[str], mapping: str | None) -> Sorted:
    """Find files, and separate those of spectra, which are quick to detect, from the others."""
    from astra_models.configuration import find_files
    from astra_models.errors import MissingFileError
    from astra_models.ingest.spectra.recognise import is_of_spectra

    found: dict[str, None] = {}
    given = Sorted([], [], [], [], Counter(), [])
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(find_files([pattern])))
        except MissingFileError as error:
            given.refused.append(Refusal(pattern, str(error)))
    for path in found:
        is_spectrum = mapping is None and is_of_spectra(path)
        (given.spectra if is_spectrum else given.results).append(path)
    return given


def _ingest_results(path: str, given: Sorted, **options: Any) -> None:
    from astra_models.errors import UnknownKindError, UnrecognizedFileError
    from astra_models.ingest import ingest_result_file
    from astra_models.ingest.spectra.recognise import what_is_in, why_no_spectrum
    from astra_models.ingest.tables.opening import MappingError, SpectrumFileError

    try:
        with rows_bar(os.path.basename(path)) as (checking, progress):
            report = ingest_result_file(path, checking=checking, progress=progress, **options)
    except (UnknownKindError, SpectrumFileError) as error:
        problem = why_no_spectrum(path)
        if isinstance(problem, UnknownKindError):
            why = f"it has neither results nor spectra that are known; it has {what_is_in(path)}"
            given.unknown.append(Refusal(path, why))
        else:
            given.refused.append(Refusal(path, f"{error}; {problem}"))
    except (UnrecognizedFileError, MappingError) as error:
        given.refused.append(Refusal(path, str(error)))
    else:
        given.counts["landed"] += 1 if report.known else report.rows - report.rejected
        given.counts["rejected"] += report.rejected
        given.reports.append(_described(report))
        _show(report)


def _described(report: "ResultFileReport") -> dict[str, object]:
    none = {} if report.dry_run else dict.fromkeys(COUNTS, 0)
    return plain(report) | {"tables": {name: none | counts for name, counts in report.tables.items()}}


def _complain_of(given: Sorted, verbose: bool) -> None:
    from astra_models.ingest.spectra import recognise
    from astra_models.ingest.tables import opening

    tell_refusals((*given.refused, *given.unknown), verbose=verbose)
    if given.unknown:
        complain(f"results that are known: {escaped(opening.LOOKED_FOR)}, and tables with a mapping (--mapping)")
        complain(f"spectra that are known: {escaped(recognise.looked_for())}")


def _show(report: "ResultFileReport") -> None:
    name = escaped(os.path.basename(report.path))
    say(f"[bold]{name}[/]: {escaped(report.kind)}, {_number(report.rows, 'row')}{_what_was_done(report)}")
    if report.tables and report.dry_run:
        _show_what_would_be({name: counts["rows"] for name, counts in report.tables.items()}, report.columns)
    elif report.tables:
        console.print(table(("table", *COUNTS), _counts(report.tables)))
    if report.superseded:
        say(f"{_number(report.superseded, 'row')} of something that a later row has again; the later one is taken")
    if report.rejected:
        _show_rejected(report)
    if report.unplaced:
        say("columns that have nowhere to go:")
    for where, columns in _by_reason(report.unplaced).items():
        say(f"  {escaped(where)}: {escaped(', '.join(columns))}")
    for note in (*report.notes, *_known_before(report)):
        say(f"note: {escaped(note)}")


def _what_was_done(report: "ResultFileReport") -> str:
    if report.known:
        return "; known already, nothing is written (--again goes through it again)"
    speed = f" in {report.seconds:.1f} s ({report.rows / max(report.seconds, 1e-9):,.0f} rows/s)"
    if report.dry_run:
        return f" read{speed}; nothing is written"
    return speed + ("; replaces a file of this name with other contents" if report.replaces else "")


def _counts(tables: dict[str, Counter[str]]) -> list[tuple[str, ...]]:
    return [(name, *(f"{counts[column]:,}" for column in COUNTS)) for name, counts in tables.items()]


def _show_what_would_be(rows: dict[str, int], columns: dict[str, dict[str, str]]) -> None:
    """Show how many rows would go into each table, and which columns."""
    counts = [(name, f"{n_rows:,}", len(columns.get(name, ()))) for name, n_rows in rows.items()]
    console.print(table(("table", "rows", "columns"), counts))
    for name in rows:
        named = (ours if ours == theirs else f"{theirs} as {ours}" for ours, theirs in columns.get(name, {}).items())
        say(f"  {name}: {escaped(', '.join(named))}")


def _known_before(report: "ResultFileReport") -> list[str]:
    """Say what a dry run can't know without a database, if there is one: whether the file was ingested before."""
    from astra_models.base import database
    from astra_models.database.config import is_in_memory
    from astra_models.errors import DatabaseUnavailableError
    from astra_models.ingested import IngestedFile, ingested_before
    from astra_models.schema.tables import existing_tables

    if not report.dry_run or is_in_memory(database.obj):
        return []
    try:
        connect_to_configured()
    except DatabaseUnavailableError as error:
        return [f"nobody can tell whether it was ingested before: {error}"]
    if IngestedFile._meta.table_name not in existing_tables():
        return ["there are no tables to ingest it into yet: `astra init` makes them"]
    before = ingested_before(os.path.basename(report.path), report.sha256, report.mappings)
    return [BEFORE[before]] if before else []


def _show_rejected(report: "ResultFileReport") -> None:
    where = "would be rejected" if report.dry_run else "rejected, and kept in rejected_result (`astra rejected`)"
    complain(f"[yellow]{_number(report.rejected, 'row')} {where}[/]")
    for reason, count in report.reasons.most_common(REASONS_SHOWN):
        complain(f"  {count:,}: {escaped(reason)}")
    if others := sum(report.reasons.values()) - sum(n for _, n in report.reasons.most_common(REASONS_SHOWN)):
        complain(f"  {others:,}: other reasons")


def _by_reason(unplaced: Sequence[tuple[str, str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part, column, why in unplaced:
        found.setdefault(f"{part}, {why}", []).append(column)
    return found


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _preview_spectra(paths: Sequence[str], release: str | None) -> tuple[list[Refusal], dict[str, object]]:
    """Tell what files of spectra would become; give those that would be refused, and the counts."""
    from astra_models.ingest.spectra.files import preview_spectra

    preview = preview_spectra(paths, release)
    _show_what_would_be(preview.rows, preview.columns)
    ingested = preview.files - len(preview.refused)
    say(f"{_number(ingested, 'file')} of spectra would be ingested; nothing is written")
    refused = [Refusal(path, reason) for path, reason in preview.refused]
    counts: dict[str, object] = {
        "files": preview.files,
        "ingested": ingested,
        "known": 0,
        "refused_before": 0,
        "changed": [],
    }
    return refused, counts | {"tables": {name: {"rows": rows} for name, rows in preview.rows.items()}}


def _ingest_spectra(
    paths: Sequence[str], *, again: bool, verify: bool = False, release: str | None, verbose: bool
) -> tuple[list[Refusal], dict[str, object]]:
    """Ingest files of spectra; give those that were refused, and the counts."""
    from astra_models.ingest import ingest_spectra

    with progress_bar("files", len(paths)) as advance:
        report = ingest_spectra(paths, progress=advance, again=again, verify=verify, release=release)
    rows = [(name, *(getattr(counts, count) for count in COUNTS)) for name, counts in report.tables.items()]
    console.print(table(("table", *COUNTS), rows))
    say(f"{report.ingested} of {_number(report.files, 'file')} of spectra ingested, {len(report.refused)} refused")
    if report.known or report.refused_before:
        before = f"{report.known:,} ingested and {report.refused_before:,} refused"
        say(f"known already: {before}, unchanged since (--again reads them again)")
    changed = [Refusal(path, change) for path, change in report.changed]
    tell_refusals(changed, "changed", verbose=verbose)
    counts: dict[str, object] = {name: getattr(report, name) for name in SPECTRA_COUNTS}
    counts["tables"] = {name: {each: getattr(one, each) for each in COUNTS} for name, one in report.tables.items()}
    counts["changed"] = [one._asdict() for one in changed]
    return [Refusal(path, reason) for path, reason in report.refused], counts
