"""Nights in fast motion: nothing that a deployment keeps may grow with them but what each night's run leaves.

The ticks are made by hand, so it shows what ticks and runs leave behind, and not what days do to a daemon.
"""

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_orchestration.automation.schedules import nightly_schedule
from astra_orchestration.definitions import defs
from astra_orchestration.resources import resources_for

ASTRA = Path(sys.executable).with_name("astra")
NIGHTS, NIGHTS_IN_SHORT, TO_WARM_UP = 72, 6, 3
MOST_MEGABYTES_A_NIGHT = 0.2
MOST_KILOBYTES_A_NIGHT = 850
"""Events of four pipelines, and the index of all runs; `prune_runs` deletes them after half a year."""
MOST_EVENTS = 150


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a survey of a few stars, and bind its database."""
    monkeypatch.setenv("ASTRA_DATABASE_PATH", str(tmp_path / "astra.db"))
    monkeypatch.setenv("ASTRA_SPECTRA", str(tmp_path / "s" / "visits" / "*.fits"))
    monkeypatch.setenv("ASTRA_PRODUCTS", str(tmp_path / "products"))
    for command in (["init"], ["sample", "--stars", "3", "--folder", "s"]):
        subprocess.run([ASTRA, *command], cwd=tmp_path, check=True, capture_output=True, timeout=100)
    before = base.database.obj, bound_schema()
    bind(sqlite_database(tmp_path / "astra.db"))
    yield
    base.database.close()
    bind(*before)


class State(NamedTuple):
    """The memory of this process in MB, its open files, kB of files below a folder, and rows of results."""

    memory: float
    files: int
    size: float
    rows: int

    @classmethod
    def now(cls, folder: Path) -> "State":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1000
        files = len(os.listdir("/proc/self/fd"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files, size, Corv.select().count())


def night(instance: dg.DagsterInstance, number: int) -> int:
    """Tick the schedule and the sensors, run what the schedule asks for, and give the number of its events."""
    [request] = [one for one in _requests(instance) if isinstance(one, dg.RunRequest)]
    result = defs.resolve_job_def("nightly").execute_in_process(
        run_config=request.run_config,
        tags=request.tags,
        instance=instance,
        raise_on_error=False,
        asset_selection=request.asset_selection,
    )
    assert result.success, f"night {number}"
    for name in ("astra_version_sensor", "result_file_sensor", "run_sweep_sensor"):
        with dg.build_sensor_context(instance=instance, definitions=defs, resources=resources_for()) as context:
            assert not defs.resolve_sensor_def(name).evaluate_tick(context).run_requests, name
    return len(instance.all_logs(result.run_id))


def _requests(instance: dg.DagsterInstance) -> Any:
    repository = defs.get_repository_def()
    with dg.build_schedule_context(instance, resources=resources_for(), repository_def=repository) as context:
        return nightly_schedule.evaluate_tick(context).run_requests or ()


def test_nights_leave_nothing_but_their_runs(
    survey: None, tmp_path: Path, full_length: bool, figures: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = NIGHTS if full_length else NIGHTS_IN_SHORT
    middle = (TO_WARM_UP + nights) // 2
    caplog.set_level("CRITICAL")
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", False)  # pytest keeps what it is told
    (tmp_path / "dagster").mkdir()
    states: list[State] = []
    events: list[int] = []
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        for first, last in ((0, TO_WARM_UP), (TO_WARM_UP, middle), (middle, nights)):
            events += [night(instance, number) for number in range(first, last)]
            states.append(State.now(tmp_path))
    began, between, end = states
    sizes = [(between.size - began.size) / (middle - TO_WARM_UP), (end.size - between.size) / (nights - middle)]
    growth = (end.memory - between.memory) / (nights - middle)
    figures(
        f"{nights} nights: {began.memory:.0f}, {between.memory:.0f}, {end.memory:.0f} MB of memory; "
        f"{sizes[0]:.0f}, then {sizes[1]:.0f} kB of files a night; {began.files} to {end.files} open files; "
        f"{events[0]} to {events[-1]} events"
    )
    assert end.rows == began.rows > 0
    assert end.files <= began.files + 2
    assert sizes[1] < MOST_KILOBYTES_A_NIGHT
    assert sizes[1] < 1.2 * sizes[0]
    assert max(events) < MOST_EVENTS and events[-1] <= events[1]
    if full_length:
        assert growth < MOST_MEGABYTES_A_NIGHT
