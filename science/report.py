"""Write what was measured into the documentation, between marks with names."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

from .frame import Figure

HEADER = ("pipeline", "what was recovered", "truth", "errors", "wanted", "found", "")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    lines: list[list[str]] = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row(figure: Figure) -> list[str]:
    """Write a figure as the cells of the common table."""
    kept = {True: "yes", False: "**no**", None: "reported"}[figure.kept]
    return [
        figure.pipeline, figure.what, figure.truth, figure.errors or "-", figure.wanted or "-", figure.found, kept
    ]  # fmt: skip


def common_table(page: Path, figures: Iterable[Figure]) -> str:
    """Put figures into the table of a page.

    Rows of pipelines that weren't measured now stay, and rows of a truth that wasn't: its data may not be here.
    """
    rows = [row(figure) for figure in figures]
    measured = {(cells[0], cells[2]) for cells in rows}
    before = [line.strip("| \n").split(" | ") for line in between(page, "science").splitlines()[2:]]
    stay = [cells for cells in before if (cells[0], cells[2]) not in measured]
    return table(HEADER, sorted(stay + rows, key=itemgetter(0)))


def between(page: Path, name: str) -> str:
    """Give what stands between the marks of a name."""
    return _parts(page, name)[1]


def write(page: Path, name: str, text: str) -> None:
    """Put Markdown between the marks ``<!-- figures: NAME -->`` and ``<!-- end of figures: NAME -->`` of a page.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    before, _, after = _parts(page, name)
    page.write_text(f"{before}{text}\n{after}")


def _parts(page: Path, name: str) -> tuple[str, str, str]:
    start, end = f"<!-- figures: {name} -->\n", f"<!-- end of figures: {name} -->"
    text = page.read_text()
    if start not in text or end not in text:
        raise SystemExit(f"{page} has no lines {start.strip()!r} and {end!r}: add them where the figures belong")
    before, _, rest = text.partition(start)
    inside, _, after = rest.partition(end)
    return before + start, inside, end + after
