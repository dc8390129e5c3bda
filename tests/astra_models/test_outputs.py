"""What holds for the results of every pipeline: failures can be recorded, and values come back as they were."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models import fields
from astra_models.apogeenet import ApogeeNet
from astra_models.base import BaseModel, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.line_forest import LINES, LineForest
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.nmf_rectify import NMFRectify
from astra_models.pipeline import PipelineOutputMixin
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.upsert import upsert

RESULTS = sorted(
    (model for model in PipelineOutputMixin.concrete_models() if model.__module__.startswith("astra_models.")),
    key=lambda model: model.__name__,
)
TABLES = [model for model in BaseModel.concrete_models() if model.__module__.startswith("astra_models.")]
OUTPUTS: list[Any] = [*RESULTS, MWMSpectrumProductStatus]
each_output = pytest.mark.parametrize("model", OUTPUTS, ids=lambda model: model.__name__)

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
EXTREMES: dict[type, list[Any]] = {  # the first kind that fits
    fields.BitField: [2**63 - 1, 1, 2**62],
    fields.BigIntegerField: [2**63 - 1, -(2**63), 0],
    fields.IntegerField: [2**31 - 1, -(2**31), 0],
    fields.FloatField: [LARGEST, -LARGEST, SMALLEST, float("inf"), float("-inf"), 0.1, 0.0],
    fields.DoubleField: [np.finfo(np.float64).max, 5e-324, float("-inf"), 0.1],
    fields.FloatArrayField: [[LARGEST, -LARGEST, SMALLEST, float("inf"), 0.1], [float("nan"), -0.5], []],
    fields.BooleanField: [True, False],
    fields.TextField: ["ünï \N{SNOWFLAKE} \U0001f30c", "'\"\\N\t\r\n{},;%s", ""],
    fields.BytesField: [bytes(range(256)), b""],
    fields.DateTimeField: [datetime(9999, 12, 30, 23, 59, 59, 999_999, UTC), datetime(1, 1, 3, tzinfo=UTC)],
}


def required(model: Any) -> list[Any]:
    """Give the columns without which there can be no row."""
    made = (fields.AutoField, fields.GeneratedField)
    return [
        field
        for field in model._meta.sorted_fields
        if not field.null and field.default is None and not isinstance(field, made)
    ]


def keys_of(model: Any, spectrum: BossVisitSpectrum) -> dict[str, Any]:
    """Give what a row has to have: the keys of a spectrum or source, and the first of whatever else."""
    return {
        field.name: getattr(spectrum, field.name)
        if isinstance(field, fields.ForeignKeyField)
        else next(extremes(field))
        for field in required(model)
    }


def extremes(field: Any) -> Iterator[Any]:
    """Give the extreme values of a kind of column, over and over."""
    return itertools.cycle(next(values for kind, values in EXTREMES.items() if isinstance(field, kind)))


def extreme_rows(model: Any, spectra: list[BossVisitSpectrum]) -> list[dict[str, Any]]:
    """Give rows with an extreme value in every column, another one in every row."""
    rows = [keys_of(model, spectrum) | {"v_astra": 8_001} for spectrum in spectra]
    set_otherwise = {"modified", "v_astra", "revision", *(field.name for field in required(model))}
    for field in model._meta.sorted_fields:
        if isinstance(field, fields.AutoField | fields.GeneratedField) or field.name in set_otherwise:
            continue
        if isinstance(field, fields.ForeignKeyField):
            values: Any = [getattr(spectrum, field.name, None) for spectrum in spectra]
        else:
            values = extremes(field)
        for row, value in zip(rows, values, strict=False):
            row[field.name] = value
    return rows


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return one == other and type(other) is float
    if isinstance(one, list):
        return other is not None and np.array_equal(np.float32(one), np.float32(other), equal_nan=True)
    return one == other and type(one) is type(other)


def expected(field: Any, value: Any) -> Any:
    return float(np.float32(value)) if isinstance(field, fields.FloatField) else value


# ---- values come back as they were


@each_output
def test_extreme_values_of_every_column_come_back(database: peewee.Database, make_spectra: Any, model: Any) -> None:
    rows = extreme_rows(model, make_spectra(7))
    report = upsert(model, rows)
    assert (report.inserted, report.rejected) == (len(rows), 0)
    for row, stored in zip(rows, model.select().order_by(model.task_pk), strict=True):
        for name, value in row.items():
            field = model._meta.fields[name]
            assert same(expected(field, value), getattr(stored, name)), (field, value, getattr(stored, name))


@each_output
def test_the_same_extreme_values_again_are_found_unchanged_without_being_staged(
    database: peewee.Database, make_spectra: Any, model: Any, recorded_queries: Any
) -> None:
    rows = extreme_rows(model, make_spectra(7))
    upsert(model, rows)
    with recorded_queries() as queries:
        assert upsert(model, rows, unchanged="skip").unchanged == len(rows)
    assert not [query for query in queries if "TEMPORARY" in query]


@each_output
def test_values_are_replaced_by_missing_ones(database: peewee.Database, make_spectra: Any, model: Any) -> None:
    rows = extreme_rows(model, make_spectra(1))
    upsert(model, rows)
    keys = {field.name: rows[0][field.name] for field in required(model)}
    assert upsert(model, [keys | {"v_astra": 8_001}]).updated == 1
    stored = model.get()
    for field in model._meta.sorted_fields:
        if field.null and field.name != "revision":
            assert getattr(stored, field.name) == field.default, field


# ---- failures


@pytest.mark.lesson(3)
@each_output
def test_a_failed_analysis_can_always_be_recorded(spectrum: BossVisitSpectrum, model: Any) -> None:
    report = upsert(model, [model(**keys_of(model, spectrum))])
    assert (report.inserted, report.rejected) == (1, 0)
    stored = model.get()
    for field in model._meta.sorted_fields:
        if isinstance(field, fields.BitField):
            assert getattr(stored, field.name) in (0, None), field


@pytest.mark.lesson(3)
@each_output
def test_no_measured_value_is_required(model: Any) -> None:
    which_spectrum = {"source_pk", "spectrum_pk", "release", "filetype", "telescope"}
    assert not {field.name for field in required(model)} - which_spectrum - set(model.upsert_key)


@pytest.mark.lesson(3)
def test_a_failure_takes_no_result_along(database: peewee.Database, make_spectra: Any) -> None:
    failed, good = make_spectra(2)
    rows = [
        MDwarfType.from_spectrum(failed, flag_runtime_exception=True),
        MDwarfType.from_spectrum(good, spectral_type="M5.0", sub_type=0.5, rchi2=1.5),
    ]
    assert upsert(MDwarfType, rows).inserted == 2
    stored = list(MDwarfType.select().order_by(MDwarfType.spectrum_pk))
    assert [(row.spectral_type, row.rchi2, row.flag_bad) for row in stored] == [
        (None, None, True),
        ("M5.0", 1.5, False),
    ]


# ---- tables


@pytest.mark.lesson(16)
@pytest.mark.lesson(17)
@pytest.mark.parametrize("model", [LineForest, NMFRectify, BossVisitSpectrum])
def test_lists_have_no_indexes(database: peewee.Database, model: Any) -> None:
    indexes = database.get_indexes(model._meta.table_name, bound_schema())
    lists = {field.name for field in model._meta.sorted_fields if isinstance(field, fields.FloatArrayField)}
    assert lists
    assert not [index for index in indexes if lists & set(index.columns)]
    assert len(indexes) <= 5


@pytest.mark.lesson(27)
@pytest.mark.sqlite_only(reason="lists the columns of an index in their order")
@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_no_index_is_the_beginning_of_another(database: peewee.Database, model: Any) -> None:
    indexes = database.get_indexes(model._meta.table_name)
    for one, other in itertools.permutations(indexes, 2):
        if not one.unique:
            assert other.columns[: len(one.columns)] != one.columns, (one, other)


# ---- lines


def test_every_line_has_its_columns() -> None:
    names = ("eqw", "abs", "detection_stat", "detection_raw", "eqw_percentiles", "abs_percentiles")
    own = [name for name in LineForest._meta.sorted_field_names if name not in PipelineOutputMixin._meta.fields]
    assert own == [f"{name}_{line}" for line in LINES for name in names]
    assert len(LINES) == 52


def test_lines_are_spelled_as_astronomers_do() -> None:
    described = {line: LineForest._meta.fields[f"abs_{line}"].help_text for line in LINES}
    assert described["h_alpha"] == "Absolute strength of H alpha"
    assert described["ca_ii_8662"] == "Absolute strength of Ca II 8662"
    assert described["ca_k_3933"] == "Absolute strength of Ca K 3933"
    assert described["li_i"] == "Absolute strength of Li I"


# ---- classes of white dwarfs


def test_classes_of_white_dwarfs_have_their_probabilities(spectrum: BossVisitSpectrum) -> None:
    SnowWhite.from_spectrum(spectrum, classification="DA/MS", p_da_ms=0.75, p_hotdq=0.25).save()
    assert SnowWhite.select().where(SnowWhite.p_da_ms > 0.5).get().p_hotdq == 0.25
    assert SnowWhite._meta.fields["p_da_ms"].help_text == "Probability of class DA/MS"


# ---- flags


@pytest.mark.lesson(21)
@each_output
def test_bits_of_a_result_have_names(model: Any) -> None:
    if "result_flags" in model._meta.fields:
        assert model._meta.fields["result_flags"].flags


@pytest.mark.lesson(21)
@each_output
def test_no_two_flags_share_a_bit(model: Any) -> None:
    for field in model._meta.sorted_fields:
        values = [flag.value for flag in getattr(field, "flags", {}).values()]
        assert len(set(values)) == len(values), field


@pytest.mark.parametrize(
    ("model", "flag", "is_warned", "is_bad"),
    [
        (ApogeeNet, "flag_unreliable_fe_h", True, True),
        (ApogeeNet, "flag_unreliable_teff", False, True),
        (BossNet, "flag_suspicious_fe_h", True, False),
        (BossNet, "flag_runtime_exception", False, True),
        (Slam, "flag_teff_outside_bounds", False, True),
        (Slam, "flag_outside_photometry_range", True, True),
    ],
)
def test_flags_say_what_to_use(
    spectrum: BossVisitSpectrum, model: Any, flag: str, is_warned: bool, is_bad: bool
) -> None:
    model.from_spectrum(spectrum, teff=3_500.0, **{flag: True}).save()
    row = model.get()
    assert (row.flag_warn, row.flag_bad) == (is_warned, is_bad)
    assert model.select().where(model.flag_warn).count() == is_warned
    assert model.select().where(model.flag_bad).count() == is_bad
    assert model.select().where(~model.flag_bad).count() == (not is_bad)


# ---- products of a source


def test_the_status_of_products_is_kept_per_source_and_minor_version(source: Source) -> None:
    model = MWMSpectrumProductStatus
    upsert(model, [{"source_pk": source.pk, "v_astra": 8_000, "flag_attempted_but_exception": True}])
    report = upsert(
        model,
        [
            {"source_pk": source.pk, "v_astra": 8_001, "flag_created_mwm_star": True},
            {"source_pk": source.pk, "v_astra": 9_000, "flag_created_mwm_visit": True},
        ],
    )
    assert (report.updated, report.inserted) == (1, 1)
    stored = [(row.v_astra, row.v_astra_major_minor, row.flags) for row in model.select().order_by(model.v_astra)]
    assert stored == [(8_001, 8, 2**4), (9_000, 9, 2**3)]
    assert [row.v_astra for row in model.latest()] == [9_000]
    with pytest.raises(peewee.IntegrityError):
        model.create(source_pk=source.pk, v_astra=8_002)


def test_the_status_of_products_needs_a_source(database: peewee.Database) -> None:
    assert upsert(MWMSpectrumProductStatus, [{"source_pk": None}, {"source_pk": 404}]).rejected == 2
