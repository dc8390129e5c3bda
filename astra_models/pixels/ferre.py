"""Pixel arrays of an ASPCAP result, from the text files that FERRE read and wrote.

Below the folder of a result (``pwd``) are ``params/GRID`` and ``abundances/GRID/ELEMENT``. In each file a spectrum has
a line of numbers, the pixels of the grid's chips: those that the copy of the grid's header says, ``grid.hdr``; without
one they are the survey's 7514. Lines that FERRE wrote start with a name, ``INDEX_SOURCE_SPECTRUM_GUESS_UPSTREAM``. They
are found by it, because they are not in the order of the input.

The continuum is in ``continuum.output``. Where that isn't there, it follows from what FERRE read and wrote: ``INDEX``
is the number of the spectrum's line in ``flux.input``, whose lines have no names.
"""

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Protocol, TextIO

import numpy as np

from astra_models.configuration import expand_path
from astra_models.errors import MissingPixelsError, UnrecognizedFileError
from astra_models.fits import door
from astra_models.pixels.arrays import Array
from astra_models.pixels.ferre_chips import Chip, chips_of
from astra_models.pixels.namelists import read_namelists

N_PIXELS = 8575
CHIPS = (slice(246, 3274), slice(3585, 6080), slice(6344, 8335))
"""Where the pixels that FERRE fits are in those of an apStar, in the survey's grids."""

CONTINUUM = "continuum.output"
"""What the model is multiplied by to fit the spectrum; its lines start with names."""

_START, _STEP = 4.179, 6e-6
"""log10 of the wavelength of an apStar's first pixel, and the step to the next."""

_LONGEST_LINE = 1 << 20
_LONGEST_HEADER = 1 << 22
_PLACES = np.r_[CHIPS]


class FerreRow(Protocol):
    """A result of FERRE: its spectrum, the folder of its files, and the grid that they are of."""

    _pixels_read: dict[str, Array]
    spectrum_pk: int
    pwd: str | None
    short_grid_name: str | None


class FerreParametersAccessor:
    """Reads the model flux at the stellar parameters, and the continuum that it is multiplied by."""

    def load(self, row: FerreRow, name: str) -> None:
        """Read both into the row's cache.

        Raises
        ------
        MissingPixelsError
            If a file isn't there, is damaged, or has no line of the row's spectrum.
        """
        folder = _folder(row, "params", name)
        places = _places(folder, name)
        kinds = ("model_flux", "rectified_model_flux", "rectified_flux")
        is_there = os.path.exists(os.path.join(folder, CONTINUUM))
        files = ("model_flux.output", CONTINUUM) if is_there else tuple(f"{kind}.output" for kind in kinds)
        found = [_find_line(os.path.join(folder, file), row.spectrum_pk, len(places), name) for file in files]
        lines = [line for line in found if line is not None]
        if len(lines) < len(files):
            raise MissingPixelsError(f"{name}: the files in {folder!r} have no line of spectrum_pk {row.spectrum_pk}")
        (index, model), *others = lines
        if is_there:
            [(_, continuum)] = others
        else:
            (_, rectified_model), (_, rectified) = others
            flux = _read_line(os.path.join(folder, "flux.input"), index, len(places), name)
            with np.errstate(divide="ignore", invalid="ignore"):
                continuum = (rectified_model / model) / (rectified / flux)
        arrays = {"model_flux": on_all_pixels(model, places), "continuum": on_all_pixels(continuum, places)}
        row._pixels_read.update(arrays)


class FerreAbundanceAccessor:
    """Reads the model flux at one abundance; NaN if it was not fitted.

    Parameters
    ----------
    element : str
        Name of the folder: Al, C_12_13.
    """

    def __init__(self, element: str):
        self.element = element

    def load(self, row: FerreRow, name: str) -> None:
        """Read it into the row's cache.

        Raises
        ------
        MissingPixelsError
            If the row doesn't say where its files are, or the file is damaged.
        """
        folder = os.path.join(_folder(row, "abundances", name), self.element)
        path = os.path.join(folder, "rectified_model_flux.output")
        if not os.path.exists(path):
            row._pixels_read[name] = np.full(N_PIXELS, np.nan)
            return
        places = _places(folder, name)
        found = _find_line(path, row.spectrum_pk, len(places), name)
        row._pixels_read[name] = on_all_pixels(np.nan if found is None else found[1], places)


def on_all_pixels(values: Array | float, places: Array = _PLACES) -> Array:
    """Put FERRE's pixels where they are in an apStar; NaN elsewhere.

    Parameters
    ----------
    values : array or float
        The grid's pixels, or what all of them have.
    places : array, optional
        Number of the apStar's pixel that each is nearest to; those outside of it are left out.
    """
    pixels = np.full(N_PIXELS, np.nan)
    on_it = (places >= 0) & (places < N_PIXELS)
    pixels[places[on_it]] = np.broadcast_to(values, places.shape)[on_it]
    return pixels


def places_of(chips: Iterable[Chip]) -> Array:
    """Give the pixel of an apStar that each pixel of a grid is nearest to, int64."""
    log10 = [chip.start + chip.step * np.arange(chip.n_pixels) for chip in chips]
    return np.rint((np.concatenate(log10) - _START) / _STEP).astype(np.int64)


def _places(folder: str, wanted: str) -> Array:
    path = os.path.join(folder, "grid.hdr")
    if not os.path.exists(path):
        return _PLACES
    with _open(path, wanted) as file:
        text = file.read(_LONGEST_HEADER)
    try:
        return places_of(chips_of(read_namelists(text, "synth")))
    except ValueError as error:
        raise MissingPixelsError(f"{wanted}: {path!r} isn't the header of a grid: {error}") from error


def _folder(row: FerreRow, kind: str, wanted: str) -> str:
    if not row.pwd or not row.short_grid_name:
        raise MissingPixelsError(
            f"{wanted}: the result of spectrum_pk {row.spectrum_pk} has no pwd or no short_grid_name, which say where "
            f"FERRE's files are"
        )
    return os.path.join(expand_path(row.pwd), kind, row.short_grid_name)


def _find_line(path: str, spectrum_pk: int, n_pixels: int, wanted: str) -> tuple[int, Array] | None:
    """Give the index in the input and the pixels of a spectrum, of one of FERRE's own files."""
    with _open(path, wanted) as file:
        for line in _lines(file, path, wanted):
            name, _, numbers = line.strip().partition(" ")
            parts = name.split("_")
            if len(parts) > 2 and parts[2] == str(spectrum_pk):
                if not parts[0].isdecimal():
                    raise MissingPixelsError(f"{wanted}: {path!r} has {parts[0][:20]!r} where a line's number belongs")
                return int(parts[0]), _parse(numbers, path, n_pixels, wanted)
    return None


def _read_line(path: str, index: int, n_pixels: int, wanted: str) -> Array:
    with _open(path, wanted) as file:
        line = next(itertools.islice(_lines(file, path, wanted), index, None), "")
    return _parse(line, path, n_pixels, wanted)


def _open(path: str, wanted: str) -> TextIO:
    try:
        return io.TextIOWrapper(door.open_file(path), encoding="ascii", errors="replace")
    except UnrecognizedFileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise MissingPixelsError(f"{wanted}: there is no file {path!r}") from error
        raise MissingPixelsError(f"{wanted}: can't read {path!r}: {error}") from error


def _lines(file: TextIO, path: str, wanted: str) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise MissingPixelsError(f"{wanted}: {path!r} has a line of {_LONGEST_LINE} characters or more")
        yield line


def _parse(numbers: str, path: str, n_pixels: int, wanted: str) -> Array:
    try:
        pixels = np.array(numbers.split(), dtype=np.float64)
    except ValueError as error:
        raise MissingPixelsError(f"{wanted}: {path!r} has a line that isn't all numbers: {error}") from error
    if len(pixels) != n_pixels:
        raise MissingPixelsError(f"{wanted}: {path!r} has a line of {len(pixels)} pixels instead of {n_pixels}")
    return pixels
