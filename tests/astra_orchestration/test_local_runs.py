"""Runs on this computer that die, in any state, and those that only seem dead: real processes, killed."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution

from astra_models.host import host_name
from astra_orchestration.launching import local_runs
from astra_orchestration.launching.launcher import AstraRunLauncher
from tests.launched import Runs, open_runs
from tests.slurm.cluster import wait_until

STATUS = dg.DagsterRunStatus
UNDER_WAY = dg.RunsFilter(statuses=[STATUS.STARTED])
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a DAGSTER_HOME with the settings that we deliver."""
    folder = tmp_path_factory.mktemp("dagster-home")
    (folder / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    return folder


@pytest.fixture(scope="module")
def runs(home: Path) -> Iterator[Runs]:
    """Load the code location, once."""
    with open_runs(home) as runs:
        yield runs


def launcher_of(runs: Runs) -> AstraRunLauncher:
    launcher = runs.instance.run_launcher
    assert isinstance(launcher, AstraRunLauncher)
    return launcher


def process_of(runs: Runs, run_id: str) -> int:
    """Give the number of a run's process, as Dagster says it."""
    for entry in runs.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if (number := entry.get_dagster_event().engine_event_data.metadata.get("pid")) is not None:
            return int(str(number.value))
    raise AssertionError("the run has no process")


def parent_of(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def runs_still(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(runs: Runs, job: str) -> tuple[str, int]:
    """Launch a run, and give its id and its process when it is under way."""
    run_id = runs.launch(job)
    runs.wait_for(run_id, STATUS.STARTED)
    return run_id, process_of(runs, run_id)


@pytest.fixture
def in_another_process(home: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Give a function that executes something with the instance, and the jobs, in another process."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> "subprocess.Popen[str]":
        script = f"""
            import os, signal, sys
            import dagster as dg
            from pathlib import Path
            from dagster._core.launcher import DefaultRunLauncher
            from astra_orchestration.launching.local_runs import process_tags
            from tests import launched, launched_jobs
            home = Path({str(home)!r})
        """
        command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script) + textwrap.dedent(code)]
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_run_whose_process_is_killed_fails(runs: Runs) -> None:
    run_id, number = started(runs, "lasting")
    runs.look_after()
    assert runs.status(run_id) == STATUS.STARTED
    os.kill(number, signal.SIGKILL)
    wait_until(lambda: not runs_still(number), 10, "it lives")
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE
    assert f"process {number} on {host_name()} ended before the run did" in runs.messages(run_id)


def test_a_crash_is_taken_up_once_and_a_mistake_is_not(runs: Runs) -> None:
    crashed = runs.launch("dying")
    wait_until(lambda: runs.status(crashed) == STATUS.STARTED, 120, "it doesn't start")
    wait_until(lambda: not runs_still(process_of(runs, crashed)), 60, "it lives")
    runs.look_after()
    mistaken = runs.launch("failing")
    runs.wait_for(mistaken, STATUS.FAILURE)
    assert runs.status(crashed) == STATUS.FAILURE
    records = runs.instance.get_run_records(dg.RunsFilter(run_ids=[crashed, mistaken]))
    list(consume_new_runs_for_automatic_reexecution(runs.workspace, records, logging.getLogger("test")))
    [again] = [run for run in runs.instance.get_runs() if run.parent_run_id in (crashed, mistaken)]
    assert again.parent_run_id == crashed
    runs.instance.report_run_failed(again, "killed")
    records = runs.instance.get_run_records(dg.RunsFilter(run_ids=[again.run_id]))
    list(consume_new_runs_for_automatic_reexecution(runs.workspace, records, logging.getLogger("test")))
    assert [run for run in runs.instance.get_runs() if run.parent_run_id == again.run_id] == []


def test_a_run_whose_launcher_is_killed_before_it_has_a_process_fails(
    runs: Runs, in_another_process: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = in_another_process("""
        DefaultRunLauncher.launch_run = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
        with launched.open_runs(home) as runs:
            runs.launch("short")
    """)
    assert ended.wait(120) == -signal.SIGKILL
    [run_id] = [run.run_id for run in runs.instance.get_runs(dg.RunsFilter(statuses=[STATUS.STARTING]))]
    runs.look_after()
    assert runs.status(run_id) == STATUS.STARTING  # its process may be about to appear
    monkeypatch.setattr(local_runs, "SECONDS_TO_APPEAR", 0.0)
    runs.look_after()
    assert runs.status(run_id) == STATUS.FAILURE
    assert "who launched the run has ended" in runs.messages(run_id)


def test_a_run_is_called_cancelled_when_it_has_ended(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, number = started(runs, "deaf")
    wait_until(lambda: "hears nothing" in runs.messages(run_id), 60, "the run doesn't start")
    launcher_of(runs).terminate(run_id)
    runs.look_after()
    assert runs.status(run_id) == STATUS.CANCELING and runs_still(number)
    monkeypatch.setattr(local_runs, "SECONDS_TO_END", 0.0)
    runs.look_after()
    wait_until(lambda: not runs_still(number), 10, "it lives")
    runs.look_after()
    assert runs.status(run_id) == STATUS.CANCELED


def test_a_run_outlives_its_code_server_and_can_be_terminated(home: Path) -> None:
    with open_runs(home) as runs:
        run_id, number = started(runs, "lasting")
        server = parent_of(number)
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not runs_still(server), 10, "it lives")
        runs.look_after()
        assert runs.status(run_id) == STATUS.STARTED and runs_still(number)
        assert launcher_of(runs).terminate(run_id)
        runs.wait_for(run_id, STATUS.CANCELED, seconds=20)
        wait_until(lambda: not runs_still(number), 10, "it lives")


def test_a_run_that_no_launcher_started_lives_and_dies_with_its_process(
    runs: Runs, in_another_process: Callable[[str], Any]
) -> None:
    for signal_, expected in ((signal.SIGKILL, STATUS.FAILURE), (None, STATUS.CANCELED)):
        process = in_another_process("""
            with dg.DagsterInstance.from_config(str(home)) as instance:
                launched_jobs.lasting.execute_in_process(instance=instance, tags=process_tags(), raise_on_error=False)
        """)
        wait_until(lambda: runs.instance.get_runs(UNDER_WAY), 120, "no run has started")
        [run_id] = [run.run_id for run in runs.instance.get_runs(UNDER_WAY)]
        runs.look_after()
        assert runs.status(run_id) == STATUS.STARTED
        if signal_ is None:
            assert launcher_of(runs).terminate(run_id)
        else:
            process.send_signal(signal_)
        process.wait(60)
        runs.look_after()
        assert runs.status(run_id) == expected


def test_another_process_with_the_number_of_a_run_is_another(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, number = started(runs, "lasting")
    [process] = [launcher_of(runs).place_of(runs.run(run_id))._process_of(runs.run(run_id))]  # pyright: ignore
    assert not process.has_ended
    earlier = type(process)(process.host, number, moment=process.moment - 3600)
    assert earlier.has_ended
    assert not type(process)("elsewhere", number, moment=process.moment).has_ended
    assert launcher_of(runs).terminate(run_id)
    runs.wait_for(run_id, STATUS.CANCELED, seconds=20)
