"""Which values a quantity can have at all, by the names of columns.

The ranges are wide: every star is within, from brown dwarfs to the hottest white dwarfs.
"""

import math
from collections.abc import Mapping

import peewee

__all__ = ["Range", "physical_range"]

Range = tuple[float, float]

ANY: Range = (-math.inf, math.inf)
NOT_NEGATIVE: Range = (0.0, math.inf)
ABUNDANCE: Range = (-10.0, 5.0)  # dex
VELOCITY: Range = (-10_000.0, 10_000.0)  # km/s

RANGES: dict[str, Range] = {
    "teff": (100.0, 1e6),  # K
    "logg": (-2.0, 11.0),  # log10 of cm/s2; white dwarfs have up to 9.5
    "m_h": ABUNDANCE,
    "fe_h": ABUNDANCE,
    "alpha_m": ABUNDANCE,
    "v_rad": VELOCITY,
    "v_rel": VELOCITY,
    "v_helio": VELOCITY,
    "v_sini": (0.0, 3_000.0),  # km/s
    "v_micro": (0.0, 100.0),
    "v_macro": (0.0, 1_000.0),
    "mass": (0.0, 1_000.0),  # solar masses
    "radius": (0.0, 1e4),  # solar radii
    "age": (0.0, 1e3),  # Gyr, or log10 of years
    "chi2": NOT_NEGATIVE,
    "rchi2": NOT_NEGATIVE,
    "t_elapsed": NOT_NEGATIVE,
}
SAME_QUANTITY = ("raw_", "initial_")
"""Prefixes of columns that hold the same quantity as those without."""


def physical_range(field: peewee.Field, own: Mapping[str, Range]) -> Range:
    """Give the smallest and the largest value that a column of numbers can have; infinity itself is never a value.

    Parameters
    ----------
    field : peewee.Field
        The column.
    own : mapping of str to tuple of float
        Ranges by column that come first.
    """
    name = str(field.name)
    stem = name
    for prefix in SAME_QUANTITY:
        stem = stem.removeprefix(prefix)
    if found := own.get(name) or own.get(stem) or RANGES.get(name) or RANGES.get(stem):
        return found
    if stem.startswith("e_"):
        return NOT_NEGATIVE
    if stem.startswith("rho_"):
        return (-1.0, 1.0)
    if stem.endswith(("_h", "_fe")) and getattr(field, "unit", None) == "dex":
        return ABUNDANCE
    return ANY
