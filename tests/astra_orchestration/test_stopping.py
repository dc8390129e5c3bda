"""A stop of the service: runs are waited for or ended in order, and named, as an operator reads it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from astra_orchestration.launching import stopping
from astra_orchestration.launching.local_runs import PROCESS_TAG
from astra_orchestration.launching.stopping import end_runs
from tests.astra_orchestration.test_local_runs import process_of, runs_still
from tests.astra_orchestration.test_serve import LAUNCH, ask
from tests.launched import Runs, open_runs
from tests.slurm.cluster import wait_until

STATUS = dg.DagsterRunStatus
CHECKOUT = Path(__file__).parents[2]
ASTRA = Path(sys.executable).with_name("astra")
PARAMETERS = {
    "selector": {
        "repositoryLocationName": "astra_orchestration.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["corv"]}],
    },
    "runConfigData": {"ops": {"corv": {"config": {"rerun": "all", "batch_size": 20, "all_spectra": True}}}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Load the code location with the settings that we deliver, once."""
    home = tmp_path_factory.mktemp("dagster-home")
    (home / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with open_runs(home) as runs:
        yield runs


def test_a_run_that_ends_in_time_is_waited_for(runs: Runs) -> None:
    said: list[str] = []
    run_id = runs.launch("short")
    end_runs(runs.instance, 60, said.append)
    assert runs.status(run_id) == STATUS.SUCCESS
    name = f"short ({run_id[:8]})"
    assert said == [f"waiting up to 60 s for {name}; Ctrl-C ends them", f"{name} has ended: SUCCESS"]


def test_runs_that_go_on_are_ended_in_order_and_named(runs: Runs) -> None:
    said: list[str] = []
    run_id = runs.launch("lasting")
    runs.wait_for(run_id, STATUS.STARTED)
    end_runs(runs.instance, 1, said.append)
    assert runs.status(run_id) == STATUS.CANCELED
    assert said[-1] == f"lasting ({run_id[:8]}) has ended: CANCELED"
    assert [line for line in said if line.startswith("ending") and "is kept" in line]


def test_a_run_that_hears_nothing_is_named_as_such(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SECONDS_TO_END", 2.0)
    said: list[str] = []
    run_id = runs.launch("deaf")
    wait_until(lambda: "hears nothing" in runs.messages(run_id), 60, "it doesn't start")
    end_runs(runs.instance, 0, said.append)
    assert said[-1] == f"deaf ({run_id[:8]}) doesn't end in 2 s, and is killed"
    number = process_of(runs, run_id)
    os.kill(number, signal.SIGKILL)  # as the service does now, with all that its code server started
    wait_until(lambda: not runs_still(number), 10, "it lives")
    runs.look_after()
    assert runs.status(run_id) == STATUS.CANCELED


def test_runs_of_others_are_left_alone(runs: Runs) -> None:
    tags = ({PROCESS_TAG: "here 1 2 3"}, {"astra/launcher": "slurm"}, {"astra/launched_by": "elsewhere 1 2 3"})
    others = [runs.make("short", **of_one) for of_one in tags]
    queued = runs.make("short")
    runs.instance.report_dagster_event(DagsterEvent.job_enqueue(queued), queued.run_id)
    said: list[str] = []
    end_runs(runs.instance, 0, said.append)
    assert [runs.status(run.run_id) for run in others] == [STATUS.NOT_STARTED] * 3
    assert f"1 run goes on as a job of Slurm: short ({others[1].run_id[:8]})" in said
    assert f"1 in the queue will start with the next start: short ({queued.run_id[:8]})" in said
    for run in (*others, queued):
        runs.instance.delete_run(run.run_id)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Make a survey that Corv needs some seconds for, and give the environment of its UI."""
    folder = tmp_path_factory.mktemp("survey")
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    environment = {
        "ASTRA_DATABASE_PATH": str(folder / "astra.db"),
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "ASTRA_PRODUCTS": str(folder / "products"),
    }
    for command in (["init"], ["sample", "--stars", "200", "--folder", "s"], ["ingest", "spectra", "s/visits/*.fits"]):
        subprocess.run(
            [ASTRA, *command], cwd=folder, env=os.environ | environment, check=True, capture_output=True, timeout=200
        )
    return environment


@pytest.mark.parametrize(("again", "status"), [(True, STATUS.CANCELED), (False, STATUS.SUCCESS)])
def test_the_ui_says_what_becomes_of_its_runs(
    survey: dict[str, str], again: bool, status: STATUS, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [ASTRA, "ui", "--port", str(port), "--wait-for-runs", "100"]
    said = tmp_path / "said.txt"
    with said.open("w") as output, dg.DagsterInstance.from_config(survey["DAGSTER_HOME"]) as instance:
        ui = subprocess.Popen(command, env=os.environ | survey, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: f":{port}" in said.read_text(), 60, said.read_text)
            run_id = ask(port, LAUNCH, params=PARAMETERS)["launchRun"]["run"]["runId"]
            wait_until(lambda: count(survey, "corv" if again else "lease"), 90, "nothing is taken, or written")
            ui.send_signal(signal.SIGTERM)
            if again:  # a second word ends the waiting
                wait_until(lambda: "waiting up to 100 s" in said.read_text(), 30, said.read_text)
                ui.send_signal(signal.SIGTERM)
            assert ui.wait(100) == 0
        finally:
            ui.kill()
        run = instance.get_run_by_id(run_id)
        assert run is not None and run.status == status, said.read_text()
    assert f"corv ({run_id[:8]}) has ended: {status.value}" in said.read_text()
    assert count(survey, "lease") == 0
    if status == STATUS.CANCELED:
        with dg.DagsterInstance.from_config(survey["DAGSTER_HOME"]) as instance:
            [observed] = instance.fetch_observations(dg.AssetKey("corv"), limit=9).records
            told = observed.asset_observation
        assert told is not None and told.metadata["inserted"].value == count(survey, "corv") > 0
    if status == STATUS.SUCCESS:
        assert count(survey, "corv") == count(survey, "boss_visit_spectrum")


def count(survey: dict[str, str], table: str) -> int:
    with closing(sqlite3.connect(survey["ASTRA_DATABASE_PATH"])) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
