"""What files write where they have no value: one vocabulary, and what each kind of file adds to it.

A missing value is NULL here, whatever a file has for it. What the survey's older files have for one number is a good
value of another, so that it isn't enough to list all of them: `Missing` says which count in which kind of file. NaN,
masked values and a FITS file's own TNULL are always missing.

The negative ``catalogid`` of early BOSS spectra are none of these: they are made here, and kept (`spectra.boss`).
"""

from dataclasses import dataclass

WORDS = frozenset({"", "nan", "none", "null", "n/a"})
"""Text, in small letters, that is no number, and in a header no text either."""


@dataclass(frozen=True)
class Missing:
    """What stands for a missing value in one kind of file.

    Parameters
    ----------
    words : set of str
        Text, besides `WORDS`.
    numbers : tuple of float
        Numbers, in any column of numbers.
    magnitudes : tuple of float
        Numbers, where a magnitude is expected.
    whole : tuple of int
        Whole numbers that aren't identifiers, in columns that may be NULL.
    flags : tuple of int
        Whole numbers that are no set of flags: none is set then.
    identifiers_are_positive : bool
        Whether an identifier of 0 or less is none.
    identifiers_are_checked : bool
        Whether identifiers are looked at closely: text that says that there is none is none, and a float of too many
        digits is wrong, for those of several stars may have become one.
    """

    words: frozenset[str] = frozenset()
    numbers: tuple[float, ...] = ()
    magnitudes: tuple[float, ...] = ()
    whole: tuple[int, ...] = ()
    flags: tuple[int, ...] = ()
    identifiers_are_positive: bool = False
    identifiers_are_checked: bool = False


_WHOLE_IN_HEADERS = (-1, -999, -9999, -999999)

SPECTRUM_FILES = Missing(
    numbers=(-999.0, -9999.0, -9999.99, -99999.0, -999999.0),
    magnitudes=(99.9, 99.99, 99.999, 9999.0),
    whole=_WHOLE_IN_HEADERS,
    flags=_WHOLE_IN_HEADERS,
    identifiers_are_positive=True,
)
"""Headers of spectra and their tables of one row; numbers to two decimals, magnitudes to three."""

SUMMARY_FILES = Missing(whole=(-1,), flags=(-1,), identifiers_are_positive=True)
"""The survey's tables: numbers are NaN, whole ones -1."""

DECLARED = Missing()
"""Files that say themselves what is missing: our own products, and every table with a TNULL."""


def in_mapped_table(numbers: tuple[float, ...], words: frozenset[str], is_declared: bool, signed: bool) -> Missing:
    """Give what stands for a missing value in a column of a table with a mapping: what the mapping says.

    An identifier of 0 or less is none in any case, unless the mapping says that there are such: else all stars that
    have no identifier would be one.

    Parameters
    ----------
    numbers, words : tuple of float, set of str
        What the mapping says.
    is_declared : bool
        Whether the file says itself, by a TNULL, which whole numbers are missing.
    signed : bool
        Whether identifiers of 0 or less are some.
    """
    no_flags = () if numbers or is_declared else SUMMARY_FILES.flags
    return Missing(
        words=words,
        numbers=numbers,
        flags=no_flags,
        identifiers_are_positive=not signed,
        identifiers_are_checked=True,
    )
