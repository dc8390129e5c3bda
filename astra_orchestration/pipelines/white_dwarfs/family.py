"""A small analytic family of DA spectra, for the sample survey and for tests."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from .grid import FIT_RANGE, LOG_STEP, TemplateGrid
from .splines import Array

_BALMER_LIMIT = 3647.05

_HC_OVER_K = 1.438777e8

_REFERENCE_WAVELENGTH = 5500.0

_STRONGEST_TEFF = 12_500.0

_UPPER_LEVELS = np.arange(3, 13)

_LINE_CENTRES = _BALMER_LIMIT / (1.0 - 4.0 / _UPPER_LEVELS**2)

_LINE_DEPTHS = np.array([1.10, 1.20, 1.10, 0.95, 0.75, 0.55, 0.38, 0.26, 0.18, 0.12])

_LINE_WIDTHS = np.array([3.0, 4.2, 4.6, 4.4, 3.8, 3.0, 2.3, 1.7, 1.3, 1.0]) * 1e-3

_CORE_WIDTH = 6e-4

_CORE_SHARE = 0.25


@lru_cache(maxsize=1)
def balmer_family() -> TemplateGrid:
    """Give the built-in grid: `da_flux` for 6500 to 40000 K and log g 7 to 9.

    Returns
    -------
    TemplateGrid
        26 temperatures equally spaced in log Teff by 9 gravities, at the resolution of BOSS. A toy family for
        the sample survey: for real white dwarfs, configure a grid of model atmospheres.
    """
    low, high = np.log10(FIT_RANGE) / LOG_STEP
    wavelength = 10 ** (np.arange(np.floor(low) - 2, np.ceil(high) + 3) * LOG_STEP)
    teff = np.geomspace(6500.0, 40_000.0, 26)
    logg = np.linspace(7.0, 9.0, 9)
    flux = np.array([[da_flux(wavelength, t, g) for g in logg] for t in teff])
    return TemplateGrid(teff, logg, wavelength, flux)


def da_flux(wavelength: ArrayLike, teff: float, logg: float) -> Array:
    """Give the flux of the analytic DA family.

    A black body times Balmer lines (H-alpha to H12) in absorption. It is a toy for the sample survey, not a
    model atmosphere: the lines are strongest at 12500 K, their wings fall off as the Stark effect has them
    (power -5/2) and widen with gravity, and high series members fade with gravity and in cool stars. The
    narrowest feature has a width (sigma) of 180 km/s, so the flux stands for a spectrum *as seen* at the
    resolution of BOSS: it needs no further convolution.

    Parameters
    ----------
    wavelength : array_like of float
        Vacuum wavelengths in the rest frame (Angstrom), any shape, any order.
    teff : float
        Effective temperature (K), meant for 6500 to 40000.
    logg : float
        Logarithm of the surface gravity (dex of cm/s2), meant for 7 to 9.

    Returns
    -------
    ndarray of float64
        Flux per unit wavelength, same shape as `wavelength`, relative to the continuum at 5500 Angstrom.
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    return black_body(wavelength, teff) * np.exp(-_optical_depth(wavelength, teff, logg))


def black_body(wavelength: Array, teff: float) -> Array:
    """Give the flux per unit wavelength of a black body of `teff` (K), relative to that at 5500 Angstrom."""
    reference = np.expm1(_HC_OVER_K / (_REFERENCE_WAVELENGTH * teff))
    return (_REFERENCE_WAVELENGTH / wavelength) ** 5 * reference / np.expm1(_HC_OVER_K / (wavelength * teff))


def _optical_depth(wavelength: Array, teff: float, logg: float) -> Array:
    """Sum of the profiles, symmetric in log wavelength so that no line favours a velocity."""
    log_wavelength = np.log(wavelength)
    depth = np.zeros_like(log_wavelength)
    core_share = _CORE_SHARE * (teff / _STRONGEST_TEFF) ** 0.3
    for centre, strength, width in zip(np.log(_LINE_CENTRES), *_line_shapes(teff, logg), strict=True):
        offset = log_wavelength - centre
        wings = 1.0 + (offset / width) ** 2
        core = np.exp(-0.5 * (offset / _CORE_WIDTH) ** 2)
        depth += strength * ((1.0 - core_share) / (wings * np.sqrt(np.sqrt(wings))) + core_share * core)
    return depth


def _line_shapes(teff: float, logg: float) -> tuple[Array, Array]:
    """Central optical depths and widths (in ln wavelength) of the lines, each of shape (n_lines,)."""
    heat = teff / _STRONGEST_TEFF
    strength = 4.2 / (1.2 * heat**-3.0 + 3.0 * heat**1.2)
    order = _UPPER_LEVELS - _UPPER_LEVELS[0]
    decrement = heat ** (0.12 * order) * 10 ** (-0.06 * order * (logg - 8.0))
    widths = _LINE_WIDTHS * heat**0.25 * 10 ** (0.2 * (logg - 8.0))
    return _LINE_DEPTHS * strength * decrement, widths
