"""The Cannon's pictures in the UI. Each is given columns of a sample of the table, by name, NaN where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.base import database
from astra_models.errors import AstraError
from astra_models.messages import said
from astra_models.quality.drawing import style
from astra_models.spectrum import Spectrum
from astra_models.the_cannon import TheCannon

from .continuum import CHIPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .training_run import Trained

__all__ = ["PICTURES", "alpha_against_metallicity", "cross_validation", "kiel_diagram_by_metallicity", "worst_fits"]

Columns = Mapping[str, NDArray[Any]]

METALLICITIES = (("m_h_atm", "[M/H] (dex)"), ("fe_h", "[Fe/H] (dex)"))
ALPHAS = (("alpha_m_atm", "[alpha/M] (dex)"), ("mg_fe", "[Mg/Fe] (dex)"), ("o_fe", "[O/Fe] (dex)"))
"""Columns that may have what a picture shows, the best first: a model has the labels of its training set."""

DATA, MODEL = "black", "#c2410c"
MOST_SHOWN, MOST_TRIED = 3, 8
PANELS = 3
WINDOW = 220
"""Pixels of a chip that are drawn of a bad fit: some 50 Angstrom."""


def kiel_diagram_by_metallicity(figure: Figure, rows: Columns) -> None:
    """Results without a flag, coloured by metallicity; grey: with a flag."""
    metallicity, name = _first(rows, METALLICITIES)
    _scatter(figure, rows, (rows["teff"], "teff (K)"), (rows["logg"], "logg (dex)"), (metallicity, name), invert=True)


def alpha_against_metallicity(figure: Figure, rows: Columns) -> None:
    """Alpha elements against metallicity, coloured by temperature; grey: with a flag."""
    metallicity, alpha = _first(rows, METALLICITIES), _first(rows, ALPHAS)
    _scatter(figure, rows, metallicity, alpha, (rows["teff"], "teff (K)"), invert=False)


def worst_fits(figure: Figure, rows: Columns) -> None:
    """Draw the largest rchi2: where spectrum (black) and model (orange), over the continuum, differ most in a chip."""
    measured = np.isfinite(rows["rchi2"])
    order = np.flatnonzero(measured)[np.argsort(-rows["rchi2"][measured], kind="stable")]
    found: list[tuple[TheCannon, Any]] = []
    problem = ""
    for key in rows["task_pk"][order[:MOST_TRIED]].tolist():
        result = TheCannon.get_or_none(TheCannon.task_pk == key)
        try:
            found += [] if result is None else [(result, _over_continuum(result))]
        except (AstraError, OSError) as error:  # not every installation keeps models and spectra
            problem = said(error)
        if len(found) == MOST_SHOWN:
            break
    if not found and not problem:
        return
    figure.set_figheight(1.9 * max(len(found), 1) + 0.4)
    if not found:
        figure.subplots().text(0.5, 0.5, f"none can be drawn: {problem}", ha="center", va="center", wrap=True)
        return
    panels = figure.subplots(len(found), len(CHIPS), squeeze=False, sharey="row")
    for some, (result, (wavelength, flux, model, off)) in zip(panels, found, strict=True):
        some[0].set_title(_caption(result), fontsize="small", loc="left")
        for axes, (low, high) in zip(some, CHIPS, strict=True):
            inside = _worst_window(off, np.flatnonzero((wavelength > low) & (wavelength < high)))
            axes.plot(wavelength[inside], flux[inside], color=DATA, linewidth=0.6)
            axes.plot(wavelength[inside], model[inside], color=MODEL, linewidth=0.8)
            axes.set_ylim(0.4, 1.3)
            axes.tick_params(labelsize="x-small")
            axes.locator_params(nbins=3)


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


def _worst_window(off: NDArray[Any], chip: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the pixels of a chip where the squares of the residuals add up to most."""
    sums = np.cumsum(np.concatenate([[0.0], off[chip] ** 2]))
    first = int(np.argmax(sums[WINDOW:] - sums[:-WINDOW])) if len(chip) > WINDOW else 0
    return chip[first : first + WINDOW]


def _over_continuum(result: TheCannon) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Give wavelengths, flux and model over the continuum, and the residuals in errors (0 where there are none)."""
    spectrum: Any = Spectrum(pk=result.spectrum_pk).resolve()
    good = (spectrum.ivar > 0) & np.isfinite(result.model_flux)
    with np.errstate(invalid="ignore"):
        flux, model = (
            np.where(good, values / result.continuum, np.nan) for values in (spectrum.flux, result.model_flux)
        )
        off = np.nan_to_num((spectrum.flux - result.model_flux) * np.sqrt(spectrum.ivar))
    return spectrum.wavelength, flux, model, np.where(good, off, 0)


def _caption(result: TheCannon) -> str:
    flags = ", ".join(name for name in TheCannon.result_flags.flags if getattr(result, name)) or "no flag"
    return f"task_pk {result.task_pk}, spectrum_pk {result.spectrum_pk}: rchi2 {result.rchi2:.1f}; {flags}"


def _first(rows: Columns, choices: tuple[tuple[str, str], ...]) -> tuple[NDArray[Any], str]:
    for name, label in choices:
        if name in rows and np.isfinite(rows[name]).any():
            return rows[name], label
    return np.full(len(rows["teff"]), np.nan), choices[0][1]


def _scatter(
    figure: Figure,
    rows: Columns,
    across: tuple[NDArray[Any], str],
    up: tuple[NDArray[Any], str],
    colour: tuple[NDArray[Any], str],
    *,
    invert: bool,
) -> None:
    there = np.isfinite(across[0]) & np.isfinite(up[0])
    if not there.any():
        return
    database.follow_tables()
    flagged = np.asarray(rows["result_flags"]) != 0
    axes = figure.subplots()
    axes.scatter(across[0][there & flagged], up[0][there & flagged], s=10, marker="x", linewidths=0.7, color="0.7")
    some = there & ~flagged & np.isfinite(colour[0])
    drawn = axes.scatter(across[0][some], up[0][some], s=10, c=colour[0][some], cmap="viridis", linewidths=0)
    if some.any():
        figure.colorbar(drawn, ax=axes, label=colour[1])
    style(axes, f"{np.count_nonzero(there & ~flagged):,} results without a flag", across[1], up[1])
    if invert:
        axes.invert_xaxis()
        axes.invert_yaxis()


PICTURES = (kiel_diagram_by_metallicity, alpha_against_metallicity, worst_fits)
"""What is drawn after each run."""
