"""A power cut under runs in every state: kill -9 of all, then a real daemon with the settings that we deliver."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.launched import Runs
from tests.services import ROOT, Services, bare_environment
from tests.slurm.cluster import wait_until

STATUS = dg.DagsterRunStatus
MINUTE = 60.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environment = bare_environment(DAGSTER_HOME=str(home), HOLD=str(tmp_path / "hold"))
    services = Services(tmp_path, "tests.power_cut_location", environment)
    try:
        yield services
    finally:
        services.stop()


def under_way(runs: Runs, hold: Path) -> dict[str, STATUS]:
    """Have a run in every state, and give what is to become of each within a minute after the restart."""
    started = runs.submit("holding")
    cancelled = runs.submit("deaf", **{"dagster/max_retries": "0"})
    runs.wait_for(started, STATUS.STARTED)
    wait_until(lambda: "hears nothing" in runs.messages(cancelled), MINUTE, "it doesn't start")
    runs.instance.run_launcher.terminate(cancelled)
    queued = runs.submit("waiting")
    hold.touch()
    starting = runs.submit("short", **{"dagster/max_retries": "0"})
    runs.wait_for(starting, STATUS.STARTING)
    time.sleep(1)  # the daemon has had a look at the queue
    found = {run_id: runs.status(run_id) for run_id in (started, cancelled, queued, starting)}
    assert list(found.values()) == [STATUS.STARTED, STATUS.CANCELING, STATUS.QUEUED, STATUS.STARTING]
    return {
        started: STATUS.FAILURE,
        cancelled: STATUS.CANCELED,
        queued: STATUS.SUCCESS,
        starting: STATUS.FAILURE,
    }


def test_within_a_minute_ghosts_are_failed_and_what_waited_starts(
    services: Services, tmp_path: Path, figures: Any
) -> None:
    hold = tmp_path / "hold"
    services.start("code")
    with services.records() as runs:
        services.start("daemon")
        expected = under_way(runs, hold)
    services.kill()
    hold.unlink()
    services.start("code")
    with services.records() as runs:
        services.start("daemon")
        began = time.monotonic()

        def found() -> dict[str, STATUS]:
            return {run_id: runs.status(run_id) for run_id in expected}

        wait_until(lambda: found() == expected, 2 * MINUTE, lambda: f"{found()} {services.said()}")
        seconds = time.monotonic() - began
        assert [run.job_name for run in runs.instance.get_runs()].count(
            "holding"
        ) == 1  # it was told not to be repeated
    figures(f"ghosts were failed, and what waited had run, {seconds:.0f} s after the start of the daemon")
    assert seconds < MINUTE
