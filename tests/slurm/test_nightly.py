"""A schedule that a real daemon ticks: its run is a job of Slurm, and has workers of Slurm."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import yaml

from astra_models.pipeline_run import PipelineRun
from tests.slurm.cluster import SlurmCluster, wait_until
from tests.slurm.conftest import CHECKOUT
from tests.slurm.test_engine import ONE_BACK_END, require_each_once


def settings_of_ours() -> dict[str, Any]:
    """Give the settings of dagster.yaml, with sizes that fit two small nodes."""
    settings = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())
    settings["run_launcher"]["config"] = {"slurm": {"memory": "1G", "walltime": "00:10:00"}}
    return settings


@ONE_BACK_END
def test_each_night_the_daemon_starts_a_run_on_the_cluster(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, shared: Path, tmp_path: Path
) -> None:
    make_spectra(50)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(json.dumps(settings_of_ours()))
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "ASTRA_TEST_SHARED": str(shared),
        "ASTRA_DATABASE_PATH": str(database.database),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "tests.slurm.nightly", "--log-level", "error"]
    said = tmp_path / "daemon"
    with said.open("wb") as file:
        daemon = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, cwd=tmp_path, start_new_session=True
        )
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            done = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
            wait_until(lambda: instance.get_runs(done) or daemon.poll() is not None, 150, "no run has ended")
            runs = instance.get_runs(done)
            assert runs, said.read_text()[-3000:]
            run = runs[-1]
            events = "\n".join(entry.user_message for entry in instance.all_logs(run.run_id))
    finally:
        daemon.send_signal(signal.SIGINT)
        daemon.wait(30)
    assert run.status == dg.DagsterRunStatus.SUCCESS, events
    assert run.tags["dagster/schedule_name"] == "each_minute" and run.tags["astra/slurm_job"]
    require_each_once(50)
    [record] = PipelineRun.select().where(PipelineRun.run_id == run.run_id)
    assert (record.engine, record.workers, record.answered) == ("slurm", 2, 50)
