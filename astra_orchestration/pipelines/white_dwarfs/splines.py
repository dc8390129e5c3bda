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
    near = knots[span + 1 - degree : span + 1 + degree].tolist()  # plain numbers: there are six, and arrays cost more
    weights, lower = [1.0], [1.0]
    for order in range(1, degree + 1):
        lower = weights
        pairs = list(zip(near[degree - order : degree], near[degree : degree + order], lower, strict=True))
        shares = [weight / (right - left) for left, right, weight in pairs]
        up = [share * (right - position) for share, (_, right, _) in zip(shares, pairs, strict=True)]
        down = [share * (position - left) for share, (left, _, _) in zip(shares, pairs, strict=True)]
        weights = [a + b for a, b in zip([*up, 0.0], [0.0, *down], strict=True)]
    ends = zip(near[:degree], near[degree:], lower, strict=True)
    shares = [degree * weight / (right - left) for left, right, weight in ends]
    slopes = [b - a for a, b in zip([*shares, 0.0], [0.0, *shares], strict=True)]
    return slice(span - degree, span + 1), np.array([weights, slopes])


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
