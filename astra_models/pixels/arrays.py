"""Per-pixel arrays of a spectrum: attributes that read their FITS file when first used.

Nothing of them is stored in the database. One opening of the file reads the arrays of a group: all that an HDU of one
row per pixel has, or those that are said to belong together, as flux and inverse variance. No other bytes are read.
What the user has set is the user's: reading never replaces it.
"""

import copy
from collections.abc import Mapping
from functools import cache, cached_property
from typing import ClassVar, Protocol, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from astra_models.errors import MissingPixelsError
from astra_models.fits.door import shown
from astra_models.pixels.grids import LogGrid
from astra_models.pixels.groups import Array, Extension, Group, PixelRow, Raw, RowOf, RowWithFile, Transform

_BITS = {4: np.uint32, 8: np.uint64}

HUGE_ERROR = 1e10
SMALLEST_ERROR = 1e-18


class Loader(Protocol):
    """How a pixel array comes about: the ``accessor_class`` of a `PixelArray` makes one."""

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
        Another column, and what makes the array of it, for files that don't have the first.
    row : int or callable, optional
        The row of the image that is the spectrum's, or of a table of one row; or what gives it for an HDU and a
        spectrum.
    group : str, optional
        Arrays of the same group are read by one opening of the file; those of the same HDU if not given.
    beside : str, optional
        Another array of the group, which the transform takes as it is in the file, as second argument.
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
        """Give the columns that may have the array `name`, each with what is applied to it."""
        first: list[tuple[str, Transform | None]] = [(self.column_name or name, self.transform)]
        return first if self.alternative is None else [*first, self.alternative]

    def load(self, row: RowWithFile, name: str) -> None:
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

    def load(self, row: PixelRow, name: str) -> None:
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
        How the array comes about.
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


def log_wavelength(grid: LogGrid, help_text: str = "In vacuum") -> PixelArray:
    """Declare the wavelengths of a grid that is uniform in log10: ``crval``, ``cdelt``, ``naxis``."""
    return PixelArray(accessor_class=LogLambdaArrayAccessor, accessor_kwargs=grid, unit="Angstrom", help_text=help_text)


class PixelsMixin:
    """Base of models with pixel arrays: a cache of what was read. Arrays that the user sets are plain attributes."""

    _pixel_groups: ClassVar[dict[str, Group]]

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

    def release_pixels(self) -> None:
        """Forget the arrays that were read from the file; they are read again when next used."""
        self._pixels_read.clear()
        self._pixels_raw.clear()


def pixel_arrays(model: type) -> dict[str, PixelArray]:
    """Give the pixel arrays of a model by name, inherited ones included."""
    found = {name: value for base in reversed(model.__mro__) for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if isinstance(value, PixelArray)}


def group_of(model: type[PixelRow], name: str) -> Group:
    """Give the group of an array, which is made once for a model."""
    groups: dict[str, Group] | None = vars(model).get("_pixel_groups")
    if groups is None:
        accessors = {
            other: array.accessor
            for other, array in pixel_arrays(model).items()
            if isinstance(array.accessor, PixelArrayAccessorFITS)
        }
        groups = {}
        for key in {accessor.group or accessor.ext for accessor in accessors.values()}:
            members = {
                other: accessor for other, accessor in accessors.items() if (accessor.group or accessor.ext) == key
            }
            groups |= dict.fromkeys(members, Group(members))
        model._pixel_groups = groups
    return groups[name]


def error_to_ivar(error: Array, flux: Array | None = None, huge: float = HUGE_ERROR) -> Array:
    """Make inverse variances of errors: 0 where a pixel is missing.

    Parameters
    ----------
    error : ndarray
        Errors. What is not finite, not positive, or huge (APOGEE writes 1e10) marks a missing pixel.
    flux : ndarray, optional
        Fluxes. A flux of exactly 0 marks a missing pixel too: some of them have ordinary errors.
    huge : float, optional
        From where an error is a mark.

    Returns
    -------
    ndarray
        Of the shape of `error`, in its precision.
    """
    error = np.asarray(error)
    is_known = error.dtype.kind == "f" and error.dtype.itemsize in _BITS
    return into_ivar(error.copy() if is_known else error.astype(np.float64), flux, huge)


def into_ivar(error: Array, flux: Array | None = None, huge: float = HUGE_ERROR) -> Array:
    """Do as `error_to_ivar`, in the memory of `error`, which has to be of floats in the machine's byte order."""
    low, high, no_flux, one, infinity = _limits(error.dtype.itemsize, huge)
    usable = error > low
    usable &= error < high
    if flux is not None:
        usable &= flux != no_flux
    error[~usable] = infinity
    error *= error
    return np.divide(one, error, error)


@cache
def _limits(size: int, huge: float) -> list[Array]:
    # Arrays of no dimension: numbers are converted at each use, which takes a third of the time of the operation.
    return [np.array(number, dtype=f"f{size}") for number in (SMALLEST_ERROR, huge, 0, 1, np.inf)]


def usable_ivar(ivar: Array) -> Array:
    """Give inverse variances, with 0 where one is negative, infinite or not a number; in the same memory if it can."""
    if ivar.dtype.kind != "f" or ivar.dtype.itemsize not in _BITS:
        return np.where(np.isfinite(ivar) & (ivar > 0), ivar, np.zeros_like(ivar))
    bits, infinity = _infinity(ivar.dtype.itemsize)
    # The bits of what is negative, infinite or not a number are those of numbers above infinity's.
    unusable = ivar.view(bits) >= infinity
    if np.count_nonzero(unusable):  # `any` takes longer
        ivar[unusable] = 0
    return ivar


@cache
def _infinity(size: int) -> tuple[type[np.unsignedinteger], Array]:
    return _BITS[size], np.array(np.inf, dtype=f"f{size}").view(_BITS[size])
