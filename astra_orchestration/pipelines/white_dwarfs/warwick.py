"""The DA grids of the Python package ``corv`` 0.2: fetched as a file, converted, and registered.

The package isn't installed, and nothing of it is imported or run: its wheel is a zip archive with nine text files of
model spectra, one for each gravity. They hold Eddington fluxes (H_nu) over wavelengths in air. Fluxes become those per
wavelength, wavelengths are cut to where white dwarfs are measured, and nothing is interpolated or convolved.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astra_models.errors import AstraError
from astra_models.messages import one_line, printable
from astra_orchestration.pipelines.npz import npz_bytes

from .grid import TemplateError
from .registry import Grid, find_grid, grids_folder, write_note, write_whole
from .splines import Array

__all__ = ["GRIDS", "PACKAGE", "WHEEL_SHA256", "FetchError", "fetch", "read_wheel"]

PACKAGE = "corv==0.2"
WHEEL_SHA256 = "1caa0d707d6204d6a81d7911ec19f6a55c6d80e34e0db3efd145a233b5f8d1ab"
FOLDER = "corv/models/warwick_da"

WAVELENGTHS = (3500.0, 9500.0)
"""What is kept of the models (Angstrom, air)."""

SPEED_OF_LIGHT = 2.99792458e18
"""In Angstrom per second."""

SECONDS_FOR_PIP = 900
LARGEST_WHEEL = 100_000_000
LARGEST_TEXT = 20_000_000

_MODEL = re.compile(r"Effective temperature =\s*(\S+)\s+gravity =\s*(\S+)[^\n]*")
_WITHOUT_E = re.compile(r"(?<=\d)([-+]\d{2,3})\b")
_SECRET = re.compile(r"//[^/@\s]+@")


class GridFiles(NamedTuple):
    """What becomes one grid.

    Parameters
    ----------
    names : tuple of str
        The files, one for each gravity.
    lowest_teff : float
        Cooler models (K) are left out: they have no Balmer lines.
    """

    names: tuple[str, ...]
    lowest_teff: float = 0.0


GRIDS: Mapping[str, GridFiles] = {
    "da": GridFiles(("700_3D", "750_3D", "800_3D", "850_3D", "900_3D"), 4000.0),
    "da_low_gravity": GridFiles(("500_3D", "550_3D", "600_3D", "650_3D")),
}
"""The grids by name. The two have different wavelengths, so they can't be one."""


class FetchError(AstraError, OSError):
    """A wheel that can't be had, or isn't the one that is meant."""


def fetch(wheel: str | Path | None = None, sha256: str = WHEEL_SHA256) -> list[Grid]:
    """Make and register the DA grids, unless they are there as they should be.

    Parameters
    ----------
    wheel : str or Path, optional
        The wheel as a file; if it isn't given, pip downloads it, from the index that it is configured for.
    sha256 : str, optional
        What the checksum of the wheel has to be.

    Returns
    -------
    list of Grid
        The grids.

    Raises
    ------
    FetchError
        If the wheel can't be downloaded or read, or its checksum is another.
    TemplateError
        If it doesn't hold the models.
    """
    present = [_present(name) for name in GRIDS]
    if wheel is None and all(present):
        return [grid for grid in present if grid is not None]
    content = _download() if wheel is None else _read(Path(wheel).expanduser())
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FetchError(
            f"{PACKAGE.replace('==', ' ')}: the wheel{'' if wheel is None else f' {wheel}'} has SHA-256 {found}, and "
            f"not {sha256}: it is damaged or another file, and isn't used; download it again"
        )
    made = [(name, npz_bytes(arrays, level=None)) for name, arrays in read_wheel(content).items()]
    return [_keep(name, content) for name, content in made]


def _present(name: str) -> Grid | None:
    """Give a grid that was fetched before, if its file is as it was."""
    try:
        grid = find_grid(name)
    except TemplateError:
        return None
    ours = grid is not None and Path(grid.path) == grids_folder() / f"{name}.npz" and grid.problem() is None
    return grid if ours else None


def _keep(name: str, archive: bytes) -> Grid:
    path = grids_folder() / f"{name}.npz"
    write_whole(path, archive)
    grid = Grid(name, str(path), hashlib.sha256(archive).hexdigest(), f"{PACKAGE}, {FOLDER}")
    write_note(grid)
    return grid


# ---- the wheel


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise FetchError(f"{path} is no file; give the wheel {PACKAGE.replace('==', ' ')}, as pip downloads it")
        if path.stat().st_size > LARGEST_WHEEL:
            raise FetchError(
                f"{path} has {path.stat().st_size:,} bytes, and the wheel has 3,812,625: it is another file"
            )
        return path.read_bytes()
    except PermissionError as error:
        raise FetchError(f"{path} can't be read ({error.strerror}); make it readable") from error


def _download() -> bytes:
    """Have pip download the wheel: its index, proxy and certificates are those that the user configured."""
    with tempfile.TemporaryDirectory(prefix="astra-grid-") as folder:
        words = ["download", "--no-deps", "--only-binary", ":all:", "--dest", folder, PACKAGE]
        command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *words]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=SECONDS_FOR_PIP,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FetchError(f"pip didn't download {PACKAGE} within {SECONDS_FOR_PIP} s; {_OTHER_WAY}") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise FetchError(f"pip can't download {PACKAGE}: {_last_words(done.stderr or done.stdout)}; {_OTHER_WAY}")
        return wheels[0].read_bytes()


_OTHER_WAY = (
    "see that `python -m pip download corv==0.2` works, or bring the wheel here by hand, and say "
    "`astra grids fetch da --from corv-0.2-py3-none-any.whl`"
)


def _last_words(output: str) -> str:
    """Give what pip says of an error, without user names and passwords of an index."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["it doesn't say why"]
    return _SECRET.sub("//", printable(one_line(errors[-1])))[:300]


# ---- its models


def read_wheel(content: bytes) -> dict[str, dict[str, Array]]:
    """Read the models of a wheel.

    Parameters
    ----------
    content : bytes
        The wheel. Nothing in it is imported or run.

    Returns
    -------
    dict of str to dict of str to ndarray
        For each of `GRIDS` its arrays: ``teff`` (K), ``logg`` (dex of cm/s2), ``wavelength`` (Angstrom, in air), and
        ``flux`` (erg/cm2/s/Angstrom at the surface, float32) of shape (n_teff, n_logg, n_pixels).

    Raises
    ------
    TemplateError
        If it is no archive, lacks a file, or a file isn't as the models are written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: _grid(archive, files) for name, files in GRIDS.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TemplateError(f"the wheel can't be unpacked ({one_line(str(error))}); download it again") from error


def _grid(archive: zipfile.ZipFile, files: GridFiles) -> dict[str, Array]:
    models: dict[tuple[float, float], Array] = {}
    wavelength: Array | None = None
    for name in files.names:
        axis, found = _models(name, _text(archive, f"{FOLDER}/{name}"))
        if wavelength is not None and not np.array_equal(axis, wavelength):
            raise TemplateError(f"{name} has other wavelengths than {files.names[0]}; download the wheel again")
        if again := models.keys() & found.keys():
            raise TemplateError(
                f"{name} has models of logg {min(again)[1]:g}, as another file; download the wheel again"
            )
        wavelength = axis
        models |= found
    assert wavelength is not None
    teff = np.unique([t for t, _ in models if t >= files.lowest_teff])
    logg = np.unique([g for _, g in models])
    if missing := [(t, g) for t in teff for g in logg if (t, g) not in models]:
        raise TemplateError(
            f"{len(missing)} models are missing in {', '.join(files.names)}, such as that of teff {missing[0][0]:g} K, "
            f"logg {missing[0][1]:g}; download the wheel again"
        )
    keep = (wavelength >= WAVELENGTHS[0]) & (wavelength <= WAVELENGTHS[1])
    keep[1:] &= np.diff(wavelength) > 0  # one point is there twice, with one flux
    kept = wavelength[keep]
    flux = np.array([[models[t, g][keep] for g in logg] for t in teff])
    flux = 4.0 * np.pi * flux * SPEED_OF_LIGHT / kept**2
    return {
        "teff": teff,
        "logg": logg,
        "wavelength": kept,
        "flux": flux.astype(np.float32),  # pyright: ignore[reportReturnType]  (as few bytes as the source has digits)
        "medium": np.array("air"),
    }


def _text(archive: zipfile.ZipFile, name: str) -> str:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise TemplateError(f"the wheel has no {name}; is it of {PACKAGE.replace('==', ' ')}?") from None
    if info.file_size > LARGEST_TEXT:
        raise TemplateError(f"{name} would have {info.file_size:,} bytes, and the models have 2 million")
    with archive.open(info) as file:
        return file.read(LARGEST_TEXT).decode("latin-1")


def _models(name: str, text: str) -> tuple[Array, dict[tuple[float, float], Array]]:
    """Read a file: its wavelengths, and the fluxes (H_nu) of each model by teff and logg, in the same order."""
    heads = list(_MODEL.finditer(text))
    start = text.split(maxsplit=1)[:1]
    if not heads or not start or not start[0].isdecimal():
        raise TemplateError(f"{name} doesn't begin with a number of wavelengths, with models after them")
    n_pixels = int(start[0])
    wavelength = _numbers(name, "wavelengths", text[: heads[0].start()], n_pixels + 1)[1:]
    if not np.all(np.diff(wavelength) >= 0) or wavelength[0] <= 0:
        raise TemplateError(f"{name}: its wavelengths don't increase")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found: dict[tuple[float, float], Array] = {}
    for head, end in zip(heads, ends, strict=True):
        teff, gravity = _numbers(name, "temperature and gravity", f"{head[1]} {head[2]}", 2)
        node = float(teff), round(float(np.log10(gravity)), 3)
        found[node] = _numbers(name, f"fluxes of {teff:g} K", text[head.end() : end], n_pixels)
    return wavelength, found


def _numbers(name: str, what: str, text: str, count: int) -> Array:
    """Read numbers, of which some have exponents without an E."""
    words = text.split()
    try:
        try:
            numbers = np.array(words, dtype=np.float64)
        except ValueError:
            numbers = np.array([float(_WITHOUT_E.sub(r"E\1", word) if "E" not in word else word) for word in words])
    except ValueError as error:
        raise TemplateError(f"{name}: its {what} aren't numbers ({error}); download the wheel again") from None
    if len(numbers) != count:
        raise TemplateError(f"{name} has {len(numbers)} {what}, and {count} belong there; download the wheel again")
    return numbers
