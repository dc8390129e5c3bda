"""How rows are written as a FITS table: how wide its columns are, which values stand for NULL, how they are encoded.

The header of a FITS table comes first, so everything that it says has to be known before the first row is read. One
query over all rows finds it.
"""

import functools
import operator
from dataclasses import dataclass

import numpy as np
import peewee

from astra_models.base import database
from astra_models.columns.typed import BOOLEAN, BYTES, FLOATS, INT32, INT64, MOMENT, TEXT, Column, Kind
from astra_models.database.sql import is_postgresql
from astra_models.fits.columns import CODES, FitsColumn
from astra_models.fits.text import NOT_PLAIN_ON_POSTGRESQL, NOT_PLAIN_ON_SQLITE, escape
from astra_models.fits.written_header import fits_unit
from astra_models.products.flag_bits import described
from astra_models.products.query import OutColumn, Row, Selection, read_rows
from astra_models.products.reading import padded, text_of_moments

LENGTH_OF_MOMENT = 26
UNKNOWN = 255
MOST_COLUMNS = 999
MOST_ARGUMENTS = 50
_WIDE = (TEXT, FLOATS, BYTES)


@dataclass
class Asked:
    """What is known about one column of the rows.

    Parameters
    ----------
    uses_smallest : bool
        Whether the smallest integer that its type holds may be among its values.
    has_null : bool
        Whether a boolean is missing somewhere.
    width : int
        Length of the longest list or text, in bytes.
    plain : bool
        Whether none of its text has to be escaped for FITS.
    """

    uses_smallest: bool = False
    has_null: bool = False
    width: int = 0
    plain: bool = True


Pair = tuple[OutColumn, Asked]


@dataclass
class FitsLayout:
    """How a selection is written as a FITS table.

    Parameters
    ----------
    columns : list of FitsColumn
        One for each column of the selection.
    plain : list of bool
        Whether the text of a column needs no escaping.
    n_rows : int
        How many rows there are.
    """

    columns: list[FitsColumn]
    plain: list[bool]
    n_rows: int


def lay_out(selection: Selection) -> FitsLayout:
    """Query what a FITS table of these rows needs: widths, NULL values, escapes. Call it in the rows' `snapshot`."""
    n_rows, asked = _ask(selection)
    columns = [_fits_column(selection, column, answer) for column, answer in zip(selection.columns, asked, strict=True)]
    return FitsLayout(columns, [answer.plain for answer in asked], n_rows)


def _fits_column(selection: Selection, column: OutColumn, asked: Asked) -> FitsColumn:
    code, repeat, null = CODES.get(column.kind.dtype.str[1:], "A"), 1, None
    if column.kind in (INT32, INT64):
        null = _null_value(selection, column, asked.uses_smallest) if column.nullable else None
    elif column.kind is BOOLEAN:  # readers warn of an L that is neither true nor false
        code, null = ("B", UNKNOWN) if asked.has_null else ("L", None)
    elif column.kind is MOMENT:
        repeat = LENGTH_OF_MOMENT
    elif column.kind in _WIDE:
        code, repeat = {TEXT.sql: "A", FLOATS.sql: "E", BYTES.sql: "B"}[column.kind.sql], max(asked.width, 1)
    return FitsColumn(
        column.name,
        code,
        repeat,
        unit=fits_unit(column.unit),
        null=null,
        description=described(column),
        heading=column.heading,
    )


def _ask(selection: Selection) -> tuple[int, list[Asked]]:
    """Ask everything by one query, and more about columns that have what hardly any column has."""
    answers = [Asked(has_null=not column.is_there) for column in selection.columns]
    there = [(column, answer) for column, answer in zip(selection.columns, answers, strict=True) if column.is_there]
    wide, booleans, texts = _of_kind(there, *_WIDE), _of_kind(there, BOOLEAN), _of_kind(there, TEXT)
    whole = [[pair for pair in _of_kind(there, kind) if _may_be_null(pair[0])] for kind in (INT32, INT64)]
    questions = _questions(wide, booleans, texts, whole)
    [found] = _all(selection.select(*questions.values()))
    told = dict(zip(questions, found, strict=True))
    for column, answer in wide:
        answer.width = told[column.name] or 0
    for column, answer in booleans:
        answer.has_null = told[column.name] < told["rows"]
    for n, columns in enumerate(whole):
        for column, answer in columns:
            answer.uses_smallest = told[f"smallest {n}"] == _smallest(column)
    for column, answer in texts if told.get("not plain") else ():
        _ask_escaped(selection, column, answer)
    return told["rows"], answers


def _of_kind(pairs: list[Pair], *kinds: Kind) -> list[Pair]:
    return [pair for pair in pairs if pair[0].kind in kinds]


def _questions(
    wide: list[Pair], booleans: list[Pair], texts: list[Pair], whole: list[list[Pair]]
) -> dict[str, peewee.Node]:
    """Give what is asked, by the names of columns, and for all of a kind."""
    questions: dict[str, peewee.Node] = {"rows": peewee.fn.COUNT(peewee.SQL("*"))}
    questions |= {column.name: peewee.fn.MAX(_length(column)) for column, _ in wide}
    questions |= {column.name: peewee.fn.COUNT(column.selected) for column, _ in booleans}
    questions |= {f"smallest {n}": peewee.fn.MIN(_least(columns)) for n, columns in enumerate(whole) if columns}
    if texts:
        questions["not plain"] = _how_many_not_plain([column.selected for column, _ in texts])
    return questions


def _may_be_null(column: OutColumn) -> bool:
    return column.nullable and getattr(column.field, "stored_type", None) is None


def _least(columns: list[Pair]) -> peewee.ColumnBase:
    """Give the smallest of several columns, which is much faster than to aggregate each."""
    values = [column.selected for column, _ in columns]
    if is_postgresql(database):
        return peewee.fn.LEAST(*values)
    largest = (1 << 63) - 1  # SQLite's MIN of several is NULL if any of them is
    given = [peewee.fn.COALESCE(value, largest) for value in values]
    return peewee.fn.MIN(*(peewee.fn.MIN(*some, largest) for some in peewee.chunked(given, MOST_ARGUMENTS)), largest)


def _smallest(column: OutColumn) -> int:
    return -(1 << 8 * column.kind.dtype.itemsize - 1)


def _all(query: peewee.Query) -> list[Row]:
    """Give the few rows of a query; not by a cursor, for which PostgreSQL would use one process alone."""
    return database.execute_sql(*query.sql()).fetchall()


def length_in_elements(column: OutColumn) -> peewee.ColumnBase:
    """Give the length of a list, as an expression."""
    value = column.selected
    if is_postgresql(database):
        return peewee.fn.CARDINALITY(value)
    # Counted by its commas: NaN, which may be among the numbers, is no JSON to SQLite.
    return peewee.fn.LENGTH(value) - peewee.fn.LENGTH(peewee.fn.REPLACE(value, ",", "")) + 1


def _length(column: OutColumn) -> peewee.ColumnBase:
    """Length of a value in bytes, or in elements."""
    value = column.selected
    if column.kind is FLOATS:
        return length_in_elements(column)
    if is_postgresql(database):
        return peewee.fn.OCTET_LENGTH(value)
    return peewee.fn.LENGTH(peewee.fn.CAST(peewee.NodeList((value, peewee.SQL("AS BLOB")))))


def _how_many_not_plain(values: list[peewee.ColumnBase]) -> peewee.ColumnBase:
    """Count the rows with text to be escaped: on PostgreSQL with all columns put together, which is much faster."""
    if is_postgresql(database):
        together = [peewee.fn.CONCAT_WS(peewee.SQL("'|'"), *some) for some in peewee.chunked(values, MOST_ARGUMENTS)]
        pattern = NOT_PLAIN_ON_POSTGRESQL.replace("$", r"(\||$)")
        tests = [_matches(text, pattern) for text in together]
    else:
        tests = [_is_not_plain(value) for value in values]
    return peewee.fn.SUM(peewee.Case(None, [(functools.reduce(operator.or_, tests), 1)], 0))


def _is_not_plain(value: peewee.ColumnBase) -> peewee.Expression:
    if is_postgresql(database):
        return _matches(value, NOT_PLAIN_ON_POSTGRESQL)
    return functools.reduce(operator.or_, (_binary(value, "GLOB", pattern) for pattern in NOT_PLAIN_ON_SQLITE))


def _matches(value: peewee.ColumnBase, pattern: str) -> peewee.Expression:
    return _binary(peewee.NodeList((value, peewee.SQL('COLLATE "C"'))), "~", pattern)


def _binary(value: peewee.Node, symbol: str, pattern: str) -> peewee.Expression:
    return peewee.Expression(value, symbol, peewee.Value(pattern, converter=str), flat=False)


def _ask_escaped(selection: Selection, column: OutColumn, answer: Asked) -> None:
    """Find how long the escaped text of a column is, if it has any."""
    not_plain = selection.select(column.selected).where(_is_not_plain(column.selected)).distinct()
    for rows in read_rows(not_plain):
        answer.plain = False
        answer.width = max(answer.width, *(len(escape(text)) for (text,) in rows))


def _null_value(selection: Selection, column: OutColumn, uses_smallest: bool) -> int:
    """Find a value that a column doesn't use: the smallest that there is, which hardly any does."""
    smallest = _smallest(column)
    if not uses_smallest:
        return smallest
    return next(value for value in range(smallest, -smallest) if not _is_used(selection, column, value))


def _is_used(selection: Selection, column: OutColumn, value: int) -> bool:
    condition = column.selected == peewee.Value(value, converter=int)
    return bool(_all(selection.select(peewee.SQL("1")).where(condition).limit(1)))


# ---- values


def encode(column: Column, fits: FitsColumn, plain: bool) -> np.ndarray:
    """Encode values as FITS stores them.

    Parameters
    ----------
    column : Column
        The values, and where they are NULL.
    fits : FitsColumn
        The column of the file.
    plain : bool
        Whether text needs no escaping.
    """
    if column.kind in (INT32, INT64):
        return column.values if fits.null is None else np.where(column.null, fits.null, column.values)
    if column.kind is BOOLEAN:
        no, yes = (0, 1) if fits.code == "B" else (ord("F"), ord("T"))
        return np.where(column.null, fits.null or 0, np.where(column.values, yes, no))
    if column.kind is MOMENT:
        return np.char.ljust(text_of_moments(column).astype(fits.dtype), fits.repeat)
    if column.kind is TEXT:
        given = ("" if value is None else value for value in column.values)
        ascii_only = [value.encode() for value in given] if plain else [escape(value) for value in given]
        return np.char.ljust(np.array(ascii_only, dtype=fits.dtype), fits.repeat)
    if column.kind in (FLOATS, BYTES):
        rows = padded(column.values, fits.repeat, fits.dtype.base)
        return rows if fits.shape else rows[:, 0]
    return column.values
