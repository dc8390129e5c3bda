"""A computer with a small survey and the Dagster UI, as processes that can be killed."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2

from tests.other_packages import write_package
from tests.slurm.cluster import wait_until

ROOT = Path(__file__).parents[2]
STARS = 30
LOCATION = "astra_orchestration.definitions"
SLOW = '''
"""A pipeline that takes its time."""

import time
from collections.abc import Iterable

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from {package}.models import {model}


@task
def {pipeline}(spectra: Iterable[BossVisitSpectrum], seconds: float = 1.0) -> Iterable[{model}]:
    """Wait for each spectrum."""
    for spectrum in spectra:
        time.sleep(seconds)
        yield {model}.from_spectrum(spectrum, peak=5000.0)
'''
# The share of failures is judged strictly for one pipeline: the sample has one spectrum that can't be read.
QUALITY = "quality: {pipelines: {rocket: {max_failed: 0.001}}}\n"


class Station:
    """The processes, and where they keep what.

    Parameters
    ----------
    folder : Path
        Where everything is.
    postgresql : dict of str to str
        Parameters of a connection to an empty database.
    """

    def __init__(self, folder: Path, postgresql: dict[str, str]):
        self.folder = folder
        self.postgresql = postgresql
        self.home = folder / "dagster"
        self.sqlite = folder / "astra.db"
        self.dropped = folder / "dropped"
        self.dropped.mkdir()
        self.home.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder / "site"))),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "ASTRA_DATABASE_PATH": str(self.sqlite),
            "ASTRA_CONFIG_PATH": str(folder / "astra.yml"),
            "ASTRA_RESULT_FOLDERS": str(self.dropped),
            "MPLBACKEND": "Agg",
            "TZ": "UTC",
        }

    def prepare(self) -> None:
        """Make the survey, put it into both databases, and switch off what would analyse it by itself."""
        (self.home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        (self.folder / "astra.yml").write_text(QUALITY)
        slow = SLOW.format(package="slowly", model="Slow", pipeline="slowly")
        write_package(self.folder / "site", "slowly", pipeline="slowly", model="Slow", files={"pipeline.py": slow})
        self.python("-m", "astra_orchestration.cli", "init")
        stars = {"ops": {"sample_survey": {"config": {"stars": STARS}}}}
        of_files = ("--select", "group:sample or group:catalogue", "-m", LOCATION)
        self.python("-m", "dagster", "asset", "materialize", *of_files, "--config-json", json.dumps(stars))
        # Corv takes what it calls DA.
        self.python("-m", "dagster", "asset", "materialize", "--select", "snow_white", "-m", LOCATION)
        self.python("-m", "dagster", "sensor", "stop", "astra_version_sensor", "-m", LOCATION)
        own = self.folder / "postgresql.yml"
        names = ("dbname", "user", "host", "port", "password")
        own.write_text(json.dumps({"database": {name: self.postgresql.get(name) for name in names}}))
        elsewhere = {"ASTRA_CONFIG_PATH": str(own), "ASTRA_DATABASE_PATH": ""}
        self.python("-m", "astra_orchestration.cli", "init", **elsewhere)
        self.python("-m", "astra_orchestration.cli", "ingest", "var/sample/**/*.fits", **elsewhere)

    def python(self, *arguments: str, **variables: str) -> None:
        """Run Python to its end."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        is_refusal = done.returncode == 3 and "ingest" in arguments  # broken files are a part of the sample
        assert done.returncode == 0 or is_refusal, done.stdout + done.stderr

    def start(self) -> None:
        """Start the UI, and wait until it answers."""
        with (self.folder / "ui.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "astra_orchestration.cli", "ui", "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        ready = "Dagster UI: "
        before = self.said().count(ready)
        wait_until(lambda: self.said().count(ready) > before or process.poll() is not None, 90, self.said)
        assert process.poll() is None, self.said()

    def said(self) -> str:
        """Give what the UI has said."""
        return (self.folder / "ui.log").read_text()

    def kill(self) -> None:
        """End all that was started here as a power cut does: the UI, its processes, and its runs."""
        for _ in range(50):
            if not (left := self.processes()):
                break
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.1)
        if hasattr(self, "_process"):
            self._process.wait(30)

    def processes(self, *words: str) -> list[int]:
        """Give the processes whose ``DAGSTER_HOME`` is this one, and that have some words in their command."""
        mine = f"DAGSTER_HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    settings, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_text()
                    if mine in settings.split(b"\0") and all(word in command for word in words):
                        found.append(int(entry.name))
        return found

    def count(self, table: str, where: str = "true") -> int:
        """Count the rows of a table in the SQLite file."""
        with closing(sqlite3.connect(self.sqlite)) as connection:
            return connection.execute(f'SELECT count(*) FROM "{table}" WHERE {where}').fetchone()[0]

    def count_in_postgresql(self, table: str) -> int:
        """Count the rows of a table in PostgreSQL."""
        with closing(psycopg2.connect(**self.postgresql)) as connection, connection.cursor() as cursor:
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            return cursor.fetchone()[0]

    def target(self) -> dict[str, Any]:
        """Give PostgreSQL as the launchpad takes it."""
        names = ("dbname", "user", "host", "port")
        found: dict[str, Any] = {name: self.postgresql[name] for name in names if name in self.postgresql}
        return {"postgres": found | {"port": int(found["port"])}}
