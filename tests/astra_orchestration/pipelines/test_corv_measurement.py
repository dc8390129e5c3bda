"""What Corv recovers of truths that are made without it; `make science` does the same with more spectra."""

import numpy as np
import pytest

from astra_orchestration.pipelines.white_dwarfs.family import balmer_family, da_flux
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.fit import BalmerFit, Photometry, fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.lines import Point, Solution
from astra_orchestration.pipelines.white_dwarfs.solutions import absolute_g, choose
from astra_orchestration.pipelines.white_dwarfs.systematics import floor_at, template_error
from science import truth
from science.corv import fitted, pulls, trials
from science.frame import robust_width

pytestmark = pytest.mark.long_on_each


@pytest.fixture(scope="module")
def family():
    """The built-in family: atmospheres of independent code, and the grid."""
    return truth.toy_atmospheres(da_flux), balmer_family()


@pytest.fixture(scope="module")
def physical(real_data):
    """A grid of model atmospheres, read twice."""
    path = real_data / "warwick_da" / "da_grid.npz"
    return truth.read_npz(path), load_grid(path)


@pytest.fixture(params=["family", "physical"])
def models(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("snr", [10, 50])
def test_velocities_are_off_by_as_much_as_their_errors_say(models, snr):
    found = pulls(trials(*models, snr, 100), error="e")
    assert found.size == 100
    assert abs(found.mean()) < 0.35
    assert 0.75 < robust_width(found) < 1.25


@pytest.mark.parametrize("snr", [5, 100])
def test_good_spectra_have_no_bad_fit(models, snr):
    assert sum(trial.fit.bad_fit for trial in trials(*models, snr, 50, seed=2)) <= 1


@pytest.mark.parametrize("name", truth.SPOILED)
def test_spoiled_spectra_have_a_bad_fit(physical, name):
    snr, make = truth.SPOILED[name]
    assert sum(trial.fit.bad_fit for trial in trials(*physical, snr, 30, make, seed=3)) >= 26


def test_cosmic_rays_cost_no_values_and_make_no_outliers(models):
    group = trials(*models, 20, 60, after=truth.with_cosmics, seed=4)
    assert sum(not trial.measured for trial in group) <= 1
    assert sum(trial.fit.bad_fit for trial in group) <= 6
    found = pulls(group)
    assert np.abs(found).max() < 5
    assert 0.7 < robust_width(found) < 1.3


def test_a_filled_core_is_seen_whatever_is_clipped(physical):
    models, grid = physical
    random, star = np.random.default_rng(1), truth.Star(15_000.0, 8.0, 50.0)
    fit = fitted(star, truth.expose(truth.with_filled_core(models.shown(star), star, random), 50, random), grid).fit
    cores = {line.name: line.core for line in fit.lines}
    assert fit.bad_fit
    assert max(cores, key=cores.get) == "H-alpha"


def test_lines_have_velocities_of_their_own(family):
    models, grid = family
    random, star = np.random.default_rng(2), truth.Star(14_000.0, 8.0, 100.0)
    fit = fitted(star, truth.expose(models.shown(star), 50, random), grid).fit
    assert [line.name for line in fit.lines] == ["H-alpha", "H-beta", "H-gamma", "H-delta", "H-epsilon"]
    assert all(abs(line.v_rad - 100) < 4 * line.e_v_rad for line in fit.lines)
    assert sum(line.e_v_rad**-2 for line in fit.lines) == pytest.approx(fit.raw_e_v_rad**-2, rel=0.1)


def test_errors_of_models_are_part_of_the_total_ones(physical):
    models, grid = physical
    star = truth.Star(20_000.0, 8.0, 0.0)
    fit = fitted(star, truth.expose(models.shown(star), 100, np.random.default_rng(3)), grid).fit
    e_teff, e_logg = floor_at(fit.teff)
    assert fit.e_teff == pytest.approx(np.hypot(fit.raw_e_teff, e_teff))
    assert fit.e_logg == pytest.approx(np.hypot(fit.raw_e_logg, e_logg))
    assert fit.e_v_rad == fit.raw_e_v_rad


def test_the_built_in_family_is_the_truth_of_the_sample(family):
    models, grid = family
    star = truth.Star(20_000.0, 8.0, 0.0)
    fit = fitted(star, truth.expose(models.shown(star), 50, np.random.default_rng(3)), grid).fit
    assert fit.e_teff == fit.raw_e_teff


@pytest.mark.parametrize("teff", [8000.0, 20_000.0])
def test_another_authors_models_are_within_the_total_errors(real_data, physical, teff):
    koester = truth.read_koester(real_data / "koester_da")
    random = np.random.default_rng(4)
    for logg in koester.logg:
        star = truth.Star(teff, float(logg), 30.0)
        fit = fitted(star, truth.expose(koester.shown(star), 50, random), physical[1]).fit
        assert abs(fit.teff - teff) < 2 * fit.e_teff
        assert abs(fit.logg - logg) < 2 * fit.e_logg


def test_a_grid_with_few_nodes_has_templates_with_large_errors(real_data, physical):
    coarse = load_grid(real_data / "koester_da")
    assert template_error(physical[1], np.log10(12_000)) < 0.005
    assert template_error(coarse, np.log10(12_000)) > 0.01


def solution(teff, logg, chi2):
    return Solution(Point(0.0, np.log10(teff), logg), chi2, np.eye(3), converged=True)


COOL, HOT = solution(11_500.0, 8.0, 1000.0), solution(15_500.0, 8.0, 1004.0)


def test_two_solutions_that_fit_alike_are_said_to_be_two():
    choice = choose(COOL, HOT, 1.0, 10.0, None)
    assert choice.best is COOL
    assert choice.other is HOT
    assert choice.alike
    assert not choose(COOL, HOT._replace(chi2=1100.0), 1.0, 10.0, None).alike


@pytest.mark.parametrize(
    "known",
    [
        Photometry(teff=15_300.0, e_teff=500.0),
        Photometry(g_mag=absolute_g(15_500.0, 8.0) + 5, parallax=10.0, e_parallax=0.1),
    ],
    ids=["temperature", "brightness and parallax"],
)
def test_photometry_decides_between_two_solutions(known):
    assert choose(COOL, HOT, 1.0, 10.0, known).best is HOT


@pytest.mark.parametrize(
    "useless", [Photometry(), Photometry(g_mag=15.0), Photometry(g_mag=15.0, parallax=-1.0, e_parallax=0.5)]
)
def test_photometry_without_a_distance_says_nothing(useless):
    assert choose(COOL, HOT, 1.0, 10.0, useless) == choose(COOL, HOT, 1.0, 10.0, None)


def test_photometry_reaches_the_fit(family):
    models, grid = family
    random = np.random.default_rng(5)
    told = []
    for _ in range(20):
        star = truth.draw_star(random, (11_000.0, 15_000.0))
        seen = truth.expose(models.shown(star), 8, random)
        columns = (seen.wavelength, seen.flux, seen.ivar, grid)
        alone, helped = fit_spectrum(*columns), fit_spectrum(*columns, photometry=Photometry(star.teff, 200.0))
        told.append((off(alone, star), off(helped, star)))
    alone, helped = np.mean(told, axis=0)
    assert helped < alone


def off(fit: BalmerFit, star) -> float:
    return abs(np.log(fit.teff / star.teff))


@pytest.mark.parametrize(("teff", "logg", "magnitude"), [(10_000, 8.0, 12.07), (20_000, 8.0, 10.7), (8000, 8.0, 12.95)])
def test_brightness_of_white_dwarfs(teff, logg, magnitude):
    assert absolute_g(teff, logg) == pytest.approx(magnitude, abs=0.3)
