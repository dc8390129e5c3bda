"""Slurm's own commands, asked about one job: what it is doing, or how it ended."""

import logging
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from astra_models.messages import one_line, printable
from astra_orchestration.engines.environment import for_slurm

__all__ = ["Job", "SlurmError", "cancel", "find_by_name", "look_up", "submit"]

SECONDS = 60.0
UNKNOWN_JOB = "Invalid job id"
ALIVE = frozenset(
    [
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "STOPPED",
        "SIGNALING",
        "RESIZING",
        "STAGE_OUT",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    ]
)
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"])
GONE = "GONE"

logger = logging.getLogger(__name__)


class SlurmError(RuntimeError):
    """Slurm doesn't do, or answer, what it was asked."""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job.

    Parameters
    ----------
    number : str
        Its number.
    state : str
        Its state, as Slurm calls it, such as ``RUNNING`` or ``NODE_FAIL``; ``GONE`` if Slurm doesn't know it any more.
    details : dict of str to str
        What else is known: the reason, the exit code, the nodes.
    """

    number: str
    state: str
    details: dict[str, str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or may."""
        return self.state in ALIVE

    @property
    def is_waiting(self) -> bool:
        """Whether it is in the queue."""
        return self.state in WAITING

    def __str__(self) -> str:
        if self.state == GONE:
            return f"job {self.number}, which Slurm doesn't know any more"
        shown = [f"{name} {self.details[name]}" for name in ("Reason", "ExitCode", "NodeList") if self._says(name)]
        return f"job {self.number}, which is {', '.join([self.state, *shown])}"

    def _says(self, name: str) -> bool:
        return self.details.get(name) not in (None, "", "(null)", "None", "0:0")


def _run(*command: str, script: str | None = None, seconds: float = SECONDS) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            input=script or "",
            capture_output=True,
            text=True,
            timeout=seconds,
            env=for_slurm(),
            check=False,
        )
    except FileNotFoundError as error:
        raise SlurmError(f"there is no {command[0]} on this computer") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} didn't answer within {seconds:.0f} s") from error


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    return printable(one_line(done.stderr))[:1000]


def submit(script: str, name: str, seconds: float) -> str:
    """Submit a job, and give its number.

    Parameters
    ----------
    script : str
        The job script.
    name : str
        The job's name, which no other has.
    seconds : float
        How long Slurm may take for its answer.

    Raises
    ------
    SlurmError
        If Slurm refuses it, or doesn't answer.
    """
    try:
        done = _run("sbatch", "--parsable", script=script, seconds=seconds)
    except SlurmError:
        if (job := find_by_name(name)) is not None:  # it was taken, but the answer was late
            return job
        raise
    if done.returncode:
        raise SlurmError(f"Slurm refuses the job: {_said(done)}")
    return done.stdout.strip().partition(";")[0]


def find_by_name(name: str) -> str | None:
    """Give the number of the job of this name that is in the queue, or runs.

    Raises
    ------
    SlurmError
        If Slurm doesn't answer.
    """
    done = _run("squeue", "-h", f"--name={name}", "-o", "%A")
    if done.returncode:
        raise SlurmError(f"squeue: {_said(done)}")
    numbers = done.stdout.split()
    return numbers[0] if numbers else None


def cancel(number: str) -> None:
    """Cancel a job.

    Raises
    ------
    SlurmError
        If Slurm doesn't answer.
    """
    done = _run("scancel", number)
    if done.returncode and UNKNOWN_JOB not in done.stderr:
        raise SlurmError(f"scancel: {_said(done)}")


def look_up(number: str) -> Job:
    """Say what a job is doing, or how it ended.

    Slurm's controller forgets jobs some minutes after their end; where there is a slurmdbd, its records don't.

    Raises
    ------
    SlurmError
        If Slurm doesn't answer.
    """
    done = _run("scontrol", "-o", "show", "job", number)
    if done.returncode == 0:
        details = dict(re.findall(r"(\w+)=(\S*)", done.stdout))
        return Job(number, details.get("JobState", GONE), details)
    if UNKNOWN_JOB not in done.stderr:
        raise SlurmError(f"scontrol: {_said(done)}")
    return _recorded(number) or Job(number, GONE)


def _recorded(number: str) -> Job | None:
    """Ask Slurm's records, where there are any."""
    try:
        done = _run("sacct", "-n", "-X", "-P", "-j", number, "-o", "State,ExitCode,NodeList")
    except SlurmError as error:
        logger.debug("%s", error)
        return None
    lines: Sequence[str] = done.stdout.splitlines()
    if done.returncode or not lines:
        return None
    state, code, nodes = [*lines[-1].split("|"), "", ""][:3]
    # "CANCELLED by 1000"
    return Job(number, state.split()[0] if state else GONE, {"ExitCode": code, "NodeList": nodes})
