"""Several threads that write the same rows: no deadlock, no lost batch."""

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
