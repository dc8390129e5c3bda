"""The search: chi-squared of templates over a whole range of velocities, as products of matrices."""

from __future__ import annotations

from functools import lru_cache
from math import log10
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .grid import TemplateGrid
from .lines import Point
from .pixels import SEARCH_STEP, SPEED_OF_LIGHT, Pixels, doppler_shift
from .splines import Array

GRAVITIES = 5
"""Number of gravities of the search."""

STEPS = (0.06, 0.16)
"""Steps of the search in log10 of the temperature: from 7,000 to 30,000 K, where lines change fast, and elsewhere."""

MOST_STARTS = 3
"""Minima of the search that are followed."""

_LN10 = float(np.log(10.0))


class SearchTemplates(NamedTuple):
    """Templates of the search, sampled at `SEARCH_STEP`."""

    log_teff: Array
    logg: Array
    start: float
    flux: Array
    """Shape (n_log_teff, n_logg, n_points)."""


@lru_cache(maxsize=2)
def search_templates(grid: TemplateGrid) -> SearchTemplates:
    """Sample the grid for the search, edges included."""
    log_teff = _temperatures(log10(grid.teff[0]), log10(grid.teff[-1]))
    logg = np.linspace(grid.logg[0], grid.logg[-1], GRAVITIES)
    start, stop = grid.start + SEARCH_STEP, grid.stop - SEARCH_STEP
    axis = start + np.arange(int((stop - start) / SEARCH_STEP) + 1) * SEARCH_STEP
    flux = np.array([[grid.evaluate(axis, t, g).flux for g in logg] for t in log_teff])
    return SearchTemplates(log_teff, logg, start, flux)


def _temperatures(low: float, high: float) -> Array:
    """Give log10 of the temperatures of the search."""
    edges = np.array([low, *np.clip(np.log10([7000.0, 30_000.0]), low, high), high])
    steps = np.concatenate([[0.0], np.cumsum(np.diff(edges) / np.array([STEPS[1], STEPS[0], STEPS[1]]))])
    return np.interp(np.linspace(0, steps[-1], max(3, int(np.ceil(steps[-1])) + 1)), steps, edges)


def search_chi2(pixels: Pixels, search: SearchTemplates, max_velocity: float) -> tuple[Array, Array]:
    """Map chi-squared over templates and velocities.

    Returns
    -------
    chi2 : ndarray of float64, shape (n_log_teff, n_logg, n_velocities)
        Chi-squared with the best straight line as the continuum of each window.
    velocities : ndarray of float64, shape (n_velocities,)
        Velocities (km/s), equally spaced in log wavelength.
    """
    reach = int(doppler_shift(max_velocity) / SEARCH_STEP)
    chi2 = np.full((*search.flux.shape[:2], 2 * reach + 1), np.sum((pixels.flux * pixels.weight) ** 2))
    for number in np.unique(pixels.window):
        chi2 -= _window_gain(pixels.keep(pixels.window == number), search, reach)
    velocities = SPEED_OF_LIGHT * np.tanh(np.arange(-reach, reach + 1) * SEARCH_STEP * _LN10)
    return chi2, velocities


def _window_gain(pixels: Pixels, search: SearchTemplates, reach: int) -> Array:
    """By how much the model lowers chi-squared in one window: shape (n_log_teff, n_logg, n_velocities).

    Pixels are taken at the nearest point of the search axis (within 17 km/s, the same for all pixels of
    BOSS), so that a shift is a shift by whole points and the sums over pixels are products of matrices.
    """
    points = np.rint((pixels.log_wavelength - search.start) / SEARCH_STEP).astype(np.intp)
    first, n_points = points.min(), np.ptp(points) + 1
    ivar, x = pixels.weight**2, pixels.offset
    weights = [ivar * pixels.flux, ivar * pixels.flux * x, ivar, ivar * x, ivar * x**2]
    sums = [np.bincount(points - first, weight, n_points).astype(np.float64) for weight in weights]
    shifted = [_all_shifts(values, reach) for values in sums]
    flux = search.flux[..., first - reach : first + n_points + reach]
    # Products of stacks of small matrices, one per temperature: BLAS leaves these to one thread, and a second one
    # would cost more than it helps when other workers use the cores.
    b0, b1 = (flux @ matrix for matrix in shifted[:2])
    a00, a01, a11 = (flux**2 @ matrix for matrix in shifted[2:])
    determinant = a00 * a11 - a01**2
    gain = (a11 * b0**2 - 2 * a01 * b0 * b1 + a00 * b1**2) / determinant
    return np.where(determinant > 1e-9 * a00 * a11, gain, 0.0)


def _all_shifts(values: Array, reach: int) -> Array:
    """Arrange `values` (n_points,) as a matrix (n_points + 2 reach, 2 reach + 1), one column per shift."""
    return np.ascontiguousarray(sliding_window_view(np.pad(values, 2 * reach), 2 * reach + 1))


def starting_points(chi2: Array, velocities: Array, search: SearchTemplates) -> list[Point]:
    """Take the best points: Balmer lines are alike on both sides of their maximum, and may be so on one side, too."""
    by_teff = chi2.reshape(chi2.shape[0], -1).min(axis=1)
    padded = np.pad(by_teff, 1, constant_values=np.inf)
    minima = np.flatnonzero((by_teff <= padded[:-2]) & (by_teff < padded[2:]))
    best = sorted(minima, key=lambda index: by_teff[index])[:MOST_STARTS] or [int(np.argmin(by_teff))]
    points = []
    for index in best:
        at_logg, at_velocity = np.unravel_index(np.argmin(chi2[index]), chi2.shape[1:])
        points.append(Point(float(velocities[at_velocity]), float(search.log_teff[index]), float(search.logg[at_logg])))
    return points
