"""Columns of a FITS binary table: where they are in a row, and their values as NumPy arrays."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from astra_models.errors import UnrecognizedFileError

_FORM = re.compile(r"\s*(\d*)\s*([LXBIJKAEDCMPQ])")
_TYPES = {"L": "u1", "X": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_OTHER_TYPES = {"A": "S1", "C": ">c8", "M": ">c16", "P": "V8", "Q": "V16"}
_UNSIGNED = {("I", 1 << 15): np.uint16, ("J", 1 << 31): np.uint32, ("K", 1 << 63): np.uint64, ("B", -128): np.int8}
_SIGN = {"I": 1 << 15, "J": 1 << 31, "K": 1 << 63, "B": 1 << 7}
_TRUE, _FALSE = ord("T"), ord("F")


@dataclass(frozen=True)
class FitsColumn:
    """A column, as its header describes it.

    Parameters
    ----------
    number : int
        Its number in the table, from 1.
    name : str
        Its name as it is written.
    code : str
        The letter of its format.
    repeat : int
        How many elements a row has: of text, characters.
    offset : int
        Its first byte in a row.
    unit : str or None
        TUNIT.
    null : int or None
        TNULL: the integer that stands for a missing one.
    scale, zero : int or float
        TSCAL and TZERO.
    shape : tuple of int
        Lengths of the axes of a row's array, the slowest first, by TDIM; of text, without its characters.
    """

    number: int
    name: str
    code: str
    repeat: int
    offset: int
    unit: str | None = None
    null: int | None = None
    scale: float = 1
    zero: float = 0
    shape: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype:
        """The type of its part of a row, as it is in the file."""
        if self.code == "A":
            n_texts = max(1, int(np.prod(self.shape)))
            return np.dtype((f"S{max(1, self.repeat // n_texts)}", self.shape))
        kind = _TYPES.get(self.code) or _OTHER_TYPES[self.code]
        return np.dtype((kind, self.shape)) if self.shape else np.dtype(kind)

    @property
    def size(self) -> int:
        """Bytes of a row that it takes."""
        if self.code == "X":
            return -(-self.repeat // 8)
        return self.repeat * np.dtype(_TYPES.get(self.code) or _OTHER_TYPES[self.code]).itemsize

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
        """Make values of what is in the file.

        Parameters
        ----------
        raw : ndarray, shape (n_rows, ...)
            The column's part of the rows.

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

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if (self.scale, self.zero) == (1, 0) or self.code == "X":
            return values
        unsigned = _UNSIGNED.get((self.code, int(self.zero))) if self.scale == 1 else None
        if unsigned is None:
            return values.astype(np.float64) * self.scale + self.zero
        as_bits = np.dtype(f"u{values.dtype.itemsize}")
        return (values.view(as_bits) ^ as_bits.type(_SIGN[self.code])).view(unsigned)


def columns_of(header: Any, number: int) -> tuple[FitsColumn, ...]:
    """Read the columns of a table from its header.

    Parameters
    ----------
    header : astropy.io.fits.Header
        The header of a binary table.
    number : int
        The number of the HDU, for messages.

    Raises
    ------
    UnrecognizedFileError
        If a format is unknown, or the columns are wider than the row.
    """
    columns: list[FitsColumn] = []
    offset = 0
    for i in range(1, int(header.get("TFIELDS", 0)) + 1):
        name, form = str(header.get(f"TTYPE{i}", f"col{i}")).strip(), str(header.get(f"TFORM{i}", ""))
        match = _FORM.match(form)
        if match is None:
            raise UnrecognizedFileError(f"column {i} of HDU {number} ({name!r}) has the unknown format {form!r}")
        repeat, code = int(match[1] or 1), match[2]
        column = FitsColumn(
            number=i,
            name=name,
            code=code,
            repeat=repeat,
            offset=offset,
            unit=str(header.get(f"TUNIT{i}", "")).strip() or None,
            null=_null(header.get(f"TNULL{i}")),
            scale=_number(header.get(f"TSCAL{i}"), 1),
            zero=_number(header.get(f"TZERO{i}"), 0),
            shape=_shape(repeat, code, str(header.get(f"TDIM{i}", ""))),
        )
        columns.append(column)
        offset += column.size
    width = int(header.get("NAXIS1", 0))
    if offset != width:
        raise UnrecognizedFileError(
            f"the columns of HDU {number} take {offset} bytes of a row, but NAXIS1 says {width}; the file is damaged"
        )
    return tuple(columns)


def row_type(columns: tuple[FitsColumn, ...], row_size: int) -> np.dtype:
    """Give the type of a row, its columns named by their number."""
    used = [column for column in columns if column.size]
    return np.dtype(
        {
            "names": [str(column.number) for column in used],
            "formats": [column.dtype for column in used],
            "offsets": [column.offset for column in used],
            "itemsize": row_size,
        }
    )


def _shape(repeat: int, code: str, dimensions: str) -> tuple[int, ...]:
    """Give the axes of a row's array: those of TDIM if they fit, else one, or none for a single value."""
    axes = tuple(int(word) for word in re.findall(r"\d+", dimensions))[::-1]
    if code == "A":
        return axes[:-1] if len(axes) > 1 and int(np.prod(axes)) == repeat else ()
    if code in "CMPQ":
        return ()
    if code == "X":
        return (-(-repeat // 8),)
    if axes and int(np.prod(axes)) == repeat and (repeat != 1 or len(axes) > 1):
        return axes
    return (repeat,) if repeat != 1 else ()


def _is_logical(raw: np.ndarray) -> bool:
    """Tell truth values from bytes that were written as such, as some files have them."""
    counts = np.bincount(np.ravel(raw), minlength=256)
    said = counts[_TRUE] + counts[_FALSE]
    return bool(said and said + counts[0] == counts.sum())


def _null(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _number(value: Any, otherwise: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _masked(values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    return values if missing is None or not missing.any() else np.ma.MaskedArray(values, missing)
