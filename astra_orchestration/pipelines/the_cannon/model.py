"""A trained model, and what it says of spectra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .hull import Hull
from .labelling import Labelled, find_labels, sums_of
from .polynomial import Array, CannonError, Polynomial
from .training import Coefficients

CHUNK_BYTES, PIXEL_BYTES = 32_000_000, 4_000_000
"""Of the sums, and of an array of pixels, of spectra that are labelled together."""

N_STARTS = 6
"""Points of the training set that the search for labels may begin at."""


class Answer(NamedTuple):
    """Labels of spectra, with errors as cross-validation found them.

    Attributes
    ----------
    found : Labelled
        Labels, formal covariance, chi-squared and how the search went.
    errors : ndarray of float64, shape (n_spectra, n_labels)
        As cross-validation found them: formal errors times the model's factors, with its floors.
    outside : ndarray of bool, shape (n_spectra,)
        Whether the labels are outside the convex hull of the training set by more than their errors.
    """

    found: Labelled
    errors: Array
    outside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CannonModel:
    """A model of The Cannon.

    Parameters
    ----------
    polynomial : Polynomial
        Terms, names and scales of the labels.
    coefficients : Coefficients
        Of each pixel.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelength in Angstrom.
    units : tuple of str
        Units of the labels.
    factors, floors : ndarray of float64, shape (n_labels,)
        What formal errors are multiplied by, and what is added in quadrature.
    stars : ndarray of float, shape (n_stars, n_labels)
        Scaled labels of the training set.
    starts : ndarray of float64, shape (n_starts, n_labels)
        Scaled labels at which the search may begin.
    continuum : str
        How spectra were normalised: see `continuum.VERSION`.
    provenance : mapping
        What it was made from: hash of the training set, cross-validation, versions.
    name : str
        Name of its file; empty if it has none.
    checksum : str
        SHA-256 of its file; empty if it has none.
    """

    polynomial: Polynomial
    coefficients: Coefficients
    wavelength: Array
    units: tuple[str, ...]
    factors: Array
    floors: Array
    stars: Array
    starts: Array
    continuum: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    checksum: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.polynomial.labels

    @cached_property
    def hull(self) -> Hull:
        """The convex hull of the training set."""
        return Hull(np.asarray(self.stars, dtype=np.float64))

    def label(self, flux: NDArray[Any], ivar: NDArray[Any]) -> Answer:
        """Find the labels of spectra.

        Parameters
        ----------
        flux, ivar : ndarray of float, shape (n_spectra, n_pixels)
            Normalised flux on the model's wavelengths, and its inverse variance: 0 where a pixel isn't to be used.

        Raises
        ------
        CannonError
            If the spectra haven't as many pixels as the model.
        """
        if flux.shape[1:] != self.wavelength.shape or flux.shape != ivar.shape:
            raise CannonError(
                f"spectra of shape {flux.shape} (flux) and {ivar.shape} (ivar) don't fit a model of "
                f"{self.wavelength.size} pixels"
            )
        parts = [
            find_labels(self.polynomial, sums_of(self.coefficients, flux[some], ivar[some]), self.starts)
            for some in _chunks(len(flux), self.polynomial.n_terms, self.wavelength.size)
        ]
        found = joined(parts, len(self.labels))
        errors = np.hypot(found.errors * self.factors, self.floors)
        outside = ~self.hull.holds(self.polynomial.scaled(found.labels), errors / self.polynomial.scales)
        return Answer(found, errors, outside)

    def model_flux(self, labels: Array) -> Array:
        """Give the model's normalised flux at labels of shape (n_spectra, n_labels): shape (n_spectra, n_pixels).

        NaN where the model doesn't know the pixel.
        """
        flux = self.polynomial.terms(self.polynomial.scaled(labels)) @ self.coefficients.theta.T
        flux[:, ~np.isfinite(self.coefficients.scatter)] = np.nan
        return flux


def _chunks(n_spectra: int, n_terms: int, n_pixels: int) -> Iterator[slice]:
    """Give slices of spectra whose sums take `CHUNK_BYTES` at most, and an array of pixels `PIXEL_BYTES`."""
    size = max(1, min(8192, CHUNK_BYTES // (8 * n_terms * n_terms), PIXEL_BYTES // (8 * n_pixels)))
    for first in range(0, n_spectra, size):
        yield slice(first, min(first + size, n_spectra))


def joined(parts: list[Labelled], n_labels: int) -> Labelled:
    """Put labels of several batches of spectra one after the other."""
    if parts:
        return Labelled._make(np.concatenate(column) for column in zip(*parts, strict=True))
    none, number, yes = np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    return Labelled(np.empty((0, n_labels)), np.empty((0, n_labels, n_labels)), none, number, number, number, yes)


def starts_among(scaled: Array, number: int = N_STARTS) -> Array:
    """Choose points of a training set that are far from each other, the middle first, and none at its very edge.

    Parameters
    ----------
    scaled : ndarray of float64, shape (n_stars, n_labels)
        Scaled labels of the training set.
    """
    low, high = np.percentile(scaled, [5, 95], axis=0)
    inner = scaled[((scaled >= low) & (scaled <= high)).all(axis=1)]
    chosen = [np.zeros(scaled.shape[1])]
    distance = np.full(len(inner), np.inf)
    while len(chosen) < number and len(inner):
        distance = np.minimum(distance, ((inner - chosen[-1]) ** 2).sum(axis=1))
        if not distance.max() > 0:
            break
        chosen.append(inner[np.argmax(distance)])
    return np.array(chosen)
