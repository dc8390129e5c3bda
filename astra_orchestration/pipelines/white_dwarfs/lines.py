"""The model of the lines, templates times local continua, and its refinement by least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .grid import TemplateGrid
from .pixels import SPEED_OF_LIGHT, Pixels, doppler_shift
from .splines import Array

_LN10 = float(np.log(10.0))
_SCALES = np.array([50.0, 0.02, 0.1])
_LONGEST_STEP = np.array([400.0, 0.12, 0.6])
_STUCK = 1e9
_A_FEW = 3


class Point(NamedTuple):
    """A point in parameter space: velocity (km/s), log10 of temperature (K), gravity (dex)."""

    v_rad: float
    log_teff: float
    logg: float


class Limits(NamedTuple):
    """How far, and how long, to look."""

    velocity: float
    evaluations: int
    enough: float = 3e-4
    """Improvement of chi-squared that isn't worth another step."""
    hopeless: float = np.inf
    """Chi-squared that has to be in reach after a few steps."""


class Solution(NamedTuple):
    """Where the refinement ended."""

    point: Point
    chi2: float
    covariance: Array
    """Shape (3, 3), in the order of `Point`; infinite when the data don't fix the parameters."""
    converged: bool


class Comparison(NamedTuple):
    """The model against the pixels, at one point."""

    residuals: Array
    """(Data - model) / noise, with the best continua: shape (n_pixels,)."""
    slopes: Array
    """Derivatives of the residuals, the adjustment of the continua taken out: shape (3, n_pixels)."""
    model: Array
    """Model / noise: shape (n_pixels,)."""


class _Continua(NamedTuple):
    """Straight lines as a basis, each of shape (n_pixels,), and which pixels count."""

    flat: Array
    tilted: Array
    counted: Array | float


class LineModel:
    """Templates times local continua against the pixels: residuals and their derivatives.

    Parameters
    ----------
    pixels : Pixels
        The data, window after window.
    grid : TemplateGrid
        The templates.
    """

    def __init__(self, pixels: Pixels, grid: TemplateGrid) -> None:
        self.pixels, self.grid = pixels, grid
        self._data = pixels.flux * pixels.weight
        _, self._first, self._of = np.unique(pixels.window, return_index=True, return_inverse=True)

    @property
    def degrees_of_freedom(self) -> int:
        """Number of pixels less the number of parameters, continua included."""
        return max(1, self._data.size - 2 * self._first.size - len(Point._fields))

    @property
    def snr(self) -> float:
        """Median signal-to-noise ratio per pixel."""
        return float(np.median(self._data))

    def featureless_chi2(self) -> float:
        """Chi-squared of the continua alone."""
        basis = self._continua(self.pixels.weight)
        return float(np.sum((self._data - self._inside(basis, self._data)) ** 2))

    def keep(self, good: NDArray[np.bool_]) -> LineModel:
        """Give the model of the pixels of a mask of shape ``(n_pixels,)``."""
        return self if np.all(good) else LineModel(self.pixels.keep(good), self.grid)

    def compare(self, point: Point, good: NDArray[np.bool_] | None = None) -> Comparison:
        """Solve for the continua, and take their space out of residuals and derivatives.

        With a mask `good` of shape (n_pixels,), continua are solved with those pixels, and all are compared.
        """
        template = self.grid.evaluate(
            self.pixels.log_wavelength - doppler_shift(point.v_rad), point.log_teff, point.logg
        )
        basis = self._continua(self.pixels.weight * template.flux, good)
        model = self._inside(basis, self._data)
        by_v_rad = -1.0 / (_LN10 * SPEED_OF_LIGHT * (1 - (point.v_rad / SPEED_OF_LIGHT) ** 2))
        slopes = np.stack([by_v_rad * template.by_log_wavelength, template.by_log_teff, template.by_logg])
        slopes *= -model / template.flux
        return Comparison(self._data - model, slopes - self._inside(basis, slopes), model)

    def _continua(self, scale: Array, good: NDArray[np.bool_] | None = None) -> _Continua:
        """Orthonormal basis of the straight lines, times `scale`, in each window."""
        counted = 1.0 if good is None else good.astype(float)
        flat = self._normalized(scale, counted)
        tilted = flat * self.pixels.offset
        return _Continua(flat, self._normalized(tilted - flat * self._sums(counted * flat * tilted), counted), counted)

    def _normalized(self, values: Array, counted: Array | float) -> Array:
        return values / np.sqrt(np.maximum(self._sums(counted * values**2), 1e-300))

    def _inside(self, basis: _Continua, values: Array) -> Array:
        """Project values, of shape (..., n_pixels), on a basis."""
        flat, tilted, counted = basis
        values = counted * values
        return flat * self._sums(flat * values) + tilted * self._sums(tilted * values)

    def _sums(self, values: Array) -> Array:
        """Sum over each window, and give each pixel the sum of its own."""
        return np.add.reduceat(values, self._first, axis=-1)[..., self._of]


def refine(model: LineModel, start: Point, limits: Limits) -> Solution:
    """Fit velocity, temperature and gravity from a starting point, inside the grid (Levenberg and Marquardt).

    A parameter at its limit stays there as long as chi-squared falls outwards.
    """
    low = np.array([-limits.velocity, np.log10(model.grid.teff[0]), model.grid.logg[0]])
    high = np.array([limits.velocity, np.log10(model.grid.teff[-1]), model.grid.logg[-1]])
    here = np.clip(start, low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    found = model.compare(Point(*here))
    chi2, damping = float(found.residuals @ found.residuals), 1e-3
    for evaluation in range(1, limits.evaluations):
        step, promise = _step(found, here, low, high, damping)
        if promise < limits.enough * max(1.0, 1e-4 * chi2):
            return Solution(Point(*map(float, here)), chi2, _inverse(found.slopes), converged=True)
        if evaluation >= _A_FEW and chi2 - 2 * promise > limits.hopeless:
            break
        there = np.clip(here + step, low, high)
        trial = model.compare(Point(*there))
        gain = chi2 - float(trial.residuals @ trial.residuals)
        if gain > 0:
            here, found, chi2 = there, trial, chi2 - gain
        damping = _next_damping(damping, gain / promise)
        if damping > _STUCK:
            break
    return Solution(Point(*map(float, here)), chi2, _inverse(found.slopes), converged=False)


def _next_damping(damping: float, kept: float) -> float:
    """Shorten steps that keep little of what they promise: near the Balmer maximum the valley is curved."""
    if kept > 0.75:
        return max(damping / 10, 1e-9)
    if kept > 0.35:
        return damping
    return 8 * max(damping, 0.05) if kept < 0 else 4 * max(damping, 0.1)


def _step(found: Comparison, here: Array, low: Array, high: Array, damping: float) -> tuple[Array, float]:
    """Give the next step, and by how much chi-squared should fall."""
    slopes = found.slopes * _SCALES[:, None]
    gradient, curvature = slopes @ found.residuals, slopes @ slopes.T
    outwards = ((here <= low) & (gradient > 0)) | ((here >= high) & (gradient < 0))
    free = np.flatnonzero(~outwards & (np.diag(curvature) > 0) & np.isfinite(gradient))
    step = np.zeros(3)
    if free.size:
        inner = curvature[np.ix_(free, free)]
        step[free] = np.linalg.lstsq(inner + damping * np.diag(np.diag(inner)), -gradient[free], rcond=None)[0]
    step *= _SCALES
    step /= max(1.0, float(np.max(np.abs(step) / _LONGEST_STEP)))
    scaled = (np.clip(here + step, low, high) - here) / _SCALES
    return step, float(-2 * gradient @ scaled - scaled @ curvature @ scaled)


def _inverse(slopes: Array) -> Array:
    """Covariance matrix from the curvature; infinite when the data don't fix the parameters."""
    scale = np.sqrt(np.sum(slopes**2, axis=1))
    curvature = (slopes / scale[:, None]) @ (slopes / scale[:, None]).T
    if not np.all(np.isfinite(curvature)) or np.linalg.cond(curvature) > 1e12:
        return np.full((3, 3), np.inf)
    return np.linalg.inv(curvature) / np.outer(scale, scale)
