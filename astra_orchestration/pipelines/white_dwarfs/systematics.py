"""How far models are off: those of a grid between its nodes, and those of one author from another's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log10

import numpy as np

from .grid import TemplateGrid
from .pixels import LINE_WINDOWS
from .splines import Array, heat

BETWEEN_AUTHORS = np.array([
    (8_000.0, 0.012, 0.22),
    (20_000.0, 0.027, 0.05),
])  # fmt: skip
"""Temperature (K), and by how much two authors' models differ there: share of Teff, log g (dex)."""

LEAST_ERROR = 0.003
"""Error of any interpolated template, as a share of the flux."""


def floor_at(teff: float) -> tuple[float, float]:
    """Give the systematic error of a fit at a temperature (K).

    Parameters
    ----------
    teff : float
        Effective temperature (K).

    Returns
    -------
    e_teff, e_logg : float
        In K and dex of cm/s2.

    Notes
    -----
    `BETWEEN_AUTHORS` is what comes out when the models of Koester (2010) are fitted with those of `astra grids fetch
    da`; between its temperatures it is interpolated, outside it the nearest is taken. Near the Balmer maximum (10,000
    to 17,000 K) the difference may be far larger, for which no single number stands: see `solutions`.
    """
    nodes, in_teff, in_logg = BETWEEN_AUTHORS.T
    at = np.log(teff)
    return float(np.interp(at, np.log(nodes), in_teff)) * teff, float(np.interp(at, np.log(nodes), in_logg))


def template_error(grid: TemplateGrid, log_teff: float) -> float:
    """Give the error of a grid's templates between its nodes, as a share of the flux.

    It is a quarter of what is missed when nodes are left out and interpolated from their neighbours: leaving out a
    node doubles the distance, and a cubic's error falls by more than four with half of it where spectra are smooth.
    """
    nodes, errors = _left_out(grid)
    return max(LEAST_ERROR, float(np.interp(log_teff, nodes, errors)) / 4)


@lru_cache(maxsize=4)
def _left_out(grid: TemplateGrid) -> tuple[Array, Array]:
    """Miss of left-out nodes in the line windows: log10 of the temperatures, and shares, each of shape (n_teff,)."""
    nodes = np.log10(grid.teff)
    gravities = np.unique(np.clip([7.5, 8.0, 8.5], grid.logg[0], grid.logg[-1]))
    windows = [np.linspace(log10(first), log10(last), 60) for first, _, last in LINE_WINDOWS.values()]
    windows = [axis for axis in windows if axis[0] > grid.start + 1e-3 and axis[-1] < grid.stop - 1e-3]
    spectra = [[_lines(grid, windows, t, g) for g in gravities] for t in nodes]
    log_flux, at = np.array(spectra), heat(grid.teff)
    errors = np.full(nodes.size, np.nan)
    for node in range(1, nodes.size - 1):
        near = [index for index in range(node - 2, node + 3) if 0 <= index < nodes.size and index != node]
        weights = [np.prod([(at[node] - at[b]) / (at[a] - at[b]) for b in near if b != a]) for a in near]
        missed = _without_lines(log_flux[node] - np.tensordot(weights, log_flux[near], axes=1))
        errors[node] = np.sqrt(np.mean(missed**2))
    known = np.isfinite(errors)
    return nodes, np.interp(nodes, nodes[known], errors[known]) if np.any(known) else np.ones(nodes.size)


def _lines(grid: TemplateGrid, windows: Sequence[Array], log_teff: float, logg: float) -> Array:
    return np.array([np.log(grid.evaluate(axis, log_teff, logg).flux) for axis in windows])


def _without_lines(values: Array) -> Array:
    """Take a straight line out of the last axis."""
    x = np.linspace(-1, 1, values.shape[-1])
    centred = values - values.mean(axis=-1, keepdims=True)
    return centred - x * (centred @ x / (x @ x))[..., None]
