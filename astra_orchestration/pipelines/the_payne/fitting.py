"""Labels of a spectrum: least squares through the network, inside the box of labels that it was trained in.

Gauss-Newton with damping (Levenberg 1944, Marquardt 1963) and the network's own derivatives, from several starts. A
label that would leave the box stays at its edge. A velocity that the survey's correction left is found with the labels.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .continuum import Chip, Continuum, chips_of
from .network import Array, Network

__all__ = ["Fit", "Fitter"]

LIGHT = 299_792.458
"""Speed of light, km/s."""

LARGEST_SNR = 200.0
"""S/N of a pixel that counts at most: errors of APOGEE's pixels that say more are too small."""

LARGEST_ERROR = 8.0
"""Errors of this many times the median mark pixels that say nothing, such as those under sky lines."""

HIGHEST, LOWEST = 1.3, -0.1
"""Normalised flux beyond these isn't a star's."""

MOST_STEPS = 60
PRECISION = 1e-3
"""Step, in units of the formal errors, below which a fit has converged."""

AT_EDGE = 1e-4
"""Distance from the edge of the box, in its widths, at which a label counts as being there."""

LEAST_PIXELS = 20
"""Good pixels per label that a spectrum needs."""

N_STARTS, N_DESCENTS = 9, 4
"""Starts, of which the best is gone on from, and then the next ones until two lead to the same labels."""

SAME = 0.01
"""Chi-squared by which two descents may differ that led to the same labels."""

SIZE = 0.35
"""Starts are this far from the middle of the box at most."""


class Fit(NamedTuple):
    """What was found for one spectrum.

    Attributes
    ----------
    labels : ndarray of float64, shape (n_labels,)
        In their own units; NaN if nothing was found.
    formal : ndarray of float64, shape (n_labels, n_labels)
        Covariance from the curvature of chi-squared, as if the continuum were known.
    covariance : ndarray of float64, shape (n_labels, n_labels)
        The same with the noise of the continuum.
    v_rel : float
        Velocity in km/s by which lines are off, positive to the red; NaN if it wasn't sought.
    chi2 : float
        At the labels.
    n_pixels : int
        Pixels that counted.
    freedom : int
        Degrees of freedom.
    converged : bool
        Whether the last step was small.
    at_edge : ndarray of bool, shape (n_labels,)
        Which labels are at the edge of the network's box.
    v_rel_at_edge : bool
        Whether the velocity is as large as it may be.
    has_continuum : bool
        Whether each chip has one.
    model : ndarray of float64, shape (n_pixels,)
        Normalised flux of the model.
    continuum : ndarray of float64, shape (n_pixels,)
        Of the spectrum, in the unit of its flux.
    """

    labels: Array
    formal: Array
    covariance: Array
    v_rel: float
    chi2: float
    n_pixels: int
    freedom: int
    converged: bool
    at_edge: NDArray[np.bool_]
    v_rel_at_edge: bool
    has_continuum: bool
    model: Array
    continuum: Array

    @property
    def found(self) -> bool:
        """Whether there are labels."""
        return bool(np.isfinite(self.labels).all())

    @property
    def rchi2(self) -> float:
        """Chi-squared by degree of freedom; NaN where there is none."""
        return self.chi2 / self.freedom if self.freedom > 0 else np.nan


class Fitter:
    """Fits spectra with a network.

    Parameters
    ----------
    network : Network
        The network.
    largest_v_rel : float, optional
        Velocity in km/s up to which lines may be off; 0 if they aren't.
    """

    def __init__(self, network: Network, largest_v_rel: float = 10.0):
        self.network = network
        self._chips = chips_of(network.wavelength, network.continuum_pixels)
        n_labels = len(network.labels)
        steps = np.diff(np.log(network.wavelength))
        self._pixel = LIGHT * float(np.median(steps)) if steps.size else 1.0
        shift = abs(largest_v_rel) / self._pixel
        self._lower = np.append(np.full(n_labels, -0.5), [-shift] if shift else [])
        self._upper = -self._lower
        self._lower[:n_labels] = np.maximum(self._lower[:n_labels], self._least)

    @cached_property
    def _least(self) -> Array:
        """Scaled labels below which there is nothing: velocities in an atmosphere aren't negative."""
        at_zero = self.network.scaled(np.zeros(len(self.network.labels)))
        is_speed = np.char.startswith(np.array(self.network.labels), "v_")
        return np.where(is_speed & (at_zero < 0.5), at_zero, -np.inf)

    @cached_property
    def _starts(self) -> Array:
        random = np.random.default_rng(0)
        n_labels = len(self.network.labels)
        some = random.uniform(-SIZE, SIZE, (N_STARTS - 1, len(self._lower)))
        some[:, n_labels:] = 0
        return np.clip(np.vstack([np.zeros(len(self._lower)), some]), self._lower, self._upper)

    def fit(self, flux: NDArray[np.floating], ivar: NDArray[np.floating]) -> Fit:
        """Find the labels of a spectrum.

        Parameters
        ----------
        flux, ivar : ndarray of float, shape (n_pixels,)
            Flux on the network's wavelengths, in any unit, and its inverse variance: 0 where a pixel isn't to be used.
        """
        flux, weight = usable(flux, ivar)
        continuum = Continuum(self._chips, weight)
        level = continuum.of(flux)
        good = continuum.known & (weight > 0) & (level > 0)
        normalised = np.divide(flux, level, out=np.zeros_like(flux), where=good)
        good &= (normalised < HIGHEST) & (normalised > LOWEST)
        misfit = _Misfit(self, continuum, normalised, np.where(good, weight, 0), np.where(level > 0, level, 1))
        level = np.where(continuum.known, level, np.nan)
        n_good = int(good.sum())
        if n_good < LEAST_PIXELS * len(self._lower):
            return self._nothing(n_good, continuum, level)
        n_labels = len(self.network.labels)
        order = np.argsort([misfit.chi2(start[:n_labels]) for start in self._starts], kind="stable")
        best = None
        for number, start in enumerate(self._starts[order]):
            found = _descend(misfit, start, self._lower, self._upper)
            is_same = best is not None and best.converged and abs(best.chi2 - found.chi2) < SAME
            if best is None or (not best.converged, best.chi2) > (not found.converged, found.chi2):
                best = found
            if is_same or number + 1 == N_DESCENTS:
                break
        assert best is not None
        return self._as_fit(best, misfit, n_good, continuum, level)

    def _as_fit(self, best: _Descent, misfit: _Misfit, n_good: int, continuum: Continuum, level: Array) -> Fit:
        n_labels = len(self.network.labels)
        widths = self.network.upper - self.network.lower
        formal, is_known = _inverse(best.curvature)
        some = np.ix_(range(n_labels), range(n_labels))
        covariance = misfit.covariance(best.parameters, formal)
        scaled = best.parameters[:n_labels]
        edge = (np.abs(scaled) > 0.5 - AT_EDGE) & is_known
        has_v = len(self._lower) > n_labels
        shift = best.parameters[-1] if has_v else np.nan
        return Fit(
            labels=self.network.unscaled(scaled),
            formal=formal[some] * np.outer(widths, widths),
            covariance=covariance[some] * np.outer(widths, widths),
            v_rel=float(shift * self._pixel) if has_v else np.nan,
            chi2=best.chi2,
            n_pixels=n_good,
            freedom=n_good - len(self._lower),
            converged=best.converged and is_known,
            at_edge=edge,
            v_rel_at_edge=bool(has_v and abs(shift) > self._upper[-1] * (1 - AT_EDGE)),
            has_continuum=bool(continuum.known.all()),
            model=np.where(continuum.known, misfit.model(best.parameters)[0], np.nan),
            continuum=level,
        )

    def _nothing(self, n_good: int, continuum: Continuum, level: Array) -> Fit:
        n_labels = len(self.network.labels)
        nothing = np.full(n_labels, np.nan)
        no_labels = np.zeros(n_labels, dtype=bool)
        unknown, no_model = np.full((n_labels, n_labels), np.nan), np.full(len(level), np.nan)
        has_continuum = bool(continuum.known.all())
        return Fit(
            *(nothing, unknown, unknown, np.nan, np.nan, n_good, 0, False, no_labels, False),
            *(has_continuum, no_model, level),
        )

    def model_of(self, parameters: Array) -> tuple[Array, Array]:
        """Give the network's flux of scaled labels and a shift in pixels, and its derivatives by them."""
        n_labels = len(self.network.labels)
        flux, slopes = self.network.flux_and_slopes(parameters[:n_labels])
        if len(parameters) > n_labels:
            return _shifted(flux, slopes, parameters[-1], self._chips)
        return flux, slopes


def usable(flux: NDArray[np.floating], ivar: NDArray[np.floating]) -> tuple[Array, Array]:
    """Give finite fluxes, and inverse variances: 0 for pixels that say nothing, and never of a higher S/N than 200."""
    flux, ivar = np.array(flux, dtype=np.float64), np.array(ivar, dtype=np.float64)
    good = np.isfinite(flux) & (flux != 0) & (ivar > 0) & np.isfinite(ivar)
    flux[~good] = 0
    if not good.any():
        return flux, np.zeros_like(flux)
    error = np.full(flux.shape, np.inf)
    error[good] = np.maximum(ivar[good] ** -0.5, np.abs(flux[good]) / LARGEST_SNR)
    good &= error < LARGEST_ERROR * np.median(error[good])
    return flux, np.where(good, error**-2.0, 0)


class _Misfit:
    """Residuals of one spectrum, in units of its errors, and their derivatives."""

    def __init__(self, fitter: Fitter, continuum: Continuum, flux: Array, ivar: Array, level: Array):
        self._fitter, self._continuum, self._flux, self._level = fitter, continuum, flux, level
        self._variance = np.divide(1, ivar, out=np.zeros_like(ivar), where=ivar > 0)
        self._weight = np.sqrt(ivar) * level  # of the normalised flux

    def model(self, parameters: Array) -> tuple[Array, Array]:
        """Give the model as the spectrum is: bent in the same way, then divided by the continuum of that."""
        flux, slopes = self._fitter.model_of(parameters)
        return self._continuum.normalised(flux * self._level, slopes * self._level[:, None])

    def residuals(self, parameters: Array) -> tuple[Array, Array]:
        """Give the residuals in standard deviations, (n_pixels,), and how they fall, (n_pixels, n_parameters)."""
        model, slopes = self.model(parameters)
        return self._weight * (self._flux - model), self._weight[:, None] * slopes

    def covariance(self, parameters: Array, formal: Array) -> Array:
        """Give the covariance of parameters from the noise of all pixels, also of those of the continuum."""
        _, slopes = self.residuals(parameters)
        gain = formal @ (slopes * self._weight[:, None]).T
        by_flux = self._continuum.with_its_noise(gain, self._flux, self._level)
        return (by_flux * self._variance) @ by_flux.T

    def chi2(self, labels: Array) -> float:
        """Give chi-squared at scaled labels, for lines that aren't off."""
        flux = self._fitter.network.flux(labels) * self._level
        residuals = self._weight * (self._flux - flux / self._continuum.of(flux))
        return float(residuals @ residuals)


class _Descent(NamedTuple):
    parameters: Array
    chi2: float
    curvature: Array
    converged: bool


def _descend(misfit: _Misfit, start: Array, lower: Array, upper: Array) -> _Descent:
    """Go down chi-squared from a start, inside a box."""
    here, damping, converged = start.copy(), 1e-3, False
    residuals, slopes = misfit.residuals(here)
    chi2 = float(residuals @ residuals)
    for _ in range(MOST_STEPS):
        down, curve = slopes.T @ residuals, slopes.T @ slopes
        # A parameter at an edge stays there if it goes on falling outside.
        free = ~(((here >= upper) & (down > 0)) | ((here <= lower) & (down < 0)))
        if not free.any():
            converged = True
            break
        trial = here.copy()
        trial[free] = np.clip(here[free] + _step(curve, down, free, damping), lower[free], upper[free])
        moved = trial - here
        new_residuals, new_slopes = misfit.residuals(trial)
        new = float(new_residuals @ new_residuals)
        is_small = float(moved @ curve @ moved) < PRECISION**2
        if new <= chi2:
            here, residuals, slopes, chi2, damping = trial, new_residuals, new_slopes, new, damping / 8
        else:
            damping *= 6
        if is_small or damping > 1e12:
            converged = is_small
            break
    return _Descent(here, chi2, slopes.T @ slopes, converged)


def _step(curve: Array, down: Array, free: NDArray[np.bool_], damping: float) -> Array:
    matrix = curve[np.ix_(free, free)]
    size = np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    matrix = matrix / np.outer(size, size) + (damping + 1e-12) * np.eye(len(size))
    return np.linalg.solve(matrix, down[free] / size) / size


def _inverse(curvature: Array) -> tuple[Array, bool]:
    """Give the covariance, and whether the spectrum says anything of each parameter."""
    size = np.sqrt(np.diag(curvature))
    if not (size > 0).all():
        return np.full(curvature.shape, np.nan), False
    matrix = curvature / np.outer(size, size)
    if not np.linalg.cond(matrix) < 1e12:
        return np.full(curvature.shape, np.nan), False
    return np.linalg.inv(matrix) / np.outer(size, size), True


def _shifted(flux: Array, slopes: Array, shift: float, chips: tuple[Chip, ...]) -> tuple[Array, Array]:
    """Move a spectrum by pixels to the red: Lagrange interpolation between eight pixels, chip by chip.

    The derivative by the shift is the last column of what comes out.
    """
    moved, moved_slopes = np.empty_like(flux), np.empty((len(flux), slopes.shape[1] + 1))
    whole = int(np.floor(-shift))
    part = -shift - whole
    weights = _LAGRANGE @ part**_POWERS
    bent = _LAGRANGE[:, 1:] @ (_POWERS[1:] * part ** _POWERS[:-1])
    for chip in chips:
        mine, mine_slopes = flux[chip.pixels], slopes[chip.pixels]
        places = np.clip(np.arange(len(mine))[:, None] + whole + _NODES, 0, len(mine) - 1)
        moved[chip.pixels] = mine[places] @ weights
        moved_slopes[chip.pixels, :-1] = np.einsum("pjk,j->pk", mine_slopes[places], weights)
        moved_slopes[chip.pixels, -1] = -(mine[places] @ bent)
    return moved, moved_slopes


_NODES = np.arange(-3, 5)
_POWERS = np.arange(len(_NODES), dtype=np.float64)
_LAGRANGE = np.linalg.inv(_NODES[:, None] ** _POWERS).T
"""Of each node, the coefficients of the polynomial that is 1 there and 0 at the others. With four nodes, lines would be
wider by more than the noise of good spectra."""
