"""ASPCAP's steps that need no FERRE: guesses, grids, pixels, choice, continuum, edges, calibration."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.errors import MissingPixelsError
from astra_models.source import Source
from astra_orchestration.pipelines.aspcap.calibration import calibrated, calibrated_teff
from astra_orchestration.pipelines.aspcap.choosing import CoarseFit, choose
from astra_orchestration.pipelines.aspcap.configuration import (
    CalibrationRules,
    ContinuumRules,
    GridEntry,
    Linear,
    PixelRules,
)
from astra_orchestration.pipelines.aspcap.continuum import residual_continuum
from astra_orchestration.pipelines.aspcap.flags import Edges, edges
from astra_orchestration.pipelines.aspcap.grid_choice import KnownGrid, grids_for
from astra_orchestration.pipelines.aspcap.guesses import Guess, initial_guess, log10_v_micro
from astra_orchestration.pipelines.aspcap.pixels import BAD_ERROR, BAD_FLUX, pixels_for
from astra_orchestration.pipelines.ferre.grid import Chip, Grid

CHIPS = (Chip(4.180476, 6e-6, 3028), Chip(4.200510, 6e-6, 2495), Chip(4.217064, 6e-6, 1991))
USER = "flag_initial_guess_from_user"


def grid(lower: tuple[float, ...], steps: tuple[float, ...], chips: tuple[Chip, ...] = CHIPS) -> Grid:
    return Grid(Path("grid.hdr"), ("METALS", "LOGG", "TEFF"), (4, 4, 5), lower, steps, chips)


GIANTS = KnownGrid("GKg", grid((-1.5, 0.0, 4000.0), (0.5, 1.0, 500.0)), GridEntry(header=Path("g"), fibers=(146, 245)))
DWARFS = KnownGrid("GKd", grid((-1.5, 2.5, 4000.0), (0.5, 1.0, 500.0)), GridEntry(header=Path("d")))
HOT = KnownGrid("Fd", grid((-1.5, 2.5, 6000.0), (0.5, 1.0, 500.0)), GridEntry(header=Path("f")))
SOUTH = KnownGrid("GKg_s", GIANTS.grid, GridEntry(header=Path("s"), telescopes=("lco25m",)))


# ---- guesses


def test_a_guess_is_apogeenets_then_gaias_then_dopplers() -> None:
    source = Source(zgr_teff=5000, zgr_logg=2.5, zgr_fe_h=-0.5, zgr_quality_flags=0)
    spectrum = ApogeeCoaddedSpectrumInApStar(doppler_teff=4500, doppler_logg=2, doppler_flags=0)
    net = ApogeeNet(teff=4800, logg=2.2, fe_h=-0.3)
    assert initial_guess(spectrum, source, net) == Guess(4800, 2.2, -0.3, "flag_initial_guess_from_apogeenet")
    net.flag_unreliable_fe_h = True
    guess = initial_guess(spectrum, source, net)
    assert guess is not None and guess.m_h == 0
    net.flag_unreliable_logg = True
    assert initial_guess(spectrum, source, net) == Guess(5000, 2.5, -0.5, "flag_initial_guess_from_gaia_xp_zhang_2023")
    source.zgr_quality_flags = 1
    assert initial_guess(spectrum, source, net) == Guess(4500, 2, 0, "flag_initial_guess_from_doppler")
    spectrum.doppler_teff = math.nan
    assert initial_guess(spectrum, source, None) is None


def test_what_is_not_known_is_as_for_most_stars() -> None:
    guess = Guess(4500, 2.0, -0.5, USER)
    labels = ("LGVSINI", "LOG10VDOP", "O Mg Si S Ca Ti", "C", "N", "METALS", "LOGG", "TEFF")
    expected = [1.0, log10_v_micro(2.0), 0, 0, 0, -0.5, 2.0, 4500]
    assert [guess.value(label) for label in labels] == pytest.approx(expected)
    assert log10_v_micro(2.0) == pytest.approx(0.372160 - 0.181062 - 0.003208 + 0.010104)


# ---- grids


def names(chosen: list[tuple[KnownGrid, np.ndarray]]) -> list[str]:
    return [known.name for known, _ in chosen]


@pytest.mark.parametrize(
    ("teff", "logg", "expected"),
    [
        (4500, 2.0, ["GKg"]),
        (4500, 2.75, ["GKg", "GKd"]),
        (6000, 3.0, ["GKg", "GKd", "Fd"]),
        (7000, -1.0, ["Fd"]),
        (3000, 3.5, ["GKd"]),
        (3000, 1.0, ["GKg"]),
    ],
)
def test_a_spectrum_goes_to_all_grids_that_hold_its_guess_or_to_the_nearest(
    teff: float, logg: float, expected: list[str]
) -> None:
    chosen = grids_for([GIANTS, DWARFS, HOT, SOUTH], "apo25m", 200.0, Guess(teff, logg, -0.5, USER))
    assert names(chosen) == expected


def test_a_grid_is_for_its_telescopes_and_fibers() -> None:
    guess = Guess(4500, 2.0, -0.5, USER)
    assert names(grids_for([GIANTS, SOUTH], "lco25m", 145.4, guess)) == ["GKg_s"]
    assert names(grids_for([GIANTS, SOUTH], "lco25m", 145.6, guess)) == ["GKg", "GKg_s"]
    assert names(grids_for([GIANTS], "apo25m", None, guess)) == []


def test_without_a_guess_all_grids_are_tried_from_their_centers() -> None:
    chosen = grids_for([GIANTS, DWARFS], "apo25m", 200.0, None)
    assert names(chosen) == ["GKg", "GKd"]
    np.testing.assert_allclose([start for _, start in chosen], [[-0.75, 1.5, 5000], [-0.75, 4.0, 5000]])


@given(st.floats(2000, 12000), st.floats(-3, 8), st.floats(-5, 3))
def test_a_start_is_always_within_the_box(teff: float, logg: float, m_h: float) -> None:
    [(known, start), *_] = grids_for([GIANTS, DWARFS, HOT], "apo25m", 200.0, Guess(teff, logg, m_h, USER))
    assert (start > known.grid.lower).all() and (start < known.grid.upper).all()


# ---- pixels


def apstar(flux: float = 100.0, snr: float = 100.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    values = flux * (1 + random.normal(0, 1 / snr, 8575))
    return values, np.full(8575, (snr / flux) ** 2), np.zeros(8575, np.int64)


def test_pixels_are_those_of_the_header() -> None:
    flux, ivar, flags = apstar()
    found = pixels_for(GIANTS.grid, flux, ivar, flags, PixelRules())
    assert found.flux.shape == (7514,)
    picked = np.concatenate([flux[246:3274], flux[3585:6080], flux[6344:8335]])
    np.testing.assert_array_equal(found.flux, picked)
    kept = found.error < BAD_ERROR
    np.testing.assert_allclose(found.error[kept], 1)
    assert found.share_bad == 0 and kept.mean() > 0.99


def test_pixels_of_larger_steps_are_picked_and_of_others_interpolated() -> None:
    _, ivar, flags = apstar()
    ramp = np.arange(8575.0)
    coarse = grid((0, 0, 0), (1, 1, 1), (Chip(4.180476, 25 * 6e-6, 100), Chip(4.179 + 10.5 * 6e-6, 6e-6, 3)))
    found = pixels_for(coarse, ramp, ivar, flags, PixelRules(bright_sigmas=100))
    np.testing.assert_allclose(found.flux, [*(246 + 25 * np.arange(100)), 10.5, 11.5, 12.5], rtol=1e-9)


def test_a_grid_beyond_the_spectrum_has_bad_pixels_there() -> None:
    beyond = grid((0, 0, 0), (1, 1, 1), (Chip(4.179 - 2 * 6e-6, 6e-6, 5),))
    found = pixels_for(beyond, *apstar(), PixelRules(bright_sigmas=100))
    assert (found.error == BAD_ERROR).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("spoil", ["nan", "infinite", "negative", "no error", "bit"])
def test_a_bad_pixel_gets_a_flux_and_an_error_that_ferre_takes(spoil: str) -> None:
    flux, ivar, flags = apstar()
    if spoil == "no error":
        ivar[300] = 0
    elif spoil == "bit":
        flags[300] = 1 << 14
    else:
        flux[300] = {"nan": np.nan, "infinite": np.inf, "negative": -1e-3}[spoil]
    found = pixels_for(GIANTS.grid, flux, ivar, flags, PixelRules())
    assert (found.flux[54], found.error[54]) == (BAD_FLUX, BAD_ERROR)
    assert found.share_bad == pytest.approx(1 / 7514)


def test_sky_lines_spikes_and_tiny_errors_count_less() -> None:
    flux, ivar, flags = apstar()
    flags[300], flux[400], ivar[500] = 4096, 1e6, 1e12
    flux[401] = 130  # it hides behind the larger one
    found = pixels_for(GIANTS.grid, flux, ivar, flags, PixelRules())
    assert found.error[300 - 246] == pytest.approx(100)
    assert (found.error[400 - 246], found.error[401 - 246]) == (BAD_ERROR, BAD_ERROR)
    assert found.error[500 - 246] == 0.05


@given(st.lists(st.tuples(st.integers(246, 8334), st.floats(), st.floats(), st.integers(0, 1 << 15)), max_size=20))
def test_whatever_a_spectrum_has_ferre_gets_finite_numbers(spoilt: list[tuple[int, float, float, int]]) -> None:
    flux, ivar, flags = apstar()
    for place, value, weight, bits in spoilt:
        flux[place], ivar[place], flags[place] = value, weight, bits
    found = pixels_for(GIANTS.grid, flux, ivar, flags, PixelRules())
    assert np.isfinite(found.flux).all() and np.isfinite(found.error).all()
    assert (found.flux >= 0).all() and (found.error >= 0.05).all()


@pytest.mark.parametrize("array", [0, 1, 2])
def test_a_spectrum_of_other_pixels_is_refused(array: int) -> None:
    arrays = list(apstar())
    arrays[array] = arrays[array][:-1]
    with pytest.raises(MissingPixelsError, match="pixels, and an apStar 8575"):
        pixels_for(GIANTS.grid, *arrays, PixelRules())


# ---- choice


def coarse(rchi2: float, teff: float = 5000, **near: frozenset[str]) -> CoarseFit:
    return CoarseFit("a", teff, rchi2, Edges(**near), penalized_below=3900)


def test_penalties_multiply() -> None:
    assert coarse(2.0).penalized_rchi2 == 2
    assert coarse(2.0, teff=3800).penalized_rchi2 == 20
    assert coarse(2.0, warn=frozenset({"TEFF", "METALS"})).penalized_rchi2 == 10
    both = frozenset({"TEFF", "LOGG"})
    assert coarse(1.0, warn=both, bad=frozenset({"LOGG"}), failed=both).penalized_rchi2 == 5 * 5 * 10 * 20 * 20


def test_the_smallest_penalized_chi_squared_wins_and_a_tie_is_told() -> None:
    assert choose([coarse(3), coarse(1, warn=frozenset({"TEFF"})), coarse(2)]) == (2, False, True)
    assert choose([coarse(math.nan), coarse(2), coarse(2)]) == (1, True, True)
    assert choose([coarse(math.nan)]) == (0, False, False)


# ---- edges


def test_edges_are_told_by_steps_and_failures_by_errors() -> None:
    found = edges(DWARFS.grid, [-1.45, 3.0, 5000.0], [0.1, 0.1, 0.0], ["METALS", "LOGG", "TEFF"])
    assert found == Edges(
        warn=frozenset({"METALS", "LOGG"}),
        bad=frozenset({"METALS"}),
        failed=frozenset({"TEFF"}),
    )
    assert found.columns() == {
        "flag_m_h_atm_grid_edge_warn": True,
        "flag_logg_grid_edge_warn": True,
        "flag_m_h_atm_grid_edge_bad": True,
        "flag_ferre_fail": True,
    }


def test_what_is_fixed_is_neither_near_an_edge_nor_failed() -> None:
    assert edges(DWARFS.grid, [-1.5, 4.0, 5000.0], [0, 0.1, 10], ["LOGG", "TEFF"]) == Edges()
    assert edges(DWARFS.grid, [-999.999, math.nan, -1000.0], [1, 1, 1], []).failed == {"METALS", "LOGG", "TEFF"}


# ---- continuum


def test_the_ratio_to_the_model_is_smoothed_chip_by_chip_over_bad_pixels() -> None:
    random = np.random.default_rng(2)
    model = 1 - 0.3 * random.random(7514)
    shape = np.concatenate([np.linspace(0.95, 1.05, 3028), np.full(2495, 1.1), np.linspace(1.02, 0.98, 1991)])
    flux = model * shape * (1 + random.normal(0, 0.01, 7514))
    flux[100:110], flux[4000] = 0, 50
    found = residual_continuum(GIANTS.grid, flux, model, ContinuumRules())
    assert np.abs(found / shape - 1).max() < 0.02
    assert np.std(found / shape) < 0.003
    spoilt = np.full(7514, np.nan)
    np.testing.assert_array_equal(residual_continuum(GIANTS.grid, spoilt, model, ContinuumRules()), 1)


# ---- calibration


@pytest.mark.parametrize(
    ("teff", "logg", "m_h", "correction"),
    [
        (3900, 4.5, 0.0, 31.4673 + 34.7270),
        (5000, 4.5, -1.0, 1.4065e-4 * 25e6 - 1.4283 * 5000 + 3592.9544 - 95.2568),
        (7500, 3.8, 1.0, 486.8381 + 121.3829),
        (2900, 3.79, -3.0, 360.6954 - 192.4408),
        (4500, 2.0, -0.5, 2.0370e-4 * 4500**2 - 1.7968 * 4500 + 3917.8432 - 85.4827 / 2 + 21.2660),
        (6000, 2.0, 0.6, 321.0579 + 64.0073),
    ],
)
def test_the_temperature_scale_of_dr19(teff: float, logg: float, m_h: float, correction: float) -> None:
    assert calibrated_teff(teff, logg, m_h) == pytest.approx(teff - correction)


def test_what_has_no_calibration_is_left_out() -> None:
    raw = {"teff": 4500.0, "e_teff": 20.0, "logg": 2.0, "e_logg": 0.1, "m_h_atm": -0.5, "al_h": -0.4, "e_al_h": 0.05}
    found = calibrated(CalibrationRules(), raw)
    assert found == {
        "calibration": "dr19-irfm",
        "teff": calibrated_teff(4500, 2, -0.5),
        "e_teff": 20.0,
        "flag_as_dwarf_for_calibration": False,
        "flag_as_giant_for_calibration": True,
    }
    rules = CalibrationRules(
        name="ours", teff=None, logg_of_giants=Linear(constant=0.1, m_h=0.2), zero_points={"al_h": 0.03, "v_h": 1}
    )
    expected = {"logg": 2.0, "e_logg": 0.1, "al_h": pytest.approx(-0.43), "e_al_h": 0.05}
    assert calibrated(rules, raw).items() >= expected.items()
    assert "teff" not in calibrated(rules, raw) and "v_h" not in calibrated(rules, raw)
