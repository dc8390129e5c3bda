"""Signs that a model doesn't describe the lines.

The reduced chi-squared alone can't say it: at high S/N any model is off by more than the noise, at low S/N a filled
core is hidden. Here six signs are looked at, each against what the templates themselves may be off by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .lines import Comparison
from .pixels import SPEED_OF_LIGHT, Pixels
from .result import LineFacts
from .solutions import CORRELATED
from .splines import Array

MISFIT = 0.008
"""Share of the flux by which a good fit may miss in all lines together, besides the error of the templates."""

LINE_MISFIT = 0.014
"""The same for a single line."""

MISFIT_SIGNIFICANCE = 5.0
"""Standard deviations by which chi-squared has to be above its expectation."""

LINE_VELOCITIES = 25.0
"""Chi-squared of the velocities of single lines (up to four degrees of freedom)."""

CORE = 4.6
"""Excess of four or eight neighbouring pixels near the centre of a line, in units of its error."""

CORE_ERROR = 0.02
"""Error of the templates in the cores, as a share of the flux."""

BROADENING = 150.0
"""Dispersion (km/s) of velocities in the light of one star that a resolution may be mistaken for."""

BROADENING_SIGNIFICANCE = 5.0
"""Standard deviations by which that dispersion has to be there."""

CLIPPED = 0.06
"""Share of a line's pixels that may be outliers, besides the share in all lines."""

_CORE_REACH = 600.0
_CORE_PIXELS = (4, 8)
_MOST_SIGMA = 3.5
_FEW_PIXELS = 4


def line_facts(
    names: list[str],
    centres: list[float],
    pixels: Pixels,
    found: Comparison,
    good: NDArray[np.bool_],
    v_rad: float,
    error: float,
) -> tuple[LineFacts, ...]:
    """Say what each line says by itself.

    Parameters
    ----------
    names, centres : list
        Name and centre (vacuum Angstrom) of all windows.
    pixels, found, good
        All pixels, the model's comparison with them, and which were used.
    v_rad : float
        Velocity of all lines (km/s).
    error : float
        Error of the templates as a share of the flux.

    Returns
    -------
    tuple of LineFacts
        One for each window with pixels.
    """
    facts = []
    for number in np.unique(pixels.window).astype(int):
        here = pixels.window == number
        used = here & good
        residuals, slopes, model = found.residuals[used], found.slopes[0, used], found.model[used]
        strength = float(slopes @ slopes)
        excess = float(np.mean(residuals**2)) - 1 if residuals.size else np.nan
        snr = float(np.median(model)) if residuals.size else np.nan
        centre = np.log10(centres[number]) + np.log10(1 + v_rad / SPEED_OF_LIGHT)
        facts.append(
            LineFacts(
                name=names[number],
                v_rad=v_rad - float(slopes @ residuals) / strength if strength > 0 else np.nan,
                e_v_rad=strength**-0.5 if strength > 0 else np.nan,
                snr=snr,
                misfit=float(np.sqrt(max(excess, 0.0))) / snr if snr > 0 else np.nan,
                core=_core(pixels.log_wavelength[here] - centre, found.residuals[here], found.model[here], error),
                n_pixels=int(np.count_nonzero(here)),
                n_clipped=int(np.count_nonzero(here & ~good)),
            )
        )
    return tuple(facts)


def _core(offset: Array, residuals: Array, model: Array, error: float) -> float:
    """Largest mean excess of neighbouring pixels near a centre; a single wild pixel counts as 3.5 sigma at most."""
    near = np.abs(offset) * np.log(10) * SPEED_OF_LIGHT < _CORE_REACH
    allowed = np.sqrt(1 + ((CORE_ERROR + error) * model[near]) ** 2)
    scaled = np.clip(residuals[near] / allowed, -_MOST_SIGMA, _MOST_SIGMA)
    widths = [width for width in _CORE_PIXELS if width <= scaled.size]
    sums = [np.abs(sliding_window_view(scaled, width).sum(axis=-1)).max() / np.sqrt(width) for width in widths]
    return float(max(sums, default=0.0))


def line_velocity_chi2(lines: Sequence[LineFacts], error: float, snr: float) -> float:
    """Chi-squared of the lines' own velocities around their mean.

    Templates that are off by a share of the flux, alike over some pixels, shift lines by more than the noise does.
    """
    known = [line for line in lines if np.isfinite(line.v_rad)]
    if len(known) < 2:
        return 0.0
    v_rad = np.array([line.v_rad for line in known])
    weight = np.array([line.e_v_rad for line in known]) ** -2.0 / _inflation(error, snr) ** 2
    mean = float(np.sum(weight * v_rad) / np.sum(weight))
    return float(np.sum(weight * (v_rad - mean) ** 2))


def broadening(pixels: Pixels, found: Comparison, good: NDArray[np.bool_]) -> tuple[float, float]:
    """Find out whether light of one temperature and gravity moves at more than one velocity.

    Returns
    -------
    variance, error : float
        Variance of the velocities in the light ((km/s)^2) and its formal error; 0 and infinity without lines.

    Notes
    -----
    To second order, a spread of velocities adds half its variance times the second derivative of the model. What
    temperature and gravity can imitate of that is taken out. Two stars at +-300 km/s and split lines have it.
    """
    per_km = SPEED_OF_LIGHT * np.log(10)
    curved = np.zeros(pixels.flux.size)
    for number in np.unique(pixels.window):
        here = pixels.window == number
        if np.count_nonzero(here) > _FEW_PIXELS:
            axis = pixels.log_wavelength[here] * per_km
            flux = found.model[here] / pixels.weight[here]
            curved[here] = np.gradient(np.gradient(flux, axis), axis) * pixels.weight[here] / 2
    curved, slopes, residuals = curved[good], found.slopes[:, good], found.residuals[good]
    usable = np.isfinite(curved)
    curved, slopes, residuals = curved[usable], slopes[:, usable], residuals[usable]
    curved = curved - slopes.T @ np.linalg.lstsq(slopes.T, curved, rcond=None)[0]
    strength = float(curved @ curved)
    return (float(curved @ residuals) / strength, strength**-0.5) if strength > 0 else (0.0, np.inf)


def signs(
    lines: Sequence[LineFacts],
    spread: tuple[float, float],
    rchi2: float,
    freedom: int,
    snr: float,
    error: float,
) -> dict[str, bool]:
    """Look at all signs.

    Parameters
    ----------
    lines : sequence of LineFacts
        What each line says.
    spread : tuple of float
        What `broadening` found.
    rchi2 : float
        Reduced chi-squared of all lines.
    freedom : int
        Its degrees of freedom.
    snr : float
        Median S/N per pixel.
    error : float
        Error of the templates as a share of the flux.

    Returns
    -------
    dict of str to bool
        Whether a sign is there, by its name.
    """
    clipped, n_pixels = sum(line.n_clipped for line in lines), max(1, sum(line.n_pixels for line in lines))
    return {
        "misfit": _beyond(np.sqrt(max(rchi2 - 1, 0)) / snr, freedom, snr, np.hypot(MISFIT, 2 * error)),
        "a line's misfit": any(
            _beyond(line.misfit, line.n_pixels - line.n_clipped, line.snr, np.hypot(LINE_MISFIT, 3 * error))
            for line in lines
        ),
        "line velocities": line_velocity_chi2(lines, error, snr) > LINE_VELOCITIES,
        "broadening": spread[0] > max(BROADENING**2, BROADENING_SIGNIFICANCE * spread[1] * _inflation(error, snr)),
        "core": any(line.core > CORE for line in lines),
        "clipped": any(_more_clipped(line, clipped, n_pixels) for line in lines),
    }


def featureless_misfit(rchi2: float, freedom: int, snr: float) -> bool:
    """Tell whether there are features in a spectrum that shows no lines."""
    return _beyond(float(np.sqrt(max(rchi2 - 1, 0))) / snr, freedom, snr, LINE_MISFIT)


def _inflation(error: float, snr: float) -> float:
    """Factor on formal errors when templates are off by a share of the flux, alike over some pixels."""
    return float(np.sqrt(1 + CORRELATED * (error * snr) ** 2))


def _beyond(misfit: float, freedom: int, snr: float, limit: float) -> bool:
    """Whether a misfit is above a limit, and chi-squared above its expectation (Wilson and Hilferty 1931)."""
    variance = 2 / (9 * max(freedom, 1))
    sigmas = (np.cbrt(1 + (misfit * snr) ** 2) - 1 + variance) / np.sqrt(variance)
    return bool(sigmas > MISFIT_SIGNIFICANCE and misfit > limit)


def _more_clipped(line: LineFacts, clipped: int, n_pixels: int) -> bool:
    """Whether more pixels of a line are outliers than the other lines' share lets expect."""
    elsewhere = (clipped - line.n_clipped) / max(1, n_pixels - line.n_pixels)
    expected = elsewhere * line.n_pixels
    return line.n_clipped > max(CLIPPED * line.n_pixels + expected, expected + 4 * np.sqrt(expected + 1))
