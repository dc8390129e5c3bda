"""FITS headers and binary tables as bytes: always the same ones for the same content, and quickly.

A general library spends most of its time on what these files don't need; the sample survey writes some 1500
tables.
"""

from collections.abc import Iterable, Mapping

import numpy as np

BLOCK = 2880

Value = str | int | float | bool
Cards = Iterable[tuple[str, Value]]

_FORMATS = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "u1": "B"}


def primary(cards: Cards) -> bytes:
    """Make a primary HDU without data.

    Parameters
    ----------
    cards : iterable of (str, value)
        Keywords, upper case, of at most 8 characters, and their values. An empty keyword makes a heading.
    """
    start = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]
    return _header([*start, *cards])


def table(name: str, rows: np.ndarray, units: Mapping[str, str] | None = None, cards: Cards = ()) -> bytes:
    """Make a binary table.

    Parameters
    ----------
    name : str
        EXTNAME.
    rows : ndarray, shape (n_rows,)
        A structured array, of numbers, byte strings, and arrays of numbers; any byte order.
    units : mapping of str to str, optional
        TUNIT by column.
    cards : iterable of (str, value), optional
        More of the header.
    """
    fixed: list[tuple[str, Value]] = [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", rows.dtype.itemsize),
        ("NAXIS2", len(rows)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", len(rows.dtype.names or ())),
    ]
    for i, column in enumerate(rows.dtype.names or (), start=1):
        fixed += [(f"TTYPE{i}", column), (f"TFORM{i}", _format(rows.dtype[column]))]
        if units and column in units:
            fixed.append((f"TUNIT{i}", units[column]))
    data = rows.astype(rows.dtype.newbyteorder(">")).tobytes()
    return _header([*fixed, ("EXTNAME", name), *cards]) + data + b"\0" * (-len(data) % BLOCK)


def _format(kind: np.dtype) -> str:
    if kind.kind == "S":
        return f"{kind.itemsize}A"
    base, shape = kind.subdtype or (kind, ())
    repeat = int(np.prod(shape)) if shape else ""
    return f"{repeat}{_FORMATS[base.str[1:]]}"


def _header(cards: Cards) -> bytes:
    lines = [_card(keyword, value) for keyword, value in cards]
    text = "".join([*lines, "END".ljust(80)])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _card(keyword: str, value: Value) -> str:
    if not keyword:
        return f"{'':8}{value}"[:80].ljust(80)
    if isinstance(value, bool):
        shown = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        shown = f"'{value.replace(chr(39), chr(39) * 2):<8}'"
    elif isinstance(value, float):
        shown = f"{float(value)!r:>20}".upper()
    else:
        shown = f"{int(value):>20}"
    return f"{keyword:<8}= {shown}".ljust(80)
