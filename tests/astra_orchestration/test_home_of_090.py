"""A DAGSTER_HOME and a database as 0.9.0 leaves them: opened by today's code, used, and given back to 0.9.0.

0.9.0 is taken from the history of the repository, and runs in the environment of the tests.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from tests.services import ROOT, Services, bare_environment
from tests.slurm.cluster import wait_until

OLD = "fd01e89"
"""The last commit of 0.9.0."""
LOCATION = "astra_orchestration.definitions"
PATIENCE = 150.0


class Operator(NamedTuple):
    """Somebody with a release of Astra, a folder, and a terminal in it."""

    folder: Path
    code: Path
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "dagster"

    def of(self, code: Path) -> "Operator":
        """Install another release."""
        return Operator(self.folder, code, self.environment | {"PYTHONPATH": str(code)})

    def type(self, *words: str, module: str = "astra_orchestration.cli") -> str:
        """Run a command."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def materialize(self, asset: str) -> None:
        self.type("asset", "materialize", "--select", asset, "-m", LOCATION, module="dagster")

    def services(self) -> Services:
        folder = self.folder / f"services-{self.code.name}"
        folder.mkdir(exist_ok=True)
        return Services(folder, LOCATION, self.environment)


@pytest.fixture
def old(tmp_path: Path) -> Operator:
    """Give somebody with 0.9.0, whose sensors tick each second so that nobody has to wait."""
    archive = subprocess.run(["git", "archive", OLD], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("the history of the repository isn't here")
    code = tmp_path / "old"
    code.mkdir()
    subprocess.run(["tar", "-x"], cwd=code, input=archive.stdout, check=True)
    sensor = code / "astra_orchestration" / "automation" / "file_sensor.py"
    sensor.write_text(sensor.read_text().replace("INTERVAL = 30 ", "INTERVAL = 1 "))
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(code / "dagster.yaml", home)
    (tmp_path / "dropped").mkdir()
    environment = bare_environment(
        DAGSTER_HOME=str(home),
        ASTRA_DATABASE_PATH=str(tmp_path / "astra.db"),
        ASTRA_RESULT_FOLDERS=str(tmp_path / "dropped"),
        ASTRA_PRODUCTS=str(tmp_path / "products"),
        PYTHONPATH=str(code),
    )
    return Operator(tmp_path, code, environment)


def runs_of(home: Path) -> dict[str, str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {run.run_id: run.status.value for run in instance.get_runs()}


def states_of(home: Path) -> dict[str, tuple[str, str, str | None]]:
    """Give, of each sensor, its code location, whether it is on, and its cursor."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = {}
        for state in instance.all_instigator_state():
            data = state.sensor_instigator_data
            location = state.origin.repository_origin.code_location_origin.location_name
            found[state.name] = location, state.status.value, data.cursor if data else None
        return found


def ticked(home: Path, name: str, after: float) -> bool:
    """Tell whether a sensor was evaluated after a time."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [state] = [state for state in instance.all_instigator_state() if state.name == name] or [None]
        ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
        if state is None:
            return False
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=after, statuses=ended)
        assert all(tick.status != TickStatus.FAILURE for tick in ticks), [tick.error for tick in ticks]
        return bool(ticks)


def serve_until(operator: Operator, what: Callable[[], object]) -> None:
    """Have the services run until something is true."""
    services = operator.services()
    try:
        services.start("code")
        services.start("daemon")
        wait_until(what, PATIENCE, lambda: f"{runs_of(operator.home)} {states_of(operator.home)} {services.said()}")
    finally:
        services.stop()


@pytest.mark.campaign(
    quick="test_database_identity, test_migrations and test_backup: tables, the sensor's memory, the way back"
)
def test_a_home_of_090_is_used_and_given_back(old: Operator) -> None:
    home = old.home
    old.type("materialize", "--stars", "2")
    (old.folder / "dropped" / "refused.fits").write_text("no file of results")
    serve_until(old, lambda: list(runs_of(home).values()) == ["FAILURE", "SUCCESS"])
    before, sensors = runs_of(home), states_of(home)
    location, _, cursor = sensors["result_file_sensor"]
    assert location == LOCATION
    assert cursor and json.loads(cursor)

    new = old.of(ROOT)
    new.type("backup", "backup")
    new.type("migrate", "up")
    shutil.copy(ROOT / "dagster.yaml", home)
    assert runs_of(home) == before
    began = time.time()
    looked = ("result_file_sensor", "astra_version_sensor", "run_sweep_sensor")
    serve_until(new, lambda: all(ticked(home, name, began) for name in looked))
    assert states_of(home)["result_file_sensor"] == sensors["result_file_sensor"]
    assert runs_of(home) == before  # nothing is due, and the file isn't asked for again
    new.materialize("rocket")
    assert list(runs_of(home).values()) == ["SUCCESS", "FAILURE", "SUCCESS"]

    new.type("restore", "backup", "--force")
    shutil.copy(old.code / "dagster.yaml", home)
    assert runs_of(home) == before
    assert states_of(home) == sensors
    old.materialize("rocket")
    assert list(runs_of(home).values()) == ["SUCCESS", "FAILURE", "SUCCESS"]
