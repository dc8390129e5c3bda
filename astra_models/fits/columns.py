"""Columns of FITS binary tables: how they are described, where they are in a row, and their values as NumPy arrays."""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.door import MOST_AXES, MOST_COLUMNS
from astra_models.fits.header import CardValue, Header
from astra_models.messages import shown

_KINDS = {"L": "u1", "X": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_OTHER_KINDS = {"A": "S1", "C": ">c8", "M": ">c16", "P": "V8", "Q": "V16"}
ELEMENTS = {code: np.dtype(kind) for code, kind in (_KINDS | _OTHER_KINDS).items()}
"""Types of one element, by the letter of the format; of bits (X), eight of them."""
CODES = {_KINDS[code].strip(">"): code for code in "BIJKED"}
"""Letters of the format, by NumPy's name of the type without its byte order."""

_FORM = re.compile(r"\s*(\d*)\s*([LXBIJKAEDCMPQ])")
_MORE = ("TNULL", "TSCAL", "TZERO", "TDIM")
_UNSIGNED = {("I", 1 << 15): np.uint16, ("J", 1 << 31): np.uint32, ("K", 1 << 63): np.uint64, ("B", -128): np.int8}
_SIGN = {"I": 1 << 15, "J": 1 << 31, "K": 1 << 63, "B": 1 << 7}
_LONGEST_TDIM = 1000
_TRUE, _FALSE = ord("T"), ord("F")
_LOGICAL = {_TRUE: True, _FALSE: False}

Number = int | float
RowValue = str | Number | list[Number | None] | None


class FitsColumn(NamedTuple):
    """A column of a binary table, to be read or to be written.

    Parameters
    ----------
    name : str
        TTYPE, as it is written.
    code : str
        The letter of TFORM: of ``L X B I J K A E D C M P Q``.
    repeat : int
        The number of TFORM: how many elements a row has; of text, characters.
    number : int
        Its number in the table, from 1.
    offset : int
        Its first byte in a row.
    unit : str or None
        TUNIT.
    null : int or None
        TNULL: the integer that stands for a missing one.
    scale, zero : int or float
        TSCAL and TZERO.
    axes : tuple of int
        TDIM: lengths of the axes of a row's array, the fastest first.
    description, heading : str
        What is written about it, and about the columns that begin with it.
    """

    name: str
    code: str
    repeat: int = 1
    number: int = 1
    offset: int = 0
    unit: str | None = None
    null: int | None = None
    scale: Number = 1
    zero: Number = 0
    axes: tuple[int, ...] = ()
    description: str = ""
    heading: str = ""

    @property
    def form(self) -> str:
        """TFORM."""
        return f"{self.repeat}A" if self.code == "A" else f"{'' if self.repeat == 1 else self.repeat}{self.code}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of a row's array, the slowest first: those of TDIM if they fit, else one, or none.

        A single value has none, nor has a text: its characters are not an axis.
        """
        if self.code in "CMPQ":
            return ()
        axes = self.axes[::-1] if self.axes and math.prod(self.axes) == self.repeat else ()
        if self.code == "A":
            return axes[:-1]
        if self.code == "X":
            return (-(-self.repeat // 8),)
        if axes and (self.repeat != 1 or len(axes) > 1):
            return axes
        return (self.repeat,) if self.repeat != 1 else ()

    @property
    def dtype(self) -> np.dtype:
        """The type of its part of a row, as it is in the file."""
        shape = self.shape
        if self.code == "A":
            element = np.dtype(f"S{max(1, self.repeat // max(1, math.prod(shape)))}")
        else:
            element = ELEMENTS[self.code]
        return np.dtype((element, shape)) if shape else element

    @property
    def size(self) -> int:
        """Bytes of a row that it takes."""
        return -(-self.repeat // 8) if self.code == "X" else self.repeat * ELEMENTS[self.code].itemsize

    @property
    def is_plain(self) -> bool:
        """Whether its values are numbers or text that mean what they are: without scale, zero point and axes."""
        is_known = self.code in "BIJKED" or (self.code == "A" and self.repeat > 0)
        return is_known and self.scale == 1 and self.zero == 0 and not self.axes

    @property
    def unreadable(self) -> str | None:
        """Why its values can't be read, if they can't."""
        if self.code in "PQ":
            return "an array of variable length, which is not read"
        if self.code in "CM":
            return "complex numbers, for which there are no columns"
        return "it has no values: its width is 0" if self.repeat == 0 else None

    @property
    def kind(self) -> str:
        """What its values are: ``text``, ``bool``, ``bytes``, ``int`` or ``float``."""
        if self.code in "ALX":
            return {"A": "text", "L": "bool", "X": "bytes"}[self.code]
        if self.code == "B" and self.shape:
            return "bytes"
        is_float = self.code in "ED" or ((self.scale, self.zero) != (1, 0) and (self.code, self.zero) not in _UNSIGNED)
        return "float" if is_float else "int"

    def values(self, raw: np.ndarray) -> np.ndarray:
        """Convert the column's part of many rows.

        Parameters
        ----------
        raw : ndarray, shape (n_rows, ...)
            As it is in the file.

        Returns
        -------
        ndarray, shape (n_rows, ...)
            Contiguous, in the machine's byte order; masked where TNULL, or a logical value that is neither true nor
            false, says that it is missing.
        """
        if self.code == "A":
            return np.ascontiguousarray(raw)
        if self.code == "L" and self.shape and not _is_logical(raw):
            return np.ascontiguousarray(raw)
        if self.code == "L":
            is_true = (raw == _TRUE) | (raw == 1)
            return _masked(is_true, ~is_true & (raw != _FALSE))
        values = np.array(raw, dtype=raw.dtype.newbyteorder("="), order="C")
        missing = values == self.null if self.null is not None and self.code in "BIJK" else None
        return _masked(self._scaled(values), missing)

    def value(self, row: bytes) -> RowValue:
        """Convert the column's part of a single row: faster than `values`, if that is all that is wanted.

        Parameters
        ----------
        row : bytes
            The row.

        Returns
        -------
        str, bool, int, float, list of these, or None
            Text without blanks around it; None where it is missing, can't be read or is no number.
        """
        if self.unreadable or self.code == "X":
            return None
        if self.code == "A":
            return row[self.offset : self.offset + self.repeat].partition(b"\0")[0].decode("latin-1").strip()
        stored: list[int] = np.frombuffer(row, ELEMENTS[self.code], self.repeat, self.offset).tolist()
        values: list[Number | None] = [*stored]
        if self.code == "L":
            values = [_LOGICAL.get(value) for value in stored]
        elif self.null is not None or self.scale != 1 or self.zero != 0:
            is_whole = self.code in "BIJK"
            values = [None if is_whole and value == self.null else self._scaled_one(value) for value in stored]
        return values[0] if self.repeat == 1 else values

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if (self.scale, self.zero) == (1, 0) or self.code == "X":
            return values
        unsigned = _UNSIGNED.get((self.code, int(self.zero))) if self.scale == 1 else None
        if unsigned is None:
            return values.astype(np.float64) * self.scale + self.zero
        as_bits = np.dtype(f"u{values.dtype.itemsize}")
        return (values.view(as_bits) ^ as_bits.type(_SIGN[self.code])).view(unsigned)

    def _scaled_one(self, value: Number) -> Number:
        # Unsigned integers are stored with an offset of half their range: exact only as integers.
        zero = int(self.zero) if self.zero == int(self.zero) else self.zero
        return value * self.scale + zero if self.scale != 1 else value + zero


def columns_of(header: Header) -> tuple[FitsColumn, ...]:
    """Read the columns of a table from its header.

    Raises
    ------
    UnrecognizedFileError
        If a format is unknown.
    """
    columns: list[FitsColumn] = []
    offset = 0
    has_more = any(name.startswith(_MORE) for name in header)  # hardly any table of a spectrum does
    n_columns = header.count("TFIELDS", 0)
    if n_columns > MOST_COLUMNS:
        raise UnrecognizedFileError(
            f"HDU {header.number} has {n_columns} columns (TFIELDS), and a FITS table can have {MOST_COLUMNS}; the "
            "file is damaged"
        )
    for i in range(1, n_columns + 1):
        name, form = str(header.get(f"TTYPE{i}", f"col{i}")).strip(), str(header.get(f"TFORM{i}", ""))
        code, repeat, size = _format(form)
        if not code:
            raise UnrecognizedFileError(
                f"column {i} of HDU {header.number} ({shown(name)}) has the unknown format {shown(form)}; the file is "
                "damaged"
            )
        unit = header.get(f"TUNIT{i}")
        column = FitsColumn(name, code, repeat, i, offset, None if unit is None else str(unit).strip() or None)
        columns.append(_with_more(column, header) if has_more else column)
        offset += size
    return tuple(columns)


@lru_cache(maxsize=1024)
def _format(form: str) -> tuple[str, int, int]:
    """Take TFORM apart: letter, number, and bytes per row; no letter if it is unknown."""
    match = _FORM.match(form)
    if match is None:
        return "", 0, 0
    column = FitsColumn("", match[2], int(match[1] or 1))
    return column.code, column.repeat, column.size


def _with_more(column: FitsColumn, header: Header) -> FitsColumn:
    i = column.number
    return column._replace(
        null=_null(header.get(f"TNULL{i}")),
        scale=_number(header.get(f"TSCAL{i}"), 1),
        zero=_number(header.get(f"TZERO{i}"), 0),
        axes=_axes(header.text(f"TDIM{i}")),
    )


def row_size(columns: Iterable[FitsColumn]) -> int:
    """Give the bytes of a row that columns take."""
    return sum(column.size for column in columns)


def row_type(columns: Iterable[FitsColumn], size: int) -> np.dtype:
    """Give the type of a row that is read, of `size` bytes: its fields are named by the columns' numbers."""
    used = [column for column in columns if column.size]
    return np.dtype(
        {
            "names": [str(column.number) for column in used],
            "formats": [column.dtype for column in used],
            "offsets": [column.offset for column in used],
            "itemsize": size,
        }
    )


def row_dtype(columns: Iterable[FitsColumn]) -> np.dtype:
    """Give the type of a row that is written: its fields are the columns, by their names."""
    return np.dtype([(column.name, column.dtype) for column in columns])


def _is_logical(raw: np.ndarray) -> bool:
    """Tell truth values from bytes that were written as such, as some files have them."""
    counts = np.bincount(np.ravel(raw), minlength=256)
    said = counts[_TRUE] + counts[_FALSE]
    return bool(said and said + counts[0] == counts.sum())


def _axes(written: str) -> tuple[int, ...]:
    words = re.findall(r"\d+", written[:_LONGEST_TDIM])
    return tuple([int(word) for word in words]) if len(words) <= MOST_AXES else ()


def _null(value: CardValue | None) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _number(value: CardValue | None, otherwise: Number) -> Number:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _masked(values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    return values if missing is None or not missing.any() else np.ma.MaskedArray(values, missing)
