"""Headers of FITS files, card by card, of columns that are known before the first row is written."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astra_models.fits.text import escape

BLOCK = 2880
CARD = 80
LONGEST_COMMENT = 45
NO_CHECKSUM = "0" * 16

UNITS_BEYOND_FITS = ("dex", "dex(cm / s2)", "dex(km / s)", "nmgy")
"""Units of columns that the FITS standard has no name for: they are written as astropy's own format has them."""


@dataclass(frozen=True)
class FitsColumn:
    """A column of a binary table.

    Parameters
    ----------
    name : str
        TTYPE.
    code : str
        The letter of TFORM: ``L J K E D A B``.
    width : int
        How many of these a row has.
    null : int or None
        TNULL: the value that stands for NULL.
    unit, description, heading : str
        What is written about it.
    """

    name: str
    code: str
    width: int = 1
    null: int | None = None
    unit: str = ""
    description: str = ""
    heading: str = ""

    @property
    def dtype(self) -> np.dtype:
        """The type of one row's value, in the byte order of FITS."""
        if self.code == "A":
            return np.dtype(f"S{self.width}")
        one = np.dtype({"L": "u1", "B": "u1", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}[self.code])
        return one if self.is_single else np.dtype((one, (self.width,)))

    @property
    def is_single(self) -> bool:
        """Whether a row has one value, and no list."""
        return self.code in "LJKDA" or self.width == 1

    @property
    def form(self) -> str:
        """TFORM."""
        return f"{self.width}A" if self.code == "A" else f"{'' if self.width == 1 else self.width}{self.code}"


def row_dtype(columns: Iterable[FitsColumn]) -> np.dtype:
    """Give the type of a row of a binary table."""
    return np.dtype([(column.name, column.dtype) for column in columns])


def primary_header(told: Mapping[str, tuple[Any, str]], comments: Sequence[str] = ()) -> bytes:
    """Make the header of a primary HDU without data.

    Parameters
    ----------
    told : mapping of str to tuple
        Keywords, their values and comments.
    comments : sequence of str
        Said at the end, a card each.
    """
    cards = [
        card("SIMPLE", True, "conforms to the FITS standard"),
        card("BITPIX", 8),
        card("NAXIS", 0, "no data here: tables follow"),
        card("EXTEND", True),
        *(card(keyword, value, comment) for keyword, (value, comment) in told.items()),
        *(card("COMMENT", comment) for comment in comments),
    ]
    return with_checksums(cards, 0)


def table_cards(name: str, columns: Sequence[FitsColumn], n_rows: int) -> list[str]:
    """Make the cards of a binary table's header, but its checksums.

    Every column has TTYPE with the beginning of its description, TFORM, TUNIT, TNULL, and in TCOMM the whole
    description, as far as they apply; before the first of a group stands the group's heading as a COMMENT.
    """
    cards = [
        card("XTENSION", "BINTABLE", "binary table"),
        card("BITPIX", 8),
        card("NAXIS", 2),
        card("NAXIS1", row_dtype(columns).itemsize, "bytes per row"),
        card("NAXIS2", n_rows, "rows"),
        card("PCOUNT", 0),
        card("GCOUNT", 1),
        card("TFIELDS", len(columns), "columns"),
        card("EXTNAME", name),
    ]
    heading = ""
    for number, column in enumerate(columns, start=1):
        if column.heading != heading:
            heading = column.heading
            cards += [card("COMMENT", ""), card("COMMENT", f"--- {_ascii(heading)} ---")]
        cards += _column_cards(number, column)
    if any("CONTINUE" in some[CARD:] for some in cards):
        cards.insert(cards.index(card("EXTNAME", name)), card("LONGSTRN", "OGIP 1.0", "text goes on in CONTINUE"))
    return cards


def _column_cards(number: int, column: FitsColumn) -> list[str]:
    description = _ascii(column.description)
    room = min(LONGEST_COMMENT, CARD - len(f"TTYPE    = '{column.name:8}' / "))
    cards = [
        card(f"TTYPE{number}", column.name, _shortened(description, room)),
        card(f"TFORM{number}", column.form),
    ]
    if unit := fits_unit(column.unit):
        cards.append(card(f"TUNIT{number}", unit))
    if column.null is not None:
        cards.append(card(f"TNULL{number}", column.null, "stands for a missing value"))
    if description:
        cards.append(card(f"TCOMM{number}", description))
    return cards


@functools.cache
def fits_unit(unit: str) -> str:
    """Give a unit as FITS writes it; as it is, if FITS has no name for it."""
    from astropy import units

    if not unit or unit in UNITS_BEYOND_FITS:
        return unit
    try:
        parsed: Any = units.Unit(unit)
        return {"mbar": "hPa"}.get(unit) or parsed.to_string("fits")
    except ValueError:  # of a pipeline of somebody's own
        return _ascii(unit)


def card(keyword: str, value: Any, comment: str = "") -> str:
    """Make a card, or several if the text is long."""
    from astropy.io import fits

    return str(fits.Card(keyword, value, comment).image)


def with_checksums(cards: Sequence[str], datasum: int) -> bytes:
    """Make a header of cards, with the checksums of the HDU.

    Parameters
    ----------
    cards : sequence of str
        All but CHECKSUM, DATASUM and END.
    datasum : int
        The sum of the data.
    """
    from astra_models.fits.checksum import Checksum, checksum_text

    def header(checksum: str) -> bytes:
        sums = card("CHECKSUM", checksum, "of the HDU"), card("DATASUM", str(datasum), "of the data")
        text = "".join((*cards, *sums, f"{'END':{CARD}}"))
        return text.encode("ascii").ljust(-(-len(text) // BLOCK) * BLOCK)

    total = Checksum()
    total.update(header(NO_CHECKSUM))
    total.update(datasum.to_bytes(4, "big"))
    return header(checksum_text(total.value))


def _ascii(text: str) -> str:
    return escape(text).decode("ascii")


def _shortened(text: str, room: int) -> str:
    """Cut a text where a word ends."""
    if len(text) <= room:
        return text
    cut = text[: max(room - 2, 0)]
    return f"{cut.rsplit(' ', 1)[0]} .." if " " in cut else ""
