"""A writer that is killed has written whole batches only, and running it again completes the table."""

import random
import signal
import time
from typing import Any

import peewee
from ingesting import Ingestion, finish, label

from astra_models.rocket import Rocket

N_ROWS = 100_000
BATCH = 2000


def test_kill_9_leaves_whole_batches_and_a_rerun_completes_them(
    target: dict[str, Any], full_length: bool, figures: Any
) -> None:
    clock = random.Random(9)
    kills, interrupted = (200 if full_length else 4), 0
    duration = _time_of_a_whole_run(target)
    for attempt in range(kills):
        process = Ingestion(target, N_ROWS, BATCH, f"run {attempt}").start()
        time.sleep(clock.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        interrupted += process.returncode == -signal.SIGKILL
        assert _mixed_batches() == []
    assert interrupted > 0
    finish(Ingestion(target, N_ROWS, BATCH, "last").start())
    assert _tags_of_batches() == [("last", N_ROWS)] and Rocket.select().count() == N_ROWS
    figures(
        f"{kills} kills, {interrupted} of them while it wrote; no batch was torn, and the last run left {N_ROWS} rows"
    )


def _time_of_a_whole_run(target: dict[str, Any]) -> float:
    return finish(Ingestion(target, N_ROWS, BATCH, "first").start())["seconds"]


def _mixed_batches() -> list[Any]:
    """Give the batches that hold rows of two runs, too few rows, or rows that disagree with their own tag."""
    number = (Rocket.spectrum_pk - 1) / BATCH
    query: Any = Rocket.select(
        number, peewee.fn.COUNT(peewee.SQL("*")), peewee.fn.MIN(Rocket.tag), peewee.fn.MAX(Rocket.tag),
        peewee.fn.MIN(Rocket.teff), peewee.fn.MAX(Rocket.teff), peewee.fn.MIN(Rocket.logg),
    ).group_by(peewee.SQL("1")).tuples()  # fmt: skip
    return [
        row for row in query
        if row[1] != BATCH or row[2] != row[3] or {row[4], row[5], row[6]} != {label(row[2])}
    ]  # fmt: skip


def _tags_of_batches() -> list[tuple[str, int]]:
    query: Any = Rocket.select(Rocket.tag, peewee.fn.COUNT(Rocket.task_pk)).group_by(Rocket.tag).tuples()
    return list(query)
