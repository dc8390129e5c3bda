"""Reading the next file of a kind as the last one was read, once its headers are found to be the same.

A recipe knows which bytes of a file make it alike (all of the headers that say where things are, but for checksums and
the number of rows of the last table) and where the arrays then are. A file that differs in one of these bytes is
parsed anew.
"""

import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from astra_models.fits.arrays import BLOCK, CARD, FitsReader, Header, Place, native_type

__all__ = ["Recipe", "Recipes"]

SLACK = 1.1
LARGEST_GAP = 1 << 14
LARGEST_READ = 1 << 30
MOST_RECIPES = 64
EXTENSION = b"XTENSION="
N_ROWS = (4 * CARD + 10, 4 * CARD + 30)
_VARYING = re.compile(rb"(CHECKSUM|DATASUM )=")


class _Piece(NamedTuple):
    """A part of the file that is read at once, what has to be in it, and which arrays are."""

    start: int
    size: int
    same: list[tuple[int, bytes]]
    arrays: list[tuple[str, Any, int, np.dtype, np.dtype, tuple[int, ...], tuple[int, ...]]]


class Recipe:
    """How to read some arrays of a file.

    Parameters
    ----------
    reader : FitsReader
        A file that was read.
    places : mapping of str to Place
        Where its arrays were.
    labels : mapping of str to anything
        What is given with each array.

    Attributes
    ----------
    key_at : tuple of int
        From which byte to which a file has the key by which its recipe is found: the cards of a header that say what
        its data are and how large.
    key : bytes
        What they are.
    """

    def __init__(self, reader: FitsReader, places: dict[str, Place], labels: dict[str, Any]):
        headers = reader.headers
        primary = headers[0]
        # If another file's primary header ends earlier, its next header begins at one of these blocks.
        self._blocks = range(BLOCK, len(primary.content), BLOCK)
        # Columns of as many rows as there are may be longer or shorter in the next file, if nothing comes after them.
        last = headers[-1]
        self._varies = last.is_table and all(
            place.header is last and len(place.shape) == 1 for place in places.values()
        )
        self._varies = self._varies and all(place.strides[0] == last.row_size for place in places.values())
        same = [(0, primary.content[: 3 * CARD])]
        for header in headers[1:]:
            same += _same(header, but_rows=self._varies and header is last)
        self._rows_at = last.start + N_ROWS[0]
        self._row_size, self._data = last.row_size, last.data
        self._pieces = list(_pieces(same, places, labels, SLACK if self._varies else 1))
        keyed = [header for header in headers if header.start < self._pieces[0].size][-1]
        # XTENSION, BITPIX, NAXIS, NAXIS1, and NAXIS2, the number of rows, unless that varies.
        size = (4 if keyed is last and self._varies else 5) * CARD
        self.key_at, self.key = (keyed.start, keyed.start + size), keyed.content[:size]

    @staticmethod
    def is_possible(reader: FitsReader, places: dict[str, Place]) -> bool:
        """Tell whether there can be a recipe: a file that begins with a header alone, and small arrays in it."""
        primary = reader.headers[0]
        return bool(places) and not primary.row_size * primary.n_rows + primary.heap

    def first_size(self) -> int:
        """How many bytes of the beginning of a file are looked at."""
        return self._pieces[0].size

    def read(self, descriptor: int, content: bytes) -> dict[str, tuple[np.ndarray, Any]] | None:
        """Read the arrays of a file, or give None if it is not alike.

        Parameters
        ----------
        descriptor : int
            The open file.
        content : bytes
            Its beginning.
        """
        for at in self._blocks:
            if content.startswith(EXTENSION, at):
                return None
        found: dict[str, tuple[np.ndarray, Any]] = {}
        varies, n_rows = self._varies, 0
        for start, size, same, arrays in self._pieces:
            if start:
                content = os.pread(descriptor, size, start)
            for at, piece in same:
                if not content.startswith(piece, at):
                    return None
            if varies:
                at = self._rows_at - start
                digits = content[at : at + 20]
                n_rows = int(digits) if digits.strip().isdigit() else 0
                size = self._data - start + n_rows * self._row_size if n_rows else LARGEST_READ
            if len(content) < size:
                return None
            for name, label, at, dtype, here, shape, strides in arrays:
                view = np.ndarray((n_rows,) if varies else shape, dtype, content, at, strides)
                found[name] = view.astype(here), label
        return found


class Recipes:
    """Recipes for files of one kind, which differ in their headers."""

    def __init__(self) -> None:
        self._recipes: list[Recipe] = []
        self._by_key: dict[tuple[int, int], dict[bytes, list[Recipe]]] = {}
        self._first_size = 0

    def add(self, recipe: Recipe) -> None:
        """Keep a recipe, and forget the oldest of too many."""
        self._recipes = [recipe, *self._recipes[: MOST_RECIPES - 1]]
        self._first_size = max(recipe.first_size() for recipe in self._recipes)
        by_key: dict[tuple[int, int], dict[bytes, list[Recipe]]] = {}
        for one in self._recipes:
            by_key.setdefault(one.key_at, {}).setdefault(one.key, []).append(one)
        self._by_key = by_key

    def read(self, path: str) -> dict[str, tuple[np.ndarray, Any]] | None:
        """Read a file by the recipe that fits, or give None.

        Returns
        -------
        dict or None
            For each array its values, in the machine's byte order, and its label.

        Raises
        ------
        OSError
            If it can't be opened.
        """
        if not self._by_key:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.pread(descriptor, self._first_size, 0)
            for (start, stop), recipes in self._by_key.items():
                for recipe in recipes.get(content[start:stop], ()):
                    if found := recipe.read(descriptor, content):
                        return found
            return None
        finally:
            os.close(descriptor)


def _same(header: Header, but_rows: bool) -> list[tuple[int, bytes]]:
    """Give the bytes of a header that have to be the same, by where they are in the file."""
    content = header.content
    gaps = [N_ROWS] if but_rows else []
    gaps += [(m.start() + 10, m.start() + CARD) for m in _VARYING.finditer(content) if m.start() % CARD == 0]
    starts, stops = [0, *(stop for _, stop in gaps)], [*(start for start, _ in gaps), len(content)]
    return [(header.start + start, content[start:stop]) for start, stop in zip(starts, stops, strict=True)]


def _pieces(
    same: list[tuple[int, bytes]], places: dict[str, Place], labels: dict[str, Any], slack: float
) -> Iterable[_Piece]:
    """Put together what is close together in the file."""
    ranges = [(start, start + len(piece)) for start, piece in same]
    ranges += [(place.start, place.start + int(place.size * slack)) for place in places.values()]
    merged: list[list[int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1] + LARGEST_GAP:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    for start, stop in merged:
        here = [(at - start, piece) for at, piece in same if start <= at < stop]
        arrays = [
            (name, labels[name], place.start - start, place.dtype, native_type(place.dtype), place.shape, place.strides)
            for name, place in places.items()
            if start <= place.start < stop
        ]
        yield _Piece(start, stop - start, here, arrays)
