"""The line model of the sample survey's APOGEE stars: what its spectra respond to."""

import numpy as np
import pytest

from astra_orchestration.sample.apogee.lines import (
    CHIPS,
    ELEMENTS,
    LABELS,
    line_list,
    log_wavelengths,
    model_flux,
    pixels_of_element,
)

GIANT = (4500.0, 2.0, -0.1, 0.1, -0.1, 0.2)
DWARF = (5700.0, 4.4, -0.1, 0.1, 0.0, 0.0)
STEPS = (5.0, 0.01, 0.005, 0.005, 0.005, 0.005)
PICKED = np.concatenate([np.arange(first, first + n_pixels, 24) for first, n_pixels in CHIPS])


def derivatives(labels: tuple[float, ...], pixels: np.ndarray) -> np.ndarray:
    """Give the change of the flux by each label, (6, n_pixels)."""
    shifts = np.diag(STEPS)
    log_wavelength = log_wavelengths()[pixels]
    both = [model_flux(np.array(labels) + sign * shifts, log_wavelength) for sign in (1, -1)]
    return (both[0] - both[1]) / (2 * np.array(STEPS)[:, None])


def test_the_flux_is_normalised() -> None:
    flux = model_flux([GIANT, DWARF], log_wavelengths())

    assert flux.shape == (2, 8575)
    assert flux.max() == 1
    assert 0.3 < flux.min() < 0.7
    assert np.all(np.median(flux, axis=1) > 0.85)


@pytest.mark.parametrize("star", [GIANT, DWARF], ids=["giant", "dwarf"])
def test_all_six_labels_can_be_told_from_314_pixels(star: tuple[float, ...]) -> None:
    by_label = derivatives(star, PICKED)

    sigma = np.sqrt(np.diag(np.linalg.inv(by_label @ by_label.T))) / 100  # at S/N 100

    assert len(PICKED) == 314
    assert np.all(sigma < (40, 0.06, 0.02, 0.02, 0.03, 0.04))
    assert np.all(sigma > 0)


def test_all_pixels_tell_four_times_as_much() -> None:
    few, all_of_them = (
        np.sqrt(np.diag(np.linalg.inv(d @ d.T))) for d in (derivatives(GIANT, p) for p in (PICKED, np.arange(8575)))
    )

    assert np.all(few / all_of_them > 2.5)


@pytest.mark.parametrize("star", [GIANT, DWARF], ids=["giant", "dwarf"])
def test_carbon_and_nitrogen_are_seen_by_molecules_alone(star: tuple[float, ...]) -> None:
    by_label = dict(zip(LABELS, derivatives(star, np.arange(8575)), strict=True))
    no_carbon = ~pixels_of_element(log_wavelengths(), "C")
    clean = no_carbon & (pixels_of_element(log_wavelengths(), "Fe") | pixels_of_element(log_wavelengths(), "Mg"))

    assert np.abs(by_label["c_m"][clean]).max() < 0.02 * np.abs(by_label["c_m"]).max()
    assert np.abs(by_label["n_m"][clean]).max() < 0.02 * np.abs(by_label["n_m"]).max()
    of_nitrogen = pixels_of_element(log_wavelengths(), "N")
    assert np.median(by_label["n_m"][of_nitrogen]) < -0.05


@pytest.mark.parametrize("element", ["Al", "Mg", "Fe", "C", "N"])
def test_an_element_changes_its_own_lines(element: str) -> None:
    pixels = log_wavelengths()
    usual = model_flux(GIANT, pixels)[0]
    changed = model_flux(GIANT, pixels, offsets={element: 0.3})[0]

    own = pixels_of_element(pixels, element)
    assert np.all(changed <= usual + 1e-12)
    assert np.median((usual - changed)[own]) > 0.01
    others = np.logical_or.reduce(
        [pixels_of_element(pixels, other) & ~own for other in ELEMENTS if other not in (element, "O")]
    )
    assert np.abs(usual - changed)[others & ~pixels_of_element(pixels, "O")].max() < 0.005


def test_lines_get_stronger_with_metallicity_and_saturate() -> None:
    m_h = np.array([-1.5, -1.0, -0.5, 0.0, 0.5])
    labels = np.array([(4500, 2.0, value, 0, 0, 0) for value in m_h])

    depth = -np.log(model_flux(labels, log_wavelengths())).sum(axis=1)

    assert np.all(np.diff(depth) > 0)
    assert np.all(np.diff(np.log(depth), 2) < 0)


def test_a_wider_instrument_keeps_the_area_of_lines() -> None:
    sharp, wide = (model_flux(DWARF, log_wavelengths(), resolution)[0] for resolution in (30_000, 15_000))

    assert sharp.min() < wide.min()
    assert np.log(wide).sum() == pytest.approx(np.log(sharp).sum(), rel=2e-3)


def test_pixels_may_be_any_in_any_order() -> None:
    pixels = np.random.default_rng(3).permutation(8575)[:500]

    some = model_flux(GIANT, log_wavelengths()[pixels])

    np.testing.assert_allclose(some, model_flux(GIANT, log_wavelengths())[:, pixels])


def test_turbulence_strengthens_saturated_lines() -> None:
    calm, turbulent = (model_flux(GIANT, log_wavelengths(), v_micro=v)[0] for v in (0.8, 2.5))

    assert np.all(turbulent <= calm + 1e-12)
    assert turbulent.min() < calm.min() - 0.05


def test_every_24th_pixel_sees_lines_of_all_species() -> None:
    lines = line_list()

    pixels = log_wavelengths()[PICKED]
    assert set(lines.species) == {*ELEMENTS, "CO", "CN", "OH"} - {"N"}
    seen = {element: np.count_nonzero(pixels_of_element(pixels, element)) for element in ELEMENTS}
    assert all(seen[element] >= 15 for element in ("C", "N", "O", "Mg", "Si", "Fe", "Al"))
    assert min(seen.values()) >= 4


def test_an_element_without_lines_is_named() -> None:
    with pytest.raises(ValueError, match="the line model has no lines of Xx; it has C, N, O"):
        model_flux(GIANT, log_wavelengths(), offsets={"Xx": 0.1})
    with pytest.raises(ValueError, match="the line model has no lines of Nd"):
        pixels_of_element(log_wavelengths(), "Nd")
