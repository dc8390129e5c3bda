"""Binary tables of a FITS file of any size, gzipped or not, in bounded memory.

A file is gone through twice. `scan` reads all of it once: the headers, which tell what it holds, its SHA-256, and the
checksums, which are only known at the end, when rows that were read on the way would be in the database already. Then
`read_rows` gives the rows of a table a block at a time, from where the scan marked them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_models.fits.byte_stream import ByteStream, Mark, TruncatedGzipError
from astra_models.fits.checksum import Checksum, same_sum
from astra_models.fits.columns import FitsColumn, row_size, row_type
from astra_models.fits.hdu import Hdu
from astra_models.fits.header import (
    BLOCK,
    FETCH_AGAIN,
    STARTS,
    Header,
    NotFitsError,
    padded,
    read_header,
    require_fits,
)

__all__ = ["FitsScan", "NotFitsError", "TableHdu", "read_rows", "scan"]

READ_AT_ONCE = 364 * BLOCK
ROWS_AT_ONCE = 1 << 26
"""Bytes of rows that are given at once, at most."""


@dataclass(frozen=True)
class TableHdu:
    """A binary table in a file.

    Parameters
    ----------
    number : int
        The number of the HDU.
    header : Header
        Its header.
    columns : tuple of FitsColumn
        Its columns.
    n_rows : int
        How many rows it has; of a damaged file, how many are whole.
    mark : Mark
        Where its rows begin.
    first_row : ndarray, shape (0 or 1,)
        Its first row.
    """

    number: int
    header: Header
    columns: tuple[FitsColumn, ...]
    n_rows: int
    mark: Mark
    first_row: np.ndarray

    @property
    def name(self) -> str:
        """Its EXTNAME, or nothing."""
        return self.header.text("EXTNAME")

    @property
    def row_type(self) -> np.dtype:
        """The type of its rows."""
        return self.first_row.dtype


@dataclass
class FitsScan:
    """What going through a file once has told.

    Parameters
    ----------
    path : str
        The file.
    size : int
        Its bytes, as it is.
    sha256 : str
        Of these bytes.
    primary : Header
        The primary header.
    tables : list of TableHdu
        The binary tables, those without rows included.
    problems : list of str
        What is damaged.
    others : list of str
        What else there is.
    remarks : list of str
        What readers forgive and our own files don't have: no checksums, anything after the last HDU.
    n_hdus : int
        How many HDUs there are.
    header_bytes : int
        Bytes of all of their headers.
    """

    path: str
    size: int = 0
    sha256: str = ""
    primary: Header = field(default_factory=lambda: Header(b""))
    tables: list[TableHdu] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    n_hdus: int = 0
    header_bytes: int = 0


def scan(
    path: str,
    progress: Callable[[int], None] | None = None,
    *,
    hashed: bool = True,
    look: Callable[[Hdu], None] = lambda hdu: None,
) -> FitsScan:
    """Go through a file once: headers, checksums, SHA-256.

    Parameters
    ----------
    path : str
        A FITS file, gzipped or not.
    progress : callable, optional
        Called with the number of bytes of the file that were read so far.
    hashed : bool, optional
        Whether to compute the SHA-256.
    look : callable, optional
        Called with each HDU before its data are read; what it raises is raised.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read, or is no FITS file. A truncated file or a wrong checksum is listed in ``problems``.
    """
    found = FitsScan(path)
    with ByteStream(path, hashed=hashed, progress=progress) as stream:
        try:
            while _scan_hdu(stream, found, look):
                pass
        except TruncatedGzipError as error:
            if not found.n_hdus:
                raise
            found.problems.append(str(error))
        found.sha256 = stream.sha256() if hashed else ""
        found.size = stream.size
    return found


def read_rows(file: FitsScan, table: TableHdu, n_rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Read a table's rows, a block at a time; the next block is read while the caller has one.

    Parameters
    ----------
    file : FitsScan
        The file.
    table : TableHdu
        The table in it.
    n_rows : int
        Rows per block, if they have no more bytes than `ROWS_AT_ONCE`; fewer otherwise.

    Yields
    ------
    (int, ndarray)
        The number of the block's first row, from 0, and its rows.

    Raises
    ------
    UnrecognizedFileError
        If the file isn't any more what it was when it was scanned.
    """
    n_rows = max(1, min(n_rows, ROWS_AT_ONCE // table.row_type.itemsize))
    starts = range(0, table.n_rows, n_rows)
    with ByteStream(file.path, table.mark) as stream, ThreadPoolExecutor(1, "astra-read") as thread:

        def read(start: int) -> bytearray:
            return stream.read(min(n_rows, table.n_rows - start) * table.row_type.itemsize)

        upcoming = thread.submit(read, 0) if starts else None
        for start in starts:
            assert upcoming is not None
            content = upcoming.result()
            if start + n_rows < table.n_rows:
                upcoming = thread.submit(read, start + n_rows)
            expected = min(n_rows, table.n_rows - start) * table.row_type.itemsize
            if len(content) < expected:
                raise UnrecognizedFileError(f"{file.path}: the file has become shorter while it was read; begin again")
            yield start, np.frombuffer(content, table.row_type)


def _scan_hdu(stream: ByteStream, found: FitsScan, look: Callable[[Hdu], None]) -> bool:
    """Go through one HDU; tell whether there can be another one."""
    first = stream.read(BLOCK)
    if found.n_hdus == 0:
        require_fits(first)
    elif not first.startswith(STARTS):
        found.remarks += ["there is something after its last HDU"] if first else []
        return False
    hdu = Hdu(read_header(first, stream.read, found.n_hdus))
    found.header_bytes += len(hdu.header.content)
    _require_bounds(hdu, found)
    look(hdu)
    mark = stream.mark()
    data = _read_data(stream, hdu)
    is_whole = data.size >= padded(hdu.size)
    found.n_hdus += 1
    found.problems += _problems(hdu, data)
    found.remarks += [] if is_whole else ["its last block is not whole"]
    found.remarks += [] if {"CHECKSUM", "DATASUM"} <= set(hdu.header) else [f"HDU {hdu.number} has no checksums"]
    if hdu.number == 0:
        found.primary = hdu.header
    elif not hdu.is_table or not hdu.all_columns:
        found.others.append(f"HDU {hdu.number}: {hdu.header.get('XTENSION', 'unknown')}")
    else:
        found.tables.append(_table(hdu, mark, data))
    return is_whole


def _require_bounds(hdu: Hdu, found: FitsScan) -> None:
    """Check that there aren't more headers, longer rows or larger images than there can be in a file of tables."""
    if found.n_hdus >= door.MOST_HDUS or found.header_bytes > door.MOST_HEADER_BYTES:
        raise UnrecognizedFileError(
            f"it has more than {found.n_hdus} HDUs with {found.header_bytes} bytes of headers, and {door.MOST_HDUS} "
            f"with {door.MOST_HEADER_BYTES} bytes are the most that are read; it is damaged, {FETCH_AGAIN}"
        )
    if hdu.row_size > door.LARGEST_ROW:
        raise UnrecognizedFileError(
            f"a row of HDU {hdu.number} has {hdu.row_size} bytes (NAXIS1), and {door.LARGEST_ROW} are the most that "
            f"are read; it is damaged, {FETCH_AGAIN}"
        )
    if not hdu.is_table and hdu.size > door.LARGEST_SPECTRUM:
        sizes = " x ".join(map(str, reversed(hdu.shape)))
        raise UnrecognizedFileError(
            f"HDU {hdu.number} is an image of {sizes} ({hdu.size} bytes), and a file of tables has none of more than "
            f"{door.LARGEST_SPECTRUM}; it is damaged, {FETCH_AGAIN}"
        )


@dataclass
class _Data:
    """What was seen of an HDU's data: how many bytes there are, the first of them, and their sum."""

    size: int = 0
    first: bytes = b""
    checksum: Checksum = field(default_factory=Checksum)
    truncated: str = ""


def _read_data(stream: ByteStream, hdu: Hdu) -> _Data:
    data, whole = _Data(), padded(hdu.size)
    while data.size < whole:
        try:
            piece = stream.read(min(whole - data.size, READ_AT_ONCE))
        except TruncatedGzipError as error:
            piece, data.truncated = bytearray(), f" ({error})"
        if not piece:
            break
        if len(data.first) < hdu.row_size:
            data.first += bytes(piece[: hdu.row_size - len(data.first)])
        data.checksum.update(piece)
        data.size += len(piece)
    return data


def _problems(hdu: Hdu, data: _Data) -> Iterator[str]:
    """Say what is damaged, if anything is."""
    title = f"HDU {hdu.number}"
    if data.size < hdu.size:
        yield (
            f"it is truncated in {title}: {hdu.size} bytes of data are expected and {data.size} are there"
            f"{data.truncated}; fetch it again"
        )
        return
    stated, actual = hdu.header.text("DATASUM"), data.checksum.value
    if stated.isdigit() and not same_sum(int(stated), actual):
        yield f"the checksum of the data of {title} is wrong: DATASUM says {stated}, they add up to {actual}"
        return
    data.checksum.update(hdu.header.content)
    if hdu.header.get("CHECKSUM") and not same_sum(data.checksum.value, 0):
        yield f"the checksum of {title} is wrong: its header is not the one that CHECKSUM was made of"


def _table(hdu: Hdu, mark: Mark, data: _Data) -> TableHdu:
    columns, width = hdu.all_columns, hdu.row_size
    if (taken := row_size(columns)) != width:
        raise UnrecognizedFileError(
            f"the columns of HDU {hdu.number} take {taken} bytes of a row, but NAXIS1 says {width}; the file is damaged"
        )
    n_rows = min(hdu.n_rows, data.size // width) if width else 0
    first_row = np.frombuffer(data.first if n_rows else b"", row_type(columns, width))
    return TableHdu(hdu.number, hdu.header, columns, n_rows, mark, first_row)
