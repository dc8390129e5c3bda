"""How far apart on the sky rows are that would be one source.

Directions are vectors of length 1: the pole and right ascension 0 are places like others then.
"""

from collections.abc import Sequence

import numpy as np

from astra_models.columns.typed import Column

ARCSEC = 180 / np.pi * 3600

Direction = tuple[float, float, float]


def directions(ra: Column, dec: Column) -> np.ndarray:
    """Give directions of positions in degrees.

    Parameters
    ----------
    ra, dec : Column
        Right ascension (from -180 or from 0) and declination.

    Returns
    -------
    ndarray of float, shape (n_rows, 3)
        Vectors of length 1; NaN where there is no position.
    """
    return directions_of(np.where(ra.null, np.nan, ra.values), np.where(dec.null, np.nan, dec.values))


def directions_of(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Give directions of positions in degrees, which are NaN where there is none."""
    ra, dec = ra.astype(np.float64), dec.astype(np.float64)
    is_one = (ra >= -180) & (ra <= 360) & (np.abs(dec) <= 90)
    ra, dec = np.radians(np.where(is_one, ra, np.nan)), np.radians(np.where(is_one, dec, np.nan))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def separations(one: np.ndarray | Sequence[float], other: np.ndarray) -> np.ndarray:
    """Give angles between directions.

    Parameters
    ----------
    one, other : ndarray of float, shape (..., 3)
        Directions.

    Returns
    -------
    ndarray of float
        Arcsec; NaN where one of them is.
    """
    half_chord = np.linalg.norm(np.asarray(one) - other, axis=-1) / 2
    return 2 * np.arcsin(np.minimum(half_chord, 1)) * ARCSEC


def in_words(separation: float) -> str:
    """Give an angle in arcsec with a suitable unit."""
    for unit, size in (("deg", 3600), ("arcmin", 60)):
        if separation >= size:
            return f"{separation / size:.3g} {unit}"
    return f"{separation:.3g} arcsec"
