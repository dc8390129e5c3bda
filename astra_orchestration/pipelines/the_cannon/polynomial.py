"""The polynomials of labels that The Cannon is made of.

A pixel's flux is a sum of terms: products of powers of the labels, which are scaled to be of order one. Here are the
terms, and their derivatives, of many stars at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError

Array = NDArray[np.floating[Any]]
Degree = Literal["linear", "quadratic"]


class CannonError(AstraError, ValueError):
    """A model of The Cannon, or a training set, that can't be made, read or used."""


def powers_of(n_labels: int, degree: Degree = "quadratic") -> NDArray[np.int64]:
    """Give the powers of the labels in each term: a constant, the labels, and for "quadratic" all their products.

    Returns
    -------
    ndarray of int64, shape (n_terms, n_labels)
        1 + n, or 1 + n + n (n + 1) / 2 terms of n labels. The constant comes first.
    """
    highest = {"linear": 1, "quadratic": 2}[degree]
    terms = [term for order in range(highest + 1) for term in combinations_with_replacement(range(n_labels), order)]
    return np.array([[term.count(label) for label in range(n_labels)] for term in terms]).reshape(-1, n_labels)


@dataclass(frozen=True, eq=False)
class Polynomial:
    """Terms of scaled labels.

    Parameters
    ----------
    labels : tuple of str
        Names of the labels.
    powers : ndarray of int64, shape (n_terms, n_labels)
        See `powers_of`; terms of any order will do.
    offsets, scales : ndarray of float64, shape (n_labels,)
        A label's value is the offset and the scale times the scaled label.
    """

    labels: tuple[str, ...]
    powers: NDArray[np.int64]
    offsets: Array
    scales: Array

    @property
    def n_terms(self) -> int:
        """Number of terms, the constant included."""
        return len(self.powers)

    def scaled(self, labels: ArrayLike) -> Array:
        """Scale labels of stars, shape (n_stars, n_labels)."""
        return (np.asarray(labels, dtype=np.float64) - self.offsets) / self.scales

    def unscaled(self, scaled: ArrayLike) -> Array:
        """Give labels of scaled ones, shape (n_stars, n_labels)."""
        return np.asarray(scaled, dtype=np.float64) * self.scales + self.offsets

    def terms(self, scaled: Array) -> Array:
        """Give the terms of stars.

        Parameters
        ----------
        scaled : ndarray of float64, shape (n_stars, n_labels)
            Scaled labels.

        Returns
        -------
        ndarray of float64, shape (n_stars, n_terms)
        """
        found = np.ones((len(scaled), self.n_terms))
        for (terms, powers), raised in zip(self._uses, self._raised(scaled), strict=True):
            found[:, terms] *= raised[:, powers]
        return found

    def gradient(self, scaled: Array) -> Array:
        """Give the derivatives of the terms by the scaled labels, shape (n_stars, n_terms, n_labels)."""
        found = np.zeros((len(scaled), self.n_terms, len(self.labels)))
        raised = self._raised(scaled)
        for label, terms in enumerate(self._slopes):
            for term, factor, power, others in terms:
                value = factor * raised[label][:, power]
                for other, its_power in others:
                    value *= raised[other][:, its_power]
                found[:, term, label] = value
        return found

    def curvature(self, scaled: Array, weights: Array) -> Array:
        """Sum the second derivatives of the terms.

        Parameters
        ----------
        scaled : ndarray of float64, shape (n_stars, n_labels)
            Scaled labels.
        weights : ndarray of float64, shape (n_stars, n_terms)
            What each term counts.

        Returns
        -------
        ndarray of float64, shape (n_stars, n_labels, n_labels)
        """
        n_labels = len(self.labels)
        found = np.zeros((len(scaled), n_labels, n_labels))
        raised = self._raised(scaled)
        for one in range(n_labels):
            for other in range(one, n_labels):
                for term, factor, left in self._twice[one, other]:
                    value = factor * weights[:, term]
                    for label, power in left:
                        value *= raised[label][:, power]
                    found[:, one, other] += value
                found[:, other, one] = found[:, one, other]
        return found

    @cached_property
    def _twice(self) -> dict[tuple[int, int], list[tuple[int, int, list[tuple[int, int]]]]]:
        """For each pair of labels, the terms that have a second derivative: its factor, and the powers in it."""
        found: dict[tuple[int, int], list[tuple[int, int, list[tuple[int, int]]]]] = {}
        for one, other in combinations_with_replacement(range(len(self.labels)), 2):
            found[one, other] = some = []
            for term, powers in enumerate(self.powers):
                left = powers.copy()
                factor = int(left[one])
                left[one] -= 1
                factor *= int(left[other])
                left[other] -= 1
                if factor:
                    some.append((term, factor, [(label, power) for label, power in enumerate(left.tolist()) if power]))
        return found

    def _raised(self, scaled: Array) -> list[Array]:
        """Give, for each label, its powers from 0 to the highest: shape (n_stars, highest + 1)."""
        found = []
        for label, highest in enumerate(self._highest):
            powers = np.ones((len(scaled), highest + 1))
            for power in range(1, highest + 1):
                powers[:, power] = powers[:, power - 1] * scaled[:, label]
            found.append(powers)
        return found

    @cached_property
    def _highest(self) -> list[int]:
        return self.powers.max(axis=0, initial=0).tolist()

    @cached_property
    def _uses(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each label, the terms that have it, and its powers there."""
        return [(terms, self.powers[terms, label]) for label, terms in enumerate(self._terms_with)]

    @cached_property
    def _slopes(self) -> list[list[tuple[int, int, int, list[tuple[int, int]]]]]:
        """For each label, the terms that have it: factor and power of its derivative, and the other labels' powers."""
        found: list[list[tuple[int, int, int, list[tuple[int, int]]]]] = []
        for label, terms in enumerate(self._terms_with):
            some = []
            for term in terms.tolist():
                powers = self.powers[term].tolist()
                others = [(other, power) for other, power in enumerate(powers) if power and other != label]
                some.append((term, powers[label], powers[label] - 1, others))
            found.append(some)
        return found

    @cached_property
    def _terms_with(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(self.powers[:, label]) for label in range(len(self.labels))]


def polynomial_for(
    names: Sequence[str], labels: ArrayLike, degree: Degree = "quadratic", powers: ArrayLike | None = None
) -> Polynomial:
    """Make the polynomial for a training set, with the labels' median as offset and their robust range as scale.

    Parameters
    ----------
    names : sequence of str
        Names of the labels.
    labels : array_like of float, shape (n_stars, n_labels)
        Those of the training set.
    degree : {"linear", "quadratic"}, optional
        Which terms there are, unless `powers` says it.
    powers : array_like of int, shape (n_terms, n_labels), optional
        Terms of one's own.

    Raises
    ------
    CannonError
        If a label isn't finite, or all stars have the same value of one.
    """
    values = np.asarray(labels, dtype=np.float64)
    if not np.isfinite(values).all():
        raise CannonError("the training set has stars without some of the labels; leave them out")
    low, middle, high = np.percentile(values, [16, 50, 84], axis=0)
    scales = (high - low) / 2
    # More than two thirds of the stars may have one value.
    scales = np.where(scales > 0, scales, values.std(axis=0))
    for name, scale, value in zip(names, scales, middle, strict=True):
        if not scale > 1e-9 * max(1.0, abs(value)):
            raise CannonError(f"all stars of the training set have {name} {value:g}: leave this label out")
    chosen = powers_of(len(names), degree) if powers is None else np.array(powers, dtype=np.int64)
    return Polynomial(tuple(names), chosen, middle, scales)
