"""Where stars with proper motions are at another epoch."""

from typing import TYPE_CHECKING

import numpy as np

from astra_models.errors import SelectionError
from astra_models.messages import shown

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["SOURCE_EPOCH", "at_epoch", "julian_year"]

SOURCE_EPOCH = 2016.0
"""The epoch that positions in ``source`` are taken to be of, in Julian years: that of Gaia DR3.

The files that sources are made from don't say theirs. Where positions of another catalogue were ingested, such as 2MASS
(about 1999), give `astra_models.sky.crossmatch` the epoch of these as ``source_epoch``.
"""

MAS = np.pi / 180 / 3_600_000


def julian_year(epoch: "float | Time") -> float:
    """Give an epoch in Julian years, of a number or a time of astropy.

    Raises
    ------
    SelectionError
        If it is no single, finite epoch.
    """
    try:
        year = float(getattr(epoch, "jyear", epoch))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        year = np.nan
    if not np.isfinite(year):
        raise SelectionError(f"an epoch is a year, such as 2000.0, or one astropy.time.Time, not {shown(epoch)}")
    return year


def at_epoch(
    ra: np.ndarray, dec: np.ndarray, pmra: np.ndarray, pmde: np.ndarray, years: float
) -> tuple[np.ndarray, np.ndarray]:
    """Move positions along their proper motions, on great circles as stars without parallax and radial velocity move.

    This is equation 1.2.18 of The Hipparcos and Tycho Catalogues, Vol. 1 (ESA SP-1200, 1997), which has no pole where
    it fails, as adding to right ascensions has.

    Parameters
    ----------
    ra, dec : array, shape (n,)
        Positions in degrees.
    pmra, pmde : array, shape (n,)
        Proper motions in mas / yr, that in right ascension times cos(dec).
    years : float
        How many Julian years later; negative for earlier.

    Returns
    -------
    ra, dec : array, shape (n,)
        Positions in degrees.
    """
    lon, lat = np.radians(ra), np.radians(dec)
    zero = np.zeros_like(lon)
    place = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), zero])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    x, y, z = place + years * MAS * (pmra * east + pmde * north)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
