"""Step 6: what the best coarse fit leaves over, smoothed; the spectrum is divided by it before the next fit."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_orchestration.pipelines.ferre.grid import Grid

from .configuration import ContinuumRules

Array = NDArray[np.float64]


def residual_continuum(
    grid: Grid, rectified_flux: ArrayLike, rectified_model: ArrayLike, rules: ContinuumRules
) -> Array:
    """Smooth the ratio of a spectrum and its best coarse model.

    Parameters
    ----------
    grid : Grid
        The grid, whose chips are smoothed each by itself.
    rectified_flux, rectified_model : array_like of float, shape (n_pixels,)
        As FERRE wrote them: both divided by their continua.
    rules : ContinuumRules
        Which pixels don't count, and the width of the filter.

    Returns
    -------
    array of float, shape (n_pixels,)
        Near 1; 1 in a chip without a usable pixel.
    """
    flux, model = np.asarray(rectified_flux, dtype=np.float64), np.asarray(rectified_model, dtype=np.float64)
    found = np.ones(grid.n_pixels)
    for chip in grid.chip_slices:
        found[chip] = _of_chip(flux[chip], model[chip], rules)
    return found


def _of_chip(flux: Array, model: Array, rules: ContinuumRules) -> Array:
    from scipy.ndimage import median_filter

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = flux / model
    good = np.isfinite(ratio) & (flux >= rules.least_flux)
    if good.any():
        good &= flux <= np.median(flux[good]) + rules.bright_sigmas * np.std(flux[good])
    good &= (ratio >= rules.least_ratio) & (ratio <= rules.most_ratio)
    if not good.any():
        return np.ones(len(flux))
    places = np.arange(len(flux))
    filled = np.interp(places, places[good], ratio[good])
    return median_filter(filled, size=rules.window, mode="nearest")
