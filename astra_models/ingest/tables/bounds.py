"""What is looked at before astropy reads a table as a whole: how much it unpacks to, and what it says of its size.

FITS tables are read some rows at a time and aren't bounded so. Of other formats astropy makes a table in memory, of as
many columns, rows and elements as the file claims to have.
"""

import bz2
import lzma
import os
import re
from collections.abc import Iterator
from typing import Protocol

from astra_models.configuration import file_limits
from astra_models.errors import UnrecognizedFileError
from astra_models.fits import door
from astra_models.fits.byte_stream import GZIP_MAGIC, ByteStream
from astra_models.messages import storable

HEAD = 1 << 20
MOST_COLUMNS = 10_000
LONGEST_ECSV_HEADER = 200_000
"""Bytes. It is YAML, of which a second's work reads some 200 kB."""

_PIECE = 1 << 20
_OVERLAP = 1 << 12
_UNPACKED_BY_ASTROPY = {b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
_OTHER_PACKING = {b"PK\x03\x04": "zip", b"\x1f\x9d": "compress (.Z)", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET = b"PAR1"
_DELIMITERS = b",;|\t &"
_CLAIMS = re.compile(rb"\b(nrows|arraysize|width)\s*=\s*[\"']([\d\sx*]+)[\"']", re.IGNORECASE)
_MOST_ELEMENTS = {b"<FIELD": 1000} | dict.fromkeys((b"<PARAM", b"<GROUP", b"<INFO", b"<OPTION", b"<TABLE"), 5000)
_ELSEWHERE = re.compile(rb"<(?:\w+:)?STREAM\b[^>]*\shref\s*=", re.IGNORECASE)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | bytearray: ...


def require_bounded(path: str) -> None:
    """Check a table that astropy is to read.

    Parameters
    ----------
    path : str
        A table of any format but FITS, packed or not.

    Raises
    ------
    UnrecognizedFileError
        If it unpacks to more than is configured, says that it has more columns, rows or elements than it can have, or
        that its data are somewhere else.
    ConfigurationError
        If the configuration says what can't be a size.
    """
    largest = file_limits().largest_text_table
    packed = os.path.getsize(path)
    if packed > largest:
        raise _too_large(packed, largest)
    with door.open_file(path) as file:
        begins = file.read(8)
    if begins.startswith(_PARQUET):
        _require_bounded_parquet(path, largest)
        return
    for magic, name in _OTHER_PACKING.items():
        if begins.startswith(magic):
            raise UnrecognizedFileError(f"it is packed by {name}; unpack it, or pack it by gzip")
    size, head = 0, b""
    for piece in _pieces(path, begins):
        if len(head) < HEAD:
            head += piece[: HEAD - len(head)]
        size += len(piece)
        if size > largest:
            raise _too_large(size, largest)
        if size > max(packed, door.most_unpacked(packed, largest)):
            raise UnrecognizedFileError(
                f"it is {packed} bytes and unpacks to more than {size}, over {door.PLAUSIBLE_RATIO} times its size; "
                "unpack it if it is to be read, or fetch it again"
            )
    _require_modest(head, size)
    if b"<VOTABLE" in head or head.lstrip().startswith(b"<?xml"):
        _require_votable(path, begins, size)


def _pieces(path: str, begins: bytes) -> Iterator[bytes | bytearray]:
    """Give what is in a file, unpacked, some at a time."""
    if begins.startswith(GZIP_MAGIC):
        with ByteStream(path) as stream:
            yield from _read(stream)
        return
    with door.open_file(path) as file:
        for magic, kind in _UNPACKED_BY_ASTROPY.items():
            if begins.startswith(magic):
                with kind(file) as unpacked:
                    yield from _read(unpacked)
                return
        yield from _read(file)


def _read(stream: _Readable) -> Iterator[bytes | bytearray]:
    while piece := stream.read(_PIECE):
        yield piece


def _require_modest(head: bytes, size: int) -> None:
    """Check the header of an ECSV table, and how many columns a table of text may have."""
    n_header = 0
    for line in head.split(b"\n"):
        if line.startswith(b"#"):
            n_header += len(line) + 1
            continue
        n_columns = 1 + max(line.count(bytes([one])) for one in _DELIMITERS)
        if n_columns > MOST_COLUMNS and not line.lstrip().startswith(b"<"):
            raise UnrecognizedFileError(
                f"its first line seems to have {n_columns} columns, and {MOST_COLUMNS} are the most that are read; it "
                "is damaged, or no table"
            )
        break
    if n_header > LONGEST_ECSV_HEADER and b"%ECSV" in head[:512]:
        raise UnrecognizedFileError(
            f"its ECSV header has {n_header} bytes or more, and {LONGEST_ECSV_HEADER} are the most that are read; it "
            "is damaged, or has to be made a FITS table"
        )


def _require_votable(path: str, begins: bytes, size: int) -> None:
    """Check what a VOTable says of rows and arrays, and that its data are in it."""
    tail, n_elements = b"", dict.fromkeys(_MOST_ELEMENTS, 0)
    for piece in _pieces(path, begins):
        for element, most in _MOST_ELEMENTS.items():
            n_elements[element] += piece.count(element)
            if n_elements[element] > most:
                name = element[1:].decode()
                raise UnrecognizedFileError(f"it has more than {most} {name}s, the most that are read; it is damaged")
        text = tail + piece
        if _ELSEWHERE.search(text):
            raise UnrecognizedFileError("its data are in another file (STREAM href), which isn't opened; put them in")
        for claim in _CLAIMS.finditer(text):
            name, value = claim[1].decode(), claim[2].decode()
            if any(int(number[:20]) > size for number in re.findall(r"\d+", value)):
                raise UnrecognizedFileError(
                    f"it says {name} is {storable(value, 60)}, and has {size} bytes; it is damaged, fetch it again"
                )
        tail = bytes(text[-_OVERLAP:])


def _require_bounded_parquet(path: str, largest: int) -> None:
    """Check the size of a Parquet table; without pyarrow, astropy will say that it is needed."""
    try:
        import pyarrow.parquet
    except ImportError:
        return
    with door.open_file(path) as file:
        found = pyarrow.parquet.ParquetFile(file).metadata
        groups = [found.row_group(i).total_byte_size for i in range(found.num_row_groups)]
    size = max(sum(groups), 8 * found.num_rows * found.num_columns)
    if not 0 <= size <= largest or min(groups, default=0) < 0:
        raise _too_large(size, largest)


def _too_large(size: int, largest: int) -> UnrecognizedFileError:
    return UnrecognizedFileError(
        f"it is too large to be read as a whole: it has {size} bytes or more, unpacked, and {largest} are allowed; "
        "make it a FITS table, of which any size is read, or raise `files: largest_text_table` in the configuration"
    )
