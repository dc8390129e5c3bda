"""Reading the next file of a kind as the last one was read, once its headers are found to be the same.

A recipe knows which bytes of a file make it alike and where the arrays then are. A file that differs in one of these
bytes is parsed anew. Of a specFull, say, whose table is the last that is read::

    byte 0      SIMPLE, BITPIX, NAXIS       the same          -+
                the rest of the header      whatever           |
    byte 14400  XTENSION ... NAXIS1         the same: the key  |
                NAXIS2, the number of rows  read from here     |  one piece: read at once,
                ... TTYPE9, TFORM9          the same           |  compared, and the arrays
                DATASUM, CHECKSUM           whatever           |  are views of it
    byte 20160  rows: FLUX|LOGLAM|IVAR|...  the arrays        -+
                other HDUs                  not read

The same are all headers that say where things are, but for their checksums; and, if only columns of the last table are
read, its number of rows. `Recipes` is the only door: it reads a file by a recipe or by its headers.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from astra_models.fits import door
from astra_models.fits.arrays import FitsReader, Place, PlainHdu, native_type
from astra_models.fits.header import BLOCK, CARD

__all__ = ["Recipes"]

SLACK = 1.1
LARGEST_GAP = 1 << 14
MOST_RECIPES = 64
EXTENSION = b"XTENSION="
N_ROWS = (4 * CARD + 10, 4 * CARD + 30)
_VARYING = re.compile(rb"(CHECKSUM|DATASUM )=")

Label = TypeVar("Label")


class Recipes(Generic[Label]):
    """Reads arrays of files of one kind, which differ in their headers, and remembers where they were.

    Each array has a label, which is given with it: what is to be done with it, say.
    """

    def __init__(self) -> None:
        self._recipes: list[Recipe[Label]] = []
        self._by_key: dict[tuple[int, int], dict[bytes, list[Recipe[Label]]]] = {}
        self._first_size = 0

    def read(
        self, path: str, find: Callable[[FitsReader], Mapping[str, tuple[Place, Label]]], *, remember: bool = True
    ) -> dict[str, tuple[np.ndarray, Label]]:
        """Read a file by the recipe that fits, or by its headers.

        Parameters
        ----------
        path : str
            The file.
        find : callable
            Tells where the arrays of a file are, by its headers.
        remember : bool, optional
            Whether they are at the same places in a file of the same headers.

        Returns
        -------
        dict
            For each array its values, in the machine's byte order, and its label.

        Raises
        ------
        OSError, UnrecognizedFileError
            If it can't be opened, or is damaged.
        NotPlainError, DamagedFileError
            If `FitsReader` can't read it.
        """
        found = self._read_alike(path)
        if found is not None:
            return found
        with FitsReader(path) as reader:
            places = find(reader)
            arrays = {name: (reader.read(place), label) for name, (place, label) in places.items()}
            if (
                remember and places and not reader.is_gzip and not reader.hdus[0].size
            ):  # so its other headers are near its beginning
                self._add(Recipe(reader.hdus, places))
        return arrays

    def _add(self, recipe: "Recipe[Label]") -> None:
        """Keep a recipe, and forget the oldest of too many."""
        self._recipes = [recipe, *self._recipes[: MOST_RECIPES - 1]]
        self._first_size = max(recipe.first_size() for recipe in self._recipes)
        by_key: dict[tuple[int, int], dict[bytes, list[Recipe[Label]]]] = {}
        for one in self._recipes:
            by_key.setdefault(one.key_at, {}).setdefault(one.key, []).append(one)
        self._by_key = by_key

    def _read_alike(self, path: str) -> dict[str, tuple[np.ndarray, Label]] | None:
        if not self._by_key:
            return None
        descriptor = os.open(path, door.READING)
        try:
            try:
                content = os.pread(descriptor, self._first_size, 0)
            except OSError:  # of what is no file; `FitsReader` says so
                return None
            for (start, stop), recipes in self._by_key.items():
                for recipe in recipes.get(content[start:stop], ()):
                    if found := recipe.read(descriptor, content):
                        return found
            return None
        finally:
            os.close(descriptor)


class _Array(NamedTuple, Generic[Label]):
    """An array in a piece of a file."""

    name: str
    label: Label
    at: int
    dtype: np.dtype
    native: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Piece(NamedTuple, Generic[Label]):
    """A part of the file that is read at once, what has to be in it, and which arrays are."""

    start: int
    size: int
    same: list[tuple[int, bytes]]
    arrays: list[_Array[Label]]


class Recipe(Generic[Label]):
    """How to read some arrays of a file.

    Parameters
    ----------
    hdus : list of PlainHdu
        The HDUs of a file that was read.
    places : mapping of str to (Place, label)
        Where its arrays were, and what is given with each.

    Attributes
    ----------
    key_at : tuple of int
        From which byte to which a file has the key by which its recipe is found: the cards of a header that say what
        its data are and how large.
    key : bytes
        What they are.
    """

    def __init__(self, hdus: list[PlainHdu], places: Mapping[str, tuple[Place, Label]]):
        primary, last = hdus[0].header.content, hdus[-1]
        # If another file's primary header ends earlier, its next header begins at one of these blocks.
        self._blocks = range(BLOCK, len(primary), BLOCK)
        # Columns of as many rows as there are may be longer or shorter in the next file, if nothing comes after them.
        self._varies = last.is_table and all(
            place.hdu is last and len(place.shape) == 1 and place.strides[0] == last.row_size
            for place, _ in places.values()
        )
        same = [(0, primary[: 3 * CARD])]
        for hdu in hdus[1:]:
            same += _same(hdu, but_rows=self._varies and hdu is last)
        self._rows_at = last.start + N_ROWS[0]
        self._row_size, self._data = last.row_size, last.data
        self._pieces = list(_pieces(same, places, SLACK if self._varies else 1))
        keyed = [hdu for hdu in hdus if hdu.start < self._pieces[0].size][-1]
        # XTENSION, BITPIX, NAXIS, NAXIS1, and NAXIS2, the number of rows, unless that varies.
        size = (4 if keyed is last and self._varies else 5) * CARD
        self.key_at, self.key = (keyed.start, keyed.start + size), keyed.header.content[:size]

    def first_size(self) -> int:
        """How many bytes of the beginning of a file are looked at."""
        return self._pieces[0].size

    def read(self, descriptor: int, content: bytes) -> dict[str, tuple[np.ndarray, Label]] | None:
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
        found: dict[str, tuple[np.ndarray, Label]] = {}
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
                size = self._data - start + n_rows * self._row_size if n_rows else len(content) + 1
            if len(content) < size:
                return None
            for name, label, at, dtype, here, shape, strides in arrays:
                view = np.ndarray((n_rows,) if varies else shape, dtype, content, at, strides)
                found[name] = view.astype(here), label
        return found


def _same(hdu: PlainHdu, but_rows: bool) -> list[tuple[int, bytes]]:
    """Give the bytes of a header that have to be the same, by where they are in the file."""
    content = hdu.header.content
    gaps = [N_ROWS] if but_rows else []
    gaps += [(m.start() + 10, m.start() + CARD) for m in _VARYING.finditer(content) if m.start() % CARD == 0]
    starts, stops = [0, *(stop for _, stop in gaps)], [*(start for start, _ in gaps), len(content)]
    return [(hdu.start + start, content[start:stop]) for start, stop in zip(starts, stops, strict=True)]


def _pieces(
    same: list[tuple[int, bytes]], places: Mapping[str, tuple[Place, Label]], slack: float
) -> Iterable[_Piece[Label]]:
    """Put together what is close together in the file."""
    ranges = [(start, start + len(piece)) for start, piece in same]
    ranges += [(place.start, place.start + int(place.size * slack)) for place, _ in places.values()]
    merged: list[list[int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1] + LARGEST_GAP:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    for start, stop in merged:
        here = [(at - start, piece) for at, piece in same if start <= at < stop]
        arrays = [
            _Array(name, label, place.start - start, place.dtype, native_type(place.dtype), place.shape, place.strides)
            for name, (place, label) in places.items()
            if start <= place.start < stop
        ]
        yield _Piece(start, stop - start, here, arrays)
