"""Runs on this computer, as Dagster's own launcher starts them: by the code server.

What tells a run's process from others (`astra_models.host`) belongs here: a run that notes its own, by `this_process`,
lets `health` tell a run whose process has ended (`has_ended`). Until then only what never started is found.
"""

from collections.abc import Callable

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

__all__ = ["LocalRuns"]


class LocalRuns:
    """Runs on this computer.

    Parameters
    ----------
    launch, terminate : callable
        Those of Dagster's launcher.
    start_seconds : float
        How long a run may take to start.
    """

    def __init__(
        self, launch: Callable[[LaunchRunContext], None], terminate: Callable[[str], bool], start_seconds: float
    ):
        self._launch = launch
        self._terminate = terminate
        self.start_seconds = start_seconds

    def launch(self, context: LaunchRunContext) -> None:
        """Have the code server start the run."""
        self._launch(context)

    def terminate(self, run: dg.DagsterRun) -> bool:
        """Have the code server end the run."""
        return self._terminate(run.run_id)

    def health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say that the run's process is there: nobody has looked."""
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def death(self, run: dg.DagsterRun, seconds: float) -> str | None:
        """Say that a run has taken too long to start, if it has."""
        if run.status == dg.DagsterRunStatus.CANCELING or seconds < self.start_seconds:
            return None
        return (
            f"the run hasn't started {seconds:.0f} s after it was launched, and {self.start_seconds:.0f} s are allowed"
        )
