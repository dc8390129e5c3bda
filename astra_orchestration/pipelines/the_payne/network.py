"""A network that makes normalised spectra of labels, and its derivatives.

Ting et al. 2019 (ApJ 879, 69). Labels are scaled to a box from -0.5 to 0.5, and go through layers of weights, biases
and an activation. The layers may be shared by all pixels, or each pixel may have its own, as in El-Badry et al. 2018
(MNRAS 476, 528).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_models.errors import AstraError

__all__ = ["ACTIVATIONS", "Network", "PayneError"]

Array = NDArray[np.float64]

SLOPE = 0.01
"""Of a leaky rectifier, below zero."""


class PayneError(AstraError, ValueError):
    """A network of The Payne can't be read, or doesn't fit what it is used for."""


Activation = Callable[[Array], tuple[Array, Array | None]]


def _sigmoid(z: Array) -> tuple[Array, Array]:
    value = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
    return value, value * (1 - value)


def _leaky_relu(z: Array) -> tuple[Array, Array]:
    slope = np.where(z > 0, 1.0, SLOPE)
    return z * slope, slope


ACTIVATIONS: Mapping[str, Activation] = {"sigmoid": _sigmoid, "leaky_relu": _leaky_relu}
"""Each gives its values, and their derivatives."""


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Parameters
    ----------
    weights : tuple of ndarray
        Of each layer, shape (n_out, n_in); or, where each pixel has a network of its own, (n_pixels, n_out, n_in), and
        (n_pixels, n_in) of the last one.
    biases : tuple of ndarray
        Of each layer: the shape of the weights without their last axis.
    activation : str
        After each layer but the last: a name in `ACTIVATIONS`.
    labels : tuple of str
        Names of the labels, in the order of the input.
    lower, upper : ndarray of float64, shape (n_labels,)
        The box of labels that it was trained in.
    wavelength : ndarray of float64, shape (n_pixels,)
        Vacuum wavelength at rest, in Angstrom.
    continuum_pixels : ndarray of bool, shape (n_pixels,)
        The pixels that the continuum of its training spectra went through.
    name, checksum : str
        Of its file, and the SHA-256 of it; empty if it has none.
    """

    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any], ...]
    activation: str
    labels: tuple[str, ...]
    lower: Array
    upper: Array
    wavelength: Array
    continuum_pixels: NDArray[np.bool_]
    name: str = ""
    checksum: str = ""

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises
        ------
        PayneError
            If they don't.
        """
        if problem := _problem(self):
            raise PayneError(f"{self.name or 'this'} is no network of The Payne: {problem}")

    def scaled(self, labels: Array) -> Array:
        """Scale labels of shape (n_labels,): the box is from -0.5 to 0.5."""
        return (labels - self.lower) / (self.upper - self.lower) - 0.5

    def unscaled(self, scaled: Array) -> Array:
        """Give labels in their own units."""
        return (scaled + 0.5) * (self.upper - self.lower) + self.lower

    def flux(self, scaled: Array) -> Array:
        """Give the normalised flux at scaled labels, shape (n_pixels,)."""
        value = np.asarray(scaled, dtype=np.float64)
        for weight, bias, activate in self._layers:
            value = activate(_through(weight, value) + bias)[0]
        return value

    def flux_and_slopes(self, scaled: Array) -> tuple[Array, Array]:
        """Give the normalised flux, and its derivatives by the scaled labels.

        Parameters
        ----------
        scaled : ndarray of float64, shape (n_labels,)
            Scaled labels.

        Returns
        -------
        flux : ndarray of float64, shape (n_pixels,)
        slopes : ndarray of float64, shape (n_pixels, n_labels)
        """
        value, slopes = np.asarray(scaled, dtype=np.float64), None
        for weight, bias, activate in self._layers:
            slopes = weight if slopes is None else _slopes_through(weight, slopes)
            value, bend = activate(_through(weight, value) + bias)
            if bend is not None:
                slopes = bend[..., None] * slopes
        assert slopes is not None
        return value, slopes

    @cached_property
    def _layers(self) -> list[tuple[Array, Array, Activation]]:
        """Weights and biases as they are calculated with, and what comes after."""
        activations = [ACTIVATIONS[self.activation]] * (len(self.weights) - 1) + [_as_it_is]
        pairs = zip(self.weights, self.biases, activations, strict=True)
        return [(np.ascontiguousarray(w, dtype=np.float64), b.astype(np.float64), after) for w, b, after in pairs]


def _as_it_is(z: Array) -> tuple[Array, None]:
    return z, None


def _through(weight: Array, value: Array) -> Array:
    """Multiply values by the weights of a layer: those of all pixels, or of each."""
    if value.ndim == 1:  # the labels, or a layer that pixels share
        return (weight.reshape(-1, weight.shape[-1]) @ value).reshape(weight.shape[:-1])
    return np.einsum("p...i,pi->p...", weight, value)


def _slopes_through(weight: Array, slopes: Array) -> Array:
    if slopes.ndim == 2:
        return weight @ slopes
    return np.einsum("p...i,pik->p...k", weight, slopes)


def _problem(network: Network) -> str | None:
    return _problem_of_labels(network) or _problem_of_pixels(network) or _problem_of_layers(network)


def _problem_of_labels(network: Network) -> str | None:
    n_labels = len(network.labels)
    if network.lower.shape != (n_labels,) or network.upper.shape != (n_labels,) or not n_labels:
        return f"its box has {network.lower.size} and {network.upper.size} ends for {n_labels} labels"
    if not (np.isfinite(network.lower).all() and (network.lower < network.upper).all()):
        return "its box has a label whose range isn't one"
    return "it has a label twice" if len(set(network.labels)) < n_labels else None


def _problem_of_pixels(network: Network) -> str | None:
    if not np.isfinite(network.wavelength).all() or not (np.diff(network.wavelength) > 0).all():
        return "its wavelengths don't increase"
    n_pixels, n_marks = len(network.wavelength), network.continuum_pixels.size
    if network.continuum_pixels.shape != (n_pixels,):
        return f"it has {n_marks} marks of the continuum for {n_pixels} wavelengths"
    return None


def _problem_of_layers(network: Network) -> str | None:
    if network.activation not in ACTIVATIONS:
        return f"its activation is {network.activation!r}; this version has {', '.join(ACTIVATIONS)}"
    if not network.weights or len(network.weights) != len(network.biases):
        return f"it has {len(network.weights)} layers of weights and {len(network.biases)} of biases"
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        if weight.ndim < 2 or bias.shape != weight.shape[:-1]:
            return f"layer {place} has weights of shape {weight.shape} and biases of shape {bias.shape}"
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return f"layer {place} has values that aren't finite"
    try:
        flux, _ = network.flux_and_slopes(np.zeros(len(network.labels)))
    except ValueError:
        return f"its layers don't fit together: {', '.join(str(weight.shape) for weight in network.weights)}"
    n_pixels = len(network.wavelength)
    return None if flux.shape == (n_pixels,) else f"it gives {flux.size} pixels, and has {n_pixels} wavelengths"
