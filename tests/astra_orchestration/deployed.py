"""The units of ``deploy/systemd``, with other folders, started without systemd."""

import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
SERVICES = ("astra-code", "astra-daemon", "astra-web")


def unit(name: str) -> list[tuple[str, str]]:
    """Give the settings of a unit, as pairs: some come more than once."""
    text = (UNITS / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith(("#", ";", "["))]
    return [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in lines)]


def setting(name: str, key: str) -> str:
    [value] = [value for found, value in unit(name) if found == key]
    return value


class Deployment:
    """A computer with the deployment: its folders are below one, and its variables are those of the units.

    Parameters
    ----------
    folder : Path
        Stands for the root of the file system.
    """

    def __init__(self, folder: Path, **variables: str):
        self.folder = folder
        self.state, self.etc, self.run = (folder / name for name in ("var/lib/astra", "etc/astra", "run/astra"))
        for made in (self.state / "dagster", self.state / "backups", self.etc, self.run):
            made.mkdir(parents=True)
        self.variables = variables
        self.processes: list[subprocess.Popen[bytes]] = []
        (self.etc / "workspace.yaml").write_text(self.moved((DEPLOY / "workspace.yaml").read_text()))

    def moved(self, text: str) -> str:
        """Put the folders of this deployment in the places of the real ones."""
        text = text.replace("/opt/astra/venv/bin/dagster-daemon", f"{sys.executable} -m dagster._daemon")
        text = text.replace("/opt/astra/venv/bin/dagster", f"{sys.executable} -m dagster")
        text = text.replace("/opt/astra/venv/bin/astra", f"{sys.executable} -m astra_orchestration.cli")
        for place in ("/var/lib/astra", "/etc/astra", "/run/astra"):
            text = text.replace(place, f"{self.folder}{place}")
        return text

    def environment(self, name: str) -> dict[str, str]:
        """Give the variables of a unit: its own, those of its file, and nothing of this process."""
        own = [pair for key, value in unit(name) if key == "Environment" for pair in shlex.split(self.moved(value))]
        assert setting(name, "EnvironmentFile") == "/etc/astra/astra.env"
        listed = [line for line in (DEPLOY / "astra.env").read_text().splitlines() if line and line[0] != "#"]
        given = dict(pair.split("=", 1) for pair in [*own, *map(self.moved, listed)])
        if given["PGPASSWORD"] == "change-me":
            del given["PGPASSWORD"]
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.state)} | given | self.variables

    def command(self, name: str) -> list[str]:
        return shlex.split(self.moved(setting(name, "ExecStart")).replace("%%", "%"))

    def start(self, name: str, *replaced: tuple[str, str]) -> "subprocess.Popen[bytes]":
        """Start a unit's command in a session of its own; what it says is in a file."""
        words = self.command(name)
        for word, other in replaced:
            words[words.index(word)] = other
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.state,
                env=self.environment(name),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def wait_for(self, name: str, patience: float) -> None:
        """Do what a unit does after its start, as those that come after it wait for that."""
        words = shlex.split(self.moved(setting(name, "ExecStartPost")))
        subprocess.run(words, env=self.environment(name), cwd=self.state, check=True, timeout=patience)

    def said(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in self.folder.glob("*.log"))

    def stop(self) -> None:
        for process in reversed(self.processes):
            for number in (SIGTERM, SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
