"""PostgreSQL's binary COPY format, made from whole columns.

A row is a count of fields, then each field's length in bytes and its value, all big-endian; the length -1 is NULL.
Rows are laid out in one structured array as if nothing were NULL and every text as long as the longest; a mask then
drops the bytes that aren't to be sent. See "COPY", section "Binary Format", of the
PostgreSQL documentation.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from astra_models.columns.typed import BOOLEAN, BYTES, FLOATS, MOMENT, TEXT, Column, Kind

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
LARGEST_LAYOUT = 4_000_000
FLOAT4_OID = 700
_ANY_LENGTH = (TEXT, BYTES, FLOATS)

# PostgreSQL counts microseconds from 2000-01-01, NumPy from 1970-01-01.
_POSTGRESQL_EPOCH = np.datetime64("2000-01-01", "us").astype(np.int64)


def binary_copy(columns: Sequence[Column]) -> Iterator[memoryview]:
    """Encode rows for ``COPY ... FROM STDIN (FORMAT BINARY)``.

    Parameters
    ----------
    columns : sequence of Column, each of length n_rows
        The columns, in the order in which the COPY names them.

    Yields
    ------
    memoryview
        The stream, in pieces.
    """
    groups: list[_Group] = []
    for kind, neighbours in itertools.groupby(columns, key=lambda column: column.kind):
        some = list(neighbours)
        groups += map(_any_length, some) if kind in _ANY_LENGTH else [_fixed_length(kind, some)]
    n_rows = len(columns[0].values)
    rows_at_once = max(1, LARGEST_LAYOUT // (2 + sum(group.width for group in groups)))
    yield memoryview(HEADER)
    for start in range(0, n_rows, rows_at_once):
        yield _rows(groups, slice(start, min(start + rows_at_once, n_rows)))
    yield memoryview(TRAILER)


class CopyStream:
    """The pieces of a COPY as a file for psycopg2 to read.

    Parameters
    ----------
    pieces : sequence of memoryview
        What the file holds.
    """

    def __init__(self, pieces: Sequence[memoryview]):
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Give the next bytes, at most `size`, and ``b""`` at the end."""
        if not self._rest:
            self._rest = next(self._pieces, self._rest)
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return bytes(chunk)


@dataclass(frozen=True)
class _Group:
    """Neighbouring columns of one type, laid out with the same number of bytes for each value.

    Parameters
    ----------
    values : ndarray, shape (n_columns, n_rows)
        As PostgreSQL reads them.
    null : ndarray of bool, shape (n_columns, n_rows), or None
        Which values are NULL, if any are.
    lengths : ndarray, shape (n_rows,), or None
        The length of each value of a single column whose values may have any.
    """

    values: np.ndarray
    null: np.ndarray | None
    lengths: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return self.values.dtype.itemsize

    @property
    def width(self) -> int:
        """Bytes of the group in a row, with the lengths of its values."""
        return len(self.values) * (4 + self.size)

    def layout(self) -> tuple[np.dtype, int]:
        """Give the type of a value with its length, and how many of them a row has."""
        return np.dtype([("length", ">i4"), ("value", self.values.dtype)]), len(self.values)

    def mask(self) -> tuple[np.dtype, int]:
        """Give a type of the same size for what is sent: a whole number a value (quicker to set), or its bytes."""
        value = np.dtype(f"u{self.size}") if self.lengths is None else np.dtype((np.bool_, self.size))
        return np.dtype([("length", "u4"), ("value", value)]), len(self.values)


def _fixed_length(kind: Kind, columns: Sequence[Column]) -> _Group:
    values = np.empty((len(columns), len(columns[0].values)), _wire_type(kind))
    for row, column in zip(values, columns, strict=True):
        row[:] = as_sent(column)
    some_null = any(column.null.any() for column in columns)
    return _Group(values, np.array([column.null for column in columns]) if some_null else None)


def as_sent(column: Column) -> np.ndarray:
    """Give values of a type of fixed length as numbers that PostgreSQL takes."""
    return column.values.view(np.int64) - _POSTGRESQL_EPOCH if column.kind is MOMENT else column.values


def _wire_type(kind: Kind) -> np.dtype:
    return {MOMENT: np.dtype(np.int64), BOOLEAN: np.dtype(np.uint8)}.get(kind, kind.dtype).newbyteorder(">")


def _any_length(column: Column) -> _Group:
    pieces = _pieces(column)
    lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
    width = max(1, int(lengths.max(initial=0)))
    null = column.null[np.newaxis] if column.null.any() else None
    return _Group(np.array(pieces, dtype=f"S{width}")[np.newaxis], null, lengths)


def _pieces(column: Column) -> list[bytes]:
    if column.kind is TEXT:  # few different ones, as a rule: tags, classes, versions
        encoded = {value: (value or "").encode() for value in set(column.values.tolist())}
        return [encoded[value] for value in column.values.tolist()]
    return [b"" if null else _piece(value) for value, null in zip(column.values, column.null, strict=True)]


def _piece(value: bytes | np.ndarray) -> bytes:
    if isinstance(value, bytes):
        return value
    elements = np.empty(len(value), dtype=[("length", ">i4"), ("value", ">f4")])
    elements["length"], elements["value"] = 4, value
    if not len(value):
        return struct.pack(">iii", 0, 0, FLOAT4_OID)
    return struct.pack(">iiiii", 1, 0, FLOAT4_OID, len(value), 1) + elements.tobytes()


def _rows(groups: Sequence[_Group], rows: slice) -> memoryview:
    names = [f"group{place}" for place in range(len(groups))]
    types = [(name, *group.layout()) for name, group in zip(names, groups, strict=True)]
    layout = np.empty(rows.stop - rows.start, dtype=[("count", ">i2"), *types])
    layout["count"] = sum(len(group.values) for group in groups)
    for name, group in zip(names, groups, strict=True):
        layout[name]["length"] = _lengths(group, rows)
        layout[name]["value"] = group.values[:, rows].T
    as_bytes = layout.view(np.uint8)
    if all(group.null is None and group.lengths is None for group in groups):
        return as_bytes.data
    return as_bytes[_present(groups, names, rows)].data


def _lengths(group: _Group, rows: slice) -> int | np.ndarray:
    lengths = group.size if group.lengths is None else group.lengths[rows, np.newaxis]
    return lengths if group.null is None else np.where(group.null[:, rows].T, -1, lengths)


def _present(groups: Sequence[_Group], names: Sequence[str], rows: slice) -> np.ndarray:
    """Tell which bytes of the layout are to be sent."""
    types = [(name, *group.mask()) for name, group in zip(names, groups, strict=True)]
    row_type = np.dtype([("count", "u2"), *types])
    present = np.ones((rows.stop - rows.start) * row_type.itemsize, bool)
    fields = present.view(row_type)
    for name, group in zip(names, groups, strict=True):
        if group.lengths is not None:
            fields[name]["value"][:, 0] = np.arange(group.size) < np.maximum(_lengths(group, rows), 0)
        elif group.null is not None:
            all_bytes = np.frombuffer(b"\1" * group.size, dtype=f"u{group.size}")
            fields[name]["value"] = np.where(group.null[:, rows].T, 0, all_bytes)
    return present
