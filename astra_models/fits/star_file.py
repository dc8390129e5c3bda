"""The headers and one-row tables of a FITS file, read without its pixels.

Ingesting needs a few header cards and one row of a table with some 200 columns. This reads just these: the pixels of
an HDU are skipped, and cards and a row's values are parsed when they are asked for. It takes a millisecond per file
where a full FITS library needs most of a tenth of a second. Pixels are read by the accessors of `pixels`, not by this.

A gzipped file is unpacked as far as it is needed, and nothing of it is kept.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_models.fits.byte_stream import GZIP_MAGIC, ByteStream, DamagedGzipError, Mark
from astra_models.fits.columns import ELEMENTS, RowValue
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import BLOCK, FETCH_AGAIN, Header, read_header, require_fits

__all__ = ["FitsFile", "Hdu", "Row", "require_width"]

READ_AT_ONCE = 1 << 23


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
    largest : int
        How many bytes it may have at most, unpacked.

    Attributes
    ----------
    hdus : list of Hdu
        The HDUs.
    length : int
        The bytes of the file; of a gzipped one, how many it may have, unpacked.

    Raises
    ------
    UnrecognizedFileError
        If it can't be opened, is not FITS, ends within a header, or is too large.
    """

    def __init__(self, path: str, n_hdus: int = 12, largest: int = door.LARGEST_SPECTRUM):
        self.path = path
        self.largest = largest
        self.length = self._ends = 0
        self._rows: dict[int, bytes | bytearray] = {}
        self._marks: dict[int, Mark] = {}
        self.hdus: list[Hdu] = []
        stream = door.open_file(path)
        with stream:
            self.is_gzip = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            self.length = self._ends = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            if not self.is_gzip:
                self._require_bound(self.length, "it has")
                self._read_hdus(stream, n_hdus)
                return
        self.length = door.most_unpacked(self.length, largest)
        try:
            with _Unpacked(path) as unpacked:
                self._read_hdus(unpacked, n_hdus)
        except DamagedGzipError as error:
            reason = str(error).removesuffix(f"; {FETCH_AGAIN}")
            raise UnrecognizedFileError(f"it is gzipped and damaged ({reason}); {FETCH_AGAIN}") from error

    def _read_hdus(self, stream: "BinaryIO | _Unpacked", n_hdus: int) -> None:
        while len(self.hdus) < n_hdus and stream.tell() < max(self.length, 1):
            start = stream.tell()
            first = stream.read(BLOCK)
            if self.is_gzip and self.hdus and not first:
                return
            if not self.hdus:
                require_fits(first)
            hdu = Hdu(read_header(first, stream.read, len(self.hdus)), start)
            self.hdus.append(hdu)
            self._read_row(stream, hdu)
            if not hdu.is_complete:
                return

    def _read_row(self, stream: "BinaryIO | _Unpacked", hdu: Hdu) -> None:
        """Read the first row of a table, and go to the next HDU."""
        number, needed = hdu.number, hdu.data + hdu.size
        hdu.is_complete = needed <= self.length
        if self.is_gzip and not hdu.is_complete:
            self._require_bound(needed, f"HDU {number} ends at")
        if isinstance(stream, _Unpacked):
            self._marks[number] = stream.mark()
        if hdu.n_rows > 0 and hdu.data + hdu.row_size <= self.length:
            if hdu.row_size > door.LARGEST_ROW:
                raise UnrecognizedFileError(
                    f"a row of HDU {number} has {hdu.row_size} bytes (NAXIS1), and {door.LARGEST_ROW} are the most "
                    f"that are read; it is damaged, {FETCH_AGAIN}"
                )
            self._rows[number] = stream.read(hdu.row_size)
        if self.is_gzip:
            self._ends = stream.seek(needed)
            hdu.is_complete = self._ends == needed
        if hdu.is_complete:
            stream.seek(hdu.end)

    def _require_bound(self, size: int, what: str) -> None:
        if size > self.largest:
            raise UnrecognizedFileError(
                f"it is too large for the file of a spectrum: {what} {size} bytes, and {self.largest} are allowed; if "
                "it is one, raise `files: largest_spectrum` in the configuration"
            )
        if self.is_gzip and size > self.length:
            raise UnrecognizedFileError(
                f"it is gzipped and unpacks to more than {door.PLAUSIBLE_RATIO} times its size: {what} {size} bytes; "
                "unpack it if it is to be read, or fetch it again"
            )

    @property
    def primary(self) -> Header:
        """The primary header."""
        return self.hdus[0].header

    def require_data(self, number: int, what: str) -> None:
        """Check that all data of an HDU are there, and are not more than a spectrum has.

        Parameters
        ----------
        number : int
            Which HDU, from 0.
        what : str
            What they are, for the message: pixels, table.

        Raises
        ------
        UnrecognizedFileError
            If they are not.
        """
        hdu = self.hdus[number]
        if not hdu.is_complete:
            sizes = " x ".join(f"{length}" for length in reversed(hdu.shape))
            raise UnrecognizedFileError(
                f"the file is truncated in the {what} of HDU {number}: with axes of {sizes} that ends at byte "
                f"{hdu.data + hdu.size}, and the file at {self._ends}; {FETCH_AGAIN}"
            )
        if hdu.n_rows > door.MOST_PIXELS:
            raise UnrecognizedFileError(
                f"HDU {number} has {hdu.n_rows} rows (NAXIS2), and {door.MOST_PIXELS} are the most that a spectrum "
                f"has; it is damaged, {FETCH_AGAIN}"
            )

    def row(self, number: int) -> Row:
        """Give the first row of a table.

        Parameters
        ----------
        number : int
            Which HDU, from 0.

        Raises
        ------
        UnrecognizedFileError
            If the file ends before the row does, or its columns are not as wide as it is.
        """
        hdu, content = self.hdus[number], self._rows.get(number, b"")
        if len(content) < hdu.row_size or not content:
            raise _truncated(number)
        require_width(hdu)
        return Row(hdu, bytes(content))

    def rows(self, number: int) -> Iterator[Row]:
        """Give the rows of a table, one after the other.

        Parameters
        ----------
        number : int
            Which HDU, from 0.

        Raises
        ------
        UnrecognizedFileError
            If the file ends before the last, there are too many, or the columns are not as wide as they are.
        """
        hdu = self.hdus[number]
        if hdu.n_rows > door.MOST_VISITS:
            raise UnrecognizedFileError(
                f"HDU {number} has {hdu.n_rows} rows (NAXIS2), and {door.MOST_VISITS} visits are the most that are "
                f"read; it is damaged, {FETCH_AGAIN}"
            )
        if hdu.n_rows:
            require_width(hdu)
        with self._at_data(hdu) as stream:
            for _ in range(hdu.n_rows):
                content = stream.read(hdu.row_size)
                if len(content) < hdu.row_size:
                    raise _truncated(number)
                yield Row(hdu, bytes(content))

    def arrays(self, number: int, *names: str) -> list[np.ndarray]:
        """Read columns of numbers, one per row.

        Parameters
        ----------
        number : int
            Which HDU, from 0.
        *names : str
            The columns, in whatever case.

        Returns
        -------
        list of ndarray of float64, shape (n_rows,)
            The values of each column.

        Raises
        ------
        UnrecognizedFileError
            If the file ends before the last row, or a column is not of numbers.
        """
        self.require_data(number, "table")
        hdu = self.hdus[number]
        require_width(hdu)
        columns = [hdu.columns[name.upper()] for name in names]
        for column in columns:
            if column.unreadable or column.kind not in ("int", "float"):
                raise UnrecognizedFileError(
                    f"column {column.name} of HDU {number} is not of numbers (TFORM {column.form}); it is damaged, "
                    f"{FETCH_AGAIN}"
                )
        found = [np.empty(hdu.n_rows) for _ in columns]
        n_rows = max(1, READ_AT_ONCE // hdu.row_size)
        with self._at_data(hdu) as stream:
            for start in range(0, hdu.n_rows, n_rows):
                some = min(n_rows, hdu.n_rows - start)
                content = stream.read(some * hdu.row_size)
                if len(content) < some * hdu.row_size:
                    raise _truncated(number)
                for column, values in zip(columns, found, strict=True):
                    raw = np.ndarray((some,), ELEMENTS[column.code], content, column.offset, (hdu.row_size,))
                    values[start : start + some] = raw
        return found

    def describe(self) -> str:
        """List the HDUs, for messages."""
        shown = "; ".join(f"HDU {i}: {hdu.describe()}" for i, hdu in enumerate(self.hdus[:6]))
        return shown + ("; ..." if len(self.hdus) > 6 else "")

    def _at_data(self, hdu: Hdu) -> "BinaryIO | _Unpacked":
        """Open the file where the data of an HDU begin."""
        if self.is_gzip:
            return _Unpacked(self.path, self._marks[hdu.number])
        stream = door.open_file(self.path)
        stream.seek(hdu.data)
        return stream


class _Unpacked(ByteStream):
    """A gzipped file, that can be gone through forwards as if it weren't."""

    def read(self, size: int) -> bytearray:
        """Give the next bytes, or fewer at the end of a file that is whole."""
        content = super().read(size)
        if len(content) < size:
            self.read_some(1)  # raises if the file is truncated
        return content

    def tell(self) -> int:
        """Tell how many bytes are before this place."""
        return self.position

    def seek(self, position: int, /) -> int:
        """Go forwards to a place, or to the end if that comes first; gives where this is."""
        while self.position < position and self.read_some(position - self.position):
            pass
        return self.position


def require_width(hdu: Hdu) -> None:
    """Check that the columns of a table are as wide as its rows; of anything else there is nothing to check.

    Raises
    ------
    UnrecognizedFileError
        If they aren't, or there are too many.
    """
    if not hdu.is_table:
        return
    last = hdu.all_columns[-1] if hdu.all_columns else None
    width = last.offset + last.size if last else 0
    if width != hdu.row_size:
        raise UnrecognizedFileError(
            f"the columns of HDU {hdu.number} take {width} bytes of a row, but NAXIS1 says {hdu.row_size}; the file "
            f"is damaged, {FETCH_AGAIN}"
        )


def _truncated(number: int) -> UnrecognizedFileError:
    return UnrecognizedFileError(f"the file is truncated in the table of HDU {number}; {FETCH_AGAIN}")
