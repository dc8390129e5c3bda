"""The list of what has no result, and why."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.analysis.recording import record
from astra_models.boss import BossVisitSpectrum
from astra_models.fields import utc_now
from astra_models.rejected import RejectedResult, payload_from_json, payload_to_json
from astra_models.rocket import Rocket
from astra_models.upsert import upsert


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store four spectra."""
    return make_spectra(4)


def failure(spectrum: BossVisitSpectrum, **columns: Any) -> RejectedResult:
    values = {
        "model": "Rocket",
        "spectrum_pk": spectrum.spectrum_pk,
        "source_pk": spectrum.source_pk,
        "v_astra": 9_000,
        "reason": "exception",
        "message": "ZeroDivisionError: division by zero",
    }
    return RejectedResult(**values | columns)


def listed() -> list[tuple[int, str]]:
    query = RejectedResult.select().order_by(RejectedResult.spectrum_pk, RejectedResult.pk)
    return [(row.spectrum_pk, row.reason) for row in query]


def test_the_table_is_named_and_made_as_documented() -> None:
    assert RejectedResult._meta.table_name == "rejected_result"
    documented = {"model", "spectrum_pk", "source_pk", "v_astra", "reason", "message", "payload", "run_id", "created"}
    assert documented <= set(RejectedResult._meta.fields)


def test_a_spectrum_that_is_not_in_the_database_can_be_listed(database: peewee.Database) -> None:
    row = RejectedResult.create(model="Rocket", spectrum_pk=404, reason="refused", message="no such spectrum")
    assert row.pk
    assert RejectedResult.get().created <= utc_now()


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**62), 0.1, 1e300, "é \0 \n \"'", [1, 2.5, None], b"\x00\xff", datetime(2024, 7, 1, tzinfo=UTC)],
    ids=repr,
)
def test_a_payload_is_json_that_restores_the_row(value: Any) -> None:
    payload = payload_to_json({"spectrum_pk": 17, "value": value})
    assert json.loads(payload)["spectrum_pk"] == 17
    assert payload_from_json(payload) == {"spectrum_pk": 17, "value": value}


@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float32("inf")], ids=repr)
def test_a_payload_keeps_infinity(value: float) -> None:
    assert payload_from_json(payload_to_json({"value": value})) == {"value": float(value)}
    assert math.isnan(payload_from_json(payload_to_json({"value": math.nan}))["value"])


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.int64(5), 5), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("a"), "a"), (np.arange(2), [0, 1])],
    ids=repr,
)
def test_a_payload_keeps_numpy_values(value: Any, plain: Any) -> None:
    assert payload_from_json(payload_to_json({"value": value})) == {"value": plain}


def test_what_has_no_form_in_json_is_described() -> None:
    payload = payload_to_json({"value": 1 + 2j, "other": object})
    assert "(1+2j)" in payload


# ---- recording results and failures together


def test_a_batch_of_results_and_failures_is_recorded(spectra: list[BossVisitSpectrum]) -> None:
    batch = [
        Rocket.from_spectrum(spectra[0], teff=1),
        failure(spectra[1]),
        Rocket.from_spectrum(spectra[2], teff=1e39),
        failure(spectra[3], reason="no_result", message="rocket gave no result"),
    ]
    report = record(batch, run_id="5f1c")
    assert (report.inserted, report.rejected, report.rows) == (1, 3, 4)
    assert listed() == [
        (spectra[1].spectrum_pk, "exception"),
        (spectra[2].spectrum_pk, "refused"),
        (spectra[3].spectrum_pk, "no_result"),
    ]
    assert {row.run_id for row in RejectedResult.select()} == {"5f1c"}
    assert sum(report.reasons.values()) == 3
    assert [count for reason, count in report.reasons.items() if "ZeroDivisionError" in reason] == [1]


@pytest.mark.parametrize("reason", ["exception", "no_result"])
def test_a_later_good_result_removes_a_failure(spectra: list[BossVisitSpectrum], reason: str) -> None:
    record([failure(spectra[0], reason=reason), failure(spectra[1], reason=reason)])
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000, v_astra=9_000)])
    assert listed() == [(spectra[1].spectrum_pk, reason)]


def test_a_good_result_of_another_pipeline_removes_nothing(spectra: list[BossVisitSpectrum]) -> None:
    record([failure(spectra[0], model="Corv")])
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000, v_astra=9_000)])
    assert listed() == [(spectra[0].spectrum_pk, "exception")]


def test_a_good_result_of_another_version_leaves_the_failure_of_this_one(spectra: list[BossVisitSpectrum]) -> None:
    record([failure(spectra[0])])
    upsert(Rocket, [Rocket.from_spectrum(spectra[0], teff=5_000, v_astra=8_000)])
    assert listed() == [(spectra[0].spectrum_pk, "exception")]


@pytest.mark.lesson(43)
def test_a_failure_that_happens_again_is_listed_once(spectra: list[BossVisitSpectrum]) -> None:
    record([failure(spectra[0])])
    record([failure(spectra[0], message="ValueError: worse")])
    assert listed() == [(spectra[0].spectrum_pk, "exception")]
    assert RejectedResult.get().message == "ValueError: worse"


@pytest.mark.lesson(4)
def test_good_results_may_be_kept_when_recording(spectra: list[BossVisitSpectrum]) -> None:
    record([Rocket.from_spectrum(spectra[0], teff=5_000)])
    assert record([Rocket.from_spectrum(spectra[0])], keep_good=True).kept == 1
    assert Rocket.get().teff == 5_000
