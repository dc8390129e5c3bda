"""Ctrl-C in the middle of each long command: it says what is kept, ends with 130, and leaves no half of a file."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from astra_models.aspcap import ASPCAP
from astra_orchestration.cli.interrupts import KEPT, WRITTEN
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.summary_file import write_result_file
from tests.answers import SERVERS, all_commands, document
from tests.production import production_schemas, quoted

pytestmark = pytest.mark.long_on_each

INTERRUPTED = 130
ROWS = 400_000


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return os.environ | {"ASTRA_DATABASE_PATH": str(folder / "astra.db")} | variables


def started(folder: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "astra_orchestration.cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
        process_group=0,
    )


def heed_interrupts() -> None:
    """Let a process be interrupted, even if these tests run in the background and can't be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(process: subprocess.Popen[str], is_time: Callable[[], object]) -> tuple[str, str]:
    """Send Ctrl-C when it is time; give what was printed, if the command ended as it should."""
    until = time.monotonic() + 60
    while not is_time() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    return ended_by_interruption(process)


def ended_by_interruption(process: subprocess.Popen[str]) -> tuple[str, str]:
    printed, said = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED, printed + said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("interrupted")
    return printed, said.splitlines()[-1]


def done(folder: Path, *arguments: object) -> str:
    process = started(folder, *arguments)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, printed + said
    return printed


def count(folder: Path, table: str) -> int:
    with sqlite3.connect(f"file:{folder / 'astra.db'}?mode=ro", uri=True, timeout=20) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a database of many results."""
    folder = tmp_path_factory.mktemp("large")
    done(folder, "init")
    with sqlite3.connect(folder / "astra.db") as connection:
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
        connection.execute(f"{numbers} INSERT INTO spectrum (pk, spectrum_flags) SELECT i, 0 FROM n")
        names = [
            row[1] for row in connection.execute("PRAGMA table_info(corv)") if row[3] and row[4] is None and not row[5]
        ]
        values = {"spectrum_pk": "i", "created": "'2026-01-01'", "modified": "'2026-01-01'", "tag": "''"}
        known = {name: values.get(name, "9000" if name.startswith("v_") else "0") for name in names}
        known |= {"spectrum_pk": "i", "teff": "i * 0.5"}
        connection.execute(f"{numbers} INSERT INTO corv ({', '.join(known)}) SELECT {', '.join(known.values())} FROM n")
    return folder


# ---- files that go out


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "parquet", "csv", "ecsv", "vot"])
def test_an_export_leaves_nothing(large: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"corv.{suffix}"
    process = started(large, "export", "corv", "-o", file)
    _, last = interrupt(process, lambda: any(tmp_path.iterdir()))
    assert last.endswith("no file was written; run again")
    assert not list(tmp_path.iterdir())


def test_an_export_keeps_the_file_that_it_would_have_replaced(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "corv.csv"
    file.write_text("before")
    interrupt(started(large, "export", "corv", "-o", file, "--overwrite"), lambda: len(list(tmp_path.iterdir())) > 1)
    assert [file.read_text()] == [one.read_text() for one in tmp_path.iterdir()]


@pytest.mark.parametrize("form", ["--csv", "--json"])
@pytest.mark.parametrize("command", [("rows", "corv"), ("query", "select * from corv")], ids=["rows", "query"])
def test_rows_into_a_file_leave_nothing(large: Path, tmp_path: Path, command: tuple[str, ...], form: str) -> None:
    process = started(large, *command, form, "-o", tmp_path / "rows")
    printed, last = interrupt(process, lambda: any(tmp_path.iterdir()))
    assert last == "interrupted: nothing was changed"
    assert not list(tmp_path.iterdir())
    if form == "--json":
        content = document(printed)
        assert (content["exit_code"], content["messages"][-1]["text"]) == (INTERRUPTED, last)


def test_a_long_question_ends(large: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    process = started(large, "query", endless, "--json")
    before = time.monotonic()
    printed, last = interrupt(process, lambda: time.monotonic() > before + 4)
    assert last == "interrupted: nothing was changed"
    assert document(printed)["exit_code"] == INTERRUPTED


def test_a_backup_has_its_name_only_when_it_is_whole(large: Path, tmp_path: Path) -> None:
    process = started(large, "backup", tmp_path / "kept", "--only", "results")
    _, last = interrupt(process, lambda: any(tmp_path.iterdir()))
    assert last == "interrupted: there is no backup of this name; run again"
    assert not (tmp_path / "kept").exists()
    done(large, "backup", tmp_path / "kept", "--only", "results")


# ---- files that come in


def test_spectra_that_were_ingested_are_kept_and_the_rest_follows(tmp_path: Path) -> None:
    make_sample(tmp_path / "sample", stars=150)
    done(tmp_path, "init")
    visits = str(tmp_path / "sample/visits/*.fits")
    process = started(tmp_path, "ingest", "spectra", visits)
    _, last = interrupt(process, lambda: count(tmp_path, "boss_visit_spectrum"))
    assert last.startswith("interrupted after ") and last.endswith("files that are done aren't read again")
    kept = count(tmp_path, "boss_visit_spectrum")
    n_files = len(list((tmp_path / "sample/visits").iterdir()))
    assert 0 < kept < n_files
    assert f"{n_files} of {n_files} files of spectra ingested" in done(tmp_path, "ingest", "spectra", visits)
    assert count(tmp_path, "boss_visit_spectrum") == n_files


def test_a_file_of_results_goes_on(tmp_path: Path) -> None:
    file = write_result_file(tmp_path / "astraAllStarASPCAP-0.8.1.fits", ASPCAP, 60_000)
    done(tmp_path, "init")
    _, last = interrupt(started(tmp_path, "ingest", file), lambda: count(tmp_path, "aspcap") > 15_000)
    assert last.startswith("interrupted after ") and "of 60,000 rows of astraAllStar" in last
    assert 0 < count(tmp_path, "aspcap") < 60_000
    done(tmp_path, "ingest", file)
    assert count(tmp_path, "aspcap") == 60_000


# ---- runs


@pytest.fixture
def surveyed(tmp_path: Path) -> Path:
    """Give a folder with a database of a few stars' spectra."""
    make_sample(tmp_path / "sample", stars=60)
    done(tmp_path, "init")
    done(tmp_path, "ingest", "spectra", str(tmp_path / "sample/visits/*.fits"))
    return tmp_path


@pytest.mark.parametrize("workers", [(), ("--engine", "local", "--workers", "2")], ids=["here", "workers"])
def test_a_run_keeps_what_it_wrote_and_goes_on(surveyed: Path, workers: tuple[str, ...]) -> None:
    process = started(surveyed, "run", "corv", "--all-spectra", "--batch-size", "5", *workers, "--json")
    printed, last = interrupt(process, lambda: count(surveyed, "corv"))
    content = document(printed)
    assert content["messages"][-1] == {"level": "error", "text": last}
    assert "spectra: results that were written are kept; run again for the rest" in last
    kept, n_spectra = count(surveyed, "corv"), count(surveyed, "boss_visit_spectrum")
    assert 0 < kept < n_spectra
    assert count(surveyed, "lease") == 0
    assert f"corv: {n_spectra - kept} due" in done(surveyed, "run", "corv", "--all-spectra")


# ---- a database that somebody else holds


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a database that another holds, so that each command waits for it."""
    done(tmp_path, "init")
    (tmp_path / "stars.csv").write_text("sdss_id,teff\n1,5000\n")
    (tmp_path / "astra.yml").write_text(f"database: {{path: {tmp_path}/astra.db, pragmas: {{busy_timeout: 60000}}}}")
    holder = sqlite3.connect(tmp_path / "astra.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    yield tmp_path
    holder.close()


WAITING = {
    "status": ("status", "--json"),
    "explain": ("explain", "17"),
    "rejected": ("rejected",),
    "leases": ("leases",),
    "check-schema": ("check-schema",),
    "rows": ("rows", "corv"),
    "query": ("query", "select * from corv"),
    "migrate status": ("migrate", "status"),
    "migrate up": ("migrate", "up"),
    "init": ("init",),
    "train the_cannon": ("train", "the_cannon"),
}


def test_a_command_that_waits_says_what_is_kept(locked: Path) -> None:
    variables = {"ASTRA_DATABASE_PATH": "", "ASTRA_CONFIG_PATH": "astra.yml"}
    running = {name: started(locked, *arguments, **variables) for name, arguments in WAITING.items()}
    time.sleep(25)  # they begin at once on a few cores
    for process in running.values():
        process.send_signal(signal.SIGINT)
    for name, process in running.items():
        printed, last = ended_by_interruption(process)
        assert last == f"interrupted: {KEPT[name]}", name
        assert (document(printed)["exit_code"] == INTERRUPTED) if name == "status" else not printed


def test_an_adoption_says_that_it_goes_on(postgresql: dict[str, str], tmp_path: Path) -> None:
    import psycopg2

    server: dict[str, Any] = dict(postgresql)
    with production_schemas(postgresql) as make:
        there = make()
        settings = "".join(f"  {name}: {value}\n" for name, value in server.items())
        (tmp_path / "astra.yml").write_text(f"database:\n{settings}")
        holder = psycopg2.connect(**server)
        holder.cursor().execute(f"LOCK TABLE {quoted(there.schema)}.source IN ACCESS EXCLUSIVE MODE")
        variables = {"ASTRA_DATABASE_PATH": "", "ASTRA_CONFIG_PATH": "astra.yml"}
        process = started(tmp_path, "adopt", there.schema, "--into", there.target, "--json", **variables)
        watcher = psycopg2.connect(**server)
        watcher.autocommit = True

        def waits() -> bool:
            with watcher.cursor() as asking:
                asking.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                return asking.fetchone() != (0,)

        printed, last = interrupt(process, waits)
        holder.close()
        watcher.close()
    assert last == f"interrupted: {KEPT['adopt']}"
    assert document(printed)["exit_code"] == INTERRUPTED  # by force: it waits in the driver


def test_what_is_kept_is_known_of_every_command() -> None:
    commands = {" ".join(names) for names in all_commands() if names not in SERVERS}
    assert commands - KEPT.keys() == {"materialize"}  # which says this:
    assert WRITTEN == "what was written before is kept; run again for the rest"
    assert KEPT.keys() <= commands


def test_what_copies_the_output_of_dagsters_steps_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    process = started(tmp_path, "materialize", "--stars", 60, DAGSTER_HOME=str(tmp_path / "home"))
    printed: list[str] = []
    for line in process.stdout or ():
        printed.append(line)
        if "sample" in line:  # a step has begun, and what copies its output
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, last = ended_by_interruption(process)
    assert last == f"interrupted: {WRITTEN}", printed


AFTER_ALL_IS_SAID = """
import atexit, sys, time
atexit.register(time.sleep, 60)
sys.argv = ["astra", "query", sys.argv[1]]
from astra_orchestration.cli.start import main
main()
"""


def test_another_ctrl_c_ends_what_only_tidies_up(large: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    process = subprocess.Popen(
        [sys.executable, "-c", AFTER_ALL_IS_SAID, endless],
        env=environment(large),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "interrupted: nothing was changed\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == INTERRUPTED


WHILE_IMPORTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["astra", "status", *sys.argv[1:]]
from astra_orchestration.cli.start import main
main()
"""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_command_that_is_still_imported(tmp_path: Path, options: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WHILE_IMPORTING, *options],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        preexec_fn=heed_interrupts,
        timeout=60,
    )

    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "interrupted: nothing was begun\n")
    assert not ended.stdout if not options else document(ended.stdout)["exit_code"] == INTERRUPTED
