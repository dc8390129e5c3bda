"""Fit of one spectrum of a DA white dwarf: radial velocity, temperature and gravity from its Balmer lines.

The idea: templates are shifted and interpolated, data are never resampled or divided by anything, so that the
noise of the pixels stays independent; the local continuum of each line is solved for linearly, together with
every trial of velocity and template, so that its uncertainty is part of the errors that come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log10
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError

from .family import balmer_family
from .grid import LOG_STEP, TemplateError, TemplateGrid
from .splines import Array

SPEED_OF_LIGHT = 299_792.458
"""Speed of light in vacuum (km/s)."""

LINE_WINDOWS: dict[str, tuple[float, float, float]] = {
    "H-alpha": (6414.0, 6564.6, 6714.0),
    "H-beta": (4722.0, 4862.7, 5002.0),
    "H-gamma": (4220.0, 4341.7, 4460.0),
    "H-delta": (4030.0, 4102.9, 4180.0),
    "H-epsilon": (3945.0, 3971.2, 4025.0),
}
"""First wavelength, line centre and last wavelength (vacuum Angstrom) of the window of each line."""

MIN_SNR = 3.0
"""Median signal-to-noise ratio per pixel in the windows below which a result gets the flag for low S/N."""

MAX_VELOCITY = 1500.0
"""Largest velocity of the search in either direction (km/s)."""

MIN_LINE_SIGNIFICANCE = 30.0
"""Least improvement of chi-squared by the lines over a featureless continuum."""

MIN_LINE_SHARE = 0.5
"""Least share that the lines explain of what a featureless continuum leaves beyond the noise."""

MIN_PIXELS_PER_WINDOW = 25
CLIP = 5.0
SEARCH_STEP = 2 * LOG_STEP
SEARCH_SHAPE = (14, 4)
"""Numbers of temperatures and of gravities of the search."""

_EDGE = 2e-3
_LN10 = float(np.log(10.0))


class SpectrumError(AstraError, ValueError):
    """Arrays that don't make up a spectrum."""


@dataclass(frozen=True)
class CorvFit:
    """What was measured on one spectrum. A value that could not be measured is NaN.

    Parameters
    ----------
    v_rad, e_v_rad : float
        Radial velocity and its uncertainty (km/s), positive when the star recedes, in the frame of the
        wavelengths. It includes the gravitational redshift of the star (20 to 100 km/s for white dwarfs).
    teff, e_teff : float
        Effective temperature and its uncertainty (K).
    logg, e_logg : float
        Surface gravity and its uncertainty (dex of cm/s2).
    initial_v_rad, initial_teff, initial_logg : float
        The point of the search (km/s, K, dex) from which the refinement started.
    rchi2 : float
        Reduced chi-squared of the best model in the line windows.
    snr : float
        Median signal-to-noise ratio per pixel in the line windows.
    low_snr : bool
        `snr` is below the limit.
    no_lines : bool
        The templates' lines are not in the spectrum, or explain too little of it.
    not_converged : bool
        The refinement found no minimum, or one without curvature.
    v_rad_at_edge : bool
        The velocity is at an end of the range that was searched.
    template_at_edge : bool
        Temperature or gravity is at an edge of the template grid.
    too_few_pixels : bool
        Too few usable pixels around the lines, or no line with pixels on both sides.
    """

    v_rad: float = np.nan
    e_v_rad: float = np.nan
    teff: float = np.nan
    e_teff: float = np.nan
    logg: float = np.nan
    e_logg: float = np.nan
    initial_v_rad: float = np.nan
    initial_teff: float = np.nan
    initial_logg: float = np.nan
    rchi2: float = np.nan
    snr: float = np.nan
    low_snr: bool = False
    no_lines: bool = False
    not_converged: bool = False
    v_rad_at_edge: bool = False
    template_at_edge: bool = False
    too_few_pixels: bool = False


class _Pixels(NamedTuple):
    """The usable pixels of the line windows, one after the other; each array of shape (n_pixels,)."""

    log_wavelength: Array
    """log10 of the vacuum wavelength (Angstrom)."""
    offset: Array
    """Position in the window, -1 to 1."""
    flux: Array
    """Flux in units of its typical value."""
    weight: Array
    """Inverse of the noise of `flux`."""
    window: Array
    """Number of the window."""

    def keep(self, good: NDArray[np.bool_]) -> _Pixels:
        """Give the pixels of a mask of shape ``(n_pixels,)``."""
        return _Pixels._make(column[good] for column in self)


class _Point(NamedTuple):
    """A point in parameter space: velocity (km/s), log10 of temperature (K), gravity (dex)."""

    v_rad: float
    log_teff: float
    logg: float


class _Limits(NamedTuple):
    """How far, and how long, to look."""

    velocity: float
    evaluations: int


class _Search(NamedTuple):
    """Templates of the search, sampled at `SEARCH_STEP`."""

    log_teff: Array
    logg: Array
    start: float
    flux: Array
    """Shape (n_log_teff, n_logg, n_points)."""


class _Solution(NamedTuple):
    """Where the refinement ended."""

    point: _Point
    chi2: float
    covariance: Array
    converged: bool


def fit_spectrum(
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    grid: TemplateGrid | None = None,
    *,
    min_snr: float = MIN_SNR,
    min_pixels: int = 100,
    max_velocity: float = MAX_VELOCITY,
    max_evaluations: int = 60,
) -> CorvFit:
    """Measure radial velocity, effective temperature and gravity of a DA white dwarf.

    Parameters
    ----------
    wavelength : array_like of float, shape (n_pixels,)
        Vacuum wavelengths (Angstrom) in any order.
    flux : array_like of float, shape (n_pixels,)
        Flux per unit wavelength, any unit.
    ivar : array_like of float, shape (n_pixels,)
        Inverse variance of `flux`; zero, negative or not finite where a pixel is not to be used.
    grid : TemplateGrid, optional
        The templates; the built-in family by default.
    min_snr : float
        Median S/N per pixel below which `low_snr` is set.
    min_pixels : int
        Usable pixels in the line windows below which nothing is measured and `too_few_pixels` is set.
    max_velocity : float
        Largest velocity of the search in either direction (km/s).
    max_evaluations : int
        Evaluations of the model in a refinement after which it counts as not converged.

    Returns
    -------
    CorvFit
        The measurements, with NaN for what could not be measured, and flags that say why.

    Raises
    ------
    SpectrumError
        If the three arrays differ in shape or have more than one dimension.
    TemplateError
        If the templates don't cover any Balmer line.

    Notes
    -----
    The method follows Chandra et al. (2020, MNRAS 497, 2688) and Corv (Arseneau et al. 2024):
    chi-squared on a grid of templates and velocities, then a least-squares fit from the best points. For each
    trial the model in a window is the template times a straight line, whose two coefficients are eliminated
    exactly (variable projection). The errors are the inverse of the curvature of chi-squared at its minimum,
    continuum included, and are not rescaled.
    """
    grid = balmer_family() if grid is None else grid
    limits = _Limits(max_velocity, max_evaluations)
    columns = _as_columns(wavelength, flux, ivar)
    with np.errstate(all="ignore"):
        pixels = _select_pixels(columns, grid, max_velocity)
        fit = CorvFit(snr=_signal_to_noise(pixels))
        fit = replace(fit, low_snr=fit.snr < min_snr)
        if pixels.flux.size < min_pixels:
            return replace(fit, too_few_pixels=True)
        if not fit.snr > 0:
            return replace(fit, no_lines=True)
        return _measure(pixels, grid, fit, limits)


def doppler_shift(v_rad: float) -> float:
    """Give the relativistic Doppler shift of a radial motion.

    Parameters
    ----------
    v_rad : float
        Velocity (km/s), positive when receding.

    Returns
    -------
    float
        log10 of observed over rest wavelength (dex).
    """
    return float(np.arctanh(v_rad / SPEED_OF_LIGHT)) / _LN10


def _as_columns(*columns: ArrayLike) -> Sequence[Array]:
    """Check and convert what the caller gave; masked values become NaN."""
    arrays = [np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan) for column in columns]
    if arrays[0].ndim != 1 or any(array.shape != arrays[0].shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise SpectrumError(
            f"wavelength, flux and ivar have shapes {shapes}; give three arrays of one dimension and equal length"
        )
    return arrays


def _select_pixels(columns: Sequence[Array], grid: TemplateGrid, max_velocity: float) -> _Pixels:
    """Collect the usable pixels of all windows that templates and data cover."""
    wavelength, flux, ivar = columns
    good = np.isfinite(wavelength) & np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & (wavelength > 0)
    log_wavelength, flux, weight = np.log10(wavelength[good]), flux[good], np.sqrt(ivar[good])
    parts = []
    for number, limits in enumerate(_log_windows(grid, max_velocity)):
        first, centre, last = limits
        inside = (log_wavelength >= first) & (log_wavelength <= last)
        before = np.count_nonzero(inside & (log_wavelength < centre))
        after = np.count_nonzero(inside) - before
        if min(before, after) >= MIN_PIXELS_PER_WINDOW // 3 and before + after >= MIN_PIXELS_PER_WINDOW:
            here = log_wavelength[inside]
            offset = (2 * here - first - last) / (last - first)
            parts.append((here, offset, flux[inside], weight[inside], np.full(here.size, float(number))))
    if not parts:
        return _Pixels._make(np.empty((5, 0)))
    return _scaled(_Pixels._make(np.concatenate(column) for column in zip(*parts, strict=True)))


def _log_windows(grid: TemplateGrid, max_velocity: float) -> list[tuple[float, float, float]]:
    """Windows in log10 of wavelength for which the grid has templates at all velocities."""
    room = doppler_shift(max_velocity) + 4 * SEARCH_STEP
    windows = [(log10(first), log10(centre), log10(last)) for first, centre, last in LINE_WINDOWS.values()]
    usable = [w for w in windows if w[0] - room >= grid.start and w[2] + room <= grid.stop]
    if not usable:
        raise TemplateError(
            f"the templates cover {10**grid.start:.0f} to {10**grid.stop:.0f} Angstrom, which holds no "
            f"Balmer line with room for {max_velocity:g} km/s; use templates for 3900 to 6760 Angstrom"
        )
    return usable


def _scaled(pixels: _Pixels) -> _Pixels:
    """Bring the flux to order one, so that no unit can overflow."""
    scale = float(np.median(np.abs(pixels.flux)))
    if not 0 < scale < np.inf:
        return pixels
    scaled = pixels._replace(flux=pixels.flux / scale, weight=pixels.weight * scale)
    return scaled.keep(np.isfinite(scaled.flux) & np.isfinite(scaled.weight) & (scaled.weight > 0))


def _signal_to_noise(pixels: _Pixels) -> float:
    return float(np.median(pixels.flux * pixels.weight)) if pixels.flux.size else np.nan


def _measure(pixels: _Pixels, grid: TemplateGrid, fit: CorvFit, limits: _Limits) -> CorvFit:
    """Search, refine, judge."""
    chi2, velocities = _search_chi2(pixels, _search_templates(grid), limits.velocity)
    model = _LineModel(pixels, grid)
    starts = _starting_points(chi2, velocities, _search_templates(grid))
    if chi2.min() >= model.featureless_chi2():
        fit = replace(fit, no_lines=True, rchi2=float(chi2.min()) / model.degrees_of_freedom)
        return _with_initial(fit, starts[0])
    attempts = [(_refine(model, start, limits), start) for start in starts]
    best, start = min(attempts, key=lambda attempt: attempt[0].chi2)
    fit = _with_initial(fit, start)
    clean = model.without_outliers(best.point)
    if clean is not model:
        model, best = clean, _refine(clean, best.point, limits)
    return _judge(fit, model, best, limits.velocity)


def _with_initial(fit: CorvFit, start: _Point) -> CorvFit:
    return replace(
        fit,
        initial_v_rad=start.v_rad,
        initial_teff=10.0**start.log_teff,
        initial_logg=start.logg,
    )


def _judge(fit: CorvFit, model: _LineModel, solution: _Solution, max_velocity: float) -> CorvFit:
    """Turn a solution into values and flags."""
    fit = replace(fit, rchi2=solution.chi2 / model.degrees_of_freedom)
    if not _has_lines(model.featureless_chi2(), solution.chi2, model.degrees_of_freedom):
        return replace(fit, no_lines=True)
    errors = np.sqrt(np.diag(solution.covariance))
    if not solution.converged or not np.all(np.isfinite(errors)) or errors[0] > max_velocity:
        return replace(fit, not_converged=True)
    point, grid = solution.point, model.grid
    return replace(
        fit,
        v_rad=point.v_rad,
        e_v_rad=float(errors[0]),
        teff=10.0**point.log_teff,
        e_teff=float(errors[1]) * _LN10 * 10.0**point.log_teff,
        logg=point.logg,
        e_logg=float(errors[2]),
        v_rad_at_edge=_at_edge(point.v_rad, -max_velocity, max_velocity),
        template_at_edge=_at_edge(point.log_teff, *np.log10(grid.teff[[0, -1]]))
        or _at_edge(point.logg, *grid.logg[[0, -1]]),
    )


def _has_lines(featureless: float, chi2: float, freedom: int) -> bool:
    """Whether the lines are significant, and explain most of what a featureless continuum doesn't."""
    gain, excess = featureless - chi2, max(featureless - freedom, 1.0)
    return gain > MIN_LINE_SIGNIFICANCE * max(1.0, chi2 / freedom) and gain / excess > MIN_LINE_SHARE


def _at_edge(value: float, low: float, high: float) -> bool:
    return bool(min(value - low, high - value) < _EDGE * (high - low))


@lru_cache(maxsize=2)
def _search_templates(grid: TemplateGrid) -> _Search:
    """Sample the grid for the search: evenly in log Teff and log g, edges included."""
    log_teff = np.linspace(log10(grid.teff[0]), log10(grid.teff[-1]), SEARCH_SHAPE[0])
    logg = np.linspace(grid.logg[0], grid.logg[-1], SEARCH_SHAPE[1])
    start, stop = grid.start + SEARCH_STEP, grid.stop - SEARCH_STEP
    axis = start + np.arange(int((stop - start) / SEARCH_STEP) + 1) * SEARCH_STEP
    flux = np.array([[grid.evaluate(axis, t, g).flux for g in logg] for t in log_teff])
    return _Search(log_teff, logg, start, flux)


def _search_chi2(pixels: _Pixels, search: _Search, max_velocity: float) -> tuple[Array, Array]:
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


def _window_gain(pixels: _Pixels, search: _Search, reach: int) -> Array:
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


def _starting_points(chi2: Array, velocities: Array, search: _Search) -> list[_Point]:
    """Take the best points: up to two, as Balmer lines are alike on both sides of their maximum."""
    by_teff = chi2.reshape(chi2.shape[0], -1).min(axis=1)
    padded = np.pad(by_teff, 1, constant_values=np.inf)
    minima = np.flatnonzero((by_teff <= padded[:-2]) & (by_teff < padded[2:]))
    best = sorted(minima, key=lambda index: by_teff[index])[:2] or [int(np.argmin(by_teff))]
    points = []
    for index in best:
        at_logg, at_velocity = np.unravel_index(np.argmin(chi2[index]), chi2.shape[1:])
        points.append(
            _Point(float(velocities[at_velocity]), float(search.log_teff[index]), float(search.logg[at_logg]))
        )
    return points


class _LineModel:
    """Templates times local continua against the pixels: residuals and their derivatives.

    Parameters
    ----------
    pixels : _Pixels
        The data.
    grid : TemplateGrid
        The templates.
    """

    def __init__(self, pixels: _Pixels, grid: TemplateGrid) -> None:
        self.pixels, self.grid = pixels, grid
        self._data = pixels.flux * pixels.weight
        numbers, position = np.unique(pixels.window, return_inverse=True)
        own = (position[:, None] == np.arange(numbers.size)) * pixels.weight[:, None]
        self._continuum = np.hstack([own, own * pixels.offset[:, None]])
        self._memory: tuple[bytes, Array, Array] | None = None

    @property
    def degrees_of_freedom(self) -> int:
        """Number of pixels less the number of parameters, continua included."""
        return max(1, self._data.size - self._continuum.shape[1] - len(_Point._fields))

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

    def without_outliers(self, point: _Point) -> _LineModel:
        """Drop pixels that are far from the best model (cosmic rays); the same model when there are none."""
        residuals = self.residuals(np.array(point))
        limit = CLIP * max(1.0, np.sqrt(np.mean(residuals**2)))
        good = np.abs(residuals) < limit
        if np.all(good) or np.count_nonzero(good) < 0.9 * good.size:
            return self
        return _LineModel(self.pixels.keep(good), self.grid)

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


def _refine(model: _LineModel, start: _Point, limits: _Limits) -> _Solution:
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
    return _Solution(_Point(*map(float, result.x)), 2 * float(result.cost), _inverse(jacobian), result.status > 0)


def _inverse(jacobian: Array) -> Array:
    """Covariance matrix from the curvature; infinite when the data don't fix the parameters."""
    scale = np.sqrt(np.sum(jacobian**2, axis=0))
    curvature = (jacobian / scale).T @ (jacobian / scale)
    if not np.all(np.isfinite(curvature)) or np.linalg.cond(curvature) > 1e12:
        return np.full((3, 3), np.inf)
    return np.linalg.inv(curvature) / np.outer(scale, scale)
