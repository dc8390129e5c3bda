"""Spectra less their models, in units of the noise: the worst fit and three by chance."""

from typing import TYPE_CHECKING

import numpy as np
import peewee

from astra_models.errors import AstraError
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.quality.drawing import INK, LINE, MARKED, POINTS, new_figure, style
from astra_models.quality.measuring import TableNumbers
from astra_models.spectrum import SpectrumMixin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_residuals"]

MODEL_FLUX = "model_flux"
BY_CHANCE = 3
MOST_TRIED = 12
"""Results whose files are looked for: most may be missing, and a file takes time."""
WORST_BY = ("rchi2", "chi2")
CLIPPED = 8.0
"""Residuals beyond this many standard deviations are drawn at the edge."""


def draw_residuals(pipeline: Pipeline, numbers: TableNumbers, seed: int) -> "tuple[Figure, str] | None":
    """Draw the residuals of the worst fit and of three others with their flags; None where no model can be read."""
    if not hasattr(numbers.model, MODEL_FLUX):
        return None
    found: list[tuple[str, PipelineOutputMixin, np.ndarray, np.ndarray]] = []
    worst = _worst(numbers)
    for key in _chosen(worst, numbers, seed):
        read = _read(pipeline, numbers.model, key)
        if read is not None:
            found.append(("worst" if key == worst else "by chance", *read))
        if len(found) == BY_CHANCE + any(name == "worst" for name, *_ in found):
            break
    if not found:
        return None
    figure = new_figure(height=1.6 * len(found) + 0.4)
    panels = figure.subplots(len(found), 1, squeeze=False).ravel()
    for axes, (name, result, wavelength, residual) in zip(panels, found, strict=True):
        flags = ", ".join(_flags_of(result, numbers.flags)) or "no flag"
        style(axes, f"{name}: spectrum_pk {result.spectrum_pk}, {flags}", "", "residual / error")
        axes.plot(wavelength, np.clip(residual, -CLIPPED, CLIPPED), linewidth=0.5, color=POINTS)
        beyond = np.abs(residual) >= CLIPPED
        axes.scatter(wavelength[beyond], np.sign(residual[beyond]) * CLIPPED, s=4, color=MARKED)
        axes.axhline(0, color=LINE, linewidth=0.8)
    panels[-1].set_xlabel("wavelength (Å)", color=INK)
    return figure, "`astra explain --spectrum-pk` one of them for its files and results."


def _worst(numbers: TableNumbers) -> int | None:
    rows = numbers.current
    for name in WORST_BY:
        values = rows.columns.get(name)
        if values is not None and np.isfinite(values).any():
            return int(rows.columns["task_pk"][np.nanargmax(np.where(np.isfinite(values), values, np.nan))])
    return None


def _chosen(worst: int | None, numbers: TableNumbers, seed: int) -> list[int]:
    """Give keys of results: the worst, then others in an order of chance."""
    keys = numbers.current.columns["task_pk"]
    drawn = np.random.default_rng(seed).permutation(keys)[:MOST_TRIED].tolist()
    return drawn if worst is None else [worst, *(key for key in drawn if key != worst)]


def _read(
    pipeline: Pipeline, model: type[PipelineOutputMixin], key: int
) -> "tuple[PipelineOutputMixin, np.ndarray, np.ndarray] | None":
    """Read a result with the wavelengths and residuals of its spectrum; None if there are none."""
    result = model.get_or_none(model.task_pk == key)
    spectrum = None if result is None else _spectrum_of(pipeline, result.spectrum_pk)
    if result is None or spectrum is None:
        return None
    try:
        fitted = np.ravel(getattr(result, MODEL_FLUX))
        wavelength, flux, error = (np.ravel(each) for each in (spectrum.wavelength, spectrum.flux, spectrum.e_flux))
    except (AstraError, OSError):
        return None  # not every installation has all files
    if not fitted.shape == wavelength.shape == flux.shape:
        return None
    good = np.isfinite(error) & (error > 0) & np.isfinite(flux) & np.isfinite(fitted)
    return (result, wavelength[good], (flux - fitted)[good] / error[good]) if good.any() else None


def _spectrum_of(pipeline: Pipeline, spectrum_pk: int) -> SpectrumMixin | None:
    for kind in pipeline.spectrum_models:
        try:
            return kind.get(kind.spectrum_pk == spectrum_pk)
        except peewee.DoesNotExist:
            continue
    return None


def _flags_of(result: PipelineOutputMixin, column: str | None) -> list[str]:
    flags = getattr(result._meta.fields.get(column or ""), "flags", {})
    return [name for name in flags if getattr(result, name)]
