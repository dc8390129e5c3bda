"""Spectra with known truth, by code that the pipelines don't use: nothing of `astra_orchestration` is imported here.

Models are interpolated between their nodes by polynomials in the logarithm of the temperature, brought to vacuum by
Edlen's formula, convolved, shifted, and seen through a detector with noise and lost pixels. What spoils real spectra
(a companion's light, a poor flux calibration, emission, magnetic fields, cosmic rays) is added to order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.floating[Any]]
Random = np.random.Generator

LIGHT = 2.99792458e5
"""Speed of light (km/s)."""

PIXELS = 10 ** np.arange(3.5563, 3.8460, 1e-4)
"""Vacuum wavelengths (Angstrom) of the pixels: those of BOSS, 3600 to 7015."""

H_ALPHA = 6564.61


@dataclass(frozen=True)
class Star:
    """The truth: effective temperature (K), surface gravity (dex of cm/s2), velocity (km/s)."""

    teff: float
    logg: float
    v_rad: float


@dataclass(frozen=True)
class Observed:
    """What a telescope gives: vacuum wavelengths (Angstrom), flux and its inverse variance, each (n_pixels,)."""

    wavelength: Array
    flux: Array
    ivar: Array


@dataclass(frozen=True)
class Atmospheres:
    """Model spectra on nodes.

    Parameters
    ----------
    teff, logg : ndarray
        The nodes (K, dex), increasing.
    wavelength : ndarray, shape (n_pixels,)
        Vacuum wavelengths (Angstrom), increasing.
    flux : ndarray, shape (n_teff, n_logg, n_pixels)
        Flux per wavelength.
    """

    teff: Array
    logg: Array
    wavelength: Array
    flux: Array

    def without(self, node: int) -> Atmospheres:
        """Leave out one temperature."""
        return Atmospheres(np.delete(self.teff, node), self.logg, self.wavelength, np.delete(self.flux, node, axis=0))

    @cached_property
    def _log_flux(self) -> Array:
        return np.log(self.flux)

    def intrinsic(self, teff: float, logg: float) -> Array:
        """Give the model between the nodes: shape (n_pixels,)."""
        hot, in_hot = _polynomial(np.log(self.teff), np.log(teff))
        heavy, in_heavy = _polynomial(self.logg, logg)
        return np.exp(np.einsum("i,j,ijk->k", in_hot, in_heavy, self._log_flux[hot, heavy]))

    def shown(self, star: Star, resolution: float | Callable[[Array], Array] = 1900.0) -> Array:
        """Give a star's flux on `PIXELS`, at a resolving power (a number, or a function of the wavelength)."""
        return self.seen(self.intrinsic(star.teff, star.logg), star.v_rad, resolution)

    def seen(self, flux: Array, v_rad: float, resolution: float | Callable[[Array], Array] = 1900.0) -> Array:
        """Shift and convolve a spectrum on the grid's wavelengths onto `PIXELS`."""
        spline = CubicSpline(self.wavelength, np.log(flux))
        beta = v_rad / LIGHT
        rest = PIXELS * np.sqrt((1 - beta) / (1 + beta))
        power = resolution(PIXELS) if callable(resolution) else np.full(PIXELS.size, resolution)
        steps = np.linspace(-3.5, 3.5, 29)
        weights = np.exp(-0.5 * steps**2)
        spread = 1 + steps[:, None] / (power * 2.3548200450309493)
        inside = np.clip(rest * spread, self.wavelength[0], self.wavelength[-1])
        return weights @ np.exp(spline(inside)) / weights.sum()


def _polynomial(nodes: Array, at: float) -> tuple[slice, Array]:
    """Weights of the polynomial through the (up to four) nodes around a place."""
    count = min(4, nodes.size)
    first = int(np.clip(np.searchsorted(nodes, at) - count // 2, 0, nodes.size - count))
    here = nodes[first : first + count]
    weights = [np.prod([(at - b) / (a - b) for b in here if b != a]) for a in here]
    return slice(first, first + count), np.array(weights, dtype=float)


def read_npz(path: Path) -> Atmospheres:
    """Read a grid in a file of arrays."""
    with np.load(path, allow_pickle=False) as file:
        content = {name: np.asarray(file[name]) for name in file.files}
    wavelength = content["wavelength"].astype(float)
    if str(content.get("medium", "vacuum")) == "air":
        wavelength = to_vacuum(wavelength)
    near = (wavelength > 3500) & (wavelength < 7200)
    return Atmospheres(
        content["teff"].astype(float), content["logg"].astype(float), wavelength[near], content["flux"][..., near]
    )


def read_koester(folder: Path) -> Atmospheres:
    """Read the models of a folder of text files, whose wavelengths are in air."""
    spectra: dict[tuple[float, float], tuple[Array, Array]] = {}
    for path in sorted(folder.glob("da*.txt")):
        lines = path.read_text().splitlines()
        said = {part[0].strip("# "): part[1] for part in (line.split("=") for line in lines if line.count("=") == 1)}
        columns = np.loadtxt([line for line in lines if not line.startswith("#")])
        spectra[float(said["teff"].split()[0]), float(said["logg"].split()[0])] = columns[:, 0], columns[:, 1]
    teff, logg = (np.unique([node[axis] for node in spectra]) for axis in (0, 1))
    axis = np.arange(3500.0, 7200.0, 0.2)
    flux = np.array([[np.interp(axis, *spectra[t, g]) for g in logg] for t in teff])
    return Atmospheres(teff, logg, to_vacuum(axis), flux)


def to_vacuum(air: Array) -> Array:
    """Bring wavelengths from air to vacuum (Edlen 1953), by iteration."""
    vacuum = air.copy()
    for _ in range(4):
        square = (1e4 / vacuum) ** 2
        vacuum = air * (1 + 6.4328e-5 + 2.94981e-2 / (146 - square) + 2.5540e-4 / (41 - square))
    return vacuum


def toy_atmospheres(model: Callable[[Array, float, float], Array]) -> Atmospheres:
    """Sample a function of wavelength, temperature and gravity at nodes, as a grid."""
    wavelength = np.arange(3500.0, 7200.0, 0.5)
    teff, logg = np.geomspace(6500, 40_000, 30), np.linspace(7, 9, 9)
    return Atmospheres(teff, logg, wavelength, np.array([[model(wavelength, t, g) for g in logg] for t in teff]))


def draw_star(random: Random, teff: tuple[float, float] = (7000.0, 35_000.0)) -> Star:
    """Draw a star: even in log Teff, log g 7.2 to 8.8, velocity -300 to 300 km/s."""
    hot = float(np.exp(random.uniform(*np.log(teff))))
    return Star(hot, float(random.uniform(7.2, 8.8)), float(random.uniform(-300, 300)))


def expose(flux: Array, snr: float, random: Random) -> Observed:
    """Add noise of star and sky, and lose one pixel in a hundred.

    `snr` is the median per pixel from 3900 to 6750 Angstrom; the noise is scaled to it.
    """
    flux = flux / np.median(flux)
    efficiency = 0.25 + 0.75 * np.sin(np.pi * np.clip((PIXELS - 3300) / 7000, 0, 1)) ** 2
    noise = np.sqrt((flux + 0.4) / efficiency)
    lines = (PIXELS > 3900) & (PIXELS < 6750)
    noise *= np.median(flux[lines] / noise[lines]) / snr
    ivar = noise**-2
    seen = flux + noise * random.standard_normal(flux.size)
    lost = random.random(flux.size) < 0.01
    seen[lost], ivar[lost] = 0.0, 0.0
    return Observed(PIXELS, seen, ivar)


# What spoils spectra: before the noise (flux on PIXELS, a star's), or after it.


def with_companion(flux: Array, companion: Array, light: float) -> Array:
    """Add a cool companion whose light is a share of the star's, as medians from 3900 to 6750 Angstrom."""
    lines = (PIXELS > 3900) & (PIXELS < 6750)
    return flux + companion * light * np.median(flux[lines]) / np.median(companion[lines])


def cool_star(random: Random, teff: float | None = None) -> Array:
    """Make up an M dwarf: a black body of 2900 to 3900 K under bands of TiO and CaH of random depth."""
    teff = teff or random.uniform(2900, 3900)
    flux = PIXELS**-5.0 / np.expm1(1.43877e8 / (PIXELS * teff))
    for head, depth in ((4584, 0.2), (4761, 0.3), (4954, 0.4), (5167, 0.4), (5448, 0.3), (5847, 0.3), (6158, 0.4),
                        (6358, 0.2), (6651, 0.4), (6750, 0.2)):  # fmt: skip
        beyond = PIXELS - head
        strength = depth * random.uniform(0.6, 1.4) * (3900 / teff) ** 1.5
        flux = flux * (1 - np.clip(strength, 0, 0.9) * (beyond > 0) * np.exp(-np.abs(beyond) / random.uniform(80, 160)))
    for line, width in ((4227.9, 6), (5893, 8)):
        flux = flux * (1 - 0.7 * np.exp(-0.5 * ((PIXELS - line) / width) ** 2))
    return flux


def with_wiggles(flux: Array, random: Random, amplitude: float = 0.05) -> Array:
    """Calibrate poorly: a wave of 120 to 400 Angstrom, or a sum of three with the same root mean square."""
    number = 1 if random.random() < 0.5 else 3
    waves = np.zeros(flux.size)
    for _ in range(number):
        period = np.exp(random.uniform(np.log(120), np.log(400)))
        waves += np.sin(2 * np.pi * (PIXELS / period + random.random()))
    return flux * (1 + amplitude * waves / np.sqrt(number))


def with_filled_core(flux: Array, star: Star, random: Random) -> Array:
    """Fill the core of H-alpha by emission of half to all of its depth."""
    centre = H_ALPHA * (1 + (star.v_rad + random.uniform(-40, 40)) / LIGHT)
    offset = PIXELS - centre
    edge = np.median(flux[(np.abs(offset) > 20) & (np.abs(offset) < 30)])
    depth = edge - flux[np.argmin(np.abs(offset))]
    return flux + random.uniform(0.5, 1.0) * depth * np.exp(-0.5 * (offset / random.uniform(2.0, 6.0)) ** 2)


def split_by_field(models: Atmospheres, star: Star, field: float, random: Random | None = None) -> Array:
    """Split the lines by a magnetic field (MG): three components, at +-4.67e-13 B lambda^2, spread by a dipole."""
    flux, log_flux = models.intrinsic(star.teff, star.logg), 0.0
    strengths = np.array([field]) if random is None else field * np.linspace(0.75, 1.25, 5)
    for strength in strengths:
        shift = 4.67e-13 * strength * 1e6 * models.wavelength**2
        parts = [np.interp(models.wavelength + side * shift, models.wavelength, np.log(flux)) for side in (-1, 0, 1)]
        log_flux = log_flux + sum(parts) / 3 / strengths.size
    return models.seen(np.exp(log_flux), star.v_rad)


def pair(models: Atmospheres, star: Star, apart: float) -> Array:
    """Add two equal stars that move at +-`apart` km/s around the velocity of the star."""
    sides = [Star(star.teff, star.logg, star.v_rad + side * apart) for side in (-1, 1)]
    return np.mean([models.shown(side) for side in sides], axis=0)


def with_cosmics(spectrum: Observed, random: Random, hit: float = 0.03) -> Observed:
    """Add cosmic rays to a share of the pixels: 8 to 200 times the noise, all above the flux."""
    flux = spectrum.flux.copy()
    struck = (random.random(flux.size) < hit) & (spectrum.ivar > 0)
    height = np.exp(random.uniform(np.log(8), np.log(200), np.count_nonzero(struck)))
    flux[struck] += height / np.sqrt(spectrum.ivar[struck])
    return Observed(spectrum.wavelength, flux, spectrum.ivar)


Spoiler = Callable[[Atmospheres, Star, Random], Array]

SPOILED: Mapping[str, tuple[float, Spoiler]] = {
    "an M dwarf of 0.3 of its light": (
        50, lambda models, star, random: with_companion(models.shown(star), cool_star(random), 0.3)
    ),
    "an M dwarf of equal light": (
        50, lambda models, star, random: with_companion(models.shown(star), cool_star(random), 1.0)
    ),
    "wiggles of 5 % (120 to 400 A)": (
        50, lambda models, star, random: with_wiggles(models.shown(star), random)
    ),
    "a filled core of H-alpha": (
        50, lambda models, star, random: with_filled_core(models.shown(star), star, random)
    ),
    "a magnetic field of 1 MG": (
        50, lambda models, star, random: split_by_field(models, star, 1.0, random)
    ),
    "two equal DAs at +-300 km/s": (
        100, lambda models, star, random: pair(models, Star(star.teff, star.logg, star.v_rad / 10), 300)
    ),
}  # fmt: skip
"""What has to be flagged: S/N, and how its flux on `PIXELS` is made."""
