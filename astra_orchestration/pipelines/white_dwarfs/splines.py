"""The splines by which a grid is interpolated: their coordinate in temperature, knots and weights."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

Value = TypeVar("Value", float, Array)


def heat(teff: Value) -> Value:
    """Coordinate of the interpolation in temperature (K): increases with it, and is linear in its inverse."""
    return -5040.0 / teff


def degree_of(nodes: Array) -> int:
    """Give the degree of the spline through `nodes`: cubic where there are enough."""
    return min(3, nodes.size - 1)


def knots_of(nodes: Array) -> tuple[Array, int]:
    """Knots and degree of the interpolating spline on `nodes`."""
    from scipy.interpolate import make_interp_spline

    degree = degree_of(nodes)
    return np.asarray(make_interp_spline(nodes, nodes, k=degree).t), degree


def basis_at(knots: Array, degree: int, position: float) -> tuple[slice, Array]:
    """Find which coefficients a position needs; weights for value and derivative of shape (2, degree + 1)."""
    last = knots.size - degree - 2
    span = int(np.clip(np.searchsorted(knots, position, side="right") - 1, degree, last))
    weights, lower = np.ones(1), np.ones(1)
    for order in range(1, degree + 1):
        lower = weights
        right = knots[span + 1 : span + 1 + order]
        left = knots[span + 1 - order : span + 1]
        share = lower / (right - left)
        weights = np.append(share * (right - position), 0.0) + np.append(0.0, share * (position - left))
    share = degree * lower / (knots[span + 1 : span + 1 + degree] - knots[span + 1 - degree : span + 1])
    slopes = np.append(-share, 0.0) + np.append(0.0, share)
    return slice(span - degree, span + 1), np.stack([weights, slopes])


def uniform_weights(position: Array) -> tuple[Array, Array, NDArray[np.intp]]:
    """Cubic B-spline weights on a uniform axis.

    Parameters
    ----------
    position : ndarray of float64, shape (n_pixels,)
        Positions in steps of the axis, from its first point.

    Returns
    -------
    weights, slopes : ndarray of float64, shape (4, n_pixels)
        Weights of the four coefficients around each position, for the value and for its derivative per step.
    first : ndarray of int, shape (n_pixels,)
        Index of the first of the four coefficients.
    """
    whole = np.floor(position)
    t = position - whole
    u = 1.0 - t
    weights = np.stack([u**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * u**2 + 3 * u**3, t**3]) / 6
    slopes = np.stack([-(u**2), 3 * t**2 - 4 * t, 4 * u - 3 * u**2, t**2]) / 2
    return weights, slopes, whole.astype(np.intp) - 1
