"""Of results in several versions, the newest: one row per key, whatever is joined to it."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import peewee
import pytest

from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.fields import FloatField, TextField
from astra_models.pipeline import LatestMixin, PipelineOutputMixin
from astra_models.rocket import Rocket
from astra_models.source import Source

RESULTS = [model for model in BaseModel.concrete_models() if issubclass(model, LatestMixin)]


def store(model: Any, spectra: Sequence[BossVisitSpectrum], v_astra: int, **columns: Any) -> None:
    for spectrum in spectra:
        model.from_spectrum(spectrum, v_astra=v_astra, **columns).save()


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> list[BossVisitSpectrum]:
    """Give three spectra: two have results of 0.8.1 and 0.9.0, one of 0.8.1 alone."""
    stored = make_spectra(3)
    store(Corv, stored, 8_001, teff=20_000)
    store(Corv, stored[:2], 9_000, teff=10_000)
    return stored


def test_there_is_one_row_per_spectrum(spectra: list[BossVisitSpectrum]) -> None:
    found = [(row.spectrum_pk, row.v_astra, row.teff) for row in Corv.latest().order_by(Corv.spectrum_pk)]
    first, second, third = (spectrum.spectrum_pk for spectrum in spectra)
    assert found == [(first, 9_000, 10_000), (second, 9_000, 10_000), (third, 8_001, 20_000)]


def test_it_does_not_matter_in_which_order_versions_came(spectra: list[BossVisitSpectrum]) -> None:
    store(Corv, spectra[:1], 7_005, teff=1)
    assert Corv.latest().count() == 3
    assert Corv.latest().where(Corv.v_astra == 7_005).count() == 0


def test_a_join_with_sources_does_not_double_after_a_minor_release(spectra: list[BossVisitSpectrum]) -> None:
    doubled = Corv.select(Corv.teff, Source.sdss_id).join(Source)
    assert doubled.count() == 5
    query = Corv.latest(Corv.teff, Source.sdss_id).join(Source).order_by(Source.sdss_id)
    assert [teff for teff, _ in query.tuples()] == [10_000, 10_000, 20_000]
    assert len({sdss_id for _, sdss_id in query.tuples()}) == 3


def test_conditions_are_on_the_newest_results(spectra: list[BossVisitSpectrum]) -> None:
    assert [row.spectrum_pk for row in Corv.latest().where(Corv.teff > 15_000)] == [spectra[2].spectrum_pk]


def test_a_source_is_found_by_its_sdss_id(spectra: list[BossVisitSpectrum]) -> None:
    sdss_id = Source.get_by_id(spectra[0].source_pk).sdss_id
    result = Corv.latest().join(Source, on=(Corv.source_pk == Source.pk)).where(Source.sdss_id == sdss_id).get()
    assert (result.v_astra, result.teff) == (9_000, 10_000)


def test_two_tables_of_results_are_joined_at_their_newest(spectra: list[BossVisitSpectrum]) -> None:
    store(Rocket, spectra, 8_001, teff=1)
    store(Rocket, spectra[1:], 9_000, teff=2)
    both = (
        Corv.latest(Corv.teff, Rocket.teff)
        .join(Rocket, on=(Corv.spectrum_pk == Rocket.spectrum_pk))
        .where(Rocket.is_latest())
        .order_by(Corv.spectrum_pk)
    )
    assert list(both.tuples()) == [(10_000, 1), (10_000, 2), (20_000, 2)]


def test_it_can_be_a_part_of_another_query(spectra: list[BossVisitSpectrum]) -> None:
    hot = Corv.latest(Corv.spectrum_pk).where(Corv.teff > 15_000)
    found = BossVisitSpectrum.select().where(BossVisitSpectrum.spectrum_pk.in_(hot))
    assert [spectrum.spectrum_pk for spectrum in found] == [spectra[2].spectrum_pk]
    newest = Corv.latest(peewee.fn.MAX(Corv.v_astra), peewee.fn.COUNT(Corv.task_pk)).tuples()
    assert list(newest) == [(9_000, 3)]


def test_it_is_looked_up_in_the_index_of_the_unique_key(spectra: list[BossVisitSpectrum]) -> None:
    database = Corv._meta.database.obj
    sql, parameters = Corv.latest().where(Corv.spectrum_pk == spectra[0].spectrum_pk).sql()
    if isinstance(database, peewee.SqliteDatabase):
        plan = str(database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
        assert "SEARCH t2 USING INDEX sqlite_autoindex_corv_1 (spectrum_pk=? AND v_astra_major_minor>?)" in plan
        return
    with database.atomic():
        database.execute_sql("SET LOCAL enable_seqscan = off")  # which a table of five rows is read by
        database.execute_sql("SET LOCAL enable_bitmapscan = off")
        plan = str(database.execute_sql(f"EXPLAIN {sql}", parameters).fetchall())
    assert "corv_spectrum_pk_v_astra_major_minor_key on corv t2" in plan


# ---- results that are kept by something else than a spectrum


def test_results_per_source(database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> None:
    class Best(PipelineOutputMixin):
        upsert_key: ClassVar[tuple[str, ...]] = ("source_pk", "v_astra")
        teff = FloatField(null=True)

        class Meta:
            constraints = [peewee.SQL("UNIQUE (source_pk, v_astra)")]

    Best.create_table()
    source = Source.create(sdss_id=1).pk
    visits = make_spectra(2, sources=[source, source])
    store(Best, visits[:1], 8_000, teff=1)
    store(Best, visits[1:], 8_001, teff=2)  # of another spectrum of the source, and of a patch release

    assert [(row.source_pk, row.teff) for row in Best.latest()] == [(source, 2)]


def test_results_per_spectrum_and_element(
    database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]]
) -> None:
    class Abundances(PipelineOutputMixin):
        upsert_key: ClassVar[tuple[str, ...]] = ("spectrum_pk", "v_astra_major_minor", "element")
        element = TextField()
        x_h = FloatField(null=True, unit="dex")

        class Meta:
            constraints = [peewee.SQL("UNIQUE (spectrum_pk, v_astra_major_minor, element)")]

    Abundances.create_table()
    one = make_spectra(1)
    store(Abundances, one, 8_001, element="mg", x_h=0.25)
    store(Abundances, one, 8_001, element="si", x_h=0.5)
    store(Abundances, one, 9_000, element="si", x_h=0.75)

    found = [(row.element, row.x_h) for row in Abundances.latest().order_by(Abundances.element)]
    assert found == [("mg", 0.25), ("si", 0.75)]


# ---- every table of results


@pytest.mark.parametrize("model", RESULTS, ids=lambda model: model.__name__)
def test_the_documented_queries_are_those_of_every_model(database: peewee.Database, model: Any) -> None:
    join = {"on": model.source_pk == Source.pk}
    assert model.select().join(Source, **join).where(Source.sdss_id == 12345678).first() is None
    assert list(model.latest().join(Source, **join).where(Source.sdss_id == 12345678)) == []
    assert model.latest().count() == 0
