"""What Snow White looks at in a spectrum, and what it does with spectra of which little is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_orchestration.pipelines.snow_white.features import N_FEATURES, NoFeaturesError, features
from astra_orchestration.pipelines.white_dwarfs.family import black_body, da_flux

BOSS = 10 ** (3.5563 + 1e-4 * np.arange(4648))
ONES = np.ones(BOSS.size)


def test_there_are_as_many_as_the_windows_have_pixels() -> None:
    found = features(BOSS, black_body(BOSS, 12_000), 100 * ONES)

    assert found.shape == (N_FEATURES,) == (399 + 438 + 308 + 54 + 9 + 4 + 537 + 2,)
    assert found.dtype == np.float32
    assert np.abs(found - 1).max() < 0.05  # a black body has no feature


def test_hydrogen_shows_in_the_windows_of_hydrogen() -> None:
    found = features(BOSS, da_flux(BOSS, 12_500, 8.0), 100 * ONES)

    assert found[:399].min() < 0.5
    assert abs(np.median(found[399 + 438 : 399 + 438 + 308]) - 1) < 0.15


def test_emission_in_h_alpha_is_measured() -> None:
    flux = black_body(BOSS, 4000)
    shining = flux * (1 + 3 * np.exp(-0.5 * ((BOSS - 6564.6) / 3) ** 2))

    quiet, active = (features(BOSS, one, 100 * ONES)[-2:] for one in (flux, shining))

    assert np.allclose(quiet, 1, atol=0.02)
    assert np.all(active > quiet + 0.2)


@pytest.mark.parametrize("power", [-30, -17, 0, 20])
def test_units_of_the_flux_dont_matter(power: int) -> None:
    flux = da_flux(BOSS, 15_000, 8.0)

    assert np.allclose(
        features(BOSS, flux * 10.0**power, ONES * 10.0 ** (-2 * power)), features(BOSS, flux, ONES), atol=1e-5
    )


def test_the_order_of_pixels_doesnt_matter() -> None:
    flux = da_flux(BOSS, 15_000, 8.0)

    assert np.array_equal(features(BOSS[::-1], flux[::-1], ONES), features(BOSS, flux, ONES))


@pytest.mark.parametrize(
    ("flux", "ivar", "reason"),
    [
        (ONES * np.nan, ONES, "no_flux"),
        (ONES * 0, ONES, "no_flux"),
        (ONES, ONES * 0, "no_flux"),
        (ONES, -ONES, "no_flux"),
        (ONES, ONES * np.nan, "no_flux"),
        (ONES * np.inf, ONES, "no_flux"),
        (ONES, np.where(BOSS > 6000, 1.0, 0.0), "too_few_pixels"),
        (ONES, np.where(np.arange(BOSS.size) % 50 == 0, 1.0, 0.0), "too_few_pixels"),
        (np.ma.masked_array(ONES, mask=True), ONES, "no_flux"),
    ],
    ids=["NaN", "zero", "no ivar", "negative ivar", "NaN ivar", "infinite", "half", "every 50th pixel", "masked"],
)
def test_what_is_missing_is_said(flux: np.ndarray, ivar: np.ndarray, reason: str) -> None:
    with pytest.raises(NoFeaturesError) as refusal:
        features(BOSS, flux, ivar)

    assert refusal.value.reason == reason


def test_a_spectrum_without_pixels_has_no_flux() -> None:
    with pytest.raises(NoFeaturesError) as refusal:
        features([], [], [])

    assert refusal.value.reason == "no_flux"


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\), \(2,\), \(2,\)"):
        features([4000, 5000, 6000], [1, 1], [1, 1])


def test_one_wrong_weight_isnt_the_continuum() -> None:
    flux, ivar = da_flux(BOSS, 12_000, 8.0), 100 * ONES
    at = int(np.argmin(np.abs(BOSS - 5300)))
    flux[at], ivar[at] = 5.0, 1e12
    right = features(BOSS, da_flux(BOSS, 12_000, 8.0), 100 * ONES)

    found = features(BOSS, flux, ivar)

    assert np.median(np.abs(found - right)) < 0.15


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_pixels=st.integers(0, 5000),
    first=st.floats(1000, 9000),
    step=st.floats(1e-6, 1e-3),
    scale=st.sampled_from([1e-300, 1e-17, 1.0, 1e17, 1e300]),
    broken=st.floats(0, 1),
)
def test_whatever_comes_in_gives_numbers_or_a_reason(
    seed: int, n_pixels: int, first: float, step: float, scale: float, broken: float
) -> None:
    random = np.random.default_rng(seed)
    wavelength = first * 10 ** (step * np.arange(n_pixels))
    flux, ivar = scale * random.normal(1, 1, n_pixels), random.exponential(1, n_pixels)
    bad = random.random((2, n_pixels)) < broken
    flux[bad[0]] = random.choice([np.nan, np.inf, -np.inf, 0.0, 1e308], n_pixels)[bad[0]]
    ivar[bad[1]] = random.choice([np.nan, np.inf, -1.0, 0.0, 1e308], n_pixels)[bad[1]]

    try:
        found = features(wavelength, flux, ivar)
    except NoFeaturesError as error:
        reason = error.reason
    else:
        reason = "too_few_pixels"
        assert found.shape == (N_FEATURES,)
        assert np.all(np.isfinite(found))
    assert reason in {"no_flux", "too_few_pixels"}
