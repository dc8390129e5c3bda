"""The three FERRE stages: tables that can be made, flags that can be told apart, a row per element."""

from typing import Any

import peewee
import pytest

from astra_models.aspcap import ASPCAP
from astra_models.base import bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_models.fields import BitField
from astra_models.upsert import upsert

STAGES: list[Any] = [FerreCoarse, FerreStellarParameters, FerreChemicalAbundances]
each_stage = pytest.mark.parametrize("model", STAGES, ids=lambda model: model.__name__)

ELEMENTS = (
    *("C", "CI", "N", "O", "Na", "Mg", "Al", "Si", "P", "S", "K", "Ca", "Ti", "TiII"),
    *("V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Ge", "Ce", "Nd", "C_12_13", "Rb"),
)


def abundances(spectrum_pk: int, m_h: float = -0.5, **columns: Any) -> list[dict[str, Any]]:
    return [{"spectrum_pk": spectrum_pk, "element": element, "m_h": m_h, **columns} for element in ELEMENTS]


def stored() -> list[tuple[Any, ...]]:
    model = FerreChemicalAbundances
    rows = model.select().order_by(model.spectrum_pk, model.v_astra, model.element)
    return [(row.spectrum_pk, row.element, row.v_astra, row.m_h) for row in rows]


# ---- tables


@pytest.mark.lesson(15)
def test_the_tables_can_be_made(database: peewee.Database) -> None:
    for model in reversed(STAGES):
        model.drop_table()
    for model in STAGES:
        model.create_table()
        columns = {column.name for column in database.get_columns(model._meta.table_name, bound_schema())}
        assert {"spectrum_pk", "source_pk"} <= columns
        assert not {"spectrum_pk_id", "source_pk_id", "upstream_pk_id"} & columns


@pytest.mark.lesson(15)
@pytest.mark.lesson(29)
@each_stage
def test_the_unique_key_is_over_columns_that_are_there(database: peewee.Database, model: Any) -> None:
    keys = [index.columns for index in database.get_indexes(model._meta.table_name, bound_schema()) if index.unique]
    assert [*model.upsert_key] in keys
    assert [len(columns) for columns in keys if "spectrum_pk" in columns] == [len(model.upsert_key)]


def test_a_stage_is_joined_to_the_one_before(spectrum: BossVisitSpectrum) -> None:
    coarse = FerreCoarse.create(spectrum_pk=spectrum.spectrum_pk, teff=4500)
    parameters = FerreStellarParameters.create(
        spectrum_pk=spectrum.spectrum_pk, upstream_pk=coarse.task_pk, teff=4550, flag_initial_guess_from_user=True
    )
    model = FerreChemicalAbundances
    model.create(spectrum_pk=spectrum.spectrum_pk, upstream_pk=parameters.task_pk, element="Al", m_h=0.25)
    query = (
        model.select(model.m_h, FerreStellarParameters.teff, FerreCoarse.teff.alias("coarse"))
        .join(FerreStellarParameters, on=(model.upstream_pk == FerreStellarParameters.task_pk))
        .join(FerreCoarse, on=(FerreStellarParameters.upstream_pk == FerreCoarse.task_pk))
    )
    assert list(query.tuples()) == [(0.25, 4550, 4500)]


@each_stage
def test_a_failure_can_be_recorded(spectrum: BossVisitSpectrum, model: Any) -> None:
    values = {"element": "Al"} if model is FerreChemicalAbundances else {}
    model.from_spectrum(spectrum, flag_ferre_fail=True, **values).save()
    row = model.get()
    assert (row.teff, row.upstream_pk if model is not FerreCoarse else None, row.ferre_flags) == (None, None, 1)


def test_an_unknown_result_of_the_stage_before_is_refused(spectrum: BossVisitSpectrum) -> None:
    report = upsert(FerreStellarParameters, [{"spectrum_pk": spectrum.spectrum_pk, "upstream_pk": 404, "teff": 5000}])
    assert (report.inserted, report.rejected) == (0, 1)
    assert "upstream_pk" in " ".join(map(str, report.reasons))


# ---- flags


@pytest.mark.lesson(21)
@pytest.mark.parametrize("model", [ASPCAP, FerreStellarParameters], ids=lambda model: model.__name__)
def test_both_reductions_of_doppler_have_a_bit_each(spectrum: BossVisitSpectrum, model: Any) -> None:
    flags = model._meta.fields["initial_flags"].flags
    assert {name.removeprefix("flag_initial_guess_from_"): flag.value for name, flag in flags.items()} == {
        "apogeenet": 2**0,
        "doppler": 2**1,
        "user": 2**2,
        "gaia_xp_andrae23": 2**3,
        "doppler_sdss4": 2**4,
    }
    model.from_spectrum(spectrum, flag_initial_guess_from_doppler_sdss4=True).save()
    assert model.select().where(model.flag_initial_guess_from_doppler).count() == 0
    assert model.select().where(model.flag_initial_guess_from_doppler_sdss4).count() == 1


@pytest.mark.lesson(21)
@each_stage
def test_edges_of_the_grid_have_two_bits_per_parameter(model: Any) -> None:
    flags = model._meta.fields["ferre_flags"].flags
    edges = [flag.value.bit_length() - 1 for name, flag in flags.items() if "_grid_edge_" in name]
    assert edges == list(range(5, 21))
    assert (model.flag_n_m_atm_grid_edge_bad.value, model.flag_teff_grid_edge_warn.value) == (2**20, 2**5)


def test_a_stages_flags_are_its_own() -> None:
    assert FerreCoarse(flag_no_good_coarse_result=True).ferre_flags == 2**24
    assert not hasattr(FerreStellarParameters, "flag_no_good_coarse_result")
    assert FerreChemicalAbundances._meta.fields["initial_flags"].flags == {}
    assert FerreCoarse(flag_n_m_frozen=True).frozen_flags == 2**7


def test_every_flag_of_the_stages_says_what_it_means() -> None:
    for model in STAGES:
        for field in model._meta.sorted_fields:
            for name, flag in field.flags.items() if isinstance(field, BitField) else ():
                assert flag.help_text, name
                assert len(flag.help_text) < 80, name


# ---- a row per element


@pytest.mark.lesson(29)
def test_the_elements_of_a_spectrum_are_a_row_each(spectrum: BossVisitSpectrum) -> None:
    pk = spectrum.spectrum_pk
    assert len(ELEMENTS) == 26
    first = upsert(FerreChemicalAbundances, abundances(pk, v_astra=8_000))
    assert (first.inserted, first.rejected) == (26, 0)
    keys = {row.element: (row.task_pk, row.created) for row in FerreChemicalAbundances.select()}
    again = upsert(FerreChemicalAbundances, abundances(pk, m_h=0.25, v_astra=8_001))
    assert (again.inserted, again.updated, again.rejected) == (0, 26, 0)
    assert stored() == [(pk, element, 8_001, 0.25) for element in sorted(ELEMENTS)]
    assert {row.element: (row.task_pk, row.created) for row in FerreChemicalAbundances.select()} == keys


@pytest.mark.lesson(29)
def test_another_version_or_spectrum_adds_rows(database: peewee.Database, make_spectra: Any) -> None:
    one, two = (spectrum.spectrum_pk for spectrum in make_spectra(2))
    upsert(FerreChemicalAbundances, abundances(one, v_astra=8_000))
    report = upsert(FerreChemicalAbundances, [*abundances(two, v_astra=8_000), *abundances(one, v_astra=9_000)])
    assert (report.inserted, report.updated) == (52, 0)
    assert FerreChemicalAbundances.select().count() == 78


@pytest.mark.lesson(29)
def test_an_element_twice_is_one_row_with_the_last_value(spectrum: BossVisitSpectrum) -> None:
    rows = [{"spectrum_pk": spectrum.spectrum_pk, "element": "Al", "m_h": m_h, "v_astra": 8_000} for m_h in (0.5, 0.75)]
    report = upsert(FerreChemicalAbundances, rows)
    assert (report.inserted, report.superseded) == (1, 1)
    assert stored() == [(spectrum.spectrum_pk, "Al", 8_000, 0.75)]


@pytest.mark.lesson(29)
def test_the_database_refuses_an_element_twice(spectrum: BossVisitSpectrum) -> None:
    row = {"spectrum_pk": spectrum.spectrum_pk, "v_astra": 8_000}
    FerreChemicalAbundances.create(element="Al", **row)
    FerreChemicalAbundances.create(element="C_12_13", **row)
    with pytest.raises(peewee.IntegrityError):
        FerreChemicalAbundances.create(element="Al", **row)


@pytest.mark.lesson(29)
def test_a_row_without_its_element_is_refused(spectrum: BossVisitSpectrum) -> None:
    rows = [{"spectrum_pk": spectrum.spectrum_pk, "element": element, "m_h": 0.5} for element in ("Al", None)]
    report = upsert(FerreChemicalAbundances, rows)
    assert (report.inserted, report.rejected) == (1, 1)


@pytest.mark.lesson(29)
def test_the_newest_version_of_each_element(spectrum: BossVisitSpectrum) -> None:
    pk = spectrum.spectrum_pk
    upsert(FerreChemicalAbundances, abundances(pk, v_astra=8_000))
    upsert(FerreChemicalAbundances, [{"spectrum_pk": pk, "element": "Al", "m_h": 0.5, "v_astra": 9_000}])
    newest = {row.element: row.v_astra for row in FerreChemicalAbundances.latest()}
    assert newest == dict.fromkeys(ELEMENTS, 8_000) | {"Al": 9_000}
