"""Fit of one spectrum of a DA white dwarf: radial velocity, temperature and gravity from its Balmer lines.

The idea: templates are shifted and interpolated, data are never resampled or divided by anything, so that the
noise of the pixels stays independent; the local continuum of each line is solved for linearly, together with
every trial of velocity and template, so that its uncertainty is part of the errors that come out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from .family import balmer_family
from .grid import TemplateGrid
from .lines import Limits, LineModel, Point, Solution, refine
from .pixels import LINE_WINDOWS, Pixels, SpectrumError, Windows, as_columns, select_pixels, signal_to_noise
from .result import BalmerFit
from .search import search_chi2, search_templates, starting_points

__all__ = ["LINE_WINDOWS", "BalmerFit", "SpectrumError", "fit_spectrum"]

MIN_SNR = 3.0
"""Median signal-to-noise ratio per pixel in the windows below which a result gets the flag for low S/N."""

MAX_VELOCITY = 1500.0
"""Largest velocity of the search in either direction (km/s)."""

MIN_LINE_SIGNIFICANCE = 30.0
"""Least improvement of chi-squared by the lines over a featureless continuum."""

MIN_LINE_SHARE = 0.5
"""Least share that the lines explain of what a featureless continuum leaves beyond the noise."""

_EDGE = 2e-3
_LN10 = float(np.log(10.0))


def fit_spectrum(
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    grid: TemplateGrid | None = None,
    *,
    windows: Windows = LINE_WINDOWS,
    min_snr: float = MIN_SNR,
    min_pixels: int = 100,
    max_velocity: float = MAX_VELOCITY,
    max_evaluations: int = 60,
) -> BalmerFit:
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
    windows : mapping of str to tuple of float
        First wavelength, line centre and last wavelength (vacuum Angstrom) of the window of each line, by its name.
        Windows must not overlap.
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
    BalmerFit
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
    limits = Limits(max_velocity, max_evaluations)
    columns = as_columns(wavelength, flux, ivar)
    with np.errstate(all="ignore"):
        pixels = select_pixels(columns, grid, windows, max_velocity)
        fit = BalmerFit(snr=signal_to_noise(pixels))
        fit = replace(fit, low_snr=fit.snr < min_snr)
        if pixels.flux.size < min_pixels:
            return replace(fit, too_few_pixels=True)
        if not fit.snr > 0:
            return replace(fit, no_lines=True)
        return _measure(pixels, grid, fit, limits)


def _measure(pixels: Pixels, grid: TemplateGrid, fit: BalmerFit, limits: Limits) -> BalmerFit:
    """Search, refine, judge."""
    chi2, velocities = search_chi2(pixels, search_templates(grid), limits.velocity)
    model = LineModel(pixels, grid)
    starts = starting_points(chi2, velocities, search_templates(grid))
    if chi2.min() >= model.featureless_chi2():
        fit = replace(fit, no_lines=True, rchi2=float(chi2.min()) / model.degrees_of_freedom)
        return _with_initial(fit, starts[0])
    attempts = [(refine(model, start, limits), start) for start in starts]
    best, start = min(attempts, key=lambda attempt: attempt[0].chi2)
    fit = _with_initial(fit, start)
    clean = model.without_outliers(best.point)
    if clean is not model:
        model, best = clean, refine(clean, best.point, limits)
    return _judge(fit, model, best, limits.velocity)


def _with_initial(fit: BalmerFit, start: Point) -> BalmerFit:
    return replace(
        fit,
        initial_v_rad=start.v_rad,
        initial_teff=10.0**start.log_teff,
        initial_logg=start.logg,
    )


def _judge(fit: BalmerFit, model: LineModel, solution: Solution, max_velocity: float) -> BalmerFit:
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
