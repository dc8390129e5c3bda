"""ASPCAP's pictures in the UI. Each is given columns of a sample of the table, by name, NaN where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.aspcap import ASPCAP, BAD_PARAMETERS
from astra_orchestration.pipelines.apogee_pictures import Columns, colour_scatter, first_of, worst_fits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "alpha_against_metallicity", "kiel_diagram_by_metallicity", "worst_fits"]

TEFF, LOGG = (
    (("teff", "teff (K)"), ("raw_teff", "raw_teff (K)")),
    (("logg", "logg (dex)"), ("raw_logg", "raw_logg (dex)")),
)
METALLICITY = (("m_h_atm", "[M/H] (dex)"), ("raw_m_h_atm", "[M/H], raw (dex)"))
ALPHA = (("alpha_m_atm", "[alpha/M] (dex)"), ("raw_alpha_m_atm", "[alpha/M], raw (dex)"))
"""Columns that a picture shows: calibrated, or raw ones where nothing is calibrated."""


def kiel_diagram_by_metallicity(figure: Figure, rows: Columns) -> None:
    """Results that aren't flagged as bad, coloured by metallicity; grey: flagged."""
    teff, logg = first_of(rows, TEFF), first_of(rows, LOGG)
    colour_scatter(figure, teff, logg, first_of(rows, METALLICITY), _flagged(rows), inverted=True)


def alpha_against_metallicity(figure: Figure, rows: Columns) -> None:
    """Alpha elements against metallicity, coloured by temperature; grey: flagged as bad."""
    colour_scatter(figure, first_of(rows, METALLICITY), first_of(rows, ALPHA), first_of(rows, TEFF), _flagged(rows))


def worst_fits(figure: Figure, rows: Columns) -> None:
    """Draw the largest rchi2: where spectrum (black) and model (orange), over the continuum, differ most in a chip."""
    worst_fits_of(figure, rows, ASPCAP, _continuum_and_model)


def _continuum_and_model(result: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    return result.continuum, result.model_flux


def _flagged(rows: Columns) -> NDArray[np.bool_]:
    return (np.asarray(rows["result_flags"]).astype(np.int64) & BAD_PARAMETERS) != 0


PICTURES = (kiel_diagram_by_metallicity, alpha_against_metallicity, worst_fits)
"""What is drawn after each run."""
