"""``astra rejected`` and ``astra replay``."""

import json
from collections.abc import Callable
from typing import Any

import peewee
import pytest
from click.testing import Result
from typer.testing import CliRunner

from astra_models.boss import BossVisitSpectrum
from astra_models.rejected import REASONS, RejectedResult
from astra_models.rocket import Rocket
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from astra_orchestration.cli.main import app

Visits = Callable[..., list[BossVisitSpectrum]]


def astra(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def refused(database: peewee.Database, make_spectra: Visits) -> list[dict[str, Any]]:
    """Two rows of one run that could not be stored: the spectrum of one is still to come, the other is hopeless."""
    spectrum = make_spectra(1)[0]
    rows = [
        {"spectrum_pk": spectrum.spectrum_pk + 1, "teff": 5000.0},
        {"spectrum_pk": spectrum.spectrum_pk, "teff": 1e39},
    ]
    assert upsert(Rocket, rows, run_id="5f1c2a77").rejected == 2
    return rows


def test_what_was_refused_is_listed_with_its_reason(refused: list[dict[str, Any]]) -> None:
    shown = astra("rejected")
    assert shown.exit_code == 0
    assert "5f1c2a77" in shown.output
    assert "beyond single precision" in shown.output
    assert "2 in all" in shown.output


@pytest.mark.parametrize(
    ("options", "n_listed"),
    [
        (["--pipeline", "rocket"], 2),
        (["--pipeline", "corv"], 0),
        (["--reason", "refused", "--run", "5f1c"], 2),
        (["--reason", "no_result"], 0),
        (["--run", "other"], 0),
    ],
)
def test_the_list_is_filtered(refused: list[dict[str, Any]], options: list[str], n_listed: int) -> None:
    shown = astra("rejected", *options).output
    assert f"{n_listed} in all" in shown if n_listed else "nothing is rejected" in shown


@pytest.mark.sqlite_only(reason="which words an option takes does not depend on the database")
@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_can_be_asked_for(database: peewee.Database, reason: str) -> None:
    assert astra("rejected", "--reason", reason).output == "nothing is rejected\n"


def test_only_the_latest_are_shown(refused: list[dict[str, Any]]) -> None:
    assert "1 of 2 shown" in astra("rejected", "--limit", "1").output


def test_a_row_is_stored_once_its_spectrum_is_there(refused: list[dict[str, Any]]) -> None:
    Spectrum.create(pk=refused[0]["spectrum_pk"])

    shown = astra("replay", "5f1c")

    assert shown.exit_code == 3
    assert "2 tried: 1 inserted, 0 updated, 1 refused again" in shown.output
    assert [row.teff for row in Rocket.select()] == [5000.0]
    (left,) = RejectedResult.select()
    assert (left.spectrum_pk, left.run_id) == (refused[1]["spectrum_pk"], "5f1c2a77")


def test_a_replayed_row_keeps_the_version_that_it_was_made_with(
    refused: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Spectrum.create(pk=refused[0]["spectrum_pk"])
    monkeypatch.setenv("ASTRA_VERSION", "1.0.0")
    astra("replay", "--all")
    assert [row.v_astra for row in Rocket.select()] == [9000]


@pytest.mark.parametrize("payload", [{"tag": {"a": 1}}, {"teff": object()}], ids=["dict", "object"])
def test_a_row_of_which_something_was_only_described_is_shown_and_not_replayed(
    database: peewee.Database, make_spectra: Visits, payload: dict[str, Any]
) -> None:
    spectrum = make_spectra(1)[0]
    upsert(Rocket, [{"spectrum_pk": spectrum.spectrum_pk} | payload], run_id="5f1c2a77")

    shown = astra("replay", "5f1c")

    assert shown.exit_code == 1
    assert "0 tried" in shown.output
    assert "can't be replayed 1: a value was kept as a description only" in " ".join(shown.output.split())
    assert "1 in all" in astra("rejected").output
    assert not Rocket.select().exists()
    assert "1 refused rows dropped" in astra("replay", "5f1c", "--discard").output


def test_a_replayed_row_does_not_replace_that_of_a_newer_patch(database: peewee.Database, make_spectra: Visits) -> None:
    key = make_spectra(1)[0].spectrum_pk
    upsert(Rocket, [{"spectrum_pk": key, "teff": 1.0, "v_astra": 9005}])
    payload = json.dumps({"spectrum_pk": key, "teff": 2.0})
    RejectedResult.create(model="Rocket", reason="refused", message="", payload=payload, v_astra=9001, run_id="5f1c")
    shown = astra("replay", "5f1c")
    assert "1 tried: 0 inserted, 0 updated, 1 kept (a newer result is stored), 0 refused again" in shown.output
    assert Rocket.get().teff == 1.0


def test_refused_rows_are_dropped_on_demand(refused: list[dict[str, Any]]) -> None:
    shown = astra("replay", "5f1c2a77", "--discard")
    assert shown.exit_code == 0
    assert "2 refused rows dropped" in shown.output
    assert not RejectedResult.select().exists()


@pytest.mark.parametrize("options", [["nosuchrun"], ["nosuchrun", "--discard"]])
def test_a_run_without_refused_rows_is_an_error(refused: list[dict[str, Any]], options: list[str]) -> None:
    shown = astra("replay", *options)
    assert shown.exit_code == 1
    assert "no refused rows of run nosuchrun are listed" in shown.output
    assert RejectedResult.select().count() == 2


@pytest.mark.parametrize("options", [[], ["5f1c", "--all"]])
def test_replay_wants_a_run_or_all(refused: list[dict[str, Any]], options: list[str]) -> None:
    shown = astra("replay", *options)
    assert shown.exit_code == 2
    assert "give a RUN_ID, or --all" in shown.output


def test_what_is_listed_as_json(database: peewee.Database) -> None:
    key = Spectrum.create().pk
    moment = RejectedResult.create(
        model="Rocket", reason="exception", message="a\nb", payload="{}", v_astra=9001, run_id="5f1c", spectrum_pk=key
    ).created
    [row] = json.loads(CliRunner().invoke(app, ["rejected", "--json"]).stdout)["data"]["rejected"]
    assert row == {
        "when": moment.isoformat(),
        "pipeline": "rocket",
        "spectrum_pk": key,
        "version": "0.9.1",
        "run_id": "5f1c",
        "reason": "exception",
        "message": "a\nb",
        "traceback": None,
    }
    assert json.loads(CliRunner().invoke(app, ["rejected", "--json", "--run", "none"]).stdout)["data"]["rejected"] == []
    assert json.loads(CliRunner().invoke(app, ["leases", "--json"]).stdout)["data"]["leases"] == []


def test_a_pipeline_is_called_as_by_other_commands(database: peewee.Database) -> None:
    for model in ("Rocket", "NotInstalled"):
        RejectedResult.create(model=model, reason="exception", message="", payload="{}", v_astra=9001)
    listed = CliRunner().invoke(app, ["rejected"], env={"COLUMNS": "200"}).stdout
    assert "rocket" in listed
    assert "Rocket" not in listed
    assert "NotInstalled" in listed
