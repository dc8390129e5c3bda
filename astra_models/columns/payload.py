"""A refused row as JSON: exact where it can be, described where it can't, bounded, and never an exception.

Each value has a form from which it is restored exactly, or is kept as a description under the tag ``$repr``. A row with
a description can be shown; it can't be stored again, because the description would become data.
"""

import base64
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias, cast

import numpy as np

from astra_models.columns.values import Unstorable, is_a, plain
from astra_models.errors import InexactPayloadError
from astra_models.messages import MISTAKES, SHOWN, shown, storable

__all__ = ["Json", "Restored", "payload_from_json", "payload_to_json"]

MOST_CHARACTERS = 200_000
"""Of a whole row: a wide one has ten thousand."""
MOST_SHOWN = 300
MOST_COLUMNS = 5_000
LONGEST_NAME = 200
DEEPEST = 8
LARGEST_INTEGER = 1024  # bits

DESCRIBED = "$repr"

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, str] | None
"""A value as JSON has it: a dict is one value of another type, under the name of that type."""
Restored: TypeAlias = (
    bool | int | float | str | bytes | datetime | date | Decimal | Fraction | np.datetime64 | list["Restored"] | None
)
"""The value that was written."""


def payload_to_json(row: Mapping[str, object]) -> str:
    """Write a row as JSON from which `payload_from_json` restores it exactly, if it has nothing else.

    Parameters
    ----------
    row : mapping
        Values by column name, any objects. Values that JSON doesn't have (NaN, infinities, bytes, times) are tagged.
        Those without an exact form, and those that would make the payload longer than `MOST_CHARACTERS`, are described.
    """
    written: dict[str, str] = {}
    left = MOST_CHARACTERS
    for name, value in _items(row):
        text = _as_json(value, left)
        left -= len(text)
        written[json.dumps(name)] = text
    return "{" + ", ".join(f"{name}: {text}" for name, text in written.items()) + "}"


def payload_from_json(payload: str) -> dict[str, Restored]:
    """Restore a row from JSON.

    Raises
    ------
    InexactPayloadError
        If a value was kept as a description only, or the text isn't what `payload_to_json` writes.
    """
    try:
        row: dict[str, Json] = json.loads(payload)
        return {name: _restored(name, value) for name, value in dict.items(row)}
    except InexactPayloadError:
        raise
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        raise InexactPayloadError(f"the payload {shown(payload)} can't be read: {error}") from error


def _items(row: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """Give at most so many columns of a row, with names that are text."""
    try:
        items = list(itertools.islice(row.items(), MOST_COLUMNS + 1))
        named = [(_name(name), value) for name, value in items[:MOST_COLUMNS]]
    except MISTAKES:
        return [("row", Unstorable(shown(row, MOST_SHOWN)))]
    return named if len(items) <= MOST_COLUMNS else [*named, ("...", Unstorable("more columns"))]


def _name(name: object) -> str:
    exact = str.__str__(name) if is_a(name, str) else shown(name)  # pyright: ignore[reportArgumentType]
    return exact if len(exact) <= LONGEST_NAME else storable(exact, LONGEST_NAME)


class _InexactError(Exception):
    """A value has no exact form."""


def _as_json(value: object, most: int) -> str:
    """Write a value, exactly if that takes at most so many characters."""
    try:
        text = json.dumps(_tagged(value, _Budget(most)), allow_nan=False)
    except MISTAKES:
        text = ""
    if text and len(text) <= most:
        return text
    room = MOST_SHOWN if most > 0 else SHOWN
    told = storable(value.message, room) if type(value) is Unstorable else shown(value, room)
    return json.dumps({DESCRIBED: told})


class _Budget:
    """How many characters a value may still take; a list in itself would take as many as it is let."""

    def __init__(self, characters: int):
        self.left = characters

    def spend(self, characters: int) -> None:
        """Take so many characters of those that are left; raises if there aren't as many."""
        self.left -= characters
        if self.left < 0:
            raise _InexactError


def _tagged(value: object, budget: _Budget, depth: int = 0) -> Json:
    if hasattr(type(value), "unit"):  # a quantity, which is more than its number
        raise _InexactError
    value = plain(value)
    if value is None:
        return None
    if is_a(value, list, tuple, np.ndarray):
        return _tagged_list(value, budget, depth)
    for kinds, write in _FORMS:
        if is_a(value, *kinds):
            budget.spend(_least_length(value))
            return write(value)
    raise _InexactError


def _tagged_list(value: Any, budget: _Budget, depth: int) -> Json:
    if depth == DEEPEST:
        raise _InexactError
    if is_a(value, np.ndarray):
        # Not `tolist`: it makes whole numbers of times, and of a structured array's rows tuples.
        if np.ma.getdata(value).dtype.kind not in "fiubOUSmM" or hasattr(value, "unmasked"):
            raise _InexactError
        budget.spend(2 * value.size)
        items = value
    else:
        base = list if is_a(value, list) else tuple
        budget.spend(2 * base.__len__(value))
        items = base.__getitem__(value, slice(None))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return [_tagged(item, budget, depth + 1) for item in items]


def _least_length(value: Any) -> int:
    return len(value) if type(value) in (str, bytes, bytearray) else 1


def _integer(value: int) -> Json:
    if int.bit_length(value) > LARGEST_INTEGER:
        raise _InexactError
    return int.__int__(value)


def _text(value: str) -> Json:
    exact = str.__str__(value)
    exact.encode()  # two halves of characters would be restored as one
    return exact


def _float(value: Any) -> Json:
    number = float(value)
    if number != value and not math.isnan(number):
        raise _InexactError  # of extended precision
    return number if math.isfinite(number) else {"$float": str(number)}


def _datetime64(value: np.datetime64) -> Json:
    unit, count = np.datetime_data(value.dtype)
    return {"$datetime64": f"{value.astype(np.int64)} {count}{unit}"}


# Subclasses come before what they are derived from.
_FORMS: tuple[tuple[tuple[type, ...], Callable[[Any], Json]], ...] = (
    ((bool,), bool),
    ((int,), _integer),
    ((float, np.floating), _float),
    ((str,), _text),
    ((bytes, bytearray), lambda value: {"$bytes": base64.b64encode(value).decode()}),
    ((datetime,), lambda value: {"$datetime": datetime.isoformat(value)}),
    ((date,), lambda value: {"$date": date.isoformat(value)}),
    ((Decimal,), lambda value: {"$decimal": str(value)}),
    ((Fraction,), lambda value: {"$fraction": str(value)}),
    ((np.datetime64,), _datetime64),
)


def _restored(name: str, value: Json) -> Restored:
    if isinstance(value, list):
        return [_restored(name, item) for item in value]
    if not isinstance(value, dict):
        return value
    for tag, content in value.items():
        if len(value) == 1 and tag in _RESTORED:
            return _RESTORED[tag](content)
        if tag == DESCRIBED:
            raise InexactPayloadError(f"of {storable(name, 60)} only a description was kept: {shown(content)}")
    raise ValueError(f"{name} is {shown(value)}")


def _restored_datetime(content: str) -> datetime | date:
    # Before there was a tag for them, dates had this one.
    return date.fromisoformat(content) if len(content) == len("2020-01-01") else datetime.fromisoformat(content)


def _restored_datetime64(content: str) -> np.datetime64:
    number, unit = content.split()
    return np.datetime64(int(number), cast("Any", unit))


_RESTORED: dict[str, Callable[[str], Restored]] = {
    "$float": float,
    "$bytes": base64.b64decode,
    "$datetime": _restored_datetime,
    "$date": date.fromisoformat,
    "$decimal": Decimal,
    "$fraction": Fraction,
    "$datetime64": _restored_datetime64,
}
