"""What holds for every model: units, descriptions, keys, versions, tables on both back ends."""

from typing import Any

import peewee
import pytest
from astropy.units import Unit

from astra_models.base import BaseModel, bound_schema
from astra_models.fields import (
    AutoField,
    BitField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    TextField,
)
from astra_models.fields.glossary import look_up
from astra_models.fields.plain import DescribedField
from astra_models.pixels import pixel_arrays

MODELS = sorted(
    (model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")),
    key=lambda model: model.__name__,
)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def test_the_models_are_found() -> None:
    names = {model.__name__ for model in MODELS}
    assert names >= {
        "Source",
        "Spectrum",
        "BossVisitSpectrum",
        "BossCombinedSpectrum",
        "ApogeeCoaddedSpectrumInApStar",
        "Rocket",
        "Corv",
        "ApogeeNet",
        "BossNet",
        "Clam",
        "LineForest",
        "MDwarfType",
        "NMFRectify",
        "Slam",
        "SnowWhite",
        "MWMSpectrumProductStatus",
        "RejectedResult",
    }


# ---- units and descriptions


@each_model
def test_every_column_is_described(model: Any) -> None:
    for field in model._meta.sorted_fields:
        assert isinstance(field, DescribedField), field
        assert field.help_text, field
        assert len(field.help_text) < 80, field
        assert not field.help_text.endswith("."), field


@each_model
def test_every_number_has_a_unit_that_astropy_reads(model: Any) -> None:
    kinds = (DoubleField, FloatArrayField, peewee.IntegerField, peewee.AutoField, ForeignKeyField)
    for field in model._meta.sorted_fields:
        if isinstance(field, kinds):
            assert field.unit is not None, field
            Unit(field.unit)
        else:
            assert not field.unit, field


@each_model
def test_every_flag_is_described(model: Any) -> None:
    for field in model._meta.sorted_fields:
        descriptions = [flag.help_text for flag in getattr(field, "flags", {}).values()]
        for description in descriptions:
            assert description, field
            assert len(description) < 80, (field, description)
        assert len(set(descriptions)) == len(descriptions), field


@each_model
def test_every_pixel_array_is_described_and_has_a_unit(model: Any) -> None:
    for name, array in pixel_arrays(model).items():
        assert array.unit is not None, name
        Unit(array.unit)
        assert array.help_text, name
        assert len(array.help_text) < 80, name


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("teff", "K"),
        ("e_teff", "K"),
        ("initial_teff", "K"),
        ("logg", "dex(cm / s2)"),
        ("fe_h", "dex"),
        ("v_rad", "km / s"),
        ("e_v_rad", "km / s"),
        ("t_elapsed", "s"),
        ("rchi2", ""),
        ("result_flags", ""),
        ("v_astra", ""),
    ],
)
def test_units_of_measured_quantities(column: str, unit: str) -> None:
    fields = [model._meta.fields[column] for model in MODELS if column in model._meta.fields]
    assert fields
    assert {field.unit for field in fields} == {unit}


def test_an_own_unit_and_description_come_before_the_glossarys() -> None:
    class Table(BaseModel):
        pk = AutoField()
        teff = DoubleField(unit="eV", help_text="Temperature")
        strange = DoubleField(unit="adu", help_text="Nobody knows")

    fields = Table._meta.fields
    assert (fields["teff"].unit, fields["teff"].help_text) == ("eV", "Temperature")
    assert (fields["strange"].unit, fields["strange"].help_text) == ("adu", "Nobody knows")


def test_a_prefix_describes_through_the_name_behind_it() -> None:
    assert look_up("e_teff") == ("K", "Uncertainty of effective temperature")
    assert look_up("initial_v_rad").unit == "km / s"
    assert look_up("raw_e_teff") == ("K", "Formal uncertainty of effective temperature")
    assert look_up("no_such_column") is None
    assert look_up("e_no_such_column") is None


def test_a_correlation_is_described_through_both_names() -> None:
    assert look_up("rho_teff_logg") == ("", "Correlation coefficient of teff and logg")
    assert look_up("rho_fe_h_fe_h_niu") == ("", "Correlation coefficient of fe_h and fe_h_niu")
    assert look_up("rho_teff_unknown") is None
    assert look_up("rho_") is None


def test_a_unit_that_was_given_for_a_name_is_the_same_in_all_tables() -> None:
    units: dict[str, set[str | None]] = {}
    for model in MODELS:
        for field in model._meta.sorted_fields:
            units.setdefault(field.name, set()).add(field.unit)
    assert {name: found for name, found in units.items() if len(found) > 1} == {}


# ---- keys


@pytest.mark.lesson(23)
@each_model
def test_no_unique_key_of_several_columns_holds_a_nullable_one(model: Any) -> None:
    fields = model._meta.fields
    keys = [columns for columns, unique in model._meta.indexes if unique] + [getattr(model, "natural_key", ())]
    for columns in keys:
        assert not [name for name in columns if fields[name].null]


@pytest.mark.lesson(23)
@each_model
def test_unique_keys_of_the_database_hold_no_nullable_column(database: peewee.Database, model: Any) -> None:
    table, schema = model._meta.table_name, bound_schema()
    nullable = {column.name for column in database.get_columns(table, schema) if column.null}
    for index in database.get_indexes(table, schema):
        if index.unique and len(index.columns) > 1:
            assert not nullable & set(index.columns) - {"v_astra_major_minor"}


@each_model
def test_the_natural_key_is_unique_in_the_database(database: peewee.Database, model: Any) -> None:
    key = getattr(model, "natural_key", ())
    if key:
        indexes = database.get_indexes(model._meta.table_name, bound_schema())
        assert set(key) in [set(index.columns) for index in indexes if index.unique]


@each_model
def test_foreign_keys_have_the_name_of_their_field(model: Any) -> None:
    for field in model._meta.sorted_fields:
        assert field.column_name == field.name


# ---- versions


@pytest.mark.lesson(24)
@each_model
def test_the_version_is_an_integer_everywhere(model: Any) -> None:
    for name in ("v_astra", "v_astra_major_minor"):
        if name in model._meta.fields:
            assert isinstance(model._meta.fields[name], IntegerField)


@pytest.mark.lesson(24)
def test_versions_are_compared_as_numbers(database: peewee.Database) -> None:
    for model in MODELS:
        if "v_astra" in model._meta.fields:
            assert model.select().where(model.v_astra >= 8_000).count() == 0


# ---- tables


@pytest.mark.lesson(16)
@each_model
def test_every_table_can_be_created_on_both_back_ends(database: peewee.Database, model: Any) -> None:
    assert model.table_exists()
    columns = {column.name: column for column in database.get_columns(model._meta.table_name, bound_schema())}
    for field in model._meta.sorted_fields:
        if not isinstance(field, GeneratedField):
            assert columns[field.column_name].null == field.null, field


@pytest.mark.lesson(26)
@each_model
def test_the_columns_are_those_of_the_model_on_both_back_ends(database: peewee.Database, model: Any) -> None:
    columns = {column.name for column in database.get_columns(model._meta.table_name, bound_schema())}
    generated = {field.name for field in model._meta.sorted_fields if isinstance(field, GeneratedField)}
    assert columns | generated == set(model._meta.fields)


@pytest.mark.lesson(17)
@pytest.mark.postgresql_only(reason="SQLite has one kind of index")
@each_model
def test_all_indexes_are_b_trees_and_few(database: peewee.Database, model: Any) -> None:
    rows = database.execute_sql(
        "SELECT am.amname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam "
        "JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace "
        "WHERE t.relname = %s AND n.nspname = %s",
        (model._meta.table_name, bound_schema() or "public"),
    ).fetchall()
    assert {kind for (kind,) in rows} == {"btree"}
    assert len(rows) <= 8


@pytest.mark.lesson(19)
@pytest.mark.postgresql_only(reason="SQLite's columns have no width")
@each_model
def test_types_of_columns(database: peewee.Database, model: Any) -> None:
    expected = [
        (GeneratedField, "integer"),
        (BitField, "bigint"),
        (ForeignKeyField, "bigint"),
        (FloatArrayField, "ARRAY"),
        (DateTimeField, "timestamp with time zone"),
        (TextField, "text"),
    ]
    types = {column.name: column.data_type for column in database.get_columns(model._meta.table_name, bound_schema())}
    for field in model._meta.sorted_fields:
        for kind, data_type in expected:
            if isinstance(field, kind):
                assert types[field.name] == data_type, field
                break


@pytest.mark.lesson(53)
def test_fields_are_bound_on_a_class_without_source_code(database: peewee.Database) -> None:
    names: dict[str, Any] = {"__name__": "made"}
    exec(
        "from astra_models.fields import *\n"
        "from astra_models.base import BaseModel\n"
        "class Made(BaseModel):\n"
        "    pk = AutoField()\n"
        "    teff = FloatField(null=True)\n"
        "    offsets = FloatArrayField(null=True, unit='arcsec', help_text='Offsets')\n",
        names,
    )
    made = names["Made"]
    assert made._meta.fields["offsets"].model is made
    assert made._meta.fields["teff"].unit == "K"
    made.create_table()
    made.create(teff=5000, offsets=[1, 2])
    assert made.get().offsets == [1, 2]
