"""FITS files of tables, written row by row in bounded memory: under another name first, read back, then moved.

Nobody ever sees half a file: what stands under the final name is whole, and its checksums were found right.
"""

import os
import struct
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astra_models.database.causes import naming
from astra_models.errors import DamagedProductError, OutputExistsError, SelectionError
from astra_models.fits.checksum import Checksum
from astra_models.fits.columns import row_size
from astra_models.fits.header import BLOCK, CardValue
from astra_models.fits.verify import verify
from astra_models.fits.written_header import primary_header, table_cards, with_checksums
from astra_models.products.fits.layout import MOST_COLUMNS, lay_out
from astra_models.products.fits.rows import stream_rows
from astra_models.products.query import Selection, snapshot

COPIED_AT_ONCE = 1 << 20
GZIP_LEVEL = 2
"""A real catalogue becomes a tenth larger than by 6, the default, in less than half of the time."""
GZIP_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
GZIP_END = zlib.compressobj(wbits=-zlib.MAX_WBITS).flush()
MOST_WAITING = 8

CONVENTIONS = (
    "A value that is missing (NULL) is the column's TNULL if it is an integer or",
    "boolean (then 0 or 1), NaN if it is a float, and empty if it is text.",
    "Lists are padded by NaN, bytes by 0. Times are in UTC.",
    "Text is escaped as in Python: value.encode().decode('unicode_escape').",
)

Progress = Callable[[int], None]


class FitsReport(NamedTuple):
    """What was written.

    Parameters
    ----------
    path : str
        The file.
    rows : dict of str to int
        Rows of each table, by its name.
    size : int
        Bytes.
    sha256 : str
        Checksum of the whole file.
    """

    path: str
    rows: dict[str, int]
    size: int
    sha256: str


@dataclass
class FitsTable:
    """One table of a file.

    Parameters
    ----------
    name : str
        EXTNAME.
    selection : Selection
        Its columns and rows.
    """

    name: str
    selection: Selection


def write_fits(
    path: str | Path,
    make_tables: Callable[[], Sequence[FitsTable]],
    told: Mapping[str, tuple[CardValue, str]],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FitsReport:
    """Write tables into a FITS file, all as they were at one moment.

    Parameters
    ----------
    path : str or Path
        The file, compressed if its name ends in ``.gz``.
    make_tables : callable
        Gives the HDUs after the primary one. It is called once, in the transaction that the rows are read in.
    told : mapping of str to tuple
        Keywords of the primary header, their values and comments.
    overwrite : bool, optional
        Whether a file that is there is replaced.
    progress : callable, optional
        Called with the number of rows that have been written.

    Returns
    -------
    FitsReport
        What was written.

    Raises
    ------
    OutputExistsError
        If there is a file, and it isn't to be replaced.
    DamagedProductError
        If what was written doesn't read back as it should. There is then no file.
    """
    with replacing(path, overwrite) as temporary:
        report = fill_fits(temporary, make_tables, told, progress)
    return report._replace(path=str(path))


def fill_fits(
    path: Path,
    make_tables: Callable[[], Sequence[FitsTable]],
    told: Mapping[str, tuple[CardValue, str]],
    progress: Progress | None = None,
) -> FitsReport:
    """Write a FITS file as `write_fits` does, but under its own name at once."""
    plain = path.with_name(f"{path.name}.plain") if path.suffix == ".gz" else path
    with open(plain, "w+b") as stream, snapshot():
        tables = make_tables()
        stream.write(primary_header(told, CONVENTIONS))
        rows = _write_tables(stream, tables, progress)
    if plain is not path:
        _compress(plain, path)
        plain.unlink()
    sha256 = verify(path, len(tables) + 1)
    return FitsReport(str(path), rows, path.stat().st_size, sha256)


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give the name to write under; afterwards the file is moved to where it belongs, if nothing went wrong.

    Raises
    ------
    OutputExistsError
        If there is a file, and it isn't to be replaced.
    StorageError
        If it can't be written. A file that was there stays as it was.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    with naming(path, "a file of this name is as it was before"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            _flush(temporary)
            refuse_existing(path, overwrite)
            temporary.replace(path)
            _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk and not only on its way there."""
    if path.is_dir() and os.name == "nt":  # can't be opened there
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(path: str | Path, overwrite: bool) -> None:
    """Make sure that no file is replaced that isn't to be.

    Raises
    ------
    OutputExistsError
        If there is one.
    """
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(
            f"{path} is there already; remove it, or give another name (an export may have `overwrite`)"
        )


def _write_tables(stream: BufferedRandom, tables: Sequence[FitsTable], progress: Progress | None) -> dict[str, int]:
    rows: dict[str, int] = {}
    for table in tables:
        before = sum(rows.values())
        tell = None if progress is None else lambda done, before=before: progress(before + done)
        rows[table.name] = write_table(stream, table, tell)
    return rows


def write_table(stream: BufferedRandom, table: FitsTable, progress: Progress | None = None) -> int:
    """Write one table at the end of an open file, and give its number of rows; in a `snapshot`.

    Raises
    ------
    SelectionError
        If it has more columns than a FITS table can have.
    DamagedProductError
        If the rows are not as many as there were.
    """
    if len(table.selection.columns) > MOST_COLUMNS:
        raise SelectionError(
            f"{table.name} would have {len(table.selection.columns)} columns, but a FITS table can have "
            f"{MOST_COLUMNS}; write it as Parquet or ECSV"
        )
    layout = lay_out(table.selection)
    start = stream.tell()
    cards = table_cards(table.name, layout.columns, layout.n_rows)
    stream.write(with_checksums(cards, 0))
    stream.flush()
    data = TableData(stream.name, stream.tell(), row_size(layout.columns), progress)
    stream_rows(table.selection, layout, data.part)
    if data.n_rows != layout.n_rows:
        raise DamagedProductError(
            f"{table.name}: {data.n_rows} rows were read, but there were {layout.n_rows}; try again"
        )
    stream.seek(data.end)
    stream.write(bytes(-(data.end - data.start) % BLOCK))
    stream.seek(start)
    stream.write(with_checksums(cards, data.checksum.value))
    stream.seek(0, os.SEEK_END)
    return data.n_rows


class TableData:
    """The rows of a table in a file, written in parts, several at once.

    Parameters
    ----------
    path : str
        The file.
    start : int
        Where in it the rows begin.
    row_size : int
        Bytes per row.
    progress : callable, optional
        Called with the number of rows that have been written.
    """

    def __init__(self, path: str, start: int, row_size: int, progress: Progress | None = None):
        self.start = start
        self.n_rows = 0
        self.checksum = Checksum()
        self._path = path
        self._row_size = row_size
        self._progress = progress
        self._lock = threading.Lock()

    @property
    def end(self) -> int:
        """Where the rows end."""
        return self.start + self.n_rows * self._row_size

    @contextmanager
    def part(self, first_row: int) -> Iterator[Callable[[np.ndarray], None]]:
        """Give a function that writes rows: this one and those that follow."""
        offset = first_row * self._row_size
        sum_of_part = Checksum()
        sum_of_part.update(bytes(offset % 4))  # a part may begin in the middle of a word
        with open(self._path, "r+b") as stream:
            stream.seek(self.start + offset)

            def take(rows: np.ndarray) -> None:
                written = memoryview(rows.view(np.uint8).data)
                sum_of_part.update(written)
                stream.write(written)
                with self._lock:
                    self.n_rows += len(rows)
                    if self._progress is not None:
                        self._progress(self.n_rows)

            yield take
        with self._lock:
            self.checksum.add_sum(sum_of_part.value)


def _compress(plain: Path, path: Path) -> None:
    """Compress a file by all cores, into one member of blocks that don't refer to each other.

    Neither a time nor a name goes into it: the same rows give the same bytes.
    """
    total, size = 0, 0
    with open(plain, "rb") as source, open(path, "wb") as target, ThreadPoolExecutor(os.cpu_count()) as pool:
        target.write(GZIP_HEADER)
        waiting: deque[Future[bytes]] = deque()
        while block := source.read(COPIED_AT_ONCE):
            total, size = zlib.crc32(block, total), size + len(block)
            waiting.append(pool.submit(_deflated, block))
            if len(waiting) > MOST_WAITING:
                target.write(waiting.popleft().result())
        for deflated in waiting:
            target.write(deflated.result())
        target.write(GZIP_END + struct.pack("<II", total, size % 2**32))


def _deflated(block: bytes) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
