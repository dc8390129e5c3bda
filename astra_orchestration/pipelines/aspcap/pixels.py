"""Step 3: the pixels that FERRE gets, and how far each is trusted.

A grid's header says which pixels those are: chips of equal steps in log10 of the wavelength. Where they lie on pixels
of an apStar they are these, else they are interpolated between two.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.apogee import APOGEE_GRID
from astra_models.errors import MissingPixelsError
from astra_orchestration.pipelines.ferre.grid import Grid

from .configuration import PixelRules

Array = NDArray[np.float64]

BAD_FLUX, BAD_ERROR = 1e-4, 1e10
"""What stands for a pixel that isn't to be used. FERRE takes neither NaN nor infinity."""

LARGEST = 1e30
"""A flux over this is none, and would overflow FERRE's single precision."""

SAME_PIXEL = 0.02
"""Pixels within this share of one are the same: a header has seven digits of the first wavelength."""

CLIPPINGS = 3
CONTINUUM = 95.0
"""Percentile of a chip's fluxes that stands for its continuum."""


class Pixels(NamedTuple):
    """What FERRE gets of a spectrum.

    Parameters
    ----------
    flux, error : array of float, shape (n_pixels,)
        In units of the spectrum; `BAD_FLUX` and `BAD_ERROR` where a pixel is bad.
    share_bad : float
        Share of the pixels that are bad.
    """

    flux: Array
    error: Array
    share_bad: float


def pixels_for(grid: Grid, flux: ArrayLike, ivar: ArrayLike, pixel_flags: ArrayLike, rules: PixelRules) -> Pixels:
    """Give the pixels of an apStar spectrum that a grid has.

    Parameters
    ----------
    grid : Grid
        The grid of models.
    flux, ivar, pixel_flags : array_like, shape (8575,)
        Pixels of an apStar, in 1e-17 erg/s/cm2/Angstrom.
    rules : PixelRules
        Which bits are bad, and by how much errors grow.

    Raises
    ------
    MissingPixelsError
        If the spectrum has other pixels than an apStar.
    """
    spectrum = np.asarray(flux, dtype=np.float64)
    weights = np.asarray(ivar, dtype=np.float64)
    if any(np.shape(array) != (APOGEE_GRID["naxis"],) for array in (spectrum, weights, pixel_flags)):
        raise MissingPixelsError(f"flux: the spectrum has {spectrum.size} pixels, and an apStar {APOGEE_GRID['naxis']}")
    bits = np.nan_to_num(np.asarray(pixel_flags)).astype(np.int64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.where(weights > 0, weights**-0.5, np.inf)
    bad = ~(spectrum >= 0) | (spectrum > LARGEST) | ~np.isfinite(error) | (bits & rules.bad_bits != 0)
    error = np.where(bits & rules.sky_bits != 0, error * rules.sky_factor, error)
    error = np.where(bad, BAD_ERROR, np.minimum(error, BAD_ERROR))
    picked = _Picked(grid)
    spectrum, error, bad = picked.values(np.where(bad, BAD_FLUX, spectrum)), picked.values(error), picked.any(bad)
    error = np.maximum(error, rules.error_floor)
    bright = np.zeros(grid.n_pixels, bool)
    for chip in grid.chip_slices:
        bright[chip] = _too_bright(spectrum[chip], error[chip], ~bad[chip], rules.bright_sigmas)
    error[bright] = BAD_ERROR
    return Pixels(np.where(bad, BAD_FLUX, spectrum), np.where(bad, BAD_ERROR, error), float(np.mean(bad)))


def _too_bright(flux: Array, error: Array, good: NDArray[np.bool_], sigmas: float) -> NDArray[np.bool_]:
    """Tell which pixels are far above the continuum, clipping again without those that were found.

    The survey compares with the median. Where lines are crowded that is far below the continuum, whose brighter pixels
    would be cut off and not the fainter ones: metallicities then come out 0.3 of their errors too low.
    """
    kept = good.copy()
    for _ in range(CLIPPINGS):
        if kept.sum() < 2:
            break
        kept &= flux <= np.percentile(flux[kept], CONTINUUM) + sigmas * np.hypot(np.std(flux[kept]), error)
    return good & ~kept


class _Picked:
    """Where the pixels of a grid are among those of an apStar."""

    def __init__(self, grid: Grid):
        start, step, n_pixels = (APOGEE_GRID[name] for name in ("crval", "cdelt", "naxis"))
        at = np.concatenate([(chip.start - start + chip.step * np.arange(chip.n_pixels)) / step for chip in grid.chips])
        nearest = np.rint(at)
        at = np.where(np.abs(at - nearest) < SAME_PIXEL, nearest, at)
        self._outside = (at < 0) | (at > n_pixels - 1)
        self._left = np.clip(np.floor(at), 0, n_pixels - 1).astype(np.int64)
        self._right = np.clip(np.ceil(at), 0, n_pixels - 1).astype(np.int64)
        self._share = at - np.floor(at)

    def values(self, array: Array) -> Array:
        """Give values at the grid's pixels, (n_pixels,), of those of an apStar, (8575,)."""
        left, right = array[self._left], array[self._right]
        return np.where(self._share == 0, left, left * (1 - self._share) + right * self._share)

    def any(self, array: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell of which of the grid's pixels any that it is made of has the property, or isn't there: (n_pixels,)."""
        return array[self._left] | array[self._right] | self._outside
