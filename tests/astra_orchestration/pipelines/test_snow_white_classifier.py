"""The random forest: as scikit-learn has it, in a file that holds nothing but numbers, and what it calls spectra."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astra_models.snow_white import SnowWhite
from astra_orchestration.pipelines.snow_white.features import N_FEATURES
from astra_orchestration.pipelines.snow_white.forest import (
    Classifier,
    ClassifierError,
    classifier_bytes,
    load_classifier,
    save_classifier,
)
from astra_orchestration.pipelines.snow_white.labels import NOT_WHITE_DWARF, column_of, label_of

SHIPPED = Path(sys.modules[Classifier.__module__].__file__ or "").parent / "classifier.npz"


def small_classifier() -> Classifier:
    """Two trees of one question each: is the first feature over 1, is the second over 2."""
    return Classifier(
        feature=np.array([0, -1, -1, 1, -1, -1], np.int16),
        threshold=np.array([1, 0, 0, 2, 0, 0], np.float32),
        left=np.array([1, 0, 1, 4, 2, 3], np.int32),
        right=np.array([2, 0, 0, 5, 0, 0], np.int32),
        counts=np.array([[3, 1], [0, 4], [2, 2], [1, 0]], np.uint16),
        roots=np.array([0, 3], np.int32),
        classes=("DA", NOT_WHITE_DWARF),
        class_weight=np.array([1.0, 3.0]),
        slope=2.0,
        offset=np.array([0.5, -0.5]),
        provenance={"seed": 1},
    )


# ---- the walk


def test_each_tree_says_what_is_in_the_leaf_that_a_spectrum_reaches() -> None:
    found = small_classifier().shares([[0.0, 0.0], [1.0, 3.0], [1.1, 2.0]])

    half, quarter = [3 / 6, 3 / 6], [2 / 8, 6 / 8]
    leaves = [(half, quarter), (half, [1, 0]), ([0, 1], quarter)]
    assert np.allclose(found, [np.mean(pair, axis=0) for pair in leaves], atol=1e-15)


def test_calibrated_probabilities_add_up_to_one() -> None:
    classifier = small_classifier()
    shares, found = (ask([[0.0, 0.0], [1.1, 2.0]]) for ask in (classifier.shares, classifier.probabilities))

    odds = (shares + 1e-3) ** 2 * np.exp([0.5, -0.5])
    assert np.allclose(found, odds / odds.sum(axis=1, keepdims=True))


def test_no_spectra_have_no_probabilities() -> None:
    assert small_classifier().probabilities(np.empty((0, N_FEATURES))).shape == (0, 2)


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(ClassifierError, match=r"shape \(2,\)"):
        small_classifier().probabilities([1.0, 2.0])


def test_numpy_says_what_scikit_learn_says() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is needed for training only")
    from astra_orchestration.pipelines.snow_white.training import fitted, from_sklearn

    random = np.random.default_rng(5)
    labels = np.array(["DA"] * 200 + ["DB"] * 70 + ["DC"] * 30)
    values = random.normal(size=(300, 40)).astype(np.float32)
    values[:, 0] += np.searchsorted(["DA", "DB", "DC"], labels)
    values[:, 1] = values[:, 1].round(1)  # ties with thresholds
    forest = fitted(values, labels, seed=3, n_trees=30)

    classifier = from_sklearn(forest, labels, 1.0, np.zeros(3), {})

    others = random.normal(size=(500, 40)).astype(np.float32)
    for asked in (values, others):
        assert np.abs(classifier.shares(asked) - forest.predict_proba(asked)).max() < 1e-8


# ---- the file


def test_a_classifier_comes_back_from_its_file(tmp_path: Path) -> None:
    checksum = save_classifier(small_classifier(), tmp_path / "one.npz")

    found = load_classifier(tmp_path / "one.npz")

    assert found.checksum == checksum == hashlib.sha256((tmp_path / "one.npz").read_bytes()).hexdigest()
    assert (found.classes, found.provenance) == (("DA", NOT_WHITE_DWARF), {"seed": 1})
    spectra = np.random.default_rng(1).normal(1, 2, (50, N_FEATURES))
    assert np.array_equal(found.probabilities(spectra), small_classifier().probabilities(spectra))
    assert str(found) == f"snow_white {checksum[:12]}"


def test_the_same_classifier_has_the_same_bytes() -> None:
    assert classifier_bytes(small_classifier()) == classifier_bytes(small_classifier())


def pickled(path: Path) -> None:
    np.savez(path, feature=np.array([{"a": 1}], dtype=object))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def without_roots(path: Path) -> None:
    save_classifier(small_classifier(), path)
    with np.load(path) as content:
        kept = {name: content[name] for name in content if name != "roots"}
    np.savez(path, **kept)


def broken(**changed: Any) -> Any:
    return lambda path: save_classifier(replace(small_classifier(), **changed), path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "can't be read"),
        (lambda path: path.write_bytes(b"no archive"), "can't be read as a classifier"),
        (lambda path: path.write_bytes(b""), "can't be read as a classifier"),
        (lambda path: path.write_bytes(classifier_bytes(small_classifier())[:900]), "can't be read as a classifier"),
        (one_array, "can't be read as a classifier"),
        (pickled, "can't be read as a classifier"),
        (without_roots, "roots missing"),
        (broken(left=np.array([9, 0, 1, 4, 2, 3], np.int32)), "don't fit together"),
        (broken(left=np.array([0, 0, 1, 4, 2, 3], np.int32)), "go round in circles"),
        (broken(feature=np.array([9999, -1, -1, 1, -1, -1], np.int16)), "don't fit together"),
        (broken(class_weight=np.ones(3)), "don't fit together"),
        (broken(classes=("DA", "Dwarf")), "'Dwarf'"),
    ],
    ids=[
        *("missing", "text", "empty", "cut short", "one array", "pickle", "no roots", "leads outside", "circle"),
        *("no such feature", "weights", "no such class"),
    ],
)
def test_a_file_that_is_no_classifier_is_refused_by_name(tmp_path: Path, write: Any, said: str) -> None:
    path = tmp_path / "other.npz"
    write(path)

    with pytest.raises(ClassifierError, match=said) as refusal:
        load_classifier(path)

    assert str(path) in str(refusal.value)


# ---- the one that is shipped


def test_the_shipped_classifier_is_small_and_says_what_it_was_made_from() -> None:
    assert SHIPPED.stat().st_size < 1_000_000
    found = load_classifier(SHIPPED)

    assert set(found.classes) == {"DA", "DB", "DC", "DQ", "DZ", "DA/MS", NOT_WHITE_DWARF}
    assert {"grids", "seed", "versions", "spectra", "classes", "cross-validation"} <= found.provenance.keys()
    assert all(len(grid["sha256"]) == 64 for grid in found.provenance["grids"].values())
    assert found.provenance["cross-validation"]["folds"] == 5


def test_every_class_has_a_column() -> None:
    columns = [column_of(name) for name in load_classifier(SHIPPED).classes]

    assert set(columns) <= set(SnowWhite._meta.fields)
    assert column_of(NOT_WHITE_DWARF) == "p_not_white_dwarf"
    assert column_of("DA/MS") == "p_da_ms"
    assert column_of("DAHe") in SnowWhite._meta.fields


# ---- labels


@pytest.mark.parametrize(
    ("probabilities", "label"),
    [
        ([0.5, 0.3, 0.2], "DA"),
        ([0.3, 0.6, 0.1], "DB"),
        ([0.45, 0.1, 0.1], "DA:"),
        ([0.45, 0.28, 0.27], "DA/DB"),
        ([0.45, 0.27, 0.0], "DA:"),  # exactly 0.6 isn't more than 0.6
        ([0.2, 0.1, 0.49], f"{NOT_WHITE_DWARF}:"),
        ([0.41, 0.19, 0.4], f"DA/{NOT_WHITE_DWARF}"),
    ],
)
def test_a_label_says_how_sure_it_is(probabilities: list[float], label: str) -> None:
    assert label_of(("DA", "DB", NOT_WHITE_DWARF), probabilities) == label
