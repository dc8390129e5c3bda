"""Corv: radial velocities of DA white dwarfs from BOSS visit spectra.

The measurement itself and the model spectra are in `pipelines.white_dwarfs`, without a database; here they are
joined to the survey's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peewee

from astra_models.analysis.task import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.snow_white import SnowWhite
from astra_models.spectrum import SpectrumMixin
from astra_orchestration.pipelines.corv.pictures import PICTURES
from astra_orchestration.pipelines.white_dwarfs.choosing import GridChoice, without_grid
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateError, TemplateGrid
from astra_orchestration.pipelines.white_dwarfs.registry import GRID_VARIABLE, resolve_grid

if TYPE_CHECKING:
    from astra_models.model_spectrum import ModelSpectrum
    from astra_models.pipeline import PipelineOutputMixin
    from astra_orchestration.pipelines.white_dwarfs.fit import BalmerFit, fit_spectrum

__all__ = ["BalmerFit", "TemplateError", "TemplateGrid", "balmer_family", "corv", "fit_spectrum", "load_grid"]


OF_ATMOSPHERES = (
    *("teff", "e_teff", "raw_e_teff", "logg", "e_logg", "raw_e_logg", "initial_teff", "initial_logg"),
    *("other_teff", "other_logg", "other_rchi2", "flag_two_solutions", "flag_template_at_edge"),
)
"""Columns and flags that mean nothing without model atmospheres."""

CLASSES = ("DA", "DA:")


def white_dwarfs_of_class_da(spectrum: type[SpectrumMixin], values: Mapping[str, object]) -> peewee.Expression | None:
    """Those that Snow White calls DA or DA: at this version; with all_spectra, all."""
    return None if values["all_spectra"] else SnowWhite.classification.in_(CLASSES)


def _model_of_row(result: PipelineOutputMixin, spectrum: SpectrumMixin) -> ModelSpectrum:
    from astra_orchestration.pipelines.white_dwarfs.showing import model_of_row

    return model_of_row(result, spectrum)


def __getattr__(name: str) -> object:
    """Give what `white_dwarfs.fit` has, which a list of pipelines has no use for."""
    if name not in ("BalmerFit", "fit_spectrum"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from astra_orchestration.pipelines.white_dwarfs import fit

    return getattr(fit, name)


@task(
    version="2",
    environment={"grid": GRID_VARIABLE},
    resolve={"grid": resolve_grid},
    without_effect=["all_spectra"],
    warnings=without_grid,
    where=white_dwarfs_of_class_da,
    model_spectrum=_model_of_row,
    plots=PICTURES,
)
def corv(
    spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite | None]],
    grid: Path | None = None,
    all_spectra: bool = False,
) -> Iterable[Corv]:
    """Measure radial velocity, temperature and gravity of DA white dwarfs.

    Chi-squared of DA templates with a local linear continuum around H-alpha to H-epsilon is searched over
    velocity, temperature and gravity, then refined by least squares; errors come from the curvature at the
    minimum. The method follows Chandra et al. (2020, MNRAS 497, 2688) and Corv (Arseneau et al. 2024); see
    `white_dwarfs.fit.fit_spectrum`.

    Parameters
    ----------
    spectra : iterable of BossVisitSpectrum, each with its result of Snow White
        Visit spectra; wavelengths in vacuum Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    grid : Path, optional
        A template grid, or the name of one in `astra grids list`; by default "da", if that is registered. Else, or if
        it is "built-in", real stars get velocities alone, by the built-in analytic family.
    all_spectra : bool, optional
        Whether to take all spectra, and not only those that Snow White calls DA or DA:.

    Yields
    ------
    Corv
        One result per spectrum: velocities in km/s (positive when receding, gravitational redshift included),
        temperatures in K, gravities in dex of cm/s2. What could not be measured is missing, and a flag says
        why.
    """
    from astra_orchestration.pipelines.white_dwarfs.catalogues import fit_knowing, photometry_of

    choice = GridChoice(grid)
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for spectrum, _ in spectra:
        chosen = choice.of(spectrum)
        arrays = spectrum.wavelength, spectrum.flux, spectrum.ivar
        fit, _ = fit_knowing(*arrays, chosen.templates, lambda: photometry_of(spectrum))  # noqa: B023  (asked at once)
        columns = _as_columns(fit) if chosen.counts else _without_atmospheres(_as_columns(fit))
        yield Corv.from_spectrum(spectrum, template_grid=chosen.label, **columns)


def _as_columns(fit: BalmerFit) -> dict[str, Any]:
    """Name the fields of a fit as the columns and flags of the table; the S/N is a column of the spectrum."""
    values: dict[str, Any] = dict(fit.values())
    values.pop("snr")
    return values | {f"flag_{name}": value for name, value in fit.flags().items()}


def _without_atmospheres(columns: dict[str, Any]) -> dict[str, Any]:
    """Leave a velocity, and what tells that there is nothing else."""
    kept = {name: value for name, value in columns.items() if name not in OF_ATMOSPHERES}
    has_velocity = isfinite(columns["v_rad"])
    return kept | {"flag_no_model_grid": True, "flag_v_rad_without_grid": has_velocity}
