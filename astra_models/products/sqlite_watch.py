"""Whether anybody has written into a file of SQLite since a moment: whether two connections see the same of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from astra_models.database.sql import AnyDatabase


class Watch(NamedTuple):
    """A file of SQLite, and its state when the watch began.

    Parameters
    ----------
    uri : str
        Where the file is, to be opened for reading only.
    connection : sqlite3.Connection
        One that does nothing but look whether others have written.
    version : int
        What it saw first.
    own : sqlite3.Connection
        That of the database itself.
    changes : int
        How many rows this one had changed then.
    """

    uri: str
    connection: sqlite3.Connection
    version: int
    own: sqlite3.Connection
    changes: int

    @property
    def is_as_before(self) -> bool:
        """Whether nobody has written since the watch began, as far as can be told: neither others nor this thread."""
        try:
            return _version(self.connection) == self.version and self.own.total_changes == self.changes
        except sqlite3.Error:
            return False


@contextmanager
def watching(database: AnyDatabase) -> Iterator[None]:
    """Watch a database of SQLite during a block, if it is a file that a further connection can read at once."""
    watch = _begin(database)
    if watch is None:
        yield
        return
    with closing(watch.connection):
        token = _watched.set(watch)
        try:
            yield
        finally:
            _watched.reset(token)


def _begin(database: AnyDatabase) -> Watch | None:
    file = next(path for _, name, path in database.execute_sql("PRAGMA database_list") if name == "main")
    if not file:
        return None
    uri = f"{Path(file).absolute().as_uri()}?mode=ro"
    own = database.connection()
    try:
        connection = sqlite3.connect(uri, timeout=0, check_same_thread=False, uri=True)
    except sqlite3.Error:
        return None
    try:
        return Watch(uri, connection, _version(connection), own, own.total_changes)
    except sqlite3.Error:  # it is locked, or can't be read without being written to
        connection.close()
        return None


def watched() -> Watch | None:
    """Give the watch of the block that this is in."""
    return _watched.get()


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA data_version").fetchone()[0]


_watched: ContextVar[Watch | None] = ContextVar("_watched", default=None)
