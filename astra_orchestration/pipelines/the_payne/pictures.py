"""The Payne's pictures in the UI. Each is given columns of a sample of the table, by name, NaN where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.apogee_pictures import Columns, colour_scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "kiel_diagram_by_metallicity", "magnesium_against_iron"]


def kiel_diagram_by_metallicity(figure: Figure, rows: Columns) -> None:
    """Results without a flag, coloured by metallicity; grey: with a flag."""
    teff, logg = (rows["teff"], "teff (K)"), (rows["logg"], "logg (dex)")
    colour_scatter(figure, teff, logg, (rows["fe_h"], "[Fe/H] (dex)"), _flagged(rows), inverted=True)


def magnesium_against_iron(figure: Figure, rows: Columns) -> None:
    """[Mg/Fe] against [Fe/H], coloured by temperature; grey: with a flag."""
    iron, ratio = (rows["fe_h"], "[Fe/H] (dex)"), (rows["mg_h"] - rows["fe_h"], "[Mg/Fe] (dex)")
    colour_scatter(figure, iron, ratio, (rows["teff"], "teff (K)"), _flagged(rows))


def _flagged(rows: Columns) -> NDArray[np.bool_]:
    return np.asarray(rows["result_flags"]) != 0


PICTURES = (kiel_diagram_by_metallicity, magnesium_against_iron)
"""What is drawn after each run."""
