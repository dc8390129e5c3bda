"""The headers and one-row tables of a FITS file, read without its pixels.

Ingesting needs a few header cards and one row of a table with some 200 columns. This reads just these: the pixels of
an HDU are skipped, and cards and a row's values are parsed when they are asked for. It takes a millisecond per file
where a full FITS library needs most of a tenth of a second. Pixels are read by the accessors of `pixels`, not by this.
"""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.byte_stream import GZIP_MAGIC, open_file
from astra_models.fits.columns import ELEMENTS, RowValue
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import BLOCK, Header, read_header, require_fits

__all__ = ["FitsFile", "Hdu", "Row"]


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

    def get(self, name: str) -> RowValue:
        """Give a value: text, number, boolean, a list; None if there is no such column or value."""
        column = self._columns.get(name.upper())
        return None if column is None else column.value(self._content)


class FitsFile:
    """Headers of a FITS file, and rows of its tables.

    Parameters
    ----------
    path : str
        The file, gzipped or not. It is opened for reading, and closed before this returns.
    n_hdus : int
        How many HDUs are read at most.

    Attributes
    ----------
    hdus : list of Hdu
        The HDUs.

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
            while len(self.hdus) < n_hdus and stream.tell() < max(length, 1):
                self._read_hdu(stream, length)

    def _read_hdu(self, stream: BinaryIO, length: int) -> None:
        number, start = len(self.hdus), stream.tell()
        first = stream.read(BLOCK)
        if number == 0:
            require_fits(first)
        hdu = Hdu(read_header(first, stream.read, number), start)
        hdu.is_complete = hdu.data + hdu.size <= length
        self.hdus.append(hdu)
        if hdu.n_rows > 0:
            self._rows[number] = stream.read(hdu.row_size)
        stream.seek(hdu.end)

    @property
    def primary(self) -> Header:
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
        hdu, content = self.hdus[number], self._rows.get(number, b"")
        if len(content) < hdu.row_size or not content:
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
        with _open(self.path) as stream:
            stream.seek(hdu.data)
            for _ in range(hdu.n_rows):
                content = stream.read(hdu.row_size)
                if len(content) < hdu.row_size:
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
        with _open(self.path) as stream:
            stream.seek(hdu.data)
            content = stream.read(hdu.size)
        values = np.ndarray((hdu.n_rows,), ELEMENTS[column.code], content, column.offset, (hdu.row_size,))
        return values.astype(np.float64)

    def describe(self) -> str:
        """List the HDUs, for messages."""
        shown = "; ".join(f"HDU {i}: {hdu.describe()}" for i, hdu in enumerate(self.hdus[:6]))
        return shown + ("; ..." if len(self.hdus) > 6 else "")


def _open(path: str) -> BinaryIO:
    stream = open_file(path)
    magic = stream.read(len(GZIP_MAGIC))
    stream.seek(0)
    return _decompressed(stream) if magic == GZIP_MAGIC else stream


def _decompressed(stream: BinaryIO) -> BinaryIO:
    try:
        with stream:
            return io.BytesIO(gzip.decompress(stream.read()))
    except (OSError, EOFError, zlib.error) as error:
        raise UnrecognizedFileError(f"it is gzipped and damaged ({error}); fetch it again") from error
