"""Real faults of a real server, in the middle of a batch: every row is there once, or a clear error and none is."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import peewee
import psycopg2
import pytest

from astra_models.base import bind, database
from astra_models.database import retry
from astra_models.database.causes import explained
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.errors import DatabaseUnavailableError, TransactionInterruptedError
from astra_models.rocket import Rocket
from astra_models.upsert import upsert

N_ROWS = 50_000
BATCH = 5000

OTHERS = "pid <> pg_backend_pid() AND backend_type = 'client backend' AND application_name = 'astra'"
KILL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}"


def rows(tag: str = "") -> list[dict[str, Any]]:
    return [{"spectrum_pk": pk, "source_pk": pk % 100 + 1, "teff": 1.0, "tag": tag} for pk in range(1, N_ROWS + 1)]


def stored(tag: str) -> int:
    return Rocket.select().where(Rocket.tag == tag).count()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.2)


def meanwhile(disturb: Callable[[], None], n_times: int, pause: Callable[[], float]) -> threading.Thread:
    def repeat() -> None:
        for _ in range(n_times):
            time.sleep(pause())
            disturb()

    thread = threading.Thread(target=repeat)
    thread.start()
    return thread


def test_connection_terminated_in_the_middle_of_batches(
    postgresql_target: dict[str, Any], administrator: Any, full_length: bool, figures: Any, caplog: Any
) -> None:
    wanted, clock, total = (50 if full_length else 5), random.Random(1), 0
    upsert(Rocket, rows("before"))

    def cut() -> None:
        nonlocal total
        while True:
            administrator.execute(KILL)
            if administrator.rowcount:
                break
            time.sleep(0.01)  # it was between two connections
        total += administrator.rowcount

    thread = meanwhile(cut, wanted, lambda: clock.uniform(0.05, 0.6))
    passes = 0
    while thread.is_alive():
        assert upsert(Rocket, rows("during"), batch_size=BATCH).rows == N_ROWS
        passes += 1
    thread.join()
    database.close()  # it may have been cut after the last pass
    assert stored("during") == Rocket.select().count() == N_ROWS
    assert total >= wanted
    assert [record for record in caplog.records if "trying again" in record.message]
    figures(f"{total} connections terminated over {passes} passes of {N_ROWS} rows; every row is there once")


def test_server_stopped_and_started(
    postgresql_target: dict[str, Any], server: Any, full_length: bool, figures: Any
) -> None:
    restarts, clock = (50 if full_length else 2), random.Random(2)

    def restart() -> None:
        server.stop()
        time.sleep(clock.uniform(0, 0.3))
        server.start()

    thread = meanwhile(restart, restarts, lambda: clock.uniform(0.2, 0.8))
    passes = 0
    while thread.is_alive():
        upsert(Rocket, rows("through"), batch_size=BATCH)
        passes += 1
    thread.join()
    database.close()  # it may have been cut after the last pass
    assert stored("through") == Rocket.select().count() == N_ROWS
    figures(f"{restarts} restarts of the server over {passes} passes of {N_ROWS} rows; every row is there once")


def test_deadlock_made_on_purpose_is_tried_again(
    postgresql_target: dict[str, Any], parameters: dict[str, Any], caplog: Any
) -> None:
    upsert(Rocket, rows("before"))
    other = psycopg2.connect(**parameters)
    with other.cursor() as cursor:
        # The other locks the last row, then wants the first, which the upsert has locked by then.
        cursor.execute("SET deadlock_timeout = '30s'")
        cursor.execute("UPDATE rocket SET tag = 'other' WHERE spectrum_pk = %s", (BATCH,))
        thread = threading.Thread(target=lambda: upsert(Rocket, rows("after")[:BATCH]))
        thread.start()
        _wait_until_blocked(parameters)
        cursor.execute("UPDATE rocket SET tag = 'other' WHERE spectrum_pk = 1")
        other.commit()
    thread.join()
    other.close()
    assert stored("after") == BATCH
    assert any("deadlock detected" in record.message for record in caplog.records)


def _wait_until_blocked(parameters: dict[str, Any]) -> None:
    connection = psycopg2.connect(**parameters)
    connection.autocommit = True
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'astra'"
    with connection.cursor() as cursor:
        for _ in range(200):
            cursor.execute(blocked)
            if cursor.fetchone()[0]:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the upsert was never blocked")
    connection.close()


def test_lock_held_past_the_timeout(postgresql_target: dict[str, Any], parameters: dict[str, Any]) -> None:
    upsert(Rocket, rows("before")[:10])
    bind(postgresql_database(**parameters, options="-c lock_timeout=100"))
    other = psycopg2.connect(**parameters)
    other.cursor().execute("UPDATE rocket SET tag = 'other'")
    release = threading.Timer(1.0, other.commit)
    release.start()
    assert upsert(Rocket, rows("after")[:10]).updated == 10
    release.join()
    other.close()
    assert stored("after") == 10


def test_lock_held_past_the_deadline_is_a_clear_error(
    postgresql_target: dict[str, Any], parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert(Rocket, rows("before")[:10])
    bind(postgresql_database(**parameters, options="-c lock_timeout=100"))
    monkeypatch.setattr(retry, "DEADLINE", 0.5)
    other = psycopg2.connect(**parameters)
    other.cursor().execute("UPDATE rocket SET tag = 'other'")
    with pytest.raises(DatabaseUnavailableError, match=r"still failing after .* s of retries"):
        upsert(Rocket, rows("after")[:10])
    other.close()
    assert stored("before") == 10


@pytest.fixture
def one_connection(parameters: dict[str, Any], administrator: Any) -> Iterator[dict[str, Any]]:
    administrator.execute("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1; GRANT ALL ON SCHEMA public TO crowd")
    administrator.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO crowd")
    administrator.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO crowd")
    yield parameters | {"user": "crowd"}
    database.close()
    bind(postgresql_database(**parameters))
    administrator.execute("DROP OWNED BY crowd; DROP ROLE crowd")


def test_too_many_connections_while_connecting_again(
    postgresql_target: dict[str, Any], one_connection: dict[str, Any], administrator: Any, caplog: Any
) -> None:
    bind(postgresql_database(**one_connection))
    upsert(Rocket, rows("crowd")[:5])
    administrator.execute("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = 'crowd'")
    holder = psycopg2.connect(**one_connection)
    release = threading.Timer(0.5, holder.close)
    release.start()
    assert upsert(Rocket, rows("crowd")[:10]).rows == 10
    release.join()
    assert stored("crowd") == 10
    assert any("too many connections" in record.message for record in caplog.records)


def test_too_many_connections_at_first_is_a_clear_error(
    postgresql_target: dict[str, Any], one_connection: dict[str, Any]
) -> None:
    holder = psycopg2.connect(**one_connection)
    bind(postgresql_database(**one_connection))
    with pytest.raises(DatabaseUnavailableError, match="too many connections for role"):
        upsert(Rocket, rows("crowd")[:10])
    holder.close()


def test_inside_the_callers_transaction_nothing_is_retried(
    postgresql_target: dict[str, Any], administrator: Any
) -> None:
    with pytest.raises(TransactionInterruptedError, match="run that whole transaction again"), database.atomic():
        upsert(Rocket, rows("inside")[:10])
        administrator.execute(KILL)
        upsert(Rocket, rows("inside")[10:20])
    assert stored("inside") == 0


@pytest.mark.parametrize(
    "wrong", [{"dbname": "no_such_database"}, {"user": "no_such_user"}, {"host": "/no/such/folder"}]
)
def test_what_no_retry_mends_fails_at_once(
    postgresql_target: dict[str, Any], parameters: dict[str, Any], wrong: dict[str, str]
) -> None:
    bind(postgresql_database(**parameters | wrong))
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="can't be used"):
        upsert(Rocket, rows()[:10])
    assert time.monotonic() - started < 5


def test_connection_lost_where_nothing_is_retried_is_explained(
    postgresql_target: dict[str, Any], administrator: Any
) -> None:
    with pytest.raises(peewee.PeeweeException) as caught, database.atomic():
        administrator.execute(KILL)
        database.execute_sql("SELECT 1")
    known = explained(database, caught.value)
    assert isinstance(known, DatabaseUnavailableError)
    assert "the connection was lost (" in str(known)


def test_sqlite_file_locked_by_another_process(tmp_path: Any, caplog: Any) -> None:
    import sqlite3

    from astra_models.schema.tables import create_tables
    from astra_models.spectrum import Spectrum

    path = tmp_path / "locked.db"
    bind(sqlite_database(path, {"busy_timeout": 50}))
    create_tables()
    spectrum = Spectrum.create()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.8, lambda: other.execute("COMMIT"))
    release.start()
    with caplog.at_level(logging.WARNING):
        assert upsert(Rocket, [{"spectrum_pk": spectrum.pk, "teff": 1.0}]).inserted == 1
    release.join()
    other.close()
    assert any("locked" in record.message for record in caplog.records)
    database.close()
