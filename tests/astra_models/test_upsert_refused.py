"""Rows that can't be stored: they don't affect other rows, and are kept with the reason."""

import json
import sys
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Table

from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.fields import utc_now
from astra_models.rejected import RejectedResult, payload_from_json
from astra_models.rocket import Rocket
from astra_models.upsert import quarantine, upsert

UNSTORABLE = {
    "unknown spectrum": {"spectrum_pk": 10**6},
    "no spectrum": {"spectrum_pk": None},
    "unknown source": {"source_pk": 10**6},
    "overflow": {"teff": 1e39},
    "numpy overflow": {"teff": np.float64(-1e300)},
    "no number": {"teff": "hot"},
    "a list": {"teff": [1.0, 2.0]},
    "NUL in text": {"tag": "a\0b"},
    "half a character": {"tag": "\ud800"},
    "integer overflow": {"result_flags": 2**63},
    "version overflow": {"v_astra": 2**31},
    "no whole number": {"result_flags": 1.5},
    "an object": {"teff": object()},
}


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store seven spectra."""
    return make_spectra(7)


def results(spectra: list[BossVisitSpectrum]) -> list[dict[str, Any]]:
    return [
        {"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk, "teff": 5_000.0, "tag": "dr20", "v_astra": 8_001}
        for s in spectra
    ]


def files_run_by_an_upsert(rows: list[dict[str, Any]]) -> set[str]:
    files = set()
    sys.setprofile(lambda frame, *_: files.add(frame.f_code.co_filename))
    try:
        upsert(Rocket, rows)
    finally:
        sys.setprofile(None)
    return files


def test_only_bad_rows_reach_the_quarantine(spectra: list[BossVisitSpectrum]) -> None:
    good = results(spectra)
    assert quarantine.__file__ not in files_run_by_an_upsert(good)
    assert quarantine.__file__ not in files_run_by_an_upsert(good)  # rows that are there already
    assert quarantine.__file__ in files_run_by_an_upsert([*good, {"spectrum_pk": 10**6}])


@pytest.mark.lesson(9)
@pytest.mark.parametrize(("kind", "where"), [*((kind, 3) for kind in UNSTORABLE), ("overflow", 0), ("no spectrum", 6)])
def test_a_row_that_can_not_be_stored_takes_no_other_along(
    spectra: list[BossVisitSpectrum], kind: str, where: int
) -> None:
    given = results(spectra)
    given[where] |= UNSTORABLE[kind]
    report = upsert(Rocket, given, run_id="5f1c")
    assert (report.inserted, report.rejected, report.rows) == (6, 1, 7)
    stored = [row.spectrum_pk for row in Rocket.select().order_by(Rocket.spectrum_pk)]
    assert stored == [s.spectrum_pk for i, s in enumerate(spectra) if i != where]
    refused = RejectedResult.get()
    assert (refused.model, refused.reason, refused.run_id) == ("Rocket", "refused", "5f1c")
    column = next(iter(UNSTORABLE[kind]))
    assert column in refused.message


@pytest.mark.lesson(9)
def test_many_kinds_of_unstorable_rows_in_one_batch(database: peewee.Database, make_spectra: Any) -> None:
    given = results(make_spectra(3 * len(UNSTORABLE)))
    for row, change in zip(given, UNSTORABLE.values(), strict=False):
        row |= change
    report = upsert(Rocket, given)
    assert (report.inserted, report.rejected) == (2 * len(UNSTORABLE), len(UNSTORABLE))
    assert Rocket.select().count() == 2 * len(UNSTORABLE)
    assert sum(report.reasons.values()) == len(UNSTORABLE)


@pytest.mark.lesson(9)
@pytest.mark.parametrize("kind", ["unknown spectrum", "overflow", "integer overflow"])
def test_a_row_that_can_not_replace_leaves_the_stored_one(spectra: list[BossVisitSpectrum], kind: str) -> None:
    upsert(Rocket, results(spectra))
    given = [row | {"teff": 6_000.0} for row in results(spectra)]
    given[2] |= UNSTORABLE[kind]
    report = upsert(Rocket, given)
    assert (report.updated, report.rejected) == (6, 1)
    assert [row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [6_000] * 2 + [5_000] + [6_000] * 4


def test_what_was_refused_is_kept_whole(spectra: list[BossVisitSpectrum]) -> None:
    before = utc_now()
    given = results(spectra[:1])[0] | {"teff": 1e39, "e_teff": np.float32(0.5), "logg": float("nan"), "tag": "é"}
    upsert(Rocket, [given], run_id="run 7")
    refused = RejectedResult.get()
    assert (refused.spectrum_pk, refused.source_pk) == (spectra[0].spectrum_pk, spectra[0].source_pk)
    assert (refused.v_astra, refused.model, refused.reason, refused.run_id) == (8_001, "Rocket", "refused", "run 7")
    assert before <= refused.created <= utc_now()
    assert "teff" in refused.message
    assert "1e+39" in refused.message
    json.loads(refused.payload)
    payload = payload_from_json(refused.payload)
    assert {name: payload[name] for name in ("spectrum_pk", "teff", "e_teff", "tag")} == {
        "spectrum_pk": spectra[0].spectrum_pk,
        "teff": 1e39,
        "e_teff": 0.5,
        "tag": "é",
    }
    assert np.isnan(payload["logg"])


def test_an_unknown_spectrum_is_named(spectra: list[BossVisitSpectrum]) -> None:
    given = results(spectra)
    given[0]["spectrum_pk"], given[1]["spectrum_pk"] = 424_242, 434_343
    report = upsert(Rocket, given)
    assert report.rejected == 2
    messages = {row.spectrum_pk: row.message for row in RejectedResult.select()}
    assert set(messages) == {424_242, 434_343}
    assert "spectrum" in messages[424_242]
    assert sum(report.reasons.values()) == 2


def test_refused_rows_of_a_table(spectra: list[BossVisitSpectrum]) -> None:
    table = Table(rows=results(spectra))
    table["teff"][2] = 1e300
    table["spectrum_pk"][4] = 10**6
    report = upsert(Rocket, table)
    assert (report.inserted, report.rejected) == (5, 2)
    assert {row.spectrum_pk for row in RejectedResult.select()} == {spectra[2].spectrum_pk, 10**6}


def test_refused_instances(spectra: list[BossVisitSpectrum]) -> None:
    given = [Corv.from_spectrum(spectrum, v_rad=10) for spectrum in spectra]
    given[3].v_rad = 1e39
    report = upsert(Corv, given)
    assert (report.inserted, report.rejected) == (6, 1)
    assert RejectedResult.get().model == "Corv"


def test_a_duplicate_that_can_not_be_stored(spectra: list[BossVisitSpectrum]) -> None:
    good = results(spectra)[0]
    report = upsert(Rocket, [good, good | {"teff": 1e39}])
    assert report.rows == 2
    assert report.rejected == 1
    assert report.inserted + report.superseded == 1


def test_a_refused_row_stays_listed_when_the_others_are_stored_again(spectra: list[BossVisitSpectrum]) -> None:
    given = results(spectra)
    given[0]["teff"] = 1e39
    upsert(Rocket, given)
    upsert(Rocket, given[1:])
    assert [row.spectrum_pk for row in RejectedResult.select()] == [spectra[0].spectrum_pk]


def test_rows_that_are_refused_inside_a_transaction_do_not_break_it(
    spectra: list[BossVisitSpectrum], database: peewee.Database
) -> None:
    given = results(spectra)
    given[0]["spectrum_pk"], given[1]["teff"] = 10**6, 1e39
    with database.atomic():
        report = upsert(Rocket, given)
    assert (report.inserted, report.rejected) == (5, 2)
    assert Rocket.select().count() == 5
    assert RejectedResult.select().count() == 2


@pytest.mark.lesson(9)
def test_what_only_the_database_can_tell_is_found_too(spectra: list[BossVisitSpectrum], database: Any) -> None:
    from astra_models.database.sql import is_postgresql, quoted_table

    table = quoted_table(Rocket)
    if is_postgresql(database):
        database.execute_sql(f"ALTER TABLE {table} ADD CONSTRAINT positive CHECK (teff > 0)")
    else:
        database.execute_sql(
            f"CREATE TRIGGER positive BEFORE INSERT ON {table} WHEN NEW.teff <= 0 "
            "BEGIN SELECT RAISE(ABORT, 'violates positive'); END"
        )
    given = results(spectra)
    given[1]["teff"] = given[5]["teff"] = -1.0
    report = upsert(Rocket, given)
    if is_postgresql(database):
        database.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT positive")
    assert (report.inserted, report.rejected) == (5, 2)
    refused = list(RejectedResult.select().order_by(RejectedResult.spectrum_pk))
    assert [row.spectrum_pk for row in refused] == [spectra[1].spectrum_pk, spectra[5].spectrum_pk]
    assert all("positive" in row.message for row in refused)
