"""The examples of the documentation of the incumbent, with only the prefix changed."""

import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.base import bind
from astra_models.database.config import sqlite_database
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import Spectrum


def test_creating_three_tables_is_enough(memory_database: peewee.Database) -> None:
    alone = sqlite_database(":memory:")
    bind(alone)
    try:
        from astra_models.rocket import Rocket
        from astra_models.source import Source

        for model in (Source, Spectrum, Rocket):
            model.create_table()
        source, spectrum = Source.create(sdss_id=1), Spectrum.create()
        Rocket.create(spectrum_pk=spectrum.pk, source_pk=source.pk, teff=5777)
        assert sorted(alone.get_tables()) == ["rocket", "source", "spectrum"]
        assert Rocket.get().teff == 5777
    finally:
        alone.close()
        bind(memory_database)


def test_querying_results(database: peewee.Database) -> None:
    from astra_models.corv import Corv
    from astra_models.source import Source

    sources = [Source.create(sdss_id=sdss_id) for sdss_id in (12345678, 87654321)]
    for source, teff in zip(sources, (9_000, 12_000), strict=True):
        Corv.create(source_pk=source.pk, spectrum_pk=Spectrum.create().pk, teff=teff)

    hot = Corv.select().where(Corv.teff > 10000)
    assert [result.teff for result in hot] == [12_000]

    result = Corv.select().join(Source, on=(Corv.source_pk == Source.pk)).where(Source.sdss_id == 12345678).first()
    assert result.teff == 9_000
    assert result.source_pk == sources[0].pk

    joined = Corv.select(Corv, Source.sdss_id).join(Source, on=(Corv.source_pk == Source.pk), attr="source")
    assert [row.source.sdss_id for row in joined.order_by(Corv.teff)] == [12345678, 87654321]


def test_a_pipeline_result_of_a_spectrum(database: peewee.Database) -> None:
    class MyPipeline(PipelineOutputMixin):
        teff = FloatField(null=True)
        logg = FloatField(null=True)
        fe_h = FloatField(null=True)
        my_flag = BitField(default=0)

    MyPipeline.create_table()
    ApogeeCoaddedSpectrumInApStar.create(
        release="dr19", apred="1.3", obj="2M00", telescope="apo25m", spectrum_pk=Spectrum.create().pk
    )

    spectrum = ApogeeCoaddedSpectrumInApStar.get_by_id(1)
    result = MyPipeline.from_spectrum(
        spectrum,
        teff=5000.0,
        logg=2.5,
        fe_h=-0.3,
    )
    result.save()
    assert MyPipeline.get().spectrum_pk == spectrum.spectrum_pk
    with pytest.raises(ValueError, match="spectrum_pk"):
        MyPipeline.from_spectrum(spectrum, spectrum_pk=99)


def test_flags_are_properties_of_a_result(database: peewee.Database) -> None:
    from astra_models.rocket import Rocket

    result = Rocket(spectrum_pk=Spectrum.create().pk)
    result.flag_low_snr = True
    result.save()
    assert result.flag_low_snr
    assert Rocket.select().where(Rocket.flag_low_snr).count() == 1
