"""Several processes that write the same rows in different order neither deadlock nor mix their rows."""

from typing import Any

import peewee
import pytest
from ingesting import Ingestion, finish, label

from astra_models.analysis.replay import replay
from astra_models.database.retry import run_transaction
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

N_ROWS = 20_000


@pytest.mark.lesson(12)
def test_four_writers_of_the_same_rows_in_random_order(target: dict[str, Any], full_length: bool, figures: Any) -> None:
    seconds = 60.0 if full_length else 4.0
    deadlocks = _deadlocks(target)
    alone = _rate([Ingestion(target, N_ROWS, 2000, "alone", seconds / 2, 0)])
    together = _rate([Ingestion(target, N_ROWS, 2000, tag, seconds, seed) for seed, tag in enumerate("abcd")])
    assert _deadlocks(target) == deadlocks
    rows: Any = Rocket.select(Rocket.spectrum_pk, Rocket.tag, Rocket.teff, Rocket.logg).tuples()
    written = list(rows)
    assert sorted(row[0] for row in written) == list(range(1, N_ROWS + 1))
    assert all(tag in "abcd" and teff == logg == label(tag) for _, tag, teff, logg in written)
    figures(
        f"4 writers for {seconds:.0f} s: no deadlock, every row is one writer's; {together:,.0f} rows/s together, "
        f"{alone:,.0f} alone ({together / alone:.2f})"
    )


def test_replaying_while_another_writes_the_same_rows(target: dict[str, Any]) -> None:
    missing = Spectrum.select(peewee.fn.MAX(Spectrum.pk)).scalar() + 1
    late = [{"spectrum_pk": missing + i, "source_pk": 1, "tag": "late", "teff": 1.0} for i in range(200)]
    assert upsert(Rocket, late, run_id="early run").rejected == 200
    Spectrum.insert_many([{"spectrum_flags": 0} for _ in range(300)]).execute()
    writer = Ingestion(target, 5000, 500, "w", 3.0, 1).start()
    reports = [replay("early run")]
    reports += [upsert(Rocket, late) for _ in range(5)]
    finish(writer)
    assert reports[0].inserted == 200 and not RejectedResult.select().exists()
    assert Rocket.select().where(Rocket.tag == "late").count() == 200
    assert Rocket.select().where(Rocket.tag == "w").count() == 5000


def _rate(ingestions: list[Ingestion]) -> float:
    processes = [ingestion.start() for ingestion in ingestions]
    return sum(result["written"] / result["seconds"] for result in map(finish, processes))


def _deadlocks(target: dict[str, Any]) -> int:
    if "path" in target:
        return 0
    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    database = Rocket._meta.database
    return run_transaction(database, lambda: database.execute_sql(count).fetchone()[0])
