"""The pixels that a fit uses: those of the line windows, checked, sorted by line, in units of their typical flux."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError

from .grid import LOG_STEP, TemplateError, TemplateGrid
from .splines import Array

Windows = Mapping[str, tuple[float, float, float]]
"""First wavelength, line centre and last wavelength (vacuum Angstrom) of the window of each line, by its name."""

SPEED_OF_LIGHT = 299_792.458
"""Speed of light in vacuum (km/s)."""

LINE_WINDOWS: Windows = {
    "H-alpha": (6414.0, 6564.6, 6714.0),
    "H-beta": (4722.0, 4862.7, 5002.0),
    "H-gamma": (4220.0, 4341.7, 4460.0),
    "H-delta": (4030.0, 4102.9, 4180.0),
    "H-epsilon": (3945.0, 3971.2, 4025.0),
}
"""First wavelength, line centre and last wavelength (vacuum Angstrom) of the window of each line."""

MIN_PIXELS_PER_WINDOW = 25
SEARCH_STEP = 2 * LOG_STEP

_LN10 = float(np.log(10.0))


class SpectrumError(AstraError, ValueError):
    """Arrays that don't make up a spectrum."""


class Pixels(NamedTuple):
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
    """Number of the window, in the order in which windows were given."""

    def keep(self, good: NDArray[np.bool_]) -> Pixels:
        """Give the pixels of a mask of shape ``(n_pixels,)``."""
        return Pixels._make(column[good] for column in self)


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


def as_columns(*columns: ArrayLike) -> Sequence[Array]:
    """Check and convert what the caller gave; masked values become NaN."""
    arrays = [np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan) for column in columns]
    if arrays[0].ndim != 1 or any(array.shape != arrays[0].shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise SpectrumError(
            f"wavelength, flux and ivar have shapes {shapes}; give three arrays of one dimension and equal length"
        )
    return arrays


def select_pixels(columns: Sequence[Array], grid: TemplateGrid, windows: Windows, max_velocity: float) -> Pixels:
    """Collect the usable pixels of all windows that templates and data cover, by window and wavelength."""
    wavelength, flux, ivar = columns
    good = np.isfinite(wavelength) & np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & (wavelength > 0)
    log_wavelength, flux, weight = np.log10(wavelength[good]), flux[good], np.sqrt(ivar[good])
    if np.any(np.diff(log_wavelength) < 0):
        order = np.argsort(log_wavelength, kind="stable")
        log_wavelength, flux, weight = log_wavelength[order], flux[order], weight[order]
    parts = []
    usable = _usable(windows, grid, max_velocity)
    for number, limits in enumerate(windows.values()):
        first, centre, last = map(log10, limits)
        if not usable[number]:
            continue
        inside = (log_wavelength >= first) & (log_wavelength <= last)
        before = np.count_nonzero(inside & (log_wavelength < centre))
        after = np.count_nonzero(inside) - before
        if min(before, after) >= MIN_PIXELS_PER_WINDOW // 3 and before + after >= MIN_PIXELS_PER_WINDOW:
            here = log_wavelength[inside]
            offset = (2 * here - first - last) / (last - first)
            parts.append((here, offset, flux[inside], weight[inside], np.full(here.size, float(number))))
    if not parts:
        return Pixels._make(np.empty((5, 0)))
    return _scaled(Pixels._make(np.concatenate(column) for column in zip(*parts, strict=True)))


def _usable(windows: Windows, grid: TemplateGrid, max_velocity: float) -> list[bool]:
    """Tell for which windows the grid has templates at all velocities."""
    room = doppler_shift(max_velocity) + 4 * SEARCH_STEP
    usable = [
        log10(first) - room >= grid.start and log10(last) + room <= grid.stop for first, _, last in windows.values()
    ]
    if not any(usable):
        raise TemplateError(
            f"the templates cover {10**grid.start:.0f} to {10**grid.stop:.0f} Angstrom, which holds no "
            f"Balmer line with room for {max_velocity:g} km/s; use templates for 3900 to 6760 Angstrom"
        )
    return usable


def _scaled(pixels: Pixels) -> Pixels:
    """Bring the flux to order one, so that no unit can overflow."""
    scale = float(np.median(np.abs(pixels.flux)))
    if not 0 < scale < np.inf:
        return pixels
    scaled = pixels._replace(flux=pixels.flux / scale, weight=pixels.weight * scale)
    return scaled.keep(np.isfinite(scaled.flux) & np.isfinite(scaled.weight) & (scaled.weight > 0))


def signal_to_noise(pixels: Pixels) -> float:
    """Give the median signal-to-noise ratio per pixel, NaN without pixels."""
    return float(np.median(pixels.flux * pixels.weight)) if pixels.flux.size else np.nan
