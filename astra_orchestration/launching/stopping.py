"""What becomes of runs when the service that started them stops: it waits for them, or ends them in order, and says so.

Runs that others execute are left alone: jobs of Slurm, and those of ``astra materialize`` in another terminal.
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg

from astra_models.host import host_name
from astra_orchestration.launching.local_runs import PROCESS_TAG, is_launched_on
from astra_orchestration.launching.places import LAUNCHER_TAG, SLURM

__all__ = ["end_runs"]

STATUS = dg.DagsterRunStatus
UNDER_WAY = [STATUS.NOT_STARTED, STATUS.STARTING, STATUS.STARTED, STATUS.CANCELING]
SECONDS_TO_END = 60.0
"""How long runs may take that are told to end: a batch is written whole."""
PAUSE = 0.5  # seconds between two looks


def end_runs(instance: dg.DagsterInstance, wait: float, say: Callable[[str], None]) -> None:
    """Wait for the runs of this computer, tell those to end that still run then, and name them all.

    Parameters
    ----------
    instance : DagsterInstance
        Whose runs.
    wait : float
        How long runs may go on, in seconds.
    say : callable
        Called with each line that the operator should read.
    """
    under_way = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
    elsewhere = [run for run in under_way if run.tags.get(LAUNCHER_TAG) == SLURM]
    own = [run for run in under_way if run not in elsewhere and _is_ours(run)]
    if elsewhere:
        say(f"{_count(elsewhere)} as {'jobs' if len(elsewhere) > 1 else 'a job'} of Slurm: {_names(elsewhere)}")
    if queued := instance.get_runs(dg.RunsFilter(statuses=[STATUS.QUEUED])):
        say(f"{len(queued)} in the queue will start with the next start: {_names(queued)}")
    if own and wait:
        say(f"waiting up to {wait:.0f} s for {_names(own)}; Ctrl-C ends them")
        own = _wait(instance, own, wait, say)
    if not own:
        return
    say(f"ending {_names(own)}; what they have written is kept, and the next run does the rest")
    for run in own:
        instance.run_launcher.terminate(run.run_id)
    for run in _wait(instance, own, SECONDS_TO_END, say):
        say(f"{_name(run)} doesn't end in {SECONDS_TO_END:.0f} s, and is killed")


def _is_ours(run: dg.DagsterRun) -> bool:
    return PROCESS_TAG not in run.tags and is_launched_on(run, host_name())


def _wait(
    instance: dg.DagsterInstance, runs: list[dg.DagsterRun], seconds: float, say: Callable[[str], None]
) -> list[dg.DagsterRun]:
    """Wait for runs, say how each ends, and give those that don't in time."""
    until = time.monotonic() + seconds
    left = {run.run_id: run for run in runs}
    while left:
        for run in instance.get_runs(dg.RunsFilter(run_ids=list(left))):
            if run.is_finished:
                say(f"{_name(run)} has ended: {run.status.value}")
                del left[run.run_id]
        if not left or time.monotonic() > until:
            break
        time.sleep(PAUSE)
    return list(left.values())


def _count(runs: Sequence[dg.DagsterRun]) -> str:
    return "1 run goes on" if len(runs) == 1 else f"{len(runs)} runs go on"


def _names(runs: Sequence[dg.DagsterRun]) -> str:
    return ", ".join(map(_name, runs))


def _name(run: dg.DagsterRun) -> str:
    """Name a run by what it makes, if that is little, and by the beginning of its id, as the UI does."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    what = assets[0] if len(assets) == 1 else f"{len(assets)} assets" if assets else run.job_name
    return f"{what} ({run.run_id[:8]})"
