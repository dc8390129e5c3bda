"""Fit of one spectrum of a DA white dwarf: radial velocity, temperature and gravity from its Balmer lines.

The idea: templates are shifted and interpolated, data are never resampled or divided by anything, so that the
noise of the pixels stays independent; the local continuum of each line is solved for linearly, together with
every trial of velocity and template, so that its uncertainty is part of the errors that come out.
"""

from __future__ import annotations

from dataclasses import replace
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .family import balmer_family
from .grid import TemplateGrid
from .lines import Limits, LineModel, Point, Solution, refine
from .misfit import broadening, featureless_misfit, line_facts, signs
from .outliers import without_outliers, without_spikes
from .pixels import LINE_WINDOWS, Pixels, SpectrumError, Windows, as_columns, select_pixels, signal_to_noise
from .result import BalmerFit, LineFacts
from .search import search_chi2, search_templates, starting_points
from .solutions import Choice, Photometry, choose, find_other
from .splines import Array
from .systematics import floor_at, template_error

__all__ = ["LINE_WINDOWS", "BalmerFit", "LineFacts", "Photometry", "SpectrumError", "fit_spectrum"]

MIN_SNR = 3.0
"""Median signal-to-noise ratio per pixel in the windows below which a result gets the flag for low S/N."""

MAX_VELOCITY = 1500.0
"""Largest velocity of the search in either direction (km/s)."""

MIN_LINE_SIGNIFICANCE = 30.0
"""Least improvement of chi-squared by the lines over a featureless continuum."""

MIN_LINE_SHARE = 0.5
"""Least share that the lines explain of what a featureless continuum leaves beyond the noise."""

_EDGE = 2e-3
_EXPECTED = 3.0
_LN10 = float(np.log(10.0))


class _Task(NamedTuple):
    """What there is to fit."""

    pixels: Pixels
    grid: TemplateGrid
    windows: Windows
    limits: Limits
    photometry: Photometry | None


def fit_spectrum(
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    grid: TemplateGrid | None = None,
    *,
    windows: Windows = LINE_WINDOWS,
    photometry: Photometry | None = None,
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
    photometry : Photometry, optional
        What is known of the star besides its spectrum: it may decide between two solutions, and does nothing else.
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
        return _measure(_Task(pixels, grid, windows, limits, photometry), fit)


def _measure(task: _Task, fit: BalmerFit) -> BalmerFit:
    """Search, refine, judge."""
    whole, limits, search = LineModel(task.pixels, task.grid), task.limits, search_templates(task.grid)
    used = without_spikes(task.pixels)
    model = whole.keep(used)
    chi2, velocities = search_chi2(model.pixels, search, limits.velocity)
    starts = starting_points(chi2, velocities, search)
    if chi2.min() >= model.featureless_chi2():
        freedom = model.degrees_of_freedom
        wrong = featureless_misfit(model.featureless_chi2() / freedom, freedom, fit.snr)
        fit = replace(fit, no_lines=True, bad_fit=wrong, rchi2=float(chi2.min()) / freedom)
        return _with_initial(fit, starts[0])
    start, best = _best_start(model, starts, limits)
    good, best = without_outliers(whole, best, used, limits)
    model = whole.keep(good)
    other = find_other(model, best, starts, limits)
    if other is not None and other.chi2 < best.chi2:
        best, other = refine(model, other.point, limits), best
    choice = choose(best, other, best.chi2 / model.degrees_of_freedom, fit.snr, task.photometry)
    return _judge(task, _with_initial(fit, start), good, choice)


def _best_start(model: LineModel, starts: list[Point], limits: Limits) -> tuple[Point, Solution]:
    """Refine the best point of the search, and further ones until chi-squared is as it should be."""
    freedom = model.degrees_of_freedom
    tried: list[tuple[Point, Solution]] = []
    for start in starts:
        tried.append((start, refine(model, start, limits)))
        if tried[-1][1].converged and tried[-1][1].chi2 < freedom + _EXPECTED * (2 * freedom) ** 0.5:
            break
    return min(tried, key=lambda pair: pair[1].chi2)


def _with_initial(fit: BalmerFit, start: Point) -> BalmerFit:
    return replace(fit, initial_v_rad=start.v_rad, initial_teff=10.0**start.log_teff, initial_logg=start.logg)


def _judge(task: _Task, fit: BalmerFit, good: NDArray[np.bool_], choice: Choice) -> BalmerFit:
    """Turn a solution into values and flags."""
    whole, solution = LineModel(task.pixels, task.grid), choice.best
    model = whole.keep(good)
    freedom = model.degrees_of_freedom
    fit = _with_signs(task, replace(fit, rchi2=solution.chi2 / freedom), good, solution.point)
    if not _has_lines(model.featureless_chi2(), solution.chi2, freedom):
        return replace(fit, no_lines=True)
    errors = np.sqrt(np.diag(solution.covariance))
    if not solution.converged or not np.all(np.isfinite(errors)) or errors[0] > task.limits.velocity:
        return replace(fit, not_converged=True)
    fit = _with_values(fit, solution, errors, floor=task.grid is not balmer_family())
    fit = _with_other(fit, choice, freedom)
    return _with_edges(fit, solution.point, task)


def _with_signs(task: _Task, fit: BalmerFit, good: NDArray[np.bool_], point: Point) -> BalmerFit:
    """Say what each line says, and whether the model describes them."""
    error = template_error(task.grid, point.log_teff)
    everywhere = LineModel(task.pixels, task.grid).compare(point, good)
    centres = [centre for _, centre, _ in task.windows.values()]
    lines = line_facts(list(task.windows), centres, task.pixels, everywhere, good, point.v_rad, error)
    spread = broadening(task.pixels, everywhere, good)
    seen = signs(lines, spread, fit.rchi2, int(np.count_nonzero(good)), fit.snr, error)
    return replace(fit, lines=lines, bad_fit=any(seen.values()))


def _with_values(fit: BalmerFit, solution: Solution, errors: Array, *, floor: bool) -> BalmerFit:
    """Fill in the measurements, their formal errors, and their total ones."""
    v_rad, log_teff, logg = solution.point
    teff = 10.0**log_teff
    e_v_rad, e_teff, e_logg = float(errors[0]), float(errors[1]) * _LN10 * teff, float(errors[2])
    floors = floor_at(teff) if floor else (0.0, 0.0)
    return replace(
        fit,
        v_rad=v_rad,
        e_v_rad=e_v_rad,
        raw_e_v_rad=e_v_rad,
        teff=teff,
        e_teff=hypot(e_teff, floors[0]),
        raw_e_teff=e_teff,
        logg=logg,
        e_logg=hypot(e_logg, floors[1]),
        raw_e_logg=e_logg,
    )


def _with_other(fit: BalmerFit, choice: Choice, freedom: int) -> BalmerFit:
    if choice.other is None:
        return fit
    return replace(
        fit,
        other_teff=10.0**choice.other.point.log_teff,
        other_logg=choice.other.point.logg,
        other_rchi2=choice.other.chi2 / freedom,
        two_solutions=choice.alike,
    )


def _with_edges(fit: BalmerFit, point: Point, task: _Task) -> BalmerFit:
    limit, grid = task.limits.velocity, task.grid
    return replace(
        fit,
        v_rad_at_edge=_at_edge(point.v_rad, -limit, limit),
        template_at_edge=_at_edge(point.log_teff, *np.log10(grid.teff[[0, -1]]))
        or _at_edge(point.logg, *grid.logg[[0, -1]]),
    )


def _has_lines(featureless: float, chi2: float, freedom: int) -> bool:
    """Whether the lines are significant, and explain most of what a featureless continuum doesn't."""
    gain, excess = featureless - chi2, max(featureless - freedom, 1.0)
    return gain > MIN_LINE_SIGNIFICANCE * max(1.0, chi2 / freedom) and gain / excess > MIN_LINE_SHARE


def _at_edge(value: float, low: float, high: float) -> bool:
    return bool(min(value - low, high - value) < _EDGE * (high - low))
