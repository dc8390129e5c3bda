"""A fake FERRE where a test wants it, made to misbehave as the test wants it."""

import shlex
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.fit import Spectra
from astra_orchestration.pipelines.ferre.grid import Chip, Grid, write_grid

FAKE = Path(__file__).with_name("fake_ferre.py")
CHIPS = (Chip(4.180476, 1.5e-4, 100), Chip(4.200510, 1.5e-4, 100), Chip(4.217064, 1.5e-4, 100))
LABELS = ("O Mg Si S Ca Ti", "METALS", "LOGG", "TEFF")


def install_fake(folder: Path, **misbehaviour: object) -> Path:
    """Make an executable `ferre.x`; ``hang="7_"`` becomes FAKE_FERRE_HANG."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "ferre.x"
    lines = [f"export FAKE_FERRE_{key.upper()}={shlex.quote(str(value))}" for key, value in misbehaviour.items()]
    command = f'exec {shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} "$@"'
    program.write_text("\n".join(["#!/bin/sh", *lines, command, ""]))
    program.chmod(0o755)
    return program


def line_flux(grid_or_chips: tuple[Chip, ...], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian lines whose depths depend smoothly on alpha, metals, logg and teff: (n, n_pixels)."""
    random = np.random.default_rng(5)
    wavelength = np.concatenate([10 ** (c.start + c.step * np.arange(c.n_pixels)) for c in grid_or_chips])
    alpha, metals, logg, teff = (values[:, i, None] for i in range(4))
    flux = np.ones((len(values), len(wavelength)))
    centres = random.choice(wavelength, 45, replace=False)
    for number, centre in enumerate(centres):
        sensitivity = random.normal(0, 0.25, 3)
        strength = 0.25 * np.exp(
            0.9 * metals
            + (0.9 * alpha if number % 3 == 0 else 0)
            + sensitivity[0] * (logg - 2.5)
            + 1.5 * sensitivity[1] * (teff - 5000) / 1000
        )
        width = 6 * (1 + 0.15 * (logg - 2.5) * (number % 2))
        flux -= strength / (1 + strength) * np.exp(-0.5 * ((wavelength - centre) / width) ** 2)
    return np.maximum(flux, 0.02)


def small_grid(folder: Path) -> Grid:
    """Write a grid of 4 x 4 x 4 x 5 models with three chips of 100 pixels."""
    lower, steps, n_points = (-0.75, -1.5, 1.0, 4000.0), (0.5, 0.5, 1.0, 500.0), (4, 4, 4, 5)
    nodes = [low + step * np.arange(n) for low, step, n in zip(lower, steps, n_points, strict=True)]
    values = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 4)
    models = line_flux(CHIPS, values).reshape(*n_points, -1)
    return write_grid(folder / "small.hdr", LABELS, lower, steps, CHIPS, models)


def star_spectra(n: int, seed: int = 1, signal_to_noise: float = 100) -> tuple[NDArray[np.float64], Spectra]:
    """Give the truth and spectra with a continuum that bends, started a step or so away."""
    random = np.random.default_rng(seed)
    low, high = np.array([-0.5, -1.2, 1.3, 4200]), np.array([0.5, -0.2, 3.7, 5800])
    truth = random.uniform(low, high, (n, 4))
    x = np.concatenate([np.linspace(-1, 1, chip.n_pixels) for chip in CHIPS])
    continuum = 200 * (1 + random.normal(0, 0.05, (n, 1)) * x + random.normal(0, 0.05, (n, 1)) * x**2)
    flux = line_flux(CHIPS, truth) * continuum
    error = flux / signal_to_noise
    start = np.clip(truth + random.normal(0, 0.5, (n, 4)) * [0.5, 0.5, 1, 500], low, high)
    names = [f"{i}_{1000 + i}_{2000 + i}_0_None" for i in range(n)]
    return truth, Spectra(names, start, flux + random.normal(0, 1, flux.shape) * error, error)
