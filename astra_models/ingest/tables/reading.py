"""How a table of text is to be read, where it doesn't say so itself: what a mapping has under ``reader``.

The options are a few words of ours, each checked, which become those of astropy's readers.
"""

import re
from dataclasses import dataclass

from astra_models.errors import AstraError, did_you_mean

FORMATS = {
    "basic": "ascii.basic",
    "cds": "ascii.cds",
    "commented_header": "ascii.commented_header",
    "csv": "ascii.csv",
    "ecsv": "ascii.ecsv",
    "fixed_width": "ascii.fixed_width",
    "fixed_width_no_header": "ascii.fixed_width_no_header",
    "ipac": "ascii.ipac",
    "mrt": "ascii.mrt",
    "no_header": "ascii.no_header",
    "tab": "ascii.tab",
    "votable": "votable",
}
"""Formats by our names, and by astropy's."""

OPTIONS = ("format", "columns", "header_line", "data_line", "delimiter", "comment", "positions")
_DESCRIBED = ("cds", "ecsv", "ipac", "mrt", "votable")
"""Formats that say themselves what their columns are."""
UNDESCRIBED = frozenset(theirs for ours, theirs in FORMATS.items() if ours not in _DESCRIBED)
"""Formats, by astropy's names, of which the values alone say what they are."""
_WITHOUT_HEADER = ("no_header", "fixed_width_no_header")
_FIXED = ("fixed_width", "fixed_width_no_header")
_MOST_COLUMNS = 10_000


class ReaderOptionsError(AstraError, ValueError):
    """Options of a reader that there aren't, or that don't fit each other."""


@dataclass(frozen=True)
class ReaderOptions:
    """How a table of text is read.

    Parameters
    ----------
    format : str or None
        One of `FORMATS`; None to detect it.
    columns : tuple of str
        Names of the columns, if the file has none or others are wanted.
    header_line, data_line : int or None
        Where the names are, and where the first row is: number of the line from 1. Comments and empty lines
        don't count.
    delimiter : str or None
        What is between the columns, one character.
    comment : str or None
        What a line that is no row begins with.
    positions : tuple of (int, int)
        First and last character of each column, from 1, for columns of fixed width.
    """

    format: str | None = None
    columns: tuple[str, ...] = ()
    header_line: int | None = None
    data_line: int | None = None
    delimiter: str | None = None
    comment: str | None = None
    positions: tuple[tuple[int, int], ...] = ()

    def said(self) -> dict[str, object]:
        """Give the options as a mapping has them, those that aren't given left out."""
        given = {name: getattr(self, name) for name in OPTIONS}
        return {name: _plain(value) for name, value in given.items() if value not in (None, ())}

    def arguments(self) -> dict[str, object]:
        """Give the arguments of ``Table.read``; none if nothing was said."""
        if self.format is None:
            return {}
        found: dict[str, object] = {"format": FORMATS[self.format]}
        if self.format in _DESCRIBED:
            return found
        found["guess"] = False
        if self.columns:
            found["names"] = list(self.columns)
        if self.header_line is not None:
            found["header_start"] = self.header_line - 1
            found["data_start"] = self.header_line
        if self.data_line is not None:
            found["data_start"] = self.data_line - 1
        if self.delimiter is not None:
            found["delimiter"] = self.delimiter
        if self.comment is not None:
            found["comment"] = _escaped(self.comment)
        if self.positions:
            found["col_starts"] = [first - 1 for first, _ in self.positions]
            found["col_ends"] = [last - 1 for _, last in self.positions]
        return found


def reader_options(given: object) -> ReaderOptions:
    """Check what a mapping says under ``reader``.

    Parameters
    ----------
    given : object
        Options by their names.

    Raises
    ------
    ReaderOptionsError
        If one is unknown, of another type, or doesn't fit the format.
    """
    if not isinstance(given, dict):
        raise ReaderOptionsError(f"'reader' is {given!r}; give options by their names: {', '.join(OPTIONS)}")
    for name in given:
        if name not in OPTIONS:
            raise ReaderOptionsError(f"there is no option {name!r} of 'reader'; {did_you_mean(str(name), OPTIONS)}")
    positions = _positions(given.get("positions"))
    columns = _columns(given.get("columns"))
    lines = {name: _line(name, given.get(name)) for name in ("header_line", "data_line")}
    usual = ("fixed_width" if lines["header_line"] else "fixed_width_no_header") if positions else None
    usual = usual or ("no_header" if columns and lines["header_line"] is None else "basic")
    options = ReaderOptions(
        format=_format(given.get("format", usual)),
        columns=columns,
        delimiter=_text("delimiter", given.get("delimiter"), 1),
        comment=_text("comment", given.get("comment"), 10),
        positions=positions,
        **lines,
    )
    _require_fit(options, set(given))
    return options


def _require_fit(options: ReaderOptions, given: set[str]) -> None:
    name = options.format
    if name in _DESCRIBED and (others := sorted(given - {"format"})):
        raise ReaderOptionsError(f"a file of the format {name!r} says itself what 'reader' has: {', '.join(others)}")
    if name in _WITHOUT_HEADER and options.header_line is not None:
        raise ReaderOptionsError(f"the format {name!r} has no header; leave out 'header_line', or take another format")
    if options.positions and name not in _FIXED:
        raise ReaderOptionsError(f"'positions' are for columns of fixed width, and the format is {name!r}")
    if options.positions and options.columns and len(options.positions) != len(options.columns):
        raise ReaderOptionsError(
            f"'positions' are of {len(options.positions)} columns, and 'columns' names {len(options.columns)}"
        )


def _format(given: object) -> str:
    if not isinstance(given, str) or given not in FORMATS:
        raise ReaderOptionsError(f"there is no format {given!r}; {did_you_mean(str(given), FORMATS)}")
    return given


def _columns(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) and name.strip() for name in given):
        raise ReaderOptionsError(f"'columns' is {given!r}; give a list of names")
    if len(set(given)) < len(given):
        twice = next(name for name in given if list(given).count(name) > 1)
        raise ReaderOptionsError(f"'columns' has {twice!r} twice; give each column a name of its own")
    if len(given) > _MOST_COLUMNS:
        raise ReaderOptionsError(f"'columns' has {len(given)} names, and {_MOST_COLUMNS} are the most")
    return tuple(given)


def _line(name: str, given: object) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool) and given > 0):
        return given
    raise ReaderOptionsError(f"{name!r} is {given!r}; give the number of a line, from 1")


def _text(name: str, given: object, longest: int) -> str | None:
    if given is None or (isinstance(given, str) and 0 < len(given) <= longest):
        return given
    raise ReaderOptionsError(f"{name!r} is {given!r}; give text of at most {longest} characters, such as '|' or '#'")


def _positions(given: object) -> tuple[tuple[int, int], ...]:
    pairs = [] if given is None else given
    if not isinstance(pairs, list | tuple):
        raise ReaderOptionsError(f"'positions' is {given!r}; give [first, last] of each column, from 1")
    found: list[tuple[int, int]] = []
    for pair in pairs:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(place) is int for place in pair)
        if not is_pair or not 0 < pair[0] <= pair[1]:
            raise ReaderOptionsError(f"'positions' has {pair!r}; give [first, last] of each column, from 1")
        found.append((pair[0], pair[1]))
    return tuple(found)


def _plain(value: object) -> object:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _escaped(comment: str) -> str:
    return re.escape(comment)  # astropy takes a regular expression
