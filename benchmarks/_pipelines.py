"""Pipelines that do next to nothing, in a module that workers can import."""

import time
from collections.abc import Iterable
from pathlib import Path

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket


@task
def naps(spectra: Iterable[BossVisitSpectrum], seconds: float = 0.05) -> Iterable[Rocket]:
    """Sleep over each spectrum."""
    for spectrum in spectra:
        time.sleep(seconds)
        yield Rocket.from_spectrum(spectrum)


@task
def nothing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give an empty result at once."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum)


@task
def weighs(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give the memory (MB) that the process had before its first spectrum for a temperature."""
    status = Path("/proc/self/status").read_text()
    megabytes = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=megabytes)
