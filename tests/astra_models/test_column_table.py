"""Columns, flags and pixel arrays of models as tables: name, type, unit, description, category, nullable."""

from typing import Any

import peewee
import pytest
from astropy.table import Table
from astropy.units import Unit

from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.headings import Heading, categories
from astra_models.corv import Corv
from astra_models.fields import (
    AutoField,
    BytesField,
    DateTimeField,
    FloatArrayField,
    FloatField,
    ForeignKeyField,
    IntegerField,
)
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels import pixel_arrays
from astra_models.source import Source
from astra_models.spectrum import Spectrum

MODELS = [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def rows_of(table: Table) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in table]


def test_a_row_says_everything_of_a_column() -> None:
    table = Corv.column_table()
    assert table.colnames == ["name", "type", "unit", "description", "category", "nullable"]
    assert table.meta == {"table": "corv"}
    rows = {row["name"]: tuple(row)[1:] for row in table}
    keys = "Keys, version and timing"
    assert rows["task_pk"] == ("bigint", "", "Primary key of the result", keys, False)
    assert rows["t_elapsed"] == ("real", "s", "Time spent on this spectrum", keys, True)
    assert rows["logg"] == ("real", "dex(cm / s2)", "Surface gravity", "Corv", True)
    assert rows["result_flags"] == ("bigint", "", "Flags of the result", "Corv", False)


@each_model
def test_every_column_is_there_in_the_order_of_the_table(model: Any) -> None:
    table = model.column_table()
    assert list(table["name"]) == [field.name for field in model._meta.sorted_fields]
    assert list(table["nullable"]) == [field.null for field in model._meta.sorted_fields]
    assert set(table["type"]) <= {
        *("bigint", "integer", "real", "double precision", "boolean", "timestamptz", "text", "bytea", "real[]")
    }
    for unit in set(table["unit"]):
        Unit(unit)


@each_model
def test_every_column_is_under_a_heading(model: Any) -> None:
    assert all(model.column_table()["category"])


def test_types_are_those_of_postgresql() -> None:
    class Everything(BaseModel):
        pk = AutoField()
        source_pk = ForeignKeyField(Source)
        number = IntegerField(unit="")
        values_read = FloatArrayField(null=True, unit="s")
        bits = BytesField(null=True)
        moment = DateTimeField(null=True)

    types = dict(zip(*(Everything.column_table()[name] for name in ("name", "type")), strict=True))
    assert types == {
        "pk": "bigint",
        "source_pk": "bigint",
        "number": "integer",
        "values_read": "real[]",
        "bits": "bytea",
        "moment": "timestamptz",
    }


def test_a_type_of_another_package_is_named_by_its_field() -> None:
    class Odd(BaseModel):
        pk = AutoField()
        shape = peewee.UUIDField(null=True)

    assert list(Odd.column_table()["type"]) == ["bigint", "uuid"]


# ---- headings


def test_sources_are_grouped_as_astronomers_look_for_them() -> None:
    headings = dict(zip(Source.column_table()["name"], Source.column_table()["category"], strict=True))
    wanted = {
        "sdss_id": "Identifiers",
        "sdss5_target_flags": "Targeting",
        "ra": "Astrometry",
        "k_mag": "Photometry: Gaia and 2MASS",
        "w1_mag": "Photometry: unWISE",
        "r_med_geo": "Distances (Bailer-Jones et al. 2021)",
        "ebv": "Reddening",
        "n_boss_visits": "Visits",
        "modified": "Record",
    }
    assert {name: headings[name] for name in wanted} == wanted


def test_columns_without_a_heading_are_under_the_name_of_their_class() -> None:
    class Base(PipelineOutputMixin):
        abstract = True
        shared = FloatField(null=True, unit="")
        _later = Heading("Of the base, later")
        later = FloatField(null=True, unit="")

    class Mine(Base):
        first = FloatField(null=True, unit="")
        _lines = Heading("Lines")
        halpha = FloatField(null=True, unit="Angstrom")
        hbeta = FloatField(null=True, unit="Angstrom")
        shared = FloatField(null=True, unit="K")  # declared again: it is the subclass's now

    own = {name: text for name, text in categories(Mine).items() if name not in PipelineOutputMixin._meta.fields}
    assert own == {
        "later": "Of the base, later",
        "first": "Mine",
        "halpha": "Lines",
        "hbeta": "Lines",
        "shared": "Lines",
    }
    assert categories(Mine)["spectrum_pk"] == "Keys, version and timing"


def test_columns_added_to_a_class_are_under_its_last_heading() -> None:
    class Mine(PipelineOutputMixin):
        _lines = Heading("Lines")
        halpha = FloatField(null=True, unit="Angstrom")

    Mine._meta.add_field("hbeta", FloatField(null=True))
    assert categories(Mine)["hbeta"] == "Lines"


# ---- flags and pixel arrays


def test_flags_have_a_table_of_their_own() -> None:
    table = Corv.flag_table()
    assert table.colnames == ["name", "column", "bit", "description"]
    assert rows_of(table)[:2] == [
        ("flag_low_snr", "result_flags", 0, "S/N too low for a velocity"),
        ("flag_no_lines", "result_flags", 1, "No Balmer lines like those of a DA white dwarf"),
    ]
    assert len(Source.flag_table()) == 279


def test_pixel_arrays_have_a_table_of_their_own() -> None:
    table = BossVisitSpectrum.pixel_array_table()
    assert list(table["name"]) == list(pixel_arrays(BossVisitSpectrum))
    assert dict(zip(table["name"], table["unit"], strict=True))["wavelength"] == "Angstrom"
    assert not set(table["name"]) & set(BossVisitSpectrum.column_table()["name"])


def test_models_without_any_have_empty_tables_of_the_same_shape() -> None:
    flags, arrays = PipelineOutputMixin.flag_table(), Spectrum.pixel_array_table()
    assert (len(flags), flags.colnames) == (0, Corv.flag_table().colnames)
    assert (len(arrays), arrays.colnames) == (0, BossVisitSpectrum.pixel_array_table().colnames)
