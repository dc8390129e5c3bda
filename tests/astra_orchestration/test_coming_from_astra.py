"""The page for people who come from sdss/astra, followed outside the checkout with Astra as a wheel."""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import peewee
import pytest
from outside import ROOT, Machine
from typer.testing import CliRunner

from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_orchestration.cli.main import app
from tests.production import Production, production_schemas

PAGE = (ROOT / "docs" / "coming-from-astra.md").read_text()
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
TAKEN_OVER = 14
"""Of so many tasks all is done on the machine; the last one takes a production schema, and another pipeline."""
TASKS = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]


def commands(text: str) -> list[str]:
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def steps(task: str) -> list[str]:
    """Give what a task's section says to do here, as lines of a shell."""
    lines = [f"echo '# {task.splitlines()[0]}'"]
    for block in BLOCK.finditer(task):
        if block["language"] == "console":
            lines += commands(block["text"])
        elif block["file"]:
            lines.append(f"printf %s {shlex.quote(block['text'])} > {block['file']}")
        elif block["language"] == "python":
            lines.append(f"python -c {shlex.quote(block['text'])}")
    return lines


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def shown(machine: Machine) -> dict[str, str]:
    """Give what is printed when all tasks are done in order, by the number of the task."""
    printed = machine.run("\n".join(line for task in TASKS[:TAKEN_OVER] for line in steps(task)))
    parts = re.split(r"^# (\d+)\. .*\n", printed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def query(machine: Machine, sql: str) -> list[tuple]:
    database = peewee.SqliteDatabase(str(machine.home / "astra.db"))
    with database.connection_context():
        return database.execute_sql(sql).fetchall()


def test_there_are_fifteen_tasks_and_each_is_told_on_both_sides() -> None:
    assert [int(task.split(".")[0]) for task in TASKS] == list(range(1, 16))
    assert all("\n*There:*" in task and "\n*Here:*" in task for task in TASKS)
    assert all(len(steps(task)) > 1 for task in TASKS), "each has something to do"


def test_every_spectrum_has_its_results(machine: Machine, shown: dict[str, str]) -> None:
    [(visits,)] = query(machine, "SELECT count(*) FROM boss_visit_spectrum")
    assert visits > 20
    for table in ("brightness", "rocket"):
        [(results,)] = query(machine, f"SELECT count(*) FROM {table}")
        [(failed,)] = query(machine, f"SELECT count(*) FROM rejected_result WHERE model = '{table.title()}'")
        assert results + failed == visits


def test_a_second_run_has_nothing_to_do_and_a_parameter_makes_everything_due(shown: dict[str, str]) -> None:
    dry, _, other = re.split(r"\n(?=brightness: )", shown["8"].strip())
    assert "0 due" in dry
    assert re.search(r"brightness: [1-9]\d* due", other)


def test_what_failed_and_a_star_are_told(shown: dict[str, str]) -> None:
    assert "brightness" in shown["9"]
    assert "101000000" in shown["9"]


def test_products_are_written(machine: Machine, shown: dict[str, str]) -> None:
    assert list(machine.home.rglob("astraAllVisitRocket-*.fits.gz"))
    assert list(machine.home.rglob("rocket.parquet"))


def test_everything_under_dagster_was_a_success(shown: dict[str, str]) -> None:
    assert "brightness" in shown["14"], shown["14"]


# ---- what is there is taken over


@pytest.fixture
def production(postgresql: dict[str, str]) -> Iterator[Production]:
    with production_schemas(postgresql) as make:
        yield make()


def test_a_production_schema_is_adopted_by_the_commands_of_the_page(production: Production) -> None:
    [console] = [block["text"] for block in BLOCK.finditer(TASKS[TAKEN_OVER]) if block["language"] == "console"]
    told = []
    for command in commands(console):
        called = {"astra_080": production.schema, "astra_090": production.target}
        words = [called.get(word, word) for word in shlex.split(command)]
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, done.output
        told.append(done.output)
    assert "nothing was written" in told[0]
    assert "compared by checksum" in told[1]


@pytest.mark.usefixtures("other_astra")
def test_a_pipeline_of_the_surveys_own_astra_runs_by_the_lines_of_the_page(
    database: peewee.Database, make_visits: Callable[..., list[BossVisitSpectrum]]
) -> None:
    [lines] = [block["text"] for block in BLOCK.finditer(TASKS[TAKEN_OVER]) if block["language"] == "python"]
    made: dict[str, Any] = {}
    exec(lines.replace('"astra.pipelines', '"survey_astra.pipelines'), made)
    make_visits(3)
    write(analyse(made["bossnet"]))
    assert BossNet.select().count() == 3
