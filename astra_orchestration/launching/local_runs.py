"""Runs on this computer, as Dagster's own launcher starts them: by the code server, each in a process of its own.

Which process a run is, it says itself: by Dagster's first event of it, or, where no launcher started it, by a tag.
"""

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from astra_models.host import has_ended, has_ended_since, host_name, this_process
from astra_models.messages import error_text

__all__ = ["PROCESS_TAG", "LocalRuns", "is_launched_on", "process_tags"]

PROCESS_TAG = "astra/process"
"""The process of a run that no launcher started: the computer's name, and what `astra_models.host` says of it."""
LAUNCHED_BY_TAG = "astra/launched_by"
SECONDS_TO_APPEAR = 30.0
"""How long a run may be without a process when whoever launched it has ended."""
SECONDS_TO_END = 120.0
"""How long a process that is to end may take, before it is killed."""

logger = logging.getLogger(__name__)


def process_tags() -> dict[str, str]:
    """Give the tags of a run that is executed in this process; nobody could take it up elsewhere."""
    return {PROCESS_TAG: f"{host_name()} {this_process()}", "dagster/max_retries": "0"}


def is_launched_on(run: dg.DagsterRun, host: str) -> bool:
    """Tell whether a run was launched on a computer, by its name."""
    return run.tags.get(LAUNCHED_BY_TAG, "").partition(" ")[0] == host


@dataclass(frozen=True)
class _Process:
    """The process of a run, or of what launched it.

    Parameters
    ----------
    host : str
        The computer's name.
    number : int
        Its number there.
    identity : str, optional
        What `astra_models.host` says of it.
    moment : float
        When it ran, where that is all that is known.
    """

    host: str
    number: int
    identity: str = ""
    moment: float = 0.0

    def __str__(self) -> str:
        return f"process {self.number} on {self.host}"

    @property
    def has_ended(self) -> bool:
        """Whether it has ended; of another computer, nobody knows."""
        if self.identity:
            return has_ended(self.host, self.identity)
        return has_ended_since(self.host, self.number, self.moment)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal, if it runs on this computer."""
        if self.host != host_name() or self.has_ended:
            return False
        try:
            os.kill(self.number, number)
        except ProcessLookupError:  # it has just ended
            return False
        return True

    @classmethod
    def of_tag(cls, tag: str | None) -> "_Process | None":
        """Give the process that a tag names; None if it names none."""
        host, _, process = (tag or "").partition(" ")
        number = process.partition(" ")[0]
        return cls(host, int(number), process) if number.isdecimal() else None


class LocalRuns:
    """Runs on this computer.

    Parameters
    ----------
    instance : DagsterInstance
        Whose runs.
    launch, terminate : callable
        Those of Dagster's launcher.
    start_seconds : float
        How long a run may take to start.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        launch: Callable[[LaunchRunContext], None],
        terminate: Callable[[str], bool],
        start_seconds: float,
    ):
        self._instance = instance
        self._launch = launch
        self._terminate = terminate
        self.start_seconds = start_seconds

    def launch(self, context: LaunchRunContext) -> None:
        """Have the code server start the run."""
        tags = {LAUNCHED_BY_TAG: f"{host_name()} {this_process()}"}
        self._instance.add_run_tags(context.dagster_run.run_id, tags)
        self._launch(context)

    def terminate(self, run: dg.DagsterRun) -> bool:
        """End a run: by the code server, or, where that is gone, or never knew the run, by its process."""
        try:
            if self._terminate(run.run_id):
                return True
        except (DagsterUserCodeUnreachableError, DagsterUserCodeProcessError) as error:
            self._instance.report_engine_event(
                f"the code server can't end the run, so its process is told: {error_text(error)}", run, cls=type(self)
            )
        process = self._process_of(run)
        if process is not None and process.send(signal.SIGINT):
            return True
        now = self._instance.get_run_by_id(run.run_id)
        if process is not None and process.has_ended and now is not None and not now.is_finished:
            self._instance.report_run_canceled(run, f"there is nothing to end: {process} has ended")
        return False

    def health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the process of a run that has started is there; nobody knows of one that doesn't say which."""
        process = self._process_of(run)
        if process is None or not process.has_ended:
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(process or "the run doesn't say which process it is"))
        return CheckRunHealthResult(WorkerStatus.FAILED, f"{process} ended before the run did")

    def death(self, run: dg.DagsterRun, seconds: float) -> str | None:
        """Say why a run will never start, or has ended that is to be cancelled; None if it may go on.

        A process that doesn't end although it is to is killed: a run isn't called cancelled while it writes.
        """
        process = self._process_of(run)
        if process is not None:
            if process.has_ended:
                return f"{process} ended before the run did"
            is_late = run.status == dg.DagsterRunStatus.CANCELING and seconds > SECONDS_TO_END
            if is_late and process.send(signal.SIGKILL):
                logger.warning("run %s: %s didn't end in %.0f s, and was killed", run.run_id, process, seconds)
            return None
        launched_by = _Process.of_tag(run.tags.get(LAUNCHED_BY_TAG))
        if launched_by is not None and launched_by.has_ended and seconds > SECONDS_TO_APPEAR:
            return f"who launched the run has ended ({launched_by}), and it has no process"
        if seconds < self.start_seconds:
            return None
        return (
            f"the run hasn't started {seconds:.0f} s after it was launched, and {self.start_seconds:.0f} s are allowed"
        )

    def _process_of(self, run: dg.DagsterRun) -> _Process | None:
        if (named := _Process.of_tag(run.tags.get(PROCESS_TAG))) is not None:
            return named
        launched_by = _Process.of_tag(run.tags.get(LAUNCHED_BY_TAG))
        if launched_by is None:
            return None
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            number = entry.get_dagster_event().engine_event_data.metadata.get("pid")
            if number is not None and str(number.value).isdecimal():
                return _Process(launched_by.host, int(str(number.value)), moment=entry.timestamp)
        return None
