"""The pseudo-continuum: smooth distortions leave nothing behind, whatever the noise, and bad pixels don't count."""

import numpy as np
import pytest
from astropy.io import fits

from astra_models.pixels.ivar import error_to_ivar
from astra_orchestration.pipelines.the_cannon.continuum import CHIPS, normalise
from astra_orchestration.sample.apogee.lines import model_flux

WAVELENGTH = 10 ** (4.179 + 6e-6 * np.arange(8575))
GAPS = ((0, 15_150), (15_815, 15_855), (16_435, 16_475), (16_950, 20_000))
GOOD = ~np.any([(first < WAVELENGTH) & (last > WAVELENGTH) for first, last in GAPS], axis=0)
STAR = model_flux(np.array([[4500.0, 2.0, 0.0, 0.1, 0.0, 0.1]]), np.log10(WAVELENGTH), 22_500)[0]


def observed(star, snr, bend=0.0, seed=1):
    """Give flux and ivar of a star behind a continuum that bends smoothly."""
    rng = np.random.default_rng(seed)
    x = (WAVELENGTH - 16_050) / 900
    light = 300 * star * (1 + bend * np.sin(rng.uniform(1, 4) * x + rng.uniform(0, 6)))
    error = light / snr
    ivar = np.where(GOOD, error**-2.0, 0)
    return np.where(GOOD, light + rng.normal(size=light.size) * error, 0), ivar


def normalised(*spectra):
    return normalise(WAVELENGTH, *(np.array(arrays) for arrays in zip(*spectra, strict=True)))


@pytest.mark.parametrize("snr", [50, 100, 300])
def test_a_smooth_distortion_leaves_no_more_than_the_noise(snr):
    clean = normalised(observed(STAR, 1e9)).flux[0]
    found = normalised(*(observed(STAR, snr, bend=0.15, seed=seed) for seed in range(20)))

    spread = np.std((found.flux - clean)[:, GOOD])

    assert spread <= 1.005 * np.sqrt(np.mean((clean[GOOD] / snr) ** 2))


def test_without_noise_a_smooth_distortion_leaves_next_to_nothing():
    found = normalised(*(observed(STAR, 1e9, bend=0.15, seed=seed) for seed in range(20)))

    assert np.std(found.flux[:, GOOD] - normalised(observed(STAR, 1e9)).flux[0, GOOD]) < 2e-4


def test_the_level_doesnt_depend_on_signal_to_noise():
    noisy = normalised(*(observed(STAR, 20, seed=seed) for seed in range(60))).flux[:, GOOD].mean(axis=0)

    assert np.mean(noisy - normalised(observed(STAR, 1e9)).flux[0, GOOD]) == pytest.approx(0, abs=3e-4)


def test_bad_pixels_dont_move_the_continuum():
    flux, ivar = observed(STAR, 100)
    before = normalised((flux, ivar)).continuum[0]
    flux, ivar = flux.copy(), ivar.copy()
    flux[1000:1005] *= 30  # a cosmic ray that nobody has marked
    flux[2000:2300], ivar[2000:2300] = 1e6, 0
    flux[4000], ivar[4000] = np.nan, 5.0
    flux[5000:5050], ivar[5000:5050] = flux[5000:5050] * 3, ivar[5000:5050] / 400  # under a sky line

    found = normalised((flux, ivar))

    assert found.continuum[0, GOOD] == pytest.approx(before[GOOD], rel=0.01)
    assert not found.ivar[0, [*range(1000, 1005), *range(2000, 2300), 4000, *range(5000, 5050)]].any()
    assert np.isfinite(found.flux).all() and np.isfinite(found.ivar).all()


def test_a_chip_without_pixels_has_no_continuum_and_leaves_the_others_alone():
    flux, ivar = observed(STAR, 100)
    half = ivar.copy()
    half[CHIPS[0][1] > WAVELENGTH] = 0

    whole, part, nothing = (normalised((flux, each)) for each in (ivar, half, 0 * ivar))

    assert np.isnan(part.continuum[0, CHIPS[0][1] > WAVELENGTH]).all()
    others = GOOD & (CHIPS[0][1] < WAVELENGTH)
    assert part.flux[0, others] == pytest.approx(whole.flux[0, others])
    assert not nothing.ivar.any() and not nothing.flux.any()


@pytest.mark.parametrize("star", ["2M00452143+1634446", "2M03290406+3117075", "2M12132318+3900529"])
def test_aspcaps_own_continuum_differs_by_little_but_its_level(real_data, star):
    """M dwarfs of S/N 83, 34 and 15: ours is the mean of the spectrum, ASPCAP's is nearer to its upper edge."""
    with (
        fits.open(real_data / f"apogee_tools/apStar-r6-{star}.fits") as ap_star,
        fits.open(real_data / f"apogee_tools/aspcapStar-r6-l30e.2-{star}.fits") as aspcap,
    ):
        flux, error = (np.atleast_2d(ap_star[ext].data)[0].astype(float) for ext in (1, 2))
        theirs, their_error = (aspcap[ext].data.astype(float) for ext in (1, 2))
    found = normalise(WAVELENGTH, flux[None], error_to_ivar(error, flux)[None])

    both = (found.ivar[0] > 0) & (theirs > 0) & (their_error < 0.5)
    for low, high in CHIPS:
        chip = both & (low < WAVELENGTH) & (high > WAVELENGTH)
        ratio = found.flux[0, chip] / theirs[chip]
        assert 1.0 < np.median(ratio) < 1.12
        assert np.std(ratio / np.median(ratio)) < 0.03
