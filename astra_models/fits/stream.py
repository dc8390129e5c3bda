"""Binary tables of a FITS file of any size, gzipped or not, in bounded memory.

A file is gone through twice. `scan` reads all of it once: the headers, which tell what it holds, its SHA-256, and the
checksums, which are only known at the end, when rows that were read on the way would be in the database already. Then
`read_rows` gives the rows of a table a block at a time, from where the scan marked them.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.byte_stream import ByteStream, Mark, TruncatedGzipError
from astra_models.fits.columns import FitsColumn, columns_of, row_type

BLOCK = 2880
CARD = 80
LARGEST_HEADER = 2000 * BLOCK
_AT_ONCE = 364 * BLOCK
_END = b"END".ljust(CARD)
_ALL_ONES = 0xFFFF_FFFF


@dataclass(frozen=True)
class TableHdu:
    """A binary table in a file.

    Parameters
    ----------
    number : int
        The number of the HDU.
    header : astropy.io.fits.Header
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
    header: Any
    columns: tuple[FitsColumn, ...]
    n_rows: int
    mark: Mark
    first_row: np.ndarray

    @property
    def name(self) -> str:
        """Its EXTNAME, or nothing."""
        return str(self.header.get("EXTNAME", "")).strip()

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
    primary : astropy.io.fits.Header
        The primary header.
    tables : list of TableHdu
        The binary tables, those without rows included.
    problems : list of str
        What is damaged.
    others : list of str
        What else there is.
    """

    path: str
    size: int = 0
    sha256: str = ""
    primary: Any = None
    tables: list[TableHdu] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def scan(path: str, progress: Callable[[int], None] | None = None) -> FitsScan:
    """Go through a file once: headers, checksums, SHA-256.

    Parameters
    ----------
    path : str
        A FITS file, gzipped or not.
    progress : callable, optional
        Called with the number of bytes of the file that were read so far.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read, or is no FITS file. A truncated file or a wrong checksum is told in ``problems``.
    """
    found = FitsScan(path)
    with ByteStream(path, hashed=True, progress=progress) as stream:
        try:
            while _scan_hdu(stream, found):
                pass
        except TruncatedGzipError as error:
            if found.primary is None:
                raise
            found.problems.append(str(error))
        found.sha256 = stream.sha256()
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
        Rows per block.

    Yields
    ------
    (int, ndarray)
        The number of the block's first row, from 0, and its rows.

    Raises
    ------
    UnrecognizedFileError
        If the file isn't any more what it was when it was scanned.
    """
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


def _scan_hdu(stream: ByteStream, found: FitsScan) -> bool:
    """Go through one HDU; tell whether there was one."""
    number = len(found.tables) + len(found.others) + (found.primary is not None)
    content = _read_header(stream, number)
    if content is None:
        return False
    header = _parse(content)
    size = _data_size(header, number)
    mark, first = stream.mark(), b""
    is_table = number > 0 and header.get("XTENSION") == "BINTABLE"
    columns = columns_of(header, number) if is_table else ()
    row_size = int(header["NAXIS1"]) if is_table else 0
    sums, read = _word_sum(content), 0
    data_sum = 0
    padded = -(-size // BLOCK) * BLOCK
    truncated = None
    while read < padded:
        try:
            piece = stream.read(min(padded - read, _AT_ONCE))
        except TruncatedGzipError as error:
            piece, truncated = bytearray(), str(error)
        if not piece:
            break
        first = first or bytes(piece[:row_size])
        data_sum += _word_sum(piece)
        read += len(piece)
    return _keep(found, _Hdu(number, header, columns, size, padded, read, sums, data_sum, truncated), mark, first)


@dataclass(frozen=True)
class _Hdu:
    """What was seen of an HDU: bytes that its header tells of and that there are, and the sums of both parts."""

    number: int
    header: Any
    columns: tuple[FitsColumn, ...]
    size: int
    padded: int
    read: int
    header_sum: int
    data_sum: int
    truncated: str | None

    def problem(self) -> str | None:
        """Say what is damaged, if anything is."""
        title = f"HDU {self.number}"
        if self.read < self.size:
            return (
                f"it is truncated in {title}: {self.size} bytes of data are expected and {self.read} are there"
                + (f" ({self.truncated})" if self.truncated else "")
                + "; fetch it again"
            )
        stated = str(self.header.get("DATASUM", "")).strip()
        actual = _folded(self.data_sum)
        if stated.isdigit() and int(stated) % _ALL_ONES != actual % _ALL_ONES:
            return f"the checksum of the data of {title} is wrong: DATASUM says {stated}, they add up to {actual}"
        if self.header.get("CHECKSUM") and _folded(self.header_sum + self.data_sum) % _ALL_ONES:
            return f"the checksum of {title} is wrong: its header is not the one that CHECKSUM was made of"
        return None


def _keep(found: FitsScan, hdu: _Hdu, mark: Mark, first: bytes) -> bool:
    problem = hdu.problem()
    if problem:
        found.problems.append(problem)
    if hdu.number == 0:
        found.primary = hdu.header
    elif not hdu.columns:
        found.others.append(f"HDU {hdu.number}: {hdu.header.get('XTENSION', 'unknown')}")
    else:
        row_size = int(hdu.header["NAXIS1"])
        dtype = row_type(hdu.columns, row_size)
        n_rows = int(hdu.header["NAXIS2"])
        whole = min(n_rows, hdu.read // row_size) if row_size else 0
        row = np.frombuffer(first if whole else b"", dtype)
        found.tables.append(TableHdu(hdu.number, hdu.header, hdu.columns, whole, mark, row))
    return hdu.read >= hdu.padded


def _read_header(stream: ByteStream, number: int) -> bytearray | None:
    """Read the cards of a header; None at the end of the file."""
    content = bytearray()
    while True:
        block = stream.read(BLOCK)
        if number == 0 and not content:
            _require_fits(block)
        if not content and (not block.strip(b"\0 ") or not block.startswith((b"SIMPLE", b"XTENSION"))):
            return None  # at the end, or special records after it, which FITS allows
        content += block
        if len(block) < BLOCK or len(content) > LARGEST_HEADER:
            raise UnrecognizedFileError(
                f"it is truncated in the header of HDU {number}: no END in {len(content)} bytes; fetch it again"
            )
        if any(block.startswith(_END, i) for i in range(0, BLOCK, CARD)):
            return content


def _require_fits(block: bytearray) -> None:
    if not block:
        raise UnrecognizedFileError("it is empty; fetch it again")
    if not block.startswith(b"SIMPLE  ="):
        raise NotFitsError("it is not a FITS file: it doesn't begin with SIMPLE")


class NotFitsError(UnrecognizedFileError):
    """A file that is no FITS file."""


def _parse(content: bytearray) -> Any:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong about a card that matters is said when it is used
        return fits.Header.fromstring(content.decode("latin-1"))


def _data_size(header: Any, number: int) -> int:
    try:
        axes = [int(header[f"NAXIS{i}"]) for i in range(1, int(header["NAXIS"]) + 1)]
        bits, groups, heap = int(header["BITPIX"]), int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
    except (KeyError, TypeError, ValueError) as error:
        raise UnrecognizedFileError(f"the header of HDU {number} doesn't say how long its data are: {error}") from error
    elements = int(np.prod(axes, dtype=np.int64)) if axes else 0
    if min([*axes, heap, groups]) < 0:
        raise UnrecognizedFileError(f"the header of HDU {number} has a negative length; the file is damaged")
    return abs(bits) // 8 * groups * (heap + elements)


def _word_sum(content: bytes | bytearray) -> int:
    """Add up the 32-bit words of whole blocks, or of what there is of one."""
    if len(content) % 4:
        content = content.ljust(-(-len(content) // 4) * 4, b"\0")
    return int(np.frombuffer(content, ">u4").sum(dtype=np.uint64))


def _folded(total: int) -> int:
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
