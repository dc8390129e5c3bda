"""Cross-validation: how well a model labels stars that it hasn't seen, and how far its formal errors are off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .labelling import Labelled, Sums, find_labels, sums_of
from .model import joined
from .polynomial import Array, Polynomial
from .training import Coefficients, Mask, Pixels, blocks, train

FOLDS = 10
"""Parts of the training set; each is labelled by a model of the others."""

SMALLEST_FACTOR, LARGEST_FACTOR = 0.2, 3.0
"""Factors of the formal errors that are believed."""

LEAST_STARS = 5
"""Stars without which nothing can be said of errors."""


class CrossValidation(NamedTuple):
    """What cross-validation found.

    Attributes
    ----------
    found : Labelled
        Labels of the training set's stars, each by a model that hadn't seen it.
    truth : ndarray of float64, shape (n_stars, n_labels)
        What they are said to have.
    bias, spread : ndarray of float64, shape (n_labels,)
        Median of the differences, and their robust standard deviation.
    factors, floors : ndarray of float64, shape (n_labels,)
        What formal errors have to be multiplied by, and what has to be added to them in quadrature, for the differences
        to be of their size; see `error_model`.
    """

    found: Labelled
    truth: Array
    bias: Array
    spread: Array
    factors: Array
    floors: Array


def cross_validate(
    polynomial: Polynomial,
    labels: Array,
    pixels: Pixels,
    whole: Coefficients,
    starts: Array,
    *,
    allowed: Mask | None = None,
    prior: Array | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> CrossValidation:
    """Label each star of a training set by a model of the others.

    Parameters
    ----------
    polynomial : Polynomial
        Terms of the model.
    labels : ndarray of float64, shape (n_stars, n_labels)
        Labels of the training set.
    pixels : Pixels
        The spectra.
    whole : Coefficients
        Of the model of all stars: its scatter is where the others begin.
    starts : ndarray of float64, shape (n_starts, n_labels)
        See `find_labels`.
    allowed, prior
        See `train`.
    folds : int
        Number of parts, at least two.
    seed : int
        Of the division into parts.
    """
    n_stars = len(labels)
    terms = polynomial.terms(polynomial.scaled(labels))
    part_of = np.arange(n_stars) % folds
    np.random.default_rng(seed).shuffle(part_of)
    parts, order = [], []
    for part in range(min(folds, n_stars)):
        held_out, others = np.flatnonzero(part_of == part), np.flatnonzero(part_of != part)
        model = train(terms, pixels, allowed=allowed, stars=others, start=whole.scatter, prior=prior)
        parts.append(find_labels(polynomial, _sums(model, pixels, held_out), starts))
        order.append(held_out)
    found = joined(parts, len(polynomial.labels)).of(np.argsort(np.concatenate(order)))
    difference = found.labels - labels
    pairs = [error_model(*column) for column in zip(difference.T, found.errors.T, strict=True)]
    factors, floors = np.array(pairs).T
    return CrossValidation(found, labels, np.nanmedian(difference, axis=0), _robust_sd(difference), factors, floors)


def _robust_sd(values: Array) -> Array:
    """Give the standard deviation of each column, by the median of the distances from the median; NaN doesn't count."""
    return 1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values, axis=0)), axis=0)


def error_model(difference: Array, formal: Array) -> tuple[float, float]:
    """Find what formal errors have to be multiplied by, and what has to be added to them in quadrature.

    Differences divided by their errors then have a robust standard deviation of one. Up to `LARGEST_FACTOR` the factor
    alone does it. Where that isn't enough, it isn't the noise by which labels are off, but the model: a floor, which is
    the same for bright and faint stars, has the rest.

    Parameters
    ----------
    difference : ndarray of float64, shape (n_stars,)
        Labels found, less those that the stars are said to have.
    formal : ndarray of float64, shape (n_stars,)
        Formal errors.
    """
    good = np.isfinite(difference) & np.isfinite(formal) & (formal > 0)
    if good.sum() < LEAST_STARS:
        return 1.0, 0.0
    difference, formal = difference[good], formal[good]
    factor = float(_robust_sd(difference / formal))
    if factor <= LARGEST_FACTOR:
        return max(factor, SMALLEST_FACTOR), 0.0
    low, high = 0.0, float(np.abs(difference).max())
    for _ in range(60):
        middle = (low + high) / 2
        # A model errs a lot where it errs: four of five stars tell more of that than the median.
        width = np.percentile(np.abs(difference) / np.hypot(LARGEST_FACTOR * formal, middle), 80) / 1.2816
        low, high = (middle, high) if width > 1 else (low, middle)
    return LARGEST_FACTOR, (low + high) / 2


def _sums(model: Coefficients, pixels: Pixels, stars: NDArray[np.intp]) -> Sums:
    """Sum over all pixels of some stars, block by block."""
    n_stars, n_pixels = pixels.shape
    n_terms = model.theta.shape[1]
    number = len(stars)
    total = Sums(
        np.zeros(number), np.zeros((number, n_terms)), np.zeros((number, n_terms, n_terms)), np.zeros(number, dtype=int)
    )
    for part in blocks(n_pixels, n_stars, n_terms):
        flux, ivar = pixels.block(part)
        total.add(sums_of(Coefficients(model.theta[part], model.scatter[part]), flux[:, stars].T, ivar[:, stars].T))
    return total
