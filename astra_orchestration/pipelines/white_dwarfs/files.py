"""Grids in files: an npz file, or a folder of Koester model spectra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .grid import (
    ARRAYS,
    BOSS_RESOLUTION,
    FIT_RANGE,
    LOG_STEP,
    OVERSAMPLING,
    TemplateError,
    TemplateGrid,
    as_numbers,
    check_positive,
)
from .splines import Array

_H_ALPHA_AIR, _H_ALPHA_VACUUM = 6562.79, 6564.61


def load_grid(path: str | Path, resolution: float | None = BOSS_RESOLUTION) -> TemplateGrid:
    """Read a template grid.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` file, or a folder of Koester model spectra as text files.
    resolution : float, optional
        Resolving power of the instrument that took the data; None for templates that need no convolution. An
        npz file that says its own is not overruled.

    Returns
    -------
    TemplateGrid
        The grid, wavelengths in vacuum.

    Raises
    ------
    TemplateError
        If there is no such file, or it doesn't hold a complete grid.

    Notes
    -----
    The npz file has the arrays ``teff`` (K), ``logg`` (dex), ``wavelength`` (Angstrom) and
    ``flux`` of shape (n_teff, n_logg, n_pixels), and may have ``medium`` (text, "vacuum" or "air"; vacuum
    when missing) and ``resolution`` (the resolving power to convolve to; 0 for templates at the instrument's
    resolution).

    A text file has comment lines with ``teff = 12000 K`` and ``logg = 8``, then two columns: wavelength
    (Angstrom) and flux. The values are read from the comments, never from the name. Whether wavelengths are
    in air or in vacuum is not written in such files: it is told from the core of H-alpha, and air is
    converted.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _load_folder(path, resolution)
    if not path.is_file():
        raise TemplateError(
            f"no template grid at {path}; give an .npz file or a folder of Koester model spectra "
            "(parameter `grid` or the environment variable ASTRA_CORV_GRID)"
        )
    return _load_npz(path, resolution)


def _load_npz(path: Path, resolution: float | None) -> TemplateGrid:
    content = _read_npz(path)
    missing = [key for key in ARRAYS if key not in content]
    if missing:
        raise TemplateError(
            f"{path}: the array(s) {', '.join(missing)} are missing; found {', '.join(content) or 'nothing'}."
            " An npz grid has teff, logg, wavelength and flux"
        )
    try:
        return TemplateGrid(
            content["teff"],
            content["logg"],
            _to_vacuum(as_numbers("wavelength", content["wavelength"]), str(content.get("medium", "vacuum"))),
            content["flux"],
            _resolution_from(content, resolution),
        )
    except TemplateError as error:
        raise TemplateError(f"{path}: {error}") from None


def _read_npz(path: Path) -> dict[str, Any]:
    """Read all arrays of an npz file, without unpickling anything."""
    from zipfile import BadZipFile
    from zlib import error as damaged

    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return dict(content) if isinstance(content, Mapping) else {"a single array": content}
    except (OSError, ValueError, EOFError, BadZipFile, damaged) as error:
        raise TemplateError(
            f"{path} can't be read as an npz file of plain numbers ({error}); write it with numpy.savez, "
            "without object arrays"
        ) from error


def _resolution_from(content: Mapping[str, Any], default: float | None) -> float | None:
    if "resolution" not in content:
        return default
    resolution = as_numbers("resolution", content["resolution"])
    if resolution.size != 1:
        raise TemplateError(f"resolution has {resolution.size} values; give one number, 0 for no convolution")
    return float(resolution.item()) or None


def _load_folder(folder: Path, resolution: float | None) -> TemplateGrid:
    spectra: dict[tuple[float, float], tuple[Array, Array]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        content = _read_koester(path)
        if content is None:
            continue
        node, spectrum = content
        if node in spectra:
            raise TemplateError(f"{path}: a second spectrum of teff {node[0]:g} K, logg {node[1]:g}; remove one")
        spectra[node] = spectrum
    if not spectra:
        raise TemplateError(
            f"{folder} has no model spectrum: no file with comment lines `# teff = 12000 K` and `# logg = 8`;"
            " give the folder of the Koester models, or an .npz file"
        )
    return _assemble(folder, spectra, resolution)


def _read_koester(path: Path) -> tuple[tuple[float, float], tuple[Array, Array]] | None:
    """Read one model: its (teff, logg) and its spectrum; None for a file that isn't one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return None
    header = [line for line in lines if line.startswith("#")]
    teff, logg = _header_value("teff", header), _header_value("logg", header)
    if teff is None and logg is None:
        return None
    if teff is None or logg is None:
        raise TemplateError(f"{path}: no `# {'teff' if teff is None else 'logg'} = ...` in its comment lines; add it")
    return (teff, logg), _read_columns(path, lines)


def _header_value(name: str, header: Iterable[str]) -> float | None:
    for line in header:
        found = re.match(rf"#\s*{name}\s*=\s*([-+.\deE]+)", line)
        if found:
            return float(found[1])
    return None


def _read_columns(path: Path, lines: Iterable[str]) -> tuple[Array, Array]:
    """Wavelength (vacuum Angstrom) and flux of one model, both of shape (n_pixels,)."""
    rows = [line.split() for line in lines if not line.lstrip().startswith("#") and line.strip()]
    try:
        table = np.array([[float(row[0]), float(row[1])] for row in rows]).reshape(-1, 2)
    except (ValueError, IndexError) as error:
        raise TemplateError(f"{path}: a row is not wavelength and flux ({error}); download it again") from None
    wavelength, first = np.unique(table[:, 0], return_index=True)
    needed = (_H_ALPHA_AIR - 30, _H_ALPHA_VACUUM + 30)
    if wavelength.size < 16 or wavelength[0] > needed[0] or wavelength[-1] < needed[1]:
        raise TemplateError(
            f"{path}: {wavelength.size} wavelengths that don't span H-alpha, which tells air from vacuum; "
            "is the file cut short? Otherwise store the grid as .npz with its `medium`"
        )
    flux = table[first, 1]
    return _to_vacuum(wavelength, _medium(wavelength, flux)), flux


def _medium(wavelength: Array, flux: Array) -> str:
    """Tell "air" or "vacuum" from the core of H-alpha."""
    near = np.abs(wavelength - _H_ALPHA_VACUUM) < 15
    core = wavelength[near][np.argmin(flux[near])]
    return "air" if abs(core - _H_ALPHA_AIR) < abs(core - _H_ALPHA_VACUUM) else "vacuum"


def _to_vacuum(wavelength: Array, medium: str) -> Array:
    """Convert air wavelengths above 2000 Angstrom; refraction of standard air as in Morton (2000)."""
    if medium == "vacuum":
        return wavelength
    if medium != "air":
        raise TemplateError(f"medium is {medium!r}; it can be 'vacuum' or 'air'")
    vacuum = wavelength.copy()
    in_air = wavelength > 2000.0
    for _ in range(3):
        wave_number = (1e4 / vacuum[in_air]) ** 2
        refraction = 8.34254e-5 + 2.406147e-2 / (130 - wave_number) + 1.5998e-4 / (38.9 - wave_number)
        vacuum[in_air] = wavelength[in_air] * (1 + refraction)
    return vacuum


def _assemble(
    folder: Path, spectra: Mapping[tuple[float, float], tuple[Array, Array]], resolution: float | None
) -> TemplateGrid:
    """Put single spectra on one wavelength axis and into one regular grid."""
    teff, logg = (np.unique([node[axis] for node in spectra]) for axis in (0, 1))
    missing = [f"({t:g} K, {g:g})" for t in teff for g in logg if (t, g) not in spectra]
    if missing:
        raise TemplateError(
            f"{folder}: {len(missing)} of {teff.size * logg.size} models (teff, logg) are missing: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
            "add them, or move incomplete rows away"
        )
    wavelength = _common_axis([wave for wave, _ in spectra.values()])
    try:
        flux = np.array([[_on_axis(wavelength, *spectra[t, g]) for g in logg] for t in teff])
        return TemplateGrid(teff, logg, wavelength, flux, resolution)
    except TemplateError as error:
        raise TemplateError(f"{folder}: {error}") from None


def _common_axis(wavelengths: Iterable[Array]) -> Array:
    """Vacuum wavelengths (Angstrom) that all spectra cover, fine enough for the cores of the lines."""
    margin = 1.005
    first = max([FIT_RANGE[0] / margin, *(wave[0] for wave in wavelengths)])
    last = min([FIT_RANGE[1] * margin, *(wave[-1] for wave in wavelengths)])
    return 10 ** np.arange(np.log10(first), np.log10(last), LOG_STEP / OVERSAMPLING)


def _on_axis(wavelength: Array, native: Array, flux: Array) -> Array:
    from scipy.interpolate import Akima1DInterpolator

    check_positive(flux[(native >= wavelength[0]) & (native <= wavelength[-1])])
    near = slice(*np.clip(np.searchsorted(native, wavelength[[0, -1]]) + np.array([-3, 3]), 0, native.size))
    return np.exp(Akima1DInterpolator(native[near], np.log(flux[near]))(wavelength))
