"""The bytes of a file, gzipped or not, from beginning to end in bounded memory.

A stream can be marked anywhere, and read again from a mark without what is before it, also if it is gzipped: a mark
holds what the decompression knows at that place (some 40 kB).
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Self

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.door import open_file, shown

if TYPE_CHECKING:
    from zlib import _Decompress as Decompressor

PIECE = 1 << 17
LARGEST_PIECE = 1 << 21
MANY_MEMBERS = 1000
SMALLEST_MEMBER = 100
"""Bytes of a gzip member, on average, if there are many: what packs in pieces makes them of some 65,000."""
GZIP_MAGIC = b"\x1f\x8b"
_WITH_GZIP_HEADER = 31


class Mark(NamedTuple):
    """A place in a stream, to read on from.

    Parameters
    ----------
    position : int
        How many decompressed bytes are before it.
    offset : int
        From which byte of the file to read on.
    before : memoryview
        What has been read of the file before that and not been given yet, decompressed.
    decompressor : zlib.decompressobj or None
        What decompresses what follows; None if the file isn't gzipped.
    """

    position: int
    offset: int
    before: memoryview
    decompressor: "Decompressor | None"


class ByteStream:
    """What a file holds, decompressed if it is gzipped.

    Parameters
    ----------
    path : str
        The file.
    mark : Mark, optional
        Where to begin, of a stream of the same file.
    hashed : bool, optional
        Whether to compute the SHA-256 of the file itself on the way.
    plain : bool, optional
        Whether to take the bytes as they are, gzipped or not.
    progress : callable, optional
        Called with the number of bytes of the file that were read so far.

    Raises
    ------
    UnrecognizedFileError
        If it can't be opened, or its compression is damaged. The message doesn't name the file: who asks for it does.
    """

    def __init__(
        self,
        path: str,
        mark: Mark | None = None,
        *,
        hashed: bool = False,
        plain: bool = False,
        progress: Callable[[int], None] | None = None,
    ):
        self._file = open_file(path)
        self.size = os.fstat(self._file.fileno()).st_size
        self._hash = hashlib.sha256() if hashed else None
        self._progress = progress
        begins = self._file.read(len(GZIP_MAGIC))
        self._file.seek(0)
        is_gzip = begins == GZIP_MAGIC and not plain
        self._decompressor: Decompressor | None = zlib.decompressobj(_WITH_GZIP_HEADER) if is_gzip else None
        self._compressed = b""
        self._rest = memoryview(b"")
        self._members = 0
        self.position = 0
        if mark is not None:
            self._file.seek(mark.offset)
            self._rest, self.position = mark.before, mark.position
            self._decompressor = mark.decompressor and mark.decompressor.copy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def mark(self) -> Mark:
        """Give the place where the stream is."""
        decompressor = self._decompressor and self._decompressor.copy()
        return Mark(self.position, self._file.tell() - len(self._compressed), self._rest, decompressor)

    def read(self, size: int) -> bytearray:
        """Give the next bytes: as many as asked for, or fewer at the end of the file."""
        content = bytearray(size)
        there = 0
        try:
            while there < size and (piece := self.read_some(size - there)):
                content[there : there + len(piece)] = piece
                there += len(piece)
        except TruncatedGzipError:
            if not there:
                raise  # else the next call will tell
        return content if there == size else content[:there]

    def read_some(self, size: int) -> memoryview:
        """Give some of the next bytes, at most as many as asked for; none at the end of the file."""
        if not self._rest:
            decompressor = self._decompressor
            self._rest = memoryview(self._from_file() if decompressor is None else self._decompressed(decompressor))
        piece, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(piece)
        return piece

    def sha256(self) -> str:
        """Read the file to its end, and give its SHA-256."""
        if self._hash is None:
            raise RuntimeError("the stream was opened without hashed=True")
        while self._from_file():
            pass
        return self._hash.hexdigest()

    def _from_file(self) -> bytes:
        try:
            piece = self._file.read(PIECE)
        except OSError as error:
            raise UnrecognizedFileError(f"it can't be read: {shown(error)}") from error
        if self._hash is not None:
            self._hash.update(piece)
        if self._progress is not None:
            self._progress(self._file.tell())
        return piece

    def _decompressed(self, decompressor: "Decompressor") -> bytes:
        """Give the next bytes of a gzipped file, which may be several put together."""
        while True:
            if decompressor.eof:
                if not self._has_next_member(decompressor):
                    return b""
                decompressor = self._decompressor = zlib.decompressobj(_WITH_GZIP_HEADER)
            if not self._compressed:
                self._compressed = self._from_file()
                if not self._compressed:
                    raise TruncatedGzipError(f"its gzip data end before they are complete, after {self.position} bytes")
            try:
                piece = decompressor.decompress(self._compressed, LARGEST_PIECE)
            except zlib.error as error:
                raise DamagedGzipError(
                    f"its gzip data are damaged after {self.position} bytes ({error}); fetch it again"
                ) from error
            self._compressed = decompressor.unconsumed_tail
            if piece:
                return piece

    def _has_next_member(self, decompressor: "Decompressor") -> bool:
        self._members += 1
        if self._members > max(MANY_MEMBERS, self.position // SMALLEST_MEMBER):
            raise DamagedGzipError(
                f"its gzip data are in {self._members} parts or more, of {self.position} bytes together; fetch it again"
            )
        self._compressed = (decompressor.unused_data or self._compressed).lstrip(b"\0")
        while not self._compressed:
            piece = self._from_file()
            if not piece:
                return False
            self._compressed = piece.lstrip(b"\0")
        return self._compressed.startswith(GZIP_MAGIC[: len(self._compressed)])  # gzip, too, ignores anything else


class DamagedGzipError(UnrecognizedFileError):
    """A gzipped file that can't be unpacked."""


class TruncatedGzipError(DamagedGzipError, EOFError):
    """A gzipped file that ends too early."""
