"""Sources in, results that name spectra."""

from collections.abc import Iterable
from typing import Optional

from peewee import JOIN, ModelSelect

from survey_astra import task
from survey_astra.models import NMFRectify, Source


@task
def by_source(
    sources: Optional[Iterable[Source]] = (
        Source.select()
        .distinct(Source.pk)
        .join(NMFRectify, JOIN.LEFT_OUTER, on=(NMFRectify.source_pk == Source.pk))
        .where(NMFRectify.source_pk.is_null() & (Source.g_mag > 0))
    ),
    page: Optional[int] = None,
    limit: Optional[int] = None,
) -> Iterable[NMFRectify]:
    """Fit the spectra of each source together."""
    assert not isinstance(sources, ModelSelect)
    for source in sources:
        spectra = list(source.boss_visit_spectra)
        for spectrum in spectra:
            yield NMFRectify(
                source_pk=source.pk,
                spectrum_pk=spectrum.spectrum_pk,
                joint_rchi2=len(spectra),
                rchi2=float(source.is_bright),
                L=1.0,
                deg=3,
            )
