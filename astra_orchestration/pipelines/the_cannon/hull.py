"""Whether labels are inside the convex hull of a training set's: outside, a model extrapolates.

With few labels the hull is a list of planes. With many it has too many of them; a point is then inside if the training
set's stars can be weighted so that their mean is there, which non-negative least squares finds out (Lawson and Hanson
1974, chapter 23).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .polynomial import Array

MOST_LABELS = 4
"""Labels up to which the hull is made of planes."""

TOLERANCE = 1e-6
"""Of scaled labels: the training set's own stars are inside."""


class Hull:
    """The convex hull of points.

    Parameters
    ----------
    points : ndarray of float64, shape (n_points, n_labels)
        Scaled labels of the training set.
    """

    def __init__(self, points: Array):
        self._points = np.asarray(points, dtype=np.float64)

    def holds(self, scaled: Array) -> NDArray[np.bool_]:
        """Tell which points are inside.

        Parameters
        ----------
        scaled : ndarray of float64, shape (n_spectra, n_labels)
            Scaled labels; one with NaN is outside.
        """
        low, high = self._points.min(axis=0) - TOLERANCE, self._points.max(axis=0) + TOLERANCE
        inside = ((scaled >= low) & (scaled <= high)).all(axis=1)
        some = np.flatnonzero(inside)
        if self._planes is not None:
            normals, offsets = self._planes
            inside[some] = (scaled[some] @ normals.T + offsets <= TOLERANCE).all(axis=1)
        elif scaled.shape[1] > 1:
            inside[some] = [self._is_mean_of_stars(point) for point in scaled[some]]
        return inside

    @cached_property
    def _planes(self) -> tuple[Array, Array] | None:
        from scipy.spatial import ConvexHull, QhullError

        if not 1 < self._points.shape[1] <= MOST_LABELS:
            return None
        try:
            equations = ConvexHull(self._points).equations
        except QhullError:  # too few points, or all in one plane
            return None
        return equations[:, :-1], equations[:, -1]

    def _is_mean_of_stars(self, point: Array) -> bool:
        from scipy.optimize import nnls

        # The last row asks for weights that add up to one.
        matrix = np.concatenate([self._points.T, np.ones((1, len(self._points)))])
        _, residual = nnls(matrix, np.append(point, 1.0))
        return bool(residual < 10 * TOLERANCE)
