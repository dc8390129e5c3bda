"""The model of a spectrum's Balmer lines again, from a row of results: its parameters, and the name of its grid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from astra_models.analysis.recipe import content_digest
from astra_models.errors import AstraError, ModelSpectrumError
from astra_models.model_spectrum import ModelSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import PipelineRun
from astra_models.spectrum import SpectrumMixin

from .family import balmer_family
from .files import load_grid
from .fit import MAX_VELOCITY, fit_spectrum
from .grid import TemplateGrid
from .lines import LineModel, Point
from .outliers import pixels_near
from .pixels import LINE_WINDOWS, Windows, as_columns, doppler_shift, select_pixels
from .registry import BUILT_IN, GRID_VARIABLE, find_by_digest
from .splines import Array

__all__ = ["grid_of", "model_of", "model_of_row"]


def model_of_row(result: PipelineOutputMixin, spectrum: SpectrumMixin) -> ModelSpectrum:
    """Make the model spectrum of a row of Corv.

    A row without a temperature, for want of model atmospheres, has the model by which its velocity was measured: its
    temperature and gravity are fitted again.

    Parameters
    ----------
    result : Corv
        The row.
    spectrum : SpectrumMixin
        Its spectrum.

    Raises
    ------
    ModelSpectrumError
        If nothing was measured, or the row's grid isn't here.
    """
    row: Any = result
    if row.v_rad is None or not np.isfinite(row.v_rad):
        raise ModelSpectrumError(
            f"{_name(result)} has no velocity, so that there is no model of its spectrum; its flags say why"
        )
    grid = grid_of(result)
    arrays = spectrum.wavelength, spectrum.flux, spectrum.ivar
    teff, logg = row.teff, row.logg
    if teff is None or logg is None:
        fit = fit_spectrum(*arrays, grid)
        teff, logg = fit.teff, fit.logg
    if not (np.isfinite(teff) and np.isfinite(logg)):
        raise ModelSpectrumError(
            f"{_name(result)}: its spectrum can't be fitted any more, as its pixels are others now"
        )
    return model_of(*arrays, grid, Point(row.v_rad, float(np.log10(teff)), logg))


def model_of(
    wavelength: Any, flux: Any, ivar: Any, grid: TemplateGrid, point: Point, windows: Windows = LINE_WINDOWS
) -> ModelSpectrum:
    """Make the model of the line windows for given parameters: a template times the best straight line in each.

    Parameters
    ----------
    wavelength, flux, ivar : array_like of float, shape (n_pixels,)
        The spectrum, see `fit.fit_spectrum`.
    grid : TemplateGrid
        The templates.
    point : Point
        Velocity (km/s), log10 of temperature (K), and gravity (dex).
    windows : mapping of str to tuple of float, optional
        First wavelength, line centre and last wavelength (vacuum Angstrom) of the window of each line.
    """
    wavelength, flux, ivar = columns = as_columns(wavelength, flux, ivar)
    with np.errstate(all="ignore"):
        pixels = select_pixels(columns, grid, windows, MAX_VELOCITY)
        kept = pixels.keep(pixels_near(LineModel(pixels, grid), point)) if pixels.flux.size else pixels
        log_wavelength, good = np.log10(wavelength), np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
        model, clipped = np.full(wavelength.size, np.nan), np.zeros(wavelength.size, dtype=bool)
        used: dict[str, tuple[float, float]] = {}
        for number, (name, (first, _, last)) in enumerate(windows.items()):
            if number not in pixels.window:
                continue
            used[name] = first, last
            inside = np.flatnonzero((wavelength >= first) & (wavelength <= last))
            fitted = good[inside] & np.isin(log_wavelength[inside], kept.log_wavelength)
            clipped[inside] = good[inside] & ~fitted
            template = grid.evaluate(
                log_wavelength[inside] - doppler_shift(point.v_rad), point.log_teff, point.logg
            ).flux
            model[inside] = template * _line(log_wavelength[inside], flux[inside], ivar[inside], template, fitted)
        e_flux = np.where(good, 1 / np.sqrt(ivar), np.inf)
    return ModelSpectrum(wavelength, flux, e_flux, model, used, clipped)


def _line(log_wavelength: Array, flux: Array, ivar: Array, template: Array, fitted: np.ndarray) -> Array:
    """Give the straight line that a template is best multiplied by, from the pixels that were fitted."""
    offset = log_wavelength - log_wavelength.mean()
    basis = np.stack([np.ones_like(offset), offset], axis=1)
    weight = np.sqrt(ivar[fitted])[:, None]
    scaled = basis[fitted] * template[fitted][:, None] * weight
    return basis @ np.linalg.lstsq(scaled, flux[fitted] * weight[:, 0], rcond=None)[0]


# ---- grids


def grid_of(result: PipelineOutputMixin) -> TemplateGrid:
    """Find the grid that a row was made with, by the name and checksum in its ``template_grid``.

    It is looked for among the registered grids, where the environment variable points to, and where the run that made
    the row had it. Its content decides.

    Raises
    ------
    ModelSpectrumError
        If it isn't there.
    """
    label: str | None = getattr(result, "template_grid", None)
    if not label:
        raise ModelSpectrumError(
            f"{_name(result)} doesn't say which grid of models it was made with: it is older than that column; "
            "have it done again"
        )
    if label == BUILT_IN:
        return balmer_family()
    name, _, digits = label.rpartition(" ")
    path = next((path for path in _places(result, digits) if _has_digest(path, digits)), None)
    if path is None:
        raise ModelSpectrumError(
            f"{_name(result)} was made with the grid {name!r} whose SHA-256 begins with {digits}, and it isn't here; "
            f"fetch it (`astra grids fetch da`), or register it (`astra grids add {name} PATH`)"
        )
    return _load(path, digits)


def _places(result: PipelineOutputMixin, digits: str) -> Iterator[Path]:
    """Give where a grid may be: among those that are registered, in the environment, where the run had it."""
    if (grid := find_by_digest(digits)) is not None:
        yield Path(grid.path)
    if named := os.environ.get(GRID_VARIABLE):
        yield Path(named)
    run = PipelineRun.get_or_none(PipelineRun.pk == result.pipeline_run_pk) if PipelineRun.table_exists() else None
    if run is not None and isinstance(path := json.loads(run.parameters).get("grid"), str):
        yield Path(path)


def _has_digest(path: Path, digits: str) -> bool:
    try:
        return content_digest(path).startswith(digits)
    except OSError:  # it isn't there any more, and the next place is looked at
        return False


@lru_cache(maxsize=2)
def _load(path: Path, digits: str) -> TemplateGrid:  # by its content: another one under this path is read again
    try:
        return load_grid(path)
    except AstraError as error:
        raise ModelSpectrumError(f"the grid {path} ({digits}) can't be read: {error}") from error


def _name(result: PipelineOutputMixin) -> str:
    return f"{result._meta.table_name} {result.task_pk} (spectrum_pk {result.spectrum_pk})"
