"""Spectra as specutils has them."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spectrum_files import write_apstar, write_apvisit, write_mwm_star

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingExtraError
from astra_models.mwm import BossCombinedSpectrum

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports warns of its own future
    specutils = pytest.importorskip("specutils", reason="the extra 'specutils' isn't installed")


def test_units_uncertainty_and_mask(tmp_path: Path) -> None:
    row = ApogeeCoaddedSpectrumInApStar(path=str(write_apstar(tmp_path / "apStar.fits")), obj="2M00", snr=80.0)
    spectrum = row.to_specutils()
    assert isinstance(spectrum, specutils.Spectrum)
    assert spectrum.flux.unit.is_equivalent("erg / (s cm2 Angstrom)")
    assert spectrum.flux.to_value("erg / (s cm2 Angstrom)")[1000] == pytest.approx(1e-17)
    np.testing.assert_allclose(spectrum.wavelength.to_value("Angstrom"), row.wavelength)
    assert spectrum.uncertainty.uncertainty_type == "ivar"
    np.testing.assert_array_equal(spectrum.uncertainty.array, row.ivar)
    assert spectrum.uncertainty.unit == spectrum.flux.unit**-2
    np.testing.assert_array_equal(spectrum.mask, row.ivar == 0)
    assert (spectrum.meta["obj"], spectrum.meta["snr"]) == ("2M00", 80)
    np.testing.assert_array_equal(spectrum.meta["pixel_flags"], row.pixel_flags)


def test_chips_are_joined_in_order_of_wavelength(tmp_path: Path) -> None:
    spectrum = ApogeeVisitSpectrum(path=str(write_apvisit(tmp_path / "apVisit.fits"))).to_specutils()
    assert spectrum.flux.shape == (3 * 4096,)
    assert (np.diff(spectrum.spectral_axis.value) > 0).all()
    assert np.flatnonzero(spectrum.mask).tolist() == [0, 3 * 4096 - 1]


def test_a_flux_that_is_not_finite_is_masked(tmp_path: Path) -> None:
    row = BossCombinedSpectrum(path=str(write_mwm_star(tmp_path / "mwmStar.fits", {1: {}})), telescope="apo25m")
    row.flux[10] = np.nan
    assert np.flatnonzero(row.to_specutils().mask).tolist() == [0, 1, 2, 10]


def test_without_specutils_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "specutils", None)
    with pytest.raises(MissingExtraError, match=r"astra-orchestration\[specutils\]"):
        BossVisitSpectrum().to_specutils()


@pytest.mark.parametrize("name", ["wdtools/sample_spectrum.fits", "pyhammer/spec-0618-52049-0372.fits"])
def test_real_spectra(real_data: Path, name: str) -> None:
    row: Any = BossVisitSpectrum(path=str(real_data / name))
    spectrum = row.to_specutils()
    np.testing.assert_array_equal(spectrum.flux.value, row.flux)
    np.testing.assert_array_equal(spectrum.mask, row.ivar == 0)
