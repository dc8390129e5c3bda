"""What ASPCAP works with, by one YAML file: FERRE, grids, masks, rules and calibrations.

Paths in it are relative to the file itself. Nothing is taken for granted of a name: which line-spread function a grid
has is said by the telescopes and fibres that it is for.
"""

import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from astra_models.configuration_file import read_yaml
from astra_models.errors import AstraError, did_you_mean
from astra_models.messages import one_line, shown

from .dimensions import DIMENSIONS


class AspcapError(AstraError, ValueError):
    """A configuration of ASPCAP that can't be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class GridEntry(_Part):
    """A grid of models.

    Parameters
    ----------
    header : Path
        Its header, ``.hdr``; the models, ``.unf``, are beside it.
    telescopes : tuple of str, optional
        The telescopes that it is for; all if empty.
    fibers : tuple of int, optional
        The first and the last fibre whose line-spread function it has; all if not given.
    coarse_fixed : tuple of str, optional
        Labels of the dimensions that the coarse stage holds fixed.
    penalized_below : float, optional
        Temperature (K) below which another grid is to be preferred.
    abundances : bool, optional
        Whether abundances are fitted with it.
    """

    header: Path
    telescopes: tuple[str, ...] = ()
    fibers: tuple[int, int] | None = None
    coarse_fixed: tuple[str, ...] = ("C", "N")
    penalized_below: float | None = None
    abundances: bool = True


class SpeciesEntry(_Part):
    """What one abundance is fitted with.

    Parameters
    ----------
    mask : Path
        Weights of the pixels, a number per line.
    fit : str
        The grid's dimension that is free: ``METALS``, ``C``, ``N`` or ``O Mg Si S Ca Ti``.
    """

    mask: Path
    fit: str = "METALS"


class PixelRules(_Part):
    """Which pixels are bad, and how errors grow; errors in the flux's units (1e-17 erg/s/cm2/Angstrom)."""

    bad_bits: int = 16639
    sky_bits: int = 4096
    sky_factor: float = 100.0
    bright_sigmas: float = 3.0
    """How far above the continuum, in standard deviations of the chip's fluxes, a pixel isn't trusted."""
    error_floor: float = 0.05
    error_floor_after_continuum: float = 0.005
    most_bad: float = Field(default=2000 / 7514, gt=0, le=1)
    """Share of bad pixels from which a spectrum is left out."""


class ContinuumRules(_Part):
    """How FERRE fits continua, and how the ratio to the coarse model is smoothed."""

    order: int = Field(default=4, ge=0)
    reject: float = 0.3
    window: int = Field(default=151, ge=1)
    """Width of the median filter in pixels."""
    least_flux: float = 0.01
    bright_sigmas: float = 3.0
    least_ratio: float = 0.1
    most_ratio: float = 10.0


class Linear(_Part):
    """A correction that is subtracted: a constant and slopes with temperature (K), gravity and metallicity (dex)."""

    constant: float = 0.0
    teff: float = 0.0
    logg: float = 0.0
    m_h: float = 0.0


class CalibrationRules(_Part):
    """Which calibrations are used; see `calibration`.

    Parameters
    ----------
    name : str
        What results carry as their calibration.
    teff : {"dr19-irfm"} or None
        That of temperatures.
    logg_of_dwarfs, logg_of_giants : Linear, optional
        Those of gravities.
    zero_points : mapping of str to float
        What is subtracted of abundances, by their columns: ``fe_h``.
    """

    name: str = "dr19-irfm"
    teff: Literal["dr19-irfm"] | None = "dr19-irfm"
    logg_of_dwarfs: Linear | None = None
    logg_of_giants: Linear | None = None
    zero_points: Mapping[str, float] = {}


class Limits(_Part):
    """How long FERRE may take (s), and how much of it runs at once on a computer."""

    seconds_per_spectrum: float = Field(default=600.0, gt=0)
    seconds_per_abundance: float = Field(default=60.0, gt=0)
    seconds_to_load: float = Field(default=600.0, gt=0)
    processes: int = Field(default=1, ge=1)
    """Grids that one run, or one worker, fits at once."""
    threads: int = Field(default=1, ge=1)
    """Threads of each process."""
    processes_on_a_computer: int | None = Field(default=16, ge=1)
    threads_on_a_computer: int | None = Field(default=128, ge=1)
    loads_at_once: int | None = Field(default=4, ge=1)


class Configuration(_Part):
    """What the YAML file says.

    Parameters
    ----------
    ferre : str
        The program: a path, or its name on the path of the shell.
    grids : mapping of str to GridEntry
        Grids by their names.
    species : mapping of str to SpeciesEntry
        Abundances by the names of their elements: ``Al``, ``C_12_13``.
    pixels, continuum, calibration, limits : optional
        Rules that differ from the usual ones.
    """

    ferre: str = "ferre.x"
    grids: Mapping[str, GridEntry]
    species: Mapping[str, SpeciesEntry] = {}
    pixels: PixelRules = PixelRules()
    continuum: ContinuumRules = ContinuumRules()
    calibration: CalibrationRules = CalibrationRules()
    limits: Limits = Limits()


def read_configuration(path: Path) -> Configuration:
    """Read a configuration; its paths come back absolute.

    Raises
    ------
    AspcapError
        If something is missing, misspelt, or of another type.
    ConfigurationError
        If the file isn't there, or is no YAML.
    """
    status = path.stat() if path.is_file() else None
    return _read(path, None if status is None else (status.st_size, status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=8)
def _read(path: Path, _: object) -> Configuration:
    content = read_yaml(path)
    try:
        found = Configuration.model_validate(content)
    except ValidationError as error:
        raise AspcapError(f"{path}: {_first_problem(error)}") from error
    if not found.grids:
        raise AspcapError(f"{path}: grids names no grid; give at least one, with its header")
    _require_labels(path, found)
    folder = path.absolute().parent
    grids = {name: entry.model_copy(update={"header": folder / entry.header}) for name, entry in found.grids.items()}
    masks = {name: entry.model_copy(update={"mask": folder / entry.mask}) for name, entry in found.species.items()}
    return found.model_copy(update={"ferre": _program(folder, found.ferre), "grids": grids, "species": masks})


def files_of(path: Path) -> list[Path]:
    """List the files that a configuration names: the program, headers and models of grids, masks."""
    configuration = read_configuration(path)
    headers = [entry.header for entry in configuration.grids.values()]
    masks = [entry.mask for entry in configuration.species.values()]
    grids = [file for header in headers for file in (header, header.with_suffix(".unf"))]
    return [Path(configuration.ferre), *grids, *dict.fromkeys(masks)]


def _program(folder: Path, named: str) -> str:
    if "/" in named:
        return str(folder / Path(named).expanduser())
    found = shutil.which(named)
    if found is None:
        raise AspcapError(
            f"there is no program {shown(named)} on the path: install FERRE, or give its path as `ferre:` in the "
            "configuration of ASPCAP"
        )
    return found


def _require_labels(path: Path, configuration: Configuration) -> None:
    named = {f"species: {name}: fit": entry.fit for name, entry in configuration.species.items()}
    for name, entry in configuration.grids.items():
        named |= {f"grids: {name}: coarse_fixed": label for label in entry.coarse_fixed}
    for where, label in named.items():
        if label not in DIMENSIONS:
            raise AspcapError(
                f"{path}: {where} names {shown(label)}, which is no dimension of FERRE's grids; "
                f"{did_you_mean(label, DIMENSIONS)}"
            )


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ": ".join(map(str, first["loc"])) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return one_line(f"{where}: {first['msg']}{more}")
