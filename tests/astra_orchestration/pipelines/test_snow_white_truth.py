"""What the shipped classifier calls spectra of known truth: real ones, and stars by code that its training doesn't use.

`make science` asks more of them; these are few enough for every run.
"""

from pathlib import Path

import numpy as np
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_orchestration.pipelines.snow_white import SHIPPED, classify
from astra_orchestration.pipelines.snow_white.features import features
from astra_orchestration.pipelines.snow_white.forest import load_classifier
from astra_orchestration.pipelines.snow_white.parameters import measured
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from science import other_stars, truth


def probability_of_da(path: Path) -> float:
    spectrum = BossVisitSpectrum(path=str(path))
    return classify(spectrum.wavelength, spectrum.flux, spectrum.ivar, load_classifier(SHIPPED))["DA"]


def test_the_real_da_is_one(real_data: Path) -> None:
    assert probability_of_da(real_data / "wdtools" / "sample_spectrum.fits") > 0.9


@pytest.mark.parametrize(
    "name", ["spec-0618-52049-0372", "spec-1123-52882-0065", "spec-5047-55833-0936", "spec-4068-55445-0924"]
)
def test_real_stars_that_are_no_white_dwarfs_arent_das(real_data: Path, name: str) -> None:
    assert probability_of_da(real_data / "pyhammer" / f"{name}.fits") < 0.3


def test_the_real_das_parameters_are_the_published_ones(real_data: Path) -> None:
    grid = load_grid(real_data / "warwick_da" / "da_grid.npz")
    spectrum = BossVisitSpectrum(path=str(real_data / "wdtools" / "sample_spectrum.fits"))

    found = measured(spectrum.wavelength, spectrum.flux, spectrum.ivar, grid)

    assert abs(found["teff"] - 13_912) < 2 * np.hypot(295, found["e_teff"])
    assert abs(found["logg"] - 8.10) < 2 * np.hypot(0.06, found["e_logg"])
    assert found["e_teff"] < 200 and found["e_logg"] < 0.05  # not by large errors


def test_other_stars_are_hardly_ever_das() -> None:
    classifier, random = load_classifier(SHIPPED), np.random.default_rng(11)
    spectra = [
        other_stars.star(kind, random, random.uniform(10, 40))[1:] for kind in other_stars.MAKERS for _ in range(20)
    ]

    found = classifier.probabilities(np.array([features(*spectrum) for spectrum in spectra]))

    assert np.mean(found[:, classifier.classes.index("DA")] > 0.3) <= 0.02


def test_das_of_another_author_are_das(real_data: Path) -> None:
    classifier, random = load_classifier(SHIPPED), np.random.default_rng(12)
    rows = []
    for path in sorted((real_data / "koester_da").glob("da*.txt")):
        columns = np.loadtxt(path, comments="#")
        light = np.interp(other_stars.FINE, truth.to_vacuum(columns[:, 0]), columns[:, 1])
        rows += [features(*other_stars.observed(light, random, random.uniform(10, 40))) for _ in range(10)]

    found = classifier.probabilities(np.array(rows))

    assert np.mean(found[:, classifier.classes.index("DA")] >= 0.5) >= 0.95
