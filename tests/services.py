"""A code server and a daemon as processes of their own, and their records as this process reads them."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from tests.launched import Runs
from tests.slurm.cluster import wait_until

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds


class Services:
    """A code server and a daemon of one DAGSTER_HOME, which may be killed and started again.

    Parameters
    ----------
    folder : Path
        For their logs, the code server's socket and the workspace's file.
    module : str
        What the code server loads.
    environment : mapping of str to str
        All variables that the processes have; `DAGSTER_HOME` is one of them.
    """

    def __init__(self, folder: Path, module: str, environment: Mapping[str, str]):
        self.folder = folder
        self.environment = dict(environment)
        self.socket = folder / "code"
        self.workspace = folder / "workspace.yaml"
        server = {"socket": str(self.socket), "location_name": module}
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self._commands = {
            "code": ["dagster", "code-server", "start", "-m", module, "--socket", str(self.socket)],
            "daemon": ["dagster._daemon", "run", "--workspace", str(self.workspace), "--log-level", "error"],
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start ``code`` or ``daemon``, in a session of its own."""
        command = [sys.executable, "-m", *self._commands[name]]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        if name == "code":
            wait_until(self.socket.exists, PATIENCE, self.said)

    def kill(self) -> None:
        """Kill all of them and what they started, as a power cut does."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()
        self.socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the daemon in order, so that it starts nothing more; then the rest."""
        if (daemon := self.processes.get("daemon")) is not None:
            daemon.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
        self.kill()

    def said(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))

    @contextmanager
    def records(self) -> Iterator[Runs]:
        """Open the instance, and the workspace by the running code server."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Dagster, about itself
            with (
                dg.DagsterInstance.from_config(self.environment["DAGSTER_HOME"]) as instance,
                WorkspaceProcessContext(instance, WorkspaceFileTarget([str(self.workspace)])) as context,
            ):
                yield Runs(instance, context)


def bare_environment(**variables: str) -> dict[str, str]:
    """Give the variables of this process but those of Astra and Dagster, and others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASTRA_", "DAGSTER_", "PG"))}
    return kept | {"PYTHONPATH": str(ROOT), "DAGSTER_DISABLE_TELEMETRY": "1"} | variables
