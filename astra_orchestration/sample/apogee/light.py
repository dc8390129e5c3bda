"""What reaches APOGEE's detectors: a star's lines through the instrument, a continuum that bends, noise, lost pixels.

All is on the pixels of an apStar, at rest. Fluxes are in 1e-17 erg/s/cm2/Angstrom. The errors tell the noise that was
added, exactly, but in pixels with persistence, where they are larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.white_dwarfs.pixels import SPEED_OF_LIGHT
from astra_orchestration.sample.apogee.lines import CHIPS, LOG_STEP, N_PIXELS, RESOLUTION, log_wavelengths, model_flux
from astra_orchestration.sample.apogee.stars import APOGEE, ApogeeStar, ApogeeVisit
from astra_orchestration.sample.stars import random_numbers

Array = NDArray[np.float64]
Mask = NDArray[np.int64]

# Bits of the pixel masks (APOGEE_PIXMASK).
NO_DATA, COSMIC_RAY, PERSIST_HIGH, PERSIST_MEDIUM, PERSIST_LOW, SKY_LINE = 1, 2, 512, 1024, 2048, 4096

MISSING_ERROR = 1e10
FLUX_OF_VEGA = 1.133e7
"""Flux of a star of H = 0 mag, in 1e-17 erg/s/cm2/Angstrom (Cohen et al. 2003)."""

BEND = 0.15
"""Height from the lowest to the highest point of what bends the continuum of a chip."""

RESOLUTIONS = {"a": 22_900.0, "b": 22_700.0, "c": 22_500.0, "d": 22_300.0}
SOUTHERN = 0.995
_MARGIN = 35
_N_SKY_LINES = 110
_SKY_NOISE = 4.0
_MEAN_COSMIC_RAYS = 12
_PERSISTENCE = ((400, PERSIST_HIGH, 0.10), (300, PERSIST_MEDIUM, 0.06), (300, PERSIST_LOW, 0.03))
"""Pixels of the blue chip from its first one on: how many, their bit, the height of the excess."""

_CONTINUUM, _VISIT, _SKY = range(1, 4)


@dataclass(frozen=True)
class Exposure:
    """Pixels of one visit or of a co-add, each array of shape (8575,): flux, its error, bits of the mask."""

    flux: Array
    error: Array
    mask: Mask

    @property
    def ivar(self) -> Array:
        """Inverse variances; 0 where a pixel is missing."""
        return np.where(self.error < MISSING_ERROR, self.error, np.inf) ** -2

    @property
    def snr(self) -> float:
        """Median S/N per usable pixel."""
        good = self.error < MISSING_ERROR
        return float(np.median(self.flux[good] / self.error[good]))


@dataclass(frozen=True)
class Observed:
    """All that was observed of a star.

    Parameters
    ----------
    model : ndarray of float, shape (8575,)
        Normalised flux without noise.
    continuum : ndarray of float, shape (8575,)
        What it is multiplied by.
    visits : sequence of Exposure
        The visits.
    by_pixel, by_visit : Exposure
        The co-adds: with a weight for each pixel, and with one for each visit.
    """

    model: Array
    continuum: Array
    visits: Sequence[Exposure]
    by_pixel: Exposure
    by_visit: Exposure


def resolution_of(telescope: str, lsf: str) -> float:
    """Give the resolution of a telescope's fibres.

    Parameters
    ----------
    telescope : str
        "apo25m" or "lco25m", whose resolution is 0.5 % less.
    lsf : str
        "a", "b", "c" or "d".
    """
    return RESOLUTIONS[lsf] * (SOUTHERN if telescope == "lco25m" else 1.0)


def observe(seed: int, star: ApogeeStar) -> Observed:
    """Observe a star.

    Parameters
    ----------
    seed : int
        Of the survey.
    star : ApogeeStar
        What is observed.
    """
    model = model_flux(star.labels, log_wavelengths(), resolution_of(star.telescope, star.lsf))[0]
    continuum = _continuum(star, random_numbers(seed, APOGEE, star.number, _CONTINUUM))
    visits = [
        _expose(model * continuum, star, visit, random_numbers(seed, APOGEE, star.number, _VISIT, i))
        for i, visit in enumerate(star.visits)
    ]
    weights = np.array([np.median(visit.ivar[visit.ivar > 0]) for visit in visits])
    by_pixel = _co_add(visits, np.array([visit.ivar for visit in visits]), np.bitwise_or)
    usable = np.array([visit.ivar > 0 for visit in visits])
    by_visit = _co_add(visits, weights[:, None] * usable, np.bitwise_and)
    return Observed(model, continuum, visits, by_pixel, by_visit)


def _continuum(star: ApogeeStar, random: np.random.Generator) -> Array:
    """Give the tail of a black body, times a curve for each chip that bends by 15 %."""
    x = log_wavelengths()
    level = FLUX_OF_VEGA * 10 ** (-0.4 * star.h_mag)
    slope = 10 ** (-(3.2 + 0.4 * (star.teff - 5000) / 1000) * (x - 4.205))
    bend = np.ones(N_PIXELS)
    edges = [0, *((a + n + b) // 2 for (a, n), (b, _) in pairwise(CHIPS)), N_PIXELS]
    for (first, n_pixels), (start, stop) in zip(CHIPS, pairwise(edges), strict=True):
        pixels = np.arange(start, stop)
        place = 2 * (pixels - first) / (n_pixels - 1) - 1
        curve = np.polynomial.legendre.legval(place, [0, *random.normal(0, 1, 3)])
        within = np.abs(place) <= 1
        curve = np.clip(curve, curve[within].min(), curve[within].max())
        bend[start:stop] += BEND * curve / np.ptp(curve[within])
    return level * slope * bend


def _expose(light: Array, star: ApogeeStar, visit: ApogeeVisit, random: np.random.Generator) -> Exposure:
    """Add noise, and lose pixels. What belongs to the detector or to the sky is shifted by the star's velocity."""
    shift = round(np.log10(1 + visit.v_rad / SPEED_OF_LIGHT) / LOG_STEP)
    detector = np.arange(N_PIXELS) + shift
    on_sky_line = np.isin(detector, _sky_pixels())
    level = np.median(light)
    noise = np.sqrt(light / level + 0.2) * (1 + 0.4 * _distance_from_centre(detector) ** 4)
    noise *= np.median(light / noise) / visit.snr
    noise[on_sky_line] *= _SKY_NOISE
    flux = light + noise * random.standard_normal(N_PIXELS)
    error, mask = noise.copy(), np.where(on_sky_line, SKY_LINE, 0).astype(np.int64)
    if has_persistence(star):
        _add_persistence(flux, error, mask, level, random)
    hit = random.integers(0, N_PIXELS, random.poisson(_MEAN_COSMIC_RAYS))
    flux[hit] += level * random.uniform(0.5, 5, len(hit))
    error[hit], mask[hit] = MISSING_ERROR, mask[hit] | COSMIC_RAY
    lost = ~_is_on_detector(detector)
    flux[lost], error[lost], mask[lost] = 0, MISSING_ERROR, NO_DATA
    return Exposure(flux, error, mask)


def has_persistence(star: ApogeeStar) -> bool:
    """Tell whether a star's blue chip has an excess of flux, left there by an earlier exposure: every fifth has."""
    return star.number % 5 == 3


def _add_persistence(flux: Array, error: Array, mask: Mask, level: float, random: np.random.Generator) -> None:
    start = CHIPS[0][0]
    for n_pixels, bit, height in _PERSISTENCE:
        some = slice(start, start + n_pixels)
        flux[some] += height * level * random.random(n_pixels)
        error[some] = np.hypot(error[some], height * level)
        mask[some] |= bit
        start += n_pixels


def _is_on_detector(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    inside = [(pixels >= first - _MARGIN) & (pixels < first + n + _MARGIN) for first, n in CHIPS]
    return np.logical_or.reduce(inside)


def _distance_from_centre(pixels: NDArray[np.int64]) -> Array:
    """Give distances from the centre of the nearest chip, over half its width."""
    distances = [np.abs(2 * (pixels - first) / (n - 1) - 1) for first, n in CHIPS]
    return np.minimum(np.minimum.reduce(distances), 1.2)


def _sky_pixels() -> NDArray[np.int64]:
    """Give the pixels of sky lines: three for each line, at the same wavelengths of the observer always."""
    centres = np.random.Generator(np.random.PCG64(int(RESOLUTION))).integers(0, N_PIXELS, _N_SKY_LINES)
    return np.unique(centres[:, None] + np.arange(-1, 2))


def _co_add(visits: Sequence[Exposure], weights: Array, combine: np.ufunc) -> Exposure:
    total = weights.sum(axis=0)
    seen = total > 0
    share = weights / np.where(seen, total, 1)
    flux = sum(part * visit.flux for part, visit in zip(share, visits, strict=True))
    variance = sum(part**2 * visit.error**2 for part, visit in zip(share, visits, strict=True))
    error = np.where(seen, np.sqrt(np.asarray(variance)), MISSING_ERROR)
    mask = combine.reduce([visit.mask for visit in visits])
    mask = np.where(seen, mask, mask | NO_DATA)
    return Exposure(np.where(seen, np.asarray(flux), 0), error, mask)
