"""Models that are refused when their class is made, and models that are defined again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import peewee
import pytest
from astropy import units

import astra_models
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_models.database.models import models
from astra_models.errors import AstraError, ModelError
from astra_models.fields import (
    AutoField,
    BitField,
    BooleanField,
    BytesField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    PixelArray,
    TextField,
)
from astra_models.fields.rules import KNOWN_UNITS
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pixels import pixel_arrays
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert


def defined(bases: tuple[type, ...] = (PipelineOutputMixin,), name: str = "Mine", **body: Any) -> Any:
    return type(name, bases, {"__module__": __name__} | body)


def refusal(**body: Any) -> str:
    with pytest.raises(ModelError) as caught:
        defined(**body)
    assert isinstance(caught.value, AstraError)
    assert isinstance(caught.value, TypeError)
    return str(caught.value)


def tables() -> list[str]:
    return [model._meta.table_name for model in BaseModel.concrete_models()]


# ---- units


@pytest.mark.parametrize("unit", ["K", "", "km/s", "adu", "erg / (s cm2)", "dex(cm/s2)", "1e-17 erg/s/cm2/Angstrom"])
def test_a_unit_that_astropy_reads_is_taken_as_it_is(unit: str) -> None:
    assert defined(flux=FloatField(unit=unit)).flux.unit == unit


def test_a_unit_that_astropy_cannot_read_is_refused() -> None:
    message = refusal(flux=FloatField(null=True, unit="ergs / s"))
    assert "Mine.flux: astropy can't read the unit 'ergs / s' (did you mean erg?)" in message
    assert '"km / s"' in message
    assert "Mine.flux: astropy can't read the unit '('" in refusal(flux=FloatField(unit="("))
    assert "of type int and not text" in refusal(flux=FloatField(unit=3))  # type: ignore[arg-type]


def test_a_unit_that_was_enabled_is_read() -> None:
    assert "furlong" in refusal(way=FloatField(unit="furlong"))
    with units.add_enabled_units([units.imperial.furlong]):
        assert defined(way=FloatField(unit="furlong")).way.unit == "furlong"


def test_the_unit_of_a_pixel_array_is_checked_too() -> None:
    assert "Mine.model_flux: astropy" in refusal(model_flux=PixelArray(ext=1, unit="adus"))


def test_the_units_known_beforehand_are_those_of_our_models_and_astropy_reads_them() -> None:
    ours = [model for model in models if model.__module__.startswith("astra_models.")]
    used = {getattr(field, "unit", None) for model in ours for field in model._meta.sorted_fields}
    used |= {array.unit for model in ours for array in pixel_arrays(model).values()}
    assert used - {None} == KNOWN_UNITS
    for unit in KNOWN_UNITS:
        units.Unit(unit)


def test_importing_our_models_does_not_import_the_units_of_astropy(tmp_path: Path) -> None:
    program = "import sys, astra_models.outputs; sys.exit('astropy.units' in sys.modules)"
    root = str(Path(astra_models.__file__).parents[1])
    environment = {"ASTRA_DATABASE_PATH": ":memory:", "PYTHONPATH": root, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)


# ---- numbers without a unit


@pytest.mark.parametrize("kind", [FloatField, DoubleField, IntegerField, FloatArrayField, peewee.FloatField])
def test_a_number_without_a_unit_is_refused(kind: type[peewee.Field]) -> None:
    message = refusal(depth=kind(null=True))
    assert "Mine.depth is a number and has no unit" in message
    assert 'unit=""' in message


def test_a_computed_number_without_a_unit_is_refused() -> None:
    assert "Mine.thousands" in refusal(thousands=GeneratedField("task_pk / 1000", "task_pk", lambda pk: pk // 1000))


def test_what_is_no_number_needs_no_unit() -> None:
    model = defined(
        other_pk=ForeignKeyField(Rocket, null=True),
        note=TextField(default=""),
        is_good=BooleanField(null=True),
        observed=DateTimeField(null=True),
        bits=BytesField(null=True),
        my_flags=BitField(),
    )
    assert model._meta.fields["note"].unit is None


def test_a_name_of_the_glossary_has_its_unit_and_dimensionless_is_said() -> None:
    model = defined(teff=FloatField(), e_v_rad=FloatField(), depth=FloatField(unit=""))
    assert [model._meta.fields[name].unit for name in ("teff", "e_v_rad", "depth")] == ["K", "km / s", ""]


def test_the_pipeline_of_the_documents_works_as_it_stands() -> None:
    class MyPipeline(PipelineOutputMixin):
        teff = FloatField(null=True)
        logg = FloatField(null=True)
        fe_h = FloatField(null=True)
        my_flag = BitField(default=0)

    assert MyPipeline(teff=5000).my_flag == 0


def test_a_base_is_checked_where_it_is_declared() -> None:
    assert "Mine.depth" in refusal(abstract=True, depth=FloatField())


# ---- names


@pytest.mark.parametrize(
    "name",
    [
        *("select", "update", "save", "alias", "latest", "create", "insert", "get", "delete", "filter"),
        *("from_spectrum", "to_dict", "abstract", "upsert_key", "is_latest", "DoesNotExist", "dirty_fields"),
    ],
)
def test_a_column_named_like_an_attribute_of_models_is_refused(name: str) -> None:
    message = refusal(**{name: FloatField(null=True, unit="")})
    assert f"Mine.{name}: a column can't have this name" in message
    assert f"choose another, such as mine_{name}" in message


def test_a_column_named_like_a_property_of_its_base_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Mine\.e_flux: a column .*\(SpectrumMixin\.e_flux\)"):
        defined((BossVisitSpectrum,), e_flux=FloatField(null=True, unit=""))


def test_a_flag_named_like_an_attribute_of_models_is_refused() -> None:
    flags = BitField()
    assert "Mine.latest: a flag can't have this name" in refusal(my_flags=flags, latest=flags.flag(1))


def test_a_column_and_a_flag_may_be_declared_again_or_left_out() -> None:
    flags = BitField()
    model = defined((Corv,), teff=DoubleField(null=True), logg=None, result_flags=flags, flag_low_snr=flags.flag(2))
    assert isinstance(model._meta.fields["teff"], DoubleField)
    assert "logg" not in model._meta.fields
    assert model(flag_low_snr=True).result_flags == 2


# ---- one model per table


def test_a_second_model_for_a_table_is_refused() -> None:
    with pytest.raises(ModelError, match=r"test_model_rules\.Corv: table 'corv' is that of astra_models\.corv\.Corv"):
        defined(name="Corv")
    meta = type("Meta", (), {"table_name": "rocket"})
    assert "table 'rocket' is that of astra_models.rocket.Rocket already" in refusal(Meta=meta)
    assert "rocket" in tables()
    assert [model for model in BaseModel.concrete_models() if model._meta.table_name == "corv"] == [Corv]


def test_a_refused_model_is_nowhere() -> None:
    before = list(models)
    refusal(abstract=False, depth=FloatField())
    refusal(select=TextField())
    assert list(models) == before
    assert "Mine" not in {model.__name__ for model in Source._meta.model_backrefs}
    assert defined(depth=FloatField(unit=""))  # mended, it is taken


def test_a_base_takes_no_table() -> None:
    base = defined(name="Corv", abstract=True)
    assert list(base.concrete_models()) == []
    assert "corv" in tables()


# ---- the same model again


CELL = """
class Finder(PipelineOutputMixin):
    {column} = FloatField(null=True, unit="K")
    result_flags = BitField()
    flag_bad = result_flags.flag(2**0)
"""


@pytest.fixture
def notebook() -> dict[str, Any]:
    return {name: globals()[name] for name in ("PipelineOutputMixin", "FloatField", "BitField")} | {
        "__name__": "__main__"
    }


def run(notebook: dict[str, Any], column: str) -> Any:
    exec(CELL.format(column=column), notebook)
    return notebook["Finder"]


def test_a_model_that_is_defined_again_replaces_the_first(notebook: dict[str, Any]) -> None:
    first, second = (run(notebook, column) for column in ("depth", "width"))
    assert first is not second
    assert [model for model in PipelineOutputMixin.concrete_models() if model.__name__ == "Finder"] == [second]
    assert list(first.concrete_models()) == []
    assert first not in Source._meta.model_backrefs
    assert second in Source._meta.model_backrefs


def test_a_model_that_is_defined_again_may_have_another_table(notebook: dict[str, Any]) -> None:
    run(notebook, "depth")
    exec(CELL.format(column="depth") + '    class Meta:\n        table_name = "found"\n', notebook)
    assert "found" in tables()
    assert "finder" not in tables()
    assert defined(name="Finder")  # the table is free for another


def test_results_of_a_model_that_was_defined_again_are_written_and_read(
    database: peewee.Database, notebook: dict[str, Any], spectrum: BossVisitSpectrum
) -> None:
    run(notebook, "depth")
    finder = run(notebook, "width")
    finder.create_table()
    report = upsert(finder, [finder.from_spectrum(spectrum, width=2, flag_bad=True)])
    assert (report.inserted, report.rejected) == (1, 0)
    assert [(row.width, row.spectrum_pk) for row in finder.latest().where(finder.flag_bad)] == [
        (2, spectrum.spectrum_pk)
    ]


def test_a_column_that_was_added_is_read_as_null_where_the_table_is_older(
    database: peewee.Database, notebook: dict[str, Any], spectrum: BossVisitSpectrum
) -> None:
    first = run(notebook, "depth")
    first.create_table()
    upsert(first, [first.from_spectrum(spectrum, depth=1)])
    both = CELL.format(column="depth").replace(
        "    result_flags", '    width = FloatField(null=True, unit="")\n    result_flags'
    )
    exec(both, notebook)
    second = notebook["Finder"]
    assert [(row.depth, row.width) for row in second.select()] == [(1, None)]


def test_only_the_later_model_moves_to_another_database(database: peewee.Database, notebook: dict[str, Any]) -> None:
    run(notebook, "depth")
    second = run(notebook, "width")
    schema, elsewhere = bound_schema(), sqlite_database(":memory:")
    try:
        bind(elsewhere)
        assert second._meta.schema is None
        second.create_table()
        assert second.select(second.width).count() == 0
    finally:
        elsewhere.close()
        bind(database, schema)
    assert second._meta.schema == schema


def test_the_asset_of_a_model_that_was_defined_again_writes_the_later_one(notebook: dict[str, Any]) -> None:
    from astra_orchestration.resources.io_manager import output_model

    run(notebook, "depth")
    second = run(notebook, "width")
    assert output_model("Finder") is second


def test_a_model_without_a_key_of_ours_is_defined_again() -> None:
    for _ in range(2):
        model = defined((BaseModel,), "Log", pk=AutoField(), line=TextField())
    assert [other for other in BaseModel.concrete_models() if other.__name__ == "Log"] == [model]
