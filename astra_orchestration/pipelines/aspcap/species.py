"""Step 8, before FERRE: what is free for an abundance, and the spectrum that it is fitted to."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.aspcap import ABUNDANCES
from astra_orchestration.pipelines.ferre.grid import Grid

from .dimensions import ALPHA

Array = NDArray[np.float64]

METALS = "METALS"
KEPT = ("C", "N", ALPHA)
"""Dimensions that follow METALS with slope -1, so that [C/M] + [M/H] stays when [M/H] is free for another element."""

RATIOS = ("C_12_13",)
"""Species whose value isn't relative to hydrogen."""


def ties(grid: Grid, free: str) -> Mapping[str, tuple[str, float]]:
    """Give the dimensions that follow the free one: each by its label, with what it follows and the slope."""
    if free != METALS:
        return {}
    return {label: (METALS, -1.0) for label in KEPT if label in grid.labels}


def as_model(flux: ArrayLike, model: ArrayLike, rectified_model: ArrayLike, rectified_flux: ArrayLike) -> Array:
    """Give the factor that makes of a spectrum one that compares with the model as it is, without a continuum.

    Parameters
    ----------
    flux : array_like of float, shape (n_pixels,)
        The spectrum as FERRE got it.
    model, rectified_model, rectified_flux : array_like of float, shape (n_pixels,)
        The model at the stellar parameters, and both divided by their continua.

    Returns
    -------
    array of float, shape (n_pixels,)
        NaN where it can't be told.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (np.asarray(rectified_flux) / np.asarray(flux)) / (np.asarray(rectified_model) / np.asarray(model))
    return np.where(np.isfinite(factor) & (factor > 0), factor, np.nan)


def column_of(species: str) -> str | None:
    """Give the column of ASPCAP's table that a species goes to; None if it has none."""
    name = species.lower() if species in RATIOS else f"{species.lower()}_h"
    return name if name in ABUNDANCES else None


def abundance(species: str, free: str, fitted: tuple[float, float], e_known: float, m_h: float) -> tuple[float, float]:
    """Give an abundance relative to hydrogen, and its error.

    FERRE's error is that with all other parameters known, and 1.2 to 1.6 times too small. What they are off by shows in
    the error that the same dimension had where all were fitted: it is added in quadrature (docs/aspcap.md has figures).

    Parameters
    ----------
    species : str
        The name of the element.
    free : str
        The dimension that was fitted.
    fitted : tuple of float
        Value and error that FERRE gave for it, in dex.
    e_known : float
        Error of the same dimension where all parameters were fitted, in dex; NaN counts as 0.
    m_h : float
        [M/H] of that fit, in dex.

    Returns
    -------
    tuple of float
        ``[X/H]`` and its error, in dex; of an isotopic ratio the value itself.
    """
    value, error = fitted[0], float(np.hypot(fitted[1], np.nan_to_num(e_known)))
    return (value, error) if free == METALS or species in RATIOS else (value + m_h, error)
