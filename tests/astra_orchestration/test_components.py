"""Assets of pipelines that a ``defs.yaml`` declares, without Python, in a project of somebody's own and in this one."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.errors import ConfigurationError
from astra_orchestration.components import Pipeline
from astra_orchestration.resources import resources_for
from tests import fragile

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROJECT = """
[project]
name = "mine"
version = "1"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "mine"
code_location_target_module = "mine.definitions"
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
PIPELINE = """
from collections.abc import Iterable
from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket


@task
def as_warm_as(spectra: Iterable[BossVisitSpectrum], teff: float = 5000.0) -> Iterable[Rocket]:
    \"\"\"Give all stars one temperature.\"\"\"
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=teff)


not_a_task = 3
"""
WARM = {"task": "mine.pipeline:as_warm_as", "parameters": {"teff": 6000}, "schedule": "30 4 * * *"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs a command in the project."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"),
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "COLUMNS": "300",
    }

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        program, *arguments = command
        return subprocess.run(
            [str(BIN / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture
def declare(tmp_path: Path) -> Callable[..., None]:
    """Make a project, and give a function that declares an asset in it."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for folder in ("mine", "mine/defs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "mine/definitions.py").write_text(DEFINITIONS)
    (tmp_path / "mine/pipeline.py").write_text(PIPELINE)

    def declare(**attributes: object) -> None:
        folder = tmp_path / "mine/defs/warm"
        folder.mkdir(exist_ok=True)
        text = {"type": "astra_orchestration.components.Pipeline", "attributes": attributes}
        (folder / "defs.yaml").write_text(json.dumps(text))

    return declare


def test_dagster_lists_the_component_and_checks_what_is_declared(run: Run, declare: Callable[..., None]) -> None:
    declare(**WARM)
    assert "astra_orchestration.components.Pipeline" in run("dg", "list", "components").stdout
    for command in (("dg", "check", "yaml"), ("dg", "check", "defs")):
        done = run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(run("dg", "list", "defs", "--json").stdout)
    [asset] = [asset for asset in found["assets"] if asset["is_executable"]]
    assert (asset["asset_key"], asset["group_name"]) == ("as_warm_as", "pipelines")
    assert [schedule["name"] for schedule in found["schedules"]] == ["as_warm_as_schedule"]


def test_it_runs_with_the_parameters_and_the_engine_that_are_declared(
    run: Run, declare: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "checks.py").write_text(CHECK_OF_ONES_OWN)
    checks = ["coverage", "physical_range", "mine.checks:plausible"]
    thresholds = {"ranges": {"teff": [3000, 5000]}, "max_outside": 1}
    declare(**WARM, name="warm", engine={"local": {"workers": 1}}, checks=checks, thresholds=thresholds)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    for command in ("init", "sample --stars 2 --folder s", "ingest spectra s/visits/*.fits"):
        assert run("astra", *command.split()).returncode == 0
    done = run("dagster", "asset", "materialize", "--select", "warm", "-m", "mine.definitions")
    assert done.returncode == 0, done.stdout + done.stderr
    with closing(sqlite3.connect(tmp_path / "astra.db")) as connection:
        assert connection.execute("SELECT DISTINCT teff FROM rocket").fetchall() == [(6000.0,)]
        assert connection.execute("SELECT DISTINCT engine FROM pipeline_run").fetchall() == [("local",)]
    assert {name: passed for name, (passed, _) in evaluations(tmp_path).items()} == {
        "coverage": True,
        "physical_range": False,
        "plausible": True,
    }


PAGE = (ROOT / "docs" / "components.md").read_text()
[CHECK_OF_ONES_OWN] = re.findall(r'```python title="brightness/checks.py"\n(.*?)```', PAGE, re.DOTALL)


@pytest.mark.sqlite_only(reason="checks are tried on both elsewhere")
def test_its_checks_and_their_thresholds_are_those_that_are_declared(
    database: peewee.Database,
    make_spectra: Any,
    target: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check of one's own is the one that the page shows."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "checks_of_ones_own.py").write_text(CHECK_OF_ONES_OWN)
    make_spectra(3)

    def failed(teff: float, checks: Any, **thresholds: Any) -> tuple[bool, dict[str, str | None]]:
        """Run what is declared so; tell whether it succeeded, and what the failed checks said."""
        declared = Pipeline(
            task="tests.fragile:fragile", parameters={"teff": teff}, checks=checks, thresholds=thresholds
        ).build_defs(None)  # pyright: ignore[reportArgumentType]  it isn't looked at
        done = dg.materialize(list(declared.assets or ()), resources=resources_for(target), raise_on_error=False)  # pyright: ignore
        assert {one.check_name for one in done.get_asset_check_evaluations()} == {
            name.rpartition(":")[2] for name in checks or ()
        }
        return done.success, {
            one.check_name: one.description for one in done.get_asset_check_evaluations() if not one.passed
        }

    names = ["coverage", "physical_range", "checks_of_ones_own:plausible"]
    outside = {"physical_range": "3 results without a flag have values that no star has: teff"}
    assert failed(6000, names) == (True, {})
    assert failed(6000, names, ranges={"teff": [3000, 5000]}) == (False, outside)
    assert failed(6000, names, ranges={"teff": [3000, 5000]}, max_outside=1) == (True, outside)
    assert failed(20_000, names) == (False, {"plausible": "3 stars are hotter than 9000 K"})
    make_spectra(1, mjd=fragile.RAISES)
    [(_, coverage)] = [failed(6000, names)]
    assert coverage.keys() == {"coverage"}
    assert failed(6000, names, min_coverage=0.5) == (True, {})
    assert failed(6000, False) == (True, {})


def evaluations(home: Path) -> dict[str, tuple[bool, str | None]]:
    """Give the checks of the latest run: whether they passed, and what they said."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [latest] = instance.get_runs(limit=1)
        entries = instance.all_logs(latest.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        made = [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]
    return {one.check_name: (one.passed, one.description) for one in made}


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"task": "rockt"}, "there is no pipeline 'rockt'; did you mean rocket?"),
        ({"task": "nowhere.pipeline:corv"}, "install its package where Dagster's code server runs"),
        ({"task": "mine.pipeline:not_a_task"}, "is no task; name a generator"),
        ({**WARM, "parameters": {"tef": 1}}, "as_warm_as has no parameter 'tef'; did you mean teff?"),
        ({**WARM, "parameters": {"teff": "hot"}}, "the parameter teff takes"),
        ({**WARM, "engine": {"locl": {}}}, "locl"),
        ({**WARM, "schedule": "every night"}, "every night"),
        ({**WARM, "checks": ["covrage"]}, "there is no check 'covrage'; did you mean coverage?"),
        ({**WARM, "checks": ["nowhere:CHECK"]}, "install its package where Dagster's code server runs"),
        ({**WARM, "checks": ["mine.pipeline:not_a_task"]}, "is no check; name an astra_models.quality.Check"),
        ({**WARM, "checks": ["coverage", "coverage"]}, "two checks are called 'coverage'"),
        ({**WARM, "thresholds": {"min_covrage": 1}}, "there is no threshold 'min_covrage'; did you mean min_coverage?"),
        ({**WARM, "thresholds": {"min_coverage": "all"}}, "min_coverage is text; give a number"),
        ({**WARM, "thresholds": {"ranges": {"tef": [0, 1]}}}, "there is no column 'tef'; did you mean teff"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    attributes: dict[str, Any], said: str, declare: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.delitem(sys.modules, "mine.pipeline", raising=False)
    with pytest.raises((dg.DagsterError, ConfigurationError), match=re.escape(said)):
        Pipeline(**attributes).build_defs(None)  # pyright: ignore[reportArgumentType]  it isn't looked at


def test_what_is_wrong_fails_the_check_of_the_project(run: Run, declare: Callable[..., None]) -> None:
    declare(**{**WARM, "parameters": {"tef": 1}})
    done = run("dg", "check", "defs")
    assert done.returncode == 1 and "did you mean teff?" in done.stdout + done.stderr


def test_in_this_project_it_takes_the_place_of_the_asset_of_that_name(run: Run, tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "astra_orchestration", tmp_path / "astra_orchestration", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "astra_orchestration/defs/corv"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(
        dedent("""
            type: astra_orchestration.components.Pipeline
            attributes: {task: corv, owners: ["team:white_dwarfs"], schedule: "0 5 * * *"}
        """)
    )
    done = run("dg", "list", "defs", "--json")
    found = json.loads(done.stdout)
    assert [asset["owners"] for asset in found["assets"] if asset["asset_key"] == "corv"] == [
        [{"team": "white_dwarfs"}]
    ]
    assert {schedule["name"] for schedule in found["schedules"]} >= {"nightly_schedule", "corv_schedule"}


def test_without_dagster_the_package_is_imported() -> None:
    code = "import sys, astra_orchestration; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
