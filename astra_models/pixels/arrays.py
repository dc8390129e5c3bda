"""Per-pixel arrays of a spectrum: attributes that read their FITS file when first used.

Nothing of them is stored in the database. One opening of the file reads a group of arrays: those of one HDU, or those
that are declared to belong together, such as flux and inverse variance. No other bytes are read. An array that the user
has set is never replaced by the file's.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, Protocol, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from astra_models.configuration import file_limits
from astra_models.errors import MissingPixelsError, UnrecognizedFileError
from astra_models.fits.arrays import DamagedFileError, NotPlainError, PlainHdu, native
from astra_models.fits.door import open_file, refusal_of, shown
from astra_models.fits.large import require_readable
from astra_models.fits.recipe import Recipes
from astra_models.pixels.astropy_hdu import AstropyHdu

APOGEE_GRID = {"crval": 4.179, "cdelt": 6e-6, "naxis": 8575}
BOSS_GRID = {"crval": 3.5523, "cdelt": 1e-4, "naxis": 4648}
"""The survey's wavelength grids, as `LogLambdaArrayAccessor` takes them."""

FLUX_UNIT = "1e-17 erg / (Angstrom s cm2)"
IVAR_UNIT = "1e34 Angstrom2 s2 cm4 / erg2"

Array = np.ndarray
Hdu = PlainHdu | AstropyHdu
Transform = Callable[..., Array]
Extension = int | str | Callable[..., int | str]
RowOf = int | Callable[..., int]
Raw = dict[str, tuple[Array, Transform | None]]
Places = dict[str, tuple[Any, Transform | None]]
"""Where arrays are, or the arrays themselves if astropy has read them; and what makes of each what is wanted."""


class Loader(Protocol):
    """What reads or computes a pixel array: an instance of a `PixelArray`'s ``accessor_class``."""

    def load(self, row: "PixelsMixin", name: str) -> None:
        """Read or compute the array `name`, and put it into the row's cache."""
        ...


class PixelArrayAccessorFITS:
    """Reads arrays from HDUs of the row's FITS file.

    Parameters
    ----------
    ext : int, str or callable
        The HDU, or a function of the spectrum that gives it.
    column_name : str, optional
        Column of a table HDU, in whatever case; the array's own name if not given.
    transform : callable, optional
        Applied to what was read, for example error to inverse variance.
    alternative : tuple of str and callable, optional
        Another column and its transform, for files without the first.
    row : int or callable, optional
        Which row is the spectrum's: a number, in an image or a table of one row; or a function of the HDU and the
        spectrum that gives the number.
    group : str, optional
        Arrays of the same group are read by one opening of the file; those of the same HDU if not given.
    beside : str, optional
        Another array of the group. The transform gets it as second argument, as the file has it.
    """

    def __init__(
        self,
        ext: Extension,
        column_name: str | None = None,
        transform: Transform | None = None,
        alternative: tuple[str, Transform] | None = None,
        row: RowOf | None = None,
        group: str | None = None,
        beside: str | None = None,
    ):
        self.ext = ext
        self.column_name = column_name
        self.transform = transform
        self.alternative = alternative
        self.row = row
        self.group = group
        self.beside = beside

    def columns(self, name: str) -> list[tuple[str, Transform | None]]:
        """Give the columns that may hold the array `name`, each with its transform."""
        first: list[tuple[str, Transform | None]] = [(self.column_name or name, self.transform)]
        return first if self.alternative is None else [*first, self.alternative]

    def load(self, row: "PixelsMixin", name: str) -> None:
        """Read `name`, and with it the spectrum's other arrays of the same group, into its cache.

        Raises
        ------
        MissingPixelsError
            If the file, the HDU or the column isn't there, or the file is damaged.
        """
        raw = row._pixels_raw
        if name not in raw:
            group_of(type(row), name).read(row, name)
            if name in row._pixels_read:
                return
        values, transform = raw.pop(name)
        try:
            row._pixels_read[name] = values if transform is None else transform(values)
        except (Exception, SystemExit) as error:
            raise MissingPixelsError(
                f"{name}: what HDU {self.ext!r} of {row.absolute_path!r} has can't be made into it: {shown(error)}"
            ) from error


class LogLambdaArrayAccessor:
    """Computes a wavelength grid that is uniform in log10, instead of reading it.

    Parameters
    ----------
    crval : float
        log10 of the first wavelength, in vacuum angstrom.
    cdelt : float
        Step in dex.
    naxis : int
        Number of pixels.
    """

    def __init__(self, crval: float, cdelt: float, naxis: int):
        self.crval = crval
        self.cdelt = cdelt
        self.naxis = naxis

    def load(self, row: "PixelsMixin", name: str) -> None:
        """Compute the array, of shape ``(naxis,)``, into the row's cache."""
        row._pixels_read[name] = _log_grid(self.crval, self.cdelt, self.naxis).copy()


@cache
def _log_grid(crval: float, cdelt: float, naxis: int) -> Array:
    return 10 ** (crval + cdelt * np.arange(naxis))


class PixelArray:
    """A per-pixel attribute of a spectrum, read or computed on first use.

    Parameters
    ----------
    ext, column_name, transform, alternative, row, group, beside
        As for `PixelArrayAccessorFITS`, the default accessor.
    accessor_class : type, optional
        What reads or computes the array.
    accessor_kwargs : mapping, optional
        Arguments of an accessor other than the default one.
    unit : str, optional
        Unit as `astropy.units` reads it.
    help_text : str, optional
        What the array holds.
    """

    def __init__(
        self,
        ext: Extension | None = None,
        column_name: str | None = None,
        transform: Transform | None = None,
        alternative: tuple[str, Transform] | None = None,
        row: RowOf | None = None,
        group: str | None = None,
        beside: str | None = None,
        accessor_class: type = PixelArrayAccessorFITS,
        accessor_kwargs: Mapping[str, object] | None = None,
        unit: str | None = None,
        help_text: str | None = None,
    ):
        if accessor_kwargs is None:
            given = {"column_name": column_name, "transform": transform, "alternative": alternative}
            accessor_kwargs = {"ext": ext, "row": row, "group": group, "beside": beside} | given
        self.accessor: Loader = accessor_class(**accessor_kwargs)
        self.unit = unit
        self.help_text = help_text

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, row: None, model: type | None = None) -> Self: ...
    @overload
    def __get__(self, row: "PixelsMixin", model: type | None = None) -> Array: ...
    def __get__(self, row: "PixelsMixin | None", model: type | None = None) -> Self | Array:
        if row is None:
            return self
        if self.name in row.__dict__:
            return row.__dict__[self.name]
        pixels = row._pixels_read
        if self.name not in pixels:
            self.accessor.load(row, self.name)
        return pixels[self.name]

    def __set__(self, row: "PixelsMixin", value: ArrayLike) -> None:
        row.__dict__[self.name] = value


def log_wavelength(grid: Mapping[str, float], help_text: str = "In vacuum") -> PixelArray:
    """Declare the wavelengths of a grid that is uniform in log10: ``crval``, ``cdelt``, ``naxis``."""
    return PixelArray(accessor_class=LogLambdaArrayAccessor, accessor_kwargs=grid, unit="Angstrom", help_text=help_text)


class PixelsMixin:
    """Base of models with pixel arrays: a cache of what was read. Arrays that the user sets are plain attributes."""

    spectrum_pk: Any

    @property
    def absolute_path(self) -> str:
        """The file that the arrays are in: models of rows with a file say which."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say in which file its pixel arrays are")

    @cached_property
    def _pixels_read(self) -> dict[str, Array]:
        return {}

    @cached_property
    def _pixels_raw(self) -> Raw:
        return {}

    def __copy__(self) -> Self:
        # What was read belongs to one row: what is read or released for the copy is for the copy alone.
        other = type(self).__new__(type(self))
        own = {name: copy.copy(value) for name, value in vars(self).items() if isinstance(value, dict | set)}
        vars(other).update(vars(self) | own)
        return other

    def read_pixels(self) -> None:
        """Read all arrays that the row's file has; those that it lacks are left out."""
        for name in pixel_arrays(type(self)):
            with suppress(MissingPixelsError):
                getattr(self, name)

    def release_pixels(self) -> None:
        """Forget the arrays that were read from the file; they are read again when next used."""
        for name in ("_pixels_read", "_pixels_raw"):  # most rows have none: making them takes longer than this
            if (kept := vars(self).get(name)) is not None:
                kept.clear()


def pixel_arrays(model: type) -> dict[str, PixelArray]:
    """Give the pixel arrays of a model by name, inherited ones included."""
    found = {name: value for base in reversed(model.__mro__) for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if isinstance(value, PixelArray)}


def group_of(model: type[PixelsMixin], name: str) -> "Group":
    """Give the group of an array, which is made once for a model."""
    return _groups_of(model)[name]


@cache
def _groups_of(model: type[PixelsMixin]) -> dict[str, "Group"]:
    members: dict[Extension, dict[str, PixelArrayAccessorFITS]] = defaultdict(dict)
    for name, array in pixel_arrays(model).items():
        if isinstance(accessor := array.accessor, PixelArrayAccessorFITS):
            members[accessor.group or accessor.ext][name] = accessor
    return {name: group for some in members.values() for group in [Group(some)] for name in some}


class Group:
    """Arrays of a model that one opening of a file reads.

    Parameters
    ----------
    accessors : mapping of str to PixelArrayAccessorFITS
        How each of them is found, by its name.
    """

    def __init__(self, accessors: Mapping[str, PixelArrayAccessorFITS]):
        self._accessors = accessors
        self._exts = list(dict.fromkeys(accessor.ext for accessor in accessors.values()))
        fixed = [ext for ext in self._exts if not callable(ext)]
        self._fixed_exts = tuple(fixed) if len(fixed) == len(self._exts) else None
        self._beside = [(name, accessor.beside) for name, accessor in accessors.items() if accessor.beside]
        self._has_fixed_rows = not any(callable(accessor.row) for accessor in accessors.values())
        self._recipes: dict[tuple[int | str, ...], Recipes[Transform | None]] = defaultdict(Recipes)

    def read(self, row: PixelsMixin, name: str) -> None:
        """Read the group's arrays of a row into its cache.

        Those with another beside them are transformed at once, the others when they are first used.

        Parameters
        ----------
        row : PixelsMixin
            The row; ``absolute_path`` is its file.
        name : str
            The array that was asked for: the file has to have it.

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

    def _read_raw(self, path: str, row: PixelsMixin, name: str, exts: tuple[int | str, ...]) -> Raw:
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

    def _exts_of(self, row: PixelsMixin) -> tuple[int | str, ...]:
        return self._fixed_exts or tuple([ext(row) if callable(ext) else ext for ext in self._exts])

    def _places(self, open_hdu: Callable[[int | str], Hdu], row: PixelsMixin) -> Places:
        places: Places = {}
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

    def _read_with_astropy(self, path: str, row: PixelsMixin, name: str) -> Raw:
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
