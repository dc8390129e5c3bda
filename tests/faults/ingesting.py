"""Processes that write results, to be disturbed: run as ``python ingesting.py '<json of Ingestion>'``."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

from astra_models.base import bind, database
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert

N_SOURCES = 100


@dataclass(frozen=True)
class Ingestion:
    """What a process writes: results of spectra 1 to `n_rows`, every row labelled by `tag`, for some time.

    Parameters
    ----------
    target : dict
        ``{"path": ...}`` of a SQLite file, or connection parameters of PostgreSQL.
    n_rows, batch_size : int
        How much.
    tag : str
        Label of all rows; ``teff`` is made from it too, so that a row that mixes two writers is seen.
    seconds : float
        Write everything again until so long has passed.
    shuffle : int, optional
        Seed of a random order of the rows; in key order if not given.
    """

    target: dict[str, Any]
    n_rows: int
    batch_size: int
    tag: str
    seconds: float = 0.0
    shuffle: int | None = None

    def start(self) -> subprocess.Popen[str]:
        """Start the process, and wait until it begins to write."""
        command = [sys.executable, "-W", "ignore", str(Path(__file__)), json.dumps(asdict(self))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the writer did not start: {process.communicate()[1]}")
        return process


def finish(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a writer to end well; gives the rows that it wrote and the seconds that it took."""
    output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the writer ended with {process.returncode}: {errors}")
    return json.loads(output)


def label(tag: str) -> float:
    """Give the value that rows of a tag hold in their measured columns."""
    return float(sum(map(ord, tag)))


def rows_of(ingestion: Ingestion) -> list[dict[str, Any]]:
    """Make the rows."""
    keys = list(range(1, ingestion.n_rows + 1))
    if ingestion.shuffle is not None:
        random.Random(ingestion.shuffle).shuffle(keys)
    common = {"tag": ingestion.tag, "teff": label(ingestion.tag), "logg": label(ingestion.tag)}
    return [{"spectrum_pk": key, "source_pk": key % N_SOURCES + 1} | common for key in keys]


def connect(target: dict[str, Any]) -> None:
    """Bind the models to a target."""
    bind(sqlite_database(target["path"]) if "path" in target else postgresql_database(**target))


def prepare(n_spectra: int) -> None:
    """Make the sources and spectra that results refer to."""
    Source.insert_many([{"sdss_id": i} for i in range(N_SOURCES)]).execute()
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    database.execute_sql(f"{numbers.format(n_spectra)} INSERT INTO spectrum (spectrum_flags) SELECT 0 FROM n")


def main() -> None:
    """Write, and print how many rows were written."""
    ingestion = Ingestion(**json.loads(sys.argv[1]))
    connect(ingestion.target)
    rows = rows_of(ingestion)
    print("ready", flush=True)
    started, written = time.monotonic(), 0
    while True:
        report = upsert(Rocket, rows, batch_size=ingestion.batch_size)
        written += report.inserted + report.updated
        if time.monotonic() - started >= ingestion.seconds:
            break
    print(json.dumps({"written": written, "seconds": time.monotonic() - started}), flush=True)


if __name__ == "__main__":
    main()
