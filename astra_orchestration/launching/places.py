"""What a run launcher needs of a place where runs can be."""

from typing import Protocol

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext

__all__ = ["LAUNCHER_TAG", "LOCAL", "SLURM", "Place"]

LAUNCHER_TAG = "astra/launcher"
LOCAL, SLURM = "local", "slurm"


class Place(Protocol):
    """Starts runs somewhere, ends them, and knows whether they live."""

    def launch(self, context: LaunchRunContext) -> None:
        """Start a run."""
        ...

    def terminate(self, run: dg.DagsterRun) -> bool:
        """End a run that isn't finished; False if there was nothing to end."""
        ...

    def health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether a run's process, or job, is there."""
        ...

    def death(self, run: dg.DagsterRun, seconds: float) -> str | None:
        """Say why a run that hasn't started, or is to be cancelled, never will; None if it may.

        Parameters
        ----------
        run : DagsterRun
            A run that is starting, or being cancelled.
        seconds : float
            Since when.
        """
        ...
