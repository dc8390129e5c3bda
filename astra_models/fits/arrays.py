"""Arrays of a FITS file, found by its headers and read without anything else of it.

A general library takes a millisecond or more per HDU; the survey's files are simple, and there are millions of them.
This reader knows plain images and binary tables of numbers. Whatever else a file has (compression, scaled or
variable-length columns, HDUs by name) raises `NotPlainError`, and so does most damage: `astropy.io.fits` then reads
the file, or says what is wrong with it.

It says where arrays are, as `Place`; a `fits_recipe.Recipe` made of places reads the next file of the same kind without
parsing anything.
"""

import math
import os
import re
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np

from astra_models.errors import AstraError

__all__ = [
    "BLOCK",
    "CARD",
    "END",
    "DamagedFileError",
    "FitsReader",
    "Hdu",
    "Header",
    "NotPlainError",
    "Place",
    "native",
    "native_type",
]

BLOCK = 2880
CARD = 80
END = b"END".ljust(CARD)
FIRST_READ = 16 * BLOCK
LARGEST_HEADER = 500 * BLOCK

_IMAGE_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_COLUMN_TYPES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_OTHER_SIZES = {"L": 1, "A": 1, "C": 8, "M": 16, "P": 8, "Q": 16}
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_SCALING = ("BSCALE", "BZERO", "BLANK", "ZIMAGE", "GROUPS")
_STARTS = (b"SIMPLE  =", b"XTENSION= 'IMAGE   '", b"XTENSION= 'BINTABLE'")


class NotPlainError(AstraError, ValueError):
    """A file, or what is wanted of it, that is more than this reader knows."""


class DamagedFileError(AstraError, ValueError):
    """A file whose header contradicts itself, of which another library might make something."""


class Column(NamedTuple):
    """Where a column is in a row of a table; without a type if it is none of plain numbers or text."""

    offset: int
    dtype: np.dtype | None
    repeat: int


class Header(NamedTuple):
    """A header of a file, and where it is.

    Parameters
    ----------
    start : int
        Its first byte in the file.
    content : bytes
        All of it, with what pads it.
    n_rows : int
        Length of the first axis of the data: the rows, if there are two.
    row_size : int
        Bytes of a row.
    heap : int
        Bytes after the rows.
    is_table : bool
        Whether the data are a binary table.
    dtype : dtype or None
        Type of an image's pixels; None for what is no plain image.
    inner : tuple of int
        Lengths of the other axes.
    columns : dict
        Columns of a table by their name in upper case.
    """

    start: int
    content: bytes
    n_rows: int
    row_size: int
    heap: int
    is_table: bool
    dtype: np.dtype | None
    inner: tuple[int, ...]
    columns: dict[str, Column]

    @property
    def data(self) -> int:
        """Where the data begin in the file."""
        return self.start + len(self.content)

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.data + -(-(self.n_rows * self.row_size + self.heap) // BLOCK) * BLOCK


class Place(NamedTuple):
    """Where an array is in a file, and how it is written there."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    header: Header

    @property
    def size(self) -> int:
        """How many bytes there are from its first to its last."""
        last = sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        return last + self.dtype.itemsize if 0 not in self.shape else 0


def native(values: np.ndarray) -> np.ndarray:
    """Copy an array into one that is contiguous and in the machine's byte order."""
    return np.array(values, dtype=native_type(values.dtype), order="C")


@lru_cache
def native_type(dtype: np.dtype) -> np.dtype:
    """Give a type in the machine's byte order."""
    return dtype.newbyteorder("=")


class FitsReader:
    """A FITS file, open for reading.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    OSError
        If it can't be opened.
    """

    def __init__(self, path: str):
        self.headers: list[Header] = []
        self._start, self._content = 0, b""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def hdu(self, number: int) -> "Hdu":
        """Find an HDU; only headers are read.

        Parameters
        ----------
        number : int
            0 is the primary one.

        Raises
        ------
        NotPlainError
            If it isn't there, or the file is not plain FITS.
        """
        if not isinstance(number, int) or number < 0:
            raise NotPlainError(f"HDU {number!r} is not given by its number")
        while len(self.headers) <= number:
            start = self.headers[-1].end if self.headers else 0
            self.headers.append(_parse(start, self._header(start)))
        return Hdu(self, self.headers[number])

    def card(self, keyword: str) -> str | int | float | None:
        """Give a value of the primary header, or None."""
        self.hdu(0)
        content = self.headers[0].content
        found = content.find(keyword.encode().ljust(8) + b"= ")
        if found < 0 or found % CARD:
            return None
        text = content[found + 10 : found + CARD].decode("latin-1").strip()
        if text.startswith("'"):
            return text[1:].partition("'")[0].rstrip()
        word = text.partition("/")[0].strip()
        return int(word) if word.lstrip("+-").isdigit() else float(word)

    def read(self, place: Place) -> np.ndarray:
        """Read an array, into the machine's byte order."""
        # Of rows that are wide, only the wanted bytes of each.
        if len(place.shape) > 1 and place.strides[0] > FIRST_READ:
            inner = place._replace(shape=place.shape[1:], strides=place.strides[1:])
            rows = [inner._replace(start=place.start + i * place.strides[0]) for i in range(place.shape[0])]
            return np.array([self.read(row) for row in rows])
        content, at = self._need(place.start, place.size)
        return native(np.ndarray(place.shape, place.dtype, content, at, place.strides))

    def _need(self, start: int, size: int) -> tuple[bytes, int]:
        """Give bytes that have the wanted ones in them, and where these begin."""
        at = start - self._start
        if at < 0 or at + size > len(self._content):
            self._start, self._content, at = start, os.pread(self._descriptor, max(size, FIRST_READ), start), 0
            if len(self._content) < size:
                raise NotPlainError(f"the file ends at byte {start + len(self._content)}, and needs {start + size}")
        return self._content, at

    def _header(self, start: int) -> bytes:
        size = BLOCK
        while size < LARGEST_HEADER:
            content, at = self._need(start, size)
            found = end_of_header(content, at, at + size)
            if found >= 0:
                return content[at : at + size]
            size += BLOCK
        raise NotPlainError(f"the header at byte {start} has no END")


class Hdu:
    """An HDU, whose data are not read before they are asked for.

    Parameters
    ----------
    reader : FitsReader
        The open file.
    header : Header
        Its header.
    """

    def __init__(self, reader: FitsReader, header: Header):
        self._reader, self._header = reader, header
        self.is_table = header.is_table
        self.n_rows = header.n_rows if header.inner else 1

    def place_of_image(self, row: int | None = None) -> Place:
        """Tell where the image is, or a row of it (a 1-D image has but one)."""
        _, _, n_rows, row_size, _, _, dtype, inner, _ = header = self._header
        shape = (n_rows, *inner) if row is None or not inner else inner
        if dtype is None or not math.prod(shape) or (inner and row is not None and not 0 <= row < n_rows):
            raise NotPlainError("it is no plain image, or has no such row")
        strides = tuple(math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape)))
        start = header.data + (row_size * row if row is not None and inner else 0)
        return Place(start, dtype, shape, strides, header)

    def place_of_column(self, name: str, row: int | None = None) -> Place | None:
        """Tell where a column is, or its array in a row; None if there is no such column (in upper case)."""
        header = self._header
        if not header.is_table or not header.n_rows or not 0 <= (row or 0) < header.n_rows:
            raise NotPlainError("it is no table, or has no such row")
        column = header.columns.get(name)
        if column is None:
            return None
        offset, dtype, repeat = column
        if dtype is None:
            raise NotPlainError(f"column {name} is not of plain numbers")
        start = header.data + offset + header.row_size * (row or 0)
        if row is not None:
            return Place(start, dtype, (repeat,), (dtype.itemsize,), header)
        if repeat == 1:
            return Place(start, dtype, (header.n_rows,), (header.row_size,), header)
        return Place(start, dtype, (header.n_rows, repeat), (header.row_size, dtype.itemsize), header)

    def image(self, row: int | None = None) -> np.ndarray:
        """Read the image, or a row of it."""
        return self._reader.read(self.place_of_image(row))

    def column(self, name: str, row: int | None = None) -> np.ndarray | None:
        """Read a column by its name in upper case, or its array in a row; None if there is none."""
        place = self.place_of_column(name, row)
        return None if place is None else self._reader.read(place)

    def card(self, keyword: str) -> str | int | float | None:
        """Give a value of the file's primary header, or None."""
        return self._reader.card(keyword)


def end_of_header(content: bytes | bytearray, start: int, stop: int) -> int:
    """Find the END card of the header that begins at `start`; -1 if there is none before `stop`."""
    initials = content[start:stop:CARD]
    card = initials.find(b"E")
    while card >= 0:
        if content.startswith(END, start + card * CARD, stop):
            return start + card * CARD
        card = initials.find(b"E", card + 1)
    return -1


def _parse(start: int, content: bytes) -> Header:
    if not content.startswith(_STARTS):
        raise NotPlainError(f"there is no image or table at byte {start}")
    cards = _cards(content)
    try:
        axes = [_whole(cards[f"NAXIS{i + 1}"]) for i in range(_whole(cards["NAXIS"]))]
        bits, groups = _whole(cards["BITPIX"]), _whole(cards.get("GCOUNT", "1"))
        heap = _whole(cards.get("PCOUNT", "0"))
    except (KeyError, ValueError) as error:
        raise NotPlainError(f"a header has no usable {error}") from error
    if groups != 1 or bits not in _IMAGE_TYPES or any(axis < 0 for axis in [*axes, heap]):
        raise NotPlainError("a header says what no plain HDU has")
    *inner, n_rows = axes or [0]
    inner.reverse()
    row_size = math.prod(inner) * abs(bits) // 8
    if content.startswith(_STARTS[2]):
        if len(axes) != 2 or bits != 8:
            raise NotPlainError("a table that is not of rows of bytes")
        if "ZIMAGE" in cards:  # a compressed image: neither a table nor a plain image
            return Header(start, content, n_rows, row_size, heap, False, None, tuple(inner), {})
        return Header(start, content, n_rows, row_size, heap, True, None, tuple(inner), _columns(cards, row_size))
    is_plain = axes and not any(keyword in cards for keyword in _SCALING)
    dtype = np.dtype(_IMAGE_TYPES[bits]) if is_plain else None
    return Header(start, content, n_rows, row_size, heap, False, dtype, tuple(inner), {})


def _cards(header: bytes) -> dict[str, str]:
    """Give values by keyword, as they are written; text in its quotes."""
    cards: dict[str, str] = {}
    for i in range(0, len(header), CARD):
        if header[i + 8 : i + 10] == b"= ":
            cards.setdefault(header[i : i + 8].rstrip().decode("latin-1"), header[i + 10 : i + CARD].decode("latin-1"))
    return cards


def _columns(cards: dict[str, str], row_size: int) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    offset = 0
    for i in range(1, _whole(cards.get("TFIELDS", "0")) + 1):
        form = _FORM.match(cards.get(f"TFORM{i}", "").strip().strip("'"))
        if form is None:
            raise NotPlainError(f"column {i} has an unknown format")
        repeat, code = int(form[1] or 1), form[2]
        is_plain = not any(f"{keyword}{i}" in cards for keyword in ("TSCAL", "TZERO", "TDIM"))
        dtype = np.dtype(_COLUMN_TYPES[code]) if code in _COLUMN_TYPES and is_plain else None
        if code == "A" and repeat and is_plain:
            dtype, size, repeat = np.dtype(f"S{repeat}"), repeat, 1
        elif code == "X":
            size = -(-repeat // 8)
        else:
            size = repeat * (np.dtype(_COLUMN_TYPES[code]).itemsize if code in _COLUMN_TYPES else _OTHER_SIZES[code])
        name = cards.get(f"TTYPE{i}", "").partition("'")[2].partition("'")[0].strip().upper()
        columns.setdefault(name, Column(offset, dtype, repeat))
        offset += size
    if offset != row_size:
        raise DamagedFileError(f"its columns have {offset} bytes, and its rows {row_size}")
    return columns


def _whole(text: str) -> int:
    return int(text.partition("/")[0])
