"""New spectra, the daemon, and nobody else: the sensor asks for their run, once."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.due_mark import DueMark
from astra_models.rocket import Rocket
from tests.fragile import fragile
from tests.slurm.cluster import wait_until

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.sqlite_only(reason="the other back ends are asked tick by tick")
def test_the_daemon_starts_a_run_of_new_spectra(database: peewee.Database, make_spectra: Any, tmp_path: Path) -> None:
    assert len(list(fragile(make_spectra(2)))) == 2
    make_spectra(3)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(CHECKOUT / "dagster.yaml", home)
    environment = os.environ | {"DAGSTER_HOME": str(home), "ASTRA_DATABASE_PATH": str(database.database)}
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "tests.due_location", "--log-level", "error"]
    said = tmp_path / "daemon"
    with said.open("wb") as file:
        daemon = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, cwd=tmp_path, start_new_session=True
        )
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
            wait_until(lambda: instance.get_runs(ended) or daemon.poll() is not None, 150, "no run has ended")
            assert daemon.poll() is None, said.read_text()[-3000:]
            if os.environ.get("ASTRA_SOAK") == "1":  # a minute later
                wait_until(lambda: DueMark.select().count(), 150, "no tick has come after the run")
            [run] = instance.get_runs()
    finally:
        daemon.send_signal(signal.SIGINT)
        daemon.wait(60)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert run.tags["dagster/sensor_name"] == "astra_version_sensor"
    assert run.tags["astra/due"] == "fragile: 3 due: 3 new"
    assert Rocket.select().count() == 5
