"""What training does to a model spectrum before the forest sees it: distance, dust, spectrograph, noise.

All of it is drawn from wide ranges. A forest that has seen fluxing errors, wrong resolutions and velocities doesn't
take them for signs of a class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

LOG_STEP = 5e-5
"""Step of the axis on which spectra are made (dex), half a BOSS pixel."""

LOG_AXIS = np.arange(np.log10(3700.0), np.log10(9150.0), LOG_STEP)
"""log10 of the rest wavelengths (vacuum Angstrom), shape (n_points,)."""

AXIS = 10**LOG_AXIS
"""The same in Angstrom."""

SEEN = LOG_AXIS[slice(*np.searchsorted(LOG_AXIS, np.log10([3760, 9000])))][::2]
"""log10 of the observed wavelengths."""

SNR = (4.0, 100.0)
RESOLUTION = (1300.0, 2600.0)
MAX_VELOCITY = 500.0
MAX_TILT = 0.8
MEAN_REDDENING = 0.12
MAX_REDDENING = 1.0
MAX_WIGGLE = 0.03
MEAN_COSMICS = 2.0
SPEED_OF_LIGHT = 299_792.458


class Spectrum(NamedTuple):
    """A spectrum as a pipeline gets it, each array of shape (n_pixels,)."""

    wavelength: Array
    """Vacuum wavelengths (Angstrom)."""
    flux: Array
    """Relative flux per unit wavelength."""
    ivar: Array
    """Its inverse variance, zero where a pixel is lost."""


def observe(flux: Array, random: np.random.Generator, snr: float | None = None, *, convolve: bool = True) -> Spectrum:
    """Observe a model.

    Parameters
    ----------
    flux : ndarray of float64, shape (n_points,)
        On `AXIS`, per unit wavelength, any scale.
    random : numpy.random.Generator
        Where everything that is drawn comes from.
    snr : float, optional
        Median S/N per pixel between 4000 and 8000 Angstrom; drawn if not given.
    convolve : bool, optional
        Whether the model still needs the resolution of the spectrograph.
    """
    from scipy.ndimage import gaussian_filter1d

    if convolve:
        resolution = random.uniform(*RESOLUTION)
        flux = gaussian_filter1d(flux, 1 / (resolution * 2.3548 * LOG_STEP * np.log(10)), mode="nearest")
    shift = np.log10(1 + random.uniform(-MAX_VELOCITY, MAX_VELOCITY) / SPEED_OF_LIGHT)
    seen = np.interp(SEEN - shift, LOG_AXIS, flux) * _distortion(random)
    seen /= np.median(seen)
    noise = _noise(seen, random)
    noise *= np.median((seen / noise)[_MIDDLE]) / (snr or log_uniform(random, *SNR))
    found = seen + noise * random.standard_normal(seen.size)
    ivar = noise**-2
    ivar[random.random(seen.size) < 0.005] = 0
    hit = random.integers(0, seen.size, random.poisson(MEAN_COSMICS))
    found[hit] += noise[hit] * random.uniform(5, 30, hit.size)
    return Spectrum(10**SEEN, found, ivar)


_MIDDLE = slice(*np.searchsorted(SEEN, np.log10([4000, 8000])))


def log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is evenly distributed."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _distortion(random: np.random.Generator) -> Array:
    """Dust, and errors of the flux calibration."""
    wavelength = 10**SEEN / 5500
    reddening = min(random.exponential(MEAN_REDDENING), MAX_REDDENING)
    shape = wavelength ** random.uniform(-MAX_TILT, MAX_TILT)
    shape *= 10 ** (-0.4 * 3.1 * reddening * (wavelength**-1.3 - 1))
    for _ in range(3):
        period = log_uniform(random, 0.03, 0.5)
        phase = random.uniform(0, 2 * np.pi)
        shape *= 1 + MAX_WIGGLE / 3 * random.random() * np.sin(2 * np.pi * wavelength / period + phase)
    return shape


def _noise(flux: Array, random: np.random.Generator) -> Array:
    """Noise of photons of star and sky over a throughput that falls towards the blue, up to a factor."""
    wavelength = 10**SEEN
    throughput = 0.08 + np.exp(-0.5 * ((wavelength - random.uniform(6000, 7200)) / random.uniform(1500, 2500)) ** 2)
    sky = log_uniform(random, 0.05, 3.0) * (wavelength / 5500) ** random.uniform(0, 2)
    return np.sqrt((np.clip(flux, 0, None) + sky) / throughput)
