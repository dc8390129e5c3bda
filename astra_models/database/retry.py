"""Transactions that are run again when the database, not the data, made them fail.

A statement inside a transaction can't be retried on its own, because those before it are rolled back: the whole
transaction is retried. Transient failures are known by their SQLSTATE: deadlock or serialization (class 40), connection
lost (08, 57P0x), too many connections (53300), lock not available (55P03), and SQLite's BUSY. psycopg2 gives no
SQLSTATE for a connection that was refused, cut or killed; then the state of the connection decides. A full disk isn't
transient: it needs somebody.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import peewee

from astra_models.database.causes import describe, explained, is_lost, one_line, sqlite_code, sqlstate
from astra_models.database.sql import AnyDatabase, is_postgresql
from astra_models.errors import AstraError, DatabaseUnavailableError, StorageError, TransactionInterruptedError

__all__ = ["describe", "is_about_rows", "one_line", "run_transaction", "sqlstate"]

DEADLINE = 120.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0

TRANSIENT_CLASSES = ("08", "40")
TRANSIENT_STATES = ("57P01", "57P02", "57P03", "57P05", "53300", "55P03")
SQLITE_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
SQLITE_READONLY = 8
ROW_ERRORS = (peewee.IntegrityError, peewee.DataError, peewee.InternalError)
ROW_CLASSES = ("22", "23", "P0")  # data exceptions, violated constraints, exceptions that triggers raise
SESSION_LOST = (peewee.OperationalError, peewee.InterfaceError)

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def run_transaction(database: AnyDatabase, work: Callable[[], Result], deadline: float | None = None) -> Result:
    """Run `work` in a transaction of its own, and retry it after a transient failure.

    Parameters
    ----------
    database : peewee.Database
        The database that `work` writes to.
    work : callable
        The work. It may be called more than once, each time from a clean state; if the connection is lost during
        the COMMIT, an earlier call may have been committed.
    deadline : float, optional
        Seconds from the first failure to the last retry; `DEADLINE` if not given.

    Returns
    -------
    object
        What `work` returned.

    Raises
    ------
    DatabaseUnavailableError
        If no connection can be opened, or the failure lasts until the deadline.
    TransactionInterruptedError
        If a transient failure happened inside a transaction of the caller, which only the caller can run again.
    StorageError
        If a disk is full, read-only or broken: the database's, or that of a temporary file of the work's. Nothing of
        the transaction is stored then.
    """
    if database.in_transaction():
        return _inside_callers_transaction(database, work)
    deadline = DEADLINE if deadline is None else deadline
    give_up_at, pause, connected_before = None, FIRST_PAUSE, not database.is_closed()
    begin = _begin_arguments(database)
    while True:
        try:
            _connect(database)
            with database.atomic(*begin):
                return work()
        except peewee.PeeweeException as error:
            if begin and sqlite_code(error) == SQLITE_READONLY:
                begin = ()  # it can't begin as who writes does; perhaps the work only reads
                continue
            connected_before = connected_before or not database.is_closed()
            if not _is_transient(database, error, connected_before):
                _raise_if_unusable(database, error)
                raise
            now = time.monotonic()
            give_up_at = now + deadline if give_up_at is None else give_up_at
            if now + pause > give_up_at:
                raise DatabaseUnavailableError(
                    f"{describe(database)}: still failing after {deadline:.0f} s of retries "
                    f"({one_line(error)}); "
                    "nothing of this batch was stored. Run again when it is well: what is missing is still due"
                ) from error
            logger.warning("%s: %s; trying again in %.1f s", describe(database), one_line(error), pause)
            _drop_connection(database)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)
        except OSError as error:
            _raise_if_unusable(database, error)
            raise


def is_about_rows(error: peewee.PeeweeException) -> bool:
    """Tell whether one of `ROW_ERRORS` means that a row is bad, and not the statement."""
    state = sqlstate(error)
    return state is None or state[:2] in ROW_CLASSES


def _is_transient(database: AnyDatabase, error: BaseException, connected_before: bool) -> bool:
    if (code := sqlite_code(error)) is not None:
        return code in SQLITE_BUSY
    state = sqlstate(error)
    if state is not None:
        return state[:2] in TRANSIENT_CLASSES or state in TRANSIENT_STATES
    return is_postgresql(database) and isinstance(error, SESSION_LOST) and connected_before and is_lost(database)


def _raise_if_unusable(database: AnyDatabase, error: Exception) -> None:
    """Turn what no retry mends, the disk's failure or that of a first connection, into an error that says so."""
    if isinstance(error, AstraError):
        return
    known = explained(database, error)
    if isinstance(error, peewee.DatabaseError) and database.is_closed():
        why = str(known) if isinstance(known, StorageError) else _unusable(database, error)
        raise DatabaseUnavailableError(why) from error
    if known is not None:
        raise known from error


def _unusable(database: AnyDatabase, error: Exception) -> str:
    return (
        f"{describe(database)} can't be used: {one_line(error)}. Check its configuration (astra status shows which one "
        "is used)"
    )


def _connect(database: AnyDatabase) -> None:
    if not database.is_closed() and not database.is_connection_usable():
        _drop_connection(database)
    database.connect(reuse_if_open=True)


def _drop_connection(database: AnyDatabase) -> None:
    """Forget a connection that has ended; a good one is kept."""
    if database.is_closed() or database.is_connection_usable():
        return
    try:
        database.close()
    except peewee.PeeweeException as error:
        logger.debug("closing a lost connection: %s", one_line(error))
        database.dispose()


def _begin_arguments(database: AnyDatabase) -> tuple[str, ...]:
    # A transaction that means to write takes SQLite's lock at once: waiting for it later can deadlock.
    return () if is_postgresql(database) else ("IMMEDIATE",)


def _inside_callers_transaction(database: AnyDatabase, work: Callable[[], Result]) -> Result:
    try:
        with database.atomic():
            return work()
    except peewee.PeeweeException as error:
        if not _is_transient(database, error, connected_before=True):
            _raise_if_unusable(database, error)
            raise
        raise TransactionInterruptedError(
            f"{describe(database)}: {one_line(error)}. This happened inside a transaction of the caller, whose earlier "
            "statements are gone with it: run that whole transaction again"
        ) from error
