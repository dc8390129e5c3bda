"""The page of ten tasks in five tools: ours and plain Dagster's code, followed outside the checkout."""

import re
import shlex
import sqlite3
import textwrap
from pathlib import Path

import pytest
from outside import ROOT, Machine

from astra_orchestration.cli.exit_codes import PARTLY

PAGE = (ROOT / "docs" / "coming-from-others.md").read_text()
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
TAB = re.compile(r'^=== "(?P<tool>[^"]+)"\n(?P<text>(?:\n|    .*\n)*)', re.MULTILINE)
SECTIONS = re.split(r"^(?=## )", PAGE, flags=re.MULTILINE)[1:]
TASKS = [section for section in SECTIONS if re.match(r"## \d", section)]
TOOLS = ["Astra", "DataJoint", "sqlite-utils", "dlt", "Dagster"]


def told_to(tool: str, section: str) -> str:
    """Give what a section says to the users of one tool: their tab, and what is for all."""
    return TAB.sub(lambda tab: textwrap.dedent(tab["text"]) if tab["tool"] == tool else "", section)


def steps(tool: str, section: str) -> list[str]:
    """Give what a section says to do with a tool, as lines of a shell."""
    lines = [f"echo {shlex.quote('# ' + section.splitlines()[0])}"]
    for block in BLOCK.finditer(told_to(tool, section)):
        if block["language"] == "console":
            lines += [command(line) for line in block["text"].splitlines() if line.startswith("$ ")]
        elif block["file"]:
            lines.append(f"printf %s {shlex.quote(block['text'])} > {block['file']}")
        elif block["language"] == "python":
            lines.append(f"python -c {shlex.quote(block['text'])}")
    return lines


def command(line: str) -> str:
    """Give a command; a run that leaves a spectrum out says so by its exit status, and the page goes on."""
    words = line.removeprefix("$ ")
    return f"{words} || [ $? = {PARTLY} ]" if words.startswith("astra run") else words


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


def follow(machine: Machine, tool: str) -> tuple[dict[str, str], Path]:
    """Do all tasks in order; give what each printed, by its number, and the folder."""
    folder = machine.home / tool
    folder.mkdir()
    script = "\n".join(line for section in SECTIONS for line in steps(tool, section))
    printed = machine.run(script, cwd=folder, PYTHONPATH=str(folder))
    parts = re.split(r"^# ## (?:(\d+)\. )?.*\n", printed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)), folder


@pytest.fixture(scope="module")
def ours(machine: Machine) -> tuple[dict[str, str], Path]:
    return follow(machine, "Astra")


@pytest.fixture(scope="module")
def dagsters(machine: Machine) -> tuple[dict[str, str], Path]:
    return follow(machine, "Dagster")


def query(path: Path, sql: str) -> list[tuple]:
    database = sqlite3.connect(path)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


def test_there_are_ten_tasks_in_five_tools() -> None:
    assert [int(task[3:].split(".")[0]) for task in TASKS] == list(range(1, 11))
    for task in TASKS:
        assert [tab["tool"] for tab in TAB.finditer(task)] == TOOLS
        assert all(BLOCK.search(told_to(tool, task)) for tool in TOOLS)


def test_the_page_says_what_was_run_and_how_they_differ() -> None:
    assert all("\n*What differs.*" in task for task in TASKS)
    assert all(f'"{tool}"' in PAGE for tool in TOOLS)
    assert re.search(r"DataJoint\s+\d+\.\d+\.\d+.*sqlite-utils \d+\.\d+.*dlt \d+\.\d+", PAGE, re.DOTALL)


# ---- Astra


def test_what_is_ingested_again_is_unchanged_and_created_stays(ours: tuple[dict[str, str], Path]) -> None:
    shown = ours[0]["2"]
    assert "known already" in shown
    first, second = (line.split(maxsplit=3) for line in shown.splitlines()[-2:])
    assert [*first[:3], *second[:3]] == ["1", "0", "5772.0", "0", "1", "5780.0"]
    assert first[3] == second[3]


def test_what_is_missing_is_computed_and_the_damaged_file_told(ours: tuple[dict[str, str], Path]) -> None:
    shown, folder = ours
    [(visits,)] = query(folder / "astra.db", "SELECT count(*) FROM boss_visit_spectrum")
    assert f"{visits} due, {visits - 1} inserted, 0 updated, 0 unchanged, 1 rejected" in shown["3"]
    assert "nothing is due" in shown["3"]
    assert "MissingPixelsError" in shown["4"]
    assert "1 due, 1 inserted" in shown["4"]


def test_another_version_is_beside_the_old(ours: tuple[dict[str, str], Path]) -> None:
    _, folder = ours
    counts = query(
        folder / "astra.db", "SELECT v_astra_major_minor, count(*), count(pipeline_run_pk) FROM brightness GROUP BY 1"
    )
    assert [version for version, *_ in counts] == [9, 10]
    assert len({number for _, *numbers in counts for number in numbers}) == 1


def test_the_column_is_there_and_files_are_written(ours: tuple[dict[str, str], Path]) -> None:
    shown, folder = ours
    assert ("n_good",) in query(folder / "astra.db", "SELECT name FROM pragma_table_info('brightness')")
    assert all((folder / f"brightness.{suffix}").stat().st_size for suffix in ("fits", "parquet", "csv"))
    assert "Started schedule nightly_schedule" in shown["10"]


# ---- plain Dagster


def test_dagsters_rows_are_the_same(ours: tuple[dict[str, str], Path], dagsters: tuple[dict[str, str], Path]) -> None:
    shown, folder = dagsters
    counts = dict(query(folder / "survey.db", "SELECT version, count(*) FROM brightness GROUP BY 1"))
    [(visits,)] = query(folder / "survey.db", "SELECT count(*) FROM visit")
    assert counts == {"1": visits, "2": visits}
    assert shown["6"] == ours[0]["6"], "the same frame"
    assert shown["4"].count("buffer is too small") == 2, "it was tried twice"
    assert "Started schedule nightly" in shown["10"]
    assert all((folder / f"brightness.{suffix}").stat().st_size for suffix in ("fits", "parquet", "csv"))
