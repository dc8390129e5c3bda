"""Rows as PostgreSQL sends them, made into rows as FITS has them, a block at a time.

PostgreSQL's binary COPY has integers and floats big-endian, as FITS wants them. Once NULLs are replaced and text is
padded all rows are of one length, so that a block of them is a NumPy array already, whose fields have to be copied and
nothing else::

    COPY  |n columns|length|value|length|value|...    FITS  |value|value|...
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import numpy as np
import peewee

from astra_models.columns.typed import BOOLEAN, BYTES, FLOAT32, FLOAT64, FLOATS, INT32, INT64, MOMENT, TEXT, Column
from astra_models.errors import DamagedProductError
from astra_models.fits.columns import FitsColumn
from astra_models.fits.text import escape
from astra_models.products.fits.layout import LENGTH_OF_MOMENT, encode
from astra_models.products.query import OutColumn

COPY_HEADER = 19
END_OF_COPY = b"\xff\xff"
NO_MOMENT = np.iinfo(np.int64).min  # "-infinity", as PostgreSQL sends it
POSTGRESQL_EPOCH = np.datetime64("2000-01-01", "us")
ARRAY_HEADER = 20
NUMBERS = (INT32, INT64, FLOAT32, FLOAT64)
ROWS_IN_CACHE = 256

Take = Callable[[np.ndarray], None]
Convert = Callable[[np.ndarray], np.ndarray]
Field = tuple[str, np.dtype, tuple[int]]


class Sent(NamedTuple):
    """A column as PostgreSQL sends it, and as FITS has it."""

    column: OutColumn
    fits: FitsColumn
    plain: bool

    @property
    def is_sent(self) -> bool:
        """Whether it is asked for; it is NULL in every row otherwise."""
        return self.column.is_there

    @property
    def size(self) -> int | None:
        """Bytes of a number that is sent as FITS has it; None if it is anything else."""
        return self.fits.dtype.itemsize if self.is_sent and self.column.kind in NUMBERS else None

    @property
    def dtype(self) -> np.dtype:
        """The type of its values as they are sent."""
        kind, width = self.column.kind, self.fits.repeat
        if kind is MOMENT:
            return np.dtype(">i8")
        if kind is FLOATS:
            items = np.dtype([("length", ">i4"), ("value", ">f4")])
            return np.dtype([("header", f"V{ARRAY_HEADER}"), ("items", items, (width,))])
        return self.fits.dtype

    @property
    def expression(self) -> peewee.Node:
        """What is asked for: never NULL, and always of the same length."""
        value, kind, width = self.column.selected, self.column.kind, self.fits.repeat
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

    @property
    def convert(self) -> Convert | None:
        """What makes values that FITS has of those that are sent, if they aren't the same."""
        if self.column.kind is MOMENT:
            return _moments_as_text
        return self._escaped if self.column.kind is TEXT and not self.plain else None

    def values(self, sent: np.ndarray) -> np.ndarray:
        """Give the values among what is sent."""
        if self.column.kind is FLOATS:
            items = sent["items"]["value"]
            return items if self.fits.shape else items[..., 0]
        return sent

    def _escaped(self, sent: np.ndarray) -> np.ndarray:
        escaped = [escape(text.decode()) for text in sent.tolist()]
        return np.char.ljust(np.array(escaped, self.fits.dtype), self.fits.repeat)


def _sql(*parts: str | peewee.Node) -> peewee.NodeList:
    return peewee.NodeList([peewee.SQL(part) if isinstance(part, str) else part for part in parts], glue="")


def _padded_bytes(value: peewee.Node, width: int) -> peewee.NodeList:
    return _sql("(", value, f" || decode(repeat('00', {width} - octet_length(", value, ")), 'hex'))")


def _moments_as_text(sent: np.ndarray) -> np.ndarray:
    microseconds = sent.astype(np.int64)
    null = microseconds == NO_MOMENT
    moments = POSTGRESQL_EPOCH + np.where(null, 0, microseconds).astype("timedelta64[us]")
    return np.where(null, b" " * LENGTH_OF_MOMENT, np.datetime_as_string(moments).astype(f"S{LENGTH_OF_MOMENT}"))


def _blank(each: Sent) -> float | np.generic | np.ndarray:
    """Give what stands for NULL in every row."""
    null = Column(each.column.kind, np.full(1, None if each.column.kind.dtype == object else 0), np.ones(1, bool))
    if each.column.kind.dtype.kind == "f":
        return np.nan
    return encode(null, each.fits, each.plain)[0]


class Run(NamedTuple):
    """Columns that are copied at once: numbers that follow each other, or a single one of anything else."""

    name: str
    columns: list[Sent]

    @property
    def first(self) -> Sent:
        """The first of them, which the others are like."""
        return self.columns[0]

    @property
    def sent(self) -> Field:
        """Their field of a row as it is sent."""
        value = np.dtype([("length", ">i4"), ("value", self._number or self.first.dtype)])
        return self.name, value, (len(self.columns),)

    @property
    def fits(self) -> Field:
        """Their field of a row as FITS has it."""
        return self.name, self._number or self.first.fits.dtype, (len(self.columns),)

    @property
    def _number(self) -> np.dtype | None:
        return np.dtype(f">u{self.first.size}") if self.first.size else None


def _runs(columns: list[Sent]) -> list[Run]:
    places = groupby(range(len(columns)), lambda place: columns[place].size or f"column {place}")
    return [Run(f"run {n}", [columns[place] for place in some]) for n, (_, some) in enumerate(places)]


class CopyBlocks:
    """A file-like object for a binary COPY: it collects rows, and hands them on as FITS stores them, in blocks.

    Parameters
    ----------
    columns : list of Sent
        The columns of a row.
    take : callable
        Called with arrays of rows; it must not keep them.

    Attributes
    ----------
    expressions : list
        What the COPY has to select.
    """

    def __init__(self, columns: list[Sent], take: Take):
        runs = _runs(columns)
        sent = [run for run in runs if run.first.is_sent]
        self.expressions = [each.expression for run in sent for each in run.columns]
        self._sent = np.empty(ROWS_IN_CACHE, [("columns", ">i2"), *(run.sent for run in sent)])
        self._rows = np.empty(ROWS_IN_CACHE, [run.fits for run in runs])
        self._fields = self._copied(runs)
        self._bytes = memoryview(self._sent.view(np.uint8).data)
        self._filled = 0
        self._skip = COPY_HEADER
        self._take = take

    def write(self, data: bytes) -> int:
        """Take the next bytes of the COPY."""
        rest = memoryview(data)[self._skip :]
        self._skip = max(self._skip - len(data), 0)
        while rest:
            room = self._bytes[self._filled : self._filled + len(rest)]
            room[:] = rest[: len(room)]
            self._filled += len(room)
            rest = rest[len(room) :]
            if self._filled == len(self._bytes):
                self._hand_on(len(self._rows))
                self._filled = 0
        return len(data)

    def finish(self) -> None:
        """Hand on the last rows.

        Raises
        ------
        DamagedProductError
            If the COPY doesn't end where it should.
        """
        n_rows, left = divmod(self._filled, self._sent.itemsize)
        self._hand_on(n_rows)
        if self._bytes[self._filled - left : self._filled] != END_OF_COPY:
            raise DamagedProductError("PostgreSQL's COPY ended in the middle of a row; run it again")

    def _copied(self, runs: list[Run]) -> list[tuple[np.ndarray, np.ndarray, Convert | None]]:
        """Give where values go, where they are from, and what is done to them; and blank those that aren't sent."""
        fields: list[tuple[np.ndarray, np.ndarray, Convert | None]] = []
        for run in runs:
            rows, first = self._rows[run.name], run.first
            if not first.is_sent:
                rows[...] = _blank(first)
                continue
            sent = first.values(self._sent[run.name]["value"])
            fields.append((rows, sent, None) if first.convert is None else (rows[:, 0], sent[:, 0], first.convert))
        return fields

    def _hand_on(self, n_rows: int) -> None:
        if np.any(self._sent["columns"][:n_rows] != len(self.expressions)):
            raise DamagedProductError("a row of PostgreSQL's COPY is not of the length that was asked for")
        for rows, sent, convert in self._fields:
            rows[:n_rows] = sent[:n_rows] if convert is None else convert(sent[:n_rows])
        self._take(self._rows[:n_rows])
