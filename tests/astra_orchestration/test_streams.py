"""Standard input, output and error of commands: closed, full, without a reader, and of odd encodings."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from astra_models import base
from astra_models.database.config import sqlite_database
from astra_models.schema.tables import create_tables
from astra_models.source import Source

pytestmark = pytest.mark.long_on_each

FULL = Path("/dev/full")
COMMANDS = (
    "status",
    "status --json",
    "version",
    "--version",
    "-h",
    "rows -h",
    "rows source --csv",
    "rows source --json",
)
UNWRITTEN = "error: the output can't be written: No space left on device\n"
BUFFERING: list[dict[str, str]] = [{}, {"PYTHONUNBUFFERED": "1"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a database of one source."""
    folder = tmp_path_factory.mktemp("streams")
    before = base.database.obj, base.bound_schema()
    base.bind(sqlite_database(folder / "astra.db"))
    create_tables()
    Source.create(sdss_id=1, ra=1.0, dec=2.0)
    base.database.close()
    base.bind(*before)
    return folder


def called(
    folder: Path, command: str, redirected: str, *, stdout: int = subprocess.PIPE, variables: Mapping[str, str] = {}
) -> "subprocess.CompletedProcess[bytes]":
    """Call a command by a shell, which leads its streams elsewhere."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")}
    own |= {"ASTRA_DATABASE_PATH": str(folder / "astra.db")}
    return subprocess.run(
        f"{sys.executable} -m astra_orchestration.cli {command} {redirected}",
        shell=True,
        cwd=folder,
        env=own | dict(variables),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=100,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_one_that_nobody_reads(folder: Path, command: str) -> None:
    done = called(folder, command, ">&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("redirected", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_nothing_is_written_into_the_database_instead(folder: Path, redirected: str) -> None:
    before = (folder / "astra.db").read_bytes()
    assert called(folder, "rows nosuch", redirected).returncode == 2
    assert called(folder, "rows source --csv", redirected).returncode == 0
    assert (folder / "astra.db").read_bytes() == before


@pytest.mark.skipif(not FULL.exists(), reason="the system has no disk that is always full")
@pytest.mark.parametrize("variables", BUFFERING, ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_said_once(folder: Path, command: str, variables: dict[str, str]) -> None:
    done = called(folder, command, f"> {FULL}", variables=variables)
    assert (done.returncode, done.stderr.decode()) == (1, UNWRITTEN)


@pytest.mark.parametrize("variables", BUFFERING, ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "rows -h"])  # typer ends it with 1
def test_a_reader_may_go_away(folder: Path, command: str, variables: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = called(folder, command, "", stdout=writing, variables=variables)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin1", "utf-8"])
def test_programs_read_utf8_and_people_what_there_is(folder: Path, encoding: str) -> None:
    question = """query "select 'é☉' as a" """
    csv = called(folder, f"{question} --csv", "", variables={"PYTHONIOENCODING": encoding})
    assert (csv.returncode, csv.stdout.decode("utf-8")) == (0, "a\né☉\n")
    rows = called(folder, f"{question} --json", "", variables={"PYTHONIOENCODING": encoding})
    assert (rows.returncode, json.loads(rows.stdout.decode("utf-8"))) == (0, [{"a": "é☉"}])
    shown = called(folder, question, "", variables={"PYTHONIOENCODING": encoding})
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert {"ascii": r"\xe9\u2609", "latin1": r"é\u2609", "utf-8": "é☉"}[encoding] in shown.stdout.decode(encoding)


def test_a_question_comes_from_standard_input(folder: Path) -> None:
    for text, code, why in (
        (b"select sdss_id from source", 0, ""),
        (b"\xef\xbb\xbfselect sdss_id from source", 0, ""),
        (b"select 'a\xff' as a", 2, "standard input has no text in UTF-8"),
        (b"", 2, "this one is empty"),
        (b"select 'a\0' as a", 2, "a character of the value 0"),
    ):
        (folder / "question.sql").write_bytes(text)
        for locale in ("C", "C.UTF-8"):
            done = called(folder, "query - --csv", "< question.sql", variables={"LC_ALL": locale})
            assert done.returncode == code and why in done.stderr.decode(), done.stderr.decode()
            assert (done.stdout == b"sdss_id\n1\n") == (code == 0)
            assert done.stderr.count(b"\n") == (code != 0)
    assert called(folder, "query -", "<&-").returncode == 2
