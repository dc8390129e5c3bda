"""Columns of tables, made into columns of ours: once a value, from what the file has to what is stored.

A value that its column can't hold is NULL, and a problem of its row. Whether a number is in the range of its column is
checked later (`astra_models.columns.typed.to_column`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import peewee

from astra_models.columns.typed import (
    BOOLEAN,
    BYTES,
    FLOAT32,
    FLOAT64,
    FLOATS,
    INT32,
    INT64,
    MOMENT,
    TEXT,
    Column,
)
from astra_models.fields import BitField, BytesField, DateTimeField, DoubleField, FloatArrayField, FloatField
from astra_models.fits.text import unescape
from astra_models.ingest.missing import DECLARED, WORDS, Missing
from astra_models.ingest.rows.checked import Problems
from astra_models.version import version_string_to_integer

_LONGEST_PLAIN_TIME = 26
_TRUE_WORDS, _FALSE_WORDS = {"t", "true", "yes", "1"}, {"f", "false", "no", "0"}
LOST_DIGITS = "can't hold an identifier of so many digits; have it written as a whole number, or as text"
_A_TIME = "not a time in ISO 8601 format"
_FIRST_TIME, _LAST_TIME = np.datetime64("0001-01-03", "us"), np.datetime64("9999-12-29", "us")
"""Two days from where Python's times end, so that they are times in every time zone."""

_MEMO_SIZE = 20_000

Scalar = str | bytes | int | float | bool | None


class FileColumn(Protocol):
    """A column of a file: of a FITS table, or of any that astropy reads."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def kind(self) -> str:
        """What its values are: ``text``, ``bool``, ``bytes``, ``int``, ``float`` or ``time``."""
        ...

    @property
    def unit(self) -> str | None:
        """Its unit, as the file gives it."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of a row's array; of a single value, none."""
        ...

    @property
    def unreadable(self) -> str | None:
        """Why its values can't be read, if they can't."""
        ...


class Block(Protocol):
    """Some rows of a file."""

    def __len__(self) -> int: ...

    def values(self, column: FileColumn) -> np.ndarray:
        """Give the values of a column, masked where the file says that they are missing."""
        ...

    def row(self, place: int) -> dict[str, object]:
        """Give a row as the file has it."""
        ...


class Converted(NamedTuple):
    """A column of ours, and the rows whose values it can't hold."""

    column: Column
    problems: Problems


@dataclass(frozen=True)
class Rules:
    """How the values of one column are to be read.

    Parameters
    ----------
    missing : Missing
        What stands for a missing value.
    escaped : bool
        Whether text is written as in a string literal of Python, as our own products have it.
    factor : float
        What numbers are multiplied by.
    element : int or None
        Which element of a row's array is taken.
    transform : callable or None
        What is done with the values, before all else but `missing`.
    of_text : bool
        Whether `transform` takes text, and not numbers.
    values : dict
        Our text for a file's text, where they differ.
    """

    missing: Missing = DECLARED
    escaped: bool = False
    factor: float = 1.0
    element: int | None = None
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    of_text: bool = False
    values: dict[str, str] = field(default_factory=dict)


class Converter:
    """Makes values of one of our columns from those of a file's column.

    Parameters
    ----------
    field : peewee.Field
        Our column.
    rules : Rules
        How the file's values are to be read.
    """

    def __init__(self, field: peewee.Field, rules: Rules):
        self.field = field
        self.rules = rules
        self._convert = _converter_of(field)
        self._texts = _Texts(None if field.null else "", rules, is_key(field))

    def __call__(self, raw: np.ndarray) -> Converted:
        """Convert values.

        Parameters
        ----------
        raw : ndarray, shape (n_rows, ...)
            What the file has: masked where it says itself that it is missing.
        """
        if len(self._texts) > _MEMO_SIZE:
            self._texts.clear()
        problems: Problems = []
        if self.rules.element is not None:
            raw = raw[:, self.rules.element]
        if self.rules.transform is not None and self.rules.of_text:
            raw = self.rules.transform(raw)
        elif self.rules.transform is not None:
            numbers, problems = self._numbers(raw)
            with np.errstate(over="ignore"):
                raw = self.rules.transform(np.where(numbers.null, np.nan, numbers.values))
        column, more = self._convert(self, raw)
        name = self.field.name
        return Converted(column, [(row, f"{name}: {message}") for row, message in problems + more])

    def refuses(self, column: FileColumn) -> str | None:
        """Say why values of a file's column can't be made values of ours, if they can't.

        Parameters
        ----------
        column : FileColumn
            The file's column.
        """
        is_list = bool(column.shape) and self.rules.element is None
        if isinstance(self.field, BytesField):
            is_bytes = (
                column.kind in ("bytes", "bool") or getattr(column, "code", "") == "B"
            )  # a single byte is a number
            return None if is_bytes else f"it is of {column.kind}, and {self.field.name} of bytes"
        if is_list and not isinstance(self.field, FloatArrayField):
            return f"it has {column.shape} values a row, and {self.field.name} one"
        return None

    # ---- by kind of our column

    def floats(self, raw: np.ndarray) -> Converted:
        """Make numbers."""
        column, problems = self._numbers(raw)
        if self.rules.factor != 1:
            scaled = (column.values.astype(np.float64) * self.rules.factor).astype(column.values.dtype)
            column = Column(column.kind, scaled, column.null)
        return Converted(column, problems)

    def integers(self, raw: np.ndarray) -> Converted:
        """Make whole numbers."""
        column, problems = self._whole(raw)
        values, null, missing = column.values, column.null, self.rules.missing
        if missing.numbers:
            null = null | np.isin(values, missing.numbers)
        if is_key(self.field):
            null = null | (values <= 0) if missing.identifiers_are_positive else null
            problems = problems + self._inexact(raw, values, null) if missing.identifiers_are_checked else problems
        elif self.field.null and missing.whole:
            null = null | np.isin(values, missing.whole)
        return Converted(Column(column.kind, values, null), problems)

    def versions(self, raw: np.ndarray) -> Converted:
        """Make whole numbers of versions, in text or encoded already; there is none of 0 or below."""
        if raw.dtype.kind not in "SUO":
            column, problems = self._whole(raw)
            values, null = column.values, column.null
        else:
            distinct, of_row = np.unique([_text(value) or "" for value in raw.tolist()], return_inverse=True)
            parsed, no_version, wrong = self._parsed(
                distinct, version_of, np.int64, "not a version, such as 0.8.1 or 8001"
            )
            values, null = parsed[of_row], no_version[of_row]
            problems = [(int(row), why) for place, why in wrong for row in np.flatnonzero(of_row == place)]
        return Converted(Column(INT64, values.astype(np.int64), null | (values <= 0)), problems)

    def flags(self, raw: np.ndarray) -> Converted:
        """Make sets of flags; none set where missing."""
        bits = raw.dtype.itemsize * 8 if raw.dtype.kind == "i" else 64
        column, problems = self._whole(raw)
        values, null = column.values.astype(np.int64), column.null
        none_set = self.rules.missing.numbers or self.rules.missing.flags
        if none_set:
            null = null | np.isin(values, none_set)
        if bits < 64:  # the highest bit of a narrower number is its sign
            values = np.where(values < 0, values & ((1 << bits) - 1), values)
        if not self.field.null:
            values, null = np.where(null, 0, values), np.zeros(len(values), bool)
        return Converted(Column(INT64, values, null), problems)

    def booleans(self, raw: np.ndarray) -> Converted:
        """Make truth values."""
        if raw.dtype.kind == "b":
            return Converted(Column(BOOLEAN, np.ma.getdata(raw), np.ma.getmaskarray(raw)), [])
        values, null, problems = self._parsed(raw, _boolean, np.bool_, "neither true nor false")
        return Converted(Column(BOOLEAN, values, null), problems)

    def texts(self, raw: np.ndarray) -> Converted:
        """Make text without blanks around it."""
        values = np.empty(len(raw), object)
        if type(raw) is np.ndarray and raw.dtype.kind == "S" and len(raw) and (raw == raw[0]).all():
            values.fill(self._texts[raw[0].item()])
        else:
            values[:] = list(map(self._texts.__getitem__, raw.tolist()))
        null = values == np.array(None) if self.field.null else np.zeros(len(raw), bool)
        problems: Problems = []
        if self._texts.wrong:
            problems = [(row, self._texts.wrong[text]) for row, text in enumerate(values) if text in self._texts.wrong]
            null[[row for row, _ in problems]] = True
        return Converted(Column(TEXT, values, null), problems)

    def moments(self, raw: np.ndarray) -> Converted:
        """Make times, in UTC."""
        problems: Problems = []
        values, null = np.ma.getdata(raw), np.ma.getmaskarray(raw)
        if raw.dtype.kind != "M":
            plain = _plain_times(raw)
            if plain is None:
                values, null, problems = self._parsed(raw, _moment, "M8[us]", _A_TIME)
            else:
                values = plain
        values = values.astype(MOMENT.dtype)
        null = null | np.isnat(values)
        far = ~null & ((values < _FIRST_TIME) | (values > _LAST_TIME))
        problems += [(int(row), f"{values[row]!s} is not within the years 1 to 9999") for row in np.flatnonzero(far)]
        return Converted(Column(MOMENT, np.where(far, np.datetime64(0, "us"), values), null | far), problems)

    def bytes(self, raw: np.ndarray) -> Converted:
        """Make bytes, as many as the column is wide."""
        values = np.full(len(raw), None, object)
        data = np.ma.getdata(raw)
        if data.dtype.kind == "b":  # one truth value per bit: bit 0 is the lowest of the first byte
            data = np.packbits(data.reshape(len(raw), -1), axis=1, bitorder="little")
        problems: Problems = []
        if data.dtype.kind != "u" or data.dtype.itemsize != 1:
            problems = [(row, "is not bytes") for row in range(len(raw))]
        elif data.size:
            data = np.ascontiguousarray(data.reshape(len(raw), -1))
            values[:] = data.view(f"V{data.shape[1]}").ravel().tolist()
        return Converted(Column(BYTES, values, np.full(len(raw), not data.size or bool(problems))), problems)

    def float_lists(self, raw: np.ndarray) -> Converted:
        """Make lists of numbers, without what they were padded by."""
        values = np.full(len(raw), None, object)
        if raw.dtype.kind not in "fiu":
            problems = [(row, "is no list of numbers") for row in range(len(raw))]
            return Converted(Column(FLOATS, values, np.ones(len(raw), bool)), problems)
        data = np.ma.filled(raw.astype(np.float64), np.nan) if np.ma.isMA(raw) else raw
        data = np.ascontiguousarray(data.reshape(len(raw), -1).astype(np.float32))
        if self.rules.missing.numbers:
            data[np.isin(data, np.asarray(self.rules.missing.numbers, np.float32))] = np.nan
        if self.rules.factor != 1:
            data *= np.float32(self.rules.factor)
        lengths = _lengths_without_padding(data)
        for row, length in enumerate(lengths.tolist()):
            values[row] = data[row, :length] if length else None
        return Converted(Column(FLOATS, values, lengths == 0), [])

    # ---- helpers

    def _inexact(self, raw: np.ndarray, values: np.ndarray, null: np.ndarray) -> Problems:
        """Find identifiers that have lost their last digits as floats: those of several stars may have become one."""
        if raw.dtype.kind == "f":
            is_float = np.ones(len(raw), bool)
            digits = np.finfo(raw.dtype).nmant + 1
        elif raw.dtype.kind in "SUO":
            is_float = np.array([not (_text(value) or "0").lstrip("+-").isdigit() for value in raw.tolist()], bool)
            digits = np.finfo(np.float64).nmant + 1
        else:
            return []
        wrong = is_float & ~null & (np.abs(values) > 2**digits)
        return [(int(row), f"{values[row]}, a float, {LOST_DIGITS}") for row in np.flatnonzero(wrong)]

    def _numbers(self, raw: np.ndarray) -> Converted:
        """Make floats."""
        problems: Problems = []
        null: npt.NDArray[np.bool_] | np.bool_ = np.ma.getmask(raw)
        values = np.ma.getdata(raw)
        if values.dtype.kind not in "fiub":
            values, null, problems = self._parsed(raw, _number, np.float64, "not a number")
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        if self.rules.missing.numbers:
            null = null | np.isin(values, np.asarray(self.rules.missing.numbers, values.dtype))
        kind = FLOAT32 if values.dtype.itemsize <= 4 else FLOAT64
        return Converted(Column(kind, values.astype(kind.dtype, copy=False), null | np.isnan(values)), problems)

    def _whole(self, raw: np.ndarray) -> Converted:
        """Make whole numbers."""
        null, data = np.ma.getmaskarray(raw), np.ma.getdata(raw)
        if data.dtype.kind == "b" or (data.dtype.kind in "iu" and data.dtype != np.uint64):
            kind = INT32 if data.dtype.itemsize < 4 or data.dtype == np.int32 else INT64
            return Converted(Column(kind, data.astype(kind.dtype, copy=False), null), [])
        if data.dtype == np.uint64:
            wrong = data > np.uint64(np.iinfo(np.int64).max)
        elif data.dtype.kind == "f":
            null = null | np.isnan(data) | np.isin(data, self.rules.missing.numbers)
            wrong = ~null & ((np.trunc(data) != data) | (np.abs(data) >= 2.0**63))
        else:
            values, null, problems = self._parsed(raw, _integer, np.int64, "not a whole number")
            return Converted(Column(INT64, values, null), problems)
        problems = [(int(row), f"{data[row]!s} is not a whole number of 64 bits") for row in np.flatnonzero(wrong)]
        null = null | wrong
        return Converted(Column(INT64, np.where(null, 0, data).astype(np.int64), null), problems)

    def _parsed(
        self, raw: np.ndarray, parse: Callable[[str], object], dtype: npt.DTypeLike, wrong: str
    ) -> tuple[np.ndarray, np.ndarray, Problems]:
        """Read text, or objects, value by value; what can't be read is missing, and a problem."""
        values = np.zeros(len(raw), dtype)
        null = np.ma.getmaskarray(raw).copy()
        problems: Problems = []
        for row, value in enumerate(np.ma.getdata(raw).tolist()):
            word = _text(value)
            if null[row] or word is None or word in self.rules.missing.words or word.lower() in WORDS:
                null[row] = True
                continue
            try:
                values[row] = parse(word)
            except (ValueError, OverflowError):
                null[row] = True
                problems.append((row, f"{word[:60]!r} is {wrong}"))
        return values, null, problems


class _Texts(dict[Scalar, str | None]):
    """Text by what the file has, for most values come again and again; and which of it can't be stored, and why."""

    def __init__(self, empty: str | None, rules: Rules, are_identifiers: bool):
        super().__init__()
        self.wrong: dict[str | None, str] = {}
        self._empty, self._rules = empty, rules
        missing = rules.missing
        self._are_positive = are_identifiers and missing.identifiers_are_positive and missing.identifiers_are_checked

    def __missing__(self, value: Scalar) -> str | None:
        rules = self._rules
        text = _unescaped(value) if rules.escaped else _text(value)
        text = None if text in rules.missing.words else rules.values.get(text or "", text)
        if self._are_positive and text and _is_no_identifier(text):
            text = None
        text = self[value] = text or self._empty
        if text is not None and "\0" in text:
            self.wrong[text] = f"{text[:60]!r} holds a NUL character"
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            self.wrong[text] = str(error)
        return text


Convert = Callable[[Converter, np.ndarray], Converted]


def is_key(field: peewee.Field) -> bool:
    """Tell whether a column is an identifier, which is never 0 or negative."""
    name = field.name
    return isinstance(field, peewee.ForeignKeyField) or name.endswith(("_pk", "_id")) or name.startswith("catalogid")


def _converter_of(field: peewee.Field) -> Convert:
    if field.name == "v_astra":
        return Converter.versions
    for field_type, convert in _CONVERTERS:
        if isinstance(field, field_type):
            return convert
    raise TypeError(f"{field!r}: columns of type {type(field).__name__} can't be read from a file")


_CONVERTERS: Sequence[tuple[type | tuple[type, ...], Convert]] = (
    (FloatArrayField, Converter.float_lists),
    ((FloatField, DoubleField), Converter.floats),
    (peewee.BooleanField, Converter.booleans),
    (DateTimeField, Converter.moments),
    (BytesField, Converter.bytes),
    (peewee.TextField, Converter.texts),
    (BitField, Converter.flags),
    ((peewee.IntegerField, peewee.AutoField, peewee.ForeignKeyField), Converter.integers),
)


def _lengths_without_padding(data: np.ndarray) -> np.ndarray:
    """Count the numbers of each row up to the last that is one."""
    if not data.shape[1]:
        return np.zeros(len(data), int)
    is_number = ~np.isnan(data)
    last = data.shape[1] - np.argmax(is_number[:, ::-1], axis=1)
    return np.where(is_number.any(axis=1), last, 0)


def _text(value: object) -> str | None:
    """Make text of what a file has, without the blanks around it."""
    if value is None or value is np.ma.masked:
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    text = str(value).strip()
    return text.partition("\0")[0].rstrip() if "\0" in text else text


def _is_no_identifier(text: str) -> bool:
    """Tell whether text stands for a missing identifier: a word, such as ``null``, or a number of 0 or less."""
    if text.lower() in WORDS:
        return True
    try:
        return not float(text) > 0
    except ValueError:
        return False


def _unescaped(value: object) -> str | None:
    """Give back text that was escaped; a blank at its end is escaped, too."""
    return unescape(value.rstrip(b" ")) if isinstance(value, bytes) else _text(value)


def _number(word: str) -> float:
    """Read a number; Python reads ``1_2`` as 12, and what is too large for it as infinite."""
    number = float(word)
    if "_" in word or (math.isinf(number) and word[-1].isdigit()):
        raise ValueError(word)
    return number


def _integer(word: str) -> int:
    if "_" in word:
        raise ValueError(word)
    try:
        whole = int(word)
    except ValueError:
        number = float(word)
        if not number.is_integer():
            raise
        whole = int(number)
    if not -(2**63) <= whole < 2**63:
        raise OverflowError(word)
    return whole


def _plain_times(raw: np.ndarray) -> np.ndarray | None:
    """Read times without a zone, all at once; None if that can't be done."""
    if raw.dtype.kind not in "SU":
        return None
    try:
        plain = np.char.strip(np.ma.getdata(raw).astype(str))
        if plain.dtype.itemsize // 4 > _LONGEST_PLAIN_TIME or np.char.endswith(plain, "Z").any():
            return None
        return plain.astype("datetime64[us]")
    except ValueError:
        return None


def version_of(word: str) -> int:
    """Give the integer of a version: 8001 of 0.8.1, and of 8001."""
    return int(word) if word.isdigit() else version_string_to_integer(word)


def _boolean(word: str) -> bool:
    if word.lower() in _TRUE_WORDS:
        return True
    if word.lower() in _FALSE_WORDS:
        return False
    raise ValueError(word)


def _moment(word: str) -> np.datetime64:
    moment = datetime.fromisoformat(word)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")
