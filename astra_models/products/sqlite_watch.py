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
    """

    uri: str
    connection: sqlite3.Connection
    version: int

    @property
    def is_as_before(self) -> bool:
        """Whether nobody has written since the watch began."""
        return _version(self.connection) == self.version


@contextmanager
def watching(database: AnyDatabase) -> Iterator[None]:
    """Watch a database of SQLite during a block, if it is a file."""
    file = next(path for _, name, path in database.execute_sql("PRAGMA database_list") if name == "main")
    if not file:
        yield
        return
    uri = f"{Path(file).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        token = _watched.set(Watch(uri, connection, _version(connection)))
        try:
            yield
        finally:
            _watched.reset(token)


def watched() -> Watch | None:
    """Give the watch of the block that this is in."""
    return _watched.get()


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA data_version").fetchone()[0]


_watched: ContextVar[Watch | None] = ContextVar("_watched", default=None)
