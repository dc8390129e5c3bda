"""Inverse variances: from errors, and without values that can't be one."""

from functools import cache

import numpy as np

Array = np.ndarray

HUGE_ERROR = 1e10
SMALLEST_ERROR = 1e-18
_BITS = {4: np.uint32, 8: np.uint64}


def error_to_ivar(error: Array, flux: Array | None = None, huge: float = HUGE_ERROR) -> Array:
    """Make inverse variances of errors: 0 where a pixel is missing.

    Parameters
    ----------
    error : ndarray
        Errors. One that is not finite, not positive, or huge (APOGEE writes 1e10) marks a missing pixel.
    flux : ndarray, optional
        Fluxes. A flux of exactly 0 marks a missing pixel too: some of them have ordinary errors.
    huge : float, optional
        Errors of this size and more mark missing pixels.

    Returns
    -------
    ndarray
        Inverse variances, of the shape and precision of `error`.
    """
    error = np.asarray(error)
    is_known = error.dtype.kind == "f" and error.dtype.itemsize in _BITS
    return into_ivar(error.copy() if is_known else error.astype(np.float64), flux, huge)


def into_ivar(error: Array, flux: Array | None = None, huge: float = HUGE_ERROR) -> Array:
    """Convert errors as `error_to_ivar` does, but in place: `error` has to be floats in the machine's byte order."""
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
    """Replace inverse variances that are negative, infinite or not a number by 0; floats are changed in place."""
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
