"""Corv's measurement of one spectrum: truth recovered, errors honest, everything else flagged."""

import dataclasses

import numpy as np
import pytest

from astra_models.errors import AstraError
from astra_orchestration.pipelines.white_dwarfs.family import da_flux
from astra_orchestration.pipelines.white_dwarfs.files import load_grid
from astra_orchestration.pipelines.white_dwarfs.fit import LINE_WINDOWS, BalmerFit, SpectrumError, fit_spectrum
from astra_orchestration.pipelines.white_dwarfs.grid import TemplateError, TemplateGrid

BOSS = 10 ** (3.5563 + 1e-4 * np.arange(4648))
SPEED_OF_LIGHT = 299_792.458
FLAGS = {field.name for field in dataclasses.fields(BalmerFit) if isinstance(field.default, bool)}


def observe(v_rad=0.0, teff=13_000.0, logg=8.0, snr=30.0, seed=0, wavelength=BOSS):
    """A BOSS spectrum of the analytic family: wavelength (Angstrom), flux, ivar."""
    beta = v_rad / SPEED_OF_LIGHT
    flux = 20 * da_flux(wavelength * np.sqrt((1 - beta) / (1 + beta)), teff, logg)
    noise = np.median(flux) / snr * np.sqrt(0.3 + 0.7 * flux / np.median(flux))
    noisy = flux + noise * np.random.default_rng(seed).normal(size=flux.size)
    return wavelength, noisy, noise**-2


def flags(fit):
    return {name for name in FLAGS if getattr(fit, name)}


def numbers(fit):
    return [*fit.values().values(), *fit.flags().values()]


def measured(fit):
    names = ("v_rad", "e_v_rad", "teff", "e_teff", "logg", "e_logg")
    return {name for name in names if np.isfinite(getattr(fit, name))}


@pytest.mark.parametrize("v_rad", [-1000.0, -87.3, 0.0, 45.6, 1000.0])
def test_velocity_temperature_and_gravity_without_noise(v_rad):
    fit = fit_spectrum(*noiseless(v_rad, 11_111, 7.77))
    assert flags(fit) == set()
    assert fit.v_rad == pytest.approx(v_rad, abs=0.2)
    assert fit.teff == pytest.approx(11_111, rel=1e-3)
    assert fit.logg == pytest.approx(7.77, abs=2e-3)
    assert abs(fit.initial_v_rad - v_rad) < 80


def noiseless(v_rad, teff, logg):
    beta = v_rad / SPEED_OF_LIGHT
    flux = da_flux(BOSS * np.sqrt((1 - beta) / (1 + beta)), teff, logg)
    return BOSS, flux, np.full(BOSS.size, 1e4)


@pytest.mark.parametrize("snr", [10, 20, 50])
def test_errors_say_how_far_the_truth_is(snr):
    rng = np.random.default_rng(snr)
    pulls = []
    for seed in range(60):
        v_rad, teff, logg = rng.normal(0, 200), 10 ** rng.uniform(3.9, 4.4), rng.uniform(7.4, 8.6)
        fit = fit_spectrum(*observe(v_rad, teff, logg, snr, seed))
        assert flags(fit) <= {"two_solutions"}
        pulls.append(((fit.v_rad - v_rad) / fit.e_v_rad, (fit.logg - logg) / fit.e_logg, fit.rchi2))
    velocity, gravity, rchi2 = np.transpose(pulls)
    for pull in (velocity, gravity):
        assert abs(pull.mean()) < 0.45
        assert 0.72 < pull.std() < 1.3
    assert rchi2.mean() == pytest.approx(1, abs=0.03)


def test_twice_the_signal_halves_the_errors():
    dim, bright = (fit_spectrum(*observe(teff=18_000, snr=snr)) for snr in (20, 40))
    for name in ("e_v_rad", "e_teff", "e_logg"):
        assert getattr(dim, name) / getattr(bright, name) == pytest.approx(2, rel=0.15)
    assert bright.snr / dim.snr == pytest.approx(2, rel=0.05)


def test_a_shift_by_a_fraction_of_a_pixel_moves_the_velocity_alone():
    shifts = np.linspace(0, 69, 7)
    found = [fit_spectrum(*noiseless(v_rad, 15_000, 8.2)).v_rad for v_rad in shifts]
    np.testing.assert_allclose(found, shifts, atol=0.2)


def test_reddening_and_a_poor_flux_calibration_cost_nothing():
    wavelength, flux, ivar = observe(60.0)
    tilt = (wavelength / 5000) ** 1.5
    straight, tilted = (
        fit_spectrum(wavelength, flux, ivar),
        fit_spectrum(wavelength, flux * tilt, ivar / tilt**2),
    )
    assert tilted.v_rad == pytest.approx(straight.v_rad, abs=0.3 * straight.e_v_rad)
    assert tilted.teff == pytest.approx(straight.teff, abs=0.3 * straight.e_teff)


@pytest.mark.parametrize("unit", [1e-17, 1e-25, 1e25])
def test_the_unit_of_the_flux_does_not_matter(unit):
    wavelength, flux, ivar = observe(60.0)
    here, there = fit_spectrum(wavelength, flux, ivar), fit_spectrum(wavelength, flux * unit, ivar / unit**2)
    assert numbers(there) == pytest.approx(numbers(here), rel=1e-4, nan_ok=True)


def test_order_type_and_masks_of_the_arrays_do_not_matter():
    wavelength, flux, ivar = observe(60.0)
    flux, ivar = flux.astype(">f4"), ivar.astype(">f4")
    expected = numbers(fit_spectrum(wavelength, flux, ivar))
    backwards = fit_spectrum(wavelength[::-1], flux[::-1], ivar[::-1])
    assert numbers(backwards) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    masked = np.ma.masked_array(flux, mask=wavelength < 4000)
    with_zero = fit_spectrum(wavelength, flux, np.where(wavelength < 4000, 0, ivar))
    np.testing.assert_equal(numbers(fit_spectrum(wavelength, masked, ivar)), numbers(with_zero))


def test_data_are_left_as_they_are():
    given = observe()
    before = [array.copy() for array in given]
    fit_spectrum(*given)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_masked_pixels_may_hold_anything():
    wavelength, flux, ivar = observe(60.0)
    clean = ivar.copy()
    clean[::7] = 0
    expected = fit_spectrum(wavelength, flux, clean)
    flux[::7] = np.resize([np.nan, np.inf, -1e30, 0], flux[::7].size)
    ivar[::7] = np.resize([np.nan, 1, 0, -np.inf], ivar[::7].size)
    ivar[14::28] = 0
    np.testing.assert_equal(numbers(fit_spectrum(wavelength, flux, ivar)), numbers(expected))


def test_cosmic_rays_are_left_out():
    wavelength, flux, ivar = observe(60.0, snr=20)
    expected = fit_spectrum(wavelength, flux, ivar)
    hit = np.searchsorted(wavelength, [4100, 4345, 4870, 6560, 6600])
    flux[hit] += 60 / np.sqrt(ivar[hit])
    fit = fit_spectrum(wavelength, flux, ivar)
    assert fit.v_rad == pytest.approx(expected.v_rad, abs=0.5 * expected.e_v_rad)
    assert fit.rchi2 == pytest.approx(expected.rchi2, abs=0.02)


@pytest.mark.parametrize(("first", "last", "looser"), [(4700, 5100, 1.2), (6300, 6900, 1.2), (3600, 5000, 1.0)])
def test_some_of_the_lines_are_enough(first, last, looser):
    wavelength, flux, ivar = observe(60.0)
    part = (wavelength > first) & (wavelength < last)
    fit = fit_spectrum(wavelength[part], flux[part], ivar[part])
    assert abs(fit.v_rad - 60) < 4 * fit.e_v_rad
    assert fit.e_v_rad > looser * fit_spectrum(wavelength, flux, ivar).e_v_rad


def test_windows_can_be_chosen():
    wavelength, flux, ivar = observe(60.0)
    windows = {name: LINE_WINDOWS[name] for name in ("H-alpha", "H-beta")}
    part = (wavelength < 5100) | (wavelength > 6300)
    chosen = fit_spectrum(wavelength, flux, ivar, windows=windows)
    elsewhere = fit_spectrum(wavelength, flux, np.where((wavelength > 4700) & part, ivar, 0), windows=windows)
    assert flags(chosen) <= {"two_solutions"}
    assert chosen.e_v_rad > fit_spectrum(wavelength, flux, ivar).e_v_rad
    np.testing.assert_equal(numbers(elsewhere), numbers(chosen))


def test_a_gap_across_a_line_is_survived():
    wavelength, flux, ivar = observe(60.0)
    ivar[(wavelength > 4830) & (wavelength < 5500)] = 0
    fit = fit_spectrum(wavelength, flux, ivar)
    assert flags(fit) == set()
    assert abs(fit.v_rad - 60) < 4 * fit.e_v_rad


def test_low_signal_to_noise_is_flagged():
    fit = fit_spectrum(*observe(snr=1.5))
    assert fit.low_snr
    assert fit.snr < 3
    assert not fit_spectrum(*observe(snr=1.5), min_snr=1).low_snr


def test_a_featureless_spectrum_has_no_lines():
    rng = np.random.default_rng(1)
    fit = fit_spectrum(BOSS, 20 + rng.normal(size=BOSS.size), np.ones(BOSS.size))
    assert flags(fit) == {"no_lines"}
    assert measured(fit) == set()
    assert fit.snr == pytest.approx(20, rel=0.02)
    assert fit.rchi2 > 0.9


def test_emission_lines_are_not_the_lines():
    wavelength, flux, ivar = observe()
    fit = fit_spectrum(wavelength, 2 * np.median(flux) - flux, ivar)
    assert fit.no_lines
    assert measured(fit) == set()


def test_molecular_bands_are_not_the_lines():
    bands = 20 + 8 * np.sin(BOSS / 25) + 6 * np.sign(np.sin(BOSS / 130))
    fit = fit_spectrum(BOSS, bands, np.ones(BOSS.size))
    assert fit.no_lines
    assert measured(fit) == set()


def test_a_refinement_that_is_cut_off_has_not_converged():
    fit = fit_spectrum(*observe(), max_evaluations=1)
    assert flags(fit) - {"bad_fit"} == {"not_converged"}
    assert measured(fit) == set()
    assert np.isfinite([fit.initial_v_rad, fit.initial_teff, fit.initial_logg, fit.rchi2]).all()


@pytest.mark.parametrize("v_rad", [-700.0, 700.0])
def test_a_velocity_beyond_the_range_is_at_its_edge(v_rad):
    fit = fit_spectrum(*observe(v_rad, snr=50), max_velocity=400)
    assert fit.v_rad_at_edge
    assert fit.v_rad == pytest.approx(np.sign(v_rad) * 400, abs=2)
    assert not fit_spectrum(*observe(v_rad, snr=50)).v_rad_at_edge


@pytest.mark.parametrize(("teff", "logg"), [(55_000, 8.0), (5500, 8.0), (13_000, 6.3), (13_000, 9.6)])
def test_a_star_outside_the_grid_is_at_its_edge(teff, logg):
    fit = fit_spectrum(*observe(60.0, teff, logg, snr=80))
    assert fit.template_at_edge
    assert abs(fit.v_rad - 60) < 40


@pytest.mark.parametrize("where", [(3600, 3700), (4850, 4880), (7000, 9000), (6565, 6800)])
def test_pixels_that_hold_no_line_are_too_few(where):
    wavelength, flux, ivar = observe()
    part = (wavelength > where[0]) & (wavelength < where[1])
    fit = fit_spectrum(wavelength[part], flux[part], ivar[part])
    assert fit.too_few_pixels
    assert measured(fit) == set()


def test_the_least_number_of_pixels_can_be_chosen():
    wavelength, flux, ivar = observe()
    thinned = [array[::6] for array in (wavelength, flux, ivar)]
    assert fit_spectrum(*thinned, min_pixels=300).too_few_pixels
    fit = fit_spectrum(*thinned)
    assert flags(fit) <= {"two_solutions"}
    assert abs(fit.v_rad) < 4 * fit.e_v_rad


RNG = np.random.default_rng(5)
ONES = np.ones(BOSS.size)
GARBAGE = {
    "nothing": ([], [], []),
    "one pixel": ([6564.0], [1.0], [1.0]),
    "all zero": (BOSS, 0 * ONES, ONES),
    "no weight": (BOSS, ONES, 0 * ONES),
    "negative weight": (BOSS, ONES, -ONES),
    "all NaN": (BOSS, np.nan * ONES, ONES),
    "weights NaN": (BOSS, ONES, np.nan * ONES),
    "wavelengths NaN": (np.nan * ONES, ONES, ONES),
    "wavelengths zero": (0 * ONES, ONES, ONES),
    "wavelengths all equal": (6564.0 * ONES, ONES, ONES),
    "exactly constant": (BOSS, ONES, ONES),
    "negative": (BOSS, -ONES + 0.1 * RNG.normal(size=BOSS.size), 100 * ONES),
    "noise": (BOSS, RNG.normal(size=BOSS.size), ONES),
    "enormous": (BOSS, 1e300 * RNG.normal(size=BOSS.size), ONES),
    "tiny": (BOSS, 1e-300 * RNG.normal(size=BOSS.size), ONES),
    "infinite weight": (BOSS, ONES, np.inf * ONES),
    "enormous weight": (BOSS, ONES + RNG.normal(size=BOSS.size), 1e300 * ONES),
    "one bright pixel": (BOSS, np.where(np.arange(BOSS.size) == 2600, 1e20, 0.0), ONES),
    "infrared": (np.linspace(15_100, 17_000, 8575), np.ones(8575), np.ones(8575)),
    "whole numbers": (np.arange(3600, 10_400), np.full(6800, 7), np.full(6800, 1)),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_flagged_and_measures_nothing(name):
    fit = fit_spectrum(*GARBAGE[name])
    assert flags(fit) & {"too_few_pixels", "no_lines", "not_converged"}
    assert measured(fit) == set()


def test_arrays_of_different_length_are_an_error_with_their_shapes():
    with pytest.raises(SpectrumError, match=r"shapes \(4648,\), \(4647,\), \(4648,\)") as caught:
        fit_spectrum(BOSS, ONES[1:], ONES)
    assert isinstance(caught.value, AstraError)
    with pytest.raises(SpectrumError, match="one dimension"):
        fit_spectrum(BOSS[None], ONES[None], ONES[None])


def test_templates_without_balmer_lines_are_an_error():
    axis = np.linspace(5200, 5800, 2000)
    grid = TemplateGrid(np.array([1e4, 2e4]), np.array([7.0, 9.0]), axis, np.ones((2, 2, axis.size)))
    with pytest.raises(TemplateError, match=r"cover 5201 to 5800 Angstrom, which holds no Balmer line"):
        fit_spectrum(*observe(), grid)


def test_templates_of_some_lines_are_used_for_these():
    axis = np.arange(4600.0, 5150.0, 0.4)
    teff, logg = np.geomspace(7000, 35_000, 12), np.linspace(7, 9, 5)
    flux = np.array([[da_flux(axis, t, g) for g in logg] for t in teff])
    fit = fit_spectrum(*observe(60.0), TemplateGrid(teff, logg, axis, flux))
    assert abs(fit.v_rad - 60) < 4 * fit.e_v_rad


def read_boss(path):
    from astropy.io import fits

    with fits.open(path) as file:
        table = file[1].data
        columns = [np.array(table[name], dtype=float) for name in ("loglam", "flux", "ivar")]
    return 10 ** columns[0], *columns[1:]


def test_real_white_dwarf(real_data):
    """SDSS J082600.58+282346.2: published are 13242 K and log g 8.22, by another method 13912 K and 8.10."""
    fit = fit_spectrum(*read_boss(real_data / "wdtools/sample_spectrum.fits"), load_grid(real_data / "koester_da"))
    assert flags(fit) == set()
    assert fit.rchi2 < 1.2
    assert abs(fit.v_rad) < 100
    assert fit.e_v_rad < 10
    assert 12_500 < fit.teff < 15_000
    assert 8.0 < fit.logg < 8.35


def test_real_white_dwarf_has_one_velocity_whatever_the_templates(real_data):
    spectrum = read_boss(real_data / "wdtools/sample_spectrum.fits")
    koester = fit_spectrum(*spectrum, load_grid(real_data / "koester_da"))
    family = fit_spectrum(*spectrum)
    assert abs(koester.v_rad - family.v_rad) < 3 * np.hypot(koester.e_v_rad, family.e_v_rad)


@pytest.mark.parametrize("name", ["spec-0618-52049-0372", "spec-1123-52882-0065", "spec-5047-55833-0936"])
@pytest.mark.parametrize("templates", ["family", "koester"])
def test_real_m_dwarfs_have_no_lines(real_data, name, templates):
    grid = load_grid(real_data / "koester_da") if templates == "koester" else None
    fit = fit_spectrum(*read_boss(real_data / f"pyhammer/{name}.fits"), grid)
    assert fit.no_lines
    assert measured(fit) == set()


def test_a_real_hot_star_with_narrow_lines_is_outside_the_grid(real_data):
    fit = fit_spectrum(*read_boss(real_data / "pyhammer/spec-4068-55445-0924.fits"))
    assert fit.template_at_edge
