"""Training of Snow White's classifier: the same seed gives the same bytes, and labelled spectra may bring classes."""

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from astra_orchestration.assets.training import snow_white_classifier
from astra_orchestration.cli.main import app
from astra_orchestration.pipelines.snow_white import other_stars, training
from astra_orchestration.pipelines.snow_white.features import features
from astra_orchestration.pipelines.snow_white.forest import ClassifierError, classifier_bytes, load_classifier
from astra_orchestration.pipelines.snow_white.labelled import Labelled, read_labelled
from astra_orchestration.pipelines.snow_white.labels import NOT_WHITE_DWARF
from astra_orchestration.pipelines.snow_white.observing import observe
from astra_orchestration.pipelines.snow_white.training import draw, kinds_of, train
from astra_orchestration.pipelines.white_dwarfs.family import balmer_family

SMALL: dict[str, Any] = {"share": 0.02, "n_trees": 5}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no grid of the user's count."""
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    family = balmer_family()
    arrays = {"teff": family.teff[::6], "logg": family.logg[::4], "flux": family.flux[::6, ::4]}
    np.savez(tmp_path / "mine.npz", wavelength=family.wavelength, resolution=0, **arrays)
    return tmp_path / "mine.npz"


def require_sklearn() -> None:
    pytest.importorskip("sklearn", reason="training needs scikit-learn")


def test_the_same_seed_gives_the_same_bytes_and_another_one_doesnt(grid: Path) -> None:
    require_sklearn()

    first, again, other = (train(grid, seed=seed, **SMALL) for seed in (1, 1, 2))

    assert classifier_bytes(first) == classifier_bytes(again) != classifier_bytes(other)
    assert first.provenance["grids"]["grid"]["name"] == "mine.npz"
    assert first.provenance["spectra"]["da_of_grid"] == 32
    assert set(first.classes) == {"DA", "DB", "DC", "DQ", "DZ", "DA/MS", NOT_WHITE_DWARF}


def test_every_kind_of_spectrum_that_is_drawn_has_features() -> None:
    for kind in kinds_of(None, None):
        random = np.random.default_rng(7)
        for _ in range(5):
            spectrum = observe(kind.make(random), random, convolve=kind.convolve)
            assert np.all(np.isfinite(features(*spectrum))), kind.name
            assert np.all(np.isfinite(spectrum.flux)), kind.name


def test_another_kind_in_the_list_leaves_the_others_as_they_are() -> None:
    a_star, b_star = (
        training.Kind(NOT_WHITE_DWARF, make.__name__, 3, make) for make in (other_stars.a_star, other_stars.b_star)
    )

    assert np.array_equal(draw([a_star]).features, draw([b_star, a_star]).features[3:])


def test_labelled_spectra_may_have_classes_of_their_own(tmp_path: Path, write_spec_file: Any) -> None:
    require_sklearn()
    loglam = (3.56 + 1e-4 * np.arange(4500)).astype(">f4")
    rows = []
    for number in range(4):
        flux = 1 + np.random.default_rng(number).normal(0, 0.02, 4500) - 0.4 * (np.abs(10**loglam - 4686) < 60)
        arrays = {"flux": flux, "loglam": loglam, "ivar": np.full(4500, 2500.0)}
        rest = {name: np.zeros(4500) for name in ("and_mask", "or_mask", "wresl")}
        write_spec_file(tmp_path / f"spec-{number}.fits", **arrays, **rest)
        rows.append(f"spec-{number}.fits,DO")
    (tmp_path / "known.csv").write_text("\n".join(["path,classification", *rows]))

    found = train(labelled=read_labelled(tmp_path / "known.csv"), **SMALL)

    assert "DO" in found.classes
    assert (found.provenance["spectra"]["labelled"], found.provenance["classes"]["DO"]) == (4, 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,classification\na,DA\n", "no column path"),
        ("path,classification\nspec.fits,Dwarf\n", "'Dwarf' is no class"),
        (None, "can't be read"),
    ],
)
def test_a_table_that_isnt_one_of_labelled_spectra_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    require_sklearn()
    if content:
        (tmp_path / "known.csv").write_text(content)

    with pytest.raises(ClassifierError, match=said):
        train(labelled=read_labelled(tmp_path / "known.csv"), **SMALL)


def test_one_spectrum_of_a_class_cant_be_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_sklearn()
    monkeypatch.setattr(training, "features_of_file", lambda path: np.ones(1751, np.float32))

    with pytest.raises(ClassifierError, match="two or more"):
        train(labelled=[Labelled("DAH", "one.fits")], **SMALL)


def test_without_scikit_learn_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)

    with pytest.raises(ClassifierError, match=r"astra-orchestration\[train\]"):
        train()


def test_the_asset_writes_a_classifier(tmp_path: Path) -> None:
    require_sklearn()
    path = tmp_path / "made" / "classifier.npz"
    config = {"ops": {"snow_white_classifier": {"config": {"path": str(path), "share": 0.02, "trees": 5}}}}

    result = dg.materialize([snow_white_classifier], run_config=config)

    [event] = result.asset_materializations_for_node("snow_white_classifier")
    assert event.metadata["SHA-256"].value == load_classifier(path).checksum


def test_the_command_is_there() -> None:
    done = CliRunner().invoke(app, ["train", "snow_white", "--help"])

    assert done.exit_code == 0
    assert "--labelled" in done.output
