"""MDwarfType: spectral types of M dwarfs, by the template that fits a BOSS spectrum best.

Templates and matching work without a database; here they are joined to the survey's tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from astra_models.analysis.task import task
from astra_models.boss import BossVisitSpectrum
from astra_models.configuration import expand_path
from astra_models.errors import ConfigurationError, NotSetUpError
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pixels.paths import product_root

from .matching import match
from .templates import Templates, files_named, kinds, load_templates

__all__ = ["TEMPLATES_VARIABLE", "mdwarftype"]

TEMPLATES_VARIABLE = "ASTRA_MDWARFTYPE_TEMPLATES"
"""Environment variable with the list, or folder, of templates that are used where none is given."""

OF_SURVEY = "pipelines/MDwarfType/template.list"
"""Where sdss/astra has its list of templates, below $MWM_ASTRA."""

HARDLY_M = ("K5", "K5.0")
"""Types that get the flag of no M dwarf, as in sdss/astra."""

DIGITS = 12
"""Digits of a checksum that tell templates from others."""


def find_templates(given: object) -> Path:
    """Give the list, or folder, of the templates of a run.

    Raises
    ------
    NotSetUpError
        If none is given, and sdss/astra's aren't there.
    """
    if isinstance(given, Path):
        return given
    try:
        path = Path(expand_path(os.path.join(product_root("astra"), OF_SURVEY)))
    except ConfigurationError:
        path = None
    if path is None or not path.is_file():
        raise NotSetUpError(
            f"mdwarftype: there are no templates: name a list, or a folder, of them with --templates or "
            f"{TEMPLATES_VARIABLE}"
        )
    return path


def one_type_alone(values: Mapping[str, object]) -> list[str]:
    """Warn of templates of one type, of which no type can be told."""
    path = values["templates"]
    assert isinstance(path, Path)
    if len(list(kinds(load_templates(path)))) > 1:
        return []
    return ["the templates are of one spectral type, so no type is claimed: results have rchi2 alone"]


def _files_beside(path: Path) -> list[Path]:
    """Give the files that a list names; a folder's count by themselves."""
    return [] if path.is_dir() else files_named(path)


@task(
    environment={"templates": TEMPLATES_VARIABLE},
    resolve={"templates": find_templates},
    files={"templates": _files_beside},
    warnings=one_type_alone,
)
def mdwarftype(
    spectra: Iterable[BossVisitSpectrum | BossCombinedSpectrum], templates: Path | None = None
) -> Iterable[MDwarfType]:
    """Find the spectral type of the template that fits a BOSS spectrum best.

    Each template is multiplied by a parabola of the wavelength, and the smallest chi-squared counts. Templates of one
    type alone tell nothing: no type is claimed then.

    Parameters
    ----------
    spectra : iterable of BossVisitSpectrum or BossCombinedSpectrum
        Visits, which are shifted by XCSAO's velocity if that is known, and co-adds at rest; wavelengths in vacuum
        Angstrom, flux in 1e-17 erg/s/cm2/Angstrom.
    templates : Path, optional
        A list of templates' files, or a folder of them; by default sdss/astra's list below $MWM_ASTRA.

    Yields
    ------
    MDwarfType
        One result per spectrum. What could not be found is missing, and a flag says why.
    """
    known = load_templates(find_templates(templates))
    used = f"{known.name} {known.checksum[:DIGITS]}"
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for spectrum in spectra:
        yield MDwarfType.from_spectrum(spectrum, templates=used, **_columns(spectrum, known))


def _columns(spectrum: BossVisitSpectrum | BossCombinedSpectrum, templates: Templates) -> dict[str, Any]:
    velocity = spectrum.xcsao_v_rad if isinstance(spectrum, BossVisitSpectrum) else None
    found = match(templates, spectrum.wavelength, spectrum.flux, spectrum.ivar, velocity or 0.0)
    if found.best is None:
        return {"continuum": found.level, "flag_too_few_pixels": True}
    rchi2 = float(found.rchi2[found.best])
    columns: dict[str, Any] = {"continuum": found.level, "rchi2": rchi2 if np.isfinite(rchi2) else None}
    if not np.isfinite(rchi2):
        return columns | {"flag_no_match": True}
    if len(list(kinds(templates))) < 2:
        return columns | {"flag_one_type": True}
    spectral_type = templates.types[found.best]
    return columns | {
        "spectral_type": spectral_type,
        "sub_type": float(templates.sub_types[found.best]),
        "flag_not_m_dwarf": spectral_type in HARDLY_M,
    }
