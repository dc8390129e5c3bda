"""HDUs that are not plain FITS, read by astropy."""

from typing import Any

import numpy as np

from astra_models.errors import MissingPixelsError
from astra_models.fits.header import CardValue

Array = np.ndarray


class AstropyHdu:
    """An HDU that astropy reads, with the methods of `fits.arrays.PlainHdu`; what these find is read already.

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
