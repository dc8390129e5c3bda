"""``astra ingest``: files into the database, whatever they are.

A file of results or the file of one star's spectra: which it is, is told by its content. A file that is refused takes
no other along.
"""

import os
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from astra_orchestration.terminal import (
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

COUNTS = ("inserted", "updated", "unchanged")
REASONS_SHOWN = 5
LARGEST_GZIPPED_SPECTRUM = 20_000_000
"""Bytes. A gzipped file that is larger isn't looked at as a spectrum: that is done in memory."""


class IngestGroup(AstraGroup):
    """A group whose usual command needs no name: ``astra ingest FILE...`` is ``astra ingest files FILE...``."""

    usual = "files"

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Put the usual command's name in front, unless a command is named."""
        args = args or ["--help"]
        return super().parse_args(ctx, args if args[0] in self.commands else [self.usual, *args])


class Sorted(NamedTuple):
    """What files were given: those of results, as far as is known, of spectra, and none."""

    results: list[str]
    spectra: list[str]
    refused: list[str]


ingest_commands = typer.Typer(cls=IngestGroup, help="Read files into the database.")


@ingest_commands.command("files", epilog="Example: [bold]astra ingest astraAllStarASPCAP-0.6.0.fits.gz[/]")
def ingest_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, or patterns.")],
    mapping: Annotated[
        str | None, typer.Option(metavar="YAML", help="What the columns are, for a table that isn't the survey's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and write nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Go through files that were ingested before.")] = False,
) -> None:
    """Ingest files of results (astraAllStar*, mwmAllStar, spAll...), tables with a mapping, and files of spectra.

    What a file is, is told by its content. One that was ingested before is known by its checksum, and left alone.
    [bold]astra ingest spectra FILE...[/] takes files of spectra alone.
    """
    if not dry_run:
        connect_to_configured()
    given = _sort(files, mapping)
    for path in given.results:
        _ingest_results(path, given.refused, mapping=mapping, dry_run=dry_run, again=again)
    if given.spectra:
        given.refused.extend(_ingest_spectra(given.spectra, dry_run))
    for reason in given.refused:
        complain(f"[yellow]refused[/] {escaped(reason)}")
    if given.refused:
        raise typer.Exit(1)


@ingest_commands.command("spectra", epilog='Example: [bold]astra ingest spectra "var/sample/**/*.fits"[/]')
def ingest_spectra_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="FITS files, or patterns.")],
) -> None:
    """Make sources and spectra of FITS files; what is there already stays as it is."""
    from astra_orchestration.assets.spectra import find_files

    connect_to_configured()
    paths = find_files(files)
    refused = _ingest_spectra(paths, dry_run=False)
    for reason in refused:
        complain(f"[yellow]refused[/] {escaped(reason)}")
    if len(refused) == len(paths):
        raise typer.Exit(1)


def _sort(patterns: Sequence[str], mapping: str | None) -> Sorted:
    """Find files, and tell those of spectra, which are quick to recognise, from the others."""
    from astra_models.errors import MissingFileError
    from astra_orchestration.assets.spectra import find_files

    found: dict[str, None] = {}
    given = Sorted([], [], [])
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(find_files([pattern])))
        except MissingFileError as error:
            given.refused.append(str(error))
    for path in found:
        is_spectrum = mapping is None and _why_no_spectrum(path) is None
        (given.spectra if is_spectrum else given.results).append(path)
    return given


def _why_no_spectrum(path: str) -> str | None:
    from astra_models.errors import UnrecognizedFileError
    from astra_models.ingest.byte_stream import GZIP_MAGIC
    from astra_models.ingest.recognise import read_spectrum_file

    try:
        with open(path, "rb") as file:
            if file.read(2) == GZIP_MAGIC and os.path.getsize(path) > LARGEST_GZIPPED_SPECTRUM:
                return "it is too large"
        read_spectrum_file(path)
    except (OSError, UnrecognizedFileError) as error:
        return str(error)
    return None


def _ingest_results(path: str, refused: list[str], **options: Any) -> None:
    from astra_models.errors import UnrecognizedFileError
    from astra_models.ingest.result_files import LOOKED_FOR, MappingError
    from astra_models.ingest.results import ingest_result_file

    try:
        with rows_bar(os.path.basename(path)) as progress:
            report = ingest_result_file(path, progress=progress, **options)
    except (UnrecognizedFileError, MappingError) as error:
        is_unknown = LOOKED_FOR in str(error)
        refused.append(f"{error}; {_why_no_spectrum(path)}" if is_unknown else str(error))
    else:
        _show(report)


def _show(report: Any) -> None:
    name = escaped(os.path.basename(report.path))
    say(f"[bold]{name}[/]: {escaped(report.kind)}, {_number(report.rows, 'row')}{_what_was_done(report)}")
    if report.tables:
        console.print(table(*_counts(report)))
    if report.superseded:
        say(f"rows that a later one of the same spectrum and version took the place of: {report.superseded:,}")
    if report.rejected:
        _show_rejected(report)
    if report.unplaced:
        say("columns that have nowhere to go:")
    for where, columns in _by_reason(report.unplaced).items():
        say(f"  {escaped(where)}: {escaped(', '.join(columns))}")
    for note in report.notes:
        say(f"note: {escaped(note)}")


def _what_was_done(report: Any) -> str:
    if report.known:
        return "; known already, nothing is written (--again goes through it again)"
    speed = f" in {report.seconds:.1f} s ({report.rows / max(report.seconds, 1e-9):,.0f} rows/s)"
    if report.dry_run:
        return f" read{speed}; nothing is written"
    return speed + ("; replaces a file of this name with other contents" if report.replaces else "")


def _counts(report: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    names = ("rows",) if report.dry_run else COUNTS
    rows = [(name, *(f"{counts[column]:,}" for column in names)) for name, counts in report.tables.items()]
    return ("table", *names), rows


def _show_rejected(report: Any) -> None:
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


def _ingest_spectra(paths: Sequence[str], dry_run: bool) -> list[str]:
    """Ingest files of spectra; give those that were refused, with the reasons."""
    from astra_models.ingest import ingest_spectra

    if dry_run:
        say(f"{_number(len(paths), 'file')} of spectra would be ingested")
        return []
    with progress_bar("files", len(paths)) as advance:
        report = ingest_spectra(paths, progress=advance)
    rows = [(name, *(getattr(counts, count) for count in COUNTS)) for name, counts in report.tables.items()]
    console.print(table(("table", *COUNTS), rows))
    say(f"{report.ingested} of {_number(report.files, 'file')} of spectra ingested, {len(report.refused)} refused")
    return [f"{path}: {reason}" for path, reason in report.refused]
