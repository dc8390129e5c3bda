"""SQLite files, copied while others read and write them."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from astra_orchestration.backup.folder import BackupError

__all__ = ["copy_sqlite", "put_back_sqlite"]

PATIENCE = 60.0
"""Seconds for which another writer is waited for."""


def copy_sqlite(source: Path, copy: Path) -> None:
    """Copy a SQLite file as it is at one moment, what is in its write-ahead log included, and check the copy.

    Raises
    ------
    BackupError
        If it can't be read, or the copy isn't sound.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(_opened(source, "ro")) as from_, closing(sqlite3.connect(copy)) as to:
            from_.backup(to)  # in one step: a consistent state, and writers go on in WAL mode
            to.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            [found] = to.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source} can't be copied: {error}") from error
    if found != "ok":
        raise BackupError(f"{source} is damaged ({found}): keep the last good backup")


def put_back_sqlite(copy: Path, target: Path) -> None:
    """Replace the content of a SQLite file by that of a copy, all at once, or make the file.

    Who has the file open sees the new content. A file that is no database is replaced as a whole.

    Raises
    ------
    BackupError
        If it can't be written, or somebody else keeps it locked.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(_opened(copy, "ro")) as from_, closing(_opened(target, "rwc")) as to:
            to.execute("SELECT count(*) FROM sqlite_master").fetchone()
            from_.backup(to)
            return
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):  # as with another size of pages
            raise BackupError(f"{target} can't be written ({error}): end what uses it, or make room") from error
    except sqlite3.DatabaseError:
        pass  # the target is no database, or damaged
    _replace(copy, target)


def _replace(copy: Path, target: Path) -> None:
    new = target.with_name(f"{target.name}.restored-{os.getpid()}")
    try:
        with closing(_opened(copy, "ro")) as from_, closing(sqlite3.connect(new)) as to:
            from_.backup(to)
        for end in ("-wal", "-shm", "-journal"):  # what SQLite would play back into the new file
            target.with_name(target.name + end).unlink(missing_ok=True)
        os.replace(new, target)
    except (sqlite3.Error, OSError) as error:
        new.unlink(missing_ok=True)
        raise BackupError(f"{target} can't be written: {error}") from error


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=PATIENCE)
