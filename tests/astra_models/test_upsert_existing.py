"""What an upsert does to a row that is there already: an older patch, another batch, only some columns, the same."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Table

from astra_models.analysis.recording import bulk_insert_or_replace_pipeline_results, record
from astra_models.analysis.stream import analyse, write
from astra_models.analysis.task import task
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.fields import DateTimeField, IntegerField, utc_now
from astra_models.rocket import Rocket
from astra_models.upsert import UpsertReport, upsert
from astra_models.upsert.plan import plan_for

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OLDER, NEWER = 9_001, 9_005


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store four spectra."""
    return make_spectra(4)


def counts(report: UpsertReport) -> dict[str, int]:
    names = ("inserted", "updated", "unchanged", "kept", "rejected", "superseded")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def results(spectra: list[BossVisitSpectrum], v_astra: int, teff: float | None) -> list[dict[str, Any]]:
    return [{"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk, "v_astra": v_astra, "teff": teff} for s in spectra]


def stored() -> list[Any]:
    return list(Rocket.select(Rocket.v_astra, Rocket.teff).order_by(Rocket.spectrum_pk).tuples())


# ---- which patch


@pytest.mark.parametrize("unchanged", ["write", "skip", "count"])
def test_an_older_patch_does_not_replace_a_newer_one(spectra: list[BossVisitSpectrum], unchanged: Any) -> None:
    upsert(Rocket, results(spectra[:2], NEWER, 5_000) + results(spectra[2:], OLDER, 4_000))
    report = upsert(Rocket, results(spectra, OLDER, 6_000), unchanged=unchanged)
    assert counts(report) == {"updated": 2, "kept": 2}
    assert stored() == [(NEWER, 5_000)] * 2 + [(OLDER, 6_000)] * 2


def test_an_older_patch_replaces_a_newer_one_on_demand(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, results(spectra, NEWER, 5_000))
    assert counts(upsert(Rocket, results(spectra, OLDER, 6_000), existing="replace")) == {"updated": 4}
    assert stored() == [(OLDER, 6_000)] * 4


@pytest.mark.parametrize("batch_size", [1, 2, 100])
@pytest.mark.parametrize("existing", ["newest", "replace", "keep"])
def test_the_order_of_patches_within_a_batch(spectra: list[BossVisitSpectrum], existing: Any, batch_size: int) -> None:
    (spectrum,) = spectra[:1]
    rows = [
        row for patch, teff in ((9_003, 3.0), (NEWER, 5.0), (OLDER, 1.0)) for row in results([spectrum], patch, teff)
    ]
    report = upsert(Rocket, rows, existing=existing, batch_size=batch_size)
    assert report.rows == 3
    assert stored() == [{"newest": (NEWER, 5.0), "replace": (OLDER, 1.0), "keep": (9_003, 3.0)}[existing]]


@pytest.mark.parametrize("existing", ["newest", "merge"])
def test_unchanged_rows_beside_those_of_newer_patches_and_of_later_versions(
    spectra: list[BossVisitSpectrum], existing: Any
) -> None:
    upsert(Rocket, results(spectra, 10_000, 7_000))
    upsert(Rocket, results(spectra[:1], 9_999, 5_000) + results(spectra[1:], 9_000, 5_000))
    given = results(spectra[:3], 9_000, 5_000) + results(spectra[3:], 9_000, 6_000)
    report = upsert(Rocket, given, existing=existing, unchanged="skip")
    assert counts(report) == {"kept": 1, "unchanged": 2, "updated": 1}


@pytest.mark.sqlite_only(reason="no database is asked")
@pytest.mark.parametrize(("version", "last"), [(0, 999), (9_000, 9_999), (9_005, 9_999), (9_999, 9_999)])
def test_the_last_patch_of_a_version(database: peewee.Database, version: int, last: int) -> None:
    assert plan_for(Rocket).last_patch(version) == last


def test_everything_again_replaces_also_what_a_newer_patch_has_found(
    spectra: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch
) -> None:

    @task
    def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield from (Rocket.from_spectrum(spectrum, teff=6_000) for spectrum in spectra)

    upsert(Rocket, results(spectra, NEWER, 5_000))
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")
    assert counts(write(analyse(rocket, rerun="all"))) == {"updated": 4}
    assert stored() == [(OLDER, 6_000)] * 4
    assert counts(write(analyse(rocket, rerun="all"))) == {"unchanged": 4}
    Rocket.update(v_astra=NEWER).execute()
    list(rocket(spectra))
    assert stored() == [(NEWER, 6_000)] * 4


def test_an_older_patch_in_a_table(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, Table(rows=results(spectra, NEWER, 5_000.0)))
    assert counts(upsert(Rocket, Table(rows=results(spectra, OLDER, 6_000.0)))) == {"kept": 4}
    assert stored() == [(NEWER, 5_000)] * 4


def test_a_row_whose_key_has_no_version_is_replaced(spectra: list[BossVisitSpectrum]) -> None:
    class Remark(BaseModel):
        spectrum_pk = IntegerField(unique=True)
        v_astra = IntegerField()
        created = DateTimeField(default=utc_now)
        modified = DateTimeField(default=utc_now)
        upsert_key = ("spectrum_pk",)

    Remark.create_table()
    upsert(Remark, [{"spectrum_pk": 1, "v_astra": NEWER}])
    assert counts(upsert(Remark, [{"spectrum_pk": 1, "v_astra": OLDER}])) == {"updated": 1}
    assert Remark.get().v_astra == OLDER


# ---- keep, merge


def test_what_is_stored_is_kept_on_demand(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, results(spectra[:2], OLDER, 5_000))
    report = upsert(Rocket, results(spectra, NEWER, 6_000), existing="keep")
    assert counts(report) == {"inserted": 2, "kept": 2}
    assert stored() == [(OLDER, 5_000)] * 2 + [(NEWER, 6_000)] * 2
    assert counts(upsert(Rocket, results(spectra, NEWER, 7_000), existing="keep", unchanged="skip")) == {"kept": 4}


def test_each_row_overwrites_only_what_it_sets(spectra: list[BossVisitSpectrum]) -> None:
    keys = [{"spectrum_pk": s.spectrum_pk, "v_astra": NEWER} for s in spectra]
    upsert(Rocket, [key | {"teff": 1.0, "logg": 1.0, "fe_h": 1.0, "tag": "a", "flag_low_snr": True} for key in keys])
    changes = [{"teff": 2.0}, {"logg": 2.0, "tag": "b"}, {"fe_h": None}, {}]
    report = upsert(Rocket, [key | change for key, change in zip(keys, changes, strict=True)], existing="merge")
    assert counts(report) == {"updated": 4}
    names = (Rocket.teff, Rocket.logg, Rocket.fe_h, Rocket.tag, Rocket.result_flags)
    flags = Rocket.flag_low_snr.value
    assert list(Rocket.select(*names).order_by(Rocket.spectrum_pk).tuples()) == [
        (2.0, 1.0, 1.0, "a", flags),
        (1.0, 2.0, 1.0, "b", flags),
        (1.0, 1.0, None, "a", flags),
        (1.0, 1.0, 1.0, "a", flags),
    ]


@pytest.mark.parametrize("batch_size", [1, 100])
def test_rows_of_one_key_are_merged_one_after_the_other(spectra: list[BossVisitSpectrum], batch_size: int) -> None:
    key = {"spectrum_pk": spectra[0].spectrum_pk, "v_astra": NEWER}
    rows = [key | change for change in ({"teff": 1.0}, {"logg": 2.0, "teff": 2.0}, {"fe_h": 3.0}, {"teff": 4.0})]
    upsert(Rocket, rows, existing="merge", batch_size=batch_size)
    assert Rocket.select(Rocket.teff, Rocket.logg, Rocket.fe_h).tuples().get() == (4.0, 2.0, 3.0)


def test_instances_and_tables_are_merged(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, [Rocket.from_spectrum(s, teff=1.0, tag="a", v_astra=NEWER) for s in spectra])
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], logg=2.0, v_astra=NEWER)], existing="merge")
    table = Table(
        {"spectrum_pk": [s.spectrum_pk for s in spectra[1:]], "v_astra": [NEWER] * 3, "logg": [3.0, 4.0, np.nan]}
    )
    upsert(Rocket, table, existing="merge")
    found = Rocket.select(Rocket.teff, Rocket.tag, Rocket.logg).order_by(Rocket.spectrum_pk).tuples()
    assert list(found) == [(1.0, "a", 2.0), (1.0, "a", 3.0), (1.0, "a", 4.0), (1.0, "a", None)]


def test_a_new_row_that_is_merged_gets_the_defaults(spectra: list[BossVisitSpectrum]) -> None:
    report = upsert(Rocket, [{"spectrum_pk": spectra[0].spectrum_pk, "teff": 1.0}], existing="merge")
    assert counts(report) == {"inserted": 1}
    assert (Rocket.get().tag, Rocket.get().result_flags, Rocket.get().logg) == ("", 0, None)


def test_an_older_patch_is_not_merged(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, results(spectra, NEWER, 5_000))
    assert counts(upsert(Rocket, results(spectra, OLDER, 6_000), existing="merge")) == {"kept": 4}
    assert stored() == [(NEWER, 5_000)] * 4


def test_a_row_that_can_not_be_stored_does_not_stop_a_merge(spectra: list[BossVisitSpectrum]) -> None:
    rows = results(spectra, NEWER, 5_000)
    rows[1]["teff"], rows[2]["spectrum_pk"] = "hot", [1]
    assert counts(upsert(Rocket, rows, existing="merge")) == {"inserted": 2, "rejected": 2}


@pytest.mark.parametrize("existing", ["newest", "replace", "keep", "merge"])
def test_a_good_result_is_protected_whatever_else_is_asked_for(spectra: list[BossVisitSpectrum], existing: Any) -> None:
    upsert(Rocket, results(spectra, OLDER, 5_000))
    report = upsert(Rocket, results(spectra, NEWER, None), existing=existing, keep_good=True)
    assert counts(report) == {"kept": 4}
    assert stored() == [(OLDER, 5_000)] * 4


@pytest.mark.parametrize("existing", ["newest", "replace"])
def test_a_good_result_is_protected_from_a_later_row_of_its_batch(
    spectra: list[BossVisitSpectrum], existing: Any
) -> None:
    rows = results(spectra, OLDER, 5_000) + results(spectra, OLDER, None)
    assert counts(upsert(Rocket, rows, existing=existing, keep_good=True)) == {"inserted": 4, "superseded": 4}
    assert stored() == [(OLDER, 5_000)] * 4


@pytest.mark.parametrize("word", ["old", "", None, "Newest"])
def test_another_word_is_refused(database: peewee.Database, word: Any) -> None:
    with pytest.raises(ValueError, match="existing="):
        upsert(Rocket, [], existing=word)


# ---- the same result again


def test_a_result_that_is_as_before_counts_as_unchanged_and_is_written(spectra: list[BossVisitSpectrum]) -> None:
    def result(spectrum: BossVisitSpectrum, **columns: Any) -> Corv:
        return Corv.from_spectrum(spectrum, **{"v_rad": 10.0, "teff": np.nan, "t_elapsed": 1.0} | columns)

    record([result(spectrum) for spectrum in spectra])
    Corv.update(modified=LONG_AGO).execute()
    again = [result(spectra[0], t_elapsed=2.0, t_overhead=3.0), result(spectra[1], v_astra=9_999), result(spectra[2])]
    again += [result(spectra[3], v_rad=11.0)]
    assert counts(record(again)) == {"updated": 1, "unchanged": 3}
    assert all(row.modified > LONG_AGO for row in Corv.select())
    assert [row.t_elapsed for row in Corv.select().order_by(Corv.spectrum_pk)] == [2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "change", [{"tag": "b"}, {"teff": None}, {"logg": 0.0}, {"flag_low_snr": True}, {"source_pk": None}], ids=repr
)
def test_any_other_difference_is_an_update(spectra: list[BossVisitSpectrum], change: dict[str, Any]) -> None:
    rows = results(spectra, OLDER, 5_000)
    upsert(Rocket, rows)
    report = upsert(Rocket, [rows[0] | change, *rows[1:]], unchanged="count")
    assert counts(report) == {"updated": 1, "unchanged": 3}


def test_new_results_among_those_that_are_as_before(spectra: list[BossVisitSpectrum]) -> None:
    upsert(Rocket, results(spectra[:2], OLDER, 5_000))
    report = upsert(Rocket, results(spectra, OLDER, 5_000), unchanged="count", keep_good=True)
    assert counts(report) == {"inserted": 2, "unchanged": 2}


def test_keys_of_any_form_are_found_again_after_writing(spectra: list[BossVisitSpectrum]) -> None:
    given = [
        Rocket(spectrum_pk=np.array(spectra[0].spectrum_pk), v_astra=np.array(NEWER), teff=1.0),
        Rocket(spectrum_pk=float(spectra[1].spectrum_pk), v_astra=np.float64(NEWER), teff=2.0),
        Rocket(spectrum_pk=[1], teff=3.0),
    ]
    found = bulk_insert_or_replace_pipeline_results(given)
    assert found == given[:2]
    assert [row.task_pk for row in found] == [row.task_pk for row in Rocket.select().order_by(Rocket.spectrum_pk)]


def test_a_row_that_sets_nothing_is_merged_and_counted_as_the_same(spectra: list[BossVisitSpectrum]) -> None:
    key = {"spectrum_pk": spectra[0].spectrum_pk, "v_astra": 8_000}
    upsert(Rocket, [key | {"teff": 5000.0}])
    report = upsert(Rocket, [key], existing="merge", unchanged="count")
    assert (report.updated, report.unchanged) == (0, 1)
    assert Rocket.get().teff == 5000
