"""Rows for people and for programs: as a table, as CSV, or as JSON; on the terminal, or into a file."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Literal

import typer
from rich.cells import cell_len

from astra_orchestration.cli.answers import give, plain, rows_follow
from astra_orchestration.cli.streams import in_utf8, silence
from astra_orchestration.cli.terminal import complain, console, escaped, table

Format = Literal["table", "csv", "json"]
SHOWN = 50
FRAME = 3
"""What a column takes beside its content."""
WIDEST = 40
"""Longer text is folded, if there is no room."""
Row = Sequence[object]


def format_asked(as_csv: bool, as_json: bool, as_table: bool) -> Format:
    """Give the one that the options ask for; a table without any."""
    if as_csv + as_json + as_table > 1:
        raise typer.BadParameter("give one of --csv, --json and --table")
    return "csv" if as_csv else "json" if as_json else "table"


def print_rows(
    names: Sequence[str],
    rows: Iterable[Row],
    form: Format,
    output: str | None = None,
    limit: int | None = None,
    first: Sequence[str] = (),
) -> int:
    """Print rows, or write them into a file; give how many.

    Parameters
    ----------
    names : sequence of str
        The columns.
    rows : iterable of sequences
        The rows, read one after the other.
    form : {"table", "csv", "json"}
        A table for people; CSV with a header, where NULL is an empty cell; or JSON, an array with an object for each
        row.
    output : str, optional
        A file, which must not exist; ``-`` or None is standard output.
    limit : int, optional
        At most so many rows; of a table on the terminal, 50 if not given.
    first : sequence of str, optional
        Columns that are shown before others if a line of the terminal hasn't room for all.
    """
    is_printed = output in (None, "-")
    is_for_people = form == "table" and is_printed
    shown = SHOWN if limit is None and is_for_people else limit
    rows = iter(rows)
    numbered = _Counted(rows if shown is None else islice(rows, shown))
    if is_for_people:
        _show(names, [[_text(value) for value in row] for row in numbered], first)
    else:
        with _opened(output) as stream:
            _WRITERS[form](stream, names, numbered)
    if not is_printed:
        give({"file": output, "rows": numbered.count})
    if shown is not None and numbered.count == shown and limit is None and next(rows, None) is not None:
        complain(f"[yellow]only the first {shown} rows are shown:[/] --limit says how many")
    return numbered.count


def _show(names: Sequence[str], cells: list[list[str]], first: Sequence[str]) -> None:
    """Print a table of the columns that there is room for."""
    widths = [max(map(cell_len, some)) for some in zip(names, *cells, strict=True)]
    places = _with_room(
        [min(width, WIDEST) for width in widths], [place for place, name in enumerate(names) if name in first]
    )
    console.print(
        table([escaped(names[place]) for place in places], ([escaped(row[place]) for place in places] for row in cells))
    )
    if len(places) < len(names):
        complain(
            f"[yellow]there is room for {len(places)} of {len(names)} columns:[/] name those that you want, "
            "or ask for all by --csv or --json"
        )


def _with_room(widths: list[int], first: list[int]) -> list[int]:
    """Give the places of the columns that fit into a line, those to be shown first before the others."""
    room, found = console.width - 1, []
    for place in [*first, *(place for place in range(len(widths)) if place not in first)]:
        room -= widths[place] + FRAME
        if room < 0 and found:
            break
        found.append(place)
    return sorted(found)


class _Counted:
    """Rows, and how many of them were read."""

    def __init__(self, rows: Iterable[Row]):
        self._rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


@contextmanager
def _opened(output: str | None) -> Iterator[IO[str]]:
    if output in (None, "-"):
        try:
            yield in_utf8(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # who read it has gone
            silence(sys.stdout)
        return
    from astra_models.products.fits.file import replacing

    with replacing(str(output)) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as stream:
        yield stream


def _write_csv(stream: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = [plain(value) for value in row]
        writer.writerow([json.dumps(value) if isinstance(value, list | dict) else value for value in cells])


def _write_json(stream: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    separator = "["
    for row in rows:
        values = dict(zip(names, map(plain, row), strict=True))
        if stream is sys.stdout:  # what goes wrong before the first row is told by a document
            rows_follow()
        stream.write(f"{separator}\n {json.dumps(values, ensure_ascii=False)}")
        separator = ","
    if stream is sys.stdout:
        rows_follow()
    stream.write("[]\n" if separator == "[" else "\n]\n")


def _write_text(stream: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    for row in chain([names], rows):
        stream.write("\t".join(_text(value) for value in row) + "\n")


_WRITERS = {"csv": _write_csv, "json": _write_json, "table": _write_text}


def _text(value: object) -> str:
    shown = plain(value)
    if shown is None:
        return ""
    return f"{shown:.8g}" if isinstance(shown, float) else str(shown)
