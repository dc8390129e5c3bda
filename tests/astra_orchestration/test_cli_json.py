"""``--json``: every command's output is of the one form that is delivered and documented, errors too."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from astra_models import base
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_orchestration.cli.main import app
from astra_orchestration.sample.summary_file import write_result_file
from tests.answers import SCHEMA, SERVERS, all_commands, data_of, document

pytestmark = pytest.mark.long_on_each

COMMANDS = [names for names in all_commands() if names not in SERVERS]
PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
NAME = "astraAllStarASPCAP-0.8.1.fits.gz"


def astra(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder with a small survey, a database of its spectra and results, and what was refused of them."""
    folder = tmp_path_factory.mktemp("survey")
    before = base.database.obj, base.bound_schema()
    base.bind(sqlite_database(folder / "astra.db"))
    assert data_of(astra("init", "--json"), "init")["made"]
    done = astra("sample", "--stars", 3, "--folder", folder / "sample", "--json")
    assert data_of(done, "sample")["visits"] > 3
    yield folder
    base.database.close()
    base.bind(*before)


@pytest.fixture(scope="module")
def results(survey: Path) -> Path:
    """Give the survey with results, some of them refused."""
    found = data_of(astra("ingest", "spectra", f"{survey}/sample/**/*.fits", "--json"), "ingest spectra", 3)
    assert found["spectra"]["ingested"] > 3
    assert len(found["refused"]) == 4
    ran = data_of(astra("run", "rocket", "--json"), "run", 3)
    assert ran["due"] == ran["inserted"] + ran["rejected"] and ran["rejected"] == 1
    assert sum(ran["reasons"].values()) == 1
    return survey


# ---- the form


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_answers_and_is_described(names: tuple[str, ...]) -> None:
    context = all_commands()[names]
    assert any("--json" in parameter.opts for parameter in context.command.params)
    assert f"data-of-{'-'.join(names)}" in SCHEMA["$defs"]
    assert f"| `{' '.join(names)}` |" in PAGE
    wrong = astra(*names, "--json", "--no-such-option")
    assert data_of(wrong, " ".join(names), 2) is None
    [message] = document(wrong.stdout)["messages"]
    assert message["level"] == "error" and message["text"] in wrong.stderr
    assert wrong.stderr.startswith("error: no such option: --no-such-option") and wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--json"], 2, "no such option: --json"),
        (["fly", "--json"], 2, "no such command 'fly'"),
        (["grids", "fly", "--json"], 2, "no such command 'fly'"),
        (["rows", "Korv", "--json"], 2, "did you mean"),
        (["rows", "corv", "--where", "tef > 1", "--json"], 2, "did you mean"),
        (["query", "delete from corv", "--json"], 2, "a query only reads"),
        (["query", "select tef from corv", "--json"], 2, "the database refuses the query"),
        (["explain", "17", "--json"], 1, "there is no star"),
        (["ingest", "nowhere.fits", "--json"], 1, ""),
        (["run", "rocket", "--limit", "abc", "--json"], 2, "'abc' is no whole number"),
        (["export", "corv", "--output", "-", "--json"], 2, "`astra rows --json`"),
    ],
)
def test_errors_are_documents_with_the_same_exit_codes(survey: Path, arguments: list[str], code: int, why: str) -> None:
    plain, done = astra(*(one for one in arguments if one != "--json" or len(arguments) == 1)), astra(*arguments)
    content = document(done.stdout)
    assert done.exit_code == content["exit_code"] == code
    assert plain.exit_code == code or "export" in arguments
    assert why in "".join(message["text"] for message in content["messages"])
    assert why in " ".join(done.stderr.split())


def test_an_error_that_nobody_expected_is_a_document_and_a_traceback(survey: Path) -> None:
    script = (
        "import sys; from astra_models import version; version.installed_v_astra = lambda: 1 / 0\n"
        "sys.argv = ['astra', 'version', '--json']; from astra_orchestration.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == document(done.stdout)["exit_code"] == 1
    assert "ZeroDivisionError" in document(done.stdout)["messages"][0]["text"]
    assert "Traceback" in done.stderr


def test_a_number_that_is_none_and_a_moment_are_json(survey: Path) -> None:
    from datetime import UTC, datetime

    import numpy as np

    from astra_orchestration.cli.answers import plain

    given = {"a": float("nan"), "b": np.float32(1.5), "c": datetime(2026, 1, 2, tzinfo=UTC), "d": b"\x01", 5: (1, 2)}
    given |= {"e": {3, 1}, "f": np.array([1.0, np.inf]), "g": Path("x")}
    wanted = {"a": None, "b": 1.5, "c": "2026-01-02T00:00:00+00:00", "d": "01", "5": [1, 2]}
    assert plain(given) == wanted | {"e": [1, 3], "f": [1.0, None], "g": "x"}


# ---- every command


def test_what_the_page_shows_is_what_is_printed() -> None:
    [shown] = re.findall(r"^\$ astra version --json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert json.loads(shown) == document(astra("version", "--json").stdout)
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(code, "json.md", "exec"), namespace)
    assert namespace["schema"] == SCHEMA


def test_the_version() -> None:
    assert data_of(astra("version", "--json"), "version") == {"version": "0.9.0", "v_astra": 9000}


def test_the_tables(survey: Path) -> None:
    assert data_of(astra("init", "--json"), "init")["made"] == []
    steps = data_of(astra("migrate", "status", "--json"), "migrate status")["migrations"]
    assert all(step["applied"] for step in steps)
    assert data_of(astra("migrate", "up", "--json"), "migrate up")["applied"] == []
    assert data_of(astra("check-schema", "--json"), "check-schema")["differences"] == []
    base.database.execute_sql("ALTER TABLE corv ADD COLUMN note TEXT")
    [found] = data_of(astra("check-schema", "--json"), "check-schema")["differences"]
    assert (found["table"], found["column"], found["matters"]) == ("corv", "note", False)
    base.database.execute_sql("ALTER TABLE corv DROP COLUMN note")


def test_a_migration_of_ones_own(
    memory_database: Any, tmp_path: Path, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base.bind(sqlite_database(tmp_path / "astra.db"))
    install()
    assert astra("init").exit_code == 0
    base.database.execute_sql("ALTER TABLE brightest_pixel DROP COLUMN peak")
    made = data_of(astra("migrate", "make", "brightest", "--json"), "migrate make")
    assert made["adds"] == ["brightest_pixel.peak"] and Path(made["file"]).is_file()


def test_what_an_operator_asks(results: Path) -> None:
    found = data_of(astra("status", "--json"), "status")
    assert found["tables"]["source"] == Source.select().count()
    star = Source.select().where(Source.sdss_id.is_null(False)).first()
    told = data_of(astra("explain", star.sdss_id, "--json"), "explain")
    assert told["results"] and told["analyses"]
    listed = data_of(astra("rejected", "--pipeline", "rocket", "--json"), "rejected")
    assert listed["total"] == 1 and listed["rejected"][0]["pipeline"] == "rocket"
    assert data_of(astra("leases", "--json"), "leases") == {"freed": 0, "leases": []}
    assert data_of(astra("leases", "--release", "5f1c", "--json"), "leases", 1)["freed"] == 0
    again = data_of(astra("replay", "--all", "--json"), "replay")
    assert (again["rows"], again["dropped"]) == (0, 0)


def test_leases_that_are_held(results: Path) -> None:
    from astra_models.analysis.leases import Leases
    from astra_models.rocket import Rocket
    from astra_models.version import installed_v_astra

    leases = Leases(Rocket, installed_v_astra(), run_id="5f1c2a00")
    leases.claim([1, 2], list, are_consecutive=True)
    [held] = data_of(astra("leases", "--json"), "leases")["leases"]
    assert (held["pipeline"], held["first_key"], held["run_id"]) == ("rocket", 1, "5f1c2a00")
    assert data_of(astra("leases", "--release", "5f1c", "--json"), "leases")["freed"] == 1


def test_what_is_due(results: Path) -> None:
    assert data_of(astra("run", "rocket", "--dry-run", "--json"), "run")["due"] == 0
    assert data_of(astra("run", "rocket", "--json"), "run") == {
        "pipeline": "rocket",
        "due": 0,
        "due_for": {},
        "waiting": 0,
    }
    due = data_of(astra("run", "snow_white", "--dry-run", "--limit", 2, "--json"), "run")
    assert due["due"] == sum(due["due_for"].values()) == 2


def test_files_of_results(results: Path, tmp_path: Path) -> None:
    file = write_result_file(tmp_path / NAME, ASPCAP, 5)
    (tmp_path / "notes.fits").write_text("no FITS file")
    dry = data_of(astra("ingest", file, "--dry-run", "--json"), "ingest files")
    assert dry["dry_run"] and dry["files"][0]["rows"] == 5
    found = data_of(astra("ingest", file, tmp_path / "notes.fits", "--json"), "ingest files", 3)
    assert found["files"][0]["tables"]["aspcap"]["inserted"] == 5
    assert [one["path"] for one in found["refused"]] == [str(tmp_path / "notes.fits")]
    visits = f"{results}/sample/visits/*.fits"
    assert data_of(astra("ingest", visits, "--dry-run", "--json"), "ingest files")["spectra"]["ingested"] > 0
    assert data_of(astra("ingest", visits, "--json"), "ingest files")["spectra"]["known"] > 0


def test_rows_and_files_of_rows(results: Path, tmp_path: Path) -> None:
    assert len(document(astra("rows", "source", "--limit", 2, "--json").stdout)) == 2
    assert document(astra("rows", "source", "--where", "ra > 999", "--json").stdout) == []
    assert document(astra("query", "select 1 as one", "--json").stdout) == [{"one": 1}]
    for number, (name, *arguments) in enumerate((("rows", "source"), ("query", "select 1 as one"))):
        path = tmp_path / f"{number}.json"
        written = data_of(astra(name, *arguments, "--json", "-o", path), name)
        assert len(document(path.read_text())) == written["rows"]
    written = data_of(astra("export", "source", "-o", tmp_path / "sources.csv", "--json"), "export")
    assert written["rows"] == Source.select().count() and Path(written["file"]).stat().st_size == written["bytes"]
    names = data_of(astra("export", "--product", "list", "--json"), "export")["products"]
    assert "astraAllVisitRocket" in [product["name"] for product in names]
    options = ("--product", "astraAllVisitRocket", "--output-dir", tmp_path, "--json")
    assert data_of(astra("export", *options), "export")["bytes"] > 0


def test_a_backup_and_back(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made = data_of(astra("backup", tmp_path / "kept", "--only", "results", "--json"), "backup")
    assert made["parts"][0]["of"] == "results" and made["bytes"] > 0
    back = astra("restore", tmp_path / "kept", "--only", "results", "--force", "--json")
    assert data_of(back, "restore")["parts"] == made["parts"]


def test_mappings(tmp_path: Path) -> None:
    listed = data_of(astra("mapping", "list", "--json"), "mapping list")["mappings"]
    shown = data_of(astra("mapping", "show", listed[0]["name"], "--json"), "mapping show")["yaml"]
    assert shown == astra("mapping", "show", listed[0]["name"]).stdout
    (tmp_path / "stars.csv").write_text("sdss_id,ra,dec\n1,2.0,3.0\n")
    guessed = data_of(astra("mapping", "guess", tmp_path / "stars.csv", "--json"), "mapping guess")["yaml"]
    assert "sdss_id" in guessed


def test_grids_and_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    assert data_of(astra("grids", "list", "--json"), "grids list") == {"grids": []}
    assert data_of(astra("grids", "add", "own", tmp_path / "none.npz", "--json"), "grids add", 1) is None
    missing = astra("grids", "fetch", "da", "--from", tmp_path / "none.whl", "--json")
    assert data_of(missing, "grids fetch", 1) is None
    made = data_of(astra("new", "pipeline", "line_depth", "--in", tmp_path, "--json"), "new pipeline")
    assert (Path(made["folder"]) / "pyproject.toml").is_file()


def test_alerts_and_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    told = data_of(astra("alerts", "--json"), "alerts", 1)
    assert told["told"] == []
    found = astra("watch", "--json")
    assert data_of(found, "watch", found.exit_code)["are_told"] is None


def test_materialize(tmp_path: Path) -> None:
    import os

    variables = os.environ | {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "DAGSTER_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "astra_orchestration.cli", "materialize", "--stars", "2", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    found = document(done.stdout)
    assert done.returncode == found["exit_code"] == 0
    assets = {one["asset"]: one for one in found["data"]["assets"]}
    assert assets["source"]["counts"]["inserted"] == 2 and assets["aspcap"]["not_set_up"]
    assert any("not set up here" in message["text"] for message in found["messages"])


# ---- into a file


def test_an_answer_goes_into_a_new_file(results: Path, tmp_path: Path) -> None:
    for name, as_json in (("table.txt", []), ("answer.json", ["--json"])):
        done = astra("rejected", *as_json, "-o", tmp_path / name)
        assert (done.exit_code, done.stdout) == (0, ""), done.output
    assert document((tmp_path / "answer.json").read_text())["data"]["total"] == RejectedResult.select().count()
    assert (tmp_path / "table.txt").read_text() == astra("rejected", "-o", "-").stdout
    refused = astra("rejected", "-o", tmp_path / "table.txt", "--json")
    assert refused.exit_code == document(refused.stdout)["exit_code"] == 1
    assert "is there already" in refused.stderr


def test_an_answer_that_can_not_be_written_is_an_error(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = astra("rejected", "-o", tmp_path / "file" / "below.txt")
    assert failed.exit_code == 1 and failed.stderr.startswith("error: ") and failed.stdout == ""
    assert BossVisitSpectrum.select().exists()
    assert json.loads(astra("rejected", "-o", tmp_path / "file" / "below.txt", "--json").stdout)["exit_code"] == 1
