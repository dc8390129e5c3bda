"""Arrays of a FITS file, found by its headers and read without anything else of it.

A general library takes a millisecond or more per HDU; the survey's files are simple, and there are millions of them.
This reader knows plain images and binary tables of numbers. Whatever else a file has (compression, scaled or
variable-length columns, HDUs by name) raises `NotPlainError`, and so does most damage: `astropy.io.fits` then reads
the file, or says what is wrong with it.

It says where arrays are, as `Place`. `recipe.Recipes` is the door to use: it reads the next file of the same kind from
the same places without parsing anything.
"""

import math
import os
from contextlib import ExitStack
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_models.fits.byte_stream import GZIP_MAGIC, ByteStream
from astra_models.fits.columns import row_size
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import BLOCK, CardValue, DamagedFileError, Header, NotPlainError, read_header

__all__ = [
    "DamagedFileError",
    "FitsReader",
    "NotPlainError",
    "Place",
    "PlainHdu",
    "native",
    "native_type",
]

FIRST_READ = 16 * BLOCK
LARGEST_READ = 1 << 26

_IMAGE_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_SCALING = ("BSCALE", "BZERO", "BLANK", "ZIMAGE", "GROUPS")
_STARTS = (b"SIMPLE  =", b"XTENSION= 'IMAGE   '", b"XTENSION= 'BINTABLE'")


class Place(NamedTuple):
    """Where an array is in a file, and how it is written there.

    Parameters
    ----------
    start : int
        Its first byte in the file.
    dtype : dtype
        The type of an element.
    shape, strides : tuple of int
        Lengths of its axes, and the bytes from one element to the next along each.
    hdu : PlainHdu
        Of which HDU it is.
    """

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    hdu: "PlainHdu"

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
        The file, gzipped or not. What is read of a gzipped one is unpacked as far as that, and kept.
    largest : int, optional
        How many bytes it may have at most, unpacked.

    Attributes
    ----------
    hdus : list of PlainHdu
        The HDUs whose headers have been read.
    is_gzip : bool
        Whether it is gzipped.

    Raises
    ------
    OSError
        If it can't be opened.
    UnrecognizedFileError
        If it is no regular file.
    """

    def __init__(self, path: str, largest: int = door.LARGEST_SPECTRUM):
        self.hdus: list[PlainHdu] = []
        self._open = ExitStack()
        self._descriptor, self._size = door.open_descriptor(path)
        self._open.callback(os.close, self._descriptor)
        self._start, self._content = 0, os.pread(self._descriptor, FIRST_READ, 0)
        self.is_gzip = self._content.startswith(GZIP_MAGIC)
        self._unpacked, self._stream = bytearray(), None
        if self.is_gzip:
            self._size = door.most_unpacked(self._size, largest)
            self._content, self._stream = b"", self._open.enter_context(ByteStream(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def hdu(self, number: int | str) -> "PlainHdu":
        """Find an HDU; only headers are read.

        Parameters
        ----------
        number : int
            0 is the primary one.

        Raises
        ------
        NotPlainError
            If it isn't there, or the file is not plain FITS.
        DamagedFileError
            If the columns of a table are not as wide as its rows.
        """
        if not isinstance(number, int) or number < 0:
            raise NotPlainError(f"HDU {number!r} is not given by its number")
        try:
            while len(self.hdus) <= number:
                start = self.hdus[-1].end if self.hdus else 0
                self.hdus.append(PlainHdu(self, self._header(start), start))
        except UnrecognizedFileError as error:
            raise NotPlainError(str(error)) from error
        return self.hdus[number]

    def read(self, place: Place) -> np.ndarray:
        """Read an array, into the machine's byte order."""
        if place.start + place.size > self._size:
            raise self._too_short(place.start + place.size)
        if place.size > LARGEST_READ and place.shape[0] > 1:
            middle = place.shape[0] // 2
            one = place._replace(shape=(middle, *place.shape[1:]))
            rest = (place.shape[0] - middle, *place.shape[1:])
            other = place._replace(start=place.start + middle * place.strides[0], shape=rest)
            return np.concatenate([self.read(one), self.read(other)])
        # Of rows that are wide, only the wanted bytes of each.
        if len(place.shape) > 1 and place.strides[0] > FIRST_READ:
            inner = place._replace(shape=place.shape[1:], strides=place.strides[1:])
            rows = [inner._replace(start=place.start + i * place.strides[0]) for i in range(place.shape[0])]
            return np.array([self.read(row) for row in rows])
        content, at = self._need(place.start, place.size)
        return native(np.ndarray(place.shape, place.dtype, content, at, place.strides))

    def _need(self, start: int, size: int) -> tuple[bytes | bytearray, int]:
        """Give bytes that have the wanted ones in them, and where these begin."""
        at = start - self._start
        if at < 0 or at + size > len(self._content):
            if start + size > self._size:
                raise self._too_short(start + size)
            if self._stream is not None:
                return self._unpack(self._stream, start + size), start
            self._start, self._content, at = start, os.pread(self._descriptor, max(size, FIRST_READ), start), 0
            if len(self._content) < size:
                self._size = start + len(self._content)  # it has become shorter
                raise self._too_short(start + size)
        return self._content, at

    def _unpack(self, stream: ByteStream, end: int) -> bytearray:
        """Unpack as far as is needed; all of it is kept, for arrays are read after the headers that follow them."""
        while len(self._unpacked) < end:
            piece = stream.read_some(end - len(self._unpacked))
            if not piece:
                self._size = len(self._unpacked)
                raise self._too_short(end)
            self._unpacked += piece
        return self._unpacked

    def _too_short(self, needed: int) -> NotPlainError:
        what = "may have" if self.is_gzip else "ends at byte"
        return NotPlainError(f"the file {what} {self._size}, and needs {needed}")

    def _header(self, start: int) -> Header:
        end = start

        def read(size: int) -> bytes | bytearray:
            nonlocal end
            content, at = self._need(end, size)
            end += size
            return content[at : at + size]

        first = read(BLOCK)
        if not first.startswith(_STARTS):
            raise NotPlainError(f"there is no image or table at byte {start}")
        return read_header(first, read, len(self.hdus))


class PlainHdu(Hdu):
    """An HDU whose arrays can be read, if they are plain; nothing of them is before they are asked for.

    Parameters
    ----------
    reader : FitsReader
        The open file.
    header : Header
        Its header.
    start : int
        The first byte of the header in the file.

    Raises
    ------
    NotPlainError
        If it is neither an image nor a table.
    DamagedFileError
        If the columns of a table are not as wide as its rows.
    """

    def __init__(self, reader: FitsReader, header: Header, start: int):
        super().__init__(header, start)
        self._reader = reader
        if header.count("GCOUNT", 1) != 1 or "ZIMAGE" in header:
            raise NotPlainError("groups, or a compressed image")
        if self.is_table and (len(self.shape) != 2 or header.bits != 8):
            raise NotPlainError("a table that is not of rows of bytes")
        if self.is_table and (width := row_size(self.all_columns)) != self.row_size:
            raise DamagedFileError(f"its columns have {width} bytes, and its rows {self.row_size}")

    @cached_property
    def n_rows(self) -> int:
        """Rows of a table, or of an image; 1 for a 1-D image."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @cached_property
    def _image_type(self) -> np.dtype | None:
        is_plain = self.shape and not self.is_table and not any(keyword in self.header for keyword in _SCALING)
        return np.dtype(_IMAGE_TYPES[self.header.bits]) if is_plain else None

    def place_of_image(self, row: int | None = None) -> Place:
        """Tell where the image is, or a row of it (a 1-D image has but one).

        Raises
        ------
        NotPlainError
            If it is no plain image, or has no such row.
        """
        whole, inner, dtype = self.shape, self.shape[1:], self._image_type
        shape = whole if row is None or not inner else inner
        if dtype is None or not math.prod(shape) or (inner and row is not None and not 0 <= row < whole[0]):
            raise NotPlainError("it is no plain image, or has no such row")
        strides = tuple(math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape)))
        skipped = row * math.prod(inner) * dtype.itemsize if row is not None and inner else 0
        return Place(self.data + skipped, dtype, shape, strides, self)

    def place_of_column(self, name: str, row: int | None = None) -> Place | None:
        """Tell where a column is, or its array in a row; None if there is no such column (in upper case).

        Raises
        ------
        NotPlainError
            If it is no table, has no such row, or the column is not of plain numbers or text.
        """
        n_rows = self.n_rows
        if not self.is_table or not n_rows or not 0 <= (row or 0) < n_rows:
            raise NotPlainError("it is no table, or has no such row")
        column = self.columns.get(name)
        if column is None:
            return None
        if not column.is_plain:
            raise NotPlainError(f"column {name} is not of plain numbers")
        dtype = column.dtype.base
        repeat = 1 if column.code == "A" else column.repeat
        start = self.data + column.offset + self.row_size * (row or 0)
        if row is not None:
            return Place(start, dtype, (repeat,), (dtype.itemsize,), self)
        if repeat == 1:
            return Place(start, dtype, (n_rows,), (self.row_size,), self)
        return Place(start, dtype, (n_rows, repeat), (self.row_size, dtype.itemsize), self)

    def image(self, row: int | None = None) -> np.ndarray:
        """Read the image, or a row of it."""
        return self._reader.read(self.place_of_image(row))

    def column(self, name: str, row: int | None = None) -> np.ndarray | None:
        """Read a column by its name in upper case, or its array in a row; None if there is none."""
        place = self.place_of_column(name, row)
        return None if place is None else self._reader.read(place)

    def card(self, keyword: str) -> CardValue | None:
        """Give a value of the file's primary header, or None."""
        return self._reader.hdu(0).header.get(keyword)
