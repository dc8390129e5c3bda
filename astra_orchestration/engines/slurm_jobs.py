"""Slurm jobs that are Dask's workers: submitted without secrets, and watched.

Dask learns of a job only when its worker connects. A job that Slurm refuses, or that ends before, would be waited for
for ever; so Slurm is asked now and then.
"""

import asyncio
import logging
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra_models.errors import WorkerError
from astra_models.messages import one_line, printable
from astra_orchestration.engines.environment import for_slurm

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster

__all__ = ["SlurmWatch", "Submissions", "ask_slurm", "make_cluster"]

SECONDS_BETWEEN_LOOKS = 20.0
SECONDS_TO_FIRST_WORD = 60.0
SECONDS_BETWEEN_SUBMISSIONS = 10.0
MOST_SUBMISSIONS = 60
MOST_WITHOUT_WORKER = 3
SECONDS_FOR_SLURM = 20.0

logger = logging.getLogger(__name__)


def ask_slurm(*command: str) -> str | None:
    """Run one of Slurm's commands; None if Slurm doesn't answer, which is logged."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS_FOR_SLURM,
            stdin=subprocess.DEVNULL,
            env=for_slurm(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("%s: %s", command[0], error)
        return None
    if done.returncode:
        logger.warning("%s: %s", command[0], printable(done.stderr.strip()))
        return None
    return done.stdout


@dataclass
class Submissions:
    """What became of the requests for jobs."""

    jobs: dict[str, str] = field(default_factory=dict)
    """Slurm's number of each job, by the worker's name."""
    refused: str | None = None
    """What Slurm said when it refused a job, at the start, or again and again."""


def make_cluster(settings: Mapping[str, Any]) -> "tuple[SLURMCluster, Submissions]":
    """Make Dask's cluster; its jobs get this process's environment without what is secret in it.

    Raises
    ------
    ImportError
        If dask-jobqueue isn't installed.
    """
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    from distributed.deploy.spec import ProcessInterface

    submissions = Submissions()

    class Job(SLURMJob):
        async def start(self) -> None:
            try:
                await super().start()
            except RuntimeError as error:
                submissions.refused = str(error)
                await ProcessInterface.start(self)  # Dask can only close what has started

        async def _submit_job(self, script_filename: str) -> str:
            for attempt in range(1, MOST_SUBMISSIONS + 1):
                try:
                    printed = await self._call([self.submit_command, script_filename], env=for_slurm())
                except RuntimeError as error:
                    said = str(error).partition("stderr:")[2].strip() or str(error)
                    if not submissions.jobs or attempt == MOST_SUBMISSIONS:
                        raise RuntimeError(said) from error
                    logger.warning("Slurm doesn't take a job, which is tried again: %s", one_line(said))
                    await asyncio.sleep(SECONDS_BETWEEN_SUBMISSIONS)
                else:
                    submissions.jobs[str(self.name)] = self._job_id_from_submit_output(printed)
                    return printed
            raise AssertionError("unreachable")

    class Cluster(SLURMCluster):
        job_cls = Job

    return Cluster(**settings), submissions


class SlurmWatch:
    """Looks after jobs whose workers aren't there yet.

    Parameters
    ----------
    cluster : SLURMCluster
        The cluster.
    submissions : Submissions
        Its jobs.
    name : str
        The jobs' name.
    logs : Path
        Where their logs are.
    """

    def __init__(self, cluster: "SLURMCluster", submissions: Submissions, name: str, logs: Path):
        self._cluster = cluster
        self._submissions = submissions
        self._name = name
        self._logs = logs
        self._looked = self._started = time.monotonic()
        self._next_word = SECONDS_TO_FIRST_WORD
        self._ended_early = 0
        self._had_workers = False

    def check(self) -> None:
        """See whether jobs wait, or have ended before their workers were there: these are replaced.

        Raises
        ------
        WorkerError
            If Slurm refuses the jobs, or all of them end before their workers are there.
        """
        if self._submissions.refused is not None:
            raise WorkerError(
                f"Slurm refuses the job of workers: {one_line(self._submissions.refused)}; see the engine's settings "
                "(queue, account, memory, cores, walltime, directives)"
            )
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        connected = {str(worker.name) for worker in list(self._cluster.scheduler.workers.values())}  # pyright: ignore[reportOptionalMemberAccess]
        self._had_workers = self._had_workers or bool(connected)
        awaited = {
            name: job
            for name, job in list(self._submissions.jobs.items())
            if name in self._cluster.worker_spec and not any(one == name or _is_of(one, name) for one in connected)
        }
        if awaited:
            self._look_after(awaited)

    def _look_after(self, awaited: Mapping[str, str]) -> None:
        printed = ask_slurm("squeue", "-h", f"--name={self._name}", "-o", "%i %T %r")
        if printed is None:
            return
        queued = dict(line.split(maxsplit=1) for line in printed.splitlines())
        for name, job in awaited.items():
            if job not in queued:
                self._replace(name, job)
        waiting = sorted({queued[job] for job in awaited.values() if job in queued})
        seconds = time.monotonic() - self._started
        if waiting and not self._had_workers and seconds >= self._next_word:
            self._next_word = 2 * seconds
            logger.warning("no worker yet after %.0f s; Slurm says of the jobs: %s", seconds, "; ".join(waiting))

    def _replace(self, name: str, job: str) -> None:
        """Forget a job, so that another is submitted for it."""
        self._ended_early += 1
        words = f"job {job} ended before its worker was there ({self._last_words(job)})"
        if not self._had_workers and self._ended_early >= MOST_WITHOUT_WORKER:
            raise WorkerError(
                f"{self._ended_early} jobs of Slurm ended, one after the other, before any worker was there: {words}; "
                f"look at the logs in {self._logs}, and at the engine's settings (python, prologue, interface)"
            )
        logger.warning("%s; another is submitted", words)
        del self._submissions.jobs[name]
        self._cluster.sync(self._cluster.scale_down, [name])

    def _last_words(self, job: str) -> str:
        for path in self._logs.glob(f"*-{job}.err"):
            lines = path.read_text(errors="replace").strip().splitlines()
            return f"its log ends with: {printable(lines[-1])[:300]}" if lines else f"its log {path} is empty"
        return "it has no log"


def _is_of(worker: str, job: str) -> bool:
    """Tell whether a worker is one of the several of a job: these have a number after the job's name."""
    before, _, number = worker.rpartition("-")
    return before == job and number.isdecimal()
