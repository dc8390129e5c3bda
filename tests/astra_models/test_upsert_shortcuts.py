"""Whether rows exist is guessed from a few of a batch's keys; a wrong guess changes nothing but the time it takes."""

from typing import Any

import peewee
import pytest

from astra_models.rocket import Rocket
from astra_models.upsert import upsert

N_ROWS = 500
ODD_ONE = 3  # not among the keys that are looked up


def rows(keys: list[int], teff: float) -> list[dict[str, Any]]:
    return [{"spectrum_pk": key, "teff": teff} for key in keys]


def task_pks() -> dict[int, int]:
    return {row.spectrum_pk: row.task_pk for row in Rocket.select()}


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in make_spectra(N_ROWS)]


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
