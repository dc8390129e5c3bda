"""What a fit of Balmer lines gives."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class LineFacts:
    """What one line says, at the temperature and gravity of all lines.

    Parameters
    ----------
    name : str
        The name of the line's window.
    v_rad, e_v_rad : float
        Velocity of this line by itself and its formal uncertainty (km/s).
    snr : float
        Median signal-to-noise ratio per pixel of the model in the window.
    misfit : float
        Root mean square of what the model misses beyond the noise, as a share of the flux.
    core : float
        Largest excess of four or eight neighbouring pixels near the centre, in units of its error.
    n_pixels, n_clipped : int
        Usable pixels in the window, and how many of them were left out as outliers.
    """

    name: str
    v_rad: float
    e_v_rad: float
    snr: float
    misfit: float
    core: float
    n_pixels: int
    n_clipped: int


@dataclass(frozen=True)
class BalmerFit:
    """What was measured on one spectrum. A value that could not be measured is NaN.

    Parameters
    ----------
    v_rad, e_v_rad : float
        Radial velocity and its uncertainty (km/s), positive when the star recedes, in the frame of the
        wavelengths. It includes the gravitational redshift of the star (20 to 100 km/s for white dwarfs).
    teff, e_teff : float
        Effective temperature and its total uncertainty (K).
    logg, e_logg : float
        Surface gravity and its total uncertainty (dex of cm/s2).
    raw_e_v_rad, raw_e_teff, raw_e_logg : float
        Formal uncertainties: the noise of the pixels alone.
    other_teff, other_logg, other_rchi2 : float
        The solution on the other side of the Balmer maximum (K, dex) and its reduced chi-squared.
    initial_v_rad, initial_teff, initial_logg : float
        The point of the search (km/s, K, dex) from which the refinement started.
    rchi2 : float
        Reduced chi-squared of the best model in the line windows.
    snr : float
        Median signal-to-noise ratio per pixel in the line windows.
    low_snr : bool
        `snr` is below the limit.
    no_lines : bool
        The templates' lines are not in the spectrum, or explain too little of it.
    not_converged : bool
        The refinement found no minimum, or one without curvature.
    v_rad_at_edge : bool
        The velocity is at an end of the range that was searched.
    template_at_edge : bool
        Temperature or gravity is at an edge of the template grid.
    too_few_pixels : bool
        Too few usable pixels around the lines, or no line with pixels on both sides.
    bad_fit : bool
        The model does not describe the lines.
    two_solutions : bool
        The other solution can't be told from this one.
    lines : tuple of LineFacts
        What each line says by itself.
    """

    v_rad: float = np.nan
    e_v_rad: float = np.nan
    teff: float = np.nan
    e_teff: float = np.nan
    logg: float = np.nan
    e_logg: float = np.nan
    raw_e_v_rad: float = np.nan
    raw_e_teff: float = np.nan
    raw_e_logg: float = np.nan
    other_teff: float = np.nan
    other_logg: float = np.nan
    other_rchi2: float = np.nan
    initial_v_rad: float = np.nan
    initial_teff: float = np.nan
    initial_logg: float = np.nan
    rchi2: float = np.nan
    snr: float = np.nan
    low_snr: bool = False
    no_lines: bool = False
    not_converged: bool = False
    v_rad_at_edge: bool = False
    template_at_edge: bool = False
    too_few_pixels: bool = False
    bad_fit: bool = False
    two_solutions: bool = False
    lines: tuple[LineFacts, ...] = ()

    def values(self) -> dict[str, float]:
        """Give the numbers by their names."""
        return {name: float(getattr(self, name)) for name in self._names(float)}

    def flags(self) -> dict[str, bool]:
        """Give the flags by their names."""
        return {name: bool(getattr(self, name)) for name in self._names(bool)}

    def _names(self, kind: type) -> list[str]:
        """Name the fields by what they are declared as, whatever kind of number NumPy put into them."""
        return [field.name for field in fields(self) if isinstance(field.default, kind)]
