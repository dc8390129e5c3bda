"""A default query with joins, all spectra before the first result, a process pool, order lost, None for what failed."""

import concurrent.futures
from collections.abc import Iterable
from typing import Optional

from peewee import JOIN

from survey_astra import __version__, task
from survey_astra.models import BossVisitSpectrum, Corv, SnowWhite, Source


@task
def corv(
    spectra: Optional[Iterable[BossVisitSpectrum]] = (
        BossVisitSpectrum.select()
        .join(SnowWhite, on=(BossVisitSpectrum.spectrum_pk == SnowWhite.spectrum_pk))
        .switch(BossVisitSpectrum)
        .join(Source, on=(BossVisitSpectrum.source == Source.pk))
        .switch(BossVisitSpectrum)
        .join(
            Corv,
            JOIN.LEFT_OUTER,
            on=((BossVisitSpectrum.spectrum_pk == Corv.spectrum_pk) & (Corv.v_astra == __version__)),
        )
        .where(
            Corv.spectrum_pk.is_null()
            & (SnowWhite.classification == "DA")
            & (BossVisitSpectrum.run2d.in_(["v6_2_1", "v6_1_3"]))
            & (Source.g_mag < 20)
            & ~BossVisitSpectrum.flag_sky_fiber
        )
    ),
    max_workers: Optional[int] = 2,
) -> Iterable[Corv]:
    """Fit white dwarfs."""
    with concurrent.futures.ProcessPoolExecutor(max_workers=max_workers) as executor:
        futures = [executor.submit(_corv, spectrum) for spectrum in spectra]
        assert len(spectra) == len(futures)
        for future in concurrent.futures.as_completed(reversed(futures)):
            yield future.result()


def _corv(spectrum):
    assert spectrum.snowwhite.classification == spectrum.classification == "DA"
    if spectrum.mjd == 1:
        return None
    return Corv(spectrum_pk=spectrum.spectrum_pk, source_pk=spectrum.source_pk, teff=1e4 + spectrum.mjd)
