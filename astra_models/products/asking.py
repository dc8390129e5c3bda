"""One question in SQL to the bound database, by a connection of its own that can't change anything.

SQLite's file is opened read-only, and an authorizer lets a statement do nothing but select. On PostgreSQL the statement
is a value that the server itself opens as a cursor, in a read-only transaction: it takes one that gives rows.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg2
import psycopg2.extensions

from astra_models.base import bound_schema, database
from astra_models.database.config import is_in_memory
from astra_models.database.retry import describe, one_line
from astra_models.database.sql import is_postgresql, quote
from astra_models.errors import DatabaseUnavailableError, SelectionError

ROWS_AT_ONCE = 1000
PATIENCE = 30.0
"""Seconds for which a locked SQLite file is waited for, if the question has as many."""
LONGEST = 2**31 - 1
"""Milliseconds; PostgreSQL takes no more."""
QUESTION = "astra.question"
OPENED_BY_THE_SERVER = f"""
    DO $$ DECLARE asked refcursor := 'asked';
    BEGIN OPEN asked NO SCROLL FOR EXECUTE current_setting('{QUESTION}'); END $$
"""
"""The server reads the statement as one plan: several, or one that gives no rows, are refused by it."""
STEPS_BETWEEN_LOOKS = 10_000
READS = frozenset({"select", "with", "values", "table", "explain"})
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "writefile", "edit", "fts3_tokenizer"})

_SKIPPED = re.compile(
    r"""--[^\n]*
    |/\*(?:[^*]|\*(?!/))*\*/
    |\b[eE]'(?:[^'\\]|''|\\.)*'
    |'(?:[^']|'')*'
    |"(?:[^"]|"")*"
    |\$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    """,
    re.VERBOSE | re.DOTALL,
)
"""What may hold a semicolon that ends no statement: comments, texts, names."""


Connection = TypeVar("Connection", sqlite3.Connection, psycopg2.extensions.connection)


class Answer(NamedTuple):
    """What a question gave: names of the columns, and the rows, some at a time."""

    names: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


@contextmanager
def asked(sql: str, seconds: float) -> Iterator[Answer]:
    """Ask the bound database, and give the answer; nothing can be changed by it.

    Parameters
    ----------
    sql : str
        One statement that selects.
    seconds : float
        The longest that it may take, until the last row is read.

    Raises
    ------
    SelectionError
        If it is no such statement, the database refuses it, or it takes longer.
    """
    require_one_question(sql)
    if "\0" in sql:
        raise SelectionError("the query has a character of the value 0, which no database takes")
    deadline = time.monotonic() + seconds
    asking = _ask_postgresql if is_postgresql(database) else _ask_sqlite
    try:
        with asking(sql, deadline) as answer:
            if not answer.names:
                raise SelectionError("the query gives no columns: name some after SELECT")
            yield answer
    except (sqlite3.Error, sqlite3.Warning, psycopg2.Error) as error:
        if time.monotonic() >= deadline:
            said = f"the query took longer than {seconds:g} s, and was stopped; give it more time by --seconds"
            raise SelectionError(said) from error
        raise SelectionError(f"the database refuses the query: {one_line(error)}") from error


def require_one_question(sql: str) -> None:
    """Make sure that SQL is one statement, and begins as one that selects.

    Raises
    ------
    SelectionError
        If it isn't.
    """
    bare = _SKIPPED.sub(" ", sql)
    statement, _, more = bare.partition(";")
    if more.strip(" \t\r\n;"):
        raise SelectionError("a query is one statement; ask one after the other")
    first = re.match(r"[\s(]*(\w+)", statement)
    if first is None or first[1].lower() not in READS:
        begins = f"begins with {first[1]}" if first else "is empty"
        raise SelectionError(f"a query only reads: it begins with SELECT, WITH or VALUES, and this one {begins}")


@contextmanager
def _ask_sqlite(sql: str, deadline: float) -> Iterator[Answer]:
    if is_in_memory(database.obj):
        raise SelectionError("a database in memory can't be asked by another connection")
    place = Path(str(database.obj.database)).absolute().as_uri()
    patience = max(0.0, min(PATIENCE, deadline - time.monotonic()))
    with closing(_opened(lambda: sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=patience))) as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.set_authorizer(_may_do)
        connection.set_progress_handler(lambda: int(time.monotonic() >= deadline), STEPS_BETWEEN_LOOKS)
        cursor = connection.execute(sql)
        yield Answer(_names(cursor.description), _batches_of(cursor))


def _opened(connect: Callable[[], Connection]) -> Connection:
    try:
        return connect()
    except (sqlite3.Error, psycopg2.Error) as error:
        raise DatabaseUnavailableError(
            f"{describe(database)} can't be used: {one_line(error)}; check that it is there, and that you may read it"
        ) from error


def _may_do(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    is_allowed = action in _ALLOWED and not (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS)
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _batches_of(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield rows


@contextmanager
def _ask_postgresql(sql: str, deadline: float) -> Iterator[Answer]:
    parameters = {name: value for name, value in database.obj.connect_params.items() if name != "options"}
    with closing(_opened(lambda: psycopg2.connect(dbname=database.obj.database, **parameters))) as connection:
        connection.set_session(readonly=True)
        with connection.cursor() as cursor:
            _set(cursor, "default_transaction_read_only", "on")
            if database.obj.timezone is not None:
                _set(cursor, "TimeZone", database.obj.timezone)
            if schema := bound_schema():
                _set(cursor, "search_path", f"{quote(schema)}, public")
            _leave_time(cursor, deadline)
            _set(cursor, QUESTION, sql)
            cursor.execute(OPENED_BY_THE_SERVER)
            cursor.execute(f"FETCH {ROWS_AT_ONCE} FROM asked")
            yield Answer(_names(cursor.description), _fetched(cursor, deadline))


def _set(cursor: psycopg2.extensions.cursor, name: str, value: str) -> None:
    cursor.execute("SELECT set_config(%s, %s, false)", (name, value))


def _leave_time(cursor: psycopg2.extensions.cursor, deadline: float) -> None:
    left = max(1, min(LONGEST, 1000 * (deadline - time.monotonic())))
    _set(cursor, "statement_timeout", str(int(left)))


def _fetched(cursor: psycopg2.extensions.cursor, deadline: float) -> Iterator[list[tuple[Any, ...]]]:
    while rows := _read(cursor):
        yield rows
        _leave_time(cursor, deadline)
        cursor.execute(f"FETCH {ROWS_AT_ONCE} FROM asked")


def _read(cursor: psycopg2.extensions.cursor) -> list[tuple[Any, ...]]:
    try:
        return cursor.fetchall()
    except ValueError as error:  # such as a time before Christ
        raise SelectionError(f"Python has no such value: {one_line(error)}; cast it to text in the query") from error


def _names(description: Any) -> list[str]:
    """Name the columns; a name that is there before gets a number."""
    names: list[str] = []
    for column in description or ():
        name, number = str(column[0]), 2
        while name in names:
            name, number = f"{column[0]}_{number}", number + 1
        names.append(name)
    return names
