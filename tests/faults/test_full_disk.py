"""Disks that are full, read-only or limited: one error that names the cause, and the old file intact."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee
import pytest
from ingesting import prepare
from machine import leave_room, run, small_disk
from typer.testing import CliRunner

from astra_models import base
from astra_models.analysis import due
from astra_models.base import bind, bound_schema, database
from astra_models.database.config import sqlite_database
from astra_models.database.retry import run_transaction
from astra_models.errors import AstraError, StorageError
from astra_models.products.export import export
from astra_models.products.query import select_model
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.upsert import upsert
from astra_orchestration.cli.main import app

N_SPECTRA = 3000
KB = 1024
FULL = "the disk is full"


def rows(tag: str, n_rows: int = N_SPECTRA) -> list[dict[str, Any]]:
    return [{"spectrum_pk": pk, "source_pk": pk % 100 + 1, "teff": 1.0, "tag": tag} for pk in range(1, n_rows + 1)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of four megabytes."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        yield disk


@contextmanager
def bound_to(path: Path, pragmas: dict[str, Any] | None = None) -> Iterator[None]:
    before = base.database.obj, bound_schema()
    bind(sqlite_database(path, pragmas))
    try:
        yield
    finally:
        database.close()
        bind(*before)


@pytest.fixture(params=["wal", "delete"])
def survey(disk: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Bind a SQLite file on that disk, with spectra and a hundred results."""
    with bound_to(disk / "astra.db", {"journal_mode": request.param}):
        create_tables()
        prepare(N_SPECTRA)
        upsert(Rocket, rows("before", 100))
        yield disk


def intact(path: Path) -> list[tuple[str, int]]:
    """Check a SQLite file; count its results by their label."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT tag, count(*) FROM rocket GROUP BY tag").fetchall()
    finally:
        connection.close()


def only_line(*arguments: Any) -> str:
    """Run a command that fails, and give the one line that says why."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(("rocket raised", " "))]
    assert line.startswith("error: ")
    return line


# ---- SQLite


def test_disk_fills_up_while_rows_are_written(survey: Path) -> None:
    filler = leave_room(survey, 60 * KB)
    with pytest.raises(StorageError, match=rf"'{survey}/astra.db': {FULL} \(.*\). Make room, then run again"):
        upsert(Rocket, rows("after"))
    filler.unlink()
    assert intact(survey / "astra.db") == [("before", 100)]
    assert upsert(Rocket, rows("after")).rows == N_SPECTRA  # the same connection goes on
    assert intact(survey / "astra.db") == [("after", N_SPECTRA)]


def test_disk_fills_up_inside_the_callers_transaction(survey: Path) -> None:
    filler = leave_room(survey, 60 * KB)
    with pytest.raises((StorageError, peewee.OperationalError), match="disk is full"), database.atomic():
        upsert(Rocket, rows("after"))
    filler.unlink()
    assert intact(survey / "astra.db") == [("before", 100)]


def test_batches_before_the_full_disk_are_kept(survey: Path) -> None:
    filler = leave_room(survey, 350 * KB)
    with pytest.raises(StorageError, match=FULL):
        for turn in range(100):
            upsert(Rocket, [row | {"spectrum_pk": row["spectrum_pk"] + 100 * (turn % 20)} for row in rows("x", 100)])
            leave_room(survey, max(0, 300 - 20 * turn) * KB)
    filler.unlink()
    kept = dict(intact(survey / "astra.db"))
    assert kept["x"] % 100 == 0
    assert kept["x"] > 0


def test_read_only_file_system(survey: Path) -> None:
    database.close()
    run("mount", "-o", "remount,ro", survey)
    with pytest.raises(AstraError, match="is read-only"):
        upsert(Rocket, rows("after"))
    run("mount", "-o", "remount,rw", survey)
    assert intact(survey / "astra.db") == [("before", 100)]


def test_file_that_would_be_larger_than_allowed(tmp_path: Path) -> None:
    with bound_to(tmp_path / "astra.db"):
        create_tables()
        prepare(N_SPECTRA)
        upsert(Rocket, rows("before", 100))
        database.close()
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        limit = os.path.getsize(tmp_path / "astra.db") + 200 * KB
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        try:
            with pytest.raises(StorageError, match=r"the file would be larger than is allowed .*ulimit -f"):
                upsert(Rocket, [row | {"tag": "x" * 1000} for row in rows("after")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert intact(tmp_path / "astra.db") == [("before", 100)]


# ---- commands


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a sample survey's visits."""
    folder = tmp_path_factory.mktemp("sample") / "survey"
    CliRunner().invoke(app, ["sample", "--stars", "20", "--folder", str(folder)])
    return folder / "visits"


@pytest.fixture
def analysed(disk: Path, sample: Path) -> Iterator[Path]:
    """Bind a SQLite file on the small disk, with the sample's results of Rocket; give its disk."""
    with bound_to(disk / "astra.db"):
        create_tables()
        for command in (["ingest", f"{sample}/*.fits"], ["run", "rocket"]):
            assert CliRunner().invoke(app, command).exit_code in (0, 3)
        database.close()
        yield disk


def test_every_command_names_the_full_disk(analysed: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = intact(analysed / "astra.db")
    for arguments in (
        ("init",),
        ("ingest", f"{sample}/*.fits"),
        ("run", "rocket", "--rerun", "all"),
        ("replay", "--all"),
        ("migrate", "up"),
        ("status",),
        ("export", "Rocket", "--output", analysed / "rocket.fits"),
    ):
        database.close()
        filler = leave_room(analysed, 20 * KB)
        assert f"{FULL} (" in only_line(*arguments), arguments
        database.close()
        filler.unlink()
        assert intact(analysed / "astra.db") == before


def test_every_command_that_writes_names_the_read_only_disk(analysed: Path, sample: Path) -> None:
    before = intact(analysed / "astra.db")
    run("mount", "-o", "remount,ro", analysed)
    for arguments in (
        ("ingest", f"{sample}/*.fits", "--again"),
        ("run", "rocket", "--rerun", "all"),
        ("export", "Rocket", "--output", analysed / "rocket.fits"),
    ):
        database.close()
        assert "is read-only (" in only_line(*arguments), arguments
    database.close()
    run("mount", "-o", "remount,rw", analysed)
    assert intact(analysed / "astra.db") == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # astropy leaves its file open
@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "parquet", "ecsv", "csv", "vot"])
def test_export_to_a_full_disk_leaves_the_old_file(tmp_path: Path, disk: Path, suffix: str) -> None:
    with bound_to(tmp_path / "astra.db"):
        create_tables()
        prepare(N_SPECTRA)
        upsert(Rocket, rows("before"))
        file = disk / f"rocket.{suffix}"
        file.write_text("as it was")
        filler = leave_room(disk, 12 * KB)
        with pytest.raises(StorageError, match=rf"{file}: {FULL} .*; a file of this name is as it was before\. Make"):
            export(Rocket, select_model(Rocket), file, overwrite=True)
        assert file.read_text() == "as it was"
        assert sorted(os.listdir(disk)) == ["filler", file.name]
        filler.unlink()
        assert export(Rocket, select_model(Rocket), file, overwrite=True).rows == N_SPECTRA


def test_folder_of_temporary_files_is_full(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    monkeypatch.setattr(due, "KEYS_IN_MEMORY", 10)
    leave_room(disk, 16 * KB)
    with (
        bound_to(tmp_path / "astra.db"),
        pytest.raises(StorageError, match=rf"temporary ones are in {disk}, see TMPDIR\): {FULL}"),
    ):
        run_transaction(database, lambda: due.DueSpectra((key,) for key in range(200_000)))


def test_run_in_dagster_names_the_full_disk(analysed: Path, sample: Path, tmp_path: Path) -> None:
    leave_room(analysed, 60 * KB)
    done = subprocess.run(
        [sys.executable, "-m", "astra_orchestration.cli", "materialize", "--spectra", f"{sample}/*.fits"],
        env=os.environ | {"ASTRA_DATABASE_PATH": str(analysed / "astra.db"), "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"StorageError: SQLite database '{analysed}/astra.db': {FULL}" in done.stdout
    assert "no transaction is active" not in done.stdout + done.stderr


# ---- PostgreSQL


def test_full_disk_of_the_server(
    postgresql_target: dict[str, Any], server: Any, administrator: Any, disk: Path, caplog: Any
) -> None:
    if server.system_user:
        shutil.chown(disk, server.system_user)
    for folder in (disk, *disk.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    tables = disk / "tables"
    tables.mkdir()
    if server.system_user:
        shutil.chown(tables, server.system_user)
    administrator.execute(f"CREATE TABLESPACE small LOCATION '{tables}'")
    administrator.execute("ALTER TABLE rocket SET TABLESPACE small")
    try:
        upsert(Rocket, rows("before", 100))
        administrator.execute("CHECKPOINT")  # the next one is minutes away: on a full disk it would end the server
        leave_room(disk, 60 * KB)
        with pytest.raises(StorageError, match=r"PostgreSQL database .*: the server's disk is full \(.*No space left"):
            upsert(Rocket, rows("after"))
        assert Rocket.select().where(Rocket.tag == "before").count() == Rocket.select().count() == 100
        assert not caplog.records  # it isn't tried again
    finally:
        (disk / "filler").unlink()
        administrator.execute("DROP TABLE rocket CASCADE")
        administrator.execute("DROP TABLESPACE small")
