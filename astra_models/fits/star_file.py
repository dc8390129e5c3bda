"""The headers and one-row tables of a FITS file, read without its pixels.

Ingesting needs a few header cards and one row of a table with some 200 columns. This reads just these:
headers are parsed card by card, the pixels of an HDU are skipped, and a row's values are decoded when asked
for. It takes a few milliseconds per file where a full FITS library needs most of a tenth of a second. Pixels
are read by the accessors of `pixels`, not by this.
"""

import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from astra_models.errors import UnrecognizedFileError

BLOCK = 2880
CARD = 80
LARGEST_HEADER = 500 * BLOCK

# Codes of binary table columns: bytes per element, code of `struct`.
_CODES = {
    "L": (1, "c"),
    "B": (1, "B"),
    "I": (2, "h"),
    "J": (4, "i"),
    "K": (8, "q"),
    "E": (4, "f"),
    "D": (8, "d"),
    "A": (1, "s"),
    "C": (8, None),
    "M": (16, None),
    "P": (8, None),
    "Q": (16, None),
}
_FORMAT = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")

Card = str | int | float | bool


class Column(NamedTuple):
    """Where a column is in a row, and how it is encoded."""

    offset: int
    repeat: int
    code: str
    zero: Card
    scale: Card
    null: Card | None


@dataclass
class Hdu:
    """One HDU: its header and where its data are.

    Parameters
    ----------
    header : dict
        Values by keyword, the first of each; text without trailing blanks.
    history : list of str
        The HISTORY cards.
    content : bytes-like
        The data if they were read (tables of few rows), else nothing.
    is_complete : bool
        Whether the file has all the data that the header tells of.
    """

    header: dict[str, Card] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    start: int = 0
    size: int = 0
    is_complete: bool = True

    @property
    def is_table(self) -> bool:
        """Whether it is a binary table."""
        return self.header.get("XTENSION") == "BINTABLE"

    @property
    def n_rows(self) -> int:
        """Rows of a table, 0 for an image."""
        return _whole(self.header.get("NAXIS2")) if self.is_table else 0

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes in the order of NumPy."""
        return tuple(_whole(self.header.get(f"NAXIS{i}")) for i in range(_whole(self.header.get("NAXIS")), 0, -1))

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Columns of a table by their name in upper case; empty for an image."""
        return dict(self._parse_columns()) if self.is_table else {}

    def _parse_columns(self) -> Iterator[tuple[str, Column]]:
        offset = 0
        for i in range(1, _whole(self.header.get("TFIELDS")) + 1):
            name, form = str(self.header.get(f"TTYPE{i}", "")), str(self.header.get(f"TFORM{i}", ""))
            match = _FORMAT.match(form)
            if match is None:
                raise UnrecognizedFileError(f"column {i} ({name!r}) has the unknown format {form!r}")
            repeat, code = int(match[1] or 1), match[2]
            zero, scale = self.header.get(f"TZERO{i}", 0), self.header.get(f"TSCAL{i}", 1)
            yield (
                name.strip().upper(),
                Column(offset, repeat, code, zero, scale, self.header.get(f"TNULL{i}")),
            )
            offset += -(-repeat // 8) if code == "X" else repeat * _CODES[code][0]

    def describe(self) -> str:
        """Say in a few words what the HDU is, for messages."""
        name = str(self.header.get("EXTNAME", "")).strip()
        title = f"{name} " if name else ""
        if self.is_table:
            first = ", ".join(list(self.columns)[:4])
            return f"{title}table of {self.n_rows} rows ({first}{', ...' if len(self.columns) > 4 else ''})"
        return f"{title}image of {' x '.join(map(str, self.shape))}" if self.shape else f"{title}header only"


class Row:
    """One row of a table; values by column name, in whatever case.

    Parameters
    ----------
    hdu : Hdu
        The table.
    content : bytes
        The bytes of the row.
    """

    def __init__(self, hdu: Hdu, content: bytes):
        self._columns = hdu.columns
        self._content = content

    def __contains__(self, name: str) -> bool:
        return name.upper() in self._columns

    def get(self, name: str) -> Any:
        """Give a value: text, number, boolean, a list; None if there is no such column or value."""
        column = self._columns.get(name.upper())
        return None if column is None else _decode(column, self._content)


class FitsFile:
    """Headers of a FITS file, and rows of its tables.

    Parameters
    ----------
    path : str
        The file, gzipped or not. It is opened for reading, and closed before this returns.
    n_hdus : int
        How many HDUs are read at most.

    Raises
    ------
    UnrecognizedFileError
        If it can't be opened, is not FITS, or ends within a header.
    """

    def __init__(self, path: str, n_hdus: int = 12):
        self.path = path
        self._rows: dict[int, bytes] = {}
        self.hdus: list[Hdu] = []
        with _open(path) as stream:
            length = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            if length == 0:
                raise UnrecognizedFileError("it is empty")
            while len(self.hdus) < n_hdus and stream.tell() < length:
                self._read_hdu(stream, length)

    def _read_hdu(self, stream: BinaryIO, length: int) -> None:
        number = len(self.hdus)
        hdu = _read_header(stream, number, length)
        hdu.start, hdu.size = stream.tell(), _data_size(hdu.header)
        hdu.is_complete = hdu.start + hdu.size <= length
        self.hdus.append(hdu)
        if hdu.is_table and hdu.n_rows > 0:
            self._rows[number] = stream.read(_whole(hdu.header.get("NAXIS1")))
        stream.seek(hdu.start + -(-hdu.size // BLOCK) * BLOCK)

    @property
    def primary(self) -> dict[str, Card]:
        """The primary header."""
        return self.hdus[0].header

    def row(self, number: int) -> Row:
        """Give the first row of a table.

        Parameters
        ----------
        number : int
            Which HDU, from 0.

        Raises
        ------
        UnrecognizedFileError
            If the file ends before the row does.
        """
        hdu = self.hdus[number]
        content = self._rows.get(number, b"")
        if len(content) < _whole(hdu.header.get("NAXIS1")) or not content:
            raise UnrecognizedFileError(f"the file is truncated in the table of HDU {number}; fetch it again")
        return Row(hdu, content)

    def rows(self, number: int) -> Iterator[Row]:
        """Give the rows of a table, one after the other.

        Parameters
        ----------
        number : int
            Which HDU, from 0.

        Raises
        ------
        UnrecognizedFileError
            If the file ends before the last.
        """
        hdu = self.hdus[number]
        size = _whole(hdu.header.get("NAXIS1"))
        with _open(self.path) as stream:
            stream.seek(hdu.start)
            for _ in range(hdu.n_rows):
                content = stream.read(size)
                if len(content) < size:
                    raise UnrecognizedFileError(f"the file is truncated in the table of HDU {number}; fetch it again")
                yield Row(hdu, content)

    def array(self, number: int, name: str) -> np.ndarray:
        """Read a column of numbers, one per row.

        Parameters
        ----------
        number : int
            Which HDU, from 0.
        name : str
            The column, in whatever case.

        Returns
        -------
        ndarray of float64, shape (n_rows,)
            The values.
        """
        hdu = self.hdus[number]
        column = hdu.columns[name.upper()]
        kind = np.dtype({"E": ">f4", "D": ">f8", "J": ">i4", "I": ">i2"}[column.code])
        with _open(self.path) as stream:
            stream.seek(hdu.start)
            content = stream.read(hdu.size)
        strides = (_whole(hdu.header.get("NAXIS1")),)
        return np.ndarray((hdu.n_rows,), kind, content, column.offset, strides).astype(np.float64)

    def describe(self) -> str:
        """List the HDUs, for messages."""
        shown = "; ".join(f"HDU {i}: {hdu.describe()}" for i, hdu in enumerate(self.hdus[:6]))
        return shown + ("; ..." if len(self.hdus) > 6 else "")


def _open(path: str) -> BinaryIO:
    if os.path.isdir(path):
        raise UnrecognizedFileError("it is a folder; give the files in it")
    try:
        stream = open(path, "rb")  # noqa: SIM115  the caller closes it
    except FileNotFoundError as error:
        raise UnrecognizedFileError("there is no such file") from error
    except (OSError, ValueError) as error:
        raise UnrecognizedFileError(f"it can't be opened: {error}") from error
    magic = stream.read(2)
    stream.seek(0)
    return _decompressed(stream) if magic == b"\x1f\x8b" else stream


def _decompressed(stream: BinaryIO) -> BinaryIO:
    try:
        with stream:
            return io.BytesIO(gzip.decompress(stream.read()))
    except (OSError, EOFError, zlib.error) as error:
        raise UnrecognizedFileError(f"it is gzipped and damaged ({error}); fetch it again") from error


def _read_header(stream: BinaryIO, number: int, length: int) -> Hdu:
    hdu = Hdu()
    start = stream.tell()
    while True:
        block = stream.read(BLOCK)
        if number == 0 and stream.tell() <= BLOCK and not block.startswith(b"SIMPLE  ="):
            raise UnrecognizedFileError("it is not a FITS file: it doesn't begin with SIMPLE")
        if len(block) < BLOCK or stream.tell() - start > LARGEST_HEADER:
            raise UnrecognizedFileError(
                f"the file is truncated in the header of HDU {number} ({length} bytes); fetch it again"
            )
        if _parse_block(block.decode("latin-1"), hdu):
            return hdu


def _parse_block(block: str, hdu: Hdu) -> bool:
    """Add the cards of a block to a header; tell whether it has the END card."""
    for i in range(0, BLOCK, CARD):
        keyword = block[i : i + 8].rstrip()
        if keyword == "END":
            return True
        if keyword == "HISTORY":
            hdu.history.append(block[i + 8 : i + CARD].strip())
        elif block[i + 8 : i + 10] == "= ":
            hdu.header.setdefault(keyword, _parse_value(block[i + 10 : i + CARD]))
    return False


def _parse_value(text: str) -> Card:
    text = text.strip()
    if text.startswith("'"):
        end = re.match(r"'((?:[^']|'')*)'?", text)
        return end[1].replace("''", "'").rstrip() if end else ""
    word = text.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word.replace("D", "E"))
    except ValueError:
        return word


def _whole(value: Any) -> int:
    """Take what a header says as a count."""
    if isinstance(value, int) and value >= 0:
        return int(value)
    if value is None:
        return 0
    raise UnrecognizedFileError(f"a header has {value!r} where a count belongs; the file is damaged")


def _data_size(header: dict[str, Card]) -> int:
    n_axes = _whole(header.get("NAXIS"))
    if n_axes == 0:
        return 0
    elements = 1
    for i in range(1, n_axes + 1):
        elements *= _whole(header.get(f"NAXIS{i}"))
    bits = abs(int(header.get("BITPIX", 8)))
    return bits // 8 * _whole(header.get("GCOUNT", 1)) * (_whole(header.get("PCOUNT", 0)) + elements)


def _decode(column: Column, content: bytes) -> Any:
    size, code = _CODES.get(column.code, (0, None))
    raw = content[column.offset : column.offset + column.repeat * size]
    if code is None or column.repeat == 0:
        return None
    if column.code == "A":
        return raw.partition(b"\0")[0].decode("latin-1").strip()
    if column.code == "L":
        values: list[Any] = [{b"T": True, b"F": False}.get(raw[i : i + 1]) for i in range(len(raw))]
    else:
        values = [_scaled(column, value) for value in struct.unpack(f">{column.repeat}{code}", raw)]
    return values[0] if column.repeat == 1 else values


def _scaled(column: Column, value: Any) -> Any:
    if column.code in "BIJK" and value == column.null:
        return None
    if column.zero == 0 and column.scale == 1:
        return value
    # Unsigned integers are stored with an offset of half their range: exact only as integers.
    zero = int(column.zero) if column.zero == int(column.zero) else column.zero
    return value * column.scale + zero if column.scale != 1 else value + zero
