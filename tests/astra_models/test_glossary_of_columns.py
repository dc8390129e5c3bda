"""What columns and flags mean, by name."""

from typing import Any

import peewee
import pytest

from astra_models.aspcap import ASPCAP
from astra_models.astronn_dist import AstroNNdist
from astra_models.base import BaseModel
from astra_models.fields import BitField, FloatField, TextField
from astra_models.fields.glossary import Glossary
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.the_payne import ThePayne
from astra_orchestration.assets.columns import column_schema

OURS = [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]
each_model = pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)


@each_model
def test_every_column_of_every_table_says_what_it_means(model: Any) -> None:
    assert not [field.name for field in model._meta.sorted_fields if not (field.help_text or "").strip()]
    assert all(model.column_table()["description"])


@each_model
def test_every_flag_of_every_table_says_what_it_means(model: Any) -> None:
    flags = model.flag_table()
    assert not [name for name, text in zip(flags["name"], flags["description"], strict=True) if not text.strip()]


@each_model
def test_every_column_and_flag_is_in_the_glossary(model: Any) -> None:
    assert not [field.name for field in model._meta.sorted_fields if not Glossary[field.name]]
    assert not [name for name in model.flag_table()["name"] if not Glossary[name]]


@each_model
def test_texts_fit_into_the_line_of_a_header(model: Any) -> None:
    assert not [field.help_text for field in model._meta.sorted_fields if len(field.help_text) > 100]


@each_model
def test_dagster_shows_what_a_column_means(model: Any) -> None:
    for field, column in zip(model._meta.sorted_fields, column_schema(model).columns, strict=True):
        assert (column.description or "").startswith(field.help_text), field


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("teff", "Effective temperature"),
        ("e_teff", "Uncertainty of effective temperature"),
        ("raw_teff", "Uncalibrated: effective temperature"),
        ("raw_e_teff", "Formal uncertainty of effective temperature"),
        ("initial_logg", "Initial guess of surface gravity"),
        ("al_h_flags", "Flags of aluminium abundance [Al/H]"),
        ("raw_al_h_flags", "Uncalibrated: flags of aluminium abundance [Al/H]"),
        ("ca_h_rchi2", "Reduced chi-squared of the fit of calcium abundance [Ca/H]"),
        ("rho_teff_c12_c13", "Correlation coefficient of teff and c12_c13"),
        ("e_gaia_v_rad", "Uncertainty of Gaia radial velocity"),
        ("std_mjd", "Standard deviation of modified Julian date of the observation"),
        ("xcsao_e_fe_h", "XCSAO: uncertainty of iron abundance [Fe/H]"),
        ("dist", "Heliocentric distance"),
        ("flag_sdss4_apogee_duplicate", "Observed elsewhere with higher S/N"),
    ],
)
def test_a_name_is_described_with_its_prefixes_and_suffixes(name: str, text: str) -> None:
    assert Glossary[name] == getattr(Glossary, name) == Glossary.get(name) == text


def test_a_flag_that_means_several_things_has_all_its_texts() -> None:
    assert "S/N below 20; or: S/N below 3; or: S/N below 70" in Glossary["flag_low_snr"]


def test_a_name_that_nobody_knows_has_no_text() -> None:
    assert Glossary.get("no_such_quantity") is None
    assert "no_such_quantity" not in Glossary
    assert getattr(Glossary, "no_such_quantity", None) is None
    with pytest.raises(KeyError):
        Glossary["e_"]
    with pytest.raises(AttributeError, match=r"the glossary has no 'tef'; did you mean.*teff"):
        _ = Glossary.tef


def test_the_glossary_lists_its_names() -> None:
    assert {"teff", "source_pk", "L_fakemag", "flag_fakemag_unreliable"} <= set(Glossary)
    assert len(Glossary) == len(list(Glossary)) > 500


def test_columns_of_ones_own_are_described_by_their_name_unless_they_say_it_themselves() -> None:
    class Mine(PipelineOutputMixin):
        teff = FloatField(null=True)
        e_v_sini = FloatField(null=True)
        logg = FloatField(null=True, help_text="Gravity of the primary")
        remark = TextField(null=True)
        taken = TextField(null=True, help_text=Glossary.telescope)

    texts = {field.name: field.help_text for field in Mine._meta.sorted_fields}
    assert texts["teff"] == Glossary.teff
    assert texts["e_v_sini"] == "Uncertainty of projected rotational velocity"
    assert texts["logg"] == "Gravity of the primary"
    assert texts["remark"] is None
    assert texts["taken"] == Glossary.telescope


def test_a_column_of_another_base_class_is_described_too() -> None:
    class Table(peewee.Model):
        ra = FloatField()
        dec = FloatField(help_text="South is negative")
        unheard_of = FloatField()
        bits = BitField()
        flag_faint = bits.flag(help_text="Faint")

    assert (Table.ra.help_text, Table.dec.help_text) == (Glossary.ra, "South is negative")
    assert Table.unheard_of.help_text is None
    assert Table.flag_faint.help_text == "Faint"


def test_a_declared_text_is_no_unit_and_no_text_of_another_table() -> None:
    assert AstroNNdist.dist.help_text == "Heliocentric distance"
    field: Any = type("Other", (peewee.Model,), {"dist": FloatField()}).dist
    assert (field.help_text, field.unit) == (None, None)


def test_models_that_many_columns_have_are_described_alike() -> None:
    assert ASPCAP.teff.help_text == ThePayne.teff.help_text == Glossary.teff
    assert Source.zgr_teff.help_text == "Gaia XP: effective temperature"
