"""Moving all models to another database, and what happens to models that are defined later."""

import threading
from pathlib import Path

import peewee
import pytest

from astra_models import base
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.database.config import sqlite_database
from astra_models.fields import AutoField, FloatField, TextField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum


def sdss_ids() -> list[int]:
    return [source.sdss_id for source in Source.select()]


@pytest.mark.lesson(30)
def test_all_models_move_to_another_database(memory_database: peewee.Database, tmp_path: Path) -> None:
    Source.create(sdss_id=1)
    other = sqlite_database(tmp_path / "other.db")
    try:
        bind(other)
        for model in (Source, Spectrum, Rocket):
            model.create_table()
        assert sdss_ids() == []
        Source.create(sdss_id=2)
        assert sdss_ids() == [2]
    finally:
        other.close()
        bind(memory_database)
    assert sdss_ids() == [1]


@pytest.mark.lesson(30)
def test_models_that_are_defined_later_follow(database: peewee.Database) -> None:
    class Finder(PipelineOutputMixin):
        teff = FloatField(null=True)

    Finder.create_table()
    assert Finder._meta.schema == bound_schema()
    assert database.table_exists("finder", schema=bound_schema())
    assert Finder.select().count() == 0


@pytest.mark.lesson(30)
def test_models_that_were_defined_before_follow_when_bound_again(database: peewee.Database) -> None:
    class Finder(PipelineOutputMixin):
        teff = FloatField(null=True)

    elsewhere = sqlite_database(":memory:")
    schema = bound_schema()
    bind(elsewhere)
    bind(database, schema)
    Finder.create_table()
    assert database.table_exists("finder", schema=schema)
    assert elsewhere.get_tables() == []
    elsewhere.close()


def test_any_peewee_database_will_do(memory_database: peewee.Database, tmp_path: Path) -> None:
    plain = peewee.SqliteDatabase(str(tmp_path / "plain.db"))
    try:
        bind(plain)
        for model in (Source, Spectrum, Rocket):
            model.create_table()
        Source.create(sdss_id=3)
        assert sdss_ids() == [3]
    finally:
        plain.close()
        bind(memory_database)


def test_the_proxy_is_the_bound_database(memory_database: peewee.Database) -> None:
    assert base.database.obj is memory_database
    assert base.database.get_tables() == memory_database.get_tables()


@pytest.mark.lesson(30)
@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_tables_and_their_foreign_keys_are_in_the_bound_schema(database: peewee.Database) -> None:
    wanted = bound_schema() or "public"
    tables = set(database.get_tables(schema=wanted))
    assert {"source", "spectrum", "rocket", "corv", "boss_visit_spectrum"} <= tables
    cursor = database.execute_sql(
        "SELECT DISTINCT n.nspname, r.nspname FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace "
        "JOIN pg_class f ON f.oid = c.confrelid JOIN pg_namespace r ON r.oid = f.relnamespace "
        "WHERE c.contype = 'f'"
    )
    assert cursor.fetchall() == [(wanted, wanted)]


@pytest.mark.lesson(31)
def test_a_stray_environment_variable_changes_no_schema(
    monkeypatch: pytest.MonkeyPatch, memory_database: peewee.Database
) -> None:
    monkeypatch.setenv("FOO", "1")

    class Finder(PipelineOutputMixin):
        teff = FloatField(null=True)

    assert bound_schema() is None
    assert Finder._meta.schema is None
    assert Source._meta.schema is None


@pytest.mark.lesson(32)
def test_threads_see_the_same_rows_in_memory(memory_database: peewee.Database) -> None:
    Source.create(sdss_id=1)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(sdss_ids()))
    thread.start()
    thread.join()
    assert seen == [1]


@pytest.mark.lesson(32)
def test_threads_may_write_at_the_same_time_in_memory(memory_database: peewee.Database) -> None:
    def write(first: int) -> None:
        for i in range(50):
            Source.create(sdss_id=first + i)

    threads = [threading.Thread(target=write, args=(1000 * i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Source.select().count() == 200


def test_a_base_has_no_table_of_its_own(memory_database: peewee.Database) -> None:
    from astra_models.errors import AbstractModelError

    for model in (BaseModel, PipelineOutputMixin):
        with pytest.raises(AbstractModelError, match=f"{model.__name__} is a base .* create theirs"):
            model.create_table()


def test_concrete_models_are_those_with_a_table() -> None:
    class Kind(BaseModel):
        abstract = True
        pk = AutoField()

    class Table(Kind):
        name = TextField()

    class Derived(Table):
        other = TextField()

    assert list(Kind.concrete_models()) == [Table, Derived]


def test_a_table_is_named_after_its_class() -> None:
    names = {model.__name__: model._meta.table_name for model in BaseModel.concrete_models()}
    assert names["BossVisitSpectrum"] == "boss_visit_spectrum"
    assert names["ApogeeCoaddedSpectrumInApStar"] == "apogee_coadded_spectrum_in_ap_star"


def test_creating_a_table_twice_is_no_error(database: peewee.Database) -> None:
    Rocket.create_table()
    assert Rocket.select().count() == 0
