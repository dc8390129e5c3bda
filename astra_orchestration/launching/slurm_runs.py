"""Whole runs as jobs of Slurm: each is a job that executes a run of Dagster on a node.

The node needs the same packages, ``DAGSTER_HOME``, and Dagster's and Astra's databases. Nothing secret is in the job:
its script sources what it needs (`prologue`).
"""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs

from astra_orchestration.launching.slurm_commands import Job, SlurmError, cancel, find_by_name, look_up, submit

__all__ = ["JOB_TAG", "LOG_TAG", "SETTINGS", "SlurmRuns"]

SLURM_TAG = "astra/slurm"
JOB_TAG = f"{SLURM_TAG}_job"
LOG_TAG = f"{SLURM_TAG}_log"
OF_RUNS = ("partition", "account", "cores", "memory", "walltime")
"""What a run can have of its own, by tags such as ``astra/slurm_memory``."""
GRACE = 60.0
"""How long a run may be without a job beyond the time that submitting may take, in seconds."""

SETTINGS: dict[str, Any] = {
    "partition": dg.Field(dg.Noneable(str), is_required=False, description="The partition of runs"),
    "account": dg.Field(dg.Noneable(str), is_required=False, description="Whose account pays"),
    "cores": dg.Field(int, default_value=1, is_required=False, description="Cores of a run"),
    "memory": dg.Field(str, default_value="2G", is_required=False, description="Memory of a run"),
    "walltime": dg.Field(
        str, default_value="1-00:00:00", is_required=False, description="The longest that a run may take"
    ),
    "directives": dg.Field([str], default_value=[], is_required=False, description="Further #SBATCH options"),
    "prologue": dg.Field(
        [str], default_value=[], is_required=False, description="Lines of the job script before the run starts"
    ),
    "python": dg.Field(
        dg.Noneable(str), is_required=False, description="The Python of the nodes, if it isn't the code server's"
    ),
    "log_folder": dg.Field(
        dg.Noneable(str), is_required=False, description="For logs, seen by the nodes; DAGSTER_HOME/slurm if not given"
    ),
    "submit_seconds": dg.Field(
        float, default_value=60.0, is_required=False, description="How long sbatch may take for its answer"
    ),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Settings:
    partition: str | None = None
    account: str | None = None
    cores: int | str = 1
    memory: str = "2G"
    walltime: str = "1-00:00:00"
    directives: Sequence[str] = ()
    prologue: Sequence[str] = ()
    python: str | None = None
    log_folder: str | None = None
    submit_seconds: float = 60.0


class SlurmRuns:
    """Runs as jobs of Slurm.

    Parameters
    ----------
    instance : DagsterInstance
        Whose runs.
    settings : mapping of str to object
        See `SETTINGS`.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Mapping[str, Any]):
        self._instance = instance
        self._settings = _Settings(**settings)

    def launch(self, context: LaunchRunContext) -> None:
        """Submit a run's job; its number and the path of its log become tags of the run.

        Raises
        ------
        DagsterLaunchFailedError
            If Slurm refuses it, or doesn't answer.
        """
        run = context.dagster_run
        try:
            logs = self._log_folder()
            script = _script(run, settings_of(run, self._settings), self._instance.root_directory, logs)
            number = submit(script, job_name(run), self._settings.submit_seconds)
        except (OSError, SlurmError) as error:
            raise DagsterLaunchFailedError(
                f"the run can't be submitted to Slurm: {error}. See run_launcher.config.slurm in dagster.yaml "
                "(partition, account, memory, cores, walltime, directives, log_folder)"
            ) from error
        log = logs / f"{run.run_id}-{number}.log"
        self._instance.add_run_tags(run.run_id, {JOB_TAG: number, LOG_TAG: str(log)})
        metadata = {"job": dg.MetadataValue.text(number), "log": dg.MetadataValue.path(str(log))}
        self._instance.report_engine_event(
            f"submitted to Slurm as job {number}", run, EngineEventData(metadata), cls=type(self)
        )

    def terminate(self, run: dg.DagsterRun) -> bool:
        """Cancel a run's job; one that waits in the queue is cancelled at once."""
        self._instance.report_run_canceling(run)
        try:
            job = self._job_of(run)
            if job is None or not job.is_alive:
                self._instance.report_run_canceled(run, f"there is nothing to end: {job or 'the run has no job'}")
                return False
            cancel(job.number)
        except SlurmError as error:
            self._instance.report_engine_event(f"the run's job isn't cancelled: {error}", run, cls=type(self))
            return False
        if job.is_waiting:
            self._instance.report_run_canceled(run, f"job {job.number} was cancelled in the queue")
        return True

    def health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether a started run's job still runs: one that ended, or is in the queue again, is dead."""
        try:
            job = self._job_of(run)
            if job is not None and job.is_waiting:
                # Dagster doesn't take up a run in the middle: a second start would do nothing.
                cancel(job.number)
                return _dead(f"{job}, was put back into the queue after the run had started, and is cancelled", job)
        except SlurmError as error:
            logger.warning("nothing is known of run %s: %s", run.run_id, error)
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))
        if job is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the run has no job in Slurm")
        if job.is_alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(job), run_worker_id=job.number)
        return _dead(f"{job}, ended before the run did; its log: {run.tags.get(LOG_TAG)}", job)

    def death(self, run: dg.DagsterRun, seconds: float) -> str | None:
        """Say how the job of a run ended that hasn't started, or is to be cancelled; None if it hasn't ended."""
        try:
            job = self._job_of(run)
        except SlurmError as error:
            logger.warning("nothing is known of run %s: %s", run.run_id, error)
            return None
        if job is None:
            late = seconds > self._settings.submit_seconds + GRACE
            return "the run has no job in Slurm" if late else None
        return None if job.is_alive else f"{job}, ended before the run did; its log: {run.tags.get(LOG_TAG)}"

    def last_words(self, run: dg.DagsterRun, lines: int = 20) -> str | None:
        """Give the end of a run's log, if it is there."""
        path = Path(run.tags.get(LOG_TAG, ""))
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.is_file() else None

    def _job_of(self, run: dg.DagsterRun) -> Job | None:
        number = run.tags.get(JOB_TAG) or find_by_name(job_name(run))
        return None if number is None else look_up(number)

    def _log_folder(self) -> Path:
        folder = Path(self._settings.log_folder or Path(self._instance.root_directory) / "slurm")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def settings_of(run: dg.DagsterRun, settings: _Settings) -> _Settings:
    """Give the settings of a run, with those that its tags say.

    Raises
    ------
    SlurmError
        If a tag has white space in it: it would be another line of the job script.
    """
    own = {name: run.tags[f"{SLURM_TAG}_{name}"] for name in OF_RUNS if f"{SLURM_TAG}_{name}" in run.tags}
    for name, value in own.items():
        if not value or any(letter.isspace() for letter in value):
            raise SlurmError(f"the tag {SLURM_TAG}_{name} is {value!r}, and no value for sbatch")
    return replace(settings, **own)


def _script(run: dg.DagsterRun, settings: _Settings, home: str, logs: Path) -> str:
    options = {
        "job-name": job_name(run),
        "output": f"{logs}/{run.run_id}-%j.log",
        "ntasks": "1",
        "cpus-per-task": settings.cores,
        "mem": settings.memory,
        "time": settings.walltime,
        "partition": settings.partition,
        "account": settings.account,
    }
    directives = [f"--{name}={value}" for name, value in options.items() if value is not None]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {line}" for line in [*directives, "--no-requeue", "--open-mode=append", *settings.directives]),
        f"export DAGSTER_HOME={shlex.quote(home)}",
        *settings.prologue,
        f"exec {shlex.join(_command(run, settings.python))}",
    ]
    return "\n".join(lines) + "\n"


def _command(run: dg.DagsterRun, python: str | None) -> list[str]:
    origin = run.job_code_origin
    if origin is None:
        raise SlurmError("nobody knows where the run's code is; launch it from a code location")
    # The instance is that of DAGSTER_HOME, and isn't spelled out here: it may hold passwords.
    arguments = ExecuteRunArgs(origin, run.run_id, None, set_exit_code_on_failure=True).get_command_args()
    # It starts with the code server's entry point, which may be a mere name that a node's PATH doesn't have.
    return [python or origin.repository_origin.executable_path, "-m", "dagster", *arguments[-3:]]


def job_name(run: dg.DagsterRun) -> str:
    """Give the name of a run's job, by which it is found where its number isn't known."""
    return f"astra-{run.run_id}"


def _dead(message: str, job: Job) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.FAILED, message, run_worker_id=job.number)
