"""Several kinds of spectra, further options, an overhead, and rows by from_spectrum."""

from collections.abc import Iterable
from typing import Union

from survey_astra import task
from survey_astra.models import BossCombinedSpectrum, BossNet, BossVisitSpectrum


@task
def bossnet(
    spectra: Iterable[Union[BossVisitSpectrum, BossCombinedSpectrum]], scale: float = 1000.0, **kwargs
) -> Iterable[BossNet]:
    """Estimate temperatures."""
    assert "live" not in kwargs
    yield ...
    for spectrum in spectra:
        assert isinstance(spectrum, BossVisitSpectrum)
        assert not isinstance(spectrum, BossCombinedSpectrum)
        yield BossNet.from_spectrum(spectrum, teff=scale * spectrum.brightest(), e_teff=float(spectrum.e_flux[0]))
    yield ...
