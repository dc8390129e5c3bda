"""Pixels that no model of a star can describe: cosmic rays, and what the sky subtraction left.

Scales are medians of absolute deviations, window by window, so that the outliers don't raise their own limit.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .lines import Limits, LineModel, Point, Solution, refine
from .pixels import Pixels
from .splines import Array

CLIP = 5.0
"""Deviation, in units of noise and of the window's own scatter, beyond which a pixel is left out."""

ROUNDS = 5
MOST = 0.3
"""Largest share of pixels that may be left out: beyond it the model is wrong, not the pixels."""

_AROUND = 15
_NARROW_EMISSION, _NARROW_ABSORPTION = 0.3, 0.6


def without_spikes(pixels: Pixels) -> NDArray[np.bool_]:
    """Find the pixels that stand out of their 15 neighbours, before anything is known about the star.

    Returns
    -------
    ndarray of bool, shape (n_pixels,)
        True for pixels to keep. A core of a line is kept: it may differ from its surroundings by 30 % upwards and
        60 % downwards, besides the noise.
    """
    good = np.ones(pixels.flux.size, dtype=bool)
    for number in np.unique(pixels.window):
        here = pixels.window == number
        flux, weight = pixels.flux[here], pixels.weight[here]
        half = _AROUND // 2
        around = np.median(sliding_window_view(np.pad(flux, half, mode="reflect"), _AROUND), axis=-1)
        deviation = (flux - around) * weight
        allowed = (CLIP + 1) * scale_of(deviation)
        room = np.abs(around) * weight
        good[here] = (deviation < allowed + _NARROW_EMISSION * room) & (
            deviation > -allowed - _NARROW_ABSORPTION * room
        )
    return good


def without_outliers(
    model: LineModel, solution: Solution, used: NDArray[np.bool_], limits: Limits
) -> tuple[NDArray[np.bool_], Solution]:
    """Leave out pixels far from the best model and fit again, until the same pixels are left out twice.

    Parameters
    ----------
    model : LineModel
        The model of all pixels.
    solution : Solution
        Where to start.
    used : ndarray of bool, shape (n_pixels,)
        The pixels that `solution` was fitted to.
    limits : Limits
        How far, and how long, to look.

    Returns
    -------
    good : ndarray of bool, shape (n_pixels,)
        The pixels in use.
    solution : Solution
        The fit to them.
    """
    for _ in range(ROUNDS):
        good = _near(model.compare(solution.point, used).residuals, model.pixels.window)
        if np.count_nonzero(good) < (1 - MOST) * good.size or np.array_equal(good, used):
            break
        used, solution = good, refine(model.keep(good), solution.point, limits)
    return used, solution


def pixels_near(model: LineModel, point: Point) -> NDArray[np.bool_]:
    """Find the pixels that a fit which ended at a point has used.

    Returns
    -------
    ndarray of bool, shape (n_pixels,)
        False for outliers.
    """
    good = without_spikes(model.pixels)
    for _ in range(ROUNDS):
        before, good = good, _near(model.compare(point, good).residuals, model.pixels.window)
        if np.array_equal(before, good):
            break
    return good


def _near(residuals: Array, window: Array) -> NDArray[np.bool_]:
    scales = np.ones(residuals.size)
    for number in np.unique(window):
        here = window == number
        scales[here] = scale_of(residuals[here])
    return np.abs(residuals) < CLIP * scales


def scale_of(residuals: Array) -> float:
    """Give the robust scatter of residuals, at least that of the noise."""
    return max(1.0, 1.4826 * float(np.median(np.abs(residuals - np.median(residuals)))))
