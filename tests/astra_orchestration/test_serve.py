"""The Dagster UI as a process: it answers, runs a materialization, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from astra_models.base import bind
from astra_models.database.config import sqlite_database
from astra_models.errors import PortTakenError
from astra_models.rocket import Rocket
from astra_orchestration.cli.serve import serve

ROOT = Path(__file__).parents[2]
ASTRA = Path(sys.executable).with_name("astra")
PATIENCE = 60.0  # seconds

LAUNCH = """mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = """query ($runId: ID!) { runOrError(runId: $runId) { ... on Run { status } } }"""
COUNTS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The settings of a small survey that is ingested and waits for its analysis."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    variables = {"ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"), "DAGSTER_HOME": str(home)}
    environment = os.environ | variables
    for command in (
        ["init"],
        ["sample", "--stars", "2", "--folder", "sample"],
        ["ingest", "spectra", "sample/visits/*.fits"],
    ):
        subprocess.run([ASTRA, *command], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=100)
    return environment


@pytest.fixture
def ui(port: int, environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [ASTRA, "ui", "--port", str(port)],
        cwd=tmp_path,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield child
    if child.poll() is None:
        child.terminate()
        child.wait(PATIENCE)
    assert child.stdout is not None
    child.stdout.close()


def ask(port: int, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["data"]


def wait_for(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.2)
    return found


def processes_of(home: str) -> list[str]:
    """Name the processes, zombies aside, that were started with this DAGSTER_HOME."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"DAGSTER_HOME={home}".encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mine and command:
            found.append(command)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc, which only Linux has")
def test_the_ui_runs_a_materialization_and_ends_every_process(
    ui: subprocess.Popen[str], port: int, environment: dict[str, str]
) -> None:
    assert ui.stdout is not None
    wait_for(lambda: f"http://127.0.0.1:{port}" in ui.stdout.readline())
    assert materialize_in_ui(port, limit=3) == {"due": 3, "inserted": 3, "dagster/row_count": 3}
    bind(sqlite_database(environment["ASTRA_DATABASE_PATH"]))
    assert [row.v_astra for row in Rocket.select()] == [9000] * 3
    assert len(processes_of(environment["DAGSTER_HOME"])) >= 4

    ui.send_signal(signal.SIGINT)

    assert ui.wait(PATIENCE) == 0
    assert wait_for(lambda: not processes_of(environment["DAGSTER_HOME"]), 5)


def materialize_in_ui(port: int, limit: int) -> dict[str, int]:
    """Do what a click on "Materialize" does, with a limit from the launchpad; give some of the counts."""
    selector = {
        "repositoryLocationName": "astra_orchestration.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["rocket"]}],
    }
    config = {"ops": {"rocket": {"config": {"limit": limit}}}}
    launched = ask(port, LAUNCH, params={"selector": selector, "runConfigData": config})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    status = wait_for(lambda: finished(ask(port, STATUS, runId=run_id)["runOrError"]["status"]))
    assert status == "SUCCESS"
    [materialization] = ask(port, COUNTS, key={"path": ["rocket"]})["assetOrError"]["assetMaterializations"]
    counts = {entry["label"]: entry.get("intValue") for entry in materialization["metadataEntries"]}
    return {name: counts[name] for name in ("due", "inserted", "dagster/row_count")}


def finished(status: str) -> str | None:
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"port {port} of 127.0.0.1 can't be used .*make run PORT={port + 1}"):
            serve("127.0.0.1", port, lambda address: None)
