"""Tables, schemas, and databases that can't be reached."""

import threading
import time
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.database.retry import describe, run_transaction
from astra_models.errors import DatabaseUnavailableError, MissingTableError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables, existing_tables, require_tables
from astra_models.source import Source
from astra_models.upsert import upsert


@pytest.fixture
def elsewhere() -> Any:
    """Give a function that binds all models to another database, until the test ends."""
    before = base.database.obj, bound_schema()
    bound: list[peewee.Database] = []

    def rebind(database: peewee.Database, schema: str | None = None) -> None:
        bound.append(database)
        bind(database, schema)

    yield rebind
    for database in bound:
        database.close()
    bind(*before)


# ---- tables


def test_missing_tables_are_made_once(database: peewee.Database) -> None:
    Rocket.drop_table()
    RejectedResult.drop_table()
    assert set(create_tables()) == {"rocket", "rejected_result"}
    assert create_tables() == []
    assert {"source", "spectrum", "rocket", "rejected_result"} <= existing_tables()


def test_all_tables_are_made_in_an_empty_file(tmp_path: Path, elsewhere: Any) -> None:
    elsewhere(sqlite_database(tmp_path / "new.db"))
    assert {"source", "spectrum", "boss_visit_spectrum", "rocket", "corv"} <= set(create_tables())
    assert existing_tables() >= {"source", "rocket"}


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_a_missing_schema_is_made_with_its_tables(database: Any, elsewhere: Any) -> None:
    elsewhere(peewee.PostgresqlDatabase(database.database, **database.connect_params), 'new "schema"')
    assert "rocket" in create_tables()
    Source.create(sdss_id=1)
    assert [source.sdss_id for source in Source.select()] == [1]


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_a_schema_that_does_not_exist_is_an_error_that_names_it(database: Any, elsewhere: Any) -> None:
    elsewhere(peewee.PostgresqlDatabase(database.database, **database.connect_params), "astra_404")
    with pytest.raises(MissingTableError, match=r"no schema 'astra_404'.*astra init"):
        require_tables(Rocket)
    with pytest.raises(MissingTableError, match="astra_404"):
        upsert(Rocket, [{"spectrum_pk": 1}])


def test_a_missing_table_is_an_error_that_names_it_and_the_remedy(database: peewee.Database) -> None:
    Rocket.drop_table()
    with pytest.raises(MissingTableError, match=r"rocket.* for Rocket; .*Rocket\.create_table\(\)"):
        require_tables(Source, Rocket)


def test_the_list_of_failures_is_made_when_it_is_needed(database: peewee.Database) -> None:
    RejectedResult.drop_table()
    require_tables(Rocket)
    assert RejectedResult.table_exists()


# ---- databases that can't be reached


@pytest.mark.parametrize("parameters", [{"host": "/no/such/folder"}, {"host": "127.0.0.1", "port": 1}])
def test_a_database_that_can_not_be_reached_is_an_error_at_once(elsewhere: Any, parameters: dict[str, Any]) -> None:
    elsewhere(postgresql_database("sdss5db", user="astra", password="secret", **parameters))
    started = time.monotonic()
    for use in (existing_tables, lambda: upsert(Rocket, [{"spectrum_pk": 1}])):
        with pytest.raises(DatabaseUnavailableError, match=r"sdss5db.*can't be used") as unreachable:
            use()
        assert "secret" not in str(unreachable.value)
    assert time.monotonic() - started < 10
    assert issubclass(DatabaseUnavailableError, ConnectionError)


@pytest.mark.postgresql_only(reason="needs a server")
def test_a_database_that_does_not_exist_is_an_error_that_names_it(database: Any, elsewhere: Any) -> None:
    elsewhere(postgresql_database("no_such_database", **database.connect_params))
    with pytest.raises(DatabaseUnavailableError, match="no_such_database"):
        existing_tables()


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path, elsewhere: Any) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("This is not a database.\n" * 100)
    elsewhere(sqlite_database(file))
    with pytest.raises((DatabaseUnavailableError, peewee.DatabaseError), match="not a database"):
        existing_tables()


def test_a_description_holds_no_password() -> None:
    database = postgresql_database("sdss5db", user="astra", password="secret", host="pg.example.org")
    assert "sdss5db" in describe(database)
    assert "secret" not in describe(database)


# ---- transactions and threads


@pytest.mark.lesson(35)
def test_a_users_error_takes_the_whole_transaction_back(database: peewee.Database) -> None:
    def work() -> None:
        Source.create(sdss_id=1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_transaction(database, work)
    assert Source.select().count() == 0


@pytest.mark.lesson(32)
def test_every_thread_has_a_connection_that_works(database: peewee.Database, make_spectra: Any) -> None:
    class Counter(PipelineOutputMixin):
        pass

    Counter.create_table()
    spectra: list[BossVisitSpectrum] = make_spectra(20)
    failures: list[BaseException] = []

    def write(some: list[BossVisitSpectrum]) -> None:
        try:
            upsert(Counter, [Counter.from_spectrum(spectrum) for spectrum in some])
        except BaseException as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=write, args=(spectra[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Counter.select().count() == 20
