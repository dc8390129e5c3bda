"""Ticks that fail and daemons that don't beat are told of, also when nobody is left inside to tell it."""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from typer.testing import CliRunner

from astra_orchestration.alerts import troubles
from astra_orchestration.automation.tick_alerts import tick_alert_sensor
from astra_orchestration.cli.main import app
from tests.astra_orchestration.alert_servers import HookServer, MailServer, served
from tests.services import ROOT, Services, bare_environment
from tests.slurm.cluster import wait_until

SECRET = "swordfish-of-the-database"
DAY = 86_400.0
FAILURE, SKIPPED = TickStatus.FAILURE, TickStatus.SKIPPED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("ASTRA_TEST_PASSWORD", SECRET)
    return folder


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookServer]:
    with served(HookServer()) as server:
        monkeypatch.setenv("ASTRA_ALERT_WEBHOOK", server.address)
        yield server


@pytest.fixture
def services(home: Path, hook: HookServer, tmp_path: Path) -> Iterator[Services]:
    variables = {"DAGSTER_HOME": str(home), "ASTRA_ALERT_WEBHOOK": hook.address, "ASTRA_TEST_PASSWORD": SECRET}
    environment = bare_environment(**variables, TROUBLE=str(tmp_path / "trouble"))
    services = Services(tmp_path, "tests.troubled_location", environment)
    try:
        yield services
    finally:
        services.stop()


def watch(*options: str) -> Any:
    return CliRunner().invoke(app, ["watch", *options])


def subjects(hook: HookServer) -> list[str]:
    return [told["subject"] for told in hook.got]


def test_a_tick_that_fails_is_told_from_inside_and_the_end_of_the_daemon_from_outside(
    services: Services, hook: HookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.start("code")
    services.start("daemon")
    wait_until(lambda: watch().exit_code == 0, 90, services.said)
    assert hook.got == []

    (tmp_path / "trouble").touch()
    wait_until(lambda: hook.got, 60, services.said)
    [told] = hook.got
    assert (told["kind"], told["subject"]) == ("tick_failed", "Astra: the sensor troubled fails")
    assert told["why"] == "ValueError: connection to server failed: password=[hidden]"
    assert told["url"] == "/automation/tests.troubled_location/sensors/troubled"
    outside = watch("--tell")
    assert outside.exit_code == 1
    assert "the sensor troubled fails" in outside.stderr
    time.sleep(6)  # it fails again, and is looked at again
    assert len(hook.got) == 1

    services.kill()
    monkeypatch.setattr(troubles, "SILENT_SECONDS", 1.0)
    time.sleep(1.5)
    ended = watch("--tell")
    assert ended.exit_code == 1
    assert sorted(subjects(hook)[1:]) == [
        "Astra: no sensor of tests.troubled_location ticks",
        "Astra: the daemon doesn't beat",
        "Astra: the sensor troubled fails",
    ]
    assert watch("--tell").exit_code == 1
    assert len(hook.got) == 4  # of what lasts, people are told once a day
    monkeypatch.setattr(troubles, "REMINDER_SECONDS", 0.0)
    watch("--tell")
    assert len(hook.got) == 7
    assert (
        SECRET
        not in str(hook.got) + outside.output + ended.output + (tmp_path / "dagster/astra-watch.json").read_text()
    )


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def watched(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Give an instance whose daemon is well, and that has a schedule which is on."""
    code = RegisteredCodeLocationOrigin("tests.troubled_location")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, "__repository__"), "monthly")
    data = ScheduleInstigatorData("0 0 1 * *", time.time())
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data))
    for name in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), name, None, []))
    return instance


def tick(instance: dg.DagsterInstance, status: TickStatus, age: float) -> None:
    """Write down a tick of the schedule, some seconds ago."""
    [state] = [state for state in instance.all_instigator_state() if state.name == "monthly"]
    error = SerializableErrorInfo("ValueError: there is no calendar", [], "ValueError")
    moment = time.time() - age
    data = TickData(
        state.instigator_origin_id,
        "monthly",
        InstigatorType.SCHEDULE,
        status,
        moment,
        end_timestamp=moment + 1,
        error=error if status == TickStatus.FAILURE else None,
        selector_id=state.selector_id,
        skip_reason=None if status == TickStatus.FAILURE else "it is no time for it",
    )
    instance.create_tick(data)


def look(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[str, str | None]:
    """Evaluate the sensor; give what it says, and its cursor."""
    with dg.build_sensor_context(instance, cursor=cursor) as context:
        data: Any = tick_alert_sensor(context)
    if isinstance(data, dg.SkipReason):
        return data.skip_message or "", cursor
    return data.skip_reason.skip_message, data.cursor


def test_a_schedule_that_failed_is_told_until_it_ticks_well(
    watched: dg.DagsterInstance, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(watched, FAILURE, 0.5 * DAY)
    said, cursor = look(watched)
    assert said == "1 troubles, 1 alerts delivered"
    [told] = hook.got
    assert told["subject"] == "Astra: the schedule monthly fails"
    assert "launch its job by hand" in told["what_to_do"]
    assert look(watched, cursor)[0] == "1 troubles, 0 alerts delivered"
    tick(watched, SKIPPED, 60)
    assert look(watched, cursor)[0] == "0 troubles, 0 alerts delivered"


def test_each_adapter_tells_the_same(
    watched: dg.DagsterInstance, hook: HookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told by a command.txt"
    appends = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"
    monkeypatch.setenv("ASTRA_ALERT_COMMAND", f"{sys.executable} -c {shlex.quote(appends)}")
    monkeypatch.setenv("ASTRA_UI_ADDRESS", "https://astra.example.org")
    with served(MailServer()) as mail:
        monkeypatch.setenv("ASTRA_ALERT_MAIL_TO", "night@example.org")
        monkeypatch.setenv("ASTRA_ALERT_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("ASTRA_ALERT_SMTP_PORT", str(mail.port))
        tick(watched, FAILURE, 10)
        assert look(watched)[0] == "1 troubles, 3 alerts delivered"
        [message], [sent] = mail.got, hook.got
    lines = sent["text"].splitlines()
    assert message.get_content().splitlines() == told.read_text().splitlines() == lines
    assert "Why:      ValueError: there is no calendar" in lines
    assert "Page:     https://astra.example.org/automation/tests.troubled_location/schedules/monthly" in lines


def test_one_that_fails_now_and_then_is_one_trouble(watched: dg.DagsterInstance, hook: HookServer) -> None:
    cursor = None
    for age, status in (
        (50, TickStatus.FAILURE),
        (40, TickStatus.SKIPPED),
        (30, TickStatus.FAILURE),
        (20, TickStatus.SKIPPED),
    ):
        tick(watched, status, age)
        _, cursor = look(watched, cursor)
    assert subjects(hook) == ["Astra: the schedule monthly fails"]


def test_what_is_switched_off_or_long_ago_is_no_trouble(watched: dg.DagsterInstance, hook: HookServer) -> None:
    tick(watched, FAILURE, 4 * DAY)
    assert look(watched)[0] == "0 troubles, 0 alerts delivered"
    tick(watched, FAILURE, 10)
    [state] = [state for state in watched.all_instigator_state() if state.name == "monthly"]
    watched.stop_schedule(state.instigator_origin_id, state.selector_id, None)
    assert look(watched)[0] == "0 troubles, 0 alerts delivered"


def test_a_daemon_that_is_silent_and_one_that_reports_errors_are_told(
    watched: dg.DagsterInstance, hook: HookServer
) -> None:
    error = SerializableErrorInfo(f"OSError: password={SECRET}", [], "OSError")
    watched.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", None, [error]))
    watched.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 600, "SCHEDULER", None, []))
    look(watched)
    assert sorted(subjects(hook)) == ["Astra: the daemon doesn't beat", "Astra: the daemon reports errors (SENSOR)"]
    assert "SCHEDULER" in str(hook.got)
    assert SECRET not in str(hook.got)


def test_what_could_not_be_told_is_told_later(watched: dg.DagsterInstance, hook: HookServer) -> None:
    hook.status = 503
    tick(watched, FAILURE, 10)
    said, cursor = look(watched)
    assert "it answers 503" in said
    hook.status = 200
    look(watched, cursor)
    assert subjects(hook) == ["Astra: the schedule monthly fails"]


def test_records_that_cannot_be_read_are_told(home: Path, hook: HookServer) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs()
    for file in (home / "schedules").glob("*.db*"):
        file.unlink()
    (home / "schedules" / "schedules.db").write_bytes(b"no database" * 1000)
    done = watch("--tell")
    assert done.exit_code == 1
    assert subjects(hook) == ["Astra: Dagster's records can't be read"]
    assert "file is not a database" in hook.got[0]["why"]


def test_a_new_home_has_no_daemon(home: Path) -> None:
    done = watch()
    assert done.exit_code == 1
    assert "last beat: never" in done.stderr


def test_whoever_is_to_tell_and_cannot_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTRA_ALERT_WEBHOOK", raising=False)
    done = watch("--tell")
    assert done.exit_code == 1
    assert "nobody is told" in done.stderr
