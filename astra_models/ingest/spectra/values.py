"""What files say, made into what columns hold: one meaning of "missing", whatever a file writes for it.

Missing is written as -9999, -999 or -1, as 99.9, as the text ``NaN`` in a numeric header card, or as empty
text. All of it becomes None here.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MISSING_WORDS = {"", "nan", "none", "null", "n/a"}
MISSING_NUMBERS = {-999.0, -9999.0, -9999.99, -99999.0, -999999.0}
MISSING_MAGNITUDES = {99.9, 99.99, 99.999, 9999.0}
MISSING_WHOLE = {-1, -999, -9999, -999999}
LAST_BIT_OF_INT32 = 1 << 32

Convert = Callable[[Any], Any]


def text(value: Any) -> str | None:
    """Give text, or None if it says nothing."""
    if value is None:
        return None
    words = str(value).strip()
    return None if words.lower() in MISSING_WORDS else words


def number(value: Any) -> float | None:
    """Give a number, or None if there is none."""
    if isinstance(value, list):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if value is None or math.isnan(value) or round(float(value), 2) in MISSING_NUMBERS:
        return None
    return float(value)


def positive(value: Any) -> float | None:
    """Give a number that only has a meaning when positive: an uncertainty, a ratio, a temperature."""
    found = number(value)
    return found if found is not None and found > 0 else None


def magnitude(value: Any) -> float | None:
    """Give a magnitude, or None if there is none."""
    found = number(value)
    return None if found is None or round(found, 3) in MISSING_MAGNITUDES else found


def whole(value: Any) -> int | None:
    """Give a whole number, or None if there is none or it has a fraction."""
    found = _as_integer(value)
    return None if found is None or found in MISSING_WHOLE else found


def identifier(value: Any) -> int | None:
    """Give an identifier, or None: identifiers are positive."""
    found = _as_integer(value)
    return found if found is not None and found > 0 else None


def flags(value: Any) -> int:
    """Give a set of flags; none set if missing. A negative 32-bit integer has its highest flag set."""
    found = whole(value)
    if found is None:
        return 0
    return found if found >= 0 else found % LAST_BIT_OF_INT32


def boolean(value: Any) -> bool | None:
    """Give a boolean, or None if there is none."""
    return bool(value) if isinstance(value, bool | int) else None


def numbers(value: Any) -> list[float] | None:
    """Give the numbers of a list, or of text with blanks between them; None if there are none."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list):
        words = [words]
    found = [number(word) for word in words]
    return None if not found or None in found else [float(value) for value in found if value is not None]


def finite_numbers(value: Any) -> list[float] | None:
    """Give the numbers of a list that is filled up with NaN; None if there are none."""
    words = value if isinstance(value, list) else [value]
    return [found for word in words if (found := number(word)) is not None] or None


def moment(value: Any) -> datetime | None:
    """Give the moment that text says, in UTC; None if there is none."""
    words = text(value)
    if words is None:
        return None
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def mean(value: Any) -> float | None:
    """Give the mean of a list of numbers, or None if there are none."""
    found = numbers(value)
    return None if found is None else sum(found) / len(found)


def _as_integer(value: Any) -> int | None:
    if isinstance(value, bool) or value is None or isinstance(value, list):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return int(value) if math.isfinite(value) and value == int(value) else None
