"""Named functions that a mapping can apply to a column's values; missing values stay missing."""

import re
from collections.abc import Callable

import numpy as np

from astra_models.pixels.rows import parse_visit_name

MJD_EPOCH = np.datetime64("1858-11-17T00:00:00", "us")
JD_OF_MJD_0 = 2_400_000.5
_DAY = 86_400_000_000
TWO_MASS_NAME = re.compile(r"(?:2M(?:ASS)?[\s_-]*)?J?(\d{8}[+-]\d{7})", re.IGNORECASE)
_APOGEE_NAME = re.compile(r"(?:^|/)(?:ap|as)(?:Visit|Star)\w*-([^-]+)-")


def ten_to_the(values: np.ndarray) -> np.ndarray:
    """Undo a decimal logarithm."""
    return 10 ** np.asarray(values, np.float64)


def log10(values: np.ndarray) -> np.ndarray:
    """Take the decimal logarithm; what is not positive has none."""
    numbers = np.asarray(values, np.float64)
    return np.log10(np.where(numbers > 0, numbers, np.nan))


def negative(values: np.ndarray) -> np.ndarray:
    """Turn the sign."""
    return -np.asarray(values, np.float64)


def error_of_ivar(values: np.ndarray) -> np.ndarray:
    """Make uncertainties of inverse variances; none of 0."""
    numbers = np.asarray(values, np.float64)
    return 1 / np.sqrt(np.where(numbers > 0, numbers, np.nan))


def time_of_mjd(values: np.ndarray) -> np.ndarray:
    """Make times of modified Julian dates, in UTC."""
    days = np.asarray(values, np.float64)
    known = np.isfinite(days)
    since = np.round(np.where(known, days, 0) * _DAY).astype("timedelta64[us]")
    return np.where(known, MJD_EPOCH + since, np.datetime64("NaT"))


def time_of_jd(values: np.ndarray) -> np.ndarray:
    """Make times of Julian dates, in UTC."""
    return time_of_mjd(np.asarray(values, np.float64) - JD_OF_MJD_0)


def lower(values: np.ndarray) -> np.ndarray:
    """Make small letters."""
    return _of_text(str.lower, values)


def file_name(values: np.ndarray) -> np.ndarray:
    """Give the last part of a path."""
    return _of_text(lambda text: text.rsplit("/", 1)[-1], values)


def apred_of_file(values: np.ndarray) -> np.ndarray:
    """Give the reduction that the name of an apVisit or apStar file says: dr17 of ``apVisit-dr17-...``."""
    return _of_text(lambda text: found[1] if (found := _APOGEE_NAME.search(text)) else None, values)


def reduction_of_file(values: np.ndarray) -> np.ndarray:
    """Give what tells visits of the 1-m telescope apart, of the name of an apVisit file; nothing for the others."""
    return _of_text(lambda text: found.reduction if (found := parse_visit_name(text)) else "", values)


def two_mass_name(values: np.ndarray) -> np.ndarray:
    """Write designations of 2MASS as APOGEE does: ``2M18583782+4822494`` of ``J18583782+4822494``, also without the J.

    Other names, such as those that APOGEE gave itself, stay as they are.
    """
    return _of_text(lambda text: f"2M{found[1]}" if (found := TWO_MASS_NAME.fullmatch(text)) else text, values)


def extracting(pattern: re.Pattern[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Make a transform that gives the group of a regular expression, the whole match if it has none.

    Parameters
    ----------
    pattern : Pattern
        It is searched for anywhere in the text; where it isn't found, the value is missing.
    """
    group = min(pattern.groups, 1)
    return lambda values: _of_text(lambda text: found[group] if (found := pattern.search(text)) else None, values)


def _of_text(change: Callable[[str], str | None], values: np.ndarray) -> np.ndarray:
    texts = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values.tolist()]
    changed = np.empty(len(values), object)
    changed[:] = [None if text is None else change(str(text).strip()) for text in texts]
    return changed


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    function.__name__: function
    for function in (
        *(ten_to_the, log10, negative, error_of_ivar, time_of_mjd, time_of_jd),
        *(lower, file_name, apred_of_file, reduction_of_file, two_mass_name),
    )
}
OF_TEXT = {"lower", "file_name", "apred_of_file", "reduction_of_file", "two_mass_name"}
"""Those that take text; the others take numbers."""
