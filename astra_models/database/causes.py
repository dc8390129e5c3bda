"""What the disk or the network did, in words: drivers and the system name it in ways that hide it.

A full disk is ``SQLITE_FULL``, SQLSTATE 53100 or ``ENOSPC``, depending on who met it first. `explained` makes one error
of it, which names the database or file, the cause and the remedy.
"""

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peewee

from astra_models.database.sql import AnyDatabase, is_postgresql
from astra_models.errors import AstraError, DatabaseUnavailableError, StorageError

FULL = "the disk is full"
READ_ONLY = "the file, or the file system that it is on, is read-only"
BROKEN = "the disk can't be read or written"
DAMAGED = "the file is damaged, or is no SQLite database"
NO_SPACE_REMEDY = "Make room, then run again"
READ_ONLY_REMEDY = "Make it writable, or name another place"
BROKEN_REMEDY = "Have the disk checked, then run again"
DAMAGED_REMEDY = "Put back a backup, or name another file"

Cause = tuple[str, str]
"""What happened, and what to do."""

TOO_LARGE: Cause = ("the file would be larger than is allowed", "Raise the limit (`ulimit -f`)")
LITTLE_ROOM = 1 << 16
"""Bytes; SQLite wants as many at once for a file beside the database."""

SQLITE_CAUSES: dict[int, Cause] = {
    sqlite3.SQLITE_FULL: (FULL, NO_SPACE_REMEDY),
    sqlite3.SQLITE_READONLY: (READ_ONLY, READ_ONLY_REMEDY),
    sqlite3.SQLITE_IOERR: (BROKEN, "Look whether there is room and quota, and whether the disk is well"),
    sqlite3.SQLITE_CANTOPEN: (
        "a file of it can't be opened or made",
        "Its folder has to be there, writable and with room for the files -wal and -shm beside it",
    ),
    sqlite3.SQLITE_CORRUPT: (DAMAGED, DAMAGED_REMEDY),
    sqlite3.SQLITE_NOTADB: (DAMAGED, DAMAGED_REMEDY),
}
POSTGRESQL_CAUSES: dict[str, Cause] = {
    "53100": ("the server's disk is full", "Make room there, then run again"),
    "58030": ("the server's disk can't be read or written", "Have it checked, then run again"),
    "25006": ("the server takes no changes, it is read-only", "Name the server that is written to"),
}
SHUT_DOWN = ("57P01", "57P02", "57P03", "57P05")
SYSTEM_CAUSES: dict[int, Cause] = {
    errno.ENOSPC: (FULL, NO_SPACE_REMEDY),
    errno.EDQUOT: ("the disk quota is used up", NO_SPACE_REMEDY),
    errno.EFBIG: TOO_LARGE,
    errno.EROFS: (READ_ONLY, READ_ONLY_REMEDY),
    errno.EACCES: ("this user may not use it so", READ_ONLY_REMEDY),
    errno.EPERM: ("this user may not use it so", READ_ONLY_REMEDY),
    errno.EIO: (BROKEN, BROKEN_REMEDY),
    errno.ESTALE: ("the network file system has lost the file", "Mount it again, then run again"),
    errno.ENOTCONN: ("the network file system is gone", "Mount it again, then run again"),
}


def describe(database: AnyDatabase) -> str:
    """Name a database for a message, without anything secret."""
    if not is_postgresql(database):
        return f"SQLite database {str(database.database)!r}"
    params = database.connect_params
    name = str(database.database)
    if "://" in name or "=" in name:
        return "the PostgreSQL database"
    host = params.get("host") or "the default host"
    return f"PostgreSQL database {name!r} on {host}" + (f":{params['port']}" if params.get("port") else "")


def one_line(error: BaseException) -> str:
    """Give the first line of an error's message."""
    return str(error).strip().split("\n", 1)[0]


def sqlstate(error: BaseException) -> str | None:
    """Give the SQLSTATE of a PostgreSQL error, if it has one."""
    return getattr(getattr(error, "orig", error), "pgcode", None)


def sqlite_code(error: BaseException) -> int | None:
    """Give the primary result code of a SQLite error, if it has one."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def explained(database: AnyDatabase, error: BaseException) -> AstraError | None:
    """Give the error that names what the disk or network did; None if it was something else.

    Parameters
    ----------
    database : peewee.Database
        The database that was used.
    error : Exception
        What was raised: peewee's errors and the system's.

    Returns
    -------
    AstraError or None
        A `StorageError`, or a `DatabaseUnavailableError` if the connection was lost.
    """
    if isinstance(error, peewee.PeeweeException):
        cause = _of_sqlite(database, error) or POSTGRESQL_CAUSES.get(sqlstate(error) or "")
        if cause is not None:
            return _storage_error(describe(database), cause, one_line(error))
        if is_postgresql(database) and _says_lost(database, error):
            return DatabaseUnavailableError(
                f"{describe(database)}: the connection was lost ({one_line(error)}). Run again when it is well"
            )
        return None
    return _of_system(error)


@contextmanager
def naming(path: str | Path, otherwise: str) -> Iterator[None]:
    """Have what the disk does to a file named, with the file.

    Parameters
    ----------
    path : str or Path
        The file that is written.
    otherwise : str
        What became of it: the end of the message.

    Raises
    ------
    StorageError
        If the disk is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        known = None if isinstance(error, AstraError) else _of_system(error, str(path), f"; {otherwise}")
        if known is None:
            raise
        raise known from error


def is_lost(database: AnyDatabase) -> bool:
    """Tell whether there is no connection, or one that the server or network has ended."""
    return database.is_closed() or bool(getattr(database.connection(), "closed", False))


def _says_lost(database: AnyDatabase, error: peewee.PeeweeException) -> bool:
    state = sqlstate(error)
    if state is not None:
        return state.startswith("08") or state in SHUT_DOWN
    # The connection need not be this thread's: exports read by several.
    return isinstance(error, peewee.OperationalError) or is_lost(database)


def _of_sqlite(database: AnyDatabase, error: BaseException) -> Cause | None:
    code = sqlite_code(error)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        # With write-ahead logging, files beside the database are made and grow: a full disk then is an error of theirs.
        path = os.path.abspath(str(database.database))
        return _of_folder(os.path.dirname(path)) or _of_limit(path) or SQLITE_CAUSES[code]
    return SQLITE_CAUSES.get(code or 0)


def _of_folder(folder: str) -> Cause | None:
    """Say whether a folder's file system is full or read-only."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return READ_ONLY, READ_ONLY_REMEDY
    return (FULL, NO_SPACE_REMEDY) if found.f_bavail * found.f_frsize < LITTLE_ROOM else None


def _of_limit(path: str) -> Cause | None:
    """Say whether a database, or a file beside it, is as large as this process may make one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    beside = (path, f"{path}-wal", f"{path}-shm", f"{path}-journal")
    largest = max((os.path.getsize(file) for file in beside if os.path.exists(file)), default=0)
    return TOO_LARGE if limit != resource.RLIM_INFINITY and largest + LITTLE_ROOM > limit else None


def _of_system(error: BaseException, path: str | None = None, otherwise: str = "") -> StorageError | None:
    number = (isinstance(error, OSError) and error.errno) or 0
    if not isinstance(error, OSError) or number not in SYSTEM_CAUSES:
        return None
    # Writing into an open file raises without a name; those of temporary files aren't known to anybody.
    name = (
        path or error.filename or f"a file that isn't named (temporary ones are in {_temporary_folder()}, see TMPDIR)"
    )
    return _storage_error(os.fsdecode(name), SYSTEM_CAUSES[number], os.strerror(number), otherwise)


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none can be written
        return "the folder of temporary files"


def _storage_error(what: str, cause: Cause, words: str, otherwise: str = "") -> StorageError:
    happened, remedy = cause
    return StorageError(f"{what}: {happened} ({words}){otherwise}. {remedy}")
