"""A random forest as plain arrays: read from an npz file, and asked with NumPy alone.

Each tree is a row of nodes in one long list. A spectrum walks down all trees at once; the leaf that it reaches says in
which shares the training spectra there were of each class, and the mean over the trees is the forest's word. Then the
probabilities are calibrated: forests are too modest.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra_models.errors import AstraError
from astra_models.snow_white import CLASSES
from astra_orchestration.pipelines.npz import npz_bytes, write_whole
from astra_orchestration.pipelines.white_dwarfs.registry import DIGITS

from .features import N_FEATURES
from .labels import NOT_WHITE_DWARF

Array = NDArray[np.floating[Any]]

FORMAT = 1
"""Of the file."""

LEAST = 1e-3
"""What is added to a share before its logarithm is taken: no tree's word is a certainty."""

CHUNK = 64
"""Spectra that walk through the forest together: their nodes fit into the cache of a core."""

_ARRAYS = ("feature", "threshold", "left", "right", "counts", "roots", "classes", "class_weight", "slope", "offset")


class ClassifierError(AstraError, ValueError):
    """A classifier that can't be found, read or used."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A calibrated random forest.

    Parameters
    ----------
    feature : ndarray of int16, shape (n_nodes,)
        Which feature a node asks for; -1 at a leaf.
    threshold : ndarray of float32, shape (n_nodes,)
        Up to which value a spectrum goes to the left.
    left, right : ndarray of int32, shape (n_nodes,)
        The nodes that follow; at a leaf, `left` is its row of `counts`.
    counts : ndarray of int, shape (n_leaves, n_classes)
        Training spectra of each class in the leaves.
    roots : ndarray of int32, shape (n_trees,)
        The first node of each tree.
    classes : tuple of str
        The names of the classes.
    class_weight : ndarray of float64, shape (n_classes,)
        What a training spectrum of a class counts.
    slope : float
        Of the calibration.
    offset : ndarray of float64, shape (n_classes,)
        Of the calibration.
    provenance : mapping
        What it was made from: grids with their checksums, seed, versions, date, counts, cross-validation.
    name : str
        What it is called in results.
    checksum : str
        SHA-256 of its file; empty if it isn't from one.

    Notes
    -----
    Calibrated probabilities are proportional to ``exp(slope * log(p + 0.001) + offset)``.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    counts: NDArray[np.integer[Any]]
    roots: NDArray[np.int32]
    classes: tuple[str, ...]
    class_weight: Array
    slope: float
    offset: Array
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "snow_white"
    checksum: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.checksum[:DIGITS]}" if self.checksum else self.name

    def probabilities(self, features: ArrayLike) -> Array:
        """Give calibrated probabilities.

        Parameters
        ----------
        features : array_like of float, shape (n_spectra, n_features)
            What `features.features` gives.

        Returns
        -------
        ndarray of float64, shape (n_spectra, n_classes)
            They add up to one.
        """
        return calibrated(self.shares(features), self.slope, self.offset)

    def shares(self, features: ArrayLike) -> Array:
        """Give the mean over all trees of the shares in their leaves: shape (n_spectra, n_classes)."""
        values = np.ascontiguousarray(features, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] <= self.feature.max(initial=-1):
            raise ClassifierError(
                f"features have shape {values.shape}; {self.name} needs (n_spectra, {N_FEATURES}): make them with "
                "features.features"
            )
        parts = [self._shares(values[first : first + CHUNK]) for first in range(0, len(values), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)))

    def _shares(self, values: NDArray[np.float32]) -> Array:
        spectra = np.arange(len(values))[:, None]
        nodes = np.broadcast_to(self.roots, (len(values), self.roots.size))
        for _ in range(self.depth or 0):
            # A leaf asks for feature -1, the last, and leads back to itself whatever that says.
            goes_left = values[spectra, self.feature[nodes]] <= self.threshold[nodes]
            nodes = np.where(goes_left, self._next[0][nodes], self._next[1][nodes])
        return self._leaves[self.left[nodes]].mean(axis=1)

    @cached_property
    def _next(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        here, is_leaf = np.arange(self.feature.size, dtype=np.int32), self.feature < 0
        return np.where(is_leaf, here, self.left), np.where(is_leaf, here, self.right)

    @cached_property
    def depth(self) -> int | None:
        """Steps after which every spectrum is in a leaf; None if some never are."""
        nodes, depth = self.roots, 0
        while (inner := np.unique(nodes[self.feature[nodes] >= 0])).size:
            nodes = np.concatenate([self.left[inner], self.right[inner]])
            depth += 1
            if depth > self.feature.size:
                return None
        return depth

    @cached_property
    def _leaves(self) -> Array:
        weighted = self.counts * self.class_weight
        return weighted / weighted.sum(axis=1, keepdims=True)


def calibrated(shares: Array, slope: float, offset: Array) -> Array:
    """Turn a forest's shares into probabilities, both of shape (n_spectra, n_classes)."""
    logits = slope * np.log(shares + LEAST) + offset
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def save_classifier(classifier: Classifier, path: str | Path) -> str:
    """Write a classifier, the same bytes for the same classifier, and give the SHA-256 of the file."""
    return write_whole(classifier_bytes(classifier), path)


def classifier_bytes(classifier: Classifier) -> bytes:
    """Give the content of a classifier's npz file."""
    values: dict[str, ArrayLike] = {name: getattr(classifier, name) for name in _ARRAYS}
    values["format"] = FORMAT
    values["name"] = classifier.name
    values["provenance"] = json.dumps(dict(classifier.provenance), sort_keys=True)
    return npz_bytes(values)


def load_classifier(path: str | Path) -> Classifier:
    """Read a classifier.

    Parameters
    ----------
    path : str or Path
        An npz file that training wrote. Nothing in it is unpickled.

    Raises
    ------
    ClassifierError
        If there is no such file, or it holds no classifier.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ClassifierError(
            f"the classifier {str(path)!r} can't be read ({error.strerror}); name a file that `astra train snow_white` "
            "wrote, or none for the one that comes with the package"
        ) from error
    checksum = hashlib.sha256(content).hexdigest()
    values = _arrays_in(content, path)
    missing = [name for name in (*_ARRAYS, "format", "name", "provenance") if name not in values]
    if missing:
        raise ClassifierError(f"{path}: {', '.join(missing)} missing; train the classifier again")
    if int(values["format"]) != FORMAT:
        raise ClassifierError(
            f"{path} has format {values['format']}, and {FORMAT} is known; train the classifier again"
        )
    arrays: dict[str, Any] = {name: values[name] for name in _ARRAYS}
    found = Classifier(
        **arrays
        | {
            "classes": tuple(map(str, values["classes"].tolist())),
            "slope": float(values["slope"]),
            "provenance": json.loads(str(values["provenance"])),
            "name": str(values["name"]),
            "checksum": checksum,
        }
    )
    _check(found, path)
    return found


def _arrays_in(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    from zipfile import BadZipFile
    from zlib import error as damaged

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, damaged) as error:
        raise ClassifierError(
            f"{path} can't be read as a classifier ({error}); name a file that `astra train snow_white` wrote"
        ) from error


def _check(found: Classifier, path: Path) -> None:
    """Make sure that no walk can leave the arrays."""
    n_nodes, n_classes = found.feature.size, len(found.classes)
    is_leaf = found.feature < 0
    fits = (
        all(getattr(found, name).shape == (n_nodes,) for name in ("threshold", "left", "right"))
        and found.counts.ndim == 2
        and found.counts.shape[1:] == found.class_weight.shape == found.offset.shape == (n_classes,)
        and found.roots.size > 0
        and bool(np.all((found.roots >= 0) & (found.roots < n_nodes)))
        and bool(np.all((found.left >= 0) & (found.left < np.where(is_leaf, len(found.counts), n_nodes))))
        and bool(np.all(is_leaf | ((found.right >= 0) & (found.right < n_nodes))))
        and bool(np.all(found.feature < N_FEATURES))
        and bool(np.all(found.counts.sum(axis=1) > 0))
    )
    if not fits:
        raise ClassifierError(f"{path}: its arrays don't fit together; train the classifier again")
    if unknown := set(found.classes) - {*CLASSES, NOT_WHITE_DWARF}:
        raise ClassifierError(f"{path}: there is no column for its class {sorted(unknown)[0]!r}; train it again")
    if found.depth is None:
        raise ClassifierError(f"{path}: its trees go round in circles; train the classifier again")
