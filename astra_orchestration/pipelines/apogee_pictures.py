"""Pictures of APOGEE pipelines. Each is given columns of a sample of the table, by name, NaN if there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.base import database
from astra_models.errors import AstraError
from astra_models.messages import said
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels.ferre import CHIPS
from astra_models.quality.drawing import style
from astra_models.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DATA", "MODEL", "Columns", "colour_scatter", "first_of", "worst_fits_of"]

Columns = Mapping[str, NDArray[Any]]
Named = tuple[NDArray[Any], str]
"""Values, and what is written at their axis."""

DATA, MODEL = "black", "#c2410c"
MOST_SHOWN, MOST_TRIED = 3, 8
WINDOW = 220
"""Pixels of a chip that are drawn of a bad fit: some 50 Angstrom, more where a model has few pixels."""


def first_of(rows: Columns, choices: Sequence[tuple[str, str]]) -> Named:
    """Give the first column that has values, and its label; NaN if none has."""
    for name, label in choices:
        if name in rows and np.isfinite(rows[name]).any():
            return rows[name], label
    return np.full(len(rows["rchi2"]), np.nan), choices[0][1]


def colour_scatter(
    figure: Figure, across: Named, up: Named, colour: Named, flagged: NDArray[np.bool_], *, inverted: bool = False
) -> None:
    """Draw results as coloured points, and grey crosses where they are flagged; nothing if there are no values."""
    there = np.isfinite(across[0]) & np.isfinite(up[0])
    if not there.any():
        return
    axes = figure.subplots()
    axes.scatter(across[0][there & flagged], up[0][there & flagged], s=10, marker="x", linewidths=0.7, color="0.7")
    some = there & ~flagged & np.isfinite(colour[0])
    drawn = axes.scatter(across[0][some], up[0][some], s=10, c=colour[0][some], cmap="viridis", linewidths=0)
    if some.any():
        figure.colorbar(drawn, ax=axes, label=colour[1])
    style(axes, f"{np.count_nonzero(there & ~flagged):,} results without a flag", across[1], up[1])
    if inverted:
        axes.invert_xaxis()
        axes.invert_yaxis()


def worst_fits_of(
    figure: Figure,
    rows: Columns,
    model: type[PipelineOutputMixin],
    continuum_and_model: Callable[[Any], tuple[NDArray[Any], NDArray[Any]]],
) -> None:
    """Draw the largest rchi2: where spectrum (black) and model (orange), over the continuum, differ most in a chip.

    Parameters
    ----------
    figure : Figure
        An empty figure.
    rows : mapping of str to array
        With ``task_pk`` and ``rchi2``.
    model : type
        The table.
    continuum_and_model : callable
        Gives the continuum of a result, and the model of the spectrum over it, each on the pixels of an apStar.
    """
    measured = np.isfinite(rows["rchi2"])
    order = np.flatnonzero(measured)[np.argsort(-rows["rchi2"][measured], kind="stable")]
    database.follow_tables()
    found: list[tuple[Any, Any]] = []
    problem = ""
    for key in rows["task_pk"][order[:MOST_TRIED]].tolist():
        result = model.get_or_none(model.task_pk == key)
        try:
            found += [] if result is None else [(result, _over_continuum(result, *continuum_and_model(result)))]
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
    for some, (result, (wavelength, flux, of_model, off)) in zip(panels, found, strict=True):
        some[0].set_title(_caption(result), fontsize="small", loc="left")
        for axes, chip in zip(some, CHIPS, strict=True):
            # A coarse grid has a model for few of the pixels: their neighbours are the next that have one.
            inside = _worst_window(off, chip.start + np.flatnonzero(np.isfinite(of_model[chip])))
            axes.plot(wavelength[inside], flux[inside], color=DATA, linewidth=0.6)
            axes.plot(wavelength[inside], of_model[inside], color=MODEL, linewidth=0.8)
            axes.set_ylim(0.4, 1.3)
            axes.tick_params(labelsize="x-small")
            axes.locator_params(nbins=3)


def _over_continuum(
    result: PipelineOutputMixin, continuum: NDArray[Any], model: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Give wavelengths, flux and model over the continuum, and the residuals in errors (0 where there are none)."""
    spectrum = Spectrum(pk=result.spectrum_pk).resolve()
    good = (spectrum.ivar > 0) & np.isfinite(model) & np.isfinite(continuum)
    with np.errstate(invalid="ignore", divide="ignore"):
        flux = np.where(good, spectrum.flux / continuum, np.nan)
        off = np.nan_to_num((spectrum.flux - model * continuum) * np.sqrt(spectrum.ivar))
    return spectrum.wavelength, flux, model, np.where(good, off, 0)


def _worst_window(off: NDArray[Any], chip: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the pixels of a chip where the squares of the residuals add up to most."""
    sums = np.cumsum(np.concatenate([[0.0], off[chip] ** 2]))
    first = int(np.argmax(sums[WINDOW:] - sums[:-WINDOW])) if len(chip) > WINDOW else 0
    return chip[first : first + WINDOW]


def _caption(result: Any) -> str:
    flags = ", ".join(name for name in type(result).result_flags.flags if getattr(result, name)) or "no flag"
    return f"task_pk {result.task_pk}, spectrum_pk {result.spectrum_pk}: rchi2 {result.rchi2:.1f}; {flags}"
