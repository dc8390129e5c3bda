"""What all results have in common: keys, the generated major.minor version, one result per spectrum and version."""

from typing import Any

import peewee
import pytest

import astra_models
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import AbstractModelError
from astra_models.fields import BitField, FloatField
from astra_models.pipeline import PipelineOutputMixin, PipelineOutputModel
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum

OUTPUTS = pytest.mark.parametrize("model", [Rocket, Corv])


def test_both_documented_names_are_the_same_class() -> None:
    assert PipelineOutputModel is PipelineOutputMixin


def test_the_documented_columns_are_there() -> None:
    documented = {
        "task_pk": "AutoField",
        "source_pk": "ForeignKeyField",
        "spectrum_pk": "ForeignKeyField",
        "v_astra": "IntegerField",
        "created": "DateTimeField",
        "modified": "DateTimeField",
        "t_elapsed": "FloatField",
        "t_overhead": "FloatField",
        "tag": "TextField",
    }
    fields = PipelineOutputMixin._meta.fields
    assert {name: type(fields[name]).__name__ for name in documented} == documented


def test_the_base_has_no_table(memory_database: peewee.Database) -> None:
    with pytest.raises(AbstractModelError, match="PipelineOutputMixin is a base"):
        PipelineOutputMixin.create_table()
    assert "pipeline_output_mixin" not in memory_database.get_tables()


@pytest.mark.lesson(15)
@OUTPUTS
def test_tables_of_results_can_be_created_and_dropped(database: peewee.Database, model: Any) -> None:
    model.drop_table()
    assert not model.table_exists()
    model.create_table()
    assert model.table_exists()
    assert model.select().count() == 0


@pytest.mark.lesson(15)
@OUTPUTS
def test_columns_are_named_as_their_fields(database: peewee.Database, model: Any) -> None:
    columns = [column.name for column in database.get_columns(model._meta.table_name, model._meta.schema)]
    generated = [] if "v_astra_major_minor" in columns else ["v_astra_major_minor"]  # SQLite doesn't list them
    assert set(columns + generated) == set(model._meta.fields)


@pytest.mark.lesson(27)
@OUTPUTS
def test_no_index_repeats_the_unique_constraint(database: peewee.Database, model: Any) -> None:
    indexes = database.get_indexes(model._meta.table_name, model._meta.schema)
    columns = [tuple(index.columns) for index in indexes]
    assert ("spectrum_pk", "v_astra_major_minor") in columns
    assert ("spectrum_pk",) not in columns
    assert len(columns) == len(set(columns))


# ---- the generated version


@OUTPUTS
@pytest.mark.parametrize(("v_astra", "major_minor"), [(8_001, 8), (8_999, 8), (9_000, 9), (1_002_003, 1_002), (0, 0)])
def test_the_major_minor_version_is_made_by_the_database(
    spectrum: BossVisitSpectrum, model: Any, v_astra: int, major_minor: int
) -> None:
    pk = model.create(spectrum_pk=spectrum.spectrum_pk, v_astra=v_astra).task_pk
    assert model.get_by_id(pk).v_astra_major_minor == major_minor
    assert model.select().where(model.v_astra_major_minor == major_minor).count() == 1


def test_it_follows_the_version(spectrum: BossVisitSpectrum) -> None:
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, v_astra=8_001)
    Rocket.update(v_astra=9_000).execute()
    assert Rocket.get_by_id(result.task_pk).v_astra_major_minor == 9


@pytest.mark.lesson(25)
def test_the_installed_version_is_the_default(spectrum: BossVisitSpectrum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.8.3rc1")
    Rocket.create(spectrum_pk=spectrum.spectrum_pk)
    assert (Rocket.get().v_astra, Rocket.get().v_astra_major_minor) == (8_003, 8)


# ---- one result per spectrum and major.minor version


@pytest.mark.lesson(25)
@OUTPUTS
def test_a_patch_release_does_not_add_a_result(spectrum: BossVisitSpectrum, model: Any) -> None:
    model.create(spectrum_pk=spectrum.spectrum_pk, v_astra=8_000)
    with pytest.raises(peewee.IntegrityError):
        model.create(spectrum_pk=spectrum.spectrum_pk, v_astra=8_001)
    assert model.select().count() == 1


@OUTPUTS
def test_other_versions_spectra_and_pipelines_add_results(
    database: peewee.Database, make_spectra: Any, model: Any
) -> None:
    one, two = make_spectra(2)
    model.create(spectrum_pk=one.spectrum_pk, v_astra=8_000)
    model.create(spectrum_pk=one.spectrum_pk, v_astra=9_000)
    model.create(spectrum_pk=one.spectrum_pk, v_astra=1_008_000)
    model.create(spectrum_pk=two.spectrum_pk, v_astra=8_000)
    other = Corv if model is Rocket else Rocket
    other.create(spectrum_pk=one.spectrum_pk, v_astra=8_000)
    assert (model.select().count(), other.select().count()) == (4, 1)


def test_peewees_own_upsert_works(spectrum: BossVisitSpectrum) -> None:
    Rocket.create(spectrum_pk=spectrum.spectrum_pk, v_astra=8_000, teff=5_000)
    key = [Rocket.spectrum_pk, Rocket.v_astra_major_minor]
    Rocket.insert(spectrum_pk=spectrum.spectrum_pk, v_astra=8_001, teff=6_000).on_conflict(
        conflict_target=key, preserve=[Rocket.teff, Rocket.v_astra]
    ).execute()
    assert [(row.teff, row.v_astra) for row in Rocket.select()] == [(6_000, 8_001)]


def test_a_result_needs_an_existing_spectrum(database: peewee.Database) -> None:
    with pytest.raises(peewee.IntegrityError):
        Rocket.create(spectrum_pk=404)
    with pytest.raises(peewee.IntegrityError):
        Rocket.create()


# ---- from_spectrum


def test_a_result_is_made_of_a_spectrum(spectrum: BossVisitSpectrum) -> None:
    result = Rocket.from_spectrum(spectrum, teff=5_000.0, logg=2.5, fe_h=-0.3, flag_low_snr=True)
    assert (result.spectrum_pk, result.source_pk) == (spectrum.spectrum_pk, spectrum.source_pk)
    result.save()
    stored = Rocket.get_by_id(result.task_pk)
    assert (stored.spectrum_pk, stored.source_pk) == (spectrum.spectrum_pk, spectrum.source_pk)
    assert (stored.teff, stored.logg, stored.flag_low_snr) == (5_000, 2.5, True)


def test_a_result_is_made_of_a_spectrum_of_any_kind(spectrum: BossVisitSpectrum) -> None:
    result = Rocket.from_spectrum(Spectrum.get_by_id(spectrum.spectrum_pk))
    assert (result.spectrum_pk, result.source_pk) == (spectrum.spectrum_pk, spectrum.source_pk)


def test_a_result_is_made_of_a_spectrum_whose_source_was_joined(spectrum: BossVisitSpectrum) -> None:
    model = BossVisitSpectrum
    joined = model.select(model, Source).join(Source, on=(model.source_pk == Source.pk)).get()
    result = Rocket.from_spectrum(joined, source_pk=spectrum.source_pk)
    result.save()
    assert Rocket.get().source_pk == spectrum.source_pk


def test_keys_that_match_may_be_given(spectrum: BossVisitSpectrum) -> None:
    keys = {"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk}
    result = Rocket.from_spectrum(spectrum, **keys)
    assert {name: getattr(result, name) for name in keys} == keys


@pytest.mark.parametrize("name", ["spectrum_pk", "source_pk"])
@pytest.mark.parametrize("wrong", [99, None])
def test_keys_that_do_not_match_are_an_error(spectrum: BossVisitSpectrum, name: str, wrong: int | None) -> None:
    with pytest.raises(ValueError, match=f"Rocket: {name} {wrong} was given, but the spectrum's is"):
        Rocket.from_spectrum(spectrum, **{name: wrong})


# ---- saving


@OUTPUTS
def test_a_loaded_result_can_be_changed_and_saved(spectrum: BossVisitSpectrum, model: Any) -> None:
    model.create(spectrum_pk=spectrum.spectrum_pk, v_astra=8_000, teff=5_000)
    loaded = model.get()
    loaded.teff, loaded.v_astra = 6_000, 8_001
    assert loaded.save() == 1
    again = model.get()
    assert (again.teff, again.v_astra, again.v_astra_major_minor) == (6_000, 8_001, 8)
    assert again.task_pk == loaded.task_pk


@OUTPUTS
def test_values_left_out_are_missing(spectrum: BossVisitSpectrum, model: Any) -> None:
    model.create(spectrum_pk=spectrum.spectrum_pk)
    stored = model.get()
    assert (stored.teff, stored.e_teff, stored.t_elapsed, stored.source_pk) == (None, None, None, None)
    assert (stored.tag, stored.result_flags) == ("", 0)


@OUTPUTS
def test_results_are_inserted_in_bulk(database: peewee.Database, make_spectra: Any, model: Any) -> None:
    spectra = make_spectra(3)
    model.bulk_create([model.from_spectrum(spectrum, teff=i) for i, spectrum in enumerate(spectra)])
    assert [row.teff for row in model.select().order_by(model.task_pk)] == [0, 1, 2]


def test_a_pipeline_of_ones_own(spectrum: BossVisitSpectrum) -> None:
    class MyPipeline(PipelineOutputMixin):
        teff = FloatField(null=True)
        logg = FloatField(null=True)
        fe_h = FloatField(null=True)
        my_flag = BitField(default=0)

    MyPipeline.create_table()
    MyPipeline.from_spectrum(spectrum, teff=5000.0, logg=2.5, fe_h=-0.3).save()
    with pytest.raises(peewee.IntegrityError):
        MyPipeline.from_spectrum(spectrum).save()
    row = MyPipeline.get()
    assert (row.teff, row.logg, row.my_flag) == (5000, 2.5, 0)
    assert row.fe_h == pytest.approx(-0.3)


def test_the_package_gives_what_the_documentation_imports_from_it() -> None:
    assert callable(astra_models.task)
    assert callable(astra_models.bulk_insert_or_replace_pipeline_results)
    assert astra_models.__version__
