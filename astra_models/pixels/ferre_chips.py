"""The pixels of a grid of FERRE, as its header describes them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from astra_models.pixels.namelists import Group, fortran_number


class Chip(NamedTuple):
    """Pixels at equal steps of log10 of the vacuum wavelength.

    Parameters
    ----------
    start : float
        log10 of the first pixel's vacuum wavelength in Angstrom.
    step : float
        Step in it from pixel to pixel.
    n_pixels : int
        Number of pixels.
    """

    start: float
    step: float
    n_pixels: int


def chips_of(blocks: Sequence[Group]) -> tuple[Chip, ...]:
    """Give the chips that the blocks ``&SYNTH`` of a header describe.

    Parameters
    ----------
    blocks : sequence of dict
        All blocks of the header.

    Raises
    ------
    ValueError
        If they don't say it, or the steps aren't logarithmic.
    """
    if not blocks:
        raise ValueError("it has no block &SYNTH")
    n_further = whole(blocks[0], "multi") if blocks[0].get("multi") else 0
    if n_further > len(blocks) - 1:
        raise ValueError(f"MULTI = {n_further}, and {len(blocks) - 1} further blocks follow")
    of_chips = blocks[1 : n_further + 1] if n_further > 0 else blocks[:1]
    return tuple(_chip({**blocks[0], **block}) for block in of_chips)


def _chip(block: Group) -> Chip:
    start, step = numbers(block, "wave", 2)
    kind = whole(block, "logw") if block.get("logw") else 0
    if kind not in (1, 2):
        raise ValueError(f"LOGW = {kind}, linear wavelengths; only log10 (LOGW = 1) and ln (LOGW = 2) are supported")
    n_pixels = whole(block, "npix")
    if n_pixels < 1 or step <= 0:
        raise ValueError(f"a chip of {n_pixels} pixels with steps of {step}")
    scale = 1.0 if kind == 1 else 1 / math.log(10)
    return Chip(start * scale, step * scale, n_pixels)


def numbers(block: Group, name: str, n: int) -> tuple[float, ...]:
    """Give the first numbers of a name.

    Raises
    ------
    ValueError
        If there are fewer, or they aren't all finite.
    """
    words = block.get(name, [])
    said = f"{name.upper()} = {' '.join(words[:n])[:100]}"
    if n < 1 or len(words) < n:
        raise ValueError(f"{name.upper()} should have {max(n, 1)} numbers, and has {' '.join(words)[:100] or 'none'}")
    try:
        found = tuple(fortran_number(word) for word in words[:n])
    except ValueError:
        raise ValueError(f"{said} aren't all numbers") from None
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{said}; finite numbers are needed")
    return found


def whole(block: Group, name: str) -> int:
    """Give a whole number.

    Raises
    ------
    ValueError
        If it isn't one.
    """
    return whole_numbers(block, name, 1)[0]


def whole_numbers(block: Group, name: str, n: int) -> tuple[int, ...]:
    """Give whole numbers of a name.

    Raises
    ------
    ValueError
        If there are fewer, or they aren't all whole.
    """
    found = numbers(block, name, n)
    if any(number % 1 for number in found):
        raise ValueError(f"{name.upper()} = {' '.join(block[name])[:100]}; whole numbers are needed for counts")
    return tuple(map(int, found))
