"""The mark that a process leaves of the spectrum that it has taken: another process can read it after its end."""

import mmap
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Mark", "MarkFile"]

_FORMAT = struct.Struct("<qd")
_NONE = -1


class Mark(NamedTuple):
    """What a process had taken last.

    Parameters
    ----------
    key : int or None
        Key of the spectrum; None if it had taken none.
    since : float
        When, by the computer's monotonic clock.
    """

    key: int | None
    since: float


class MarkFile:
    """A file of one mark, which is written without a system call.

    Parameters
    ----------
    path : Path
        The file; it is made if it isn't there.
    """

    def __init__(self, path: Path):
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < _FORMAT.size:
                os.write(descriptor, _FORMAT.pack(_NONE, 0.0))
            self._memory = mmap.mmap(descriptor, _FORMAT.size)
        finally:
            os.close(descriptor)

    @classmethod
    def temporary(cls) -> "MarkFile":
        """Make one in the folder for temporary files."""
        descriptor, path = tempfile.mkstemp(prefix="astra-mark-")
        os.close(descriptor)
        return cls(Path(path))

    def put(self, key: int | None) -> None:
        """Say that a spectrum was taken; None that there is none."""
        _FORMAT.pack_into(self._memory, 0, _NONE if key is None else key, time.monotonic())

    def read(self) -> Mark:
        """Say what was taken last."""
        key, since = _FORMAT.unpack_from(self._memory)
        return Mark(None if key == _NONE else key, since)

    def remove(self) -> None:
        """Remove the file."""
        self._memory.close()
        self.path.unlink(missing_ok=True)
