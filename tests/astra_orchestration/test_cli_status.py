"""``astra status`` and ``astra explain``."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import peewee
import pytest
from typer.testing import CliRunner

from astra_models import base
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.status import FileStatus, Status, VersionStatus
from astra_models.status.star import Analysis, Listed, Result, SpectrumOfStar, Star
from astra_orchestration.cli.main import app

Visits = Callable[..., list[BossVisitSpectrum]]
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "status.md").read_text()


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


@pytest.fixture
def star(database: peewee.Database, make_visits: Visits) -> Source:
    """Give a star with three visits: one is done, one failed, one is due."""
    source = Source.create(sdss_id=54_392_544, ra=266.4168262, dec=-29.0078, sdss4_apogee_id="2M00000002+7417074")
    done, failed, _ = make_visits(3, sources=[source.pk] * 3, snr=25.5)
    Rocket.from_spectrum(done, teff=5_772.1, e_teff=51.6, flag_low_snr=True).save()
    ASPCAP.from_spectrum(done, v_astra=8_001, fe_h=-0.25).save()
    values = {"spectrum_pk": failed.spectrum_pk, "v_astra": 9_001, "message": "ValueError: [no] lines"}
    RejectedResult.create(model="Rocket", reason="exception", run_id="5f1c2a00-aaaa", **values)
    for number in range(5):
        ingested(f"{number}.fits", "astraAllStarASPCAP", "ASPCAP")
    ingested("mwmTargets-0.8.1.fits", "mwmTargets")
    return source


def ingested(name: str, kind: str, model: str | None = None) -> None:
    counts = dict.fromkeys(("rows", "inserted", "updated", "unchanged", "rejected"), 1)
    IngestedFile.create(name=name, sha256=name, size=1, kind=kind, model=model, v_astra=8_001, **counts)


def astra(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def rows_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


# ---- status


def test_the_state_of_a_survey(star: Source) -> None:
    shown = astra("status")

    assert shown.exit_code == 0, shown.output
    rows = rows_of(shown.output)
    assert ["source", "1"] in rows
    assert ["boss_visit_spectrum", "3"] in rows
    assert "apogee_visit_spectrum" not in shown.output  # none of them
    due = {row[0]: row for row in rows if row[0] in ("corv", "snow_white")}
    assert due["snow_white"] == ["snow_white", "0.9", "3", "0", "0", "0", "", "computed here"]
    assert due["corv"] == ["corv", "0.9", "0", "0", "0", "0", "", "computed here"]  # it waits for the other
    [rocket] = [row for row in rows if row[0] == "rocket"]
    assert rocket[:6] == ["rocket", "0.9", "1", "1", "1", "0"]
    [aspcap] = [row for row in rows if row[0] == "aspcap"]
    assert aspcap[:6] == ["aspcap", "0.8", "", "1", "0", "0"]
    assert aspcap[-1] == "4.fits, 3.fits, 2.fits and 2 more"
    assert "other files: mwmTargets-0.8.1.fits (1 row rejected)\n" in shown.output


def test_results_of_an_older_version_that_a_file_brought_were_not_computed_here(star: Source) -> None:
    Rocket.create(spectrum_pk=1, source_pk=star.pk, v_astra=8_001, teff=5_000)
    Rocket.create(spectrum_pk=1, source_pk=star.pk, v_astra=7_000, teff=5_000)
    ingested("rockets.fits", "astraAllVisitRocket", "Rocket")

    from_ = {row[1]: row[-1] for row in rows_of(astra("status").output) if row[0] == "rocket"}

    assert from_ == {"0.9": "computed here", "0.8": "rockets.fits", "0.7": "computed here"}


def test_the_state_as_json(star: Source, database: peewee.Database) -> None:
    shown = astra("status", "--json")

    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)["data"]
    assert list(found) == ["database", "schema", "version", "v_astra", "tables", "pipelines", "files", "counted"]
    assert (found["version"], found["v_astra"], found["schema"]) == ("0.9.1", 9_001, base.bound_schema())
    assert found["tables"]["source"] == 1
    pipelines = {entry["pipeline"]: entry for entry in found["pipelines"]}
    assert pipelines["rocket"]["due"] == pipelines["rocket"]["failed"] == 1
    assert pipelines["aspcap"]["due"] is None
    assert datetime.fromisoformat(pipelines["aspcap"]["last"]).tzinfo is not None
    assert [file["name"] for file in pipelines["aspcap"]["files"]] == [f"{number}.fits" for number in range(5)]
    assert [file["kind"] for file in found["files"]] == ["mwmTargets"]


# ---- explain


@pytest.mark.parametrize(
    "identifier", [["54392544"], ["--apogee-id", "2M00000002+7417074"], ["--spectrum-pk", "{spectrum_pk}"]]
)
def test_the_story_of_a_star(star: Source, identifier: list[str]) -> None:
    visits = [visit.spectrum_pk for visit in BossVisitSpectrum.select().order_by(BossVisitSpectrum.pk)]
    done, failed, due = map(str, visits)

    shown = astra("explain", *(word.format(spectrum_pk=failed) for word in identifier))

    assert shown.exit_code == 0, shown.output
    assert "sdss_id 54392544, sdss4_apogee_id 2M00000002+7417074" in shown.output
    assert "ra 266.416826, dec -29.007800 deg" in shown.output
    rows = rows_of(shown.output)
    assert [done, "boss_visit_spectrum", "apo25m", "59900", "25.5"] in [row[:5] for row in rows]
    tree = [line.strip("│├└─ \u00a0") for line in shown.output.splitlines()]
    at = tree.index("aspcap")
    assert tree[at + 1].startswith(f"0.8.1 of spectrum {done}, ")
    assert tree[at + 2 : at + 5] == [
        "fe_h -0.25",
        "from 0.fits or 1.fits or 2.fits or 3.fits or 4.fits",
        "rocket",
    ]
    assert tree[at + 5].startswith(f"0.9.1 of spectrum {done}, ")
    assert tree[at + 6 : at + 8] == ["teff 5772.1 ± 52 K", "flags: low_snr"]
    assert ["rocket", done, "done", "result of 0.9.1"] in rows
    assert ["rocket", failed, "failed", "exception: ValueError: [no] lines"] in rows
    assert ["rocket", due, "due", "no result of 0.9"] in rows
    [listed] = [row for row in rows if row[:1] == ["rocket"] and len(row) == 7]
    assert listed[1:5] == [failed, "0.9.1", "exception", "ValueError: [no] lines"]
    assert listed[-1] == "5f1c2a00"


def test_a_file_that_is_gone_is_pointed_at(star: Source) -> None:
    BossVisitSpectrum.update(path="nowhere.fits").execute()

    assert "not there" in astra("explain", "54392544").output


def test_a_file_that_nobody_knows_of_is_told_once(star: Source) -> None:
    BossVisitSpectrum.update(path=None, release="unheard of").execute()

    shown = astra("explain", "54392544").output

    assert shown.count("not known") == 3 + 1
    assert "no file is known: BossVisitSpectrum with spectrum_pk" in shown
    assert "(and 2 more)" in shown


def test_a_star_that_nothing_is_known_of(database: peewee.Database) -> None:
    Source.create(sdss_id=17)

    shown = astra("explain", "17")

    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "sdss_id 17",
        "no spectra",
        "no results",
        "none of its spectra is of a kind that is analysed here",
        "nothing failed or was refused",
    ]


def test_the_story_as_json(star: Source) -> None:
    shown = astra("explain", "54392544", "--json")

    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)["data"]
    assert list(found) == list(keys(Star))
    assert found["identifiers"] == {"sdss_id": 54_392_544, "sdss4_apogee_id": "2M00000002+7417074"}
    assert {spectrum["is_there"] for spectrum in found["spectra"]} == {True}
    values = {result["pipeline"]: result["values"] for result in found["results"]}
    assert values["rocket"] == {"teff": pytest.approx(5_772.1), "e_teff": pytest.approx(51.6)}
    assert {entry["state"] for entry in found["analyses"] if entry["pipeline"] == "rocket"} == {"due", "done", "failed"}
    assert found["rejected"][0]["run_id"] == "5f1c2a00-aaaa"


def test_a_star_that_is_not_there(star: Source) -> None:
    failed = astra("explain", "17")

    assert failed.exit_code == 1
    assert "error: there is no star of sdss_id 17 in the database; `astra status` shows" in failed.output
    assert "Traceback" not in failed.output


@pytest.mark.parametrize("arguments", [[], ["17", "--gaia", "18"], ["everything"]])
def test_it_takes_one_identifier(arguments: list[str]) -> None:
    assert astra("explain", *arguments).exit_code == 2


# ---- the documentation


def test_the_python_of_the_page_runs(star: Source) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", DOCUMENTED, flags=re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(block, "status.md", "exec"), namespace)

    assert namespace["status"].tables["source"] == 1
    assert len(namespace["star"].spectra) == 3


@pytest.mark.parametrize("record", [Status, VersionStatus, FileStatus, Star, SpectrumOfStar, Result, Analysis, Listed])
def test_every_key_is_documented(record: Any) -> None:
    missing = [key for key in keys(record) if f"`{key}`" not in DOCUMENTED]
    assert not missing


def keys(record: Any) -> list[str]:
    return list(record.__dataclass_fields__)


def test_why_spectra_are_due_is_said_before_anything_starts(star: Source) -> None:
    told = astra("run", "rocket", "--dry-run")
    assert (told.exit_code, told.output.strip()) == (0, "rocket: 1 due: 1 new")
    assert "rocket: 1 due: 1 new" in astra("status", "--why").output
    assert Rocket.select().count() == 1
