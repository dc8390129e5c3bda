"""Corv's pictures in the UI: where the white dwarfs are, whether errors are honest, and the worst fits.

Each is given columns of a sample of the table, by name, NaN where there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.base import database
from astra_models.corv import Corv
from astra_models.errors import AstraError
from astra_models.messages import said
from astra_models.quality.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "kiel_diagram_of_DA_white_dwarfs", "velocity_pulls", "worst_fits"]

Columns = Mapping[str, NDArray[Any]]

NOT_TO_BE_TRUSTED = (
    *("flag_low_snr", "flag_not_converged", "flag_v_rad_at_edge", "flag_template_at_edge", "flag_bad_fit"),
    *("flag_no_lines", "flag_too_few_pixels"),
)
"""Flags of results that no statistics are made of."""

POINTS, OTHERS, LINE, MODEL = "#1f5f99", "#c2410c", "#8a8577", "#c2410c"
MOST_SHOWN, MOST_TRIED = 3, 8
WIDEST_PULL = 5.0
MOST_ERROR_BARS = 300


def kiel_diagram_of_DA_white_dwarfs(figure: Figure, rows: Columns) -> None:  # noqa: N802  the name is the title
    """Results without a flag, with their errors. Orange: two solutions fit alike, and a line leads to the other one."""
    sure = ~_flagged(rows, *NOT_TO_BE_TRUSTED) & np.isfinite(rows["teff"]) & np.isfinite(rows["logg"])
    if not sure.any():
        return
    two = _flagged(rows, "flag_two_solutions")
    axes = figure.subplots()
    for chosen, colour, label in ((sure & ~two, POINTS, "one solution"), (sure & two, OTHERS, "two solutions")):
        some = np.flatnonzero(chosen)[:MOST_ERROR_BARS]
        if not some.size:
            continue
        axes.errorbar(
            rows["teff"][some],
            rows["logg"][some],
            rows["e_logg"][some],
            rows["e_teff"][some],
            fmt="none",
            ecolor=colour,
            alpha=0.4,
            linewidth=0.6,
        )
        axes.scatter(rows["teff"][chosen], rows["logg"][chosen], s=6, color=colour, linewidths=0, label=label)
    for place in np.flatnonzero(sure & two & np.isfinite(rows["other_teff"])).tolist():
        ends = [[rows[f"{which}{name}"][place] for which in ("", "other_")] for name in ("teff", "logg")]
        axes.plot(*ends, color=OTHERS, linewidth=0.4, alpha=0.6)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.invert_yaxis()
    style(axes, f"{np.count_nonzero(sure):,} DA white dwarfs", "teff (K)", "logg (dex)")
    axes.legend(loc="best", fontsize="small")


def velocity_pulls(figure: Figure, rows: Columns) -> None:
    """Velocities of a star's visits less their mean, in errors. Wider than 1: errors are too small, or stars move."""
    pulls = pulls_between_visits(rows["source_pk"], rows["v_rad"], rows["e_v_rad"], _flagged(rows, *NOT_TO_BE_TRUSTED))
    if not pulls.size:
        return
    axes = figure.subplots()
    bins = np.linspace(-WIDEST_PULL, WIDEST_PULL, 41)
    axes.hist(np.clip(pulls, -WIDEST_PULL, WIDEST_PULL), bins=bins, color=POINTS, label="visits")  # type: ignore[arg-type]
    expected = pulls.size * (bins[1] - bins[0]) * np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(bins, expected, color=LINE, label="honest errors, stars at rest")
    low, high = np.percentile(pulls, [15.865, 84.135])
    beyond = np.count_nonzero(np.abs(pulls) > WIDEST_PULL)
    title = f"{pulls.size:,} visits: width {(high - low) / 2:.2f} (68 %), {beyond:,} beyond {WIDEST_PULL:g}"
    style(axes, title, "(v_rad - mean of the star) / error", "visits")
    axes.legend(loc="best", fontsize="small")


def pulls_between_visits(
    source_pk: NDArray[Any], v_rad: NDArray[Any], e_v_rad: NDArray[Any], flagged: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give by how many errors velocities are off the weighted mean of their star.

    The error is that of the difference: the visit's own, less what it has in common with the mean.

    Parameters
    ----------
    source_pk : ndarray of int64, shape (n_visits,)
        The star, negative if there is none.
    v_rad, e_v_rad : ndarray of float64, shape (n_visits,)
        Velocity and error (km/s).
    flagged : ndarray of bool, shape (n_visits,)
        Visits that don't count.

    Returns
    -------
    ndarray of float64, shape (n_pulls,)
        Of stars with two visits or more.
    """
    good = np.isfinite(v_rad) & np.isfinite(e_v_rad) & (e_v_rad > 0) & (source_pk >= 0) & ~flagged
    stars, star, n_visits = np.unique(source_pk[good], return_inverse=True, return_counts=True)
    velocity, weight = v_rad[good].astype(float), e_v_rad[good].astype(float) ** -2
    total = np.bincount(star, weight, stars.size)
    mean = np.bincount(star, weight * velocity, stars.size) / total
    several = n_visits[star] > 1
    star, velocity, weight = star[several], velocity[several], weight[several]
    return (velocity - mean[star]) / np.sqrt(1 / weight - 1 / total[star])


def worst_fits(figure: Figure, rows: Columns) -> None:
    """Draw the largest rchi2, spectrum black and model orange. `Corv.get(task_pk=...).plot()` has residuals, too."""
    measured = np.isfinite(rows["rchi2"]) & np.isfinite(rows["v_rad"])
    order = np.flatnonzero(measured)[np.argsort(-rows["rchi2"][measured], kind="stable")]
    found: list[tuple[str, Any]] = []
    problem = ""
    for key in rows["task_pk"][order[:MOST_TRIED]].tolist():
        result = Corv.get_or_none(Corv.task_pk == key)
        try:
            found += [] if result is None else [(_caption(result), result.model_spectrum())]
        except (AstraError, OSError) as error:  # not every installation has all files
            problem = said(error)
        if len(found) == MOST_SHOWN:
            break
    if not found and not problem:
        return
    figure.set_figheight(1.8 * max(len(found), 1) + 0.4)
    if not found:
        figure.subplots().text(0.5, 0.5, f"none can be drawn: {problem}", ha="center", va="center", wrap=True)
        return
    most = max(max(len(model.windows) for _, model in found), 1)
    for panels, (caption, model) in zip(figure.subplots(len(found), most, squeeze=False), found, strict=True):
        panels[0].set_title(caption, fontsize="small", loc="left")
        _draw_lines(panels, model)


def _draw_lines(panels: NDArray[Any], model: Any) -> None:
    axes: Axes
    windows = sorted(model.windows.values())
    for axes in panels[len(windows) :]:
        axes.set_axis_off()
    for axes, (first, last) in zip(panels, windows, strict=False):
        inside = (model.wavelength >= first) & (model.wavelength <= last) & np.isfinite(model.e_flux)
        axes.plot(model.wavelength[inside], model.flux[inside], color="black", linewidth=0.5)
        axes.plot(model.wavelength[inside], model.model_flux[inside], color=MODEL, linewidth=0.9)
        axes.tick_params(labelsize="x-small")
        axes.locator_params(nbins=3)


def _caption(result: Corv) -> str:
    flags = [name for name in Corv.result_flags.flags if getattr(result, name)]
    told = ", ".join(flags) or "no flag"
    return f"task_pk {result.task_pk}, spectrum_pk {result.spectrum_pk}: rchi2 {result.rchi2:.1f}; {told}"


def _flagged(rows: Columns, *names: str) -> NDArray[np.bool_]:
    """Tell which results have any of some flags."""
    database.follow_tables()
    bits = sum(Corv.result_flags.flags[name].value for name in names)
    return (np.asarray(rows["result_flags"]) & bits) != 0


PICTURES = (kiel_diagram_of_DA_white_dwarfs, velocity_pulls, worst_fits)
"""What is drawn after each run."""
