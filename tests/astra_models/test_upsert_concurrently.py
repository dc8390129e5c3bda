"""Several writers at a time: no deadlock, no lost batch."""

import random
import threading
from typing import Any

import peewee
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket
from astra_models.upsert import UpsertReport, upsert


def in_threads(works: list[Any]) -> list[Any]:
    """Run functions at the same time; give what each returned or raised."""
    outcomes: list[Any] = [None] * len(works)

    def run(i: int) -> None:
        try:
            outcomes[i] = works[i]()
        except BaseException as error:
            outcomes[i] = error
        finally:
            Rocket._meta.database.close()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.lesson(12)
def test_writers_of_the_same_rows_in_different_order_do_not_deadlock(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra: list[BossVisitSpectrum] = make_spectra(300)

    def writer(seed: int) -> Any:
        def write() -> UpsertReport:
            mine = random.Random(seed)
            report = UpsertReport()
            for _ in range(5):
                shuffled = mine.sample(spectra, len(spectra))
                report += upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=seed) for spectrum in shuffled])
            return report

        return write

    reports = in_threads([writer(seed) for seed in range(3)])
    assert [type(report) for report in reports] == [UpsertReport] * 3, reports
    assert sum(report.inserted for report in reports) == 300
    assert sum(report.updated for report in reports) == 3 * 5 * 300 - 300
    assert Rocket.select().count() == 300


@pytest.mark.lesson(12)
@pytest.mark.postgresql_only(reason="SQLite has one writer at a time, and so no deadlocks")
def test_a_batch_that_lost_a_deadlock_is_written_again(database: peewee.Database, make_spectra: Any) -> None:
    one, two = make_spectra(2)
    upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=0) for spectrum in (one, two)])
    holds_last, proceed = threading.Event(), threading.Event()

    def opponent() -> None:
        """Lock the rows against the order of the keys, so that one of the two has to give up."""
        connection = peewee.PostgresqlDatabase(database.database, **database.connect_params)
        table = ".".join(f'"{name}"' for name in (Rocket._meta.schema or "public", "rocket"))
        try:
            connection.execute_sql("SET deadlock_timeout = '10s'")  # the other one is the victim
            with connection.atomic():
                connection.execute_sql(f"UPDATE {table} SET tag = 'x' WHERE spectrum_pk = {two.spectrum_pk}")
                holds_last.set()
                proceed.wait(1)
                connection.execute_sql(f"UPDATE {table} SET tag = 'x' WHERE spectrum_pk = {one.spectrum_pk}")
        finally:
            connection.close()

    def write() -> UpsertReport:
        holds_last.wait(10)
        return upsert(Rocket, [Rocket.from_spectrum(spectrum, teff=1) for spectrum in (one, two)])

    outcome = in_threads([opponent, write])
    assert outcome[0] is None
    assert outcome[1].updated == 2
    assert [(row.teff, row.tag) for row in Rocket.select()] == [(1, ""), (1, "")]


@pytest.mark.sqlite_only(reason="PostgreSQL's writers don't lock the whole database")
def test_a_writer_waits_for_a_locked_file(database: peewee.Database, make_spectra: Any) -> None:
    (spectrum,) = make_spectra(1)
    locked, written = threading.Event(), threading.Event()

    def lock() -> None:
        with database.atomic("IMMEDIATE"):
            locked.set()
            written.wait(0.5)

    def write() -> UpsertReport:
        locked.wait(10)
        report = upsert(Rocket, [Rocket.from_spectrum(spectrum)])
        written.set()
        return report

    assert in_threads([lock, write])[1].inserted == 1
