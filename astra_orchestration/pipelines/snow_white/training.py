"""Training of the classifier: synthetic spectra, labelled ones, a random forest, and its calibration.

The same grids, seed and versions give the same file, to the byte. scikit-learn grows the trees; what comes out needs
NumPy alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra_models.analysis.recipe import content_digest
from astra_models.snow_white import CLASSES
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.registry import BUILT_IN, find_grid, resolve_grid

from . import other_stars, white_dwarfs
from .features import N_FEATURES, features
from .forest import LEAST, Classifier, ClassifierError, calibrated, save_classifier
from .labelled import Labelled, features_of_file, read_labelled
from .labels import NOT_WHITE_DWARF
from .observing import Array, observe
from .white_dwarfs import Atmospheres, Maker

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

N_TREES = 240
MAX_SAMPLES = 3000
FOLDS = 5
FOLD_TREES = 100
"""Trees of the forests of the cross-validation, which are smaller."""

SEED = 1
LOW_GRAVITY_GRID = "da_low_gravity"
"""The registered grid that stars of lower gravity are made of, if there is one."""

BEFORE = {"DA": 0.2, NOT_WHITE_DWARF: 0.35}
"""How probable some classes are before a spectrum is looked at; the others share what is left. A tree sees as many."""

OFFSET_PRIOR = 0.5
"""Width of the prior on the offsets of the calibration: there are as many as classes, and they should be small."""


@dataclass(frozen=True)
class Kind:
    """What is drawn for a class.

    Parameters
    ----------
    label : str
        The class.
    name : str
        What this kind of its spectra is called.
    number : int
        How many are drawn.
    make : callable
        Makes the flux of one.
    convolve : bool
        Whether it needs the resolution of the spectrograph.
    """

    label: str
    name: str
    number: int
    make: Maker
    convolve: bool = True


class TrainingSet(NamedTuple):
    """What a forest is trained on."""

    features: NDArray[np.float32]
    """Shape (n_spectra, n_features)."""
    labels: NDArray[np.str_]
    """Shape (n_spectra,)."""
    kinds: dict[str, int]
    """How many there are of each kind."""


def kinds_of(atmospheres: Atmospheres | None, low_gravity: Atmospheres | None) -> list[Kind]:
    """List what is drawn, from the grids that there are."""
    others = (
        (700, other_stars.a_star), (300, other_stars.b_star), (400, other_stars.f_star), (300, other_stars.g_star),
        (450, other_stars.k_star), (700, other_stars.m_dwarf), (1100, other_stars.hot_subdwarf),
        (150, other_stars.active),
    )  # fmt: skip
    plain = (("DB", white_dwarfs.db), ("DC", white_dwarfs.dc), ("DZ", white_dwarfs.dz), ("DQ", white_dwarfs.dq))
    pair = partial(white_dwarfs.da_with_companion, m_maker=other_stars.m_dwarf)
    kinds = [Kind(label, make.__name__, 500, make) for label, make in plain]
    kinds += [Kind(NOT_WHITE_DWARF, make.__name__, number, make) for number, make in others]
    kinds += [Kind("DA", "da_of_family", 500, white_dwarfs.da_of_family, convolve=False)]
    if atmospheres:
        maker, convolve = white_dwarfs.da(atmospheres), not atmospheres.is_seen
        kinds += [Kind("DA", "da_of_grid", 1600, maker, convolve), Kind("DA/MS", "da_with_companion", 700, pair(maker))]
    else:
        kinds += [Kind("DA/MS", "da_with_companion", 700, pair(white_dwarfs.da_of_family))]
    if low_gravity:
        maker = other_stars.of_low_gravity(low_gravity)
        kinds += [Kind(NOT_WHITE_DWARF, "of_low_gravity", 900, maker, not low_gravity.is_seen)]
    return kinds


def draw(kinds: Sequence[Kind], seed: int = SEED) -> TrainingSet:
    """Draw synthetic spectra, each from random numbers of its own."""
    rows, labels = [], []
    for kind in kinds:
        # The name, not the place: another kind in the list leaves the spectra of the others as they are.
        key = int.from_bytes(hashlib.sha256(kind.name.encode()).digest()[:4])
        for number in range(kind.number):
            random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(key, number))))
            rows.append(features(*observe(kind.make(random), random, convolve=kind.convolve)))
            labels.append(kind.label)
    return TrainingSet(np.array(rows), np.array(labels), {kind.name: kind.number for kind in kinds})


def train(
    grid: str | Path | None = None,
    low_gravity: str | Path | None = None,
    labelled: Iterable[Labelled] = (),
    *,
    seed: int = SEED,
    n_trees: int = N_TREES,
    share: float = 1.0,
) -> Classifier:
    """Train a classifier.

    Parameters
    ----------
    grid : str or Path, optional
        A grid of model atmospheres of DAs (`white_dwarfs.files.load_grid`); without one, the DAs are of the built-in
        family alone.
    low_gravity : str or Path, optional
        A grid of models of log g 5 to 5.6, for stars that are no white dwarfs.
    labelled : iterable of Labelled, optional
        Spectra whose classes are known. They may have classes of which no synthetic spectra are made.
    seed : int, optional
        Of the random numbers.
    n_trees : int, optional
        Trees of the forest.
    share : float, optional
        Share of the usual number of synthetic spectra, for a trial.

    Returns
    -------
    Classifier
        With probabilities that were calibrated by five-fold cross-validation.

    Raises
    ------
    ClassifierError
        If scikit-learn isn't installed, a class is unknown, or a labelled spectrum can't be used.
    TemplateError
        If a grid can't be read.
    """
    sklearn_version = _require_sklearn()
    atmospheres = [Atmospheres(load_grid(path)) if path else None for path in (grid, low_gravity)]
    kinds = [
        Kind(kind.label, kind.name, max(10, round(kind.number * share)), kind.make, kind.convolve)
        for kind in kinds_of(*atmospheres)
    ]
    known = _with_labelled(draw(kinds, seed), labelled)
    grids = {name: _provenance(path) for name, path in (("grid", grid), ("low_gravity", low_gravity)) if path}
    provenance = {
        "grids": grids,
        "seed": seed,
        "spectra": known.kinds,
        "classes": {str(label): int(np.count_nonzero(known.labels == label)) for label in np.unique(known.labels)},
        "versions": {"scikit-learn": sklearn_version, "numpy": np.__version__, "scipy": version("scipy")},
    }
    return grow(known, seed=seed, n_trees=n_trees, provenance=provenance)


def train_to_file(
    path: str | Path,
    grid: str | None = None,
    low_gravity: str | None = None,
    labelled: str | Path | None = None,
    *,
    seed: int = SEED,
    n_trees: int = N_TREES,
    share: float = 1.0,
) -> tuple[Classifier, str]:
    """Train a classifier with the grids that are registered, or named, and write it.

    Parameters
    ----------
    path : str or Path
        The file.
    grid, low_gravity : str, optional
        Names or paths of grids; by default those that are registered as "da" and "da_low_gravity".
    labelled : str or Path, optional
        A table of labelled spectra, see `read_labelled`.
    seed, n_trees, share
        See `train`.

    Returns
    -------
    classifier : Classifier
        What was trained.
    checksum : str
        SHA-256 of the file.
    """
    registered = find_grid(LOW_GRAVITY_GRID)
    wanted = low_gravity or (LOW_GRAVITY_GRID if registered else BUILT_IN)
    of_others = resolve_grid(wanted)
    known = read_labelled(labelled) if labelled else ()
    found = train(resolve_grid(grid), of_others, known, seed=seed, n_trees=n_trees, share=share)
    return found, save_classifier(found, path)


def grow(known: TrainingSet, *, seed: int, n_trees: int, provenance: dict[str, Any]) -> Classifier:
    """Grow the forest of a training set, and calibrate it."""
    from sklearn.model_selection import StratifiedKFold

    classes = tuple(map(str, np.unique(known.labels)))
    shares = np.empty((len(known.labels), len(classes)))
    folds = min(FOLDS, int(np.unique(known.labels, return_counts=True)[1].min()))
    if folds < 2:
        raise ClassifierError("a class has one spectrum; cross-validation needs two or more of each")
    for fit, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(shares, known.labels):
        forest = fitted(known.features[fit], known.labels[fit], seed=seed, n_trees=min(FOLD_TREES, n_trees))
        shares[held_out] = forest.predict_proba(known.features[held_out])
    truth = np.searchsorted(classes, known.labels)
    slope, offset = calibrate(shares, truth, np.array(list(before(classes).values())))
    right = np.mean(np.argmax(calibrated(shares, slope, offset), axis=1) == truth)
    provenance = provenance | {"cross-validation": {"folds": folds, "right": round(float(right), 4)}}
    forest = fitted(known.features, known.labels, seed=seed, n_trees=n_trees)
    return from_sklearn(forest, known.labels, slope, offset, provenance)


def before(classes: Iterable[str]) -> dict[str, float]:
    """Say how probable each class is before a spectrum is looked at."""
    names = list(classes)
    left = 1 - sum(BEFORE.get(name, 0) for name in names)
    n_others = sum(name not in BEFORE for name in names)
    shares = {name: BEFORE.get(name, left / max(1, n_others)) for name in names}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def weights_of(labels: NDArray[np.str_]) -> dict[str, float]:
    """Give what a training spectrum of each class counts, on average one."""
    names, numbers = np.unique(labels, return_counts=True)
    shares = before(map(str, names))
    return {
        str(name): len(labels) * shares[str(name)] / number
        for name, number in zip(names, numbers.tolist(), strict=True)
    }


def fitted(values: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int, n_trees: int) -> RandomForestClassifier:
    """Grow a forest: log loss, classes weighted, few spectra to a tree."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_trees,
        criterion="log_loss",
        class_weight=weights_of(labels),
        min_samples_split=4,
        min_samples_leaf=2,
        max_samples=min(MAX_SAMPLES, len(labels)),
        random_state=seed,
        n_jobs=1,
    ).fit(values, labels)


def calibrate(shares: Array, truth: NDArray[np.intp], before: Array) -> tuple[float, Array]:
    """Fit the calibration to shares that a forest gave spectra which it hadn't seen.

    Parameters
    ----------
    shares : ndarray of float64, shape (n_spectra, n_classes)
        What the forest said.
    truth : ndarray of int, shape (n_spectra,)
        The class of each spectrum.
    before : ndarray of float64, shape (n_classes,)
        How probable each class is before a spectrum is looked at.

    Returns
    -------
    slope : float
        Factor of the logarithm of the shares.
    offset : ndarray of float64, shape (n_classes,)
        What is added for each class; their sum is zero.
    """
    from scipy.optimize import minimize

    n_classes = shares.shape[1]
    weight = (before / np.bincount(truth, minlength=n_classes))[truth]
    weight /= weight.mean()
    log_shares, rows = np.log(shares + LEAST), np.arange(len(truth))
    actual = np.eye(n_classes)[truth]

    def loss(parameters: Array) -> tuple[float, Array]:
        found = calibrated(shares, parameters[0], parameters[1:])
        value = -np.sum(weight * np.log(found[rows, truth] + 1e-12)) + np.sum((parameters[1:] / OFFSET_PRIOR) ** 2) / 2
        off = weight[:, None] * (found - actual)
        slope = np.concatenate([[np.sum(off * log_shares)], off.sum(axis=0) + parameters[1:] / OFFSET_PRIOR**2])
        return float(value), slope

    found = minimize(loss, np.concatenate([[1.0], np.zeros(n_classes)]), jac=True, method="L-BFGS-B").x
    # Sums in another order differ in the last digits; these are the same on every computer.
    return round(float(found[0]), 4), np.round(found[1:] - found[1:].mean(), 4)


def from_sklearn(
    forest: RandomForestClassifier,
    labels: NDArray[np.str_],
    slope: float,
    offset: Array,
    provenance: dict[str, Any],
) -> Classifier:
    """Take the arrays out of a forest of scikit-learn."""
    classes = tuple(map(str, forest.classes_))
    given = weights_of(labels)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    start = np.repeat(roots, sizes)
    feature, left, right = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("feature", "children_left", "children_right")
    )
    is_leaf = left < 0
    weights = np.concatenate([tree.value[:, 0] * tree.weighted_n_node_samples[:, None] for tree in trees])
    counts, class_weight = _counted(weights[is_leaf], np.array([given[name] for name in classes]))
    return Classifier(
        feature=np.where(is_leaf, -1, feature).astype(np.int16),
        threshold=_not_above(np.where(is_leaf, 0, np.concatenate([tree.threshold for tree in trees]))),
        left=np.where(is_leaf, np.cumsum(is_leaf) - 1, left + start).astype(np.int32),
        right=np.where(is_leaf, 0, right + start).astype(np.int32),
        counts=counts,
        roots=roots.astype(np.int32),
        classes=classes,
        class_weight=class_weight,
        slope=slope,
        offset=offset,
        provenance=provenance,
    )


def _counted(weights: Array, given: Array) -> tuple[NDArray[np.uint16], Array]:
    """Give the number of training spectra of each class in each leaf, and what each counts.

    Since 1.9, scikit-learn draws spectra of rare classes more often, and each counts one; before, each had a weight.
    """
    for class_weight in (np.ones(given.size), given):
        counts = np.rint(weights / class_weight)
        if np.allclose(counts * class_weight, weights, rtol=0, atol=1e-6):
            return counts.astype(np.uint16), class_weight
    raise ClassifierError("this version of scikit-learn weights spectra in a way that isn't known; install 1.9")


def _not_above(threshold: Array) -> NDArray[np.float32]:
    """Round down to single precision: features have that precision, and none is between the two."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _require_sklearn() -> str:
    try:
        import sklearn
    except ImportError as error:
        raise ClassifierError(
            "training needs scikit-learn: pip install 'astra-orchestration[train]'. Classification doesn't"
        ) from error
    return sklearn.__version__


def _provenance(path: str | Path) -> dict[str, str]:
    """Say which grid it was, without the folders of this computer."""
    path = Path(path).expanduser()
    return {"name": path.name, "sha256": content_digest(path)}


def _with_labelled(drawn: TrainingSet, labelled: Iterable[Labelled]) -> TrainingSet:
    rows, labels = [], []
    for one in labelled:
        if one.label not in (*CLASSES, NOT_WHITE_DWARF):
            raise ClassifierError(
                f"{one.path}: {one.label!r} is no class; there are {', '.join(CLASSES)} and {NOT_WHITE_DWARF!r}"
            )
        rows.append(features_of_file(one.path))
        labels.append(one.label)
    if not rows:
        return drawn
    return TrainingSet(
        np.concatenate([drawn.features, np.array(rows).reshape(-1, N_FEATURES)]),
        np.concatenate([drawn.labels, np.array(labels)]),
        drawn.kinds | {"labelled": len(rows)},
    )
