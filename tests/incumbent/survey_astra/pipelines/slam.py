"""A return annotation without Iterable, page and limit for a query, any kind of spectra."""

from collections.abc import Iterable
from typing import Optional

from peewee import JOIN, ModelSelect, fn

from survey_astra import __version__, task
from survey_astra.models import BossCombinedSpectrum, BossVisitSpectrum, Slam, SnowWhite, Source, SpectrumMixin


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


@task
def of_many_conditions(
    spectra: Optional[Iterable[SpectrumMixin]] = (
        BossVisitSpectrum.select()
        .join(Source, on=(BossVisitSpectrum.source == Source.pk))
        .switch(BossVisitSpectrum)
        .join(SnowWhite, JOIN.LEFT_OUTER, on=(BossVisitSpectrum.spectrum_pk == SnowWhite.spectrum_pk))
        .where(
            Source.g_mag.between(15, 16)
            & (BossVisitSpectrum.run2d.startswith("v6"))
            & ((Source.g_mag - 5 * fn.COALESCE(BossVisitSpectrum.snr, 0)) > -100)
            & ((BossVisitSpectrum.mjd > 100) | BossVisitSpectrum.snr.is_null(False))
            & SnowWhite.classification.is_null()
            & (SnowWhite.v_astra == __version__)
        )
        .order_by(BossVisitSpectrum.mjd.desc())
    ),
) -> Iterable[Slam]:
    """Select by all that conditions are made of."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def of_two_queries(
    spectra: Optional[Iterable[SpectrumMixin]] = (
        BossVisitSpectrum.select().where(BossVisitSpectrum.mjd == 1)
        | BossVisitSpectrum.select().where(BossVisitSpectrum.mjd == 2)
    ),
) -> Iterable[Slam]:
    """Take the union of two."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def of_a_subquery(
    spectra: Optional[Iterable[SpectrumMixin]] = (
        BossVisitSpectrum.select().where(BossVisitSpectrum.spectrum_pk.in_(SnowWhite.select(SnowWhite.spectrum_pk)))
    ),
) -> Iterable[Slam]:
    """Take those in another table."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def of_a_table_that_is_not_joined(
    spectra: Optional[Iterable[SpectrumMixin]] = (BossVisitSpectrum.select().where(SnowWhite.classification == "DA")),
) -> Iterable[Slam]:
    """Ask about a table that isn't there."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)


@task
def of_done_ones(
    spectra: Optional[Iterable[SpectrumMixin]] = (
        BossVisitSpectrum.select().join(Slam, on=(BossVisitSpectrum.spectrum_pk == Slam.spectrum_pk))
    ),
) -> Iterable[Slam]:
    """Take those that have a result already."""
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=1.0)
