"""Model spectra of the classes of white dwarfs that the forest is trained on.

DAs come from grids of model atmospheres and from the built-in family. For the others no grid can be had: they are
black bodies with the lines and bands that define the class, in wide ranges of strength and width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.white_dwarfs.family import black_body, da_flux
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateGrid

from .observing import AXIS, LOG_AXIS, LOG_STEP, log_uniform

Array = NDArray[np.floating[Any]]
Maker = Callable[[np.random.Generator], Array]

HELIUM = {
    3889.75: 0.8, 3965.85: 0.3, 4027.33: 0.8, 4122.0: 0.2, 4144.93: 0.3, 4389.16: 0.5, 4472.73: 1.0, 4714.5: 0.35,
    4923.3: 0.6, 5017.08: 0.5, 5877.2: 1.0, 6679.99: 0.6, 7067.1: 0.5, 7283.4: 0.2,
}  # fmt: skip
"""Lines of neutral helium (vacuum Angstrom) and how strong they are."""

CALCIUM = {3934.78: 1.0, 3969.59: 0.9}
COOL_METALS = {
    3838.3: 0.5, 3860.9: 0.3, 4047.0: 0.15, 4227.92: 0.5, 4272.9: 0.15, 4308.9: 0.15, 4384.8: 0.2, 4405.9: 0.15,
    5168.8: 0.3, 5174.1: 0.4, 5185.0: 0.45, 5270.9: 0.15, 5329.5: 0.12, 5891.6: 0.3, 5897.6: 0.25, 8500.4: 0.2,
    8544.4: 0.4, 8664.5: 0.35,
}  # fmt: skip
SWAN = {4383.3: 0.25, 4738.4: 0.8, 5166.7: 1.0, 5637.2: 0.6, 6192.9: 0.2}
"""Heads of the bands of C2, which fade to the blue."""

WINGS = 60.0
"""Half widths from the centre of a line at which it ends."""

TEFF_SHARES = ((5500.0, 7000.0, 0.1), (7000.0, 10_000.0, 0.35), (10_000.0, 40_000.0, 0.4), (40_000.0, 90_000.0, 0.15))
"""Ranges (K) and which share of the DAs is drawn from each: most where other stars look alike, few where lines fade."""

COMPANION_SHARE = (0.15, 0.9)
"""Of a DA's companion in the light around 7500 Angstrom."""

DROWNED = 0.4
"""Light of a companion over its white dwarf's, around 4700 Angstrom, from which nobody could tell that there is one."""


class Atmospheres:
    """A grid of model atmospheres over the whole range of the features.

    Parameters
    ----------
    grid : TemplateGrid
        The grid. Beyond its wavelengths a black body goes on.
    """

    def __init__(self, grid: TemplateGrid):
        self.teff, self.logg = grid.teff, grid.logg
        self.is_seen = grid.resolution is None
        self._heat = -5040 / grid.teff
        self._log_flux = np.array(
            [[_on_axis(grid, i, j) for j in range(self.logg.size)] for i in range(self.teff.size)]
        )

    def flux(self, teff: float, logg: float) -> Array:
        """Interpolate the log flux linearly in inverse temperature and in gravity: shape (n_points,)."""
        i, u = _place(self._heat, -5040 / teff)
        j, v = _place(self.logg, logg)
        nodes = self._log_flux[i : i + 2, j : j + 2]
        low, high = (1 - v) * nodes[:, 0] + v * nodes[:, 1]
        return np.exp((1 - u) * low + u * high)


def _place(nodes: Array, value: float) -> tuple[int, float]:
    i = int(np.clip(np.searchsorted(nodes, value) - 1, 0, nodes.size - 2))
    return i, float(np.clip((value - nodes[i]) / (nodes[i + 1] - nodes[i]), 0, 1))


def _on_axis(grid: TemplateGrid, i: int, j: int) -> Array:
    from scipy.interpolate import Akima1DInterpolator

    ends = np.clip(AXIS, *grid.wavelength[[0, -1]])
    log_flux = Akima1DInterpolator(np.log10(grid.wavelength), np.log(grid.flux[i, j]))(np.log10(ends))
    teff = float(grid.teff[i])
    beyond = np.log(black_body(AXIS, teff) / black_body(ends, teff))
    return np.asarray(log_flux - log_flux.mean() + beyond, dtype=np.float32)


def da(atmospheres: Atmospheres) -> Maker:
    """Give a maker of DAs of a grid."""

    def make(random: np.random.Generator) -> Array:
        return atmospheres.flux(*_draw_da(random, atmospheres.teff, atmospheres.logg))

    return make


def _draw_da(random: np.random.Generator, teff: Array, logg: Array) -> tuple[float, float]:
    ranges = [(low, high) for low, high, _ in TEFF_SHARES]
    low, high = ranges[int(random.choice(len(ranges), p=[share for *_, share in TEFF_SHARES]))]
    temperature = float(np.clip(log_uniform(random, low, high), teff[0], teff[-1]))
    # White dwarfs are at log g 8, and have to be known at 7 and 9. Cool ones of low gravity are most like other stars,
    # and other authors' models of them have narrower lines.
    if temperature < 10_000 and random.random() < 0.5:
        gravity = random.uniform(logg[0], 7.7)
    else:
        gravity = random.uniform(logg[0], logg[-1]) if random.random() < 0.6 else random.normal(8.0, 0.25)
    return temperature, float(np.clip(gravity, logg[0], logg[-1]))


def da_of_family(random: np.random.Generator) -> Array:
    """Make a DA of the built-in family, which is as seen by the spectrograph."""
    return da_flux(AXIS, log_uniform(random, 6500, 40_000), float(np.clip(random.normal(8, 0.4), 7, 9)))


def db(random: np.random.Generator) -> Array:
    """Make a DB: broad lines of neutral helium."""
    teff = log_uniform(random, 11_000, 40_000)
    lines = {at: strength * log_uniform(random, 0.6, 1.6) for at, strength in HELIUM.items()}
    depth = log_uniform(random, 0.2, 1.6)
    return black_body(AXIS, teff) * absorb(lines, depth, log_uniform(random, 7, 30), random.uniform(0.9, 1.5))


def dc(random: np.random.Generator) -> Array:
    """Make a DC: a black body without a feature."""
    return black_body(AXIS, log_uniform(random, 3800, 14_000))


def dz(random: np.random.Generator) -> Array:
    """Make a DZ: broad calcium, with or without other metals."""
    teff = log_uniform(random, 4500, 11_000)
    flux = black_body(AXIS, teff) * absorb(CALCIUM, log_uniform(random, 0.4, 4), log_uniform(random, 6, 40), 1.2)
    if random.random() < 0.6:
        metals = {at: strength * log_uniform(random, 0.5, 2) for at, strength in COOL_METALS.items()}
        flux = flux * absorb(metals, log_uniform(random, 0.1, 2.0), log_uniform(random, 3, 15), 1.2)
    return flux


def dq(random: np.random.Generator) -> Array:
    """Make a DQ: the Swan bands of carbon."""
    teff = log_uniform(random, 5000, 10_500)
    depth, length = log_uniform(random, 0.15, 1.5), log_uniform(random, 40, 130)
    return black_body(AXIS, teff) * np.exp(-depth * bands(SWAN, length, blueward=True))


def da_with_companion(da_maker: Maker, m_maker: Maker) -> Maker:
    """Give a maker of DAs in the light of an M dwarf."""
    red, blue = (AXIS > 7400) & (AXIS < 7600), (AXIS > 4600) & (AXIS < 4800)

    def make(random: np.random.Generator) -> Array:
        while True:
            dwarf, companion = da_maker(random), m_maker(random)
            share = random.uniform(*COMPANION_SHARE)
            companion = companion / companion[red].mean() * dwarf[red].mean() * share / (1 - share)
            if companion[blue].mean() < DROWNED * dwarf[blue].mean():
                return dwarf + companion

    return make


def absorb(lines: dict[float, float], depth: float, width: float, power: float) -> Array:
    """Give what lines leave of the light: shape (n_points,).

    Parameters
    ----------
    lines : dict of float to float
        Strengths by vacuum wavelength (Angstrom).
    depth : float
        Optical depth in the centre of a line of strength one.
    width : float
        Half width of the profile (Angstrom at 4500 Angstrom, the same in velocity everywhere).
    power : float
        Its wings fall off with twice this power.
    """
    depths = np.zeros(AXIS.size)
    scale = width / 4500 / np.log(10)
    reach = int(WINGS * scale / LOG_STEP) + 1
    for at, strength in lines.items():
        centre = int((np.log10(at) - LOG_AXIS[0]) / LOG_STEP)
        near = slice(max(0, centre - reach), max(0, centre + reach))
        offset = (LOG_AXIS[near] - np.log10(at)) / scale
        depths[near] += strength * np.exp(-power * np.log1p(offset**2))
    return np.exp(-depth * depths)


def bands(heads: dict[float, float], length: float, *, blueward: bool = False) -> Array:
    """Sum up molecular bands: sharp at the head, then fading over `length` (Angstrom): shape (n_points,)."""
    depths = np.zeros(AXIS.size)
    for at, strength in heads.items():
        behind = (at - AXIS) if blueward else (AXIS - at)
        rise = 1 / (1 + np.exp(-np.clip(behind / 4.0, -50, 50)))
        depths += strength * rise * np.exp(-np.clip(behind, 0, None) / length)
    return depths
