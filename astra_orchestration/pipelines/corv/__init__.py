"""Corv: radial velocities of DA white dwarfs from BOSS visit spectra.

The measurement itself and the model spectra are in `pipelines.white_dwarfs`, without a database; here they are
joined to the survey's tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from astra_models.analysis.task import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.fit import BalmerFit, fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateError, TemplateGrid

__all__ = ["BalmerFit", "TemplateError", "TemplateGrid", "balmer_family", "corv", "fit_spectrum", "load_grid"]

GRID_VARIABLE = "ASTRA_CORV_GRID"
"""Environment variable with the path of the template grid."""


@task(environment={"grid": GRID_VARIABLE})
def corv(spectra: Iterable[BossVisitSpectrum], grid: Path | None = None) -> Iterable[Corv]:
    """Measure radial velocity, temperature and gravity of DA white dwarfs.

    Chi-squared of DA templates with a local linear continuum around H-alpha to H-epsilon is searched over
    velocity, temperature and gravity, then refined by least squares; errors come from the curvature at the
    minimum. The method follows Chandra et al. (2020, MNRAS 497, 2688) and Corv (Arseneau et al. 2024); see
    `white_dwarfs.fit.fit_spectrum`.

    Parameters
    ----------
    spectra : iterable of BossVisitSpectrum
        Visit spectra; wavelengths in vacuum Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    grid : Path, optional
        A template grid, see `white_dwarfs.files.load_grid`; by default the built-in analytic family, which is made
        for the sample survey.

    Yields
    ------
    Corv
        One result per spectrum: velocities in km/s (positive when receding, gravitational redshift included),
        temperatures in K, gravities in dex of cm/s2. What could not be measured is missing, and a flag says
        why.
    """
    templates = load_grid(grid) if grid else balmer_family()
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for spectrum in spectra:
        fit = fit_spectrum(spectrum.wavelength, spectrum.flux, spectrum.ivar, templates)
        yield Corv.from_spectrum(spectrum, **_as_columns(fit))


def _as_columns(fit: BalmerFit) -> dict[str, Any]:
    """Name the fields of a fit as the columns and flags of the table; the S/N is a column of the spectrum."""
    values: dict[str, Any] = dict(fit.values())
    values.pop("snr")
    return values | {f"flag_{name}": value for name, value in fit.flags().items()}
