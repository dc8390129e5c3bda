"""What FERRE wrote: rows of parameters, and lines of fluxes with names or without.

A row counts if it is whole: its name is one that was asked for, and all its columns are there. Nothing is taken from
the order of rows; several threads write as they finish.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_models.pixels.namelists import fortran_number

_CHUNK = 1 << 20
_MOST = 1 << 24
"""So much is read at once of what a program prints: it may print junk without end."""

FAILED = -999.0
"""FERRE writes -999.999 for what it couldn't fit, which is -1.0000E+03 with exponents."""

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([EeDd]?[+-]?\d+)?")
_ZERO = ord("0")
_BLANK, _PLUS, _MINUS = ord(" "), ord("+"), ord("-")


class Row(NamedTuple):
    """What FERRE found for one spectrum.

    Parameters
    ----------
    values, errors : array
        (n_dim,) float64, in the grid's order and units. NaN where FERRE gave up or wrote no number.
    snr : float
        FERRE's column of the signal to noise: its median.
    rchi2 : float
        Reduced chi squared.
    covariance : array
        (n_dim, n_dim) float64; NaN if there is none, or if it doesn't belong to the errors: FERRE leaves what was in
        memory where a fit failed.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    snr: float
    rchi2: float
    covariance: NDArray[np.float64]

    @property
    def is_good(self) -> bool:
        """Whether all values and the chi squared are numbers."""
        return bool(np.isfinite(self.values).all() and np.isfinite(self.rchi2))


@dataclass
class Tail:
    """Reads what was added to a file, in whole lines; begins anew if the file was replaced by a shorter one.

    Parameters
    ----------
    path : Path
        The file; it need not be there yet.
    """

    path: Path
    _offset: int = 0
    _rest: bytes = field(default=b"", repr=False)

    def lines(self) -> list[bytes]:
        """Give the lines that were finished since the last call, without their ends."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                new = file.read(_MOST)
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *lines, rest = (self._rest + new).split(b"\n")
        self._rest = rest[-_MOST:]
        return lines

    def count(self) -> int:
        """Give how many lines were finished since the last call, without keeping them."""
        n_lines = 0
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                while new := file.read(_CHUNK):
                    self._offset += len(new)
                    n_lines += new.count(b"\n")
        except FileNotFoundError:
            return 0
        return n_lines

    @property
    def n_bytes(self) -> int:
        """How far the file was read."""
        return self._offset


def read_lines(path: Path) -> list[bytes]:
    """Read the whole lines of a file, without their ends; none if it isn't there."""
    return list(whole_lines(path))


def whole_lines(path: Path) -> Iterator[bytes]:
    """Go through the whole lines of a file, without their ends; none if it isn't there."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]


def split_row(line: bytes, n_dim: int, names: Collection[bytes]) -> tuple[bytes, list[bytes]] | None:
    """Split a row of ``parameter.output`` into its name and its numbers, as text; None if it isn't a whole one."""
    name, *numbers = line.split() or [b""]
    if name not in names or len(numbers) not in (2 * n_dim + 3, 2 * n_dim + 3 + n_dim**2):
        return None
    return name, numbers


def read_row(numbers: Sequence[bytes], n_dim: int) -> Row:
    """Read the numbers of a row, as `split_row` gives them."""
    found = _numbers(numbers)
    values, errors = found[:n_dim].copy(), found[n_dim : 2 * n_dim].copy()
    with np.errstate(invalid="ignore"):
        values[~(values > FAILED) | ~np.isfinite(values)] = np.nan
        errors[~(errors > FAILED) | ~np.isfinite(errors)] = np.nan
    snr, log_rchi2 = found[2 * n_dim + 1], found[2 * n_dim + 2]
    rchi2 = 10**log_rchi2 if FAILED < log_rchi2 < 300 else np.nan
    covariance = found[2 * n_dim + 3 :].reshape(-1, n_dim)
    return Row(values, errors, float(snr), float(rchi2), _covariance_of(covariance, errors))


def _covariance_of(covariance: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(covariance):
        variances = np.diag(covariance)
        with np.errstate(invalid="ignore", over="ignore"):
            agree = np.abs(variances - errors**2) <= 0.02 * errors**2 + 1e-30
            close = np.abs(covariance) <= 1.05 * np.sqrt(np.outer(variances, variances)) + 1e-30
            if np.isfinite(covariance).all() and agree.all() and close.all():
                return (covariance + covariance.T) / 2
    return np.full((len(errors), len(errors)), np.nan)


def _numbers(words: Sequence[bytes]) -> NDArray[np.float64]:
    if not any(b"_" in word for word in words):  # which Python takes for a part of a number
        with suppress(ValueError):
            return np.array(words).astype(np.float64)
    return np.array([_number(word) for word in words])


def _number(text: bytes) -> float:
    try:
        return fortran_number(text.decode("ascii", "replace"))
    except ValueError:
        return np.nan


def split_flux_line(line: bytes, names: Collection[bytes]) -> tuple[bytes | None, bytes]:
    """Split a line of fluxes into the name that it starts with, if there is one, and its numbers."""
    first, _, rest = line.strip().partition(b" ")
    if first in names or (first and not is_number(first)):
        return first, rest
    return None, line


def is_number(text: bytes) -> bool:
    """Whether a text is a number as Fortran writes it; also stars, NaN and Infinity stand for one."""
    return bool(_NUMBER.fullmatch(text)) or text.startswith(b"*") or text.lower().lstrip(b"+-") in _NO_NUMBERS


_NO_NUMBERS = {b"nan", b"inf", b"infinity"}


def parse_fluxes(line: bytes, n_pixels: int) -> NDArray[np.float64] | None:
    """Read a line of fluxes that has no name.

    Parameters
    ----------
    line : bytes
        Numbers with blanks between them, without the line's end.
    n_pixels : int
        How many there have to be.

    Returns
    -------
    array or None
        (n_pixels,) float64; NaN where something else stands for a number. None if there are more or fewer.
    """
    fast = _parse_columns(line, n_pixels)
    if fast is not None:
        return fast
    words = line.split()
    if len(words) != n_pixels:
        return None
    return _numbers(words)


def _parse_columns(line: bytes, n_pixels: int) -> NDArray[np.float64] | None:
    """Read numbers with exponents that stand in columns of one width, as one format writes them."""
    line = line.rstrip()
    width = -(-len(line) // n_pixels)
    if width < 8 or width * n_pixels - len(line) > width - 8:
        return None
    line = line.rjust(width * n_pixels)
    point = line.rfind(b".", 0, width)
    if point < 1 or width - 4 - point < 2:
        return None
    columns = np.ascontiguousarray(np.frombuffer(line, dtype=np.uint8).reshape(n_pixels, width).T)
    exponent = width - 4
    places = [point - 1, *range(point + 1, exponent), width - 2, width - 1]
    if not _is_of_columns(columns, point, places):
        return None
    digits = columns[places] - _ZERO
    mantissa = digits[0].astype(np.int64)
    for digit in digits[1:-2]:
        mantissa *= 10
        mantissa += digit
    if point > 1:
        np.negative(mantissa, out=mantissa, where=columns[point - 2] == _MINUS)
    power = digits[-2].astype(np.int64) * 10 + digits[-1]
    np.negative(power, out=power, where=columns[exponent + 1] == _MINUS)
    return mantissa / 10.0 ** (exponent - point - 1) * _POWERS[power + _OFFSET]


def _is_of_columns(columns: NDArray[np.uint8], point: int, places: list[int]) -> bool:
    sign_of_power, letter = columns[-3], columns[-4]
    return bool(
        (columns[point] == ord(".")).all()
        and ((letter == ord("E")) | (letter == ord("e"))).all()
        and ((sign_of_power == _PLUS) | (sign_of_power == _MINUS)).all()
        and (columns[places] - _ZERO <= 9).all()
        and (columns[: max(point - 2, 0)] == _BLANK).all()
        and (point < 2 or ((columns[point - 2] == _BLANK) | (columns[point - 2] == _MINUS)).all())
    )


_OFFSET = 99
_POWERS = np.array([float(f"1e{power}") for power in range(-_OFFSET, _OFFSET + 1)])


def named_lines(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Give name and numbers of each line of a file of ours, whose lines start with names."""
    wanted = {name.encode(): name for name in names}
    for line in whole_lines(path):
        first, _, rest = line.strip().partition(b" ")
        if first in wanted:
            yield wanted[first], rest


def read_fluxes(path: Path, names: Sequence[str], n_pixels: int) -> NDArray[np.float64]:
    """Read the fluxes of some spectra from a file whose lines start with names.

    Parameters
    ----------
    path : Path
        Such as ``rectified_flux.output`` of a finished fit.
    names : sequence of str
        Names of the spectra.
    n_pixels : int
        Number of pixels of the grid.

    Returns
    -------
    array
        (n, n_pixels) float64; NaN where the file has no line of the spectrum.
    """
    fluxes = np.full((len(names), n_pixels), np.nan)
    places = {name: place for place, name in enumerate(names)}
    for name, numbers in named_lines(path, names):
        parsed = parse_fluxes(numbers, n_pixels)
        if parsed is not None:
            fluxes[places[name]] = parsed
    return fluxes
