"""Rocket, the tutorial's pipeline: a temperature from where a spectrum is brightest."""

from collections.abc import Iterable

import numpy as np

from astra_models.analysis.task import task
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket

WIEN = 2.897771955e7  # Wien's displacement constant, angstrom kelvin
SMOOTHING = 301  # pixels, far wider than any line
LOWEST_SNR = 3


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Estimate a temperature by Wien's displacement law, from the brightest wavelength.

    Yields
    ------
    Rocket
        ``teff`` in K, from the peak of the smoothed flux (in vacuum angstrom). A star that is brightest outside the
        spectrum gets the temperature of the spectrum's edge, so this is a lesson and not a measurement.
    """
    kernel = np.ones(SMOOTHING) / SMOOTHING
    for spectrum in spectra:
        good = (spectrum.ivar > 0) & np.isfinite(spectrum.flux)
        if not good.any():
            yield Rocket.from_spectrum(spectrum, flag_low_snr=True)
            continue
        flux = np.where(good, spectrum.flux, 0)
        peak = np.argmax(np.convolve(flux, kernel, mode="same"))
        snr = np.median((flux / spectrum.e_flux)[good])
        yield Rocket.from_spectrum(spectrum, teff=WIEN / spectrum.wavelength[peak], flag_low_snr=snr < LOWEST_SNR)
