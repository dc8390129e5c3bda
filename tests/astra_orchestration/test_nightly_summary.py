"""Once a day somebody is told what was done, from the table of runs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.pipeline_run import PipelineRun
from astra_orchestration.automation import nightly_summary as module
from astra_orchestration.resources import DatabaseResource
from tests.astra_orchestration.alert_servers import HookServer, served

pytestmark = pytest.mark.long_on_each


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookServer]:
    with served(HookServer()) as server:
        monkeypatch.setenv("ASTRA_ALERT_WEBHOOK", server.address)
        yield server


class Day:
    """The sensor with its cursor, at a time that is set."""

    def __init__(self, instance: dg.DagsterInstance, target: Any, monkeypatch: pytest.MonkeyPatch):
        self.instance, self.target, self.monkeypatch = instance, target, monkeypatch
        self.cursor: str | None = None

    def tick(self, hours: float = 0.0) -> str:
        class Clock:
            @staticmethod
            def time() -> float:
                return time.time() + hours * 3600

        self.monkeypatch.setattr(module, "time", Clock)
        resources = {"database": DatabaseResource(target=self.target)}
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            data: Any = module.nightly_summary_sensor(context)
        if isinstance(data, dg.SkipReason):
            return data.skip_message or ""
        self.cursor = data.cursor
        return data.skip_reason.skip_message


@pytest.fixture
def day(tmp_path: Path, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    monkeypatch.setenv("ASTRA_SUMMARY_HOUR", str(datetime.now(UTC).hour))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Day(instance, target, monkeypatch)


def ran(pipeline: str, hours_ago: float = 2.0, ended: bool = True, **counts: int) -> None:
    started = datetime.now(UTC) - timedelta(hours=hours_ago)
    PipelineRun.create(
        pipeline=pipeline, version="1", v_astra=9000, recipe="r", parameters="{}", started=started,
        ended=started + timedelta(minutes=1) if ended else None, **counts,
    )  # fmt: skip


def test_it_counts_per_pipeline_what_was_done_due_and_rejected(
    day: Day, hook: HookServer, database: peewee.Database
) -> None:
    ran("corv", due=100, answered=90, rejected=10)
    ran("corv", due=20, answered=20, rejected=0)
    ran("rocket", due=5, ended=False)
    ran("rocket", hours_ago=40, due=999, answered=999, rejected=999)  # of the day before

    @dg.asset
    def rocket() -> None:
        raise ValueError("no fuel")

    failed = dg.materialize([rocket], instance=day.instance, raise_on_error=False).run_id
    assert day.tick() == "1 summaries delivered"
    day.tick(hours=24)
    [first, second] = hook.got
    lines = first["text"].splitlines()
    assert "pipeline  runs  done  due  rejected  not ended" in lines
    assert "corv         2   110  120        10          0" in lines
    assert "rocket       1     0    5         0          1" in lines
    assert first["kind"] == "summary"
    # The failed run is of the hour that has begun: the next summary tells of it.
    assert any(line.startswith("failed: ") and failed in line for line in second["text"].splitlines())
    assert "1 failed runs" in second["subject"]


def test_it_comes_once_a_day(day: Day, hook: HookServer, database: peewee.Database) -> None:
    day.tick()
    assert "the next summary is due at" in day.tick()
    day.tick(hours=24)
    day.tick(hours=24)
    assert len(hook.got) == 2
    assert "no pipeline ran" in hook.got[1]["text"]
    assert "no failed runs" in hook.got[1]["subject"]


def test_after_days_without_a_daemon_one_summary_tells_of_all(
    day: Day, hook: HookServer, database: peewee.Database
) -> None:
    day.tick()
    ran("corv", hours_ago=-1, due=1, answered=1, rejected=0)
    day.tick(hours=24 * 5)
    assert len(hook.got) == 2
    assert "corv" in hook.got[1]["text"]


def test_what_cannot_be_delivered_is_told_later(day: Day, hook: HookServer, database: peewee.Database) -> None:
    hook.status = 503
    ran("corv", due=7, answered=7, rejected=0)
    assert "it answers 503" in day.tick()
    hook.status = 200
    assert day.tick() == "1 summaries delivered"
    assert "corv" in hook.got[0]["text"]


def test_a_database_that_is_down_is_told(
    hook: HookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_database: peewee.Database
) -> None:
    (tmp_path / "no.db").write_bytes(b"no database" * 500)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        Day(instance, {"sqlite": {"path": str(tmp_path / "no.db")}}, monkeypatch).tick()
    assert "the database can't be read" in hook.got[0]["why"]


def test_it_is_on_and_quiet_until_somebody_is_to_be_told(day: Day, database: peewee.Database) -> None:
    assert module.nightly_summary_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert "nobody is told" in day.tick()
