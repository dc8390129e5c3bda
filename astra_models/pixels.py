"""Per-pixel arrays of a spectrum: attributes that read their FITS file when first used.

Nothing of them is stored in the database. One opening of the file reads every array of the HDU that was asked
for, and no other HDU. What the user has set is the user's: reading never replaces it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from astra_models.errors import MissingPixelsError

Array = np.ndarray
Transform = Callable[[Array], Array]
Extension = int | str | Callable[[Any], int | str]


class PixelArrayAccessorFITS:
    """Reads arrays from HDUs of the row's FITS file.

    Parameters
    ----------
    ext : int, str or callable
        The HDU, or a function of the row that gives it.
    column_name : str, optional
        Column of a table HDU, in whatever case; the array's own name if not given.
    transform : callable, optional
        Applied to what was read, for example error to inverse variance.
    alternative : tuple of str and callable, optional
        Another column, and what makes the array of it, for files that don't have the first.
    """

    def __init__(
        self,
        ext: Extension,
        column_name: str | None = None,
        transform: Transform | None = None,
        alternative: tuple[str, Transform] | None = None,
    ):
        self.ext = ext
        self.column_name = column_name
        self.transform = transform
        self.alternative = alternative

    def load(self, row: Any, name: str) -> None:
        """Read `name`, and with it the row's other arrays of the same HDU, into the row's cache.

        Raises
        ------
        MissingPixelsError
            If the file, the HDU or the column isn't there, or the file is damaged.
        """
        ext = self._extension(row)
        siblings = {
            other: array.accessor
            for other, array in pixel_arrays(type(row)).items()
            if isinstance(array.accessor, PixelArrayAccessorFITS) and array.accessor._extension(row) == ext
        }
        row._pixels_read.update(_read(row.absolute_path, ext, siblings, name))

    def find(self, data: Array, name: str) -> Array | None:
        """Find the array in an HDU's data, or give None."""
        values = _column(data, self.column_name or name)
        if values is not None:
            return self.transform(values) if self.transform else values
        if self.alternative is None:
            return None
        column_name, transform = self.alternative
        values = _column(data, column_name)
        return None if values is None else transform(values)

    def _extension(self, row: Any) -> int | str:
        return self.ext(row) if callable(self.ext) else self.ext


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

    def load(self, row: Any, name: str) -> None:
        """Compute the array, of shape ``(naxis,)``, into the row's cache."""
        row._pixels_read[name] = 10 ** (self.crval + self.cdelt * np.arange(self.naxis))


class PixelArray:
    """A per-pixel attribute of a spectrum, read or computed on first use.

    Parameters
    ----------
    ext, column_name, transform, alternative
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
        accessor_class: type = PixelArrayAccessorFITS,
        accessor_kwargs: Mapping[str, Any] | None = None,
        unit: str | None = None,
        help_text: str | None = None,
    ):
        if accessor_kwargs is None:
            given = {"column_name": column_name, "transform": transform, "alternative": alternative}
            accessor_kwargs = {"ext": ext} | given
        self.accessor = accessor_class(**accessor_kwargs)
        self.unit = unit
        self.help_text = help_text

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, row: Any, model: type | None = None) -> Any:
        if row is None:
            return self
        if self.name in row._pixels_set:
            return row._pixels_set[self.name]
        if self.name not in row._pixels_read:
            self.accessor.load(row, self.name)
        return row._pixels_read[self.name]

    def __set__(self, row: Any, value: Any) -> None:
        row._pixels_set[self.name] = value


def pixel_arrays(model: type) -> dict[str, PixelArray]:
    """Give the pixel arrays of a model by name, inherited ones included."""
    found = {name: value for base in reversed(model.__mro__) for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if isinstance(value, PixelArray)}


def error_to_ivar(error: Array) -> Array:
    """Make inverse variances of errors: 0 where the error is 0, huge (1e10, APOGEE's mark) or not finite."""
    error = error.astype(np.float64)
    good = np.isfinite(error) & (error > 0) & (error < 1e10)
    return np.where(good, 1 / np.where(good, error, 1) ** 2, 0)


def _read(path: str, ext: int | str, accessors: Mapping[str, PixelArrayAccessorFITS], wanted: str) -> dict[str, Array]:
    from astropy.io import fits

    try:
        with fits.open(path, mode="readonly", memmap=False) as hdus:
            hdu = _find_hdu(hdus, ext, path)
            data = hdu.data
    except FileNotFoundError as error:
        raise MissingPixelsError(f"{wanted}: there is no file {path!r}") from error
    except (OSError, TypeError, ValueError, Warning) as error:
        raise MissingPixelsError(
            f"{wanted}: can't read HDU {ext!r} of {path!r}, which may be damaged or truncated: {error}"
        ) from error
    if data is None or len(data) == 0:
        raise MissingPixelsError(f"{wanted}: HDU {ext!r} of {path!r} holds no data")
    arrays = {}
    for name, accessor in accessors.items():
        values = accessor.find(data, name)
        if values is not None:
            arrays[name] = values
    if wanted not in arrays:
        column = accessors[wanted].column_name or wanted
        raise MissingPixelsError(
            f"{wanted}: HDU {ext!r} of {path!r} has no column {column!r}; it has {', '.join(data.names)}"
        )
    return arrays


def _find_hdu(hdus: Any, ext: int | str, path: str) -> Any:
    try:
        return hdus[ext]
    except (IndexError, KeyError) as error:
        names = ", ".join(repr(hdu.name) for hdu in hdus)
        raise MissingPixelsError(f"{path!r} has no HDU {ext!r}; it has {len(hdus)}: {names}") from error


def _column(data: Array, column_name: str) -> Array | None:
    """Copy a table column, or an image, in native byte order; a one-row table gives that row's array."""
    if data.dtype.names is None:
        values = data
    else:
        match = next((name for name in data.dtype.names if name.lower() == column_name.lower()), None)
        if match is None:
            return None
        values = np.asarray(data[match])
        if len(values) == 1 and values.ndim > 1:
            values = values[0]
    return np.array(values, dtype=values.dtype.newbyteorder("="))
