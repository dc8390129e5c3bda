"""Fortran namelists, as FERRE's headers and control files are written: read with all the freedom that Fortran gives.

Names in capitals or not, in any order, values on several lines, commas or blanks between them, ``3*4`` for three
fours, single elements (``LABEL(2)``), comments after ``!``.
"""

import re
from collections.abc import Iterator

Group = dict[str, list[str]]
"""Values by name, in small letters; those of ``NAME(2) = ...`` go to where the index says."""

_TOKEN = re.compile(
    r"""
      (?P<comment>![^\n]*)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<end>/|[&$]\s*end\b)
    | (?P<name>[a-z_]\w*)\s*(?:\(\s*(?P<index>\d+)\s*(?::\s*\d*\s*)?\))?\s*=
    | (?P<word>[^\s,/'"!&$=]+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_REPEATED = re.compile(r"(\d{1,6})\*(.*)", re.DOTALL)
_MANY = 100_000


def read_namelists(text: str, name: str) -> list[Group]:
    """Read all groups of one name: ``&NAME ... /``.

    Parameters
    ----------
    text : str
        A whole file.
    name : str
        Name of the groups, in capitals or not.

    Returns
    -------
    list of dict
        For each group its values, as text without quotes, by their names in small letters.

    Raises
    ------
    ValueError
        If a group doesn't end, or has an index or a number of repeats that can't be.
    """
    groups: list[Group] = []
    start = re.compile(rf"[&$]\s*{re.escape(name)}\b", re.IGNORECASE)
    end = 0
    while begin := start.search(text, end):
        group, end = _read_group(text, begin.end(), name)
        groups.append(group)
    return groups


def _read_group(text: str, begin: int, name: str) -> tuple[Group, int]:
    group: Group = {}
    values: list[str] = []
    place = 0
    for match in _TOKEN.finditer(text, begin):
        if match["end"]:
            return group, match.end()
        if match["name"]:
            values = group.setdefault(match["name"].lower(), [])
            place = int(match["index"] or 1) - 1
        elif not match["comment"]:
            place = _put(values, place, list(_spelled_out(match)))
    raise ValueError(f"a block &{name.upper()} has no end, which is a line with /")


def _put(values: list[str], place: int, new: list[str]) -> int:
    if not 0 <= place < _MANY:
        raise ValueError(f"an index of {place + 1}")
    values.extend([""] * (place - len(values)))
    values[place : place + len(new)] = new
    return place + len(new)


def _spelled_out(match: re.Match[str]) -> Iterator[str]:
    if match["text"] is not None:
        quote = match["text"][0]
        yield match["text"][1:-1].replace(quote * 2, quote)
    elif repeated := _REPEATED.fullmatch(match["word"]):
        if int(repeated[1]) > _MANY:
            raise ValueError(f"{repeated[1]} repeats of a value")
        yield from [repeated[2]] * int(repeated[1])
    else:
        yield match["word"]


def fortran_number(text: str) -> float:
    """Read a number as Fortran writes it, with E or D before the exponent, or with none of them (``1.0-100``)."""
    plain = re.sub(r"[dD]", "e", text.strip())
    if "_" in plain:
        raise ValueError(f"{text!r} is no number")
    return float(re.sub(r"(?<=[\d.])([+-]\d+)$", r"e\1", plain))
