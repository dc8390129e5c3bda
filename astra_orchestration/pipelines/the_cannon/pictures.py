"""The Cannon's pictures in the UI. Each is given columns of a sample of the table, by name, NaN where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astra_models.quality.drawing import style
from astra_models.the_cannon import TheCannon
from astra_orchestration.pipelines.apogee_pictures import DATA, Columns, colour_scatter, first_of, worst_fits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .training_run import Trained

__all__ = ["PICTURES", "alpha_against_metallicity", "cross_validation", "kiel_diagram_by_metallicity", "worst_fits"]

METALLICITIES = (("m_h_atm", "[M/H] (dex)"), ("fe_h", "[Fe/H] (dex)"))
ALPHAS = (("alpha_m_atm", "[alpha/M] (dex)"), ("mg_fe", "[Mg/Fe] (dex)"), ("o_fe", "[O/Fe] (dex)"))
"""Columns that may have what a picture shows, the best first: a model has the labels of its training set."""

PANELS = 3


def kiel_diagram_by_metallicity(figure: Figure, rows: Columns) -> None:
    """Results without a flag, coloured by metallicity; grey: with a flag."""
    teff, logg = (rows["teff"], "teff (K)"), (rows["logg"], "logg (dex)")
    colour_scatter(figure, teff, logg, first_of(rows, METALLICITIES), _flagged(rows), inverted=True)


def alpha_against_metallicity(figure: Figure, rows: Columns) -> None:
    """Alpha elements against metallicity, coloured by temperature; grey: with a flag."""
    metallicity, alpha = first_of(rows, METALLICITIES), first_of(rows, ALPHAS)
    colour_scatter(figure, metallicity, alpha, (rows["teff"], "teff (K)"), _flagged(rows))


def worst_fits(figure: Figure, rows: Columns) -> None:
    """Draw the largest rchi2: where spectrum (black) and model (orange), over the continuum, differ most in a chip."""
    worst_fits_of(figure, rows, TheCannon, lambda result: (result.continuum, result.model_flux / result.continuum))


def cross_validation(figure: Figure, found: Trained) -> None:
    """Draw what stars were given by models that hadn't seen them, against their labels."""
    names, validation = found.model.labels, found.validation
    n_rows = -(-len(names) // PANELS)
    figure.set_figheight(2.7 * n_rows)
    panels = figure.subplots(n_rows, min(PANELS, len(names)), squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for i, (axes, name) in enumerate(zip(panels, names, strict=False)):
        truth, label = validation.truth[:, i], validation.found.labels[:, i]
        ends = [truth.min(), truth.max()]
        axes.plot(ends, ends, color="0.7", linewidth=0.8)
        axes.scatter(truth, label, s=5, color=DATA, linewidths=0)
        unit = found.model.units[i]
        style(axes, f"{name} ({unit.replace('dex(cm / s2)', 'dex')})", "known", "found")
        told = f"spread {validation.spread[i]:.3g}\nmedian {validation.bias[i]:+.2g}"
        axes.text(0.05, 0.95, told, transform=axes.transAxes, va="top", fontsize="small")
        margin = 0.3 * (ends[1] - ends[0])
        axes.set_ylim(ends[0] - margin, ends[1] + margin)


def _flagged(rows: Columns) -> NDArray[np.bool_]:
    return np.asarray(rows["result_flags"]) != 0


PICTURES = (kiel_diagram_by_metallicity, alpha_against_metallicity, worst_fits)
"""What is drawn after each run."""
