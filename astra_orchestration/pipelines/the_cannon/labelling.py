"""The test step: labels of spectra, by a model that training made.

The weights of a spectrum's pixels don't change while its labels are sought. So chi-squared is a quadratic form of the
terms, ``y - 2 g.t + t.H.t``, which is summed over the pixels once: an iteration then costs as much for 8,575 pixels as
for 100. Labels are found by Gauss-Newton with damping (Levenberg 1944, Marquardt 1963), all spectra at once; those that
have converged are left alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .polynomial import Array, Polynomial
from .training import Coefficients

MOST_ITERATIONS = 60
"""Steps after which a spectrum counts as not converged. Twelve leave many behind, thirty hardly one."""

PRECISION = 1e-3
"""Step, in units of the formal errors, below which a spectrum has converged."""

FARTHEST = 30.0
"""Scaled labels of this size are the end: far outside of what any training set covers."""

PRODUCT_BYTES = 4_000_000
"""Of products of coefficients that are summed over at once."""

LEAST_PIXELS = 2
"""Good pixels per label that a spectrum needs."""


class Sums(NamedTuple):
    """Chi-squared of spectra as a quadratic form of the terms.

    Attributes
    ----------
    square : ndarray of float64, shape (n_spectra,)
        Sum of weighted squares of the fluxes.
    product : ndarray of float64, shape (n_spectra, n_terms)
        Sum of weight, flux and coefficient.
    matrix : ndarray of float64, shape (n_spectra, n_terms, n_terms)
        Sum of weight and two coefficients.
    n_pixels : ndarray of int, shape (n_spectra,)
        Pixels that count.
    """

    square: Array
    product: Array
    matrix: Array
    n_pixels: NDArray[np.int64]

    def of(self, some: Any) -> Sums:
        """Give those of some spectra."""
        return Sums._make(part[some] for part in self)

    def add(self, other: Sums) -> None:
        """Add the sums over other pixels of the same spectra."""
        for mine, more in zip(self, other, strict=True):
            mine += more

    def chi2(self, terms: Array) -> Array:
        """Give chi-squared at terms of shape (n_spectra, n_terms)."""
        inner = np.einsum("sa,sa->s", terms, (self.matrix @ terms[..., None])[..., 0] - 2 * self.product)
        return self.square + inner


class Labelled(NamedTuple):
    """Labels of spectra, in the labels' own units.

    Attributes
    ----------
    labels : ndarray of float64, shape (n_spectra, n_labels)
        NaN where nothing could be found.
    covariance : ndarray of float64, shape (n_spectra, n_labels, n_labels)
        Formal covariance of the errors, from the curvature of chi-squared.
    chi2 : ndarray of float64, shape (n_spectra,)
        At the labels.
    n_pixels : ndarray of int, shape (n_spectra,)
        Pixels that counted.
    n_steps : ndarray of int, shape (n_spectra,)
        How often chi-squared was evaluated.
    start : ndarray of int, shape (n_spectra,)
        Which start led here; -1 if none.
    converged : ndarray of bool, shape (n_spectra,)
        Whether the last step was small.
    """

    labels: Array
    covariance: Array
    chi2: Array
    n_pixels: NDArray[np.int64]
    n_steps: NDArray[np.int64]
    start: NDArray[np.int64]
    converged: NDArray[np.bool_]

    def of(self, some: Any) -> Labelled:
        """Give those of some spectra."""
        return Labelled._make(column[some] for column in self)

    @property
    def errors(self) -> Array:
        """Formal errors of the labels, shape (n_spectra, n_labels)."""
        return np.sqrt(np.einsum("sii->si", self.covariance))

    @property
    def rchi2(self) -> Array:
        """Chi-squared by degree of freedom; NaN where there is none."""
        freedom = self.n_pixels - self.labels.shape[1]
        return np.where(freedom > 0, self.chi2 / np.maximum(freedom, 1), np.nan)


class _Found(NamedTuple):
    scaled: Array
    chi2: Array
    curvature: Array
    n_steps: NDArray[np.int64]
    converged: NDArray[np.bool_]


def sums_of(coefficients: Coefficients, flux: Array, ivar: Array) -> Sums:
    """Sum over the pixels of spectra.

    Parameters
    ----------
    coefficients : Coefficients
        Of the model, for these pixels.
    flux, ivar : ndarray of float, shape (n_spectra, n_pixels)
        Normalised flux, and inverse variance: 0 where a pixel isn't to be used, infinite if the error is zero.
    """
    flux, ivar = _usable(np.asarray(flux, dtype=np.float64), np.asarray(ivar, dtype=np.float64), coefficients.scatter)
    known = np.isfinite(coefficients.scatter)
    weight = ivar * np.where(known, coefficients.scatter, 0) ** 2
    weight += 1
    np.divide(ivar, weight, out=weight)
    if not known.all():
        weight[:, ~known] = 0
    weighted = weight * flux
    theta = coefficients.theta
    n_terms = theta.shape[1]
    matrix = np.empty((len(flux), n_terms, n_terms))
    rows, columns = np.triu_indices(n_terms)
    size = max(1, PRODUCT_BYTES // (8 * len(theta)))
    for first in range(0, len(rows), size):
        i, j = rows[first : first + size], columns[first : first + size]
        matrix[:, i, j] = weight @ (theta[:, i] * theta[:, j])
        matrix[:, j, i] = matrix[:, i, j]
    square = np.einsum("sp,sp->s", weighted, flux)
    return Sums(square, weighted @ theta, matrix, np.count_nonzero(weight, axis=1))


def _usable(flux: Array, ivar: Array, scatter: Array) -> tuple[Array, Array]:
    """Give fluxes that are finite, and inverse variances that are finite and not negative."""
    if ivar.min(initial=0) < 0 or not np.isfinite(ivar).all() or not np.isfinite(flux).all():
        bad = ~(ivar > 0) | ~np.isfinite(flux) | (np.isinf(ivar) & (scatter == 0))
        # Beside a scatter, an error of zero and one of next to nothing are the same.
        return np.where(bad, 0, flux), np.where(bad, 0, np.minimum(ivar, 1e200))
    return flux, ivar


def find_labels(polynomial: Polynomial, sums: Sums, starts: Array) -> Labelled:
    """Find the labels of spectra.

    Parameters
    ----------
    polynomial : Polynomial
        Terms of the model.
    sums : Sums
        Of the spectra.
    starts : ndarray of float64, shape (n_starts, n_labels)
        Scaled labels to begin at. The best of them counts, and the linear model's solution is one more (the first). A
        spectrum that doesn't converge from there, or not to where it fits as well as others, is tried from all.

    Notes
    -----
    A star is given the labels of the lowest chi-squared that any start leads to.
    """
    candidates = _starts(polynomial, sums, starts)
    chi2 = np.array([sums.chi2(polynomial.terms(candidate)) for candidate in candidates])
    usable = sums.n_pixels >= LEAST_PIXELS * len(polynomial.labels)
    usable &= np.isfinite(chi2).all(axis=0)
    order = np.argsort(chi2, axis=0, kind="stable")
    first = order[0]
    best = _descend(polynomial, sums, candidates[first, np.arange(len(first))], usable)
    start = np.where(usable, first, -1)
    again = np.flatnonzero(usable & _doubtful(polynomial, sums, best))
    if again.size and len(candidates) > 1:
        _try_others(polynomial, sums, again, candidates, order[1:], best, start)
    return _labelled(polynomial, sums, best, start, usable)


def _try_others(
    polynomial: Polynomial,
    sums: Sums,
    again: NDArray[np.intp],
    candidates: Array,
    order: NDArray[np.intp],
    best: _Found,
    start: NDArray[np.int64],
) -> None:
    """Try some spectra from their other starts, and put what fits better in the place of what was found."""
    spectra, chosen = np.tile(again, len(order)), order[:, again].ravel()
    others = _descend(polynomial, sums.of(spectra), candidates[chosen, spectra], np.ones(len(spectra), dtype=bool))
    # Those that have converged come first, and of these the best fit.
    cost = np.where(others.converged, others.chi2, np.inf).reshape(len(order), -1)
    place = np.argmin(cost, axis=0) * len(again) + np.arange(len(again))
    better = others.converged[place] & ((others.chi2[place] < best.chi2[again] - 1e-6) | ~best.converged[again])
    best.n_steps[again] += others.n_steps.reshape(len(order), -1).sum(axis=0)
    taken = place[better]
    start[again[better]] = chosen[taken]
    for mine, theirs in zip(best, others, strict=True):
        if mine is not best.n_steps:
            mine[again[better]] = theirs[taken]


def _doubtful(polynomial: Polynomial, sums: Sums, found: _Found) -> NDArray[np.bool_]:
    """Tell which spectra may have been led astray: not converged, far from all stars, or a fit much worse than most."""
    freedom = np.maximum(sums.n_pixels - len(polynomial.labels), 1)
    bad_fit = found.chi2 > freedom + 4 * np.sqrt(2 * freedom)
    return ~found.converged | (np.abs(found.scaled) > 5).any(axis=1) | bad_fit


def _starts(polynomial: Polynomial, sums: Sums, starts: Array) -> Array:
    """Give scaled labels to begin at: the solution of the linear terms alone, and those given, for each spectrum."""
    constant = np.flatnonzero(polynomial.powers.sum(axis=1) == 0)
    rows = [np.flatnonzero((polynomial.powers == one).all(axis=1)) for one in np.eye(len(polynomial.labels), dtype=int)]
    given = np.broadcast_to(starts[:, None], (len(starts), len(sums.square), starts.shape[1]))
    if len(constant) != 1 or any(len(row) != 1 for row in rows):
        return given
    linear = np.concatenate(rows)
    matrix = sums.matrix[:, linear[:, None], linear]
    right = sums.product[:, linear] - sums.matrix[:, linear, constant[0]]
    solved = np.clip(_solve_damped(matrix, right, 1e-8), -2, 2)
    return np.concatenate([solved[None], given])


def _descend(polynomial: Polynomial, sums: Sums, scaled: Array, usable: NDArray[np.bool_]) -> _Found:
    """Go down chi-squared from one start for each spectrum."""
    scaled = scaled.copy()
    n_labels = scaled.shape[1]
    terms = polynomial.terms(scaled)
    chi2 = sums.chi2(terms)
    curvature = np.zeros((len(scaled), n_labels, n_labels))
    damping, converged = np.full(len(scaled), 1e-3), np.zeros(len(scaled), dtype=bool)
    n_steps = np.ones(len(scaled), dtype=np.int64)
    active = np.flatnonzero(usable)
    here, mine = sums.of(active), scaled[active]
    slope, curve, bent = _derivatives(polynomial, here, mine)
    for _ in range(MOST_ITERATIONS):
        if not active.size:
            break
        step = _solve_damped(bent, slope, damping[active], curve)
        trial = np.clip(mine + step, -FARTHEST, FARTHEST)
        new = here.chi2(polynomial.terms(trial))
        n_steps[active] += 1
        lower = new <= chi2[active]
        length = np.einsum("si,sij,sj->s", step, curve, step)
        done = (length < PRECISION**2) | (~lower & (new - chi2[active] < 1e-12 * here.square))
        damping[active] = np.where(lower, damping[active] / 8, damping[active] * 6)
        chi2[active] = np.where(lower, new, chi2[active])
        mine = np.where(lower[:, None], trial, mine)
        scaled[active] = mine
        curvature[active[done]] = curve[done]
        converged[active[done]] = True
        going = ~done & (damping[active] < 1e12)
        curvature[active[~going]] = curve[~going]
        active, mine, here = active[going], mine[going], here.of(going)
        slope, curve, bent = _derivatives(polynomial, here, mine)
    curvature[active] = curve
    return _Found(scaled, chi2, curvature, n_steps, converged)


def _derivatives(polynomial: Polynomial, sums: Sums, scaled: Array) -> tuple[Array, Array, Array]:
    """Give minus half the gradient of chi-squared, and half its second derivatives: Gauss's, and all of them."""
    terms, gradient = polynomial.terms(scaled), polynomial.gradient(scaled)
    turned = gradient.swapaxes(1, 2)
    off = sums.product - (sums.matrix @ terms[..., None])[..., 0]
    gauss = turned @ (sums.matrix @ gradient)
    return (turned @ off[..., None])[..., 0], gauss, gauss - polynomial.curvature(scaled, off)


def _solve_damped(curve: Array, slope: Array, damping: Array | float, scale: Array | None = None) -> Array:
    """Solve for the step, with a share of the diagonal (of `scale`, if given) added."""
    size = np.sqrt(np.maximum(np.einsum("sii->si", curve if scale is None else scale), 1e-30))
    matrix = curve / (size[:, :, None] * size[:, None, :])
    diagonal = np.einsum("sii->si", matrix)
    diagonal += np.broadcast_to(np.asarray(damping), len(curve))[:, None] + 1e-12
    return np.linalg.solve(matrix, (slope / size)[..., None])[..., 0] / size


def _labelled(
    polynomial: Polynomial, sums: Sums, best: _Found, start: NDArray[np.int64], usable: NDArray[np.bool_]
) -> Labelled:
    n_labels = best.scaled.shape[1]
    labels = np.where(usable[:, None], polynomial.unscaled(best.scaled), np.nan)
    size = np.sqrt(np.einsum("sii->si", best.curvature))
    known = usable & (size > 0).all(axis=1)
    size[~known] = 1
    matrix = np.where(known[:, None, None], best.curvature, np.eye(n_labels))
    matrix /= size[:, :, None] * size[:, None, :]
    known &= np.linalg.cond(matrix) < 1e12
    matrix[~known] = np.eye(n_labels)
    by_label = polynomial.scales / size
    covariance = np.linalg.inv(matrix) * (by_label[:, :, None] * by_label[:, None, :])
    covariance[~known] = np.nan
    return Labelled(
        labels,
        covariance,
        np.where(usable, best.chi2, np.nan),
        sums.n_pixels,
        best.n_steps,
        start,
        best.converged & known,
    )
