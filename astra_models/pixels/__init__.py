"""Per-pixel arrays of spectra, read from FITS files when they are first used."""

from astra_models.pixels.arrays import (
    LogLambdaArrayAccessor,
    PixelArray,
    PixelArrayAccessorFITS,
    PixelsMixin,
    pixel_arrays,
)
from astra_models.pixels.ivar import error_to_ivar, usable_ivar

__all__ = [
    "LogLambdaArrayAccessor",
    "PixelArray",
    "PixelArrayAccessorFITS",
    "PixelsMixin",
    "error_to_ivar",
    "pixel_arrays",
    "usable_ivar",
]
