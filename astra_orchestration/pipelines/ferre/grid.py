"""Grids of models that FERRE interpolates: a text header ``X.hdr`` and the numbers in ``X.unf``.

A grid is a regular box: node i of a dimension is its lower limit and i steps. ``X.unf`` has a record of float32 for
each model, little-endian, the last dimension fastest, without record marks. The header's first block describes the box;
further blocks (MULTI) have a chip each, with the first wavelength, the step and the number of its pixels.
"""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError, MissingFileError
from astra_models.pixels.ferre_chips import Chip, chips_of, numbers, whole, whole_numbers
from astra_models.pixels.namelists import Group, read_namelists

__all__ = ["Chip", "Grid", "GridError", "read_grid", "write_grid"]

_LONGEST_HEADER = 1 << 22


class GridError(AstraError, ValueError):
    """A grid of models that can't be read or written."""


@dataclass(frozen=True)
class Grid:
    """What the header of a grid says.

    Parameters
    ----------
    path : Path
        The header, a file ``.hdr``.
    labels : tuple of str
        Names of the dimensions, as in the header: TEFF, LOGG, METALS, ``O Mg Si S Ca Ti``.
    n_points : tuple of int
        Number of nodes in each dimension.
    lower, steps : tuple of float
        First node of each dimension and the step to the next, in the units of the dimension (K, dex).
    chips : tuple of Chip
        The pixels.
    resolution : float, optional
        Resolving power, if the header has it.
    """

    path: Path
    labels: tuple[str, ...]
    n_points: tuple[int, ...]
    lower: tuple[float, ...]
    steps: tuple[float, ...]
    chips: tuple[Chip, ...]
    resolution: float | None = None

    @property
    def n_dim(self) -> int:
        """Number of dimensions."""
        return len(self.labels)

    @property
    def n_pixels(self) -> int:
        """Number of pixels of all chips."""
        return sum(chip.n_pixels for chip in self.chips)

    @property
    def upper(self) -> tuple[float, ...]:
        """Last node of each dimension."""
        return tuple(low + (n - 1) * step for low, n, step in zip(self.lower, self.n_points, self.steps, strict=True))

    @property
    def models_path(self) -> Path:
        """The file of the models, ``.unf``."""
        return self.path.with_suffix(".unf")

    @cached_property
    def wavelength(self) -> NDArray[np.float64]:
        """Vacuum wavelengths of the pixels in Angstrom, (n_pixels,) float64."""
        log10 = [chip.start + chip.step * np.arange(chip.n_pixels, dtype=np.float64) for chip in self.chips]
        return np.asarray(10 ** np.concatenate(log10), dtype=np.float64)

    @cached_property
    def chip_slices(self) -> tuple[slice, ...]:
        """Where each chip's pixels are among all."""
        ends = np.cumsum([chip.n_pixels for chip in self.chips]).tolist()
        return tuple(slice(end - chip.n_pixels, end) for end, chip in zip(ends, self.chips, strict=True))

    def axis(self, label: str) -> int:
        """Give the number of a dimension, from 0.

        Raises
        ------
        GridError
            If the grid has no such dimension.
        """
        if label not in self.labels:
            raise GridError(f"the grid {self.path} has no dimension {label!r}: it has {', '.join(self.labels)}")
        return self.labels.index(label)

    def nodes(self, label: str) -> NDArray[np.float64]:
        """Give the nodes of a dimension, float64."""
        axis = self.axis(label)
        return self.lower[axis] + self.steps[axis] * np.arange(self.n_points[axis], dtype=np.float64)

    def models(self) -> NDArray[np.float32]:
        """Open the models: (n1, ..., nd, n_pixels) float32, read from disk where they are looked at."""
        return np.memmap(self.models_path, dtype="<f4", mode="r", shape=(*self.n_points, self.n_pixels))


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read a grid's header, and see that the file of its models is there and of the right size.

    Parameters
    ----------
    path : path
        The header. ``X`` and ``X.unf`` stand for ``X.hdr``.

    Raises
    ------
    MissingFileError
        If the header or the models aren't there.
    GridError
        If the header can't be understood, or the models are of another size than it says.
    """
    header = _header_path(Path(path))
    blocks = _blocks(header)
    try:
        grid = Grid(header, *_box(blocks[0]), chips_of(blocks), _resolution(blocks))
        n_values = whole(blocks[0], "npix")
        compressed = bool(blocks[0].get("npca"))
    except ValueError as error:
        raise GridError(f"{header}: {error}") from error
    if not compressed and n_values != grid.n_pixels:
        raise GridError(f"{header}: NPIX of the first block is {n_values}, and its chips have {grid.n_pixels} pixels")
    _check_size(grid, None if compressed else 4 * math.prod(grid.n_points) * n_values)
    return grid


def write_grid(
    path: str | os.PathLike[str],
    labels: Sequence[str],
    lower: Sequence[float],
    steps: Sequence[float],
    chips: Sequence[Chip],
    models: ArrayLike,
    resolution: float | None = 22500.0,
) -> Grid:
    """Write a grid as FERRE reads it: a header and the models.

    Parameters
    ----------
    path : path
        The header, ``X.hdr``; the models go to ``X.unf`` beside it. Either is replaced as a whole.
    labels : sequence of str
        Names of the dimensions.
    lower, steps : sequence of float
        First node of each dimension, and the step to the next.
    chips : sequence of Chip
        The pixels.
    models : array
        (n1, ..., nd, n_pixels) float32, the last dimension fastest.
    resolution : float, optional
        Resolving power.

    Raises
    ------
    GridError
        If the numbers of dimensions or pixels don't fit together, or a model isn't finite.
    """
    header = _header_path(Path(path), exists=False)
    array = np.asanyarray(models)
    n_pixels = sum(chip.n_pixels for chip in chips)
    n_points = array.shape[:-1]
    if not len(labels) == len(lower) == len(steps) == len(n_points) or array.shape[-1:] != (n_pixels,):
        raise GridError(
            f"{header}: models of shape {array.shape} don't fit to {len(labels)} labels, {len(lower)} lower limits, "
            f"{len(steps)} steps and {n_pixels} pixels"
        )
    if not np.isfinite(array).all():
        raise GridError(f"{header}: {np.count_nonzero(~np.isfinite(array))} numbers of the models aren't finite")
    text = _header_text(labels, n_points, lower, steps, chips, resolution)
    header.parent.mkdir(parents=True, exist_ok=True)
    _replace(header.with_suffix(".unf"), [np.ascontiguousarray(part, dtype="<f4").tobytes() for part in array])
    _replace(header, [text.encode("ascii")])
    return read_grid(header)


def _header_path(path: Path, *, exists: bool = True) -> Path:
    header = path.with_suffix(".hdr") if path.suffix == ".unf" else path
    if header.suffix != ".hdr" and not (exists and header.is_file()):
        header = header.with_name(header.name + ".hdr")
    return header


def _blocks(header: Path) -> list[Group]:
    try:
        with header.open("rb") as file:
            text = file.read(_LONGEST_HEADER).decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no grid {header}: name a header (.hdr) with its models (.unf) beside it"
        ) from None
    except OSError as error:
        raise GridError(f"the grid {header} can't be read: {error.strerror or error}") from error
    try:
        blocks = read_namelists(text, "synth")
    except ValueError as error:
        raise GridError(f"{header}: {error}") from error
    if not blocks:
        raise GridError(f"{header} isn't the header of a grid: it has no block &SYNTH")
    return blocks


def _box(block: Group) -> tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    n_dim = whole(block, "n_of_dim")
    n_points = whole_numbers(block, "n_p", n_dim)
    lower, steps = numbers(block, "llimits", n_dim), numbers(block, "steps", n_dim)
    labels = tuple(label.strip() for label in block.get("label", []))
    if len(labels) != n_dim or not all(labels) or len(set(labels)) != n_dim:
        raise ValueError(f"LABEL has to name each of {n_dim} dimensions, and has {', '.join(labels) or 'none'}")
    if min(n_points) < 1 or min(steps) <= 0:
        raise ValueError(f"N_P has to be 1 or more and STEPS over 0, and are {n_points} and {steps}")
    return labels, n_points, lower, steps


def _resolution(blocks: list[Group]) -> float | None:
    return next((numbers(block, "resolution", 1)[0] for block in blocks if block.get("resolution")), None)


def _check_size(grid: Grid, n_bytes: int | None) -> None:
    try:
        found = grid.models_path.stat().st_size
    except OSError:
        raise MissingFileError(
            f"the models of the grid {grid.path} aren't there: {grid.models_path} is missing"
        ) from None
    if n_bytes is not None and found != n_bytes:
        raise GridError(
            f"{grid.models_path} has {found} bytes instead of {n_bytes}, which {grid.path.name} says "
            f"({' x '.join(map(str, grid.n_points))} models of {grid.n_pixels} pixels); copy the grid again"
        )


def _header_text(
    labels: Sequence[str],
    n_points: Sequence[int],
    lower: Sequence[float],
    steps: Sequence[float],
    chips: Sequence[Chip],
    resolution: float | None,
) -> str:
    def written(values: Sequence[float]) -> str:
        return " ".join(f"{value:.10g}" for value in values)

    def pixels(n_pixels: int) -> list[str]:
        lines = [f"NPIX = {n_pixels}", f"WAVE = {chips[0].start:.10g} {chips[0].step:.10g}", "LOGW = 1", "VACUUM = 1"]
        return lines + ([] if resolution is None else [f"RESOLUTION = {resolution:.10g}"])

    box = [f"MULTI = {len(chips)}"] if len(chips) > 1 else []
    box += [f"N_OF_DIM = {len(labels)}", f"N_P = {written(n_points)}"]
    box += [f"LABEL({i}) = '{_quoted(label)}'" for i, label in enumerate(labels, 1)]
    box += [f"LLIMITS = {written(lower)}", f"STEPS = {written(steps)}", *pixels(sum(chip.n_pixels for chip in chips))]
    blocks = [box]
    if len(chips) > 1:
        for chip in chips:
            lines = [f"NPIX = {chip.n_pixels}", f"WAVE = {chip.start:.10g} {chip.step:.10g}", "LOGW = 1", "VACUUM = 1"]
            blocks.append(lines + ([] if resolution is None else [f"RESOLUTION = {resolution:.10g}"]))
    return "".join("".join([" &SYNTH\n", *(f" {line}\n" for line in block), " /\n"]) for block in blocks)


def _quoted(label: str) -> str:
    return label.replace("'", "''")


def _replace(path: Path, parts: list[bytes]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.writelines(parts)
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
