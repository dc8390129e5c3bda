"""A pseudo-continuum for APOGEE's chips: the same in training and in the test step.

Of each chip, the continuum is the exponential of a Chebyshev polynomial, ``C = exp(sum q_k B_k)``, with coefficients
for which ``sum B_k (flux / C - 1) = 0`` for all k, over the good pixels. It is a regression with a logarithmic link
(McCullagh and Nelder 1989, chapter 8, gamma). Two things follow. A spectrum that is multiplied by a smooth distortion,
the exponential of such a polynomial, has the same normalised flux as before, to the last digit. And the flux's noise
enters linearly, so that the level doesn't depend on S/N, as it does where pixels are clipped. The mean of a normalised
chip is one: lines pull it below the level of the continuum, in training as in the test step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .polynomial import Array

VERSION = "log-chebyshev 1"
"""Which continuum a model was trained with: another one gives other fluxes."""

CHIPS = ((15_130.0, 15_835.0), (15_835.0, 16_455.0), (16_455.0, 16_965.0))
"""Where each chip begins and ends (vacuum Angstrom, at rest); the borders are in the middle of the gaps."""

ORDER = 4
"""Of the polynomial of each chip."""

MOST_ITERATIONS = 20
PRECISION = 1e-6
"""Change of the continuum's logarithm below which it is found."""

LARGEST_ERROR = 8.0
"""Errors of this many times their chip's median mark pixels that say nothing, such as those under sky lines."""

OUTLIER, LEAST_OUTLIER = 6.0, 0.3
"""Errors, and share of the continuum, by which a pixel may be above it; what is farther above isn't the star's."""

LEAST_PIXELS = 0.2
"""Share of a chip's pixels that have to be good."""


class Normalised(NamedTuple):
    """Spectra over their continuum.

    Attributes
    ----------
    flux, ivar : ndarray of float64, shape (n_spectra, n_pixels)
        Flux over continuum, and its inverse variance; both 0 where a pixel isn't to be used.
    continuum : ndarray of float64, shape (n_spectra, n_pixels)
        In the unit of the flux; NaN in a chip that has too few good pixels, and outside of the chips.
    """

    flux: Array
    ivar: Array
    continuum: Array


def normalise(wavelength: ArrayLike, flux: NDArray[Any], ivar: NDArray[Any]) -> Normalised:
    """Divide spectra by their pseudo-continuum.

    Parameters
    ----------
    wavelength : array_like of float, shape (n_pixels,)
        Vacuum wavelength at rest, in Angstrom.
    flux, ivar : ndarray of float, shape (n_spectra, n_pixels)
        Flux and its inverse variance, 0 where a pixel isn't to be used.
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    flux, ivar = np.asarray(flux, dtype=np.float64), np.asarray(ivar, dtype=np.float64)
    continuum, good = np.full(flux.shape, np.nan), np.zeros(flux.shape, dtype=bool)
    for low, high in CHIPS:
        chip = (wavelength >= low) & (wavelength < high)
        if chip.any():
            place = 2 * (wavelength[chip] - low) / (high - low) - 1
            basis = np.polynomial.chebyshev.chebvander(place, ORDER)
            continuum[:, chip], good[:, chip] = _of_chip(basis, flux[:, chip], ivar[:, chip])
    with np.errstate(invalid="ignore"):
        return Normalised(np.where(good, flux / continuum, 0), np.where(good, ivar * continuum**2, 0), continuum)


def _of_chip(basis: Array, flux: Array, ivar: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Give the continuum of one chip of spectra, and which pixels are good."""
    good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
    flux = np.where(good, flux, 0)
    error = np.sqrt(np.divide(1, ivar, out=np.full(ivar.shape, np.inf), where=good))
    good &= error < LARGEST_ERROR * _median(error, good)[:, None]
    level = _median(flux, good)
    enough = (good.sum(axis=1) > LEAST_PIXELS * flux.shape[1]) & (level > 0)
    good &= enough[:, None]
    scale = np.where(enough, level, 1)[:, None]
    flux, error = flux / scale, np.where(good, error / scale, 0)
    continuum = _fit(basis, flux, good)
    # What stands out far above the continuum is none of the star's light; absorption may go to zero.
    good &= flux - continuum < np.maximum(OUTLIER * error, LEAST_OUTLIER * continuum)
    continuum = _fit(basis, flux, good)
    known = enough & np.isfinite(continuum).all(axis=1) & (continuum > 0).all(axis=1)
    continuum[~known] = np.nan
    return continuum * scale, good & known[:, None]


def _fit(basis: Array, flux: Array, good: NDArray[np.bool_]) -> Array:
    """Solve ``sum B_k (flux / C - 1) = 0`` over the good pixels, for all spectra at once."""
    n_terms = basis.shape[1]
    weight = good.astype(np.float64)
    products = basis[:, :, None] * basis[:, None, :]
    matrix = (weight @ products.reshape(len(basis), -1)).reshape(-1, n_terms, n_terms)
    # Chips without good pixels get a matrix that can be solved; their continuum doesn't count.
    matrix += np.eye(n_terms) * np.where(matrix[:, :1, :1] > 0, 1e-9 * matrix[:, :1, :1], 1)
    coefficients = np.zeros((len(flux), n_terms))
    for _ in range(MOST_ITERATIONS):
        log = np.clip(coefficients @ basis.T, -20, 20)
        right = (weight * (flux * np.exp(-log) - 1)) @ basis
        step = np.clip(np.linalg.solve(matrix, right[..., None])[..., 0], -0.5, 0.5)
        coefficients += step
        if np.abs(step).max(initial=0) < PRECISION:
            break
    return np.exp(np.clip(coefficients @ basis.T, -20, 20))


def _median(values: Array, good: NDArray[np.bool_]) -> Array:
    """Give the median of the good pixels of each spectrum; 0 where there is none."""
    known = good.any(axis=1)
    found = np.zeros(len(values))
    if known.any():
        found[known] = np.nanmedian(np.where(good[known], values[known], np.nan), axis=1)
    return found
