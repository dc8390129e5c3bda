"""Rows as FITS has them: big-endian structured arrays, ready to be written.

PostgreSQL can give rows in that very form. It sends integers and floats big-endian, as FITS wants them, and once NULLs
are replaced and text is padded all rows are of one length, so that a block of its binary COPY is a NumPy array already,
whose fields have to be copied and nothing else. Anything else is read value by value.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.sql import driver_errors, is_postgresql
from astra_models.errors import DamagedProductError
from astra_models.products.columns_read import padded, read_columns
from astra_models.products.fits_header import FitsColumn, row_dtype
from astra_models.products.fits_layout import LENGTH_OF_MOMENT, FitsLayout
from astra_models.products.fits_text import escape
from astra_models.products.selection import (
    OutColumn,
    Selection,
    can_be_shared,
    read_rows,
    share_snapshot,
    shared_snapshot,
)
from astra_models.upsert.columns import BOOLEAN, BYTES, FLOATS, INT32, INT64, MOMENT, TEXT, Column

COPY_HEADER = 19
BLOCK = 1 << 20
READ_SIZE = 1 << 16
NO_MOMENT = np.iinfo(np.int64).min  # "-infinity", as PostgreSQL sends it
POSTGRESQL_EPOCH = np.datetime64("2000-01-01", "us")
ARRAY_HEADER = 20
END_OF_COPY = b"\xff\xff"
ROWS_IN_CACHE = 512
ROWS_PER_PART = 10_000
MOST_PARTS = 4

Take = Callable[[np.ndarray], None]
Sink = Callable[[int], AbstractContextManager[Take]]


def stream_rows(selection: Selection, layout: FitsLayout, sink: Sink) -> None:
    """Read all rows, and hand them on some at a time.

    Many rows of PostgreSQL are read in parts, by several connections that see the same snapshot: what takes time is
    the server's work of sending every value.

    Parameters
    ----------
    selection : Selection
        What to read; in a `snapshot`.
    layout : FitsLayout
        What the FITS table is like.
    sink : callable
        Given the number of a row, gives a context manager of a function that takes structured arrays of `row_dtype`:
        of this row and those that follow. The function is done with an array when it returns.
    """
    if is_postgresql(database) and all(getattr(c.field, "stored_type", None) is None for c in selection.columns):
        _copy_in_parts(selection, layout, sink)
        return
    with sink(0) as take:
        for rows in _encoded(selection, layout):
            take(rows)


# ---- value by value


def _encoded(selection: Selection, layout: FitsLayout) -> Iterator[np.ndarray]:
    dtype = row_dtype(layout.columns)
    for values in read_columns(selection):
        rows = np.empty(len(values[0].null), dtype)
        for column, fits, plain in zip(values, layout.columns, layout.plain, strict=True):
            rows[fits.name] = _encode(column, fits, plain)
        yield rows


def _encode(column: Column, fits: FitsColumn, plain: bool) -> Any:
    """Give a column's values as FITS has them."""
    if column.kind in (INT32, INT64):
        return column.values if fits.null is None else np.where(column.null, fits.null, column.values)
    if column.kind is BOOLEAN:
        no, yes = (0, 1) if fits.code == "B" else (ord("F"), ord("T"))
        return np.where(column.null, fits.null or 0, np.where(column.values, yes, no))
    if column.kind in (TEXT, MOMENT):
        given = ("" if value is None else value for value in column.values)
        ascii_only = [value.encode() for value in given] if plain else [escape(value) for value in given]
        return np.char.ljust(np.array(ascii_only, dtype=fits.dtype), fits.width)
    if column.kind in (FLOATS, BYTES):
        rows = padded(column.values, fits.width, fits.dtype.base)
        return rows[:, 0] if fits.is_single else rows
    return column.values


# ---- as PostgreSQL sends it


class Sent(NamedTuple):
    """A column as PostgreSQL sends it, and as FITS has it."""

    column: OutColumn
    fits: FitsColumn
    plain: bool

    @property
    def dtype(self) -> np.dtype:
        """The type of its values as they are sent."""
        kind, width = self.column.kind, self.fits.width
        if kind is MOMENT:
            return np.dtype(">i8")
        if kind is FLOATS:
            items = np.dtype([("length", ">i4"), ("value", ">f4")])
            return np.dtype([("header", f"V{ARRAY_HEADER}"), ("items", items, (width,))])
        return np.dtype(("u1", (width,))) if kind is BYTES else self.fits.dtype

    @property
    def expression(self) -> Any:
        """What is asked for: never NULL, and always of the same length."""
        value, kind, width = self.column.expression, self.column.kind, self.fits.width
        if kind is BOOLEAN and self.fits.code == "L":
            return _sql("(CASE WHEN ", value, " THEN 'T' ELSE 'F' END)::\"char\"")
        if kind is BOOLEAN:  # of eight bits and signed, -1 is 255
            return _sql("(CASE WHEN ", value, " THEN 1 WHEN NOT ", value, ' THEN 0 ELSE -1 END)::"char"')
        if kind is TEXT and self.plain:
            return _sql("COALESCE(", value, f", '')::character({width})")
        if kind is TEXT:
            return _padded_bytes(_sql("convert_to(COALESCE(", value, ", ''), 'UTF8')"), width)
        if kind is BYTES:
            return _padded_bytes(_sql("COALESCE(", value, ", ''::bytea)"), width)
        if kind is FLOATS:
            given = _sql("array_replace(COALESCE(", value, ", '{}'::real[]), NULL, 'NaN'::real)")
            missing = _sql(f"ARRAY[{width} - COALESCE(cardinality(", value, "), 0)]")
            return _sql("(", given, " || array_fill('NaN'::real, ", missing, "))")
        if not self.column.nullable:
            return value
        instead = "-infinity" if kind is MOMENT else "NaN" if self.fits.null is None else self.fits.null
        return _sql("COALESCE(", value, f", '{instead}'::{kind.sql})")

    def arranged(self, sent: np.ndarray) -> Any:
        """Give values as FITS has them."""
        kind, fits = self.column.kind, self.fits
        if kind is MOMENT:
            return _moments_as_text(sent)
        if kind is TEXT and not self.plain:
            escaped = [escape(text.decode()) for text in sent.tolist()]
            return np.char.ljust(np.array(escaped, fits.dtype), fits.width)
        if kind is FLOATS:
            sent = sent["items"]["value"]
        return sent[:, 0] if fits.is_single and sent.ndim > 1 else sent


def _sql(*parts: Any) -> Any:
    return peewee.NodeList([peewee.SQL(part) if isinstance(part, str) else part for part in parts], glue="")


def _padded_bytes(value: Any, width: int) -> Any:
    return _sql("(", value, f" || decode(repeat('00', {width} - octet_length(", value, ")), 'hex'))")


def _moments_as_text(sent: np.ndarray) -> np.ndarray:
    microseconds = sent.astype(np.int64)
    null = microseconds == NO_MOMENT
    moments = POSTGRESQL_EPOCH + np.where(null, 0, microseconds).astype("timedelta64[us]")
    return np.where(null, b" " * LENGTH_OF_MOMENT, np.datetime_as_string(moments).astype(f"S{LENGTH_OF_MOMENT}"))


def _copy_in_parts(selection: Selection, layout: FitsLayout, sink: Sink) -> None:
    n_parts = min(MOST_PARTS, os.cpu_count() or 1, layout.n_rows // ROWS_PER_PART)
    if n_parts < 2 or not selection.is_key or not can_be_shared():
        with sink(0) as take:
            _copy_rows(selection, layout, take)
        return
    starts = [layout.n_rows * n // n_parts for n in range(n_parts)]
    snapshot = share_snapshot()

    def copy(part: Selection, start: int) -> None:
        with shared_snapshot(snapshot), sink(start) as take:
            _copy_rows(part, layout, take)

    with ThreadPoolExecutor(n_parts) as pool:
        list(pool.map(copy, _parts(selection, starts), starts))


def _parts(selection: Selection, starts: list[int]) -> list[Selection]:
    """Cut a selection into parts that begin with the rows of these numbers."""
    key = selection.order[0]
    found = [next(read_rows(selection.ordered(key).offset(start).limit(1)))[0][0] for start in starts[1:]]
    limits = zip([None, *found], [*found, None], strict=True)
    parts = []
    for first, after in limits:
        conditions = ([] if first is None else [key >= first]) + ([] if after is None else [key < after])
        parts.append(selection._replace(base=selection.base.where(*conditions)))
    return parts


def _copy_rows(selection: Selection, layout: FitsLayout, take: Take) -> None:
    columns = [Sent(*each) for each in zip(selection.columns, layout.columns, layout.plain, strict=True)]
    sent = [each for each in columns if each.column.expression is not None]
    blocks = CopyBlocks([each.dtype for each in sent], _arranging(columns, row_dtype(layout.columns), take))
    sql, parameters = selection.ordered(*(each.expression for each in sent)).sql()
    with driver_errors, database.connection().cursor() as cursor:
        query = cursor.mogrify(sql, tuple(parameters))
        cursor.copy_expert(b"COPY (" + query + b") TO STDOUT (FORMAT BINARY)", blocks, READ_SIZE)
    blocks.finish()


def _arranging(columns: list[Sent], dtype: np.dtype, take: Take) -> Take:
    """Give the function that makes rows as FITS has them of rows as they are sent."""
    blanks = {each.fits.name: _blank(each) for each in columns if each.column.expression is None}

    def arrange(sent: np.ndarray) -> None:
        rows = np.empty(len(sent), dtype)
        place = 0
        for each in columns:
            name = each.fits.name
            if name in blanks:
                rows[name] = blanks[name]
            else:
                rows[name] = each.arranged(sent[f"column {place}"])
                place += 1
        take(rows)

    return arrange


def _blank(each: Sent) -> Any:
    """Give what stands for NULL in every row."""
    null = Column(each.column.kind, np.full(1, None if each.column.kind.dtype == object else 0), np.ones(1, bool))
    if each.column.kind.dtype.kind == "f":
        return np.nan
    return _encode(null, each.fits, each.plain)[0]


class CopyBlocks:
    """Where a binary COPY is written to: cut into arrays of whole rows.

    Parameters
    ----------
    dtypes : list of dtype
        Of a row's values, as they are sent.
    take : callable
        Takes arrays of rows, with fields ``column 0``, ``column 1``...
    """

    def __init__(self, dtypes: list[np.dtype], take: Take):
        fields: list[Any] = [("columns", ">i2")]
        for place, dtype in enumerate(dtypes):
            fields += [(f"length {place}", ">i4"), (f"column {place}", dtype)]
        self._dtype = np.dtype(fields)
        self._n_columns = len(dtypes)
        self._take = take
        self._waiting = bytearray()
        self._skip = COPY_HEADER

    def write(self, data: bytes) -> int:
        """Take what comes next of the COPY."""
        self._waiting += data
        if len(self._waiting) >= BLOCK:
            self._hand_on()
        return len(data)

    def finish(self) -> None:
        """Hand on the last rows.

        Raises
        ------
        DamagedProductError
            If the COPY doesn't end where it should.
        """
        self._hand_on()
        if bytes(self._waiting) != END_OF_COPY:
            raise DamagedProductError("PostgreSQL's COPY ended in the middle of a row; run it again")

    def _hand_on(self) -> None:
        start, self._skip = self._skip, 0
        size = self._dtype.itemsize
        end = start + (len(self._waiting) - start) // size * size
        rows = np.frombuffer(bytes(memoryview(self._waiting)[start:end]), self._dtype)
        del self._waiting[:end]
        if np.any(rows["columns"] != self._n_columns):
            raise DamagedProductError("a row of PostgreSQL's COPY is not of the length that was asked for")
        for first in range(0, len(rows), ROWS_IN_CACHE):
            self._take(rows[first : first + ROWS_IN_CACHE])
