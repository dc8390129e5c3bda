"""Old runs are deleted with everything that they left; young ones, those under way and the latest are kept."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from astra_orchestration.automation.pruning import KEEP_DAYS, prune_runs
from astra_orchestration.definitions import defs
from tests.astra_orchestration.old_runs import copies, real_run

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def files_of(home: Path, run_id: str) -> list[Path]:
    return [path for path in home.rglob(f"*{run_id}*") if "corrupt" not in path.name]


def test_runs_of_long_ago_leave_nothing(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    latest = real_run(instance)
    old = copies(tmp_path, latest, 300, KEEP_DAYS + 1)
    young = copies(tmp_path, latest, 5, KEEP_DAYS - 1)
    assert instance.get_runs_count() == 306

    assert prune_runs(instance) == 300

    assert {run.run_id for run in instance.get_runs()} == {latest, *young}
    assert [run_id for run_id in old if files_of(tmp_path, run_id)] == []
    assert all(len(instance.all_logs(run_id)) > 10 for run_id in (latest, *young))
    assert prune_runs(instance) == 0


def test_what_an_asset_was_last_made_by_is_kept_however_old(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    latest = real_run(instance)
    [old] = copies(tmp_path, latest, 1, 10)
    copies_of_latest_are_older = prune_runs(instance, keep_days=1)
    assert copies_of_latest_are_older == 1
    with sqlite3.connect(tmp_path / "history" / "runs.db") as runs:
        runs.execute("UPDATE runs SET update_timestamp = '2020-01-01 00:00:00'")
    runs.close()
    assert prune_runs(instance, keep_days=1) == 0
    event = instance.get_latest_materialization_event(dg.AssetKey("corv"))
    assert event is not None
    assert event.run_id == latest
    assert instance.get_run_by_id(old) is None


@pytest.mark.parametrize("status", ["STARTED", "STARTING", "CANCELING"])
def test_runs_that_have_not_ended_are_kept(instance: dg.DagsterInstance, tmp_path: Path, status: str) -> None:
    [old] = copies(tmp_path, real_run(instance), 1, 1000)
    with sqlite3.connect(tmp_path / "history" / "runs.db") as runs:
        runs.execute("UPDATE runs SET status = ?, run_body = replace(run_body, 'SUCCESS', ?) WHERE run_id = ?",
                     (status, status, old))  # fmt: skip
    runs.close()
    assert prune_runs(instance) == 0
    assert instance.get_run_by_id(old) is not None


def test_the_job_runs_every_day_and_says_what_it_did(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    copies(tmp_path, real_run(instance), 3, 40)
    schedule = defs.resolve_schedule_def("prune_runs_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = defs.resolve_job_def("prune_runs")
    config = {"ops": {"delete_old_runs": {"config": {"keep_days": 30}}}}
    done = job.execute_in_process(instance=instance, run_config=config)
    assert done.success
    messages = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert "3 runs that ended more than 30 days ago are deleted" in messages
    assert instance.get_runs_count() == 2
