"""What the headers of spectra say, made into what columns hold; None where a value is missing (`ingest.missing`).

Missing is written as -9999, -999 or -1, as 99.9, as the text ``NaN`` in a numeric header card, or as empty text.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from astra_models.ingest.missing import SPECTRUM_FILES, WORDS

LAST_BIT_OF_INT32 = 1 << 32
LARGEST_FLOAT32 = 3.4028234663852886e38

YEARS = range(1900, 2200)

Value = str | int | float | bool | datetime | list[float] | None
Convert = Callable[[object], Value]


def text(value: object) -> str | None:
    """Give text, or None if it says nothing."""
    if value is None:
        return None
    words = str(value).strip()
    return None if words.lower() in WORDS else words


def number(value: object) -> float | None:
    """Give a number, or None if there is none."""
    if value is None or isinstance(value, list):
        return None
    try:
        found = float(value)  # pyright: ignore[reportArgumentType]  raises for what is no number
    except ValueError:
        return None
    return None if math.isnan(found) or round(found, 2) in SPECTRUM_FILES.numbers else found


def positive(value: object) -> float | None:
    """Give a number that only has a meaning when positive: an uncertainty, a ratio, a temperature."""
    found = number(value)
    return found if found is not None and found > 0 else None


def magnitude(value: object) -> float | None:
    """Give a magnitude, or None if there is none."""
    found = number(value)
    return None if found is None or round(found, 3) in SPECTRUM_FILES.magnitudes else found


def whole(value: object) -> int | None:
    """Give a whole number, or None if there is none or it has a fraction."""
    found = _as_integer(value)
    return None if found is None or found in SPECTRUM_FILES.whole else found


def identifier(value: object) -> int | None:
    """Give an identifier, or None: identifiers are positive."""
    found = _as_integer(value)
    return found if found is not None and found > 0 else None


def flags(value: object) -> int:
    """Give a set of flags; none set if missing. A negative 32-bit integer has its highest flag set."""
    found = _as_integer(value)
    if found is None or found in SPECTRUM_FILES.flags:
        return 0
    return found if found >= 0 else found % LAST_BIT_OF_INT32


def boolean(value: object) -> bool | None:
    """Give a boolean, or None if there is none."""
    return bool(value) if isinstance(value, bool | int) else None


def numbers(value: object) -> list[float] | None:
    """Give the numbers of a list, or of text with blanks between them; None if there are none."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list):
        words = [words]
    found = finite_numbers(words)
    return found if found is not None and len(found) == len(words) else None


def finite_numbers(value: object) -> list[float] | None:
    """Give the numbers of a list that is filled up with NaN; None if there are none."""
    words = value if isinstance(value, list) else [value]
    found = [number(word) for word in words]
    if any(one is not None and LARGEST_FLOAT32 < abs(one) < math.inf for one in found):
        raise OverflowError(f"a number of {found} is beyond single precision")
    return [one for one in found if one is not None] or None


def moment(value: object) -> datetime | None:
    """Give the moment that text says, in UTC; None if there is none, or nobody can have observed then."""
    words = text(value)
    if words is None:
        return None
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        return None
    if found.year not in YEARS:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def mean(value: object) -> float | None:
    """Give the mean of a list of numbers, or None if there are none."""
    found = numbers(value)
    return None if found is None else sum(found) / len(found)


def _as_integer(value: object) -> int | None:
    if isinstance(value, bool) or value is None or isinstance(value, list):
        return None
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, int | np.integer):
        return int(value)
    is_whole = isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value)
    return int(value) if is_whole else None  # pyright: ignore[reportArgumentType]
