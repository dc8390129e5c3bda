"""ASPCAP: stellar parameters and abundances by fits of model spectra with FERRE.

Three pipelines, one for each stage. The results of one are what the next one takes, so that each can be run again, or
go on after a kill, by itself.
"""

from collections.abc import Iterable
from pathlib import Path

from astra_models.analysis.task import task
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.errors import NotSetUpError
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters

from .pictures import PICTURES
from .setting_up import CONFIGURATION_VARIABLE, FOLDER, NO_CONFIGURATION

__all__ = ["aspcap", "ferre_coarse", "ferre_stellar_parameters"]

AT_ONCE = 500
"""Spectra that a stage takes at once: their pixels are in memory, and a grid is read once for all of them."""


def _usable(value: object) -> object:
    """See that a configuration can be used; what that takes is imported if there is one."""
    if value is None:
        raise NotSetUpError(NO_CONFIGURATION)
    from .workshop import resolve_configuration

    return resolve_configuration(value)


def _files_named(path: Path) -> list[Path]:
    from .configuration import files_of

    return files_of(path)


OF_CONFIGURATION = {
    "environment": {"configuration": CONFIGURATION_VARIABLE, "folder": "ASTRA_ASPCAP_FOLDER"},
    "without_effect": ["folder", "at_once", "tidy"],
    "resolve": {"configuration": _usable},
    "files": {"configuration": _files_named},
}


@task(**OF_CONFIGURATION)
def ferre_coarse(
    spectra: Iterable[tuple[ApogeeCoaddedSpectrumInApStar, ApogeeNet | None]],
    configuration: Path | None = None,
    folder: Path = FOLDER,
    at_once: int = AT_ONCE,
    tidy: bool = True,
) -> Iterable[FerreCoarse]:
    """Fit APOGEE co-adds on all grids that may be theirs: the first stage of ASPCAP.

    Parameters
    ----------
    configuration : Path
        YAML file that names FERRE, its grids and masks.
    folder : Path
        Where FERRE's files are.
    at_once : int
        Spectra that are fitted together.
    tidy : bool
        Whether files are removed that nothing reads once a stage is good.

    Yields
    ------
    FerreCoarse
        The best fit of each spectrum.
    """
    from .coarse import coarse_results
    from .workshop import Workshop, in_lots

    workshop = Workshop.open(configuration, folder, tidy)
    yield ...  # pyright: ignore[reportReturnType]  (marks what went before as overhead)
    for lot in in_lots(spectra, at_once):
        yield from coarse_results(workshop, lot)


@task(**OF_CONFIGURATION)
def ferre_stellar_parameters(
    spectra: Iterable[tuple[ApogeeCoaddedSpectrumInApStar, FerreCoarse]],
    configuration: Path | None = None,
    folder: Path = FOLDER,
    at_once: int = AT_ONCE,
    tidy: bool = True,
) -> Iterable[FerreStellarParameters]:
    """Fit all stellar parameters, from the best coarse fit on: the second stage of ASPCAP.

    Parameters
    ----------
    configuration : Path
        YAML file that names FERRE, its grids and masks.
    folder : Path
        Where FERRE's files are.
    at_once : int
        Spectra that are fitted together.
    tidy : bool
        Whether files are removed that nothing reads once a stage is good.

    Yields
    ------
    FerreStellarParameters
        One result per spectrum.
    """
    from .parameters import parameter_results
    from .workshop import Workshop, in_lots

    workshop = Workshop.open(configuration, folder, tidy)
    yield ...  # pyright: ignore[reportReturnType]
    for lot in in_lots(spectra, at_once):
        yield from parameter_results(workshop, lot)


@task(**OF_CONFIGURATION, plots=PICTURES)
def aspcap(
    spectra: Iterable[tuple[ApogeeCoaddedSpectrumInApStar, FerreCoarse, FerreStellarParameters]],
    configuration: Path | None = None,
    folder: Path = FOLDER,
    at_once: int = AT_ONCE,
    tidy: bool = True,
) -> Iterable[ASPCAP | FerreChemicalAbundances]:
    """Fit abundances with FERRE, and give stellar parameters and abundances, raw and calibrated: the last stage.

    Parameters
    ----------
    configuration : Path
        YAML file that names FERRE, its grids and masks.
    folder : Path
        Where FERRE's files are.
    at_once : int
        Spectra that are fitted together.
    tidy : bool
        Whether files are removed that nothing reads once a stage is good.

    Yields
    ------
    ASPCAP or FerreChemicalAbundances
        For each spectrum one of the former, and one of the latter for each species.
    """
    from .abundances import abundance_results
    from .workshop import Workshop, in_lots

    workshop = Workshop.open(configuration, folder, tidy)
    yield ...  # pyright: ignore[reportReturnType]
    for lot in in_lots(spectra, at_once):
        yield from abundance_results(workshop, lot)
