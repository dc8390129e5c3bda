"""A return annotation without Iterable, page and limit for a query, any kind of spectra."""

from collections.abc import Iterable
from typing import Optional

from peewee import ModelSelect

from survey_astra import task
from survey_astra.models import BossCombinedSpectrum, BossVisitSpectrum, Slam, Source, SpectrumMixin


@task
def slam(
    spectra: Optional[Iterable[SpectrumMixin]] = (
        BossVisitSpectrum.select().join(Source).where(BossVisitSpectrum.snr > 5)
    ),
    page=None,
    limit=None,
) -> Slam:
    """Fit M dwarfs."""
    if isinstance(spectra, ModelSelect):
        raise TypeError("the default query was taken, or something like one")
    for spectrum in spectra:
        kind = "coadd" if isinstance(spectrum, BossCombinedSpectrum) else "visit"
        yield Slam(spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source.pk, teff=3000.0, tag=kind)


@task
def slam_of_snow_white(
    spectra: Optional[Iterable[SpectrumMixin]] = BossVisitSpectrum.select().where(BossVisitSpectrum.only_there > 5),
) -> Iterable[Slam]:
    """Ask about a column that nobody else has."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def few(spectra: Optional[Iterable[SpectrumMixin]] = BossVisitSpectrum.select().limit(10)) -> Iterable[Slam]:
    """Take ten."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)
