"""Temperature and gravity of DAs, from their Balmer lines, and which of two solutions is meant.

Lines of a hotter and of a cooler star around their maximum can be alike (`white_dwarfs.solutions`). Photometry chooses
where there is some, else the better fit, and a flag says when that isn't much better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from astra_orchestration.pipelines.white_dwarfs.catalogues import fit_knowing
from astra_orchestration.pipelines.white_dwarfs.fit import LINE_WINDOWS, BalmerFit, fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateGrid
from astra_orchestration.pipelines.white_dwarfs.pixels import Windows
from astra_orchestration.pipelines.white_dwarfs.solutions import Photometry

FIT_LABELS = ("DA", "DA:")
"""What a spectrum has to be called for its lines to be fitted."""

COOL: Windows = {
    "H-alpha": (6494.0, 6564.6, 6634.0),
    "H-beta": (4782.0, 4862.7, 4942.0),
    "H-gamma": (4280.0, 4341.7, 4402.0),
    "H-delta": (4055.0, 4102.9, 4150.0),
}
"""Windows below 8000 K, where lines are narrow and high ones fade."""

VERY_HOT: Windows = {name: window for name, window in LINE_WINDOWS.items() if name != "H-alpha"}
"""Windows above 40,000 K, where models in local equilibrium miss the core of H-alpha."""

WINDOWS: tuple[tuple[float, Windows], ...] = ((8_000.0, COOL), (40_000.0, LINE_WINDOWS), (np.inf, VERY_HOT))
"""Windows by the temperature up to which they are used (K)."""

ERROR_FACTOR = 1.12
"""What formal errors are multiplied by: the scatter of the grid's own models at S/N 10 to 50, and its tails."""

TEFF_FLOOR, TEFF_FLOOR_AT_MAXIMUM = 0.001, 0.004
"""Relative error of the interpolation between nodes of the grid, away from the maximum and around it."""

LOGG_FLOOR = 0.005
"""The same of gravity (dex)."""

EDGE = 2e-3
"""Share of the grid's range from its end within which a value is at the edge."""

Spectrum = tuple[ArrayLike, ArrayLike, ArrayLike]


def measured(
    wavelength: ArrayLike,
    flux: ArrayLike,
    ivar: ArrayLike,
    grid: TemplateGrid,
    photometry: Callable[[], Photometry | None] = lambda: None,
) -> dict[str, Any]:
    """Measure temperature and gravity of a DA, as columns of `SnowWhite`.

    Parameters
    ----------
    wavelength, flux, ivar : array_like of float, shape (n_pixels,)
        The spectrum, see `white_dwarfs.fit.fit_spectrum`.
    grid : TemplateGrid
        The models.
    photometry : callable, optional
        Looks up what catalogues say; it is asked only if there are two solutions around the maximum.

    Returns
    -------
    dict
        Values and flags by column. What could not be measured is missing.
    """
    spectrum = (wavelength, flux, ivar)
    fit, known = fit_knowing(*spectrum, grid, photometry)
    fit = _with_windows(spectrum, grid, fit, known)
    return _columns(fit, grid) if np.isfinite(fit.teff) else {"flag_unconverged": True}


def _with_windows(spectrum: Spectrum, grid: TemplateGrid, fit: BalmerFit, known: Photometry | None) -> BalmerFit:
    """Fit again the lines that count at the temperature that all of them say."""
    windows = _windows_at(fit.teff)
    if windows is LINE_WINDOWS or not np.isfinite(fit.teff):
        return fit
    again = fit_spectrum(*spectrum, grid, windows=windows, photometry=known)
    # A temperature that leaves the range of its windows is no better than the one that it began with.
    return again if np.isfinite(again.teff) and _windows_at(again.teff) is windows else fit


def _windows_at(teff: float) -> Windows:
    return next((windows for limit, windows in WINDOWS if teff < limit), LINE_WINDOWS)


def _columns(fit: BalmerFit, grid: TemplateGrid) -> dict[str, Any]:
    """Name what was measured as the columns of the table, with total errors beside the formal ones."""
    near = 10_000 < fit.teff < 17_000
    floor = (TEFF_FLOOR_AT_MAXIMUM if near else TEFF_FLOOR) * fit.teff
    return {
        "teff": fit.teff,
        "raw_e_teff": fit.raw_e_teff,
        "e_teff": float(np.hypot(ERROR_FACTOR * fit.raw_e_teff, floor)),
        "logg": fit.logg,
        "raw_e_logg": fit.raw_e_logg,
        "e_logg": float(np.hypot(ERROR_FACTOR * fit.raw_e_logg, LOGG_FLOOR)),
        "v_rel": fit.v_rad,
        "flag_teff_grid_edge_bad": _at_edge(np.log10(fit.teff), *np.log10(grid.teff[[0, -1]])),
        "flag_logg_grid_edge_bad": _at_edge(fit.logg, *grid.logg[[0, -1]]),
        "flag_two_solutions": fit.two_solutions,
    }


def _at_edge(value: float, low: float, high: float) -> bool:
    return bool(min(value - low, high - value) < EDGE * (high - low))
