"""The training step: what each pixel's flux does with the labels, of stars whose labels are known.

Each pixel has a weighted linear fit of its own, with weights ``1 / (error^2 + scatter^2)``; the scatter is the spread
that the errors don't account for, and maximises the likelihood (Ness et al. 2015, ApJ 808, 16, equations 4 to 6). All
pixels of a block are fitted at once, and blocks are read one after the other, so that memory doesn't grow with their
number.

With few stars, a fit of many terms would follow their noise. The coefficients of each term then have a prior, a normal
distribution whose width all pixels say together (empirical Bayes: MacKay 1992, Neural Computation 4, 415).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .polynomial import Array

Mask = NDArray[np.bool_]

BLOCK_BYTES = 16_000_000
"""Of one array of a block of pixels; some eight of them are in memory."""

MATRIX_BYTES = 2_000_000
"""Of the normal matrices of a block: they are worked on in the cache of a core."""

MOST_ITERATIONS = 30
"""Of the scatter; half of this is enough for nearly all pixels."""

PRECISION = 1e-3
"""Change of the scatter's square, relative to itself and a tenth of the errors', at which a pixel has converged."""

FEW_STARS = 20
"""Stars per term from which on a prior would change nothing."""

PRIOR_PIXELS = 512
"""Pixels of which the width of the prior is found."""

PRIOR_ITERATIONS = 25

COUNTED = (0, 3)
"""Iterations in which the terms are counted that stars determine, and not the prior: it takes most of the time."""

RIDGE = 1e-10
"""What is added to the scaled normal matrix: terms that stars don't tell apart share what they explain."""


class Pixels(Protocol):
    """Normalised spectra of stars, which are read in blocks of pixels."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of stars, and of pixels."""
        ...

    def block(self, pixels: slice) -> tuple[Array, Array]:
        """Give normalised flux and inverse variance of some pixels, both of shape (n_pixels, n_stars), float64."""
        ...


class InMemory:
    """Normalised spectra as arrays, which may be `numpy.memmap`.

    Parameters
    ----------
    flux : ndarray of float, shape (n_stars, n_pixels)
        Normalised flux.
    ivar : ndarray of float, shape (n_stars, n_pixels), optional
        Its inverse variance, 0 where a pixel isn't to be used. If not given, all errors are zero beside the scatter.
    """

    def __init__(self, flux: NDArray[Any], ivar: NDArray[Any] | None = None):
        self._flux, self._ivar = flux, ivar
        self.shape = (len(flux), flux.shape[1])

    def block(self, pixels: slice) -> tuple[Array, Array]:
        """Give normalised flux and inverse variance of some pixels, both of shape (n_pixels, n_stars)."""
        flux = np.array(self._flux[:, pixels].T, dtype=np.float64, order="C")
        if self._ivar is None:
            return flux, np.full(flux.shape, np.inf)
        return flux, np.array(self._ivar[:, pixels].T, dtype=np.float64, order="C")


class Coefficients(NamedTuple):
    """What training finds.

    Attributes
    ----------
    theta : ndarray of float64, shape (n_pixels, n_terms)
        Coefficient of each term; 0 where it is censored.
    scatter : ndarray of float64, shape (n_pixels,)
        Spread of the stars that their errors don't explain; infinite at pixels that too few stars have.
    """

    theta: Array
    scatter: Array


def train(
    terms: Array,
    pixels: Pixels,
    *,
    allowed: Mask | None = None,
    stars: NDArray[np.intp] | None = None,
    start: Array | None = None,
    prior: Array | None = None,
) -> Coefficients:
    """Fit all pixels.

    Parameters
    ----------
    terms : ndarray of float64, shape (n_stars, n_terms)
        Terms of the stars' labels, from `Polynomial.terms`.
    pixels : Pixels
        Their spectra.
    allowed : ndarray of bool, shape (n_pixels, n_terms), optional
        Where a term may be used; by default everywhere. See `censored`.
    stars : ndarray of int, optional
        Which of the stars are used; by default all.
    start : ndarray of float64, shape (n_pixels,), optional
        Scatter to begin with: saves time where it is nearly known.
    prior : ndarray of float64, shape (n_terms,), optional
        Variance of each term's coefficients, see `find_prior`; infinite for a term that has none.
    """
    n_stars, n_pixels = pixels.shape
    theta, scatter = np.zeros((n_pixels, terms.shape[1])), np.full(n_pixels, np.inf)
    chosen = np.arange(n_stars) if stars is None else stars
    for part in blocks(n_pixels, n_stars, terms.shape[1]):
        flux, ivar = pixels.block(part)
        if stars is not None:
            flux, ivar = flux[:, stars], ivar[:, stars]
        where = None if allowed is None else allowed[part]
        begin = None if start is None else start[part]
        theta[part], scatter[part] = _fit_block(terms[chosen], flux, ivar, where, begin, prior)
    return Coefficients(theta, scatter)


def blocks(n_pixels: int, n_stars: int, n_terms: int) -> Iterator[slice]:
    """Give slices of pixels, of which an array of all stars has at most `BLOCK_BYTES`, and their matrices less."""
    size = max(1, min(BLOCK_BYTES // (8 * max(1, n_stars)), MATRIX_BYTES // (8 * n_terms**2)))
    for first in range(0, n_pixels, size):
        yield slice(first, min(first + size, n_pixels))


def _fit_block(
    terms: Array,
    flux: Array,
    ivar: Array,
    allowed: Mask | None = None,
    start: Array | None = None,
    prior: Array | None = None,
) -> Coefficients:
    """Fit some pixels that are in memory.

    Parameters
    ----------
    terms : ndarray of float64, shape (n_stars, n_terms)
        Terms of the stars' labels.
    flux, ivar : ndarray of float64, shape (n_pixels, n_stars)
        Normalised flux and inverse variance; infinite if the error is zero.
    allowed, start, prior
        See `train`.
    """
    n_terms = terms.shape[1]
    good = (ivar > 0) & np.isfinite(flux)
    n_good = good.sum(axis=1)
    n_used = np.full(len(flux), float(n_terms)) if allowed is None else allowed.sum(axis=1).astype(float)
    fitted = n_good > n_used
    flux = np.where(good, flux, 0)
    variance = _inverse(ivar, good)
    # Errors of zero need a scatter to begin with; its size matters to none of the weights then.
    square = np.full(len(flux), 1e-4) if start is None else np.where(np.isfinite(start), start, 0.01) ** 2
    square = np.where(fitted, np.maximum(square, 1e-12), 1)
    noise = 0.1 * variance.sum(axis=1) / np.maximum(n_good, 1)
    no_error = variance.min(axis=1, where=good, initial=1) == 0
    theta = np.zeros((len(flux), n_terms))
    moving = fitted.copy()
    for iteration in range(MOST_ITERATIONS):
        if not moving.any():
            break
        # Most pixels converge soon; indexing the others out pays when they are few.
        some = np.flatnonzero(moving) if moving.mean() < 0.7 else slice(None)
        weight = _inverse(variance[some] + square[some, None], good[some])
        where = None if allowed is None else allowed[some]
        theta[some], n_free = _solve(terms, flux[some], weight, where, prior, count=iteration in COUNTED)
        if n_free is not None:
            n_used[some] = n_free
        residual = flux[some] - theta[some] @ terms.T
        # The fit follows part of the noise.
        enlarged = n_good[some] / np.maximum(n_good[some] - n_used[some], 1)
        new = _better_scatter(residual, variance[some], weight, enlarged)
        new = np.maximum(new, np.where(no_error[some], 1e-20, 0))
        still = np.abs(new - square[some]) > PRECISION * (new + noise[some] + 1e-12)
        square[some] = new
        moving[some] = still & fitted[some]
    return Coefficients(np.where(fitted[:, None], theta, 0), np.where(fitted, np.sqrt(square), np.inf))


def _inverse(values: Array, good: Mask) -> Array:
    return np.divide(1, values, out=np.zeros_like(values), where=good)


def _better_scatter(residual: Array, variance: Array, weight: Array, enlarged: Array) -> Array:
    """Give the square of the scatter at which the likelihood's derivative is zero, if the weights were right."""
    squared = weight * weight
    excess = enlarged[:, None] * residual * residual - variance
    found = np.einsum("ps,ps->p", squared, excess) / np.maximum(squared.sum(axis=1), 1e-300)
    return np.maximum(found, 0)


def _solve(
    terms: Array, flux: Array, weight: Array, allowed: Mask | None, prior: Array | None, *, count: bool
) -> tuple[Array, Array | None]:
    """Solve the normal equations of each pixel; terms that aren't allowed get a coefficient of zero.

    Gives the coefficients and, if there is a prior and they are to be counted, how many terms the stars determine.
    """
    matrix, right = _normal_equations(terms, flux, weight, allowed)
    if prior is not None:
        _diagonal(matrix)[...] += 1 / prior
    size = np.sqrt(_diagonal(matrix))
    size[size == 0] = 1
    matrix /= size[:, :, None] * size[:, None, :]
    _diagonal(matrix)[_diagonal(matrix) == 0] = 1
    _diagonal(matrix)[...] += RIDGE
    if prior is None or not count:
        return np.linalg.solve(matrix, (right / size)[..., None])[..., 0] / size, None
    inverse = np.linalg.inv(matrix)
    n_free = terms.shape[1] - (_diagonal(inverse) / size**2 / prior).sum(axis=1)
    return (inverse @ (right / size)[..., None])[..., 0] / size, n_free


def _normal_equations(terms: Array, flux: Array, weight: Array, allowed: Mask | None) -> tuple[Array, Array]:
    n_terms = terms.shape[1]
    matrix = np.empty((len(flux), n_terms, n_terms))
    for i in range(n_terms):
        matrix[:, i, i:] = weight @ (terms[:, i, None] * terms[:, i:])
        matrix[:, i:, i] = matrix[:, i, i:]
    right = (weight * flux) @ terms
    if allowed is not None:
        matrix *= allowed[:, :, None] & allowed[:, None, :]
        right *= allowed
    return matrix, right


def _diagonal(matrices: Array) -> Array:
    """Give the diagonals of matrices, to be read and written."""
    return np.einsum("pii->pi", matrices)


def find_prior(terms: Array, pixels: Pixels, *, allowed: Mask | None = None) -> Array | None:
    """Find how large the coefficients of each term are, by expectation and maximisation over some of the pixels.

    Parameters
    ----------
    terms, pixels, allowed
        See `train`.

    Returns
    -------
    ndarray of float64, shape (n_terms,), or None
        Their variance; infinite for the first term, the constant. None if there are so many stars that it isn't needed.
    """
    n_stars, n_pixels = pixels.shape
    n_terms = terms.shape[1]
    if n_stars >= FEW_STARS * n_terms:
        return None
    some = slice(None, None, max(1, n_pixels // PRIOR_PIXELS))
    flux, ivar = pixels.block(some)
    where = None if allowed is None else allowed[some]
    prior, start = np.full(n_terms, 1e-3), None
    prior[0] = np.inf
    for _ in range(PRIOR_ITERATIONS):
        found = _fit_block(terms, flux, ivar, where, start, prior)
        start, good = found.scatter, np.isfinite(found.scatter)
        if not good.any():
            return None
        spread = _spread_of_coefficients(
            terms, ivar[good], found.scatter[good], None if where is None else where[good], prior
        )
        counted = np.ones((good.sum(), n_terms)) if where is None else where[good]
        new = ((found.theta[good] ** 2 + spread) * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
        prior[1:] = np.maximum(new[1:], 1e-14)
    return prior


def _spread_of_coefficients(terms: Array, ivar: Array, scatter: Array, allowed: Mask | None, prior: Array) -> Array:
    """Give the variance of each coefficient when stars and prior have been taken into account."""
    variance = np.divide(1, ivar, out=np.full(ivar.shape, np.inf), where=ivar > 0) + scatter[:, None] ** 2
    matrix, _ = _normal_equations(terms, np.zeros_like(ivar), 1 / np.maximum(variance, 1e-20), allowed)
    _diagonal(matrix)[...] += 1 / prior
    return _diagonal(np.linalg.inv(matrix))
