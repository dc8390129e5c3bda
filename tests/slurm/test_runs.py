"""Whole runs as jobs of a real Slurm: what becomes of a run when its job waits, runs, ends, dies, or is put aside."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterLaunchFailedError

from tests.launched import Runs, open_runs
from tests.slurm.cluster import NODES, SlurmCluster, wait_until

CANARY = "canary-55e1-of-a-run"
SETTINGS = """
telemetry: {enabled: false}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
run_launcher:
  module: astra_orchestration.launching
  class: AstraRunLauncher
  config: {default: slurm, slurm: {memory: 500M, walltime: "00:10:00", prologue: ["export SAID=yes"]}}
run_monitoring: {enabled: true, start_timeout_seconds: 1209600}
"""
STATUS = dg.DagsterRunStatus


def of_job(**settings: str) -> dict[str, str]:
    return {f"astra/slurm_{name}": value for name, value in settings.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dagster-home")
    (folder / "dagster.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def loaded(home: Path) -> Iterator[Runs]:
    """Load the code location, once."""
    with open_runs(home) as runs:
        yield runs


@pytest.fixture
def runs(loaded: Runs, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("PGPASSWORD", CANARY)
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", CANARY)
    own = str(Path(sys.executable).parent)  # a job has the PATH of who submits it: here, one without Dagster's programs
    monkeypatch.setenv("PATH", os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if one != own))
    return loaded


@pytest.fixture
def drained(slurm: SlurmCluster) -> Callable[[], None]:
    """Have no node take a job, until the function is called."""
    for node in NODES:
        slurm.ask("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def resume() -> None:
        for node in NODES:
            slurm.ask("scontrol", "update", f"nodename={node}", "state=resume")

    return resume


def test_a_run_waits_in_the_queue_and_then_runs(
    runs: Runs, slurm: SlurmCluster, home: Path, drained: Callable[[], None]
) -> None:
    run_id = runs.launch("short")
    job = runs.job(run_id)
    assert slurm.show(job)["JobState"] == "PENDING" and slurm.show(job)["TimeLimit"] == "00:10:00"
    runs.look_after()
    assert runs.status(run_id) == STATUS.STARTING
    shown = slurm.ask("scontrol", "-d", "show", "job", job) + slurm.ask("scontrol", "write", "batch_script", job, "-")
    assert CANARY not in shown and "api execute_run" in shown
    kept = [path for path in (slurm.folder / "state").rglob("*") if path.is_file()]
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    drained()
    runs.wait_for(run_id, STATUS.SUCCESS)
    assert runs.run(run_id).tags["astra/launcher"] == "slurm"
    log = Path(runs.run(run_id).tags["astra/slurm_log"])
    assert log.parent == home / "slurm" and "said" in log.read_text()
    assert f"submitted to Slurm as job {job}" in runs.messages(run_id)
    runs.look_after()
    assert runs.status(run_id) == STATUS.SUCCESS


def test_a_run_is_terminated_in_the_queue_and_while_it_runs(
    runs: Runs, slurm: SlurmCluster, drained: Callable[[], None]
) -> None:
    waiting = runs.launch("lasting")
    assert runs.instance.run_launcher.terminate(waiting) and runs.status(waiting) == STATUS.CANCELED
    assert not slurm.jobs()
    drained()
    running = runs.launch("lasting")
    runs.wait_for(running, STATUS.STARTED)
    runs.look_after()
    assert runs.status(running) == STATUS.STARTED
    assert runs.instance.run_launcher.terminate(running)
    runs.wait_for(running, STATUS.CANCELED, seconds=20)
    wait_until(lambda: not slurm.jobs(), 10, "the job is still there")
    assert not runs.instance.run_launcher.terminate(running)


def test_a_job_that_others_cancel_in_the_queue_fails_its_run(
    runs: Runs, slurm: SlurmCluster, drained: Callable[[], None]
) -> None:
    run_id = runs.launch("short")
    slurm.ask("scancel", runs.job(run_id))
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE
    assert f"job {runs.job(run_id)}, which is CANCELLED" in runs.messages(run_id)


def test_a_process_that_dies_fails_its_run_and_leaves_its_last_words(runs: Runs, slurm: SlurmCluster) -> None:
    run_id = runs.launch("dying")
    wait_until(lambda: not slurm.jobs() and runs.status(run_id) == STATUS.STARTED, 60, "the job is there")
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE
    assert "which is FAILED" in runs.messages(run_id) and "ExitCode 3:0" in runs.messages(run_id)
    assert "last words" in runs.messages(run_id)


def test_a_node_that_fails_fails_its_run(runs: Runs, slurm: SlurmCluster) -> None:
    run_id = runs.launch("deaf")
    wait_until(lambda: "hears nothing" in runs.messages(run_id), 60, "the run doesn't start")
    node = slurm.show(runs.job(run_id))["NodeList"]
    slurm.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    wait_until(lambda: not slurm.jobs("RUNNING", "COMPLETING"), 20, "the job runs")
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE and "which is NODE_FAIL" in runs.messages(run_id)


def requeue(slurm: SlurmCluster, job: str) -> None:
    slurm.ask("scontrol", "update", f"jobid={job}", "requeue=1")
    slurm.ask("scontrol", "requeue", job)
    wait_until(lambda: slurm.show(job)["JobState"] == "PENDING", 20, "the job isn't in the queue again")


def test_a_job_that_is_put_back_before_its_run_began_runs_later(runs: Runs, slurm: SlurmCluster) -> None:
    run_id = runs.launch("short")
    job = runs.job(run_id)
    wait_until(lambda: slurm.show(job)["JobState"] == "RUNNING", 20, "the job doesn't run")
    requeue(slurm, job)
    assert runs.status(run_id) == STATUS.STARTING
    runs.look_after()

    def is_started_again() -> bool:
        # Slurm lets it wait for two minutes, and says so only once the job is put away.
        state = slurm.show(job)["JobState"]
        if state == "PENDING":
            with suppress(AssertionError):  # it may have started since
                slurm.ask("scontrol", "update", f"jobid={job}", "StartTime=now")
        return state in ("RUNNING", "COMPLETED")

    wait_until(is_started_again, 180, "the job doesn't start again")
    runs.wait_for(run_id, STATUS.SUCCESS)
    assert slurm.show(job)["Restarts"] == "1"


def test_a_job_that_is_put_back_while_its_run_was_under_way_fails_it(runs: Runs, slurm: SlurmCluster) -> None:
    run_id = runs.launch("deaf")
    wait_until(lambda: "hears nothing" in runs.messages(run_id), 60, "the run doesn't start")
    requeue(slurm, runs.job(run_id))
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE
    assert "was put back into the queue after the run had started" in runs.messages(run_id)
    assert not slurm.jobs()


def test_a_job_that_is_pushed_aside_ends_its_run(runs: Runs, slurm: SlurmCluster) -> None:
    run_id = runs.launch("lasting", **of_job(partition="preemptible", cores="4"))
    deaf = runs.launch("deaf", **of_job(partition="preemptible", cores="4"))
    runs.wait_for(run_id, STATUS.STARTED)
    wait_until(lambda: "hears nothing" in runs.messages(deaf), 60, "the run doesn't start")
    other = slurm.ask("sbatch", "--parsable", "-N2", "--exclusive", "-o", "/dev/null", "--wrap=sleep 60").strip()
    wait_until(lambda: other in slurm.jobs("RUNNING"), 60, "nobody is pushed aside")
    runs.look_after()
    wait_until(lambda: runs.run(run_id).is_finished, 30, "the run isn't finished")
    assert runs.status(run_id) == STATUS.FAILURE and "interrupted unexpectedly" in runs.messages(run_id)
    assert {slurm.show(runs.job(one))["JobState"] for one in (run_id, deaf)} == {"PREEMPTED"}
    assert runs.status(deaf) == STATUS.FAILURE and "which is PREEMPTED" in runs.messages(deaf)


def test_a_job_that_slurm_refuses_is_said_at_the_launch(runs: Runs, slurm: SlurmCluster) -> None:
    with pytest.raises(DagsterLaunchFailedError, match=r"Slurm refuses the job: .*invalid partition"):
        runs.launch("short", **of_job(partition="nowhere"))
    with pytest.raises(DagsterLaunchFailedError, match="astra/slurm_memory"):
        runs.launch("short", **of_job(memory="1G\ntouch /tmp/x"))
    assert not slurm.jobs()


def test_runs_on_this_computer_are_as_before(runs: Runs, slurm: SlurmCluster, monkeypatch: Any) -> None:
    monkeypatch.setattr(runs.instance.run_launcher, "_default", "local")
    run_id = runs.launch("short")
    runs.wait_for(run_id, STATUS.SUCCESS)
    assert not slurm.jobs() and runs.run(run_id).tags["astra/launcher"] == "local"
    lasting = runs.launch("lasting")
    runs.wait_for(lasting, STATUS.STARTED)
    runs.look_after()
    assert runs.status(lasting) == STATUS.STARTED and runs.instance.run_launcher.terminate(lasting)
    runs.wait_for(lasting, STATUS.CANCELED, seconds=20)
