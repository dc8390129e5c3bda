"""Normalised spectra of a training set on disk, read in blocks of pixels: memory doesn't grow with the stars."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .polynomial import Array

STARS_PER_FILE = 256


class StoredPixels:
    """Normalised spectra in files of some stars each, where a pixel of all of them is in one place.

    Parameters
    ----------
    folder : Path
        An empty folder; the files in it are of no use afterwards.
    n_pixels : int
        Pixels of each spectrum.
    """

    def __init__(self, folder: Path, n_pixels: int):
        self._folder, self._n_pixels = folder, n_pixels
        self._sizes: list[int] = []
        self._digest = hashlib.sha256()
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    @property
    def shape(self) -> tuple[int, int]:
        """Number of stars, and of pixels."""
        return sum(self._sizes) + len(self._waiting), self._n_pixels

    @property
    def sha256(self) -> str:
        """Hash of all fluxes and inverse variances, in their order."""
        return self._digest.hexdigest()

    def add(self, flux: NDArray[Any], ivar: NDArray[Any]) -> None:
        """Add a star: normalised flux and inverse variance, both of shape (n_pixels,)."""
        pair = flux.astype("<f4"), ivar.astype("<f4")
        for values in pair:
            self._digest.update(values.tobytes())
        self._waiting.append(pair)
        if len(self._waiting) == STARS_PER_FILE:
            self._write()

    def block(self, pixels: slice) -> tuple[Array, Array]:
        """Give normalised flux and inverse variance of some pixels, both of shape (n_pixels, n_stars)."""
        self._write()
        rows = range(*pixels.indices(self._n_pixels))
        found = np.empty((2, len(rows), self.shape[0]))
        first = 0
        for number, size in enumerate(self._sizes):
            with self._path(number).open("rb") as file:
                for which in range(2):
                    found[which, :, first : first + size] = self._read(file, which, rows, size)
            first += size
        return found[0], found[1]

    def _read(self, file: Any, which: int, rows: range, size: int) -> NDArray[np.float32]:
        runs = [rows] if rows.step == 1 else [range(row, row + 1) for row in rows]
        parts = []
        for run in runs:
            file.seek(4 * size * (which * self._n_pixels + run.start))
            parts.append(np.fromfile(file, dtype="<f4", count=len(run) * size).reshape(len(run), size))
        return np.concatenate(parts)

    def _write(self) -> None:
        if self._waiting:
            with self._path(len(self._sizes)).open("wb") as file:
                for values in zip(*self._waiting, strict=True):
                    np.stack(values, axis=1).tofile(file)
            self._sizes.append(len(self._waiting))
            self._waiting = []

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.f4"
