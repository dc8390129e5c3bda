"""Corv's pictures: drawn from what a run wrote, each with what it says."""

from pathlib import Path

import numpy as np
import pytest

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.ingest import ingest_spectra
from astra_models.quality.drawing import new_figure
from astra_models.quality.measuring import measure
from astra_models.quality.pictures import draw_pictures
from astra_models.quality.thresholds import Thresholds
from astra_orchestration.pipelines.corv import corv
from astra_orchestration.pipelines.corv.pictures import (
    kiel_diagram_of_DA_white_dwarfs,
    pulls_between_visits,
    velocity_pulls,
    worst_fits,
)
from astra_orchestration.sample import make_sample

pytestmark = pytest.mark.long_on_each


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    made = make_sample(tmp_path_factory.mktemp("sample"), stars=2, seed=7)
    return [path for path in made.files if "/visits/" in path]


@pytest.fixture
def numbers(database, sample, monkeypatch, tmp_path):
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path))
    ingest_spectra(sample)
    write(analyse(corv, parameters={"all_spectra": True}))
    return measure(corv, Thresholds(), {"all_spectra": True})


def test_all_pictures_are_drawn_after_a_run(numbers):
    pictures = {picture.name: picture for picture in draw_pictures(corv, numbers, Thresholds())}
    names = {"Kiel diagram", "residuals", "kiel diagram of DA white dwarfs", "velocity pulls", "worst fits"}
    assert names <= pictures.keys()
    for name in names:
        assert not pictures[name].problem and len(pictures[name].png) > 3_000, pictures[name].problem
        assert pictures[name].caption


def test_the_kiel_diagram_joins_two_solutions(numbers):
    rows = dict(numbers.current.columns)
    bit = Corv.result_flags.flags["flag_two_solutions"].value
    rows["result_flags"] = np.zeros_like(rows["result_flags"])
    rows["result_flags"][0] = bit
    rows["other_teff"], rows["other_logg"] = rows["teff"] * 1.3, rows["logg"] + 0.1
    figure = new_figure()
    kiel_diagram_of_DA_white_dwarfs(figure, rows)
    [axes] = figure.axes
    assert [tuple(line.get_xdata()) for line in axes.lines] == [(rows["teff"][0], rows["other_teff"][0])]
    assert f"{len(rows['teff'])} DA white dwarfs" in axes.get_title()


def test_pictures_of_nothing_are_left_out(numbers):
    rows = {name: values[:0] for name, values in numbers.current.columns.items()}
    for picture in (kiel_diagram_of_DA_white_dwarfs, velocity_pulls, worst_fits):
        figure = new_figure()
        picture(figure, rows)
        assert not figure.axes


def test_pulls_of_honest_errors_have_width_one():
    random = np.random.default_rng(1)
    star = random.integers(0, 3000, 12_000)
    error = random.uniform(1, 20, star.size)
    velocity = 50.0 * np.cos(star) + error * random.standard_normal(star.size)
    nobody = np.zeros(star.size, dtype=bool)
    pulls = pulls_between_visits(star, velocity, error, nobody)
    assert abs(pulls.mean()) < 0.05 and pulls.std() == pytest.approx(1, abs=0.02)
    assert pulls_between_visits(star, velocity, error / 2, nobody).std() == pytest.approx(2, abs=0.04)


def test_only_good_visits_of_known_stars_count():
    star, velocity = np.array([1, 1, 1, 2, -1, -1, 3, 3]), np.array([0.0, 2, 90, 5, 0, 1, 7, np.nan])
    flagged = np.array([False, False, True, *[False] * 5])
    pulls = pulls_between_visits(star, velocity, np.full(8, 2.0), flagged)
    assert pulls.tolist() == pytest.approx([-1 / np.sqrt(2), 1 / np.sqrt(2)])


def test_worst_fits_say_why_none_can_be_drawn(numbers):
    for row in BossVisitSpectrum.select():
        BossVisitSpectrum.update(path=f"/nowhere/{Path(row.path).name}").where(BossVisitSpectrum.pk == row.pk).execute()
    figure = new_figure()
    worst_fits(figure, numbers.current.columns)
    [text] = figure.axes[0].texts
    assert "none can be drawn" in text.get_text() and "/nowhere/" in text.get_text()
