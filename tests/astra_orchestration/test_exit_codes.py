"""What the exit code of each command says, in every situation of the table in docs/operating.md."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from typer.testing import CliRunner

from astra_models import base
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert
from astra_orchestration.cli.interrupts import KEPT, WRITTEN
from astra_orchestration.cli.main import app
from astra_orchestration.sample.summary_file import write_result_file
from tests.other_packages import write_package

Visits = Callable[..., list[BossVisitSpectrum]]

WELL, FAILED, USAGE, PARTLY, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
NAME = "astraAllStarASPCAP-0.8.1.fits.gz"


INTERRUPTING = """
import os, signal
from collections.abc import Iterable
from astra_models import task
from astra_models.boss import BossVisitSpectrum
from brightest.models import BrightestPixel

@task(batch_size=1)
def brightest(spectra: Iterable[BossVisitSpectrum]) -> Iterable[BrightestPixel]:
    for spectrum in spectra:
        if spectrum.spectrum_pk == 3:
            os.kill(os.getpid(), signal.SIGINT)
        yield BrightestPixel.from_spectrum(spectrum, peak=5000.0)
"""


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with an empty database, which is bound."""
    before = base.database.obj, base.bound_schema()
    base.bind(sqlite_database(tmp_path / "astra.db"))
    create_tables()
    yield tmp_path
    base.database.close()
    base.bind(*before)


def code(*arguments: Any) -> int:
    return CliRunner().invoke(app, list(map(str, arguments))).exit_code


def unidentified(rows: Any, n_rows: int | None = None) -> None:
    """Take from the first rows of a file what says which star each is of."""
    for name in set(rows.dtype.names) & set(IDENTIFIERS):
        rows[name][:n_rows] = "" if rows[name].dtype.kind == "S" else -1


# ---- ingest


def test_ingest_of_results(survey: Path) -> None:
    good = write_result_file(survey / NAME, ASPCAP, 5)
    some = write_result_file(survey / "some.fits", ASPCAP, 5, change=lambda rows, start: unidentified(rows, 2))
    none = write_result_file(survey / "none.fits", ASPCAP, 5, change=lambda rows, start: unidentified(rows))
    (survey / "broken.fits").write_text("no FITS file")
    broken = survey / "broken.fits"

    assert code("ingest", none) == FAILED
    assert RejectedResult.select().count() == 5
    assert code("ingest", broken) == FAILED
    assert code("ingest", survey / "nothing-of-this-name.fits") == FAILED
    assert code("ingest", broken, none, "--again") == FAILED
    assert code("ingest", some) == PARTLY
    assert code("ingest", good) == WELL
    assert code("ingest", good) == WELL  # known already
    assert code("ingest", good, broken) == PARTLY
    assert code("ingest", good, survey / "nothing-of-this-name.fits") == PARTLY
    assert code("ingest", good, "--no-such-option") == USAGE
    assert code("ingest", "files") == USAGE


def test_ingest_of_spectra(survey: Path) -> None:
    assert code("sample", "--stars", 2, "--folder", survey / "sample") == WELL

    assert code("ingest", "spectra", survey / "sample/broken/empty.fits") == FAILED
    assert code("ingest", survey / "sample/broken/empty.fits") == FAILED
    assert code("ingest", "spectra", survey / "sample/**/*.fits") == PARTLY
    assert code("ingest", survey / "sample/**/*.fits") == PARTLY
    assert code("ingest", survey / "sample/visits/*.fits") == WELL
    assert code("ingest", "spectra", survey / "sample/visits/*.fits") == WELL


# ---- run


def test_run(survey: Path, make_visits: Visits, tmp_path: Path) -> None:
    assert code("run", "rocket") == WELL  # nothing is due
    make_visits(3)
    assert code("run", "rocket") == WELL
    assert code("run", "rocket") == WELL  # nothing is due any more
    BossVisitSpectrum.update(path=str(tmp_path / "gone.fits")).where(BossVisitSpectrum.pk == 1).execute()
    assert code("run", "rocket", "--rerun", "all") == PARTLY
    assert code("run", "rocket", "--rerun", "failed") == FAILED
    assert code("run", "rockett") == USAGE
    assert code("run", "rocket", "--limit", "many") == USAGE


def test_run_without_tables(tmp_path: Path, survey: Path) -> None:
    base.bind(sqlite_database(tmp_path / "empty.db"))
    assert code("run", "rocket") == FAILED


def test_run_that_is_interrupted_by_its_user(survey: Path, make_visits: Visits, install: Callable[..., Path]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what runs in the background
    make_visits(3)
    install(files={"pipeline.py": INTERRUPTING})
    assert code("init") == WELL
    assert code("run", "brightest", "--batch-size", 1) == INTERRUPTED
    ((stored,),) = base.database.execute_sql("SELECT count(*) FROM brightest_pixel").fetchall()
    assert stored == 2
    assert not RejectedResult.select().exists()


# ---- replay


@pytest.fixture
def refused(survey: Path, make_spectra: Visits) -> list[int]:
    """Give the keys of two spectra whose results were refused, because the spectra weren't there."""
    make_spectra(1)
    keys = [101, 102]
    assert upsert(Rocket, [{"spectrum_pk": key, "teff": 5000.0} for key in keys], run_id="5f1c").rejected == 2
    return keys


def test_replay(refused: list[int]) -> None:
    assert code("replay", "5f1c") == FAILED
    assert code("replay", "other") == FAILED
    assert code("replay") == USAGE
    Spectrum.create(pk=refused[0])
    assert code("replay", "5f1c") == PARTLY
    Spectrum.create(pk=refused[1])
    assert code("replay", "--all") == WELL
    assert Rocket.select().count() == 2
    assert code("replay", "--all") == WELL  # nothing is listed any more


# ---- export


def test_export(survey: Path, make_spectra: Visits) -> None:
    file = survey / "rocket.fits"
    assert code("export", "--product", "astraAllStarRocket", "--output-dir", survey) == FAILED  # there are no rows
    spectrum = make_spectra(1)[0]
    upsert(Rocket, [{"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk, "teff": 1.0}])
    assert code("export", "Rocket", "--output", file) == WELL
    assert code("export", "Rocket", "--output", file) == FAILED  # it is there
    assert code("export", "Rocket", "--output", file, "--overwrite") == WELL
    assert code("export", "Rocket") == USAGE
    assert code("export", "Rokket", "--output", file) == USAGE
    assert code("export", "Rocket", "--output", survey / "rocket.xls") == USAGE
    assert code("export", "Rocket", "--output", file, "--v-astra", "new") == USAGE


# ---- materialize


def test_materialize(tmp_path: Path) -> None:
    """Without ``--strict``, the sample survey's broken files end with 0: see ``test_cli.py``."""
    home = {"DAGSTER_HOME": str(tmp_path)}

    strict = astra(tmp_path, "materialize", "--stars", "2", "--strict", **home)
    assert strict.returncode == PARTLY
    assert re.search(
        r"^rejected: 4 files, 1 of \w+.*; `astra rejected` and the lines above say why$", strict.stderr, re.M
    )
    (tmp_path / "notes.fits").write_text("no FITS file")
    only_notes = astra(tmp_path, "materialize", "--spectra", "notes.fits", ASTRA_DATABASE_PATH="other.db", **home)
    assert only_notes.returncode == FAILED


def test_materialize_that_is_interrupted(tmp_path: Path) -> None:
    write_package(tmp_path / "site", files={"pipeline.py": INTERRUPTING})
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])

    stopped = astra(tmp_path, "materialize", "--stars", "2", DAGSTER_HOME=str(tmp_path), PYTHONPATH=path)

    assert stopped.returncode == INTERRUPTED, stopped.stdout + stopped.stderr
    assert stopped.stderr.endswith("interrupted: what was written before is kept; run again for the rest\n")


# ---- processes


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return os.environ | {"ASTRA_DATABASE_PATH": str(folder / "astra.db")} | variables


def astra(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "astra_orchestration.cli", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts() -> None:
    """Let a process be interrupted, even if these tests run in the background and can't be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def locked(survey: Path) -> Iterator[Path]:
    """Give the folder of a database that somebody else holds, so that each command waits for it."""
    (survey / "astra.yml").write_text(f"database: {{path: {survey}/astra.db, pragmas: {{busy_timeout: 50}}}}")
    base.database.close()
    holder = sqlite3.connect(survey / "astra.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    yield survey
    holder.close()


COMMANDS = {
    "ingest": ("ingest", "files.fits"),
    "run": ("run", "rocket"),
    "replay": ("replay", "--all"),
    "export": ("export", "Rocket", "--output", "rocket.fits"),
    "materialize": ("materialize", "--stars", "2"),
}


def test_every_command_can_be_interrupted(locked: Path) -> None:
    wanted = environment(locked, ASTRA_DATABASE_PATH="", ASTRA_CONFIG_PATH="astra.yml", DAGSTER_HOME=str(locked))
    started = {}
    for name, arguments in COMMANDS.items():
        command = [sys.executable, "-m", "astra_orchestration.cli", *arguments]
        for number in (signal.SIGINT, signal.SIGTERM) if name == "run" else (signal.SIGINT,):
            with (locked / f"{name}-{number}.log").open("w") as log:
                started[name, number] = subprocess.Popen(
                    command, cwd=locked, env=wanted, stderr=log, stdout=log, preexec_fn=heed_interrupts
                )
    codes = {}
    for (name, number), process in started.items():
        log = locked / f"{name}-{number}.log"
        until = time.monotonic() + 60
        while "trying again" not in log.read_text() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        codes[name, number] = process.wait(20)
        kept = KEPT.get("ingest files" if name == "ingest" else name, WRITTEN)
        assert f"interrupted: {kept}\n" in log.read_text()
        assert "Traceback" not in log.read_text()
    assert codes == {(name, number): INTERRUPTED if number == signal.SIGINT else TERMINATED for name, number in started}
    assert not (locked / "rocket.fits").exists()


def test_command_that_waits_for_a_lock_of_the_database_can_be_interrupted(
    clean_tables: Callable[..., Any], tmp_path: Path
) -> None:
    tables = clean_tables(None)
    settings = "".join(f"  {name}: {value}\n" for name, value in tables.parameters.items())
    (tmp_path / "astra.yml").write_text(f"database:\n{settings}")
    holder, watcher = psycopg2.connect(**tables.parameters), psycopg2.connect(**tables.parameters)
    watcher.autocommit = True
    with tables.bound():
        holder.cursor().execute("LOCK TABLE source IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, "-m", "astra_orchestration.cli", "export", "Source", "--output", "source.fits"],
            cwd=tmp_path,
            env=environment(tmp_path, ASTRA_DATABASE_PATH="", ASTRA_CONFIG_PATH="astra.yml"),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        waiting, until = watcher.cursor(), time.monotonic() + 60
        while time.monotonic() < until:
            waiting.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if waiting.fetchone() != (0,):
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        holder.close()
        watcher.close()
    assert process.returncode == INTERRUPTED
    assert errors == "interrupted: no file was written; run again\n"


def test_reader_that_goes_away_is_no_error(survey: Path, make_visits: Visits) -> None:
    make_visits(3)
    base.database.close()
    for arguments in (("run", "rocket"), ("status", "--json")):
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen(
            [sys.executable, "-m", "astra_orchestration.cli", *arguments],
            env=environment(survey),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (WELL, "")
    assert Rocket.select().count() == 3


def test_error_that_nobody_expected_shows_where_it_was(survey: Path) -> None:
    script = (
        "import sys; from astra_models import version; version.installed_version = lambda: 1 / 0\n"
        "sys.argv = ['astra', 'version']; from astra_orchestration.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(survey), capture_output=True, text=True)
    assert done.returncode == FAILED
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_codes_are_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    table = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert [word for word in table if word.isdigit()] == ["0", "1", "2", "3", "130", "143"]
