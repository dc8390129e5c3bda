"""An adoption that is killed, cut off or started twice goes on, and doubles nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from astra_models import base
from astra_models.adoption import adopt
from astra_models.adoption import ledger as record
from astra_models.adoption.in_place import bound_to
from astra_models.base import bind, bound_schema
from astra_models.bossnet import BossNet
from astra_models.database.config import postgresql_database
from astra_models.errors import AlreadyRunningError
from astra_models.rejected import RejectedResult
from astra_models.spectrum import Spectrum
from tests.production import statements

THERE, HERE = "astra_080_stopped", "astra_090_stopped"
ROWS = 4_000
CHUNK = 100
SCRIPT = f"""
import json, os
from astra_models.adoption import adopt
from astra_models.base import bind
from astra_models.database.config import postgresql_database
bind(postgresql_database(**json.loads(os.environ["DSN"])))
print("begun", flush=True)
adopt("{THERE}", "{HERE}", chunk={CHUNK}, check=False)
"""
Query = Callable[..., list[Any]]


@pytest.fixture
def query(postgresql: dict[str, str]) -> Iterator[Query]:
    """Make a production schema with thousands of results; gives a function that runs SQL."""
    with closing(psycopg2.connect(**postgresql)) as connection:
        connection.autocommit = True

        def run(sql: str, *parameters: Any) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []

        before = base.database.obj, bound_schema()
        database = postgresql_database(**postgresql)
        bind(database)
        try:
            for statement in statements("v080", THERE):
                run(statement)
            run(f"INSERT INTO {THERE}.spectrum (pk, spectrum_flags) SELECT i, 0 FROM generate_series(1, {ROWS}) i")
            run(
                f"INSERT INTO {THERE}.boss_net (task_pk, spectrum_pk, v_astra, created, modified, tag, result_flags, "
                f"teff) SELECT 3 * i, i, 8000, '2024-01-01', '2024-01-01', '', 0, i FROM generate_series(1, {ROWS}) i"
            )
            run(f"ALTER TABLE {THERE}.boss_net DROP CONSTRAINT boss_net_spectrum_pk_fkey")
            run(f"UPDATE {THERE}.boss_net SET spectrum_pk = -task_pk WHERE task_pk % 1500 = 0")
            yield run
        finally:
            database.close()
            bind(*before)
            run(f"DROP SCHEMA IF EXISTS {THERE} CASCADE")
            run(f"DROP SCHEMA IF EXISTS {HERE} CASCADE")


@pytest.fixture
def start(postgresql: dict[str, str]) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Give a function that starts an adoption in a process of its own."""
    import json

    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        environment = {**os.environ, "DSN": json.dumps(postgresql), "ASTRA_DATABASE_PATH": ":memory:"}
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_until(query: Query, table: str, rows: int) -> None:
    """Wait until so many rows of a table are there, and not yet all."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        there = query("SELECT to_regclass(%s) IS NOT NULL", f"{HERE}.adoption_chunk")[0][0]
        if there and query(f"SELECT count(*) FROM {HERE}.{table}")[0][0] >= rows:
            return
        time.sleep(0.005)
    raise AssertionError(f"{table} never had {rows} rows")


def check_all_is_there(rejected: int) -> None:
    """Check that every row is there once, or listed once."""
    with bound_to(HERE):
        assert Spectrum.select().count() == ROWS
        assert BossNet.select().count() == ROWS - rejected
        assert RejectedResult.select().count() == rejected
        assert sum(row.teff for row in BossNet.select()) == sum(i for i in range(1, ROWS + 1) if 3 * i % 1500)


def test_a_killed_adoption_goes_on(query: Query, start: Callable[[], subprocess.Popen[str]]) -> None:
    process = start()
    wait_until(query, "boss_net", CHUNK)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with bound_to(HERE):
        stopped_at = BossNet.select().count()
    assert stopped_at < ROWS - ROWS // 500
    report = adopt(THERE, HERE, chunk=CHUNK)
    assert report.is_good
    assert not report.is_first
    assert report.tables["spectrum"].rows == 0
    assert 0 < report.tables["boss_net"].before < ROWS
    check_all_is_there(rejected=ROWS // 500)


def test_a_connection_that_is_cut_is_opened_again(query: Query, start: Callable[[], subprocess.Popen[str]]) -> None:
    process = start()
    for rows in (CHUNK, 20 * CHUNK):
        wait_until(query, "boss_net", rows)
        query(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted "
            "AND l.pid <> pg_backend_pid() "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert adopt(THERE, HERE).is_good
    check_all_is_there(rejected=ROWS // 500)


def test_a_second_adoption_is_refused_while_one_runs(
    query: Query, start: Callable[[], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "WAIT", 0.2)
    process = start()
    wait_until(query, "spectrum", CHUNK)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(AlreadyRunningError, match=r"is being adopted by another process \(server process \d+"):
        adopt(THERE, HERE)
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    check_all_is_there(rejected=ROWS // 500)
