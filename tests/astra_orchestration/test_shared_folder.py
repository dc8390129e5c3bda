"""The folder that a run shares with its workers: private, told from that of a dead run, and tidied."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from astra_models.errors import StorageError
from astra_orchestration.engines.environment import for_slurm
from astra_orchestration.engines.shared_folder import OLDEST, SharedFolder, dead_runs, make_folder, tidy

IN_ANOTHER_PROCESS = """
import os, sys
from pathlib import Path
from astra_orchestration.engines.shared_folder import make_folder
with make_folder(Path(sys.argv[1])) as folder:
    folder.write_keys({"key": "secret"})
    (folder.logs / "worker.err").write_text("last words")
    print(folder.path, flush=True)
    sys.stdin.read()
"""


def run_of_its_own(parent: Path) -> "tuple[subprocess.Popen[str], SharedFolder]":
    process = subprocess.Popen(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"ASTRA_DATABASE_PATH": ":memory:"},
    )
    assert process.stdout is not None
    return process, SharedFolder(Path(process.stdout.readline().strip()))


def test_keys_of_a_run_that_was_killed_are_removed_and_those_of_one_that_lives_stay(tmp_path: Path) -> None:
    with make_folder(tmp_path) as mine:
        mine.write_keys({"key": "secret"})
        process, other = run_of_its_own(tmp_path)
        with process:
            assert dead_runs(tmp_path) == [] and (other.keys / "key").exists()
            process.kill()
            process.wait()
            assert dead_runs(tmp_path) == [other]
        tidy(dead_runs(tmp_path))
        assert not other.keys.exists() and not other.marks.exists() and (other.logs / "worker.err").exists()
        assert (mine.keys / "key").read_text() == "secret"
        paths = [mine.path, mine.keys, mine.marks, mine.logs]
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o700}
        assert stat.S_IMODE((mine.keys / "key").stat().st_mode) == 0o600
    assert not mine.keys.exists() and mine.logs.exists()


def test_what_is_of_another_computer_or_another_user_stays_until_it_is_old(tmp_path: Path, monkeypatch: Any) -> None:
    far = SharedFolder(tmp_path / "astra-run.node-7.example.org.12.3456.abcd1234.99")
    far.keys.mkdir(parents=True)
    (tmp_path / "astra-run.of-somebody").mkdir()
    assert dead_runs(tmp_path) == []
    long_ago = far.path.stat().st_mtime - OLDEST - 10
    for path in (far.keys, far.path):
        os.utime(path, (long_ago, long_ago))
    assert dead_runs(tmp_path) == [far]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert dead_runs(tmp_path) == []


def test_a_folder_that_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"shared_temp_directory: .*make room there"), make_folder(tmp_path / "file"):
        pass


def test_secrets_are_left_out_by_name_and_by_value(monkeypatch: Any) -> None:
    monkeypatch.setenv("ASTRA_SECRET_VARIABLES", "MY_KEY*")
    environment = {
        "PATH": "/bin",
        "PGPASSWORD": "one",
        "DAGSTER_PG_PASSWORD": "two",
        "API_TOKEN": "three",
        "MY_KEY_1": "four",
        "PGUSER": "astra",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_MEM_PER_NODE": "2000",
    }
    assert for_slurm(environment) == {"PATH": "/bin", "PGUSER": "astra", "SLURM_CONF": "/etc/slurm.conf"}
    monkeypatch.setenv("PGPASSWORD", "canary")
    assert for_slurm({"URL": "postgresql://me:canary@host/db", "HOME": "/h"}) == {"HOME": "/h"}
