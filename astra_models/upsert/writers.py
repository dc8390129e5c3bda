"""Rows written by several connections at once, each thread with its own.

What is to be written waits for what came before it and has keys in the same range. So rows of the same key are written
in the order in which they were given, as one connection would, and no two writers ever wait for each other's rows.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from astra_models.database.sql import AnyDatabase, is_postgresql
from astra_models.upsert.batch import Batch
from astra_models.upsert.quarantine import key_of_payload

Rows = TypeVar("Rows")
"""What is to be written."""
Result = TypeVar("Result")
"""What became of it."""

Span = tuple[Any, Any]
"""The lowest and the highest key."""

AHEAD = 2
"""How many are in memory for each writer."""


def useful_writers(database: AnyDatabase, wanted: int) -> int:
    """Say how many writers may be used: as many as are wanted on PostgreSQL, else one.

    SQLite has one writer at a time, and a transaction of the caller one connection.

    Raises
    ------
    ValueError
        If less than one is wanted.
    """
    if wanted < 1:
        raise ValueError(f"writers={wanted} is no number of connections; give 1 or more")
    return wanted if is_postgresql(database) and not database.in_transaction() else 1


class Writers(Generic[Rows, Result]):
    """Threads that write, each with a connection of its own, which is closed at the end.

    Leaving the context waits for what is being written; if it is left by an error, what waits is dropped.

    Parameters
    ----------
    database : peewee.Database
        The database.
    n : int
        How many.
    """

    def __init__(self, database: AnyDatabase, n: int):
        self._database = database
        self._n = n
        self._jobs: queue.SimpleQueue[tuple[Future[Result], Callable[[], Result]] | None] = queue.SimpleQueue()
        self._pending: deque[_Pending[Rows, Result]] = deque()
        self._threads = [threading.Thread(target=self._serve, name=f"astra-writer-{i + 1}") for i in range(n)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pending in self._pending:
            pending.future.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def put(self, rows: Rows, span: Span | None, write: Callable[[], Result]) -> Iterator[tuple[Rows, Result]]:
        """Have something written, and give what is done until it may be: in the order of `put`, each with its result.

        Parameters
        ----------
        rows : object
            What is to be written.
        span : tuple or None
            The range of its keys; None if it has none.
        write : callable
            Writes it, in one of the threads.

        Raises
        ------
        Exception
            What a writer raised, once.
        """
        while len(self._pending) >= AHEAD * self._n or any(pending.shares(span) for pending in self._pending):
            yield self._first()
        future: Future[Result] = Future()
        self._pending.append(_Pending(rows, span, future))
        self._jobs.put((future, write))

    def rest(self) -> Iterator[tuple[Rows, Result]]:
        """Give what is left, as it is done."""
        while self._pending:
            yield self._first()

    def _first(self) -> tuple[Rows, Result]:
        result = self._pending[0].future.result()
        return self._pending.popleft().rows, result

    def _serve(self) -> None:
        try:
            for future, write in iter(self._jobs.get, None):
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(write())
                except BaseException as error:  # it is raised where the result is asked for
                    future.set_exception(error)
        finally:
            if not self._database.is_closed():
                self._database.close()


@dataclass
class _Pending(Generic[Rows, Result]):
    rows: Rows
    span: Span | None
    future: Future[Result]

    def shares(self, span: Span | None) -> bool:
        """Tell whether it may have keys in a range, and isn't written yet."""
        if self.span is None or span is None or (self.future.done() and self.future.exception() is None):
            return False
        return self.span[0] <= span[1] and span[0] <= self.span[1]


def one_at_a_time(lock: threading.Lock, function: Callable[[Batch], None]) -> Callable[[Batch], None]:
    """Let a function of the caller's be called by one writer at a time."""
    return partial(_with_lock, lock, function)


def _with_lock(lock: threading.Lock, function: Callable[[Batch], None], batch: Batch) -> None:
    with lock:
        function(batch)


def span_of(batch: Batch) -> Span | None:
    """Give the range of a batch's keys, those of refused rows included: a later good row takes these off the list."""
    keys = batch.key_values()[0]
    ends = [keys[0], keys[-1]] if len(batch) else []
    if keys.dtype.kind == "i":
        refused = (key_of_payload(batch.payload(refusal.row)) for refusal in batch.refusals)
        ends += [key for key in refused if key is not None]
    return (min(ends), max(ends)) if ends else None
