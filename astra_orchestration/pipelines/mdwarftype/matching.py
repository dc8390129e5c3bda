"""Which template fits a spectrum best: all at once.

Each template is multiplied by a parabola of the wavelength, so that neither the level nor a smooth distortion of the
flux counts; its coefficients are found by least squares. A parabola is what sdss/astra divides spectra by, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .templates import FIRST, STEP, Array, Templates

LIGHT = 299_792.458
"""Speed of light, km/s."""

N_TERMS = 3
"""Of the parabola."""

LEAST_PIXELS = 500
"""Good pixels that a spectrum needs: an eighth of a BOSS spectrum."""

LEVEL = (7495.0, 7505.0)
"""Vacuum Angstrom between which the mean flux is told."""


class Match(NamedTuple):
    """How well templates fit a spectrum.

    Attributes
    ----------
    rchi2 : ndarray of float64, shape (n_templates,)
        Chi-squared by degree of freedom; infinite where a template doesn't fit at all.
    best : int or None
        The one that fits best; None if the spectrum has too few good pixels.
    level : float
        Mean flux at 7500 Angstrom; NaN if there is none.
    n_pixels : int
        Pixels that counted.
    """

    rchi2: Array
    best: int | None
    level: float
    n_pixels: int


def match(templates: Templates, wavelength: ArrayLike, flux: ArrayLike, ivar: ArrayLike, v_rad: float = 0.0) -> Match:
    """Match a spectrum with all templates.

    Parameters
    ----------
    templates : Templates
        The templates.
    wavelength, flux, ivar : array_like of float, shape (n_pixels,)
        Vacuum wavelength in Angstrom, flux in any unit, and its inverse variance: 0 where a pixel isn't to be used.
    v_rad : float, optional
        Velocity in km/s of the star in the frame of the wavelengths, positive when receding.
    """
    waves, flux, ivar = (np.asarray(array, dtype=np.float64) for array in (wavelength, flux, ivar))
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & (waves > 0)
    level = _level(waves, flux, good)
    place = (np.log10(np.where(waves > 0, waves, 1) / (1 + v_rad / LIGHT)) - FIRST) / STEP
    left = np.floor(place).astype(np.int64)
    good &= (left >= 0) & (left + 1 < templates.flux.shape[1])
    # A pixel counts if all templates have it: chi-squared of one is compared with that of another.
    known: NDArray[np.bool_] = np.isfinite(templates.flux).min(axis=0)
    good[good] &= known[left[good]] & known[left[good] + 1]
    n_pixels = int(good.sum())
    if n_pixels < LEAST_PIXELS:
        return Match(np.full(len(templates), np.nan), None, level, n_pixels)
    part = place[good] - left[good]
    models = templates.flux[:, left[good]] * (1 - part) + templates.flux[:, left[good] + 1] * part
    rchi2 = _chi2(models, waves[good], flux[good], ivar[good]) / (n_pixels - N_TERMS)
    return Match(rchi2, int(np.argmin(rchi2)), level, n_pixels)


def _chi2(models: Array, waves: Array, flux: Array, ivar: Array) -> Array:
    """Give chi-squared of each model times its best parabola; infinite if that isn't positive everywhere."""
    x = 2 * (waves - waves.min()) / (waves.max() - waves.min()) - 1
    powers = x[:, None] ** np.arange(2 * N_TERMS - 1)
    moments = (models**2 * ivar) @ powers
    right = (models * (ivar * flux)) @ powers[:, :N_TERMS]
    matrix = moments[:, np.add.outer(np.arange(N_TERMS), np.arange(N_TERMS))]
    size = np.sqrt(np.maximum(np.einsum("tii->ti", matrix), 1e-300))
    scaled = matrix / (size[:, :, None] * size[:, None, :]) + 1e-12 * np.eye(N_TERMS)
    terms = np.linalg.solve(scaled, (right / size)[..., None])[..., 0] / size
    chi2 = float(ivar @ flux**2) - np.einsum("ti,ti->t", terms, right)
    at_ends = terms @ (np.linspace(-1, 1, 41)[:, None] ** np.arange(N_TERMS)).T
    return np.where((at_ends > 0).all(axis=1), np.maximum(chi2, 0), np.inf)


def _level(waves: Array, flux: Array, good: NDArray[Any]) -> float:
    some = good & (waves >= LEVEL[0]) & (waves <= LEVEL[1])
    return float(flux[some].mean()) if some.any() else np.nan
