"""A night that is left out is seen, and a run that takes too long is ended."""

import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from astra_orchestration.assets.pipelines import all_pipeline_assets
from tests.launched import open_runs

CHECKOUT = Path(__file__).parents[2]
STATUS = dg.DagsterRunStatus


def test_every_pipeline_says_how_often_it_is_to_run() -> None:
    assets = all_pipeline_assets()
    assert assets
    for asset in assets:
        [spec] = asset.specs
        policy = spec.freshness_policy
        assert policy is not None
        assert policy.warn_window.to_timedelta() == timedelta(hours=26)  # type: ignore[attr-defined]
        assert policy.fail_window.to_timedelta() == timedelta(hours=50)  # type: ignore[attr-defined]


def test_a_run_may_take_a_day(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_max_runtime_seconds == 86_400


@pytest.mark.campaign(quick="test_a_run_may_take_a_day")
def test_a_run_that_takes_longer_than_it_may_is_ended_and_called_failed(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with open_runs(tmp_path) as runs:
        run_id = runs.launch("lasting", **{"dagster/max_runtime": "1"})
        other = runs.launch("lasting")
        runs.wait_for(run_id, STATUS.STARTED)
        runs.wait_for(other, STATUS.STARTED)
        time.sleep(1.5)
        until = time.monotonic() + 60
        while runs.status(run_id) != STATUS.FAILURE and time.monotonic() < until:
            runs.look_after()
            time.sleep(0.5)
        assert runs.status(run_id) == STATUS.FAILURE
        assert "Exceeded maximum runtime of 1 seconds" in runs.messages(run_id)
        assert runs.status(other) == STATUS.STARTED
        runs.instance.run_launcher.terminate(other)
        runs.wait_for(other, STATUS.CANCELED)
