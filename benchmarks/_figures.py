"""Where the figures of the benchmarks are kept: tables in docs/benchmarks.md, each between two marks with its name."""

from collections.abc import Iterable
from pathlib import Path


def write_figures(page: Path, name: str, lines: Iterable[str]) -> None:
    """Put figures into a page of the documentation, between the two marks of that name.

    Parameters
    ----------
    page : Path
        The page.
    name : str
        What the marks ``<!-- figures: NAME -->`` and ``<!-- end of figures: NAME -->`` say.
    lines : iterable of str
        The Markdown between them.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    start, end = f"<!-- figures: {name} -->", f"<!-- end of figures: {name} -->"
    before, found_start, rest = page.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end:
        raise SystemExit(f"{page} has no lines {start!r} and {end!r}: add them where the figures belong")
    page.write_text("\n".join([f"{before}{start}", *lines, f"{end}{after}"]))
