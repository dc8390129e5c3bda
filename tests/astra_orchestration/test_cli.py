"""``astra``, command by command."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest
from click.testing import Result
from typer.testing import CliRunner

from astra_models import base
from astra_models.boss import BossVisitSpectrum
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_orchestration.cli.main import app

Visits = Callable[..., list[BossVisitSpectrum]]
COMMANDS = (
    "init",
    "sample",
    "ingest spectra",
    "run",
    "status",
    "explain",
    "rejected",
    "replay",
    "version",
    "materialize",
    "grids fetch",
    "grids list",
    "grids add",
    "ui",
)


def astra(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def astra_process(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program itself, on a SQLite file in `folder` unless told otherwise."""
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(folder / "astra.db")} | variables
    program = Path(sys.executable).with_name("astra")
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = astra(*command.split(), "--help")

    assert shown.exit_code == 0
    assert f"astra {command}" in shown.output.split("Example:")[1].replace("\n", " ")


# ---- init


def test_init_makes_what_is_missing_and_says_so(database: peewee.Database) -> None:
    base.database.drop_tables([Rocket])

    first, again = astra("init"), astra("init")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "made rocket" in first.output
    assert "nothing was made" in again.output
    assert Rocket.table_exists()


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_init_makes_the_schema(database: peewee.Database) -> None:
    base.bind(database, "a new schema")
    try:
        made = astra("init")
        assert made.exit_code == 0, made.output
        assert "schema 'a new schema'" in made.output
        assert Rocket.table_exists()
    finally:
        base.database.execute_sql('DROP SCHEMA IF EXISTS "a new schema" CASCADE')
        base.bind(database, None)


# ---- sample, ingest, run, status: the whole way


def test_from_a_sample_survey_to_results(database: peewee.Database, tmp_path: Path) -> None:
    folder = str(tmp_path / "sample")
    made = astra("sample", "--stars", "3", "--seed", "5", "--folder", folder)
    ingested = astra("ingest", "spectra", f"{folder}/**/*.fits")
    analysed = astra("run", "rocket")
    status = astra("status")

    assert [step.exit_code for step in (made, ingested, analysed, status)] == [0, 3, 3, 0], ingested.output
    assert "of 3 stars" in made.output
    visits = BossVisitSpectrum.select().count()
    assert f"│ boss_visit_spectrum                │ {visits:>8} │" in ingested.output
    assert "4 refused" in ingested.output
    assert "empty.fits: it is empty" in ingested.output
    rejected = RejectedResult.select().count()
    assert f"rocket: {visits} due, {visits - rejected} inserted, 0 updated, 0 unchanged, {rejected} rejected" in (
        analysed.output
    )
    [line] = [line for line in status.output.splitlines() if "rocket" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["0.9", "0", str(visits - rejected), str(rejected)]


def test_ingesting_again_changes_nothing(database: peewee.Database, tmp_path: Path) -> None:
    astra("sample", "--stars", "2", "--folder", str(tmp_path / "sample"))
    files = f"{tmp_path}/sample/visits/*.fits"
    astra("ingest", "spectra", files)
    before = list(BossVisitSpectrum.select(BossVisitSpectrum.pk, BossVisitSpectrum.modified).tuples())

    assert astra("ingest", "spectra", files).exit_code == 0
    assert list(BossVisitSpectrum.select(BossVisitSpectrum.pk, BossVisitSpectrum.modified).tuples()) == before


def test_ingesting_nothing_useful_fails(memory_as_file: peewee.Database, tmp_path: Path) -> None:
    (tmp_path / "notes.fits").write_text("no FITS file")

    refused = astra("ingest", "spectra", str(tmp_path / "notes.fits"))

    assert refused.exit_code == 1
    assert "doesn't begin with SIMPLE" in refused.output


def test_a_sample_is_made_once(tmp_path: Path) -> None:
    first, again = (astra("sample", "--stars", "2", "--folder", str(tmp_path / "sample")) for _ in range(2))

    assert "made in" in first.output
    assert "they were there already" in again.output


def test_a_run_can_be_narrowed(database: peewee.Database, make_visits: Visits) -> None:
    spectra = make_visits(4)
    sdss_ids = [Source.get_by_id(spectrum.source_pk).sdss_id for spectrum in spectra]

    assert "1 due" in astra("run", "rocket", "--limit", "1").output
    assert "2 due" in astra("run", "rocket", "--sdss-id", str(sdss_ids[2]), "--sdss-id", str(sdss_ids[3])).output
    assert "1 due" in astra("run", "rocket").output
    assert "nothing is due" in astra("run", "rocket").output
    assert "4 due, 0 inserted, 0 updated, 4 unchanged" in astra("run", "rocket", "--rerun", "all").output
    assert "nothing is due" in astra("run", "rocket", "--rerun", "failed").output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["run", "rockett"],
            2,
            "rocket, snow_white, the_cannon, the_payne); did you mean rocket?",
        ),
        (["run", "rocket", "--sdss-id", "17"], 1, "none of the 1 sdss_ids is in the table of sources: 17"),
        (["ingest", "spectra", "nowhere/*.fits"], 1, "no file matches 'nowhere/*.fits'"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(
    memory_as_file: peewee.Database, arguments: list[str], code: int, message: str
) -> None:
    failed = astra(*arguments)

    assert failed.exit_code == code
    assert message in failed.output
    assert "Traceback" not in failed.output


@pytest.mark.parametrize("arguments", ["run rocket --rerun some", "run rocket --limit -1", "fly"])
def test_what_the_command_line_does_not_know_is_refused(arguments: str) -> None:
    assert astra(*arguments.split()).exit_code == 2


# ---- the program itself


def test_version() -> None:
    assert astra("version").output == "astra 0.9.0 (v_astra 9000)\n"


def test_without_tables_the_remedy_is_named(tmp_path: Path) -> None:
    failed = astra_process(tmp_path, "run", "rocket")

    assert failed.returncode == 1
    assert "`astra init`" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_without_a_database_the_remedy_is_named(tmp_path: Path) -> None:
    failed = astra_process(tmp_path, "status", ASTRA_DATABASE_PATH="")

    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no database is configured; name a SQLite file by `export ASTRA_DATABASE")


def test_a_configuration_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "astra.yml").write_text("database: {dbnam: survey}")

    failed = astra_process(tmp_path, "status", ASTRA_DATABASE_PATH="", ASTRA_CONFIG_PATH=str(tmp_path / "astra.yml"))

    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines() == ["error: database: unknown key 'dbnam'; did you mean dbname?"]


@pytest.mark.parametrize("command", ["materialize", "ui"])
def test_dagster_needs_to_know_where_its_records_are(tmp_path: Path, command: str) -> None:
    failed = astra_process(tmp_path, command, DAGSTER_HOME="")

    assert failed.returncode == 1
    assert "error: DAGSTER_HOME is" in failed.stderr
    assert "make dev" in failed.stderr


@pytest.fixture
def memory_as_file(memory_database: peewee.Database, tmp_path: Path) -> peewee.Database:
    """Bind an empty SQLite file with all tables: the command line refuses what is in memory."""
    from astra_models.database.config import sqlite_database
    from astra_models.schema.tables import create_tables

    base.bind(sqlite_database(tmp_path / "astra.db"))
    create_tables()
    return base.database.obj


# ---- everything at once


def test_every_asset_is_materialized_and_then_nothing_is_due(tmp_path: Path) -> None:
    home = {"DAGSTER_HOME": str(tmp_path)}
    first = astra_process(tmp_path, "materialize", "--stars", "2", **home)
    again = astra_process(tmp_path, "materialize", "--stars", "2", **home)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    made, unchanged = rows_of(first.stdout), rows_of(again.stdout)
    assert list(made) == list(unchanged)
    assert set(made) >= {"sample_survey", "source", "boss_visit_spectrum", "corv", "rocket"}
    assert made["source"][:4] == ["", "2", "0", "0"]
    assert unchanged["source"][:4] == ["", "0", "0", "2"]
    due, inserted, _, _, rejected, _ = made["rocket"]
    assert int(due) == int(inserted) + int(rejected) > 0
    assert unchanged["rocket"][:5] == unchanged["corv"][:5] == ["0"] * 5
    assert made["aspcap"] == unchanged["aspcap"] == [""] * 5 + ["not set up"]
    assert (
        "checked" not in first.stderr
        and "not set up here, so nothing is done: ASPCAP needs" in first.stderr + first.stdout
    )
    assert "nothing is due" not in first.stdout.splitlines()
    assert again.stdout.splitlines()[-1] == "nothing is due"


def test_own_files_take_the_place_of_the_sample_survey(tmp_path: Path) -> None:
    astra("sample", "--stars", "2", "--folder", str(tmp_path / "mine"))

    done = astra_process(tmp_path, "materialize", DAGSTER_HOME=str(tmp_path), ASTRA_SPECTRA="mine/visits/*.fits")

    assert done.returncode == 0, done.stderr
    assert "sample_survey" not in rows_of(done.stdout)
    assert int(rows_of(done.stdout)["rocket"][1]) == len(list((tmp_path / "mine/visits").iterdir()))
    assert not (tmp_path / "var").exists()


def test_what_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    failed = astra_process(tmp_path, "materialize", "--stars", "2", DAGSTER_HOME=str(tmp_path), ASTRA_CORV_GRID="none")

    assert failed.returncode == 1
    assert rows_of(failed.stdout)["corv"][-1] == "failed"
    assert int(rows_of(failed.stdout)["rocket"][1]) > 0
    assert "failed: snow_white, corv" in failed.stderr


def rows_of(table: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    return {name: cells for name, *cells in lines}


def test_help_and_version_have_their_usual_short_ways() -> None:
    for command in (["-h"], ["run", "-h"], ["ingest", "files", "-h"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0 and "Usage: " in done.output
    assert CliRunner().invoke(app, ["--version"]).output == CliRunner().invoke(app, ["version"]).output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "rocket", "--limit", "abc"], "'--limit': 'abc' is no whole number"),
        (["run", "rocket", "--limit", "2.5"], "'2.5' is no whole number"),
        (["run", "rocket", "--limit", "-1"], "is out of range: it has to be at least 0"),
        (["run", "rocket", "--min-answered", "much"], "'much' is no number"),
        (["run", "rocket", "--min-answered", "1.5"], "is out of range: it has to be at most 1"),
        (["run", "rocket", "--rerun", "fail"], "'--rerun': 'fail' is not one of 'due', 'failed', 'all'"),
        (["ingest"], "missing argument 'FILE...'"),
        (["rows", "corv", "--limit", "ten"], "'ten' is no whole number"),
        (["run", "corv", "--no-such-thing"], "no such option: --no-such-thing"),
        (["run", "corv", "--limt", "3"], "no such option: --limt; did you mean --limit?"),
        (["statu"], "no such command 'statu'; did you mean 'status'?"),
        (["rows", "corv", "--limit", "9" * 30], "is too large for any database"),
        (["rows", ":star:"], ":star:"),  # no emoji
        (["--vresion"], "no such option: --vresion; did you mean --version?"),
    ],
)
def test_a_wrong_value_is_named_in_the_words_of_who_typed_it(arguments: list[str], why: str) -> None:
    done = CliRunner().invoke(app, arguments)
    said = " ".join(done.stderr.replace("\u2502", " ").split())
    assert done.exit_code == 2
    assert why in said
    assert "pydantic" not in said and "Input should" not in said
