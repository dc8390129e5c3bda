"""Upserts: one row per spectrum and major.minor version, whatever is given, in whatever form."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Column, MaskedColumn, Table

from astra_models import errors
from astra_models.base import BaseModel, bound_schema
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.fields import FloatField, IntegerField, TextField, utc_now
from astra_models.mwm_status import MWMSpectrumProductStatus
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.the_payne import ThePayne
from astra_models.upsert import UpsertReport, upsert
from astra_models.upsert.plan import plan_for

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra."""
    return make_spectra(5)


def counts(report: UpsertReport) -> dict[str, int]:
    names = ("inserted", "updated", "unchanged", "kept", "rejected", "superseded")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def rows(model: Any = Rocket) -> list[dict[str, Any]]:
    """Give all rows in the order of their keys, without the columns that tell when, and from what."""
    hidden = {"created", "modified", "task_pk", *model.made_from}
    query = model.select().order_by(model.spectrum_pk, model.v_astra_major_minor)
    return [{name: value for name, value in row.to_dict().items() if name not in hidden} for row in query]


def teffs() -> list[float | None]:
    return [row["teff"] for row in rows()]


# ---- inserting and updating


def test_new_results_are_inserted(spectra: list[BossVisitSpectrum]) -> None:
    report = upsert(Rocket, [Rocket.from_spectrum(s, teff=5_000 + i, v_astra=8_001) for i, s in enumerate(spectra)])
    assert counts(report) == {"inserted": 5}
    expected = {
        "source_pk": spectra[1].source_pk,
        "spectrum_pk": spectra[1].spectrum_pk,
        "v_astra": 8_001,
        "v_astra_major_minor": 8,
        "t_elapsed": None,
        "t_overhead": None,
        "tag": "",
        "teff": 5_001,
        "e_teff": None,
        "logg": None,
        "e_logg": None,
        "fe_h": None,
        "e_fe_h": None,
        "result_flags": 0,
    }
    assert rows()[1] == expected


@pytest.mark.lesson(4)
def test_task_pk_and_created_stay_and_everything_else_moves(spectra: list[BossVisitSpectrum]) -> None:
    keys = {"spectrum_pk": spectra[0].spectrum_pk, "source_pk": spectra[0].source_pk}
    upsert(Rocket, [keys | {"v_astra": 8_000, "teff": 5_000, "tag": "first", "flag_low_snr": True, "t_elapsed": 1}])
    Rocket.update(created=LONG_AGO, modified=LONG_AGO).execute()
    before, now = Rocket.get(), utc_now()
    report = upsert(Rocket, [keys | {"v_astra": 8_001, "logg": 4}])
    assert counts(report) == {"updated": 1}
    after = Rocket.get()
    assert (after.task_pk, after.created) == (before.task_pk, LONG_AGO)
    assert now <= after.modified <= utc_now()
    assert (after.v_astra, after.logg) == (8_001, 4)
    assert (after.teff, after.tag, after.result_flags, after.t_elapsed) == (None, "", 0, None)


@pytest.mark.lesson(25)
def test_a_patch_updates_and_a_minor_release_inserts(spectra: list[BossVisitSpectrum]) -> None:
    key = {"spectrum_pk": spectra[0].spectrum_pk}
    upsert(Rocket, [key | {"v_astra": 8_000}])
    assert counts(upsert(Rocket, [key | {"v_astra": 8_001}])) == {"updated": 1}
    assert counts(upsert(Rocket, [key | {"v_astra": 9_000}])) == {"inserted": 1}
    assert [row["v_astra"] for row in rows()] == [8_001, 9_000]


def test_the_installed_version_is_the_default(
    spectra: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.7.2rc1")
    upsert(Rocket, [{"spectrum_pk": spectra[0].spectrum_pk}])
    assert Rocket.get().v_astra == 7_002


def test_inserts_and_updates_are_told_apart(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectrum) for spectrum in spectra[::2]])
    report = upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=1) for spectrum in spectra])
    assert counts(report) == {"inserted": 2, "updated": 3}
    assert teffs() == [1] * 5


# ---- which columns


@pytest.mark.lesson(1)
def test_a_failed_first_record_does_not_drop_the_values_of_the_others(spectra: list[BossVisitSpectrum]) -> None:
    failed, *good = spectra[:3]
    upsert(Rocket, [Rocket.from_spectrum(failed)] + [Rocket.from_spectrum(s, teff=5_000, logg=4) for s in good])
    assert [(row["teff"], row["logg"]) for row in rows()] == [(None, None), (5_000, 4), (5_000, 4)]


@pytest.mark.lesson(1)
@pytest.mark.lesson(2)
def test_rows_may_set_any_mixture_of_columns(spectra: list[BossVisitSpectrum]) -> None:
    keys = [spectrum.spectrum_pk for spectrum in spectra]
    given = [
        {"spectrum_pk": keys[0], "teff": 1.0},
        {"logg": 2.0, "spectrum_pk": keys[1]},
        {"spectrum_pk": keys[2], "tag": "a", "result_flags": 1},
        {"spectrum_pk": keys[3]},
        {"spectrum_pk": keys[4], "teff": 3.0, "logg": 4.0, "tag": "b"},
    ]
    assert counts(upsert(Rocket, given)) == {"inserted": 5}
    names = ("teff", "logg", "tag", "result_flags")
    assert [tuple(row[name] for name in names) for row in rows()] == [
        (1, None, "", 0),
        (None, 2, "", 0),
        (None, None, "a", 1),
        (None, None, "", 0),
        (3, 4, "b", 0),
    ]


@pytest.mark.lesson(2)
@pytest.mark.lesson(3)
@pytest.mark.parametrize("failed_is_first", [True, False])
def test_a_row_without_a_required_value_takes_no_other_along(
    spectra: list[BossVisitSpectrum], failed_is_first: bool
) -> None:
    class DwarfType(PipelineOutputMixin):
        spectral_type = TextField()
        sub_type = IntegerField(unit="")
        rchi2 = FloatField()

    DwarfType.create_table()
    failed = DwarfType.from_spectrum(spectra[0])
    good = [DwarfType.from_spectrum(s, spectral_type="M", sub_type=5, rchi2=1.5) for s in spectra[1:]]
    report = upsert(DwarfType, [failed, *good] if failed_is_first else [*good, failed])
    assert counts(report) == {"inserted": 4, "rejected": 1}
    assert {row["spectral_type"] for row in rows(DwarfType)} == {"M"}
    assert RejectedResult.get().spectrum_pk == spectra[0].spectrum_pk
    assert "spectral_type" in RejectedResult.get().message


def test_a_missing_value_of_a_column_with_a_default_is_the_default(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [{"spectrum_pk": spectra[0].spectrum_pk, "tag": None, "result_flags": None, "v_astra": None}])
    assert (rows()[0]["tag"], rows()[0]["result_flags"]) == ("", 0)


def test_flags_may_be_given_by_name(spectra: list[BossVisitSpectrum]) -> None:
    key, other = spectra[0].spectrum_pk, spectra[1].spectrum_pk
    upsert(
        Corv,
        [
            {"spectrum_pk": key, "flag_low_snr": True, "flag_no_lines": np.bool_(False), "flag_not_converged": 1},
            {"spectrum_pk": other, "result_flags": 8, "flag_low_snr": True},
        ],
    )
    assert [row["result_flags"] for row in rows(Corv)] == [5, 9]


# ---- forms


def results_as(form: str, keys: list[int]) -> Any:
    columns = {"spectrum_pk": keys, "teff": [5_000.5, np.nan, 7_000.5], "tag": ["a", "", "c"], "v_astra": [8_001] * 3}
    dicts = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    table = Table(columns)
    forms = {
        "instances": lambda: [Rocket(**row) for row in dicts],
        "dicts": lambda: dicts,
        "generator": lambda: (row for row in dicts),
        "table": lambda: table,
        "masked table": lambda: Table(table, masked=True),
        "table rows": lambda: list(table),
        "array rows": lambda: list(table.as_array()),
        "array": lambda: table.as_array(),
        "big-endian array": lambda: table.as_array().astype(
            [(n, d[0].newbyteorder(">")) for n, d in table.dtype.fields.items()]
        ),
        "tables": lambda: [table[:1], table[1:]],
        "arrays": lambda: iter([table.as_array()[:2], table.as_array()[2:]]),
        "mixture": lambda: [dicts[0], Rocket(**dicts[1]), table[2:]],
    }
    return forms[form]()


@pytest.mark.parametrize(
    "form",
    [
        "instances",
        "dicts",
        "generator",
        "table",
        "masked table",
        "table rows",
        "array rows",
        "array",
        "big-endian array",
        "tables",
        "arrays",
        "mixture",
    ],
)
def test_results_come_in_many_forms(spectra: list[BossVisitSpectrum], form: str) -> None:
    report = upsert(Rocket, results_as(form, [spectrum.spectrum_pk for spectrum in spectra[:3]]))
    assert counts(report) == {"inserted": 3}
    assert [(row["teff"], row["tag"], row["v_astra"]) for row in rows()] == [
        (5_000.5, "a", 8_001),
        (None, "", 8_001),
        (7_000.5, "c", 8_001),
    ]


@pytest.mark.parametrize(
    "nothing",
    [[], (), iter([]), Table({"spectrum_pk": np.array([], dtype=int)})],
    ids=["list", "tuple", "iterator", "table"],
)
def test_nothing_is_no_error(database: peewee.Database, nothing: Any) -> None:
    report = upsert(Rocket, nothing)
    assert (counts(report), report.rows) == ({}, 0)


def test_masked_values_are_null(spectra: list[BossVisitSpectrum]) -> None:
    table = Table({"spectrum_pk": [spectrum.spectrum_pk for spectrum in spectra[:2]]})
    table["teff"] = MaskedColumn([5_000.0, 1e20], mask=[False, True])
    table["tag"] = MaskedColumn(["a", "zzz"], mask=[False, True])
    table["result_flags"] = MaskedColumn([3, 999_999], mask=[False, True])
    upsert(Rocket, table)
    assert [(row["teff"], row["tag"], row["result_flags"]) for row in rows()] == [(5_000, "a", 3), (None, "", 0)]


def test_units_of_a_table_are_converted(spectra: list[BossVisitSpectrum]) -> None:
    table = Table({"spectrum_pk": [spectra[0].spectrum_pk]})
    table["v_rad"] = Column([12_500.0], unit="m / s")
    table["teff"] = Column([5.0], unit="kK")
    table["e_v_rad"] = Column([2.0])
    upsert(Corv, table)
    row = Corv.get()
    assert (row.v_rad, row.teff, row.e_v_rad) == (12.5, 5_000, 2)


def test_a_unit_of_another_kind_is_an_error_that_names_the_column(spectra: list[BossVisitSpectrum]) -> None:
    table = Table({"spectrum_pk": [spectra[0].spectrum_pk]})
    table["v_rad"] = Column([12.5], unit="K")
    with pytest.raises(errors.FieldValueError, match=r"v_rad: .*K.*km / s"):
        upsert(Corv, table)
    assert Corv.select().count() == 0


@pytest.mark.lesson(13)
def test_results_that_have_a_task_pk_mix_with_new_ones(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=1) for spectrum in spectra[:2]])
    stored = list(Rocket.select().order_by(Rocket.task_pk))
    for result in stored:
        result.teff = 2
    new = [Rocket.from_spectrum(spectrum, teff=3) for spectrum in spectra[2:]]
    report = upsert(Rocket, [new[0], stored[0], new[1], stored[1], new[2]])
    assert counts(report) == {"inserted": 3, "updated": 2}
    assert teffs() == [2, 2, 3, 3, 3]
    assert [row.task_pk for row in Rocket.select().order_by(Rocket.task_pk)][:2] == [row.task_pk for row in stored]


@pytest.mark.lesson(13)
def test_a_task_pk_of_another_row_is_not_taken_over(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=1)])
    taken = Rocket.get().task_pk
    report = upsert(Rocket, [{"task_pk": taken, "spectrum_pk": spectra[1].spectrum_pk, "teff": 2}])
    assert counts(report) == {"inserted": 1}
    assert teffs() == [1, 2]


# ---- values


def test_values_are_kept_as_by_save(spectra: list[BossVisitSpectrum]) -> None:
    values: list[Any] = [0.1, np.float32(0.1), np.int64(3), np.nan, np.inf, -np.inf, 1e-60, True, None]
    by_save, by_upsert = [], []
    for value in values:
        for stored, write in ((by_save, Rocket.save), (by_upsert, lambda row: upsert(Rocket, [row]))):
            Rocket.delete().execute()
            write(Rocket.from_spectrum(spectra[0], teff=value))
            stored.append(Rocket.get().teff)
    assert by_upsert == by_save


def test_infinity_is_kept_and_nan_is_null_in_a_column_of_both(spectra: list[BossVisitSpectrum]) -> None:
    values = [np.inf, -np.inf, np.nan, None, 1.5]
    upsert(Rocket, [Rocket.from_spectrum(s, e_teff=value) for s, value in zip(spectra, values, strict=True)])
    assert [row["e_teff"] for row in rows()] == [np.inf, -np.inf, None, None, 1.5]


def test_lists_and_long_text_and_many_columns_are_kept(spectra: list[BossVisitSpectrum]) -> None:
    text = "M31* 'x' \"y\" \\N \\ % é 星 \t\n," * 50
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], tag=text)])
    assert Rocket.get().tag == text


@pytest.mark.lesson(36)
def test_wide_tables_are_written(database: peewee.Database, make_spectra: Any) -> None:
    names = [*ThePayne.labels.names, *ThePayne.formal_errors.names, *ThePayne.correlations.names]
    assert len(names) == 375
    spectra = make_spectra(1_000)
    report = upsert(ThePayne, [{"spectrum_pk": s.spectrum_pk} | dict.fromkeys(names, 0.5) for s in spectra])
    assert counts(report) == {"inserted": 1_000}
    assert ThePayne.select().where(ThePayne.rho_c12_c13_v_macro == 0.5).count() == 1_000


# ---- duplicates


@pytest.mark.lesson(5)
@pytest.mark.lesson(6)
@pytest.mark.parametrize("stored_before", [False, True])
def test_of_duplicates_the_last_wins(spectra: list[BossVisitSpectrum], stored_before: bool) -> None:
    if stored_before:
        upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=0) for spectrum in spectra[:3]])
    order = [(0, 1), (1, 2), (0, 3), (2, 4), (1, 5), (0, 6)]
    report = upsert(Rocket, [Rocket.from_spectrum(spectra[i], teff=teff) for i, teff in order])
    assert counts(report) == {"updated" if stored_before else "inserted": 3, "superseded": 3}
    assert report.rows == 6
    assert teffs() == [6, 5, 4]


@pytest.mark.lesson(5)
def test_patches_of_a_version_are_duplicates_and_other_versions_are_not(spectra: list[BossVisitSpectrum]) -> None:
    key = {"spectrum_pk": spectra[0].spectrum_pk}
    report = upsert(Rocket, [key | {"v_astra": version} for version in (8_000, 8_002, 8_001, 9_000)])
    assert counts(report) == {"inserted": 2, "superseded": 2}
    assert [row["v_astra"] for row in rows()] == [8_002, 9_000]


@pytest.mark.lesson(5)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 1000])
def test_batches_make_no_difference_to_what_is_stored(spectra: list[BossVisitSpectrum], batch_size: int) -> None:
    order = [(0, 1), (1, 2), (0, 3), (2, 4), (1, 5), (0, 6)]
    given = [Rocket.from_spectrum(spectra[i], teff=teff) for i, teff in order]
    report = upsert(Rocket, given, batch_size=batch_size)
    assert (report.inserted, report.rows, report.rejected) == (3, 6, 0)
    assert teffs() == [6, 5, 4]


# ---- unchanged rows, good rows


def test_a_row_is_written_again_by_default(spectra: list[BossVisitSpectrum]) -> None:
    row = {"spectrum_pk": spectra[0].spectrum_pk, "teff": 5_000}
    upsert(Rocket, [row])
    Rocket.update(modified=LONG_AGO).execute()
    assert counts(upsert(Rocket, [row])) == {"updated": 1}
    assert Rocket.get().modified > LONG_AGO


def test_an_unchanged_row_may_be_left_alone(spectra: list[BossVisitSpectrum]) -> None:
    given = [Rocket.from_spectrum(s, teff=5_000.1, e_teff=np.nan, logg=np.inf, tag="é") for s in spectra]
    upsert(Rocket, given)
    Rocket.update(modified=LONG_AGO).execute()
    changed = [Rocket.from_spectrum(spectra[0], teff=5_000.2, logg=np.inf, tag="é")]
    report = upsert(Rocket, given[1:] + changed, unchanged="skip")
    assert counts(report) == {"updated": 1, "unchanged": 4}
    modified = [row.modified for row in Rocket.select().order_by(Rocket.spectrum_pk)]
    assert modified[0] > LONG_AGO
    assert modified[1:] == [LONG_AGO] * 4


def test_a_newer_patch_is_a_change(spectra: list[BossVisitSpectrum]) -> None:
    row = {"spectrum_pk": spectra[0].spectrum_pk, "teff": 5_000, "v_astra": 8_000}
    upsert(Rocket, [row])
    assert counts(upsert(Rocket, [row | {"v_astra": 8_001}], unchanged="skip")) == {"updated": 1}


@pytest.mark.lesson(4)
def test_a_failed_result_may_leave_a_good_one_alone(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000, tag="good"), Rocket.from_spectrum(spectra[1])])
    before = rows()
    failed = [Rocket.from_spectrum(spectrum, flag_low_snr=True, tag="failed", t_elapsed=1) for spectrum in spectra[:3]]
    report = upsert(Rocket, failed, keep_good=True)
    assert counts(report) == {"kept": 1, "updated": 1, "inserted": 1}
    after = rows()
    assert after[0] == before[0]
    assert [row["tag"] for row in after] == ["good", "failed", "failed"]


@pytest.mark.lesson(4)
def test_nan_is_no_measured_value_and_a_measured_one_replaces(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000)])
    assert counts(upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=np.nan)], keep_good=True)) == {"kept": 1}
    assert counts(upsert(Rocket, [Rocket.from_spectrum(spectra[0], logg=4)], keep_good=True)) == {"updated": 1}
    assert (Rocket.get().teff, Rocket.get().logg) == (None, 4)


@pytest.mark.lesson(4)
@pytest.mark.parametrize("model", [Corv, MWMBest, MWMSpectrumProductStatus])
def test_what_a_row_is_about_and_how_long_it_took_is_no_measured_value(model: type[BaseModel]) -> None:
    measured = {field.name for field in plan_for(model).measured}
    assert measured.isdisjoint(PipelineOutputMixin._meta.fields)
    assert bool(measured) == (model is not MWMSpectrumProductStatus)


def test_without_being_asked_a_failed_result_replaces_a_good_one(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000)])
    upsert(Rocket, [Rocket.from_spectrum(spectra[0])])
    assert teffs() == [None]


# ---- columns that the model doesn't have


@pytest.mark.parametrize("form", [list, Table], ids=["dicts", "table"])
def test_an_unknown_column_is_an_error_that_names_it(spectra: list[BossVisitSpectrum], form: Any) -> None:
    given = form([{"spectrum_pk": spectra[0].spectrum_pk, "tefff": 5_000.0}])
    with pytest.raises(errors.UnknownColumnError, match=r"(?i)rocket.*tefff.*teff"):
        upsert(Rocket, given)
    assert Rocket.select().count() == 0


@pytest.mark.parametrize("form", [list, Table], ids=["dicts", "table"])
def test_an_unknown_column_may_be_ignored(spectra: list[BossVisitSpectrum], form: Any) -> None:
    given = form([{"spectrum_pk": spectra[0].spectrum_pk, "mass": 1.0, "teff": 5_000.0}])
    assert counts(upsert(Rocket, given, extra="ignore")) == {"inserted": 1}
    assert teffs() == [5_000]


@pytest.mark.parametrize("option", [{"unchanged": "sometimes"}, {"extra": "keep"}])
def test_a_wrong_option_is_an_error_that_names_it(database: peewee.Database, option: dict[str, str]) -> None:
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        upsert(Rocket, [], **option)


def test_only_results_are_upserted(database: peewee.Database) -> None:
    with pytest.raises(TypeError, match="Source"):
        upsert(Source, [{"sdss_id": 1}])
    with pytest.raises(errors.AbstractModelError, match="PipelineOutputMixin"):
        upsert(PipelineOutputMixin, [])


@pytest.mark.lesson(8)
def test_a_result_of_another_model_does_not_land_in_the_table(spectra: list[BossVisitSpectrum]) -> None:
    mixed = [Rocket.from_spectrum(spectra[0], teff=1), Corv.from_spectrum(spectra[1], teff=2)]
    assert counts(upsert(Rocket, mixed)) == {"inserted": 1, "rejected": 1}
    assert teffs() == [1]
    assert Corv.select().count() == 0
    assert "Corv" in RejectedResult.get().message


@pytest.mark.lesson(7)
def test_a_missing_table_is_an_error_that_names_it(spectra: list[BossVisitSpectrum]) -> None:
    Rocket.drop_table()
    with pytest.raises(errors.MissingTableError, match="rocket"):
        upsert(Rocket, [Rocket.from_spectrum(spectra[0])])


# ---- the report


def test_reports_can_be_added() -> None:
    one = UpsertReport(inserted=1, updated=2, rejected=3, seconds=0.5, reasons=Counter({"no such spectrum": 3}))
    other = UpsertReport(inserted=10, kept=4, unchanged=5, superseded=6, seconds=0.25)
    both = one + other
    assert counts(both) == {"inserted": 11, "updated": 2, "rejected": 3, "kept": 4, "unchanged": 5, "superseded": 6}
    assert (both.rows, both.seconds) == (31, 0.75)
    assert UpsertReport() + other == other


def test_a_report_says_how_long_it_took(spectra: list[BossVisitSpectrum]) -> None:
    assert 0 < upsert(Rocket, [Rocket.from_spectrum(spectra[0])]).seconds < 60


# ---- transactions


def test_an_upsert_takes_part_in_the_callers_transaction(
    spectra: list[BossVisitSpectrum], database: peewee.Database
) -> None:
    def write_and_give_up() -> None:
        with database.atomic():
            upsert(Rocket, [Rocket.from_spectrum(spectra[0])])
            assert Rocket.select().count() == 1
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        write_and_give_up()
    assert Rocket.select().count() == 0


def test_batches_that_were_written_stay_when_the_input_breaks(spectra: list[BossVisitSpectrum]) -> None:
    def broken() -> Any:
        for spectrum in spectra[:4]:
            yield Rocket.from_spectrum(spectrum, teff=1)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        upsert(Rocket, broken(), batch_size=2)
    assert teffs() == [1] * 4


@pytest.mark.lesson(14)
@pytest.mark.postgresql_only(reason="SQLite has no sequences")
def test_updates_use_up_no_keys(spectra: list[BossVisitSpectrum], database: peewee.Database) -> None:
    for teff in range(10):
        upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=teff) for spectrum in spectra])
    schema = bound_schema() or "public"
    sequence = f'"{schema}".rocket_task_pk_seq'
    (last,) = database.execute_sql(f"SELECT last_value FROM {sequence}").fetchone()
    assert last == 5


def test_every_model_of_results_can_be_upserted(spectra: list[BossVisitSpectrum]) -> None:
    needed = {"element": "Al", "release": "sdss5", "filetype": "mwmStar", "telescope": "apo25m"}
    for model in PipelineOutputMixin.concrete_models():
        assert issubclass(model, BaseModel)
        values = {name: value for name, value in needed.items() if name in model._meta.fields}
        results = [model.from_spectrum(spectrum, **values) for spectrum in spectra]
        assert counts(upsert(model, results)) == {"inserted": 5}, model
