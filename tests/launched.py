"""Runs of Dagster that a launcher starts in processes, or jobs, of their own."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from astra_orchestration.launching import AstraRunLauncher
from tests.slurm.cluster import wait_until

STATUS = dg.DagsterRunStatus
JOBS = Path(__file__).with_name("launched_jobs.py")


@contextmanager
def open_runs(home: Path) -> Iterator["Runs"]:
    """Open an instance, and start a code server for the jobs of ``launched_jobs.py``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dagster, about itself
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, PythonFileTarget(str(JOBS), None, str(home), "jobs")) as workspace,
        ):
            yield Runs(instance, workspace)
        workspace._grpc_server_registry.wait_for_processes()  # or Python says, at some time, that they still run


class Runs(NamedTuple):
    """An instance, and a code location whose runs it starts."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext

    def launch(self, job: str, config: Mapping[str, object] | None = None, **tags: str) -> str:
        """Launch a run, and give its id."""
        run = self.make(job, config, **tags)
        self.instance.launch_run(run.run_id, self.workspace.create_request_context())
        return run.run_id

    def submit(self, job: str, config: Mapping[str, object] | None = None, **tags: str) -> str:
        """Put a run into the queue, as the launchpad does, and give its id."""
        run = self.make(job, config, **tags)
        self.instance.submit_run(run.run_id, self.workspace.create_request_context())
        return run.run_id

    def make(self, job: str, config: Mapping[str, object] | None = None, **tags: str) -> dg.DagsterRun:
        """Make a run that isn't launched."""
        context = self.workspace.create_request_context()
        [location] = context.code_locations
        [repository] = location.get_repositories().values()
        return _create_run(
            self.instance,
            location,
            repository,
            repository.get_full_job(job),
            run_config=dict(config or {}),
            tags=tags,
            op_selection=None,
            run_id=None,
        )

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def status(self, run_id: str) -> STATUS:
        return self.run(run_id).status

    def job(self, run_id: str) -> str:
        """Give the number of its job in Slurm."""
        return self.run(run_id).tags["astra/slurm_job"]

    def look_after(self) -> None:
        """Do what the daemon does now and then: its own monitoring, and our sweep."""
        errors = [
            error for error in execute_run_monitoring_iteration(self.workspace, logging.getLogger("test")) if error
        ]
        assert errors == []
        launcher = self.instance.run_launcher
        assert isinstance(launcher, AstraRunLauncher)
        launcher.sweep()

    def wait_for(self, run_id: str, *statuses: STATUS, seconds: float = 120) -> None:
        def found_instead() -> str:
            return f"{self.status(run_id)} isn't {statuses} ({self.messages(run_id)})"

        wait_until(lambda: self.status(run_id) in statuses, seconds, found_instead)

    def messages(self, run_id: str) -> str:
        return "\n".join(entry.message for entry in self.instance.all_logs(run_id)) + "\n".join(
            entry.user_message for entry in self.instance.all_logs(run_id)
        )
