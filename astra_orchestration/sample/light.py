"""What reaches the detector: the light of a star at some velocity, sky, noise, and pixels that are lost.

White dwarfs have the flux of `white_dwarfs.family.da_flux`, which is as seen at the resolution of BOSS; the lines
of other stars are made with at least that width. Fluxes are in 1e-17 erg/s/cm2/Angstrom, wavelengths in
vacuum Angstrom. The noise is that of photons of star and sky through a throughput with two arms, and of
reading out, scaled so that the median S/N is the wanted one; the inverse variances tell the noise that was
added, exactly.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.white_dwarfs.family import black_body, da_flux
from astra_orchestration.pipelines.white_dwarfs.grid import BOSS_RESOLUTION
from astra_orchestration.pipelines.white_dwarfs.pixels import SPEED_OF_LIGHT
from astra_orchestration.sample.stars import Star, Visit

Array = NDArray[np.float64]

LOG_START, LOG_STEP, N_PIXELS = 3.5523, 1e-4, 4648
FWHM_OF_SIGMA = 2.354820045

# Bits of the pixel masks (SPPIXMASK).
FULL_REJECT, BRIGHT_SKY, NO_DATA, COMBINE_REJECT = 1 << 18, 1 << 23, 1 << 24, 1 << 25

MEAN_COSMIC_RAYS = 8
READ_NOISE = 0.6
BRIGHT_SKY_LEVEL = 60.0

BALMER = {6564.61: 1.0, 4862.68: 0.9, 4341.68: 0.75, 4102.89: 0.6, 3971.20: 0.45, 3890.15: 0.35}
METALS = {
    3934.78: 1.0,
    3969.59: 0.9,
    4227.92: 0.3,
    4305.61: 0.45,
    4384.78: 0.25,
    5168.76: 0.3,
    5174.13: 0.35,
    5185.05: 0.4,
    5271.00: 0.25,
    5891.58: 0.35,
    5897.56: 0.3,
    8500.36: 0.3,
    8544.44: 0.45,
    8664.52: 0.4,
}
BAND_HEADS = {
    4762.0: 0.25,
    4956.0: 0.35,
    5168.0: 0.4,
    5450.0: 0.3,
    5862.0: 0.35,
    6160.0: 0.45,
    6653.0: 0.4,
    7055.0: 0.6,
    7590.0: 0.45,
    8433.0: 0.35,
    8860.0: 0.3,
}
COOL_LINES = {5891.58: 0.8, 5897.56: 0.7, 8185.5: 0.35, 8197.1: 0.4, 7667.0: 0.4, 7701.1: 0.35}


@dataclass(frozen=True)
class Observation:
    """A visit's pixels on the full grid, each array of shape (4648,); only those `inside` are observed.

    Parameters
    ----------
    flux, ivar, sky, model : ndarray of float
        1e-17 erg/s/cm2/Angstrom (and its inverse square); `model` is the flux without noise.
    and_mask, or_mask : ndarray of int
        Bits of SPPIXMASK.
    inside : slice
        The pixels that a file of the visit has.
    """

    flux: Array
    ivar: Array
    sky: Array
    model: Array
    and_mask: NDArray[np.int32]
    or_mask: NDArray[np.int32]
    inside: slice

    @property
    def snr(self) -> float:
        """Median S/N per usable pixel of what the file has, in single precision as there."""
        flux, ivar = (part[self.inside].astype(np.float32) for part in (self.flux, self.ivar))
        good = np.isfinite(flux) & (ivar > 0)
        return float(np.median(flux[good] * np.sqrt(ivar[good]))) if np.any(good) else float("nan")


@lru_cache(maxsize=1)
def log_wavelengths() -> Array:
    """Give log10 of the grid's vacuum wavelengths (Angstrom), shape (4648,)."""
    return np.asarray(LOG_START + LOG_STEP * np.arange(N_PIXELS), dtype=np.float64)


def doppler_factor(v_rad: float) -> float:
    """Give observed over rest wavelength for a velocity (km/s), positive when receding."""
    beta = v_rad / SPEED_OF_LIGHT
    return float(np.sqrt((1 + beta) / (1 - beta)))


def observe(star: Star, visit: Visit, random: np.random.Generator) -> Observation:
    """Observe a star.

    Parameters
    ----------
    star : Star
        What is observed.
    visit : Visit
        When, at which velocity, and how well.
    random : numpy.random.Generator
        Where the noise comes from.
    """
    wavelength = 10 ** log_wavelengths()
    model = _brightness(star) * star_flux(star, wavelength / doppler_factor(visit.v_rad))
    sky = _sky() * random.uniform(0.7, 1.4)
    noise = _relative_noise(model, sky)
    first, last = int(random.integers(2, 28)), N_PIXELS - int(random.integers(2, 60))
    inside = slice(first, last)
    noise *= float(np.median((model / noise)[inside])) / visit.snr
    flux = model + noise * random.standard_normal(N_PIXELS)
    and_mask = np.zeros(N_PIXELS, np.int32)
    or_mask = np.where(sky > BRIGHT_SKY_LEVEL, BRIGHT_SKY, 0).astype(np.int32)
    hit = _cosmic_rays(random)
    flux[hit] += noise[hit] * random.uniform(15, 80, np.count_nonzero(hit))
    for mask in (and_mask, or_mask):
        mask[hit] |= FULL_REJECT | COMBINE_REJECT
        mask[first : first + 4] |= NO_DATA
    lost = (and_mask != 0) | (np.arange(N_PIXELS) < first) | (np.arange(N_PIXELS) >= last)
    flux[first : first + 4] = 0
    return Observation(flux, np.where(lost, 0, noise**-2), sky, model, and_mask, or_mask, inside)


def star_flux(star: Star, wavelength: Array) -> Array:
    """Give the flux of a star at rest, relative to about 5500 Angstrom, as seen at the resolution of BOSS.

    Parameters
    ----------
    star : Star
        Kind, temperature and gravity count.
    wavelength : ndarray of float, shape (n_pixels,)
        Rest-frame vacuum wavelengths (Angstrom).
    """
    if star.kind == "DA":
        return np.asarray(da_flux(wavelength, star.teff, star.logg), dtype=np.float64)
    shape = black_body(wavelength, star.teff)
    if star.kind == "M":
        coolness = (4000 - star.teff) / 1000
        return shape * _bands(wavelength, coolness) * _lines(wavelength, COOL_LINES, 0.9, 250)
    strength = float(np.clip((7500 - star.teff) / 2500, 0.1, 1.2))
    hydrogen = float(np.clip((star.teff - 4500) / 2500, 0.05, 1.0))
    return shape * _lines(wavelength, METALS, 0.7 * strength, 250) * _lines(wavelength, BALMER, 0.6 * hydrogen, 400)


def _brightness(star: Star) -> float:
    """Flux at 5500 Angstrom of a star of this magnitude (1e-17 erg/s/cm2/Angstrom)."""
    return 3.63e8 * 10 ** (-0.4 * star.g_mag)


def _lines(wavelength: Array, depths: dict[float, float], scale: float, width: float) -> Array:
    """Absorption by Gaussian lines of a width (km/s, sigma), broadened by the instrument."""
    sigma = np.hypot(width / SPEED_OF_LIGHT, 1 / (BOSS_RESOLUTION * FWHM_OF_SIGMA))
    centres, strengths = np.log(list(depths)), np.array(list(depths.values()))
    offset = (np.log(wavelength)[:, None] - centres) / sigma
    return np.exp(-scale * np.exp(-0.5 * offset**2) @ strengths)


def _bands(wavelength: Array, coolness: float) -> Array:
    """Molecular bands: sharp on the blue side, fading to the red."""
    heads, strengths = np.array(list(BAND_HEADS)), np.array(list(BAND_HEADS.values()))
    behind = wavelength[:, None] - heads
    rise = 1 / (1 + np.exp(-np.clip(behind / 4.0, -50, 50)))
    fade = np.exp(-np.clip(behind, 0, None) / 120.0)
    return np.exp(-1.4 * coolness * (rise * fade) @ strengths)


def _relative_noise(flux: Array, sky: Array) -> Array:
    """Noise per pixel, up to a factor: photons of star and sky, and reading out, over the throughput."""
    throughput = _throughput()
    photons = 10 ** log_wavelengths() / 5500
    return np.sqrt((flux + sky) / (throughput * photons) + (READ_NOISE / throughput) ** 2)


@lru_cache(maxsize=1)
def _throughput() -> Array:
    """Give the share of the light that is detected: two arms, joined near 6100 Angstrom, poor at the ends."""
    wavelength = 10 ** log_wavelengths()
    blue = 0.85 * np.exp(-0.5 * ((wavelength - 5000) / 820) ** 2)
    red = np.exp(-0.5 * ((wavelength - 7600) / 1250) ** 2)
    return np.clip(np.maximum(blue, red), 0.04, None)


@lru_cache(maxsize=1)
def _sky() -> Array:
    """Sky: a continuum that rises to the red, lines of atoms and lamps, and many of OH."""
    wavelength = 10 ** log_wavelengths()
    sky = 6 + 4 * (wavelength / 5500) ** 2
    forest = np.random.Generator(np.random.PCG64(4648))
    lines = np.array([[4047.7, 8], [4359.6, 15], [5462.3, 20], [5578.9, 220], [5891.6, 40], [6302.0, 90]])
    centres = np.concatenate([lines[:, 0], forest.uniform(6830, 10_400, 160)])
    peaks = np.concatenate([lines[:, 1], forest.exponential(70, 160)])
    peaks[len(lines) :] *= (centres[len(lines) :] / 8500) ** 2
    sigma = centres / (BOSS_RESOLUTION * FWHM_OF_SIGMA)
    for centre, peak, width in zip(centres, peaks, sigma, strict=True):
        sky += peak * np.exp(-0.5 * np.clip((wavelength - centre) / width, -30, 30) ** 2)
    return sky


def _cosmic_rays(random: np.random.Generator) -> NDArray[np.bool_]:
    hit = np.zeros(N_PIXELS, bool)
    for start in random.integers(0, N_PIXELS - 3, random.poisson(MEAN_COSMIC_RAYS)):
        hit[start : start + int(random.integers(1, 4))] = True
    return hit
