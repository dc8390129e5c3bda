"""Whether labels are inside the convex hull of a training set's: outside, a model extrapolates.

With few labels the hull is a list of planes. With many it has too many of them; a point is then inside if the training
set's stars can be weighted so that their mean is there, which non-negative least squares finds out (Lawson and Hanson
1974, chapter 23).

The hull of few stars in many labels is next to nothing: of 40 stars and six labels, nine of ten stars of the same kind
are outside. So the hull is that of the leading labels, as many as the training set can fill; the others have to be in
its range.
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
    n_leading : int, optional
        How many of the labels, from the first on, the hull is of; by default `leading_labels`.
    """

    def __init__(self, points: Array, n_leading: int | None = None):
        self._points = np.asarray(points, dtype=np.float64)
        n_labels = self._points.shape[1]
        self.n_leading = min(leading_labels(len(self._points)) if n_leading is None else n_leading, n_labels)

    def holds(self, scaled: Array, errors: Array | None = None) -> NDArray[np.bool_]:
        """Tell which points are inside, or outside by no more than their errors.

        Parameters
        ----------
        scaled : ndarray of float64, shape (n_spectra, n_labels)
            Scaled labels; one with NaN is outside.
        errors : ndarray of float64, shape (n_spectra, n_labels), optional
            Their errors.
        """
        around = np.full_like(scaled, TOLERANCE) if errors is None else np.maximum(np.nan_to_num(errors), TOLERANCE)
        low, high = self._points.min(axis=0), self._points.max(axis=0)
        inside = ((scaled >= low - around) & (scaled <= high + around)).all(axis=1)
        some = np.flatnonzero(inside)
        leading, around = scaled[some, : self.n_leading], around[some, : self.n_leading]
        if self._planes is not None:
            normals, offsets = self._planes
            inside[some] = (leading @ normals.T + offsets <= np.sqrt(around**2 @ normals.T**2)).all(axis=1)
        elif self.n_leading > 1:
            inside[some] = [self._is_mean_of_stars(*pair) for pair in zip(leading, around, strict=True)]
        return inside

    @cached_property
    def _planes(self) -> tuple[Array, Array] | None:
        from scipy.spatial import ConvexHull, QhullError

        if not 1 < self.n_leading <= MOST_LABELS:
            return None
        try:
            equations = ConvexHull(self._points[:, : self.n_leading]).equations
        except QhullError:  # too few points, or all in one plane
            return None
        return equations[:, :-1], equations[:, -1]

    def _is_mean_of_stars(self, point: Array, around: Array) -> bool:
        from scipy.optimize import nnls

        # In units of the errors. The last row asks for weights that add up to one.
        rows = self._points[:, : self.n_leading].T / around[:, None]
        matrix = np.concatenate([rows, np.full((1, len(self._points)), 1 / TOLERANCE)])
        _, residual = nnls(matrix, np.append(point / around, 1 / TOLERANCE))
        return bool(residual < 1)


def leading_labels(n_stars: int) -> int:
    """Give in how many labels stars fill a hull: five stars for each corner of a box, and two labels at least."""
    return max(2, int(np.log2(max(n_stars, 1) / 5)))
