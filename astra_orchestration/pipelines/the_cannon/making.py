"""A whole model of a training set: terms, coefficients, cross-validation, and what it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .model import CannonModel, starts_among
from .polynomial import Array, CannonError, Degree, Polynomial, polynomial_for
from .training import Coefficients, Mask, Pixels, find_prior, train
from .validation import FOLDS, CrossValidation, cross_validate

Windows = Mapping[str, Sequence[tuple[float, float]]]
"""First and last wavelength (vacuum Angstrom) of the stretches in which a label may be used, by label."""


class Hashed(Pixels, Protocol):
    """Normalised spectra that have a hash."""

    @property
    def sha256(self) -> str:
        """Hash of the pixels."""
        ...


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Stars whose labels are known.

    Parameters
    ----------
    names, units : tuple of str
        Labels.
    labels : ndarray of float64, shape (n_stars, n_labels)
        Their values.
    pixels : Pixels
        Normalised spectra, in the same order.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelength at rest, in Angstrom.
    continuum : str
        How they were normalised.
    source : mapping
        Where labels and spectra are from, for the model's provenance.
    left_out : tuple of str
        What was left out, and why: sentences for an operator.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: Array
    pixels: Hashed
    wavelength: Array
    continuum: str
    source: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def train_model(
    known: TrainingSet,
    *,
    degree: Degree = "quadratic",
    windows: Windows | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[CannonModel, CrossValidation]:
    """Train a model, and cross-validate it.

    Parameters
    ----------
    known : TrainingSet
        Stars whose labels are known.
    degree : {"linear", "quadratic"}
        Terms of the labels.
    windows : mapping, optional
        Where labels may be used; one that isn't named may be used everywhere.
    folds, seed : int
        Of the cross-validation.
    say : callable
        Called with what is being done.

    Returns
    -------
    model : CannonModel
        The model of all stars, with the error model that cross-validation found.
    validation : CrossValidation
        What it found.

    Raises
    ------
    CannonError
        If there are too few stars, all have the same value of a label, or a window is of an unknown label.
    """
    polynomial = polynomial_for(known.names, known.labels, degree)
    n_stars = len(known.labels)
    if n_stars < least_stars(polynomial.n_terms, folds):
        raise CannonError(
            f"{n_stars} stars can't tell {polynomial.n_terms} terms of {len(known.names)} labels apart, with "
            f"cross-validation in {folds} parts: {least_stars(polynomial.n_terms, folds)} are needed; take more stars, "
            "fewer labels (--label), or --degree linear"
        )
    scaled = polynomial.scaled(known.labels)
    terms = polynomial.terms(scaled)
    allowed = None if not windows else censored(polynomial, known.wavelength, windows)
    prior = find_prior(terms, known.pixels, allowed=allowed)
    say(f"{n_stars} stars, {len(known.wavelength)} pixels, {polynomial.n_terms} terms of {', '.join(known.names)}")
    whole = train(terms, known.pixels, allowed=allowed, prior=prior)
    if not np.isfinite(whole.scatter).any():
        raise CannonError("no pixel has enough good stars; the spectra of the training set may have no flux")
    starts = starts_among(scaled)
    say(f"cross-validation in {folds} parts")
    validation = cross_validate(
        polynomial,
        known.labels,
        known.pixels,
        whole,
        starts,
        allowed=allowed,
        prior=prior,
        folds=folds,
        seed=seed,
    )
    return _model(known, polynomial, whole, validation, scaled, starts, windows), validation


def least_stars(n_terms: int, folds: int = FOLDS) -> int:
    """Give how many stars a model needs: those outside of each part have to be more than the terms."""
    n_stars = n_terms + 1
    while n_stars - -(-n_stars // folds) <= n_terms:
        n_stars += 1
    return n_stars


def censored(polynomial: Polynomial, wavelength: Array, windows: Windows) -> Mask:
    """Say which terms may be used at which pixels (Casey et al. 2016, arXiv:1603.03040, section 2.3).

    Parameters
    ----------
    polynomial : Polynomial
        The terms.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelength in Angstrom.
    windows : mapping
        Where labels may be used. At other pixels, all terms that hold one of them are zero.

    Returns
    -------
    ndarray of bool, shape (n_pixels, n_terms)

    Raises
    ------
    CannonError
        If a window is of an unknown label, or has no pixel.
    """
    allowed = np.ones((len(wavelength), polynomial.n_terms), dtype=bool)
    for name, stretches in windows.items():
        if name not in polynomial.labels:
            raise CannonError(
                f"there are windows of {name}, which is none of the labels {', '.join(polynomial.labels)}"
            )
        inside = np.any([(wavelength >= first) & (wavelength <= last) for first, last in stretches], axis=0)
        if not inside.any():
            raise CannonError(
                f"the windows of {name} have no pixel of the spectra; they are vacuum wavelengths in Angstrom"
            )
        uses = polynomial.powers[:, polynomial.labels.index(name)] > 0
        allowed &= inside[:, None] | ~uses
    return allowed


def _model(
    known: TrainingSet,
    polynomial: Polynomial,
    whole: Coefficients,
    validation: CrossValidation,
    scaled: Array,
    starts: Array,
    windows: Windows | None,
) -> CannonModel:
    digest = hashlib.sha256(np.ascontiguousarray(known.labels, dtype="<f8").tobytes())
    digest.update(known.pixels.sha256.encode("ascii"))

    def by_label(values: Array) -> dict[str, float]:
        return {name: float(f"{value:.6g}") for name, value in zip(known.names, values, strict=True)}

    provenance = {
        "training set": {"stars": len(scaled), "sha256": digest.hexdigest(), **known.source},
        "cross-validation": {
            "bias": by_label(validation.bias),
            "spread": by_label(validation.spread),
            "factor of errors": by_label(validation.factors),
            "floor of errors": by_label(validation.floors),
        },
        "windows": {name: [list(one) for one in some] for name, some in (windows or {}).items()},
        "versions": {"numpy": np.__version__},
    }
    return CannonModel(
        polynomial,
        whole,
        known.wavelength,
        known.units,
        validation.factors,
        validation.floors,
        scaled,
        starts,
        known.continuum,
        provenance,
    )
