"""One UI for a DAGSTER_HOME: it is known, also to other computers, and what it left behind can be ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from astra_models.errors import AlreadyRunningError, ConfigurationError
from astra_models.host import host_name
from astra_orchestration.cli import running
from astra_orchestration.cli.running import noted, stop
from tests.slurm.cluster import wait_until

ROOT = Path(__file__).parents[2]
ASTRA = Path(sys.executable).with_name("astra")
ADDRESS = "http://localhost:3000"

SERVES = """
import subprocess, sys, time
from pathlib import Path
from astra_models.host import identity
from astra_orchestration.cli.running import noted
with noted(Path(sys.argv[1]), "http://localhost:3000") as note:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    note.add("daemon", identity(child.pid))
    print(child.pid, flush=True)
    time.sleep(1000)
"""
TAKES = """
import sys, time
from pathlib import Path
from astra_models.errors import AlreadyRunningError
from astra_orchestration.cli.running import noted
sys.stdin.readline()
try:
    with noted(Path(sys.argv[1]), ""):
        print("taken", flush=True)
        sys.stdin.readline()
except AlreadyRunningError:
    print("refused", flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Give a function that starts a script for the folder of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", script, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_there(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_one_is_told_of_the_first(tmp_path: Path) -> None:
    with noted(tmp_path, ADDRESS):
        with pytest.raises(AlreadyRunningError) as refused, noted(tmp_path, "http://localhost:3001"):
            pass
        for word in (str(os.getpid()), host_name(), ADDRESS, "UTC", "astra ui --stop"):
            assert word in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    with noted(tmp_path, ADDRESS):
        pass


def test_one_of_many_gets_it(tmp_path: Path, start: Callable[[str], "subprocess.Popen[str]"]) -> None:
    (tmp_path / running.NAME).write_text("{}")  # left by something else
    processes = [start(TAKES) for _ in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(map(line_of, processes)) == ["refused"] * 5 + ["taken"]


def test_what_a_killed_one_left_is_found_and_ended(
    tmp_path: Path, start: Callable[[str], "subprocess.Popen[str]"]
) -> None:
    process = start(SERVES)
    child = int(line_of(process))
    process.kill()
    process.wait()
    with pytest.raises(AlreadyRunningError, match="already running"), noted(tmp_path, ADDRESS):
        pass
    assert stop(tmp_path) is not None
    assert not is_there(child)
    assert stop(tmp_path) is None
    with noted(tmp_path, ADDRESS):
        pass


def test_the_note_of_processes_that_have_ended_is_no_hindrance(
    tmp_path: Path, start: Callable[[str], "subprocess.Popen[str]"]
) -> None:
    process = start(SERVES)
    child = int(line_of(process))
    os.kill(child, signal.SIGKILL)
    process.kill()
    process.wait()
    wait_until(lambda: not is_there(child), 10, "the child is there")
    with noted(tmp_path, ADDRESS):
        pass


def test_one_on_another_computer_is_known_by_the_age_of_its_note(tmp_path: Path) -> None:
    path = tmp_path / running.NAME
    note = {"host": "elsewhere", "process": "12 34 56", "since": "yesterday", "address": ADDRESS, "children": {}}
    path.write_text(json.dumps(note))
    with pytest.raises(AlreadyRunningError, match="process 12 on elsewhere"), noted(tmp_path, ADDRESS):
        pass
    with pytest.raises(ConfigurationError, match="another computer"):
        stop(tmp_path)
    long_ago = time.time() - 2 * running.LOST_AFTER
    os.utime(path, (long_ago, long_ago))
    with noted(tmp_path, ADDRESS):
        pass


def test_a_killed_ui_is_ended_by_command(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), "ASTRA_DATABASE_PATH": str(tmp_path / "astra.db")}
    command = [str(ASTRA), "ui", "--port"]
    ui = subprocess.Popen(
        [*command, "3987"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    children: list[int] = []
    try:

        def has_all() -> bool:
            with suppress(OSError, ValueError):
                children[:] = [
                    int(process.partition(" ")[0])
                    for process in json.loads((tmp_path / running.NAME).read_text())["children"].values()
                ]
            return len(children) == 3

        wait_until(has_all, 120, "it doesn't start")
        ui.kill()
        ui.wait()
        again = subprocess.run([*command, "3988"], env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 1 and "already running" in again.stderr + again.stdout
        ended = subprocess.run(
            [str(ASTRA), "ui", "--stop"], env=environment, capture_output=True, text=True, check=True
        )
        assert "has ended" in ended.stdout + ended.stderr
        assert not any(map(is_there, children))
        none = subprocess.run([str(ASTRA), "ui", "--stop"], env=environment, capture_output=True, text=True, check=True)
        assert "no Dagster UI runs here" in none.stdout + none.stderr
    finally:
        ui.kill()
        for number in children:
            with suppress(ProcessLookupError):
                os.killpg(number, signal.SIGKILL)
