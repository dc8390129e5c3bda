"""PostgreSQL's binary COPY format, made from whole columns.

Every row is a count of fields, then for each field its length in bytes and its value, all big-endian; a length of
-1 is NULL. Rows are laid out in one structured array as if nothing were NULL and every text as long as the
longest; a mask then leaves out the bytes that aren't there. See "COPY", section "Binary Format", of the
PostgreSQL documentation.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from astra_models.upsert.columns import BOOLEAN, BYTES, FLOATS, MOMENT, TEXT, Column

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
LARGEST_LAYOUT = 32_000_000
FLOAT4_OID = 700

# PostgreSQL counts microseconds from 2000-01-01, NumPy from 1970-01-01.
_POSTGRESQL_EPOCH = np.datetime64("2000-01-01", "us").astype(np.int64)


def binary_copy(columns: Sequence[Column]) -> Iterator[bytes]:
    """Encode rows for ``COPY ... FROM STDIN (FORMAT BINARY)``.

    Parameters
    ----------
    columns : sequence of Column, each of length n_rows
        The columns, in the order in which the COPY names them.

    Yields
    ------
    bytes
        The stream, in pieces.
    """
    yield HEADER
    yield from _rows([_Encoded(column) for column in columns], 0, len(columns[0].values))
    yield TRAILER


class _Encoded:
    """A column's bytes: fixed width, or the longest value's width with the length of each."""

    def __init__(self, column: Column):
        self.null = column.null if column.null.any() else None
        self.lengths: np.ndarray | None = None
        if column.kind in (TEXT, BYTES, FLOATS):
            pieces = _pieces(column)
            self.lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
            self.width = int(self.lengths.max(initial=0))
            self.values = np.array(pieces, dtype=f"S{self.width}") if self.width else None
            return
        values = column.values
        if column.kind is MOMENT:
            values = values.astype(np.int64) - _POSTGRESQL_EPOCH
        self.values = values.astype(np.uint8 if column.kind is BOOLEAN else values.dtype.newbyteorder(">"))
        self.width = self.values.dtype.itemsize


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


def _rows(columns: Sequence[_Encoded], start: int, stop: int) -> Iterator[bytes]:
    row_width = 2 + sum(4 + column.width for column in columns)
    if stop - start > 1 and (stop - start) * row_width > LARGEST_LAYOUT:
        middle = (start + stop) // 2
        yield from _rows(columns, start, middle)
        yield from _rows(columns, middle, stop)
        return
    layout, is_whole = _lay_out(columns, start, stop)
    as_bytes = layout.view(np.uint8).reshape(stop - start, row_width)
    if is_whole:
        yield as_bytes.tobytes()
        return
    present = _present(columns, start, stop, as_bytes.shape)
    yield as_bytes[present].tobytes()


def _lay_out(columns: Sequence[_Encoded], start: int, stop: int) -> tuple[np.ndarray, bool]:
    fields: list[tuple[str, object]] = [("count", ">i2")]
    for place, column in enumerate(columns):
        fields.append((f"length{place}", ">i4"))
        if column.values is not None:
            fields.append((f"value{place}", column.values.dtype))
    layout = np.empty(stop - start, dtype=np.dtype(fields))
    layout["count"] = len(columns)
    is_whole = True
    for place, column in enumerate(columns):
        length = column.width if column.lengths is None else column.lengths[start:stop]
        layout[f"length{place}"] = length
        if column.null is not None:
            layout[f"length{place}"][column.null[start:stop]] = -1
        if column.values is not None:
            layout[f"value{place}"] = column.values[start:stop]
            is_whole &= column.null is None and bool(np.all(length == column.width))
    return layout, is_whole


def _present(columns: Sequence[_Encoded], start: int, stop: int, shape: tuple[int, ...]) -> np.ndarray:
    present = np.ones(shape, bool)
    offset = 2
    for column in columns:
        value = slice(offset + 4, offset + 4 + column.width)
        offset = value.stop
        if column.lengths is not None and column.width:
            present[:, value] = np.arange(column.width) < column.lengths[start:stop, None]
        if column.null is not None:
            present[column.null[start:stop], value] = False
    return present
