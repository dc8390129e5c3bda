"""Columns of result files, made into what our columns hold.

Missing is NaN in floats, NaT in times, None in text, bytes and lists, and masked in whole numbers and booleans. A value
that its column can't hold is missing too, and told as a problem of its row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import peewee

from astra_models.fields import BitField, BytesField, DateTimeField, DoubleField, FloatArrayField, FloatField
from astra_models.fits.text import unescape
from astra_models.ingest.spectra.values import MISSING_WORDS
from astra_models.version import version_string_to_integer

Problems = list[tuple[int, str]]
_LONGEST_PLAIN_TIME = 26
_TRUE_WORDS, _FALSE_WORDS = {"t", "true", "yes", "1"}, {"f", "false", "no", "0"}
_A_TIME = "not a time in ISO 8601 format"
_MEMO_SIZE = 20_000


class Converted(NamedTuple):
    """A column's values, and the rows whose values it can't hold."""

    values: np.ndarray
    problems: Problems


@dataclass(frozen=True)
class Rules:
    """How the values of one column are to be read.

    Parameters
    ----------
    missing : tuple of float
        Numbers that stand for a missing one.
    survey_fill : bool
        Whether the survey's fill values are such: -1 in whole numbers that may be missing, and for keys also 0.
    declared : bool
        Whether the file says itself, by a TNULL, which whole numbers are missing: then no others are.
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
    missing_words : set of str
        Text that stands for a missing value.
    values : dict
        By what the file says, what is said here.
    """

    missing: tuple[float, ...] = ()
    survey_fill: bool = False
    declared: bool = False
    escaped: bool = False
    factor: float = 1.0
    element: int | None = None
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    of_text: bool = False
    missing_words: frozenset[str] = frozenset()
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

    def __init__(self, field: Any, rules: Rules):
        self.field = field
        self.rules = rules
        self._convert = _converter_of(field)
        self._texts = _Texts(None if field.null else "", rules)

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
                raw = self.rules.transform(numbers)
        values, more = self._convert(self, raw)
        name = self.field.name
        return Converted(values, [(row, f"{name}: {message}") for row, message in problems + more])

    def refuses(self, column: Any) -> str | None:
        """Say why values of a file's column can't be made values of ours, if they can't.

        Parameters
        ----------
        column : FileColumn
            The file's column.
        """
        is_list = bool(column.shape) and self.rules.element is None
        if isinstance(self.field, BytesField):
            is_bytes = column.kind in ("bytes", "bool") or getattr(column, "code", "") == "B"
            return None if is_bytes else f"it is of {column.kind}, and {self.field.name} of bytes"
        if is_list and not isinstance(self.field, FloatArrayField):
            return f"it has {column.shape} values a row, and {self.field.name} one"
        return None

    # ---- by kind of our column

    def floats(self, raw: np.ndarray) -> Converted:
        """Make numbers."""
        values, problems = self._numbers(raw)
        if self.rules.factor != 1:
            values = (values.astype(np.float64) * self.rules.factor).astype(values.dtype)
        return Converted(values, problems)

    def integers(self, raw: np.ndarray) -> Converted:
        """Make whole numbers."""
        values, problems = self._whole(raw)
        mask, data = np.ma.getmaskarray(values), np.ma.getdata(values)
        if self.rules.missing:
            mask = mask | np.isin(data, self.rules.missing)
        if self.rules.survey_fill and data.size:
            if is_key(self.field):
                mask = mask | (data <= 0)
            elif self.field.null:
                mask = mask | (data == -1)
        return Converted(_masked(data, mask), problems)

    def versions(self, raw: np.ndarray) -> Converted:
        """Make whole numbers of versions, in text or encoded already; there is none of 0 or below."""
        if raw.dtype.kind not in "SUO":
            values, problems = self._whole(raw)
        else:
            distinct, of_row = np.unique([_text(value) or "" for value in raw.tolist()], return_inverse=True)
            parsed, wrong = self._parsed(distinct, version_of, np.int64, "not a version, such as 0.8.1 or 8001")
            values = np.ma.MaskedArray(parsed, np.ma.getmaskarray(parsed))[of_row]
            problems = [(int(row), why) for place, why in wrong for row in np.flatnonzero(of_row == place)]
        data = np.ma.getdata(values)
        return Converted(_masked(data, np.ma.getmaskarray(values) | (data <= 0)), problems)

    def flags(self, raw: np.ndarray) -> Converted:
        """Make sets of flags; none set where missing."""
        bits = raw.dtype.itemsize * 8 if raw.dtype.kind == "i" else 64
        values, problems = self._whole(raw)
        mask, data = np.ma.getmaskarray(values), np.ma.getdata(values)
        if self.rules.missing:
            mask = mask | np.isin(data, self.rules.missing)
        elif not self.rules.declared:
            mask = mask | (data == -1)
        if bits < 64:  # the highest bit of a narrower number is its sign
            data = np.where(data < 0, data & ((1 << bits) - 1), data)
        if not self.field.null:
            data, mask = np.where(mask, 0, data), np.zeros(len(data), bool)
        return Converted(_masked(data, mask), problems)

    def booleans(self, raw: np.ndarray) -> Converted:
        """Make truth values."""
        problems: Problems = []
        if raw.dtype.kind not in "b":
            raw, problems = self._parsed(raw, _boolean, np.bool_, "neither true nor false")
        return Converted(raw, problems)

    def texts(self, raw: np.ndarray) -> Converted:
        """Make text without blanks around it."""
        values = np.empty(len(raw), object)
        if type(raw) is np.ndarray and raw.dtype.kind == "S" and len(raw) and (raw == raw[0]).all():
            values.fill(self._texts[raw[0].item()])
        else:
            values[:] = list(map(self._texts.__getitem__, raw.tolist()))
        return Converted(values, [])

    def moments(self, raw: np.ndarray) -> Converted:
        """Make times, in UTC."""
        values, problems = raw, []
        if raw.dtype.kind != "M":
            plain = _plain_times(raw)
            values, problems = (plain, []) if plain is not None else self._parsed(raw, _moment, "M8[us]", _A_TIME)
        data = np.ma.getdata(values).astype("datetime64[us]")
        missing = np.ma.getmaskarray(raw) | np.ma.getmaskarray(values)
        return Converted(np.where(missing, np.datetime64("NaT"), data), problems)

    def bytes(self, raw: np.ndarray) -> Converted:
        """Make bytes, as many as the column is wide."""
        values = np.empty(len(raw), object)
        data = np.ma.getdata(raw)
        if data.dtype.kind == "b":  # one truth value per bit: bit 0 is the lowest of the first byte
            data = np.packbits(data.reshape(len(raw), -1), axis=1, bitorder="little")
        if data.dtype.kind == "u" and data.dtype.itemsize == 1:
            data = np.ascontiguousarray(data.reshape(len(raw), -1))
            values[:] = data.view(f"V{data.shape[1]}").ravel().tolist() if data.shape[1] else [None] * len(raw)
            return Converted(values, [])
        return Converted(values, [(row, "is not bytes") for row in range(len(raw))])

    def float_lists(self, raw: np.ndarray) -> Converted:
        """Make lists of numbers, without what they were padded by."""
        values = np.empty(len(raw), object)
        if raw.dtype.kind not in "fiu":
            return Converted(values, [(row, "is no list of numbers") for row in range(len(raw))])
        data = np.ma.filled(raw.astype(np.float64), np.nan) if np.ma.isMA(raw) else raw
        data = np.ascontiguousarray(data.reshape(len(raw), -1).astype(np.float32))
        if self.rules.missing:
            data[np.isin(data, np.asarray(self.rules.missing, np.float32))] = np.nan
        if self.rules.factor != 1:
            data *= np.float32(self.rules.factor)
        rows = list(data)
        lengths = _lengths_without_padding(data)
        for row in np.flatnonzero(lengths < data.shape[1]).tolist():
            rows[row] = rows[row][: lengths[row]] if lengths[row] else None
        for row, value in enumerate(rows):
            values[row] = value
        return Converted(values, [])

    # ---- helpers

    def _numbers(self, raw: np.ndarray) -> Converted:
        """Make floats, NaN where there are none."""
        problems: Problems = []
        if raw.dtype.kind not in "fiub":
            raw, problems = self._parsed(raw, float, np.float64, "not a number")
        mask, data = np.ma.getmask(raw), np.ma.getdata(raw)
        if data.dtype.kind != "f":
            data = data.astype(np.float64)
        if self.rules.missing:
            mask = mask | np.isin(data, np.asarray(self.rules.missing, data.dtype))
        return Converted(np.where(mask, np.asarray(np.nan, data.dtype), data) if np.any(mask) else data, problems)

    def _whole(self, raw: np.ndarray) -> Converted:
        """Make 64-bit whole numbers, masked where there are none."""
        mask, data = np.ma.getmaskarray(raw), np.ma.getdata(raw)
        if data.dtype.kind == "b" or (data.dtype.kind in "iu" and data.dtype != np.uint64):
            return Converted(_masked(data.astype(np.int64), mask), [])
        if data.dtype == np.uint64:
            wrong = data > np.uint64(np.iinfo(np.int64).max)
        elif data.dtype.kind == "f":
            mask = mask | np.isnan(data) | np.isin(data, self.rules.missing)
            wrong = ~mask & ((np.trunc(data) != data) | (np.abs(data) >= 2.0**63))
        else:
            return self._parsed(raw, _integer, np.int64, "not a whole number")
        problems = [(int(row), f"{data[row]!s} is not a whole number of 64 bits") for row in np.flatnonzero(wrong)]
        bad = mask | wrong
        return Converted(_masked(np.where(bad, 0, data).astype(np.int64), bad), problems)

    def _parsed(self, raw: np.ndarray, parse: Callable[[str], Any], dtype: Any, wrong: str) -> Converted:
        """Read text, or objects, value by value; what can't be read is missing, and a problem."""
        values = np.zeros(len(raw), dtype)
        mask = np.ma.getmaskarray(raw).copy()
        problems: Problems = []
        for row, value in enumerate(np.ma.getdata(raw).tolist()):
            word = _text(value)
            if mask[row] or word is None or word in self.rules.missing_words or word.lower() in MISSING_WORDS:
                mask[row] = True
                continue
            try:
                values[row] = parse(word)
            except (ValueError, OverflowError):
                mask[row] = True
                problems.append((row, f"{word[:60]!r} is {wrong}"))
        return Converted(_masked(values, mask), problems)


class _Texts(dict[Any, Any]):
    """Text by what the file has, for most values come again and again."""

    def __init__(self, empty: str | None, rules: Rules):
        super().__init__()
        self._empty, self._rules = empty, rules

    def __missing__(self, value: Any) -> str | None:
        rules = self._rules
        text = _unescaped(value) if rules.escaped else _text(value)
        text = None if text in rules.missing_words else rules.values.get(text or "", text)
        text = self[value] = text or self._empty
        return text


def is_key(field: Any) -> bool:
    """Tell whether a column is an identifier, which is never 0 or negative."""
    name = field.name
    return isinstance(field, peewee.ForeignKeyField) or name.endswith(("_pk", "_id")) or name.startswith("catalogid")


def _converter_of(field: Any) -> Callable[[Converter, np.ndarray], Converted]:
    if field.name == "v_astra":
        return Converter.versions
    for field_type, convert in _CONVERTERS:
        if isinstance(field, field_type):
            return convert
    raise TypeError(f"{field!r}: columns of type {type(field).__name__} can't be read from a file")


_CONVERTERS: Sequence[tuple[Any, Callable[[Converter, np.ndarray], Converted]]] = (
    (FloatArrayField, Converter.float_lists),
    ((FloatField, DoubleField), Converter.floats),
    (peewee.BooleanField, Converter.booleans),
    (DateTimeField, Converter.moments),
    (BytesField, Converter.bytes),
    (peewee.TextField, Converter.texts),
    (BitField, Converter.flags),
    ((peewee.IntegerField, peewee.AutoField, peewee.ForeignKeyField), Converter.integers),
)


def _masked(values: np.ndarray, mask: Any) -> np.ndarray:
    return np.ma.MaskedArray(values, mask) if np.any(mask) else values


def _lengths_without_padding(data: np.ndarray) -> np.ndarray:
    """Count the numbers of each row up to the last that is one."""
    if not data.shape[1]:
        return np.zeros(len(data), int)
    is_number = ~np.isnan(data)
    last = data.shape[1] - np.argmax(is_number[:, ::-1], axis=1)
    return np.where(is_number.any(axis=1), last, 0)


def _text(value: Any) -> str | None:
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


def _unescaped(value: Any) -> str | None:
    """Give back text that was escaped; a blank at its end is escaped, too."""
    return unescape(value.rstrip(b" ")) if isinstance(value, bytes) else _text(value)


def _integer(word: str) -> int:
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
