"""The model of the lines, templates times local continua, and its refinement by least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .grid import TemplateGrid
from .pixels import SPEED_OF_LIGHT, Pixels, doppler_shift
from .splines import Array

CLIP = 5.0

_LN10 = float(np.log(10.0))


class Point(NamedTuple):
    """A point in parameter space: velocity (km/s), log10 of temperature (K), gravity (dex)."""

    v_rad: float
    log_teff: float
    logg: float


class Limits(NamedTuple):
    """How far, and how long, to look."""

    velocity: float
    evaluations: int


class Solution(NamedTuple):
    """Where the refinement ended."""

    point: Point
    chi2: float
    covariance: Array
    converged: bool


class LineModel:
    """Templates times local continua against the pixels: residuals and their derivatives.

    Parameters
    ----------
    pixels : Pixels
        The data.
    grid : TemplateGrid
        The templates.
    """

    def __init__(self, pixels: Pixels, grid: TemplateGrid) -> None:
        self.pixels, self.grid = pixels, grid
        self._data = pixels.flux * pixels.weight
        numbers, position = np.unique(pixels.window, return_inverse=True)
        own = (position[:, None] == np.arange(numbers.size)) * pixels.weight[:, None]
        self._continuum = np.hstack([own, own * pixels.offset[:, None]])
        self._memory: tuple[bytes, Array, Array] | None = None

    @property
    def degrees_of_freedom(self) -> int:
        """Number of pixels less the number of parameters, continua included."""
        return max(1, self._data.size - self._continuum.shape[1] - len(Point._fields))

    def residuals(self, parameters: Array) -> Array:
        """Weighted residuals with the best continua for (v_rad, log_teff, logg): shape (n_pixels,)."""
        return self._evaluate(parameters)[0]

    def jacobian(self, parameters: Array) -> Array:
        """Differentiate the residuals, the adjustment of the continua taken out: shape (n_pixels, 3)."""
        return self._evaluate(parameters)[1]

    def featureless_chi2(self) -> float:
        """Chi-squared of the continua alone."""
        basis, _ = np.linalg.qr(self._continuum)
        return float(np.sum((self._data - basis @ (basis.T @ self._data)) ** 2))

    def without_outliers(self, point: Point) -> LineModel:
        """Drop pixels that are far from the best model (cosmic rays); the same model when there are none."""
        residuals = self.residuals(np.array(point))
        limit = CLIP * max(1.0, np.sqrt(np.mean(residuals**2)))
        good = np.abs(residuals) < limit
        if np.all(good) or np.count_nonzero(good) < 0.9 * good.size:
            return self
        return LineModel(self.pixels.keep(good), self.grid)

    def _evaluate(self, parameters: Array) -> tuple[Array, Array]:
        key = parameters.tobytes()
        if self._memory is None or self._memory[0] != key:
            self._memory = (key, *self._project(*parameters))
        return self._memory[1:]

    def _project(self, v_rad: float, log_teff: float, logg: float) -> tuple[Array, Array]:
        """Solve for the continua, and take their space out of residuals and derivatives."""
        template = self.grid.evaluate(self.pixels.log_wavelength - doppler_shift(v_rad), log_teff, logg)
        basis, triangle = np.linalg.qr(self._continuum * template.flux[:, None])
        amplitudes = basis.T @ self._data
        continuum = self._continuum @ np.linalg.lstsq(triangle, amplitudes, rcond=None)[0]
        by_v_rad = -1.0 / (_LN10 * SPEED_OF_LIGHT * (1 - (v_rad / SPEED_OF_LIGHT) ** 2))
        slopes = np.stack([by_v_rad * template.by_log_wavelength, template.by_log_teff, template.by_logg], axis=1)
        slopes *= -continuum[:, None]
        return self._data - basis @ amplitudes, slopes - basis @ (basis.T @ slopes)


def refine(model: LineModel, start: Point, limits: Limits) -> Solution:
    """Least-squares fit of velocity, temperature and gravity from a starting point, inside the grid."""
    from scipy.optimize import least_squares

    low = np.array([-limits.velocity, np.log10(model.grid.teff[0]), model.grid.logg[0]])
    high = np.array([limits.velocity, np.log10(model.grid.teff[-1]), model.grid.logg[-1]])
    inside = np.clip(start, low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    result = least_squares(
        model.residuals,
        inside,
        jac=model.jacobian,  # pyright: ignore[reportArgumentType]  (scipy's stub forgets callables)
        bounds=(low, high),
        x_scale=(50.0, 0.02, 0.1),
        max_nfev=limits.evaluations,
    )
    jacobian = model.jacobian(result.x)
    return Solution(Point(*map(float, result.x)), 2 * float(result.cost), _inverse(jacobian), result.status > 0)


def _inverse(jacobian: Array) -> Array:
    """Covariance matrix from the curvature; infinite when the data don't fix the parameters."""
    scale = np.sqrt(np.sum(jacobian**2, axis=0))
    curvature = (jacobian / scale).T @ (jacobian / scale)
    if not np.all(np.isfinite(curvature)) or np.linalg.cond(curvature) > 1e12:
        return np.full((3, 3), np.inf)
    return np.linalg.inv(curvature) / np.outer(scale, scale)
