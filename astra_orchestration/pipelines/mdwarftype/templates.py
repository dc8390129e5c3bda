"""Templates of spectral types: CSV files that a list names, or a folder of CSV files and of PyHammer's FITS files.

The type and the sub-type are in a file's name, as sdss/astra has them (``ANYTHING_TYPE_SUBTYPE.csv``) and PyHammer
(``TYPE_METALLICITY_CLASS.fits``, whose metallicity is the sub-type).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_models.configuration import expand_path
from astra_models.errors import AstraError
from astra_models.fits import door

__all__ = ["Templates", "files_named", "load_templates"]

Array = NDArray[np.float64]

FIRST, STEP, N_PIXELS = 3.5523, 1e-4, 4648
"""The grid that templates are on: log10 of the wavelength in Angstrom, as that of BOSS co-adds."""

LOG_WAVELENGTH = FIRST + STEP * np.arange(N_PIXELS)

OF_CSV = re.compile(r".*_(?P<type>[A-Z][0-9.]+)_(?P<sub>[-+]?[0-9.]+)\.csv")
OF_FITS = re.compile(r"(?P<type>[A-Z][0-9.]+)_(?P<sub>[-+]?[0-9.]+)_[A-Za-z]+\.fits")

LARGEST = 50_000_000
"""Bytes of a template's file."""


class TemplatesError(AstraError, ValueError):
    """Templates of spectral types that can't be used."""


@dataclass(frozen=True, eq=False)
class Templates:
    """Spectra of known types.

    Parameters
    ----------
    types : tuple of str
        Spectral types, such as ``M5.0``.
    sub_types : ndarray of float64, shape (n_templates,)
        Sub-types.
    flux : ndarray of float64, shape (n_templates, n_pixels)
        On `LOG_WAVELENGTH`, vacuum and at rest, with a mean of 1; NaN where a template has nothing.
    name, checksum : str
        Of the list or folder, and SHA-256 of all files.
    """

    types: tuple[str, ...]
    sub_types: Array
    flux: Array
    name: str = ""
    checksum: str = ""

    def __len__(self) -> int:
        return len(self.types)


def files_named(path: Path) -> list[Path]:
    """Give the files of templates that a list, or a folder, names.

    Raises
    ------
    TemplatesError
        If the list can't be read.
    """
    if path.is_dir():
        return sorted(one for one in path.iterdir() if OF_CSV.fullmatch(one.name) or OF_FITS.fullmatch(one.name))
    lines = _content(path).decode("utf-8", errors="replace").splitlines()
    named = (line.strip() for line in lines)
    return [path.parent / expand_path(line) for line in named if line and not line.startswith("#")]


def load_templates(path: str | Path) -> Templates:
    """Read templates.

    Parameters
    ----------
    path : str or Path
        A text file with a path in each line (relative ones start from its folder), or a folder.

    Raises
    ------
    TemplatesError
        If there are none, a file can't be read, or its name has no type.
    """
    path = Path(path).expanduser()
    files = files_named(path)
    if not files:
        examples = "template_M5.0_0.5.csv or M5_+0.0_Dwarf.fits"
        raise TemplatesError(f"{str(path)!r} has no templates: files such as {examples}")
    digest = hashlib.sha256()
    types, sub_types, fluxes = [], [], []
    for file in files:
        match = OF_CSV.fullmatch(file.name) or OF_FITS.fullmatch(file.name)
        if match is None:
            raise TemplatesError(f"{file.name!r} doesn't say its type; a name is like template_M5.0_0.5.csv")
        content = _content(file)
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
        types.append(match["type"])
        sub_types.append(_sub_type(file, match["sub"]))
        fluxes.append(_resampled(file, *(_of_fits(file) if file.suffix == ".fits" else _of_csv(file, content))))
    return Templates(tuple(types), np.array(sub_types), np.array(fluxes), path.name, digest.hexdigest())


def _sub_type(file: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TemplatesError(f"{file.name!r}: its sub-type {text!r} is no number") from error


def _content(path: Path) -> bytes:
    try:
        with door.refusing(), door.open_file(str(path)) as file:
            return file.read(LARGEST)
    except AstraError as error:
        raise TemplatesError(f"templates can't be read from {str(path)!r}: {error}") from error


def _of_csv(file: Path, content: bytes) -> tuple[Array, Array]:
    """Read a header, and rows of a number, log10 of the wavelength and the flux."""
    try:
        rows = np.loadtxt(content.decode("ascii").splitlines(), skiprows=1, delimiter=",", usecols=(1, 2), ndmin=2)
    except (ValueError, IndexError) as error:
        raise TemplatesError(f"{str(file)!r} is no table of log wavelength and flux: {error}") from error
    return rows[:, 0], rows[:, 1]


def _of_fits(file: Path) -> tuple[Array, Array]:
    from astropy.io import fits

    try:
        with door.refusing():
            table: Any = fits.getdata(file, 1)
            log_wavelength, flux = (np.asarray(table[name], dtype=np.float64) for name in ("LogLam", "Flux"))
            return log_wavelength, flux
    except (AstraError, KeyError, IndexError, TypeError) as error:
        raise TemplatesError(f"{str(file)!r} is no template of PyHammer: {error}") from error


def _resampled(file: Path, log_wavelength: Array, flux: Array) -> Array:
    """Take the mean of a template in each pixel."""
    good = np.isfinite(log_wavelength) & np.isfinite(flux)
    log_wavelength, flux = log_wavelength[good], flux[good]
    order = np.argsort(log_wavelength, kind="stable")
    log_wavelength, flux = log_wavelength[order], flux[order]
    if len(flux) < 2 or not (3 < log_wavelength[0] < log_wavelength[-1] < 5):
        raise TemplatesError(f"{str(file)!r} has no flux over log10 of wavelengths in Angstrom")
    steps = np.diff(log_wavelength, prepend=2 * log_wavelength[0] - log_wavelength[1])
    ends, total = log_wavelength + steps / 2, np.cumsum(flux * steps)
    edges = FIRST + STEP * (np.arange(N_PIXELS + 1) - 0.5)
    found = np.diff(np.interp(edges, ends, total)) / STEP
    found[(edges[:-1] < log_wavelength[0]) | (edges[1:] > log_wavelength[-1])] = np.nan
    mean = np.nanmean(found) if np.isfinite(found).any() else np.nan
    if not mean > 0:
        raise TemplatesError(f"{str(file)!r} has no flux from {10 ** edges[0]:.0f} to {10 ** edges[-1]:.0f} Angstrom")
    return found / mean


def kinds(templates: Templates) -> Iterator[str]:
    """Give each type once."""
    yield from dict.fromkeys(templates.types)
