"""Groups of pixel arrays that are read together, by our own reader or, where that is not enough, by astropy's."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from astra_models.errors import MissingPixelsError
from astra_models.fits.arrays import DamagedFileError, FitsReader, NotPlainError, native
from astra_models.fits.recipe import Recipe, Recipes

Array = np.ndarray
Raw = dict[str, tuple[Array, Any]]


class Group:
    """Arrays of a model that one opening of a file reads.

    Parameters
    ----------
    accessors : mapping of str to PixelArrayAccessorFITS
        How each of them is found, by its name.
    """

    def __init__(self, accessors: Mapping[str, Any]):
        self._accessors = accessors
        self._exts = list(dict.fromkeys(accessor.ext for accessor in accessors.values()))
        self._fixed_exts = None if any(callable(ext) for ext in self._exts) else tuple(self._exts)
        self._beside = [(name, accessor.beside) for name, accessor in accessors.items() if accessor.beside]
        self._has_fixed_rows = not any(callable(accessor.row) for accessor in accessors.values())
        self._recipes: dict[tuple[Any, ...], Recipes] = defaultdict(Recipes)

    def read(self, row: Any, name: str) -> None:
        """Read the arrays of a row into its cache, those with another beside them converted, the others as they are.

        Parameters
        ----------
        row : model instance
            With its file, by ``absolute_path``.
        name : str
            The array that is missed if it isn't there.

        Raises
        ------
        MissingPixelsError
            If it can't be read.
        """
        path = row.absolute_path
        try:
            raw = self._recipes[self._fixed_exts or self._exts_of(row)].read(path) or self._read_parsed(path, row)
        except DamagedFileError as error:
            raise MissingPixelsError(
                f"{name}: can't read HDU {self._exts_of(row)[0]!r} of {path!r}: {error}"
            ) from error
        except (NotPlainError, OSError):
            raw = self._read_with_astropy(path, row, name)
        if name not in raw:
            raw |= self._read_with_astropy(path, row, name)
        for one, other in self._beside:
            if one in raw and other in raw:
                (values, transform), (beside, transform_beside) = raw.pop(one), raw.pop(other)
                row._pixels_read[one] = transform(values, beside)
                row._pixels_read[other] = beside if transform_beside is None else transform_beside(beside)
        if raw:
            row._pixels_raw.update(raw)

    def _exts_of(self, row: Any) -> tuple[Any, ...]:
        return self._fixed_exts or tuple([ext(row) if callable(ext) else ext for ext in self._exts])

    def _read_parsed(self, path: str, row: Any) -> Raw:
        """Read a file by its headers, and remember how."""
        with FitsReader(path) as reader:
            places, transforms = self._places(reader.hdu, row)
            raw = {name: (reader.read(place), transforms[name]) for name, place in places.items()}
            if self._has_fixed_rows and Recipe.is_possible(reader, places):
                self._recipes[self._exts_of(row)].add(Recipe(reader, places, transforms))
        return raw

    def _places(self, open_hdu: Callable[[Any], Any], row: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Find arrays, and what makes of each what is wanted."""
        places: dict[str, Any] = {}
        transforms: dict[str, Any] = {}
        for name, accessor in self._accessors.items():
            hdu = open_hdu(accessor.ext(row) if callable(accessor.ext) else accessor.ext)
            number = accessor.row(hdu, row) if callable(accessor.row) else accessor.row
            if not hdu.is_table:
                places[name], transforms[name] = hdu.place_of_image(number), accessor.transform
                continue
            if number is None and hdu.n_rows == 1:
                number = 0
            elif not callable(accessor.row) and number is not None and hdu.n_rows > 1:
                raise MissingPixelsError(
                    f"{name}: a table of {row.absolute_path!r} has {hdu.n_rows} rows, and no rule says which is meant"
                )
            for column, transform in accessor.columns(name):
                place = hdu.place_of_column(column.upper(), number)
                if place is not None:
                    if 0 in place.shape:
                        raise NotPlainError(f"{name} is empty")
                    places[name], transforms[name] = place, transform
                    break
        return places, transforms

    def _read_with_astropy(self, path: str, row: Any, name: str) -> dict[str, tuple[Array, Any]]:
        from astropy.io import fits

        ext: Any = self._accessors[name].ext
        try:
            ext = ext(row) if callable(ext) else ext
            with fits.open(path, mode="readonly", memmap=False) as hdus:
                places, transforms = self._places(lambda ext: AstropyHdu(hdus, ext, path, name), row)
                found = {other: (native(values), transforms[other]) for other, values in places.items()}
                names = getattr(getattr(hdus[ext], "columns", None), "names", [])
        except FileNotFoundError as error:
            raise MissingPixelsError(f"{name}: there is no file {path!r}") from error
        except (OSError, TypeError, ValueError, Warning) as error:
            raise MissingPixelsError(
                f"{name}: can't read HDU {ext!r} of {path!r}, which may be damaged or truncated: {error}"
            ) from error
        if name not in found:
            column = self._accessors[name].column_name or name
            raise MissingPixelsError(
                f"{name}: HDU {ext!r} of {path!r} has no column {column!r}; it has {', '.join(names)}"
            )
        return found


class AstropyHdu:
    """An HDU that astropy reads, looked at as `fits_reader.Hdu` is.

    Parameters
    ----------
    hdus : HDUList
        The open file.
    ext : int or str
        Which HDU.
    path, wanted : str
        For messages: the file, and the array that it is read for.
    """

    def __init__(self, hdus: Any, ext: int | str, path: str, wanted: str):
        try:
            hdu = hdus[ext]
        except (IndexError, KeyError) as error:
            names = ", ".join(repr(hdu.name) for hdu in hdus)
            raise MissingPixelsError(f"{path!r} has no HDU {ext!r}; it has {len(hdus)}: {names}") from error
        self._hdus, self._data = hdus, hdu.data
        if self._data is None or len(self._data) == 0:
            raise MissingPixelsError(f"{wanted}: HDU {ext!r} of {path!r} holds no data")

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return self._data.dtype.names is not None

    @property
    def n_rows(self) -> int:
        """Rows of a table, or of an image; 1 for a 1-D image."""
        return len(self._data) if self.is_table or self._data.ndim > 1 else 1

    def place_of_image(self, row: int | None = None) -> Array:
        """Give the image, or a row of it."""
        return self._data if row is None or self._data.ndim == 1 else self._data[row]

    def place_of_column(self, name: str, row: int | None = None) -> Array | None:
        """Give a column by its name in upper case, or its array in a row."""
        there = {other.upper(): other for other in reversed(self._data.dtype.names)}
        if name not in there:
            return None
        values = np.asarray(self._data[there[name]])
        return values if row is None else np.ravel(values[row])

    def column(self, name: str, row: int | None = None) -> Array | None:
        """Give a column by its name in upper case, or its array in a row."""
        return self.place_of_column(name, row)

    def card(self, keyword: str) -> Any:
        """Give a value of the primary header, or None."""
        return self._hdus[0].header.get(keyword)
