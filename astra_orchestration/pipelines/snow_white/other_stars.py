"""Model spectra of what is no white dwarf: the class that a forest needs so as not to call everything one.

Normal stars have narrower lines than white dwarfs, because their gravity is lower. What a kind of star shows is drawn
from ranges wider than nature's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.white_dwarfs.family import black_body

from .observing import AXIS, LOG_AXIS, log_uniform
from .white_dwarfs import CALCIUM, HELIUM, Atmospheres, Maker, absorb, bands

Array = NDArray[np.floating[Any]]

BALMER = {
    6564.61: 0.9, 4862.68: 1.0, 4341.68: 1.0, 4102.89: 0.95, 3971.20: 0.9, 3890.15: 0.85, 3836.5: 0.8, 3798.9: 0.75,
    3771.7: 0.7,
}  # fmt: skip
IONISED_HELIUM = {
    4101.2: 0.2,
    4201.0: 0.3,
    4339.9: 0.2,
    4542.9: 0.6,
    4687.0: 1.0,
    4860.7: 0.3,
    5413.0: 0.6,
    6561.9: 0.4,
}
METALS = {
    3820.0: 0.3, 3860.0: 0.3, 4046.9: 0.3, 4064.7: 0.25, 4078.9: 0.25, 4132.0: 0.25, 4144.9: 0.2, 4227.9: 0.4,
    4260.5: 0.25, 4272.9: 0.3, 4326.9: 0.3, 4384.8: 0.35, 4405.9: 0.3, 4482.6: 0.15, 4669.0: 0.1, 4958.0: 0.2,
    5168.8: 0.4, 5174.1: 0.5, 5185.0: 0.55, 5208.0: 0.25, 5270.9: 0.35, 5329.5: 0.3, 5447.0: 0.15, 5711.0: 0.1,
    5891.6: 0.5, 5897.6: 0.45, 6123.9: 0.12, 6163.9: 0.15, 6440.9: 0.12, 6496.9: 0.15, 8500.4: 0.4, 8544.4: 0.7,
    8664.5: 0.6,
}  # fmt: skip
TITANIUM_OXIDE = {
    4585.0: 0.2, 4762.0: 0.4, 4956.0: 0.5, 5168.0: 0.5, 5450.0: 0.4, 5600.0: 0.2, 5761.0: 0.3, 5862.0: 0.4,
    6160.0: 0.6, 6385.0: 0.2, 6653.0: 0.5, 6730.0: 0.3, 7055.0: 0.9, 7126.0: 0.4, 7590.0: 0.6, 7666.0: 0.3, 8206.0: 0.2,
    8433.0: 0.5, 8860.0: 0.4,
}  # fmt: skip
HYDRIDES = {4780.0: 0.3, 5155.0: 0.3, 5211.0: 0.4, 5535.0: 0.35, 6346.0: 0.15, 6750.0: 0.3, 6830.0: 0.35, 6908.0: 0.3}
ALKALIS = {4227.9: 0.8, 5891.6: 1.0, 5897.6: 0.9, 7667.0: 0.5, 7701.1: 0.45, 8185.5: 0.4, 8197.1: 0.45}
EMISSION = {
    1215.7: 3.0, 1549.1: 1.5, 1908.7: 1.0, 2799.1: 0.8, 3728.5: 0.5, 4341.7: 0.2, 4862.7: 0.4, 4960.3: 0.5, 5008.2: 1.5,
    6564.6: 2.0, 6585.3: 0.6, 6718.3: 0.3,
}  # fmt: skip

LOW_GRAVITY = 5.6
"""Largest log g (dex) at which a model of the grid counts as no white dwarf."""


def a_star(random: np.random.Generator) -> Array:
    """Make an A star, on the main sequence or the horizontal branch: deep, narrow Balmer lines."""
    teff = log_uniform(random, 7300, 12_000)
    return black_body(AXIS, teff) * _balmer(random, (0.4, 2.2), (1.5, 10.0)) * _metals(random, 0.02, 0.5)


def b_star(random: np.random.Generator) -> Array:
    """Make a B star: narrow lines of hydrogen and neutral helium."""
    teff = log_uniform(random, 11_000, 32_000)
    helium = absorb(_varied(random, HELIUM), log_uniform(random, 0.02, 0.5), log_uniform(random, 1.0, 4.0), 1.2)
    return black_body(AXIS, teff) * _balmer(random, (0.3, 1.2), (1.5, 7.0)) * helium


def f_star(random: np.random.Generator) -> Array:
    """Make an F star: Balmer lines beside metals."""
    teff = log_uniform(random, 5900, 7500)
    return black_body(AXIS, teff) * _balmer(random, (0.2, 1.2), (0.7, 5.0)) * _metals(random, 0.15, 1.2)


def g_star(random: np.random.Generator) -> Array:
    """Make a G star: metals, the G band, and weak Balmer lines."""
    teff = log_uniform(random, 5000, 6100)
    g_band = np.exp(-log_uniform(random, 0.1, 0.7) * np.exp(-0.5 * ((AXIS - 4305) / 12) ** 2))
    return black_body(AXIS, teff) * _balmer(random, (0.1, 0.6), (0.5, 3.0)) * _metals(random, 0.3, 2.0) * g_band


def k_star(random: np.random.Generator) -> Array:
    """Make a K star: strong metals, and first bands."""
    teff = log_uniform(random, 3800, 5200)
    molecules = np.exp(-log_uniform(random, 0.02, 0.4) * bands(TITANIUM_OXIDE, log_uniform(random, 80, 200)))
    hydrogen = _balmer(random, (0.02, 0.3), (0.5, 2.0))
    return black_body(AXIS, teff) * _metals(random, 0.3, 3.0) * molecules * hydrogen


def m_dwarf(random: np.random.Generator) -> Array:
    """Make an M dwarf: bands of titanium oxide and calcium hydride, often with emission in hydrogen."""
    teff = log_uniform(random, 2500, 4000)
    strength = log_uniform(random, 0.3, 2.5)
    depths = strength * bands(_varied(random, TITANIUM_OXIDE), log_uniform(random, 90, 220))
    depths += strength * log_uniform(random, 0.2, 1.5) * bands(_varied(random, HYDRIDES), 60)
    # Lines without number take the light of the blue.
    blanketing = log_uniform(random, 0.1, 2.5) * np.clip((random.uniform(4400, 4700) - AXIS) / 400, 0, None)
    flux = black_body(AXIS, teff) * np.exp(-depths - blanketing)
    if random.random() < 0.8:
        flux *= _metals(random, 0.3, 3.0)
    flux *= absorb(_varied(random, ALKALIS), log_uniform(random, 0.3, 2), log_uniform(random, 1.0, 6.0), 1.1)
    if random.random() < 0.4:
        flux += flux * _emission(
            {at: BALMER[at] for at in (6564.61, 4862.68, 4341.68)}, log_uniform(random, 0.3, 6), 2.0
        )
    return flux


def hot_subdwarf(random: np.random.Generator) -> Array:
    """Make a hot subdwarf: moderately broad hydrogen, or helium in its place."""
    teff = log_uniform(random, 20_000, 60_000)
    flux = black_body(AXIS, teff)
    rich = random.random() < 0.3
    if not rich:
        flux = flux * _balmer(random, (0.2, 1.2), (2.0, 10.0))
    if rich or random.random() < 0.8:
        depth = log_uniform(random, 0.25, 1.2) if rich else log_uniform(random, 0.02, 0.4)
        flux = flux * absorb(_varied(random, HELIUM), depth, log_uniform(random, 1.5, 4.5), 1.2)
    if teff > 30_000 and random.random() < 0.7:
        flux = flux * absorb(
            _varied(random, IONISED_HELIUM), log_uniform(random, 0.05, 0.7), log_uniform(random, 1.5, 6), 1.2
        )
    return flux


def of_low_gravity(atmospheres: Atmospheres) -> Maker:
    """Give a maker of stars of a grid that reaches down to the gravity of hot subdwarfs."""

    def make(random: np.random.Generator) -> Array:
        teff = log_uniform(random, max(6500.0, atmospheres.teff[0]), atmospheres.teff[-1])
        logg = random.uniform(atmospheres.logg[0], LOW_GRAVITY)
        return atmospheres.flux(teff, logg) * (_metals(random, 0.02, 0.5) if random.random() < 0.5 else 1.0)

    return make


def active(random: np.random.Generator) -> Array:
    """Make a galaxy or a quasar: a power law with emission at some redshift."""
    flux = (AXIS / 5500) ** random.uniform(-2.5, 1.0)
    redshift = random.uniform(0, 0.05) if random.random() < 0.3 else random.uniform(0.05, 3.0)
    lines = {at * (1 + redshift): strength for at, strength in _varied(random, EMISSION).items()}
    width = log_uniform(random, 2, 6) if random.random() < 0.4 else log_uniform(random, 12, 60)
    return flux * (1 + _emission(lines, log_uniform(random, 0.3, 3), width))


def _balmer(random: np.random.Generator, depth: tuple[float, float], width: tuple[float, float]) -> Array:
    """Balmer lines of a star, of a core and Stark wings of their own."""
    power = random.uniform(0.9, 1.6)
    decrement = random.uniform(-0.06, 0.03)
    lines = {at: strength * (1 + decrement * order) for order, (at, strength) in enumerate(BALMER.items())}
    left = absorb(lines, log_uniform(random, *depth), log_uniform(random, *width), power)
    if random.random() < 0.5:
        left = left * absorb(lines, log_uniform(random, 0.1, 1.5), log_uniform(random, 0.5, 2.0), 2.0)
    return left


def _metals(random: np.random.Generator, low: float, high: float) -> Array:
    strength = log_uniform(random, low, high)
    width = log_uniform(random, 0.8, 3.0)
    present = random.uniform(0.2, 1)
    lines = {at: line for at, line in _varied(random, METALS).items() if random.random() < present}
    left = absorb(lines, strength, width, random.uniform(1.0, 2.5)) * _forest(random, strength)
    return left * absorb(CALCIUM, 2.5 * strength * log_uniform(random, 0.3, 2), width * log_uniform(random, 1, 3), 1.0)


def _forest(random: np.random.Generator, strength: float) -> Array:
    """Weak lines without number, thicker towards the blue."""
    if random.random() < 0.3:
        return np.ones(AXIS.size)
    thickness = log_uniform(random, 0.02, 0.25) * strength * (4500 / AXIS) ** random.uniform(2, 5)
    noise = np.repeat(random.exponential(1.0, -(-AXIS.size // 5)), 5)[: AXIS.size]
    return np.exp(-thickness * noise)


def _emission(lines: dict[float, float], height: float, width: float) -> Array:
    found = np.zeros(AXIS.size)
    for at, strength in lines.items():
        found += strength * np.exp(-0.5 * ((LOG_AXIS - np.log10(at)) * np.log(10) / (width / 4500)) ** 2)
    return height * found


def _varied(random: np.random.Generator, lines: dict[float, float]) -> dict[float, float]:
    return {at: strength * log_uniform(random, 0.6, 1.6) for at, strength in lines.items()}
