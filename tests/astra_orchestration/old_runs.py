"""Many runs in a DAGSTER_HOME, as if each had been made long ago: copies of a real one."""

import shutil
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg


def real_run(instance: dg.DagsterInstance, name: str = "corv") -> str:
    @dg.asset(name=name)
    def pipeline(context: dg.AssetExecutionContext) -> None:
        context.log.info("something is said")

    return dg.materialize([pipeline], instance=instance).run_id


def copies(home: Path, run_id: str, n: int, days_old: float) -> list[str]:
    """Copy a run with its events and its logs."""
    made = [str(uuid.uuid4()) for _ in range(n)]
    history = home / "history"
    when = (datetime.now(UTC) - timedelta(days=days_old)).replace(tzinfo=None)
    with closing(sqlite3.connect(history / "runs" / f"{run_id}.db")) as shard:
        shard.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (
        closing(sqlite3.connect(history / "runs.db")) as runs,
        closing(sqlite3.connect(history / "runs" / "index.db")) as index,
    ):
        for copy in made:
            target = history / "runs" / f"{copy}.db"
            shutil.copy(history / "runs" / f"{run_id}.db", target)
            with closing(sqlite3.connect(target)) as events, events:
                events.execute("PRAGMA synchronous = OFF")
                events.execute("UPDATE event_logs SET run_id = ?, event = replace(event, ?, ?)", (copy, run_id, copy))
            logs = home / "storage" / copy / "compute_logs"
            logs.mkdir(parents=True)
            (logs / "step.out").write_text("printed")
        _copy_rows(runs, "runs", run_id, made, {"create_timestamp": str(when), "update_timestamp": str(when)})
        _copy_rows(index, "event_logs", run_id, made, {"timestamp": str(when)})
    return made


def _copy_rows(database: sqlite3.Connection, table: str, run_id: str, made: list[str], values: dict[str, str]) -> None:
    names = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})") if name != "id"]
    rows = database.execute(f"SELECT {', '.join(names)} FROM {table} WHERE run_id = ?", (run_id,)).fetchall()
    copied = []
    for copy in made:
        for row in rows:
            changed = dict(zip(names, row, strict=True)) | values
            copied.append([v.replace(run_id, copy) if isinstance(v, str) else v for v in changed.values()])
    with database:
        database.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", copied)


def size_of(home: Path) -> int:
    return sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
