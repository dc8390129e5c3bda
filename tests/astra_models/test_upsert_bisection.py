"""Rows that only the database knows to be bad are found by halving, and take no others along."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from math import log2
from typing import Any

import peewee
import pytest

from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each

N_ROWS = 1024


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> Iterator[list[int]]:
    """Spectra, and a table that takes no negative temperatures, which nothing but the database knows."""
    table = quoted_table(Rocket)
    if is_postgresql(database):
        database.execute_sql(f"ALTER TABLE {table} ADD CONSTRAINT teff_is_positive CHECK (teff >= 0)")
    else:
        for event in ("INSERT", "UPDATE"):
            database.execute_sql(
                f"CREATE TRIGGER positive_{event} BEFORE {event} ON {table} WHEN NEW.teff < 0 "
                "BEGIN SELECT RAISE(ABORT, 'teff_is_positive'); END"
            )
    yield [spectrum.spectrum_pk for spectrum in make_spectra(N_ROWS)]
    if is_postgresql(database):
        database.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT teff_is_positive")


def rows(keys: list[int], bad: set[int]) -> list[dict[str, Any]]:
    return [{"spectrum_pk": key, "teff": -1.0 if place in bad else 5000.0} for place, key in enumerate(keys)]


@pytest.mark.parametrize("bad", [{0}, {N_ROWS - 1}, {17, 18, 700}])
@pytest.mark.lesson(9)
def test_the_others_are_stored(keys: list[int], bad: set[int]) -> None:
    report = upsert(Rocket, rows(keys, bad), run_id="5f1c")
    assert (report.inserted, report.rejected, report.rows) == (N_ROWS - len(bad), len(bad), N_ROWS)
    assert Rocket.select().where(Rocket.teff == 5000).count() == N_ROWS - len(bad)
    listed = list(RejectedResult.select().order_by(RejectedResult.spectrum_pk))
    assert [row.spectrum_pk for row in listed] == [keys[place] for place in sorted(bad)]
    assert all("teff_is_positive" in row.message and row.run_id == "5f1c" for row in listed)
    (reason,) = report.reasons
    assert reason.startswith("23514" if is_postgresql(Rocket._meta.database) else "IntegrityError")


def test_a_bad_row_costs_few_statements(
    keys: list[int], recorded_queries: Callable[[], AbstractContextManager[list[str]]]
) -> None:
    upsert(Rocket, rows(keys, set()))
    with recorded_queries() as halved:
        upsert(Rocket, rows(keys, {700}))
    # Each halving tries two parts, and each try is at most ten statements; one by one it would be thousands.
    assert len(halved) < 10 * (2 + 2 * log2(N_ROWS))


def test_a_table_that_refuses_everything_keeps_everything(keys: list[int]) -> None:
    some = keys[:20]
    report = upsert(Rocket, rows(some, set(range(20))))
    assert (report.rejected, report.rows) == (20, 20)
    assert RejectedResult.select().count() == 20
