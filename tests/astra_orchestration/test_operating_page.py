"""The runbook's commands, in its order, with a real database and real records of Dagster."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from astra_orchestration.alerts import settings as alert_variables
from astra_orchestration.automation.nightly_summary import HOUR, HOUR_VARIABLE
from astra_orchestration.automation.pruning import KEEP_DAYS
from tests.astra_orchestration.alert_servers import HookServer, served
from tests.astra_orchestration.deployed import UNITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
FIRST_VERSION = ROOT / "tests" / "astra_models" / "first_version.sqlite.sql"
ASTRA = [sys.executable, "-m", "astra_orchestration.cli"]


def commands(title: str) -> list[list[str]]:
    """Give the commands that a section of the runbook shows, in order."""
    section = PAGE.partition(f"\n### {title}\n")[2]
    section = re.split(r"^##+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = [line.split() for line in re.findall(r"^\$ (.+)$", section, re.MULTILINE)]
    assert found, title
    return found


class Operator:
    """Somebody with a terminal, a folder, and the environment of the services."""

    def __init__(self, folder: Path, hook: HookServer):
        self.folder = folder
        self.database = folder / "astra.db"
        self.environment = os.environ | {
            "ASTRA_DATABASE_PATH": str(self.database),
            "DAGSTER_HOME": str(folder / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(ROOT),
            "ASTRA_ALERT_WEBHOOK": hook.address,
        }
        (folder / "dagster").mkdir()
        (folder / "dagster" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())

    def type(self, words: list[str]) -> str:
        """Run a command of astra; of others, look whether what they name is there."""
        if words[0] == "systemctl":
            assert all((UNITS / f"{unit}.service").is_file() for unit in words[2:])
            return ""
        if words[0] == "pip":
            assert words[-1].partition("==")[0] == "astra-orchestration"
            return ""
        assert words[0] == "astra"
        done = subprocess.run(
            [*ASTRA, *words[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=200
        )
        is_asked = words[1:3] == ["migrate", "status"]  # which ends with 1 if something is to be applied
        assert done.returncode in ((0, 1) if is_asked else (0,)), f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.database)) as database:
            [[found]] = database.execute(f"SELECT count(*) FROM {table}").fetchall()
            return int(found)

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Give the columns and rows of every table."""
        with closing(sqlite3.connect(self.database)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: [*database.execute(f"PRAGMA table_info('{name}')"), *database.execute(f"SELECT * FROM '{name}'")]
                for name in sorted(tables)
            }


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with served(HookServer()) as hook:
        yield Operator(tmp_path, hook)


def test_the_first_day_a_morning_and_a_disaster(operator: Operator) -> None:
    for words in commands("The first day"):
        operator.type(words)
    assert (operator.folder / "backups" / "first-day" / "backup.json").is_file()
    operator.type(["astra", "sample", "--stars", "2", "--folder", "sample"])
    visits = [str(path) for path in (operator.folder / "sample" / "visits").glob("*.fits")]
    operator.type(["astra", "ingest", "spectra", *visits])
    for words in commands("Each morning"):
        operator.type(words)
    operator.type(["astra", "run", "rocket"])
    before = operator.rows()
    assert operator.count("rocket") > operator.count("source") > 0
    operator.type(["astra", "backup", "backups/latest"])

    for lost in operator.folder.glob("astra.db*"):
        lost.unlink()
    shutil.rmtree(operator.folder / "dagster" / "history", ignore_errors=True)
    for words in commands("A disaster"):
        operator.type(words)
    assert operator.rows() == before


def test_a_release_and_the_way_back(operator: Operator) -> None:
    """The database of version 0.9.0, as that made it, is migrated, used, and rolled back."""
    with closing(sqlite3.connect(operator.database)) as old, old:
        old.executescript(FIRST_VERSION.read_text())
        old.execute("INSERT INTO spectrum (pk, spectrum_flags) VALUES (7, 0)")
    before = operator.rows()
    release = commands("A release")
    back = next(number for number, words in enumerate(release) if words[:2] == ["systemctl", "stop"])
    assert ["astra", "migrate", "up"] in release[:back]
    for words in release[:back]:
        operator.type(words)
    assert "the tables are as the models say" in operator.type(["astra", "check-schema"])
    operator.type(["astra", "run", "rocket"])
    migrated = operator.rows()
    assert migrated["spectrum"] == before["spectrum"]
    assert migrated.keys() > before.keys()

    for words in release[back:]:
        operator.type(words)
    assert operator.rows() == before


def test_the_page_says_what_the_code_does() -> None:
    told = set(re.findall(r"ASTRA_ALERT_[A-Z_]+|ASTRA_UI_ADDRESS|ASTRA_SUMMARY_HOUR", PAGE))
    known = {
        value for name, value in vars(alert_variables).items() if name.isupper() and str(value).startswith("ASTRA")
    }
    assert told == known | {HOUR_VARIABLE}
    assert f"runs that ended more than {KEEP_DAYS} days ago" in PAGE
    assert f"in UTC; {HOUR} if it isn't set" in PAGE
