"""Pixels of real survey files."""

from pathlib import Path

import numpy as np
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum

APSTAR = ["2M00452143+1634446", "2M03290406+3117075", "2M12132318+3900529"]  # the second has one visit: 1-D arrays
SPEC = ["pyhammer/spec-0618-52049-0372.fits", "pyhammer/spec-4068-55445-0924.fits", "wdtools/sample_spectrum.fits"]


@pytest.mark.parametrize("name", APSTAR)
def test_an_apstar_file(real_data: Path, name: str) -> None:
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(real_data / "apogee_tools" / f"apStar-r6-{name}.fits"))
    flux, ivar, wavelength = spectrum.flux, spectrum.ivar, spectrum.wavelength
    assert flux.shape == ivar.shape == wavelength.shape == spectrum.pixel_flags.shape == (8575,)
    assert np.isfinite(flux).all()
    assert np.isfinite(ivar).all()
    assert (ivar >= 0).all()
    assert 0.5 < np.mean(ivar > 0) < 1


@pytest.mark.parametrize("name", APSTAR)
def test_missing_pixels_of_an_apstar_file_have_no_weight(real_data: Path, name: str) -> None:
    from astropy.io import fits

    path = real_data / "apogee_tools" / f"apStar-r6-{name}.fits"
    spectrum = ApogeeCoaddedSpectrumInApStar(path=str(path))
    error = np.atleast_2d(fits.getdata(path, 2))[0]
    missing = (spectrum.flux == 0) & (error >= 1e10)
    assert missing.any()
    assert not spectrum.ivar[missing].any()
    assert np.isinf(spectrum.e_flux[missing]).all()
    good = spectrum.ivar > 0
    np.testing.assert_allclose(spectrum.e_flux[good], error[good], rtol=1e-5)


@pytest.mark.parametrize("name", SPEC)
def test_a_spec_file(real_data: Path, name: str) -> None:
    spectrum = BossVisitSpectrum(path=str(real_data / name))
    flux, ivar, wavelength = spectrum.flux, spectrum.ivar, spectrum.wavelength
    assert flux.shape == ivar.shape == wavelength.shape == spectrum.pixel_flags.shape
    assert len(flux) > 3500
    assert (np.diff(wavelength) > 0).all()
    assert 3500 < wavelength[0] < 4000
    assert 9000 < wavelength[-1] < 10_500
    assert (ivar >= 0).all()
    assert np.median(flux[ivar > 0] * np.sqrt(ivar[ivar > 0])) > 3


def test_a_spectrum_of_a_real_file_is_plotted(real_data: Path) -> None:
    from matplotlib import pyplot as plt

    figure = BossVisitSpectrum(path=str(real_data / SPEC[-1])).plot()
    assert len(figure.axes[0].lines[0].get_xdata()) > 3500
    plt.close(figure)
