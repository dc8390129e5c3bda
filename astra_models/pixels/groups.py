"""Groups of pixel arrays that are read together, by our own reader or, where that is not enough, by astropy's."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from astra_models.configuration import file_limits
from astra_models.errors import MissingPixelsError, UnrecognizedFileError
from astra_models.fits.arrays import DamagedFileError, NotPlainError, Place, native
from astra_models.fits.door import open_file, refusal_of, shown
from astra_models.fits.header import CardValue
from astra_models.fits.large import require_readable
from astra_models.fits.recipe import Recipes

Array = np.ndarray
Transform = Callable[..., Array]
Extension = int | str | Callable[..., int | str]
RowOf = int | Callable[..., int]
Raw = dict[str, tuple[Array, Transform | None]]

Found = TypeVar("Found", Place, Array)
Found_co = TypeVar("Found_co", Place, Array, covariant=True)


class PixelRow(Protocol):
    """A row of a model with pixel arrays: what has been read of them, and what is yet to be transformed."""

    _pixel_groups: "ClassVar[dict[str, Group]]"

    @property
    def _pixels_read(self) -> dict[str, Array]: ...

    @property
    def _pixels_raw(self) -> Raw: ...


class RowWithFile(PixelRow, Protocol):
    """A row whose pixel arrays are in a FITS file."""

    @property
    def absolute_path(self) -> str:
        """The file."""
        ...


class OpenHdu(Protocol[Found_co]):
    """An HDU of an open file, of `fits.arrays` or of astropy: arrays are found in it, or read already."""

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        ...

    @property
    def n_rows(self) -> int:
        """Rows of a table, or of an image; 1 for a 1-D image."""
        ...

    def place_of_image(self, row: int | None = None) -> Found_co:
        """Find the image, or a row of it."""
        ...

    def place_of_column(self, name: str, row: int | None = None) -> Found_co | None:
        """Find a column by its name in upper case, or its array in a row; None if there is none."""
        ...

    def column(self, name: str, row: int | None = None) -> Array | None:
        """Read a column by its name in upper case, or its array in a row; None if there is none."""
        ...

    def card(self, keyword: str) -> CardValue | None:
        """Give a value of the primary header, or None."""
        ...


class Accessor(Protocol):
    """How an array of a FITS file is found: see `PixelArrayAccessorFITS`."""

    ext: Extension
    column_name: str | None
    transform: Transform | None
    row: RowOf | None
    beside: str | None

    def columns(self, name: str) -> list[tuple[str, Transform | None]]:
        """Give the columns that may have the array `name`, each with what is applied to it."""
        ...


class Group:
    """Arrays of a model that one opening of a file reads.

    Parameters
    ----------
    accessors : mapping of str to Accessor
        How each of them is found, by its name.
    """

    def __init__(self, accessors: Mapping[str, Accessor]):
        self._accessors = accessors
        self._exts = list(dict.fromkeys(accessor.ext for accessor in accessors.values()))
        fixed = [ext for ext in self._exts if not callable(ext)]
        self._fixed_exts = tuple(fixed) if len(fixed) == len(self._exts) else None
        self._beside = [(name, accessor.beside) for name, accessor in accessors.items() if accessor.beside]
        self._has_fixed_rows = not any(callable(accessor.row) for accessor in accessors.values())
        self._recipes: dict[tuple[int | str, ...], Recipes[Transform | None]] = defaultdict(Recipes)

    def read(self, row: RowWithFile, name: str) -> None:
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
        exts = self._fixed_exts or self._exts_of(row)
        try:
            raw = self._read_raw(path, row, name, exts)
            for one, other in self._beside:
                if one in raw and other in raw:
                    (values, transform), (beside, transform_beside) = raw.pop(one), raw.pop(other)
                    row._pixels_read[one] = values if transform is None else transform(values, beside)
                    row._pixels_read[other] = beside if transform_beside is None else transform_beside(beside)
        except MissingPixelsError:
            raise
        except FileNotFoundError as error:
            raise MissingPixelsError(f"{name}: there is no file {path!r}") from error
        except (Exception, SystemExit) as error:  # whatever a damaged file makes a reader raise
            why = error if isinstance(error, DamagedFileError) else refusal_of(error)
            raise MissingPixelsError(f"{name}: can't read HDU {exts[0]!r} of {path!r}: {why}") from error
        if raw:
            row._pixels_raw.update(raw)

    def _read_raw(self, path: str, row: RowWithFile, name: str, exts: tuple[int | str, ...]) -> Raw:
        """Read the arrays of a row as they are in the file, by our own reader or by astropy's."""
        try:
            raw = self._recipes[exts].read(
                path, lambda file: self._places(file.hdu, row), remember=self._has_fixed_rows
            )
        except (NotPlainError, UnrecognizedFileError):
            raw = self._read_with_astropy(path, row, name)
        if name not in raw:
            raw |= self._read_with_astropy(path, row, name)
        return raw

    def forget(self) -> None:
        """Forget where arrays were in the files that were read: the next ones are read by their headers."""
        self._recipes.clear()

    def _exts_of(self, row: RowWithFile) -> tuple[int | str, ...]:
        return self._fixed_exts or tuple([ext(row) if callable(ext) else ext for ext in self._exts])

    def _places(
        self, open_hdu: Callable[[int | str], OpenHdu[Found]], row: RowWithFile
    ) -> dict[str, tuple[Found, Transform | None]]:
        """Find arrays, and what makes of each what is wanted."""
        places: dict[str, tuple[Found, Transform | None]] = {}
        for name, accessor in self._accessors.items():
            hdu = open_hdu(accessor.ext(row) if callable(accessor.ext) else accessor.ext)
            number = accessor.row(hdu, row) if callable(accessor.row) else accessor.row
            if not hdu.is_table:
                places[name] = hdu.place_of_image(number), accessor.transform
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
                    if place.dtype.kind not in "fiub":
                        raise MissingPixelsError(
                            f"{name}: column {column!r} of {row.absolute_path!r} has values of type {place.dtype}, "
                            "where numbers belong; the file is damaged"
                        )
                    places[name] = place, transform
                    break
        return places

    def _read_with_astropy(self, path: str, row: RowWithFile, name: str) -> Raw:
        from astropy.io import fits

        ext = self._accessors[name].ext
        ext = ext(row) if callable(ext) else ext
        require_readable(path, self._exts_of(row), file_limits().largest_spectrum)
        try:
            with open_file(path) as file, fits.open(file, mode="readonly", memmap=False) as hdus:
                places = self._places(lambda ext: AstropyHdu(hdus, ext, path, name), row)
                found: Raw = {other: (native(values), transform) for other, (values, transform) in places.items()}
                names = getattr(getattr(hdus[ext], "columns", None), "names", [])
        except MissingPixelsError:
            raise
        except (Exception, SystemExit) as error:
            raise MissingPixelsError(
                f"{name}: can't read HDU {ext!r} of {path!r}, which may be damaged or truncated: {shown(error)}"
            ) from error
        if name not in found:
            column = self._accessors[name].column_name or name
            raise MissingPixelsError(
                f"{name}: HDU {ext!r} of {path!r} has no column {column!r}; it has {', '.join(names)}"
            )
        return found


class AstropyHdu:
    """An HDU that astropy reads, looked at as `fits.arrays.PlainHdu` is; what it finds, it has read.

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
        data: Array | None = hdu.data
        if data is None or len(data) == 0:
            raise MissingPixelsError(f"{wanted}: HDU {ext!r} of {path!r} holds no data")
        self._hdus, self._data = hdus, data

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
        there = {other.upper(): other for other in reversed(self._data.dtype.names or ())}
        if name not in there:
            return None
        values = np.asarray(self._data[there[name]])
        return values if row is None else np.ravel(values[row])

    def column(self, name: str, row: int | None = None) -> Array | None:
        """Give a column by its name in upper case, or its array in a row."""
        return self.place_of_column(name, row)

    def card(self, keyword: str) -> CardValue | None:
        """Give a value of the primary header, or None."""
        return self._hdus[0].header.get(keyword)
