"""Rows of PostgreSQL, as its binary COPY sends them, made into typed arrays.

All that is of one size comes first in a row, so that many rows are one NumPy array; text is put together into one last
value, whose parts' lengths are among the numbers. NULL is sent as what its column can't hold, or beside the value::

    |n columns|length|value|length|value|...|length|all text of the row|
"""

import logging
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import peewee
from psycopg2.extensions import encodings

from astra_models.base import database
from astra_models.columns.typed import (
    BOOLEAN,
    BYTES,
    COMPUTED,
    FLOAT32,
    FLOAT64,
    FLOATS,
    INT32,
    INT64,
    MOMENT,
    TEXT,
    Column,
    Kind,
)
from astra_models.database.sql import driver_errors
from astra_models.errors import DamagedProductError
from astra_models.products.query import OutColumn, Selection, share_snapshot, shared_snapshot
from astra_models.products.reading.key_ranges import key_ranges
from astra_models.products.reading.values import NO_MOMENT, joined, nothing

COPY_HEADER = 19
END_OF_COPY = b"\xff\xff"
EPOCH = np.datetime64("2000-01-01", "us")
NEVER = np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max])  # -infinity and infinity
ARRAY_HEADER, ELEMENT = 20, np.dtype([("length", ">i4"), ("value", ">f4")])
MOST_ARGUMENTS = 50
MOST_COLUMNS = 800
"""Half of what PostgreSQL can select at once: some are sent as two."""
NULL_WHOLE = -(1 << 63)

logger = logging.getLogger(__name__)

Take = Callable[[list[Column]], None]


class _Sent(NamedTuple):
    """What is sent for one column beside its text.

    Parameters
    ----------
    value : str
        SQL; ``{}`` stands for the column.
    dtype : str
        What it is as it is sent.
    """

    value: str
    dtype: str


_ARRAY = "array_send(array_replace({}, NULL, 'NaN'::real))"
_SENT = {
    FLOAT32: _Sent("COALESCE({}, 'NaN')::real", ">f4"),
    FLOAT64: _Sent("COALESCE({}, 'NaN')::double precision", ">f8"),
    INT32: _Sent(f"COALESCE({{}}::bigint, '{NULL_WHOLE}'::bigint)", ">i8"),
    INT64: _Sent("COALESCE({}, 0)::bigint", ">i8"),
    BOOLEAN: _Sent('(CASE WHEN {0} THEN 1 WHEN NOT {0} THEN 0 ELSE -1 END)::"char"', "i1"),
    MOMENT: _Sent("COALESCE({}, '-infinity')::timestamptz", ">i8"),
    TEXT: _Sent("COALESCE(length({}), -1)", ">i4"),
    BYTES: _Sent("COALESCE(2 * length({}), -1)", ">i4"),
    FLOATS: _Sent(f"COALESCE(2 * length({_ARRAY}), -1)", ">i4"),
}
_IS_NULL = _Sent("({} IS NULL)", "i1")
_TEXT = {TEXT: "{}", BYTES: "encode({}, 'hex')", FLOATS: f"encode({_ARRAY}, 'hex')"}
_OIDS: dict[int, tuple[Kind, ...]] = {
    16: (BOOLEAN,),
    20: (INT64,),
    21: (INT32, INT64),
    23: (INT32, INT64),
    25: (TEXT,),
    1043: (TEXT,),
    700: (FLOAT32, FLOAT64),
    701: (FLOAT64,),
    1184: (MOMENT,),
    17: (BYTES,),
    1021: (FLOATS,),
}
"""What a column of a type of PostgreSQL can be read as, by the type's number in its catalogue."""


def can_be_copied(selection: Selection) -> bool:
    """Tell whether the columns of a selection are of the types that they are declared to be, and of those sent here."""
    there = [column for column in selection.columns if column.is_there]
    if len(there) > MOST_COLUMNS or any(
        column.kind is COMPUTED or getattr(column.field, "stored_type", None) for column in there
    ):
        return False
    sql, parameters = _query(selection)
    with driver_errors, database.connection().cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({sql}) AS asked LIMIT 0", parameters)
        types = [described.type_code for described in cursor.description or ()]
    return all(column.kind in _OIDS.get(oid, ()) for column, oid in zip(there, types, strict=True))


def _query(selection: Selection) -> tuple[str, tuple[object, ...]]:
    sql, parameters = selection.ordered(*(column.selected for column in selection.columns if column.is_there)).sql()
    return sql, tuple(parameters)


def copy_columns(selection: Selection, take: Take, at_once: int) -> None:
    """Read all rows of a selection, and hand them on some at a time.

    Parameters
    ----------
    selection : Selection
        What to read, of which `can_be_copied` is true; in a `snapshot`.
    take : callable
        Called with the columns of some rows, a `Column` each.
    at_once : int
        Rows at a time.

    Raises
    ------
    DamagedProductError
        If what is sent isn't what was asked for.
    """
    rows = _Rows(selection.columns, take, at_once)
    sql, parameters = _query(selection)
    names = ", ".join(f"c{n}" for n in range(sum(column.is_there for column in selection.columns)))
    with driver_errors, database.connection().cursor() as cursor:
        # The query as it is, with its order: PostgreSQL keeps it when nothing is asked for but other expressions.
        asked = cursor.mogrify(f"SELECT {rows.expressions} FROM ({sql}) AS asked({names})", parameters)
        cursor.copy_expert(b"COPY (" + asked + b") TO STDOUT (FORMAT BINARY)", rows)
        rows.codec = encodings[database.connection().encoding]
    rows.finish()


def copied_in_ranges(selection: Selection, at_once: int) -> list[list[Column]]:
    """Read all rows of a selection, each range of its key by a connection that sees the same `snapshot`."""
    ranges = key_ranges(selection)
    if len(ranges) == 1:
        return _copied(selection, at_once)
    name = share_snapshot()

    def read(some: Selection) -> list[list[Column]]:
        with shared_snapshot(name):
            return _copied(some, at_once)

    try:
        with ThreadPoolExecutor(len(ranges)) as pool:
            return [columns for parts in pool.map(read, ranges) for columns in parts]
    except peewee.OperationalError as error:  # this role may have no further connection
        logger.debug("all ranges are read by one connection: %s", error)
        return _copied(selection, at_once)


def _copied(selection: Selection, at_once: int) -> list[list[Column]]:
    parts: list[list[Column]] = []
    copy_columns(selection, parts.append, at_once)
    return parts


def copied_in_parts(selection: Selection, at_once: int) -> Iterator[list[Column]]:
    """Read the rows of a selection that are in the order of a key, some at a time, each by a COPY of its own."""
    key = selection.order[0]
    assert isinstance(key, peewee.Field)
    with_key = [*selection.columns, OutColumn("", key, key, "", nullable=False)]
    base = selection.base
    while True:
        parts = _copied(selection._replace(columns=with_key, base=base.limit(at_once)), at_once)
        if not parts:
            return
        *columns, keys = joined(with_key, parts)
        yield columns
        if len(keys.null) < at_once:
            return
        base = selection.base.where(key > keys.value(-1))


class _Rows:
    """A file-like object for a binary COPY: it collects rows, and hands them on as columns."""

    def __init__(self, columns: list[OutColumn], take: Take, at_once: int):
        self._columns = columns
        self._take = take
        self._at_once = at_once
        self._parts: list[bytes] = []
        self._skip = COPY_HEADER
        self.codec = "utf-8"
        there = [(n, column) for n, column in enumerate(column for column in columns if column.is_there)]
        sent = [(f"value {n}", _SENT[column.kind], f"c{n}") for n, column in there]
        sent += [(f"null {n}", _IS_NULL, f"c{n}") for n, column in there if column.kind is INT64 and column.nullable]
        texts = [_TEXT[column.kind].format(f"c{n}") for n, column in there if column.kind in _TEXT]
        self._has_text = bool(texts)
        expressions = [each.value.format(name) for _, each, name in sent]
        self.expressions = ", ".join([*expressions, *([_concatenated(texts)] if texts else [])])
        self._n_values = len(expressions) + self._has_text
        fields: list[tuple[str, str]] = [("columns", ">i2")]
        for name, each, _ in sent:
            fields += [(f"length of {name}", ">i4"), (name, each.dtype)]
        self._dtype = np.dtype(fields)
        self._sizes = [(f"length of {name}", np.dtype(each.dtype).itemsize) for name, each, _ in sent]

    def write(self, data: bytes) -> int:
        """Take the next bytes of the COPY, which are a row's."""
        self._parts.append(data)
        if len(self._parts) >= self._at_once:
            self._hand_on(b"".join(self._parts))
        return len(data)

    def finish(self) -> None:
        """Hand on the last rows.

        Raises
        ------
        DamagedProductError
            If the COPY doesn't end where it should.
        """
        data = b"".join(self._parts)
        if not data.endswith(END_OF_COPY):
            raise DamagedProductError("PostgreSQL's COPY ended in the middle of a row; run it again")
        self._hand_on(data[: -len(END_OF_COPY)])

    def _hand_on(self, data: bytes) -> None:
        data, self._skip = data[self._skip :], max(self._skip - len(data), 0)
        rows, texts, rest = self._split(data)
        self._parts = [rest] if rest else []
        if len(rows):
            self._take(self._columns_of(rows, texts))

    def _split(self, data: bytes) -> tuple[np.ndarray, bytes, bytes]:
        """Give what is of one size of each row, the text of all rows, and what is left of a row that isn't whole."""
        size = self._dtype.itemsize
        if not self._has_text:
            n_rows = len(data) // size
            return np.frombuffer(data, self._dtype, n_rows), b"", data[n_rows * size :]
        length = struct.Struct(">i").unpack_from
        place, end, heads, texts = 0, len(data), [], []
        while place + size + 4 <= end:
            after = place + size + 4 + length(data, place + size)[0]
            if after > end:
                break
            heads.append(data[place : place + size])
            texts.append(data[place + size + 4 : after])
            place = after
        return np.frombuffer(b"".join(heads), self._dtype), b"".join(texts), data[place:]

    def _columns_of(self, rows: np.ndarray, texts: bytes) -> list[Column]:
        self._require_whole(rows)
        there = [(n, column) for n, column in enumerate(column for column in self._columns if column.is_there)]
        with_text = [n for n, column in there if column.kind in _TEXT]
        pieces = iter(_pieces(texts.decode(self.codec), [rows[f"value {n}"] for n in with_text]))
        found = []
        for n, column in there:
            given = next(pieces) if column.kind in _TEXT else None
            null = rows[f"null {n}"].astype(bool) if f"null {n}" in (self._dtype.names or ()) else None
            found.append(_column(column.kind, rows[f"value {n}"], null, given))
        left = iter(found)
        return [next(left) if column.is_there else nothing(column, len(rows)) for column in self._columns]

    def _require_whole(self, rows: np.ndarray) -> None:
        if np.any(rows["columns"] != self._n_values) or any(np.any(rows[name] != size) for name, size in self._sizes):
            raise DamagedProductError("a row of PostgreSQL's COPY is not of the length that was asked for")


def _concatenated(texts: list[str]) -> str:
    """Put text together in SQL; a function takes no more than 100 arguments."""
    some = [f"concat({', '.join(chunk)})" for chunk in peewee.chunked(texts, MOST_ARGUMENTS)]
    return some[0] if len(some) == 1 else _concatenated(some)


def _pieces(text: str, lengths: list[np.ndarray]) -> list[np.ndarray]:
    """Cut the text of all rows into that of each column; None where a length is negative."""
    if not lengths:
        return []
    table = np.stack(lengths, axis=1).astype(np.int64)
    ends = np.cumsum(np.maximum(table, 0)).tolist()
    pieces = np.empty(table.size, object)
    pieces[:] = [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    pieces = pieces.reshape(table.shape)
    pieces[table < 0] = None
    return [np.ascontiguousarray(column) for column in pieces.T]


def _column(kind: Kind, sent: np.ndarray, null: np.ndarray | None, pieces: np.ndarray | None) -> Column:
    """Make a column of what was sent for it."""
    if pieces is not None:
        values = pieces if kind is TEXT else _from_hexadecimal(kind, pieces)
        return Column(kind, values, sent < 0)
    if kind is MOMENT:
        never = np.isin(sent, NEVER)
        moments = EPOCH + np.where(never, 0, sent.astype(np.int64)).astype("timedelta64[us]")
        moments[never] = NO_MOMENT
        return Column(kind, moments, never)
    if kind is INT32:
        absent = sent == NULL_WHOLE
        return Column(kind, np.where(absent, 0, sent).astype(kind.dtype), absent)
    if kind is BOOLEAN:
        return Column(kind, sent == 1, sent == -1)
    values = sent.astype(kind.dtype)
    if null is None:
        null = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    return Column(kind, values, null)


def _from_hexadecimal(kind: Kind, pieces: np.ndarray) -> np.ndarray:
    values = np.empty(len(pieces), object)
    for row, piece in enumerate(pieces):
        if piece is not None:
            data = bytes.fromhex(piece)
            values[row] = data if kind is BYTES else _floats(data)
    return values


def _floats(data: bytes) -> np.ndarray:
    """Read an array as PostgreSQL sends it; an empty one has no dimensions, and a shorter header."""
    return np.frombuffer(data[ARRAY_HEADER:], ELEMENT)["value"].astype(np.float32)
