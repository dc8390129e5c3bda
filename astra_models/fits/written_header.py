"""Headers of FITS files and small HDUs as bytes: the same ones for the same content, and quickly."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from astra_models.fits.checksum import Checksum, checksum_text
from astra_models.fits.columns import CODES, FitsColumn, row_size
from astra_models.fits.header import CARD, COMMENTARY, CardValue, padded
from astra_models.fits.text import escape

LONGEST_COMMENT = 45
LONGEST_TEXT = 68
NO_CHECKSUM = "0" * 16

UNITS_BEYOND_FITS = ("dex", "dex(cm / s2)", "dex(km / s)", "nmgy")
"""Units of columns that the FITS standard has no name for: they are written as astropy's own format has them."""

Entries = Iterable[tuple[str, CardValue]]


# ---- cards


def card(keyword: str, value: CardValue, comment: str = "") -> str:
    """Make a card, or several if the text is long.

    Parameters
    ----------
    keyword : str
        Upper case, of at most 8 characters. COMMENT, HISTORY or nothing makes a card of text alone.
    value : str, int, float or bool
        The value; text in ASCII.
    comment : str, optional
        What is said about it, as far as there is room.

    Raises
    ------
    ValueError
        If the keyword is too long.
    """
    if len(keyword) > 8:
        raise ValueError(f"{keyword!r} has {len(keyword)} characters, but a FITS keyword has at most 8; shorten it")
    if keyword in COMMENTARY:
        return "".join(f"{f'{keyword:8}{piece}':{CARD}}" for piece in _pieces(str(value), CARD - 8))
    shown = _shown(value)
    if len(shown) > CARD - 10:
        return "".join(_long_text(keyword, shown[1:-1], comment))
    return f"{keyword:8}= {shown:20}{f' / {comment}' if comment else ''}"[:CARD].ljust(CARD)


def _shown(value: CardValue) -> str:
    if isinstance(value, str):
        return f"'{value.replace(chr(39), chr(39) * 2):8}'"
    if isinstance(value, bool | np.bool_):
        return f"{'T' if value else 'F':>20}"
    return f"{float(value)!r:>20}".upper() if isinstance(value, float | np.floating) else f"{int(value):>20}"


def _long_text(keyword: str, text: str, comment: str) -> Iterator[str]:
    """Give the cards of a text that goes on in others: each but the last ends by ``&``."""
    *pieces, last = [f"'{piece}" for piece in _pieces(text, LONGEST_TEXT - 1)]
    closed = [f"{piece}&'" for piece in pieces] + [f"{last}&'" if comment else f"{last}'"]
    closed += [f"'' / {comment}"] if comment else []
    for place, piece in enumerate(closed):
        yield f"{f'CONTINUE  {piece}' if place else f'{keyword:8}= {piece}':{CARD}}"[:CARD]


def _pieces(text: str, width: int) -> Iterator[str]:
    """Cut a text where words end, or wherever it has to be but between two quotes."""
    while len(text) > width:
        cut = text.rfind(" ", 0, width) + 1 or width
        while text.count("'", 0, cut) % 2 and text[cut - 1] == "'" == text[cut : cut + 1]:
            cut -= 1
        yield text[:cut]
        text = text[cut:]
    yield text


def header(cards: Iterable[str]) -> bytes:
    """Make a header of all its cards but END."""
    text = "".join((*cards, f"{'END':{CARD}}"))
    return text.encode("ascii").ljust(padded(len(text)))


def with_checksums(cards: Sequence[str], datasum: int) -> bytes:
    """Make a header of cards, with the checksums of the HDU.

    Parameters
    ----------
    cards : sequence of str
        All but CHECKSUM, DATASUM and END.
    datasum : int
        The sum of the data.
    """

    def summed(checksum: str) -> bytes:
        sums = card("CHECKSUM", checksum, "of the HDU"), card("DATASUM", str(datasum), "of the data")
        return header((*cards, *sums))

    total = Checksum()
    total.update(summed(NO_CHECKSUM))
    total.update(datasum.to_bytes(4, "big"))
    return summed(checksum_text(total.value))


# ---- headers with descriptions


def primary_header(told: Mapping[str, tuple[CardValue, str]], comments: Sequence[str] = ()) -> bytes:
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
    begin = [card(keyword, value, comment) for keyword, value, comment in _structure(columns, n_rows)]
    described: list[str] = []
    heading = ""
    for number, column in enumerate(columns, start=1):
        if column.heading != heading:
            heading = column.heading
            described += [card("COMMENT", ""), card("COMMENT", f"--- {_ascii(heading)} ---")]
        described += _column_cards(number, column)
    if any(len(some) > CARD for some in described):
        begin.append(card("LONGSTRN", "OGIP 1.0", "text goes on in CONTINUE"))
    return [*begin, card("EXTNAME", name), *described]


def _structure(columns: Sequence[FitsColumn], n_rows: int) -> list[tuple[str, CardValue, str]]:
    return [
        ("XTENSION", "BINTABLE", "binary table"),
        ("BITPIX", 8, ""),
        ("NAXIS", 2, ""),
        ("NAXIS1", row_size(columns), "bytes per row"),
        ("NAXIS2", n_rows, "rows"),
        ("PCOUNT", 0, ""),
        ("GCOUNT", 1, ""),
        ("TFIELDS", len(columns), "columns"),
    ]


def _column_cards(number: int, column: FitsColumn) -> list[str]:
    description = _ascii(column.description)
    room = min(LONGEST_COMMENT, CARD - len(f"TTYPE    = '{column.name:8}' / "))
    cards = [
        card(f"TTYPE{number}", column.name, _shortened(description, room)),
        card(f"TFORM{number}", column.form),
    ]
    if column.unit:
        cards.append(card(f"TUNIT{number}", column.unit))
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
        parsed: units.UnitBase = units.Unit(unit)
        return {"mbar": "hPa"}.get(unit) or parsed.to_string("fits")
    except ValueError:  # of a pipeline of somebody's own
        return _ascii(unit)


def _ascii(text: str) -> str:
    return escape(text).decode("ascii")


def _shortened(text: str, room: int) -> str:
    """Cut a text where a word ends."""
    if len(text) <= room:
        return text
    cut = text[: max(room - 2, 0)]
    return f"{cut.rsplit(' ', 1)[0]} .." if " " in cut else ""


# ---- plain HDUs, as simple programs write them


def primary_cards(entries: Entries = ()) -> list[str]:
    """Make the cards of a primary HDU without data: keywords and values; an empty keyword makes a heading."""
    begin = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]
    return [card(keyword, value) for keyword, value in (*begin, *entries)]


def plain_table_cards(columns: Sequence[FitsColumn], n_rows: int, entries: Entries = ()) -> list[str]:
    """Make the cards of a binary table's header, without comments; `entries` follow after the columns."""
    begin = [card(keyword, value) for keyword, value, _ in _structure(columns, n_rows)]
    described = [one for number, column in enumerate(columns, start=1) for one in _column_cards(number, column)]
    return [*begin, *described, *(card(keyword, value) for keyword, value in entries)]


def table_hdu(name: str, rows: np.ndarray, units: Mapping[str, str] | None = None, entries: Entries = ()) -> bytes:
    """Make a binary table.

    Parameters
    ----------
    name : str
        EXTNAME.
    rows : ndarray, shape (n_rows,)
        A structured array, of numbers, byte strings, and arrays of numbers; any byte order.
    units : mapping of str to str, optional
        TUNIT by column.
    entries : iterable of (str, value), optional
        More of the header.
    """
    columns = [_column_of(column, rows.dtype[column], units or {}) for column in rows.dtype.names or ()]
    data = rows.astype(rows.dtype.newbyteorder(">")).tobytes()
    return header(plain_table_cards(columns, len(rows), [("EXTNAME", name), *entries])) + data.ljust(
        padded(len(data)), b"\0"
    )


def _column_of(name: str, kind: np.dtype, units: Mapping[str, str]) -> FitsColumn:
    if kind.kind == "S":
        return FitsColumn(name, "A", kind.itemsize, unit=units.get(name))
    base, shape = kind.subdtype or (kind, ())
    return FitsColumn(name, CODES[base.str[1:]], int(np.prod(shape)), unit=units.get(name))
