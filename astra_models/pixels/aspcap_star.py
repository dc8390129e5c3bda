"""Pixel arrays of results that an aspcapStar file of SDSS-III or SDSS-IV brought, read from that file.

HDUs 1 to 3 are the flux over its continuum, the error of that, and the best model. Pixels with an error of 0, between
the chips, and -9999 are missing: they are NaN.
"""

import numpy as np

from astra_models.errors import MissingPixelsError
from astra_models.pixels.arrays import Array, Group, Loader, PixelArrayAccessorFITS, PixelsMixin

HDUS = {"normalised_flux": 1, "e_normalised_flux": 2, "model_flux": 3}
MISSING = -9999.0
FIRST_OF_ASTRA = 1000
"""Results of data releases are kept under versions 0.0.N, which are lower."""

_GROUP = Group({name: PixelArrayAccessorFITS(ext, group="aspcapStar") for name, ext in HDUS.items()})


class AspcapStarAccessor:
    """Reads an array of a result of ASPCAP: from its aspcapStar file if it is of one, or else as another accessor does.

    Parameters
    ----------
    otherwise : type or None
        What reads it for results that FERRE left; None if these don't have it.
    """

    def __init__(self, otherwise: type[Loader] | None = None):
        self._otherwise = None if otherwise is None else otherwise()

    def load(self, row: PixelsMixin, name: str) -> None:
        """Read it into the row's cache, from an aspcapStar with the two arrays beside it.

        Raises
        ------
        MissingPixelsError
            If the file isn't there, is damaged, or doesn't have it.
        """
        v_astra: int | None = getattr(row, "v_astra", None)
        if v_astra is None or v_astra >= FIRST_OF_ASTRA:
            if self._otherwise is None:
                raise MissingPixelsError(
                    f"{name}: only results of aspcapStar files have it; of this one, divide the spectrum's flux by "
                    "`continuum`"
                )
            self._otherwise.load(row, name)
            return
        if not getattr(row, "pwd", None):
            raise MissingPixelsError(
                f"{name}: the result of spectrum_pk {row.spectrum_pk} came without pixels, from a catalogue; ingest "
                "its aspcapStar file"
            )
        if name not in HDUS:
            raise MissingPixelsError(f"{name}: an aspcapStar file doesn't have it; it has {', '.join(HDUS)}")
        _GROUP.read(row, name)
        raw = {one: row._pixels_raw.pop(one)[0] for one in HDUS if one in row._pixels_raw}
        if len(raw) < len(HDUS):
            raise MissingPixelsError(f"{name}: {row.absolute_path!r} isn't an aspcapStar file: it lacks images")
        row._pixels_read.update(_without_missing({one: np.ravel(values) for one, values in raw.items()}))


def _without_missing(arrays: dict[str, Array]) -> dict[str, Array]:
    error = arrays["e_normalised_flux"]
    is_missing = ~(error > 0)
    return {name: np.where(is_missing | (values == MISSING), np.nan, values) for name, values in arrays.items()}
