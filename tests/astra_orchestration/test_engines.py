"""Pipelines called by workers on this computer: the same rows as in process, whatever becomes of a worker."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models.analysis.engine import job_of
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import ConfigurationError, MissingExtraError, PipelineError, WorkerError
from astra_models.host import identity
from astra_models.lease import Lease
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.engines.choosing import configured_engine, make_engine
from astra_orchestration.engines.clusters import Local, Slurm
from astra_orchestration.engines.on_workers import OnWorkers
from tests import fragile

ROOT = Path(__file__).parents[2]
UNLIKE = {"task_pk", "created", "modified", "t_elapsed", "t_overhead", "pipeline_run_pk", "tag"}
"""What isn't the same in two runs. Times are looked at as far as they can be."""


def local(**settings: Any) -> OnWorkers:
    return OnWorkers(Local(workers=2, **settings))


def stored() -> list[dict[str, Any]]:
    rows = Rocket.select().order_by(Rocket.spectrum_pk).dicts()
    return [{name: value for name, value in row.items() if name not in UNLIKE} for row in rows]


def poison(spectra: list[Any], **kinds: int) -> None:
    for place, mjd in kinds.items():
        BossVisitSpectrum.update(mjd=mjd).where(
            BossVisitSpectrum.spectrum_pk == spectra[int(place.strip("_"))].spectrum_pk
        ).execute()


def test_workers_give_what_the_run_itself_would(database: peewee.Database, make_spectra: Any) -> None:
    poison(make_spectra(300), _3=fragile.RAISES, _7=fragile.SAYS_NOTHING)
    in_process = write(analyse(fragile.fragile))
    rows, failures = stored(), list(RejectedResult.select(RejectedResult.message, RejectedResult.spectrum_pk).tuples())
    Rocket.delete().execute()
    RejectedResult.delete().execute()
    stream = analyse(fragile.fragile, engine=local())
    report = write(stream, run_id="run")
    assert (report.inserted, report.reasons) == (in_process.inserted, in_process.reasons)
    assert stored() == rows
    assert set(RejectedResult.select(RejectedResult.message, RejectedResult.spectrum_pk).tuples()) == set(failures)
    times = [moment for row in Rocket.select() for moment in (row.created, row.modified)]
    assert all(abs((moment - datetime.now(UTC)).total_seconds()) < 60 for moment in times)
    assert len({row.tag for row in Rocket.select()} - {str(os.getpid())}) == 2
    assert (stream.taken, stream.answered(report)) == (300, 298) and not Lease.select().exists()
    run = PipelineRun.select().order_by(PipelineRun.pk.desc()).get()
    assert (run.engine, run.workers, run.answered, run.due) == ("local", 2, 298, 300)
    assert run.core_seconds > 0 and run.hosts == '["' + os.uname().nodename + '"]'
    assert {row.pipeline_run_pk for row in Rocket.select()} == {run.pk}


@pytest.mark.sqlite_only(reason="what is written is compared above")
def test_a_cached_model_is_loaded_once_by_each_worker(
    database: peewee.Database, make_spectra: Any, tmp_path: Path
) -> None:
    make_spectra(203)
    log = tmp_path / "loads"
    write(analyse(fragile.several_with_a_model, engine=local(), parameters={"log": str(log)}))
    loads = log.read_text().split()
    assert len(loads) == len(set(loads)) == len({row.tag for row in Rocket.select()})
    assert Rocket.select().count() == 203


@pytest.mark.sqlite_only(reason="of processes")
def test_a_worker_keeps_memory_that_arrays_use_again(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(4)
    for variable, said in (("MALLOC_TRIM_THRESHOLD_", "unset"), ("OMP_NUM_THREADS", "1")):
        write(analyse(fragile.tells, engine=local(), parameters={"variable": variable}))
        assert {row.tag for row in Rocket.select()} == {said}
        Rocket.delete().execute()


@pytest.mark.sqlite_only(reason="what is written is compared above")
@pytest.mark.parametrize("carry", ["rows", "pixels"])
def test_rows_and_pixels_can_travel(
    database: peewee.Database, make_spectra: Any, write_spec_file: Any, tmp_path: Any, carry: Any
) -> None:
    spectra = make_spectra(6)
    for spectrum in spectra:
        path = write_spec_file(tmp_path / f"{spectrum.spectrum_pk}.fits")
        BossVisitSpectrum.update(path=str(path)).where(BossVisitSpectrum.pk == spectrum.pk).execute()
    engine = local(carry=carry)
    stream = analyse(fragile.brightness, engine=_removing_files(engine, tmp_path) if carry == "pixels" else engine)
    assert write(stream).inserted == 6 and {row.teff for row in Rocket.select()} == {1.5}


def _removing_files(engine: OnWorkers, folder: Any) -> Any:
    """Remove the files once their pixels were read by the run."""

    class Removing:
        def start(self, *arguments: Any) -> Any:
            parts = engine.start(*arguments)
            send = parts.make_order

            def order(*some: Any) -> Any:
                made = send(*some)
                for key in made.keys:
                    (folder / f"{key}.fits").unlink()
                return made

            parts.make_order = order
            return parts

    return Removing()


@pytest.mark.sqlite_only(reason="what is written is compared above")
def test_spectra_that_end_their_worker_are_listed_and_the_rest_is_done(
    database: peewee.Database, make_spectra: Any
) -> None:
    poison(make_spectra(120), _20=fragile.SEGFAULTS, _50=fragile.EXITS, _80=fragile.HANGS, _90=fragile.EATS_MEMORY)
    stream = analyse(fragile.fragile, engine=local(seconds_per_spectrum=2, megabytes=2_000))
    report = write(stream)
    assert report.inserted == 116
    listed = {row.spectrum_pk: row.reason for row in RejectedResult.select()}
    assert sorted(listed.values()) == ["crash", "crash", "memory", "timeout"]
    assert write(analyse(fragile.fragile)).rows == 0, "they aren't due again"
    again = analyse(fragile.fragile, rerun="failed", reason="timeout", engine=local(seconds_per_spectrum=1))
    assert again.due == 1 and write(again).rejected == 1


@pytest.mark.sqlite_only(reason="what is written is compared above")
def test_a_worker_that_is_killed_blames_nobody(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(400)
    stream = analyse(fragile.naps, parameters={"seconds": 0.01}, engine=local())
    killed: list[int] = []

    def kill() -> None:
        while stream.taken < 50:
            time.sleep(0.05)
        victim = next(pid for _, pid in stream.batches.usage.peak_memory)  # pyright: ignore
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    report = write(stream)
    killer.join()
    assert killed and report.inserted == 400 and report.rejected == 0 and not Lease.select().exists()


@pytest.mark.sqlite_only(reason="what is written is compared above")
def test_a_pipeline_at_fault_ends_the_run_and_marks_nothing(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(30)
    BossVisitSpectrum.update(mjd=fragile.RAISES).execute()
    with pytest.raises(PipelineError, match="raised on all 30 spectra"):
        write(analyse(fragile.fragile, engine=local()))
    assert not RejectedResult.select().exists() and not Lease.select().exists()


@pytest.mark.sqlite_only(reason="nothing is written")
def test_what_workers_can_not_do_is_said_before_anything_starts(
    database: peewee.Database, make_spectra: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    from astra_models import task

    make_spectra(1)

    @task
    def inner(spectra: "fragile.Iterable[BossVisitSpectrum]") -> "fragile.Iterable[Rocket]":
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)

    with pytest.raises(WorkerError, match="can't be imported by workers"):
        analyse(inner, engine=local())
    with pytest.raises(ConfigurationError, match="did you mean slurm"):
        make_engine("slurn")
    with pytest.raises(ConfigurationError, match="did you mean workers"):
        make_engine("local", {"worker": 2})
    with pytest.raises(ConfigurationError, match="shared_temp_directory"):
        write(analyse(fragile.fragile, engine=OnWorkers(Slurm())))
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"astra-orchestration\[cluster\]"):
        write(analyse(fragile.fragile, engine=local()))


def test_an_engine_is_configured(monkeypatch: Any, tmp_path: Any) -> None:
    config = tmp_path / "astra.yml"
    config.write_text("engines:\n  default: local\n  local: {workers: 3}\n  slurm: {queue: astro, jobs: 5}\n")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(config))
    engine = configured_engine()
    assert isinstance(engine, OnWorkers) and engine.cluster == Local(workers=3)
    engine = configured_engine("slurm", workers=9)
    assert isinstance(engine, OnWorkers) and engine.cluster == Slurm(queue="astro", jobs=9)
    config.write_text("engines:\n  local: 3\n")
    with pytest.raises(ConfigurationError, match="'local' is a number"):
        configured_engine("local")


RUN = """
import pickle, sys
if __name__ == "__main__":
    pickle.load(sys.stdin.buffer).load()
    from astra_models.analysis.stream import analyse, write
    from astra_orchestration.engines.clusters import Local
    from astra_orchestration.engines.on_workers import OnWorkers
    from tests.fragile import naps
    engine = OnWorkers(Local(workers=2))
    stream = analyse(naps, parameters={"seconds": 0.05}, engine=engine)
    write(stream, on_progress=lambda progress: print(progress.done, flush=True), interval=0.1, growth=1)
"""


@pytest.mark.sqlite_only(reason="what is written is compared above")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_takes_its_workers_along_and_the_next_one_finishes(
    database: peewee.Database, make_spectra: Any, tmp_path: Any, how: int
) -> None:
    make_spectra(2_000)  # a minute of work: it is ended long before
    script = tmp_path / "run.py"
    script.write_text(RUN)
    job = job_of(fragile.naps, {})
    root = str(Path(__file__).parents[2])
    run = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    assert run.stdin is not None and run.stdout is not None
    run.stdin.write(pickle.dumps(job))
    run.stdin.close()
    assert int(run.stdout.readline()) >= 1
    group = processes_of_session(run.pid)
    run.send_signal(how)
    run.wait(90)
    run.stdout.close()
    ended_within(20, group)
    done = Rocket.select().count()
    report = write(analyse(fragile.naps, parameters={"seconds": 0.0}))
    assert report.inserted == 2_000 - done > 0 and report.rejected == 0
    assert Rocket.select().count() == 2_000 and not Lease.select().exists()


def processes_of_session(session: int) -> list[int]:
    """Give the processes of a session, its leader among them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(int(folder.name))
    assert len(found) > 2
    return found


def ended_within(seconds: float, processes: list[int]) -> None:
    """Make sure that processes end."""
    give_up = time.monotonic() + seconds
    while alive := [number for number in processes if identity(number) is not None]:
        assert time.monotonic() < give_up, f"{alive} are still there"
        time.sleep(0.1)


def test_the_workers_of_a_scheduler_that_runs_already(database: peewee.Database, make_spectra: Any) -> None:
    """They may have several threads, which would call one pipeline at once."""
    from distributed import LocalCluster

    make_spectra(300)
    with LocalCluster(n_workers=2, threads_per_worker=3, dashboard_address="127.0.0.1:0") as cluster:
        engine = configured_engine("address", address=cluster.scheduler_address)
        stream = analyse(fragile.naps, parameters={"seconds": 0.002}, engine=engine)
        assert write(stream).inserted == 300
        run = PipelineRun.select().order_by(PipelineRun.pk.desc()).get()
        assert (run.engine, run.workers) == ("address", 2)


@pytest.mark.sqlite_only(reason="nothing is written, and it is waited for")
def test_that_there_is_no_scheduler_is_said(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens
        engine = configured_engine("address", address=f"tcp://127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(WorkerError, match="there is no scheduler of Dask at tcp://"):
            write(analyse(fragile.naps, engine=engine))


# ---- what workers are


SCRIPT = """
import dagster
import importlib
import sys

from astra_orchestration.engines.clusters import Local

print("the script runs")


def loaded():
    importlib.import_module("astra_orchestration.engines.tasks")
    importlib.import_module("tests.fragile")
    kilobytes = int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
    return [name for name in ("dagster", "distributed") if name in sys.modules], kilobytes


with Local(workers=1).open() as workers:
    print(*workers.client.run(loaded).values())
"""


def test_a_worker_imports_no_dagster_and_does_not_run_the_script_of_the_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)  # as scripts are: without `if __name__ == "__main__"`
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ASTRA_DATABASE_PATH": ":memory:"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[0] == "the script runs" and len(lines) == 2, done.stderr
    modules, kilobytes = eval(lines[1])
    assert modules == ["distributed"]
    assert kilobytes / 1024 < 100


def test_what_a_worker_imports_of_ours_has_no_dagster() -> None:
    code = "import sys, astra_orchestration.engines.tasks; print([m for m in sys.modules if m.startswith('dagster')])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ASTRA_DATABASE_PATH": ":memory:"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "[]"
