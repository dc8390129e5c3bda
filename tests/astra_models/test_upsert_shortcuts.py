"""Whether rows exist is guessed from a few of a batch's keys; a wrong guess changes nothing but the time it takes.

Nor does it matter whether the keys are near each other or far apart, in order or not.
"""

from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.rejected import RejectedResult, payload_from_json
from astra_models.rocket import Rocket
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each

N_ROWS = 300
ODD_ONE = 3  # not among the keys that are looked up


def rows(keys: list[int], teff: float) -> list[dict[str, Any]]:
    return [{"spectrum_pk": key, "teff": teff} for key in keys]


def task_pks() -> dict[int, int]:
    return {row.spectrum_pk: row.task_pk for row in Rocket.select()}


@pytest.fixture(params=[1, 7], ids=["near", "far"])
def keys(request: pytest.FixtureRequest, database: peewee.Database) -> list[int]:
    keys = [1 + request.param * place for place in range(N_ROWS)]
    Spectrum.insert_many([{"pk": key, "spectrum_flags": 0} for key in keys]).execute()
    return keys


def size_of_table(database: peewee.Database) -> int:
    if is_postgresql(database):
        return database.execute_sql("SELECT pg_total_relation_size(%s)", (quoted_table(Rocket),)).fetchone()[0]
    return database.execute_sql("PRAGMA page_count").fetchone()[0]


def test_all_but_one_exist(keys: list[int]) -> None:
    known = [key for place, key in enumerate(keys) if place != ODD_ONE]
    upsert(Rocket, rows(known, 1.0))
    before = task_pks()
    report = upsert(Rocket, rows(keys, 2.0))
    assert (report.inserted, report.updated, report.rows) == (1, N_ROWS - 1, N_ROWS)
    assert {row.teff for row in Rocket.select()} == {2.0}
    assert before.items() <= task_pks().items()


def test_none_but_one_exists(keys: list[int]) -> None:
    upsert(Rocket, rows([keys[ODD_ONE]], 1.0))
    before = task_pks()
    report = upsert(Rocket, rows(keys, 2.0))
    assert (report.inserted, report.updated, report.rows) == (N_ROWS - 1, 1, N_ROWS)
    assert {row.teff for row in Rocket.select()} == {2.0}
    assert before.items() <= task_pks().items()


def test_half_of_them_exist(keys: list[int]) -> None:
    upsert(Rocket, rows(keys[::2], 1.0))
    report = upsert(Rocket, rows(keys, 2.0))
    assert (report.inserted, report.updated) == (N_ROWS // 2, N_ROWS // 2)
    assert Rocket.select().where(Rocket.teff == 2).count() == N_ROWS


def test_identical_rows_are_left_alone_and_the_table_does_not_grow(keys: list[int], database: peewee.Database) -> None:
    upsert(Rocket, rows(keys, 1.0))
    before = {row.spectrum_pk: row.modified for row in Rocket.select()}, size_of_table(database)
    for _ in range(5):
        assert upsert(Rocket, rows(keys, 1.0), unchanged="skip").unchanged == N_ROWS
    assert ({row.spectrum_pk: row.modified for row in Rocket.select()}, size_of_table(database)) == before


def test_of_identical_rows_and_others_the_others_are_written(keys: list[int]) -> None:
    upsert(Rocket, rows(keys[1:], 1.0))
    changed = rows(keys[:ODD_ONE], 2.0) + rows(keys[ODD_ONE:], 1.0)
    report = upsert(Rocket, changed, unchanged="skip")
    assert (report.inserted, report.updated, report.unchanged) == (1, ODD_ONE - 1, N_ROWS - ODD_ONE)
    assert {row.spectrum_pk: row.teff for row in Rocket.select()} == {
        row["spectrum_pk"]: row["teff"] for row in changed
    }


@pytest.mark.parametrize("first", [0, N_ROWS - 1], ids=["first differs", "last differs"])
def test_rows_are_compared_with_those_of_their_own_version(keys: list[int], first: int) -> None:
    upsert(Rocket, [row | {"v_astra": 8_000} for row in rows(keys, 1.0)])
    upsert(Rocket, [row | {"v_astra": 9_000} for row in rows(keys, 2.0)])
    again = [row | {"v_astra": 8_000} for row in rows(keys, 1.0)]
    again[first]["teff"] = 2.0
    report = upsert(Rocket, again, unchanged="skip")
    assert (report.updated, report.unchanged, report.rows) == (1, N_ROWS - 1, N_ROWS)
    assert Rocket.select().where(Rocket.teff == 2).count() == N_ROWS + 1


def test_keys_may_be_as_far_apart_as_they_can(keys: list[int]) -> None:
    upsert(Rocket, rows(keys, 1.0))
    report = upsert(Rocket, rows([-(2**63), keys[0], 2**63 - 1], 2.0))
    assert (report.updated, report.rejected) == (1, 2)


def test_new_rows_among_batches_of_identical_ones_are_inserted(keys: list[int]) -> None:
    upsert(Rocket, rows(keys[:100] + keys[200:], 1.0))
    report = upsert(Rocket, rows(keys, 1.0), unchanged="skip", batch_size=50)
    assert (report.inserted, report.unchanged, report.rows) == (100, N_ROWS - 100, N_ROWS)


@pytest.mark.parametrize("batch_size", [None, 50, 1])
def test_a_tables_rows_may_come_in_any_order_and_the_last_of_a_key_wins(
    keys: list[int], batch_size: int | None
) -> None:
    table = np.zeros(2 * N_ROWS, dtype=[("spectrum_pk", "i8"), ("teff", "f4")])
    table["spectrum_pk"] = np.random.default_rng(1).permutation(np.repeat(keys, 2))
    table["teff"] = np.arange(2 * N_ROWS)
    report = upsert(Rocket, table, batch_size=batch_size)
    last = {int(row["spectrum_pk"]): float(row["teff"]) for row in table}
    assert {row.spectrum_pk: row.teff for row in Rocket.select()} == last
    assert (report.inserted, report.updated + report.superseded) == (N_ROWS, N_ROWS)


def test_what_a_table_holds_that_can_not_be_stored_is_kept_with_its_row(keys: list[int]) -> None:
    table = np.zeros(N_ROWS, dtype=[("spectrum_pk", "i8"), ("teff", "f8")])
    table["spectrum_pk"], table["teff"] = keys[::-1], np.arange(N_ROWS)
    table["teff"][ODD_ONE] = 1e300
    report = upsert(Rocket, table, batch_size=50)
    assert (report.inserted, report.rejected) == (N_ROWS - 1, 1)
    rejected = RejectedResult.get()
    assert (rejected.spectrum_pk, payload_from_json(rejected.payload)["teff"]) == (keys[::-1][ODD_ONE], 1e300)


@pytest.mark.lesson(14)
@pytest.mark.postgresql_only(reason="SQLite has no sequences")
def test_what_exists_uses_no_value_of_the_sequence(database: peewee.Database, keys: list[int]) -> None:
    upsert(Rocket, rows(keys, 1.0))
    for _ in range(5):
        upsert(Rocket, rows(keys, 2.0))
        upsert(Rocket, rows(keys, 2.0), unchanged="skip")
        upsert(Rocket, rows(keys, 2.0), keep_good=True)
    assert max(task_pks().values()) == N_ROWS
    Rocket.delete().where(Rocket.spectrum_pk == keys[-1]).execute()
    upsert(Rocket, rows(keys[-1:], 3.0))
    assert max(task_pks().values()) == N_ROWS + 1
