"""The door that every file comes in by: opened for reading alone, bounded, and refused by itself.

Nothing that a file says is believed before it is compared with a bound: how large it is, how many HDUs, columns, rows
and header cards it has. `refusing` is around every reader: whatever a reader raises becomes the refusal of this file,
with a reason, and the files after it are tried.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from astra_models.errors import UnrecognizedFileError
from astra_models.messages import error_text, name_of_type, storable

LARGEST_SPECTRUM = 1_000_000_000
"""Bytes of a file of spectra, unpacked, unless the configuration says otherwise."""

MOST_HDUS = 1000
MOST_HEADER_BYTES = 1 << 25
"""Of all headers of a file: some 400,000 cards."""

MOST_AXES = 32
MOST_COLUMNS = 999
LARGEST_ROW = 1 << 24
MOST_PIXELS = 2_000_000
"""Rows of a table with a row per pixel: the survey's have 4,648."""

MOST_VISITS = 10_000
"""Rows of a table with a row per visit."""

LEAST_UNPACKED = 1 << 26
PLAUSIBLE_RATIO = 100
"""The survey's files become 2 to 10 times smaller when they are packed, and what is 1000 times smaller is a bomb."""

READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO without a writer would wait for ever
_KINDS = (
    (stat.S_ISDIR, "it is a folder; give the files in it"),
    (stat.S_ISFIFO, "it is a pipe (FIFO) and not a file; save what comes out of it"),
    (stat.S_ISSOCK, "it is a socket and not a file; name a file"),
    (stat.S_ISCHR, "it is a device and not a file; name a file"),
    (stat.S_ISBLK, "it is a device and not a file; name a file"),
)
_LONGEST_REASON = 1000
_LONGEST_DETAIL = 200


def open_descriptor(path: str) -> tuple[int, int]:
    """Open a file for reading; gives its descriptor and its size in bytes.

    Raises
    ------
    OSError
        If it can't be opened: `FileNotFoundError`, `PermissionError`, a loop of links...
    UnrecognizedFileError
        If it is no regular file: a folder, a FIFO, a device.
    """
    descriptor = os.open(path, READING)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return descriptor, found.st_size
    os.close(descriptor)
    reasons = (reason for is_kind, reason in _KINDS if is_kind(found.st_mode))
    raise UnrecognizedFileError(next(reasons, "it is not a regular file; name a file"))


def open_file(path: str) -> BinaryIO:
    """Open a file to be read.

    Raises
    ------
    UnrecognizedFileError
        If it can't be opened, or is no regular file. The message doesn't name the file.
    """
    try:
        descriptor, _ = open_descriptor(path)
        return os.fdopen(descriptor, "rb")
    except FileNotFoundError as error:
        raise UnrecognizedFileError("there is no such file") from error
    except UnrecognizedFileError:
        raise
    except (OSError, ValueError) as error:
        raise UnrecognizedFileError(f"it can't be opened: {shown(error)}") from error


def most_unpacked(packed: int, largest: int) -> int:
    """Give how many bytes a gzipped file may have, unpacked.

    Parameters
    ----------
    packed : int
        The bytes of the gzipped file.
    largest : int
        How many it may have at most, however large it is.
    """
    return min(largest, max(LEAST_UNPACKED, PLAUSIBLE_RATIO * packed))


@contextmanager
def refusing(*passing: type[BaseException]) -> Iterator[None]:
    """Make every exception inside a refusal of the file that is being read.

    Parameters
    ----------
    *passing : type
        Exceptions that are left as they are, besides `UnrecognizedFileError`.

    Raises
    ------
    UnrecognizedFileError
        For anything that is raised inside, `SystemExit` included; `KeyboardInterrupt` is the user's, and stays.
    """
    try:
        yield
    except passing:
        raise
    except (Exception, SystemExit) as error:
        refused = refusal_of(error)
        if refused is error:
            raise
        raise refused from error


def refusal_of(error: BaseException) -> UnrecognizedFileError:
    """Make the refusal of a file of what its reader raised; a refusal is the same, its text short and printable."""
    if isinstance(error, UnrecognizedFileError):
        text = str(error)
        is_fit = len(text) <= _LONGEST_REASON and text.isprintable()
        return error if is_fit else type(error)(storable(text, _LONGEST_REASON))
    if isinstance(error, OSError):
        return UnrecognizedFileError(f"it can't be read: {shown(error)}")
    if isinstance(error, MemoryError):
        reason = "reading it needs more memory than there is; it is damaged, or too large for this machine"
        return UnrecognizedFileError(reason)
    if isinstance(error, RecursionError):
        return UnrecognizedFileError("it is nested too deeply to be read; it is damaged, fetch it again")
    return UnrecognizedFileError(f"it is damaged ({shown(error)}); fetch it again")


def shown(error: BaseException) -> str:
    """Give the type of an exception and the beginning of its text, on one line, in printable characters."""
    name, what = name_of_type(error), error.strerror if isinstance(error, OSError) else None
    return storable(f"{name}: {what}" if what else error_text(error, _LONGEST_DETAIL), _LONGEST_DETAIL)
