"""Stars that are no white dwarfs, made by code that nothing else uses: they judge the classifier.

Lines are Voigt profiles of a given equivalent width, as tables of stellar spectra give them, and single weak lines of
metals make up the forest of cool stars; dust is that of Cardelli, Clayton & Mathis (1989, ApJ 345, 245).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import voigt_profile

Array = NDArray[np.floating[Any]]

FINE = np.exp(np.arange(np.log(3500.0), np.log(10_600.0), 6e-5))
"""Wavelengths (vacuum Angstrom) on which light is made."""

PIXELS = 10 ** (3.5563 + 1e-4 * np.arange(4648))
"""Wavelengths of BOSS (vacuum Angstrom)."""

HYDROGEN = (6564.6, 4862.7, 4341.7, 4102.9, 3971.2, 3890.2, 3836.5, 3799.0, 3771.7)
NEUTRAL_HELIUM = {
    4027.3: 0.9, 4144.9: 0.3, 4389.2: 0.5, 4472.7: 1.0, 4714.5: 0.3, 4923.3: 0.6, 5017.1: 0.4, 5877.2: 0.9, 6680.0: 0.7,
    7067.1: 0.5,
}  # fmt: skip
IONISED_HELIUM = {4542.9: 0.5, 4687.0: 1.0, 5413.0: 0.6}
STRONG_METALS = {
    3934.8: 6.0, 3969.6: 5.0, 4227.9: 0.8, 5168.8: 0.7, 5174.1: 1.0, 5185.0: 1.2, 5891.6: 0.8, 5897.6: 0.6, 8500.4: 1.2,
    8544.4: 2.8, 8664.5: 2.4,
}  # fmt: skip
OXIDES = (
    (4761, 4950, 0.25), (4954, 5165, 0.35), (5167, 5440, 0.35), (5448, 5600, 0.25), (5847, 6050, 0.3),
    (6159, 6400, 0.45), (6651, 6850, 0.35), (7053, 7300, 0.65), (7589, 7850, 0.5), (8432, 8700, 0.4), (8859, 9100, 0.4),
)  # fmt: skip
RESOLUTION = 1900.0


class Star(NamedTuple):
    """A star of this room."""

    kind: str
    """ "A", "F", "G", "K", "M" or "sd"."""
    wavelength: Array
    """Vacuum wavelengths (Angstrom), shape (n_pixels,)."""
    flux: Array
    """Relative flux per unit wavelength."""
    ivar: Array
    """Its inverse variance."""


def star(kind: str, random: np.random.Generator, snr: float) -> Star:
    """Make a star of a kind, with dust, fluxing errors, velocity and noise; `snr` is the median per pixel."""
    return Star(kind, *observed(MAKERS[kind](random), random, snr))


def observed(light: Array, random: np.random.Generator, snr: float) -> tuple[Array, Array, Array]:
    """Observe light on `FINE` through dust and a poor flux calibration: wavelength, flux, ivar of shape (n_pixels,)."""
    velocity = random.uniform(-300, 300)
    seen = _at_resolution(light, PIXELS / (1 + velocity / 299_792.458))
    seen *= dust(PIXELS, random.uniform(0, 0.5)) * (PIXELS / 6000) ** random.uniform(-0.6, 0.6)
    seen /= np.median(seen)
    photons = np.exp(-0.5 * ((np.log(PIXELS) - np.log(6300)) / 0.33) ** 2) + 0.05
    noise = np.sqrt((np.abs(seen) + random.uniform(0.1, 1)) / photons)
    noise *= np.median(seen / noise) / snr
    ivar = noise**-2
    ivar[random.random(seen.size) < 0.01] = 0
    return PIXELS, seen + noise * random.normal(size=seen.size), ivar


def dust(wavelength: Array, reddening: float, ratio: float = 3.1) -> Array:
    """Give the share of light that passes dust of E(B-V) = `reddening` (mag)."""
    y = 1e4 / wavelength - 1.82
    a = np.polyval((0.32999, -0.77530, 0.01979, 0.72085, -0.02427, -0.50447, 0.17699, 1.0), y)
    b = np.polyval((-2.09002, 5.30260, -0.62251, -5.38434, 1.07233, 2.28305, 1.41338, 0.0), y)
    return 10 ** (-0.4 * ratio * reddening * np.where(y > -0.72, a + b / ratio, 0.6))


def _planck(teff: float) -> Array:
    flux = FINE**-5.0 / np.expm1(1.4388e8 / (FINE * teff))
    return flux / np.median(flux)


def _voigt(at: float, width: float, gauss: float, lorentz: float) -> Array:
    """Depth of a line of an equivalent width (Angstrom), with the widths of its two parts (Angstrom)."""
    depth = np.zeros(FINE.size)
    near = np.abs(FINE - at) < 40 * (gauss + lorentz)
    depth[near] = width * voigt_profile(FINE[near] - at, gauss, lorentz / 2)
    return depth


def _transmitted(depths: Array) -> Array:
    """Keep lines from going below zero, as saturated ones don't."""
    return 1 - 0.92 * np.tanh(depths / 0.92)


def _balmer(random: np.random.Generator, width: tuple[float, float], lorentz: tuple[float, float]) -> Array:
    strength, damping = random.uniform(*width), random.uniform(*lorentz)
    depths = np.zeros(FINE.size)
    for order, at in enumerate(HYDROGEN):
        depths += _voigt(at, strength * 0.97**order, random.uniform(1.0, 2.0), damping * 0.95**order)
    return depths


def _helium(random: np.random.Generator, lines: dict[float, float], width: float) -> Array:
    return np.sum([_voigt(at, width * share, 1.5, random.uniform(0.5, 2)) for at, share in lines.items()], axis=0)


def _metals(random: np.random.Generator, strength: float) -> Array:
    """Strong lines, and a forest of weak ones that is thicker in the blue and the same in every star."""
    depths = np.zeros(FINE.size)
    for at, width in STRONG_METALS.items():
        depths += _voigt(at, width * strength * random.uniform(0.7, 1.3), 0.8, 0.6 * width * strength)
    forest = np.random.default_rng(1989)
    for at, width in zip(3700 + 3200 * forest.random(350) ** 2, forest.exponential(0.25, 350), strict=True):
        depths += _voigt(at, width * strength, 0.7, 0.1)
    if strength > 0.5:
        depths += 0.25 * strength * np.exp(-0.5 * ((FINE - 4304) / 9) ** 2)
    return depths


def _oxides(strength: float) -> Array:
    """Bands that begin with a step and end on a slope."""
    left = np.ones(FINE.size)
    for head, tail, depth in OXIDES:
        inside = (head <= FINE) & (tail > FINE)
        left[inside] *= 1 - np.minimum(depth * strength, 0.9) * (1 - (FINE[inside] - head) / (tail - head))
    return left


def _a(random: np.random.Generator) -> Array:
    lines = _balmer(random, (8, 18), (5, 16)) + _metals(random, random.uniform(0.01, 0.15))
    return _planck(random.uniform(7500, 10_500)) * _transmitted(lines)


def _f(random: np.random.Generator) -> Array:
    lines = _balmer(random, (3, 8), (2, 7)) + _metals(random, random.uniform(0.25, 0.8))
    return _planck(random.uniform(6000, 7400)) * _transmitted(lines)


def _g(random: np.random.Generator) -> Array:
    lines = _balmer(random, (1, 3.5), (0.5, 2)) + _metals(random, random.uniform(0.8, 1.6))
    return _planck(random.uniform(5200, 6000)) * _transmitted(lines)


def _k(random: np.random.Generator) -> Array:
    lines = _balmer(random, (0.2, 1.2), (0.3, 1)) + _metals(random, random.uniform(1.5, 3))
    return _planck(random.uniform(3900, 5200)) * _transmitted(lines) * _oxides(random.uniform(0, 0.25))


def _m(random: np.random.Generator) -> Array:
    lines = _metals(random, random.uniform(0.7, 1.5))
    flux = _planck(random.uniform(2700, 3900)) * _transmitted(lines) * _oxides(random.uniform(0.4, 1.5))
    if random.random() < 0.3:
        flux *= 1 + sum(_voigt(at, random.uniform(1, 8), 1.5, 0.3) for at in HYDROGEN[:4])
    return flux


def _sd(random: np.random.Generator) -> Array:
    lines = _balmer(random, (3, 8), (5, 13)) + _helium(random, NEUTRAL_HELIUM, random.uniform(0, 1.5))
    teff = random.uniform(22_000, 45_000)
    if teff > 32_000:
        lines += _helium(random, IONISED_HELIUM, random.uniform(0, 1.5))
    return _planck(teff) * _transmitted(lines)


MAKERS: dict[str, Callable[[np.random.Generator], Array]] = {"A": _a, "F": _f, "G": _g, "K": _k, "M": _m, "sd": _sd}


def _at_resolution(light: Array, wavelength: Array) -> Array:
    """Show light at the resolution of BOSS, at some wavelengths."""
    steps = np.arange(-24, 25)
    kernel = np.exp(-0.5 * (steps * 6e-5 * RESOLUTION * 2.3548) ** 2)
    return np.interp(wavelength, FINE, np.convolve(light, kernel / kernel.sum(), mode="same"))
