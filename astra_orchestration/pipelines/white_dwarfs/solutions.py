"""Two solutions: Balmer lines of a hotter and a cooler star are alike around their maximum, near 13,000 K.

The other solution is always looked for; when the lines can't tell the two apart, brightness and distance may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .lines import Limits, LineModel, Point, Solution, refine

MAXIMUM = 13_000.0
"""Temperature of the strongest Balmer lines (K)."""

ALIKE = 9.0
"""Difference of chi-squared below which two solutions can't be told apart."""

APART = 0.015
"""Least difference of two solutions in log10 of the temperature."""

PHYSICS_ERROR = 0.01
"""By how much the models' lines are off near their maximum, as a share of the flux."""

CORRELATED = 8.0
"""Over how many pixels they are off alike."""

RANGE = (9_000.0, 20_000.0)
"""Temperatures (K) at which there may be a solution on the other side."""

_MOST = 25.0
_ROUGHLY = 10
_OTHER_MINIMUM = 0.06


@dataclass(frozen=True)
class Photometry:
    """What is known of a star besides its spectrum; NaN where it isn't.

    Parameters
    ----------
    teff, e_teff : float
        Effective temperature from photometry and its error (K).
    g_mag : float
        Gaia's G magnitude.
    parallax, e_parallax : float
        Parallax and its error (mas).
    """

    teff: float = np.nan
    e_teff: float = np.nan
    g_mag: float = np.nan
    parallax: float = np.nan
    e_parallax: float = np.nan


class Choice(NamedTuple):
    """The better solution, the other one where there is one, and whether they can be told apart."""

    best: Solution
    other: Solution | None
    alike: bool


def find_other(model: LineModel, best: Solution, starts: list[Point], limits: Limits) -> Solution | None:
    """Find the second best solution; None when there is none, or one so bad that nothing could make it the better one.

    Parameters
    ----------
    model : LineModel
        The model of the pixels in use.
    best : Solution
        The best solution.
    starts : list of Point
        Minima of the search. Without one apart from `best`, the temperature is mirrored at the Balmer maximum.
    limits : Limits
        How far, and how long, to look.
    """
    teff = 10.0**best.point.log_teff
    starts = [start for start in starts if abs(start.log_teff - best.point.log_teff) > _OTHER_MINIMUM]
    if not starts and RANGE[0] < teff < RANGE[1]:
        away = max(abs(np.log10(teff / MAXIMUM)), 0.05) * (-1 if teff > MAXIMUM else 1)
        starts = [best.point._replace(log_teff=np.log10(MAXIMUM) + away)]
    scale = _scale(best.chi2 / model.degrees_of_freedom, model.snr)
    hopeless = best.chi2 + (2 * _MOST + ALIKE) * scale
    roughly = limits._replace(evaluations=min(limits.evaluations, _ROUGHLY), enough=0.3, hopeless=hopeless)
    others = []
    for start in starts:
        found = refine(model, start, roughly)
        if not found.converged and found.chi2 < hopeless:
            found = refine(model, found.point, limits)
        if found.chi2 < hopeless and distinct(found, best):
            others.append(found)
    return min(others, key=lambda other: other.chi2, default=None)


def distinct(solution: Solution, best: Solution) -> bool:
    """Tell whether a solution is another one than the best."""
    return abs(solution.point.log_teff - best.point.log_teff) > APART


def choose(best: Solution, other: Solution | None, rchi2: float, snr: float, photometry: Photometry | None) -> Choice:
    """Compare two solutions by their lines and, where it is known, by photometry.

    Parameters
    ----------
    best, other : Solution
        The one with the lower chi-squared, and the other.
    rchi2, snr : float
        Reduced chi-squared of the best one, and S/N per pixel.
    photometry : Photometry, optional
        What else is known of the star.

    Returns
    -------
    Choice
        The one that is better in all.
    """
    if other is None:
        return Choice(best, None, alike=False)
    worse = (other.chi2 - best.chi2) / _scale(rchi2, snr)
    if photometry is not None:
        worse += photometric_chi2(other.point, photometry) - photometric_chi2(best.point, photometry)
    if worse < 0:
        best, other = other, best
    return Choice(best, other, abs(worse) < ALIKE)


def _scale(rchi2: float, snr: float) -> float:
    """Give the factor by which the errors of the models, from which both solutions suffer, raise the noise."""
    return max(1.0, rchi2) * (1 + CORRELATED * (PHYSICS_ERROR * snr) ** 2)


def photometric_chi2(point: Point, photometry: Photometry) -> float:
    """Chi-squared of a solution's temperature and brightness, at most 25 for each."""
    teff, total = 10.0**point.log_teff, 0.0
    if np.isfinite(photometry.teff) and photometry.teff > 0:
        error = np.hypot(photometry.e_teff if photometry.e_teff > 0 else 0.1 * teff, 0.05 * teff)
        total += min(((photometry.teff - teff) / error) ** 2, _MOST)
    if np.isfinite(photometry.g_mag) and photometry.parallax > 5 * photometry.e_parallax > 0:
        absolute = photometry.g_mag + 5 * np.log10(photometry.parallax) - 10
        error = np.hypot(2.17 * photometry.e_parallax / photometry.parallax, 0.25)
        total += min(((absolute - absolute_g(teff, point.logg)) / error) ** 2, _MOST)
    return total


def absolute_g(teff: float, logg: float) -> float:
    """Give the absolute G magnitude of a white dwarf.

    Parameters
    ----------
    teff : float
        Effective temperature (K).
    logg : float
        Surface gravity (dex of cm/s2).

    Returns
    -------
    float
        Magnitude, good to 0.2: a black body in the G band, at the radius that a degenerate star of that gravity has
        (Nauenberg 1972, ApJ 175, 417).
    """
    masses = np.linspace(0.1, 1.38, 129)
    radii = 0.01125 * np.sqrt((masses / 1.454) ** (-2 / 3) - (masses / 1.454) ** (2 / 3))
    radius = float(np.interp(logg, np.log10(27_400 * masses / radii**2), radii))
    wavelength = np.linspace(3500.0, 9000.0, 56)
    passband = np.interp(wavelength, *_PASSBAND)
    surface = np.pi * 1.191043e27 / wavelength**5 / np.expm1(1.438777e8 / (wavelength * teff))
    flux = np.sum(surface * passband * wavelength) / np.sum(passband * wavelength)
    dilution = (radius * 2.25461e-9) ** 2  # solar radii at 10 pc
    return float(-2.5 * np.log10(flux * dilution / 2.50e-9))


_PASSBAND = ([3500.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0, 9000.0], [0.1, 0.45, 0.6, 0.7, 0.68, 0.55, 0.35])
