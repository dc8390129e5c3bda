"""A grid of model spectra over effective temperature and surface gravity, and its interpolation.

A fit never looks at how a grid came about: `files.load_grid` and `family.balmer_family` both give a `TemplateGrid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from astra_models.errors import AstraError

from .splines import Array, basis_at, degree_of, heat, knots_of, uniform_weights

BOSS_RESOLUTION = 1900.0
"""Resolving power (wavelength over FWHM) of BOSS around the Balmer lines: a dispersion of 0.99 pixels."""

FIT_RANGE = (3850.0, 6850.0)
"""Vacuum wavelengths (Angstrom) of the Balmer lines and of the room for their shifts."""

LOG_STEP = 5e-5
"""Step of the templates' internal axis (dex of wavelength), half a BOSS pixel."""

OVERSAMPLING = 4
"""Points of the convolution's axis to a step of the internal one."""

ARRAYS = ("teff", "logg", "wavelength", "flux")


class TemplateError(AstraError, ValueError):
    """A template grid that can't be found, read or used."""


class TemplateValues(NamedTuple):
    """Interpolated fluxes and their derivatives, each of shape (n_pixels,), relative flux units."""

    flux: Array
    """Relative flux."""
    by_log_wavelength: Array
    """Derivative with respect to log10 of the wavelength."""
    by_log_teff: Array
    """Derivative with respect to log10 of the effective temperature."""
    by_logg: Array
    """Derivative with respect to the surface gravity."""


@dataclass(frozen=True, eq=False)
class TemplateGrid:
    """Spectra on a regular grid of effective temperature and surface gravity.

    Parameters
    ----------
    teff : ndarray of float64, shape (n_teff,)
        Effective temperatures (K), increasing, at least two.
    logg : ndarray of float64, shape (n_logg,)
        Surface gravities (dex of cm/s2), increasing, at least two.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelengths in the rest frame (Angstrom), increasing.
    flux : ndarray of float64, shape (n_teff, n_logg, n_pixels)
        Flux per unit wavelength, positive; every template may have its own scale.
    resolution : float, optional
        Resolving power (wavelength over FWHM) to which the templates have to be convolved before they are
        compared with data. None when they are at the resolution of the instrument already.

    Raises
    ------
    TemplateError
        If the arrays don't fit together, an axis doesn't increase, or a value is not finite or not positive.

    Notes
    -----
    Between the nodes the logarithm of the flux is interpolated by a tensor product of splines in
    1/Teff, log g and log wavelength: cubic where an axis has four nodes, quadratic with three, linear with
    two. The inverse of the temperature is what the exponents of the Planck, Boltzmann and Saha laws are
    linear in, so that the logarithm of the flux bends least along it.
    """

    teff: Array
    logg: Array
    wavelength: Array
    flux: Array
    resolution: float | None = None

    def __post_init__(self) -> None:
        for name in ARRAYS:
            array = as_numbers(name, getattr(self, name)).copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name, least in (("teff", 2), ("logg", 2), ("wavelength", 16)):
            _check_axis(name, getattr(self, name), least)
        _check_flux(self.flux, (self.teff.size, self.logg.size, self.wavelength.size))
        if self.resolution is not None and not 0 < self.resolution < np.inf:
            raise TemplateError(
                f"resolution is {self.resolution}; give the positive resolving power of the instrument, "
                "or None for templates that are at its resolution already"
            )

    @cached_property
    def start(self) -> float:
        """First point of the internal wavelength axis (log10 of Angstrom), a multiple of the step."""
        return float(np.ceil(np.log10(max(self.wavelength[0], FIT_RANGE[0])) / LOG_STEP) * LOG_STEP)

    @cached_property
    def stop(self) -> float:
        """Last point of the internal wavelength axis (log10 of Angstrom)."""
        return float(np.floor(np.log10(min(self.wavelength[-1], FIT_RANGE[1])) / LOG_STEP) * LOG_STEP)

    def evaluate(self, log_wavelength: ArrayLike, log_teff: float, logg: float) -> TemplateValues:
        """Interpolate the convolved templates.

        Parameters
        ----------
        log_wavelength : array_like of float, shape (n_pixels,)
            log10 of the rest-frame vacuum wavelengths (Angstrom), between `start` and `stop`.
        log_teff : float
            log10 of the effective temperature (K), inside the grid.
        logg : float
            Surface gravity (dex of cm/s2), inside the grid.

        Returns
        -------
        TemplateValues
            The flux, scaled to a geometric mean of one, and its derivatives.
        """
        values, by_heat, by_logg = self._along_wavelength(heat(10.0**log_teff), logg)
        weights, slopes, first = uniform_weights((np.asarray(log_wavelength) - self.start) / LOG_STEP)
        nearby = first + np.arange(4)[:, None]
        around = values[nearby]
        flux = np.exp(np.sum(weights * around, axis=0))
        return TemplateValues(
            flux,
            flux * np.sum(slopes * around, axis=0) / LOG_STEP,
            flux * np.sum(weights * by_heat[nearby], axis=0) * -heat(10.0**log_teff) * np.log(10.0),
            flux * np.sum(weights * by_logg[nearby], axis=0),
        )

    def _along_wavelength(self, heat: float, logg: float) -> Array:
        """Spline coefficients along the wavelength, and their two derivatives: shape (3, n_points)."""
        rows, in_teff = basis_at(*self._teff_basis, heat)
        columns, in_logg = basis_at(*self._logg_basis, logg)
        block = self._coefficients[rows, columns]
        weights = np.stack(
            [np.outer(in_teff[a], in_logg[b]).ravel() for a, b in ((0, 0), (1, 0), (0, 1))],
        )
        return weights @ block.reshape(-1, block.shape[-1])

    @cached_property
    def _teff_basis(self) -> tuple[Array, int]:
        return knots_of(heat(self.teff))

    @cached_property
    def _logg_basis(self) -> tuple[Array, int]:
        return knots_of(self.logg)

    @cached_property
    def _coefficients(self) -> Array:
        """Coefficients of the tensor-product spline of the log flux, shape (n_teff, n_logg, n_points)."""
        from scipy.interpolate import make_interp_spline
        from scipy.ndimage import spline_filter1d

        log_flux = spline_filter1d(self._resampled(), order=3, axis=-1, mode="mirror")
        for axis, nodes in enumerate((heat(self.teff), self.logg)):
            spline = make_interp_spline(nodes, log_flux, k=degree_of(nodes), axis=axis)
            log_flux = np.moveaxis(spline.c, 0, axis)
        return np.ascontiguousarray(log_flux)

    def _resampled(self) -> Array:
        """Log flux, convolved, on the internal axis: shape (n_teff, n_logg, n_points)."""
        n_points = round((self.stop - self.start) / LOG_STEP) + 1
        if n_points < 16:
            raise TemplateError(
                f"the templates cover {self.wavelength[0]:.1f} to {self.wavelength[-1]:.1f} Angstrom; the "
                f"fit needs Balmer lines between {FIT_RANGE[0]:.0f} and {FIT_RANGE[1]:.0f} Angstrom: "
                "use other templates"
            )
        fine = self.start + np.arange((n_points - 1) * OVERSAMPLING + 1) * LOG_STEP / OVERSAMPLING
        spectra = self.flux.reshape(-1, self.wavelength.size)
        rows = [self._convolved(spectrum, fine)[::OVERSAMPLING] for spectrum in spectra]
        log_flux = np.log(rows)
        log_flux -= log_flux.mean(axis=-1, keepdims=True)
        return log_flux.reshape(self.teff.size, self.logg.size, n_points)

    def _convolved(self, spectrum: Array, fine: Array) -> Array:
        """One template on the fine axis, convolved to the resolution of the instrument."""
        from scipy.interpolate import Akima1DInterpolator
        from scipy.ndimage import gaussian_filter1d

        fine = np.clip(fine, *np.log10(self.wavelength[[0, -1]]))
        flux = np.exp(Akima1DInterpolator(np.log10(self.wavelength), np.log(spectrum))(fine))
        if self.resolution is None:
            return flux
        sigma = OVERSAMPLING / (LOG_STEP * self.resolution * np.sqrt(8 * np.log(2)) * np.log(10))
        return gaussian_filter1d(flux, sigma, mode="nearest")


def as_numbers(name: str, values: ArrayLike) -> Array:
    """Take an array as numbers; `TemplateError` names the one that doesn't hold any."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TemplateError(f"{name} doesn't hold numbers ({error}); store plain floating-point arrays") from None


def _check_axis(name: str, values: Array, least: int) -> None:
    if values.ndim != 1 or values.size < least:
        raise TemplateError(f"{name} has shape {values.shape}; it needs one dimension of at least {least} values")
    if not np.all(np.isfinite(values)) or not np.all(np.diff(values) > 0) or (name != "logg" and values[0] <= 0):
        what = "finite and increasing" if name == "logg" else "finite, positive and increasing"
        raise TemplateError(f"{name} is not {what}; sort it (and flux with it) and remove repeated values")


def _check_flux(flux: Array, shape: tuple[int, int, int]) -> None:
    if flux.shape != shape:
        raise TemplateError(
            f"flux has shape {flux.shape}, but teff, logg and wavelength say (n_teff, n_logg, n_pixels) = {shape}"
        )
    check_positive(flux)


def check_positive(flux: Array) -> None:
    """Make sure that a flux can have a logarithm; `TemplateError` counts the places where it has none."""
    bad = ~(np.isfinite(flux) & (flux > 0))
    if np.any(bad):
        raise TemplateError(
            f"flux is not finite and positive at {np.count_nonzero(bad)} of {bad.size} places; "
            "cut the wavelengths at which templates have no flux"
        )
