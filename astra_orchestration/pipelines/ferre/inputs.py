"""What FERRE reads: names, starting values, fluxes and errors as text.

One pixel that isn't a number makes FERRE run for ever, and one beyond the range of its floats ends it: such pixels get
a flux of 1e-4 and an error of 1e10 before anything is written, so that they have no weight.

Numbers are written as ``%.4e`` would, by a table of all five-digit numbers (`format_lines`): the text of a spectrum
of 7,514 pixels takes a tenth of the time of `numpy.savetxt` (``benchmarks/ferre.py``).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra_models.errors import AstraError

BAD_FLUX = 1e-4
BAD_ERROR = 1e10
LARGEST_FLUX = 1e15
"""Squares of larger numbers don't fit into FERRE's floats with room for their sum."""

LONGEST_NAME = 100
_SMALLEST = 1e-35
_LARGEST = 1e35
_LOWEST_POWER, _HIGHEST_POWER = -36, 36
_NAME = re.compile(r"[\w.:+@#=()-]+", re.ASCII)


class SpectraError(AstraError, ValueError):
    """Spectra that FERRE can't be given: their names or their shapes are wrong."""


def check_names(names: Sequence[str]) -> None:
    """See that FERRE can tell the spectra apart by their names.

    Raises
    ------
    SpectraError
        If a name has blanks or what Fortran reads as the end of a word, isn't ASCII, is longer than 100 characters, or
        is there twice.
    """
    unfit = [name for name in names if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME]
    if unfit:
        raise SpectraError(
            f"{len(unfit)} names can't be given to FERRE, such as {unfit[0][:120]!r}: they need 1 to {LONGEST_NAME} "
            f"ASCII characters without blanks, commas, slashes and quotes"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SpectraError(f"the name {twice!r} is there twice; results are joined by name, so each has to be unique")


def sanitize(
    flux: NDArray[np.floating], error: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Take the weight from pixels that FERRE can't work with.

    Parameters
    ----------
    flux, error : array
        (n_spectra, n_pixels), any unit.

    Returns
    -------
    flux, error : array
        Copies, float64. Pixels whose flux or error isn't finite, whose flux is beyond 1e15 in size, or whose error is
        negative have a flux of 1e-4 and an error of 1e10. Errors are 1e10 at most.
    bad : array
        Which pixels those are, bool.
    """
    flux = np.array(flux, dtype=np.float64)
    error = np.array(error, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~((np.abs(flux) <= LARGEST_FLUX) & (error >= 0) & np.isfinite(error))
    flux[bad] = BAD_FLUX
    error[bad] = BAD_ERROR
    return flux, np.minimum(error, BAD_ERROR, out=error), bad


def format_lines(values: NDArray[np.floating]) -> list[bytes]:
    """Write each row of an array as a line of ``%.4e``.

    Parameters
    ----------
    values : array
        (n, n_pixels), finite. Below 1e-35 in size they are 0, above 1e35 they are 1e35, so that they stay in the range
        of single precision.

    Returns
    -------
    list of bytes
        The lines, each with its end.
    """
    mantissas, exponents = _tables()
    size = np.abs(np.asarray(values, dtype=np.float64))
    size = np.minimum(size, _LARGEST)
    is_zero = size < _SMALLEST
    size[is_zero] = 1.0
    power = np.floor(np.log10(size)).astype(np.int64)
    digits = np.rint(size * 10.0 ** (4 - power)).astype(np.int64)
    beyond = digits > 99_999
    power[beyond] += 1
    digits[beyond] = np.rint(size[beyond] * 10.0 ** (4 - power[beyond])).astype(np.int64)
    digits[is_zero] = 0
    negative = np.asarray(values) < 0
    signed = bool(negative.any())
    text = np.empty((*size.shape, 11 + signed), dtype=np.uint8)
    text[..., : 1 + signed] = ord(" ")
    text[..., signed : 8 + signed] = mantissas[digits]
    text[..., 8 + signed :] = exponents[power - _LOWEST_POWER]
    if signed:
        text[..., 1][negative] = ord("-")
    return [row.tobytes() + b"\n" for row in text]


@cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give `` d.dddde`` for the numbers of five digits, and ``+dd`` for the powers of ten."""
    mantissas = np.empty((100_000, 8), dtype=np.uint8)
    mantissas[:] = np.frombuffer(b" 0.0000e", dtype=np.uint8)
    number = np.arange(100_000)
    for place, power in zip((1, 3, 4, 5, 6), (10_000, 1_000, 100, 10, 1), strict=True):
        mantissas[:, place] += (number // power % 10).astype(np.uint8)
    texts = "".join(f"{power:+03d}" for power in range(_LOWEST_POWER, _HIGHEST_POWER + 1))
    return mantissas, np.frombuffer(texts.encode(), dtype=np.uint8).reshape(-1, 3)


def format_parameters(names: Sequence[str], values: NDArray[np.floating]) -> list[bytes]:
    """Write the lines of ``parameter.input``: a name and the starting values.

    Parameters
    ----------
    names : sequence of str
        Names, as `check_names` wants them.
    values : array
        (n, n_dim), in the order and the units of the grid.
    """
    return [
        f"{name:<40s} {' '.join(f'{value:14.6f}' for value in row)}\n".encode("ascii")
        for name, row in zip(names, np.asarray(values, dtype=np.float64).tolist(), strict=True)
    ]


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines to a new file, or in place of an old one."""
    with path.open("wb") as file:
        file.writelines(lines)
