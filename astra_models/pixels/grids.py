"""The survey's wavelength grids and units of flux. Wavelengths are in vacuum angstrom."""

from typing import TypedDict


class LogGrid(TypedDict):
    """A wavelength grid that is uniform in log10.

    Parameters
    ----------
    crval : float
        log10 of the first wavelength, in vacuum angstrom.
    cdelt : float
        Step in dex.
    naxis : int
        Number of pixels.
    """

    crval: float
    cdelt: float
    naxis: int


APOGEE_GRID: LogGrid = {"crval": 4.179, "cdelt": 6e-6, "naxis": 8575}
BOSS_GRID: LogGrid = {"crval": 3.5523, "cdelt": 1e-4, "naxis": 4648}

FLUX_UNIT = "1e-17 erg / (Angstrom s cm2)"
IVAR_UNIT = "1e34 Angstrom2 s2 cm4 / erg2"
