"""Rows that are read apart from all else: whoever takes them some at a time can write meanwhile.

A view of one moment is a transaction. In one of the caller's connection nothing could be written on PostgreSQL, and on
SQLite what was written would be undone with it.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import peewee

from astra_models.base import database
from astra_models.database.config import is_in_memory

Part = TypeVar("Part")

__all__ = ["read_apart"]


def read_apart(read: Callable[[], Generator[Part]]) -> Iterator[Part]:
    """Run a generator that reads the bound database, by a connection of its own.

    It is read by the caller's own one in the caller's own transaction, from a database in memory, and where there can't
    be another.

    Parameters
    ----------
    read : callable
        Gives the generator; it is closed when the iterator is.
    """
    thread = None if is_in_memory(database.obj) or database.in_transaction() else _connected()
    if thread is None:
        yield from read()
        return
    parts = read()
    end = object()
    try:
        while (part := thread.submit(next, parts, end).result()) is not end:
            yield part  # pyright: ignore[reportReturnType]  it isn't the end
    finally:
        with suppress(RuntimeError):  # Python ends, and its threads have
            thread.submit(_close, parts).result()
        thread.shutdown()


def _connected() -> ThreadPoolExecutor | None:
    """Give a thread with a connection of its own, if there can be one."""
    thread = ThreadPoolExecutor(1, "astra-batches")
    try:
        thread.submit(database.connect).result()
    except peewee.OperationalError:
        thread.shutdown()
        return None
    return thread


def _close(parts: Generator[object]) -> None:
    try:
        parts.close()
    finally:
        database.close()
