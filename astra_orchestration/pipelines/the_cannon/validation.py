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

FACTORS = (0.2, 20.0)
"""Smallest and largest factor of the errors that is believed."""


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
    factors : ndarray of float64, shape (n_labels,)
        What formal errors have to be multiplied by, for the differences to be of their size.
    """

    found: Labelled
    truth: Array
    bias: Array
    spread: Array
    factors: Array


def cross_validate(
    polynomial: Polynomial,
    labels: Array,
    label_errors: Array | None,
    pixels: Pixels,
    whole: Coefficients,
    starts: Array,
    *,
    allowed: Mask | None = None,
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
    label_errors : ndarray of float64, shape (n_stars, n_labels), optional
        Their errors, which the differences hold as well; NaN counts as zero.
    pixels : Pixels
        The spectra.
    whole : Coefficients
        Of the model of all stars: its scatter is where the others begin.
    starts : ndarray of float64, shape (n_starts, n_labels)
        See `find_labels`.
    allowed
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
        model = train(terms, pixels, allowed=allowed, stars=others, start=whole.scatter)
        parts.append(find_labels(polynomial, _sums(model, pixels, held_out), starts))
        order.append(held_out)
    found = joined(parts, len(polynomial.labels)).of(np.argsort(np.concatenate(order)))
    difference = found.labels - labels
    errors = np.zeros_like(labels) if label_errors is None else np.nan_to_num(label_errors)
    factors = [factor(*column) for column in zip(difference.T, found.errors.T, errors.T, strict=True)]
    bias = np.nanmedian(difference, axis=0)
    return CrossValidation(found, labels, bias, robust_sd(difference), np.array(factors))


def robust_sd(values: Array) -> Array:
    """Give the standard deviation of each column, by the median of the distances from the median; NaN doesn't count."""
    return 1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values, axis=0)), axis=0)


def factor(difference: Array, formal: Array, of_labels: Array) -> float:
    """Find what formal errors have to be multiplied by.

    Differences divided by ``sqrt((factor * formal)^2 + of_labels^2)`` then have a robust standard deviation of one.

    Parameters
    ----------
    difference : ndarray of float64, shape (n_stars,)
        Labels found, less those that the stars are said to have.
    formal, of_labels : ndarray of float64, shape (n_stars,)
        Formal errors, and those of the training set's labels.
    """
    good = np.isfinite(difference) & np.isfinite(formal) & (formal > 0)
    if good.sum() < 5:
        return 1.0
    difference, formal, of_labels = difference[good], formal[good], of_labels[good]
    low, high = np.log(FACTORS)
    for _ in range(40):
        middle = (low + high) / 2
        width = robust_sd(difference / np.hypot(np.exp(middle) * formal, of_labels))
        low, high = (middle, high) if width > 1 else (low, middle)
    return float(np.exp((low + high) / 2))


def _sums(model: Coefficients, pixels: Pixels, stars: NDArray[np.intp]) -> Sums:
    """Sum over all pixels of some stars, block by block."""
    n_stars, n_pixels = pixels.shape
    n_terms = model.theta.shape[1]
    number = len(stars)
    total = Sums(
        np.zeros(number), np.zeros((number, n_terms)), np.zeros((number, n_terms, n_terms)), np.zeros(number, dtype=int)
    )
    for part in blocks(n_pixels, n_stars):
        flux, ivar = pixels.block(part)
        total.add(sums_of(Coefficients(*(values[part] for values in model)), flux[:, stars].T, ivar[:, stars].T))
    return total
