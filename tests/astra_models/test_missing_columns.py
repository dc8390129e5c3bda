"""Tables that are older than a column of their model: it is read as NULL, and a write says how to add it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import peewee
import pytest

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_models.database.layout import layout_of
from astra_models.errors import MissingColumnError, ReadOnlyTableError
from astra_models.fields import FloatField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products import to_table
from astra_models.source import Source
from astra_models.upsert import upsert

Rows = list[BossVisitSpectrum]


def alter(change: str, table: str = "corv") -> None:
    """Change a table as somebody else does: the models learn of it when they are bound."""
    schema = f'"{bound_schema()}".' if bound_schema() else ""
    base.database.execute_sql(f'ALTER TABLE {schema}"{table}" {change}')


@pytest.fixture
def older(database: peewee.Database, spectrum: BossVisitSpectrum) -> Iterator[BossVisitSpectrum]:
    """Give a spectrum with a result in a table that has no column ``rchi2``."""
    upsert(Corv, [Corv.from_spectrum(spectrum, teff=12_000.0, rchi2=1.5)])
    alter("DROP COLUMN rchi2")
    bind(base.database.obj, bound_schema())
    yield spectrum
    Corv.drop_table()  # so that the next test gets one with all columns


# ---- reading


def test_a_missing_column_is_read_as_null(older: BossVisitSpectrum) -> None:
    [row] = Corv.select()
    assert (row.teff, row.rchi2, row.spectrum_pk) == (12_000, None, older.spectrum_pk)
    [joined] = Corv.latest(Corv, Source).join(Source, attr="source")
    assert (joined.rchi2, joined.source.sdss_id) == (None, 54_392_544)
    assert "rchi2" not in to_table(Corv).colnames


def test_a_query_that_was_made_before_is_run_too(older: BossVisitSpectrum) -> None:
    bind(base.database.obj, bound_schema())
    query = Corv.select()
    assert "rchi2" in query.sql()[0]
    assert [row.rchi2 for row in query] == [None]


def test_values_stay_in_their_places(older: BossVisitSpectrum) -> None:
    columns = (Corv.spectrum_pk, Corv.rchi2, Corv.teff)
    assert list(Corv.select(*columns).tuples()) == [(older.spectrum_pk, None, 12_000)]
    assert list(Corv.select(*columns).dicts()) == [{"spectrum_pk": older.spectrum_pk, "rchi2": None, "teff": 12_000}]
    assert [row.rchi2 for row in Corv.select(Corv.rchi2)] == [None]
    assert Corv.select(Corv.rchi2).scalar() is None
    other = Corv.alias()
    assert list(other.select(other.rchi2, other.teff).tuples()) == [(None, 12_000)]


def test_a_condition_on_a_missing_column_says_how_to_add_it(older: BossVisitSpectrum) -> None:
    with pytest.raises(MissingColumnError, match=r"rchi2.* column rchi2 is missing from corv: add it with `astra migr"):
        Corv.select().where(Corv.rchi2 > 1).exists()


def test_an_error_about_something_else_stays_what_it_is(older: BossVisitSpectrum) -> None:
    with pytest.raises((peewee.OperationalError, peewee.ProgrammingError)):
        Corv.select(peewee.SQL("1 +")).exists()


# ---- writing


def test_a_row_without_a_value_is_written(older: BossVisitSpectrum, make_spectra: Callable[..., Rows]) -> None:
    second, third = make_spectra(2)
    assert upsert(Corv, [Corv.from_spectrum(second, teff=5.0), {"spectrum_pk": older.spectrum_pk}]).rejected == 0
    Corv.create(spectrum_pk=third.spectrum_pk, teff=7.0)
    assert {row.teff for row in Corv.select()} == {5, 7, None}


@pytest.mark.parametrize("value", [2.0, float("inf")])
def test_a_value_says_which_column_to_add_and_how(
    older: BossVisitSpectrum, make_spectra: Callable[..., Rows], value: float
) -> None:
    [other] = make_spectra(1)
    remedy = r"Corv\.rchi2 is .* table 'corv' has no such column; add it with `astra migrate up`.*ADD COLUMN \"rchi2\""
    with pytest.raises(MissingColumnError, match=remedy):
        upsert(Corv, [Corv.from_spectrum(other, rchi2=value)])
    with pytest.raises(MissingColumnError, match=remedy):
        Corv.create(spectrum_pk=other.spectrum_pk, rchi2=value)
    with pytest.raises(MissingColumnError, match="rchi2"):
        Corv.update(rchi2=value).execute()
    assert Corv.select().count() == 1


def test_saving_the_first_row_after_a_bind_says_so_too(older: BossVisitSpectrum) -> None:
    bind(base.database.obj, bound_schema())
    with pytest.raises(MissingColumnError, match=r"Corv\.rchi2 is 2\.0"):
        Corv.from_spectrum(older, v_astra=9_000_000, rchi2=2.0).save()
    bind(base.database.obj, bound_schema())
    Corv.from_spectrum(older, v_astra=9_000_000, teff=2.0).save()


def test_the_remedy_of_another_packages_model_is_its_own_migration(
    database: peewee.Database, spectrum: BossVisitSpectrum
) -> None:
    body = {"__module__": "my_survey.models", "teff": FloatField(null=True)}
    model: Any = type("Finder", (PipelineOutputMixin,), body)
    model.create_table()
    alter("DROP COLUMN teff", "finder")
    bind(base.database.obj, bound_schema())
    with pytest.raises(MissingColumnError, match="add it with `astra migrate make my_survey` and `astra migrate up`"):
        upsert(model, [model.from_spectrum(spectrum, teff=1.0)])


def test_the_remedy_of_a_notebooks_model_is_a_statement_that_adds_it(
    database: peewee.Database, spectrum: BossVisitSpectrum
) -> None:
    body = {"__module__": "__main__", "teff": FloatField(null=True)}
    model: Any = type("Finder", (PipelineOutputMixin,), body)
    model.create_table()
    alter("DROP COLUMN teff", "finder")
    bind(base.database.obj, bound_schema())
    row = model.from_spectrum(spectrum, teff=1.0)
    with pytest.raises(MissingColumnError, match="add it with `ALTER TABLE") as caught:
        upsert(model, [row])
    base.database.execute_sql(str(caught.value).split("`")[1])
    assert upsert(model, [row]).inserted == 1  # it is looked for again after the refusal
    assert [row.teff for row in model.select()] == [1]


def test_a_table_without_its_key_is_read_and_not_written(older: BossVisitSpectrum) -> None:
    alter("RENAME COLUMN v_astra_major_minor TO renamed")
    bind(base.database.obj, bound_schema())
    assert [row.teff for row in Corv.select()] == [12_000]
    with pytest.raises(ReadOnlyTableError, match="no column v_astra_major_minor, by which rows are found again"):
        upsert(Corv, [{"spectrum_pk": older.spectrum_pk, "teff": 1.0}])


# ---- when tables change


def test_a_column_that_is_added_is_seen_after_the_next_bind(older: BossVisitSpectrum) -> None:
    assert Corv.get().rchi2 is None
    alter("ADD COLUMN rchi2 REAL")
    bind(base.database.obj, bound_schema())
    upsert(Corv, [Corv.from_spectrum(older, rchi2=2.5)])
    assert Corv.get().rchi2 == 2.5


def test_a_table_that_is_made_again_is_as_its_model_says(older: BossVisitSpectrum) -> None:
    assert Corv.get().rchi2 is None
    Corv.drop_table()
    Corv.create_table()
    upsert(Corv, [Corv.from_spectrum(older, rchi2=2.5)])
    assert Corv.get().rchi2 == 2.5


@pytest.fixture
def empty_memory() -> Iterator[peewee.Database]:
    """Bind all models to a SQLite database in memory that has no tables."""
    before, empty = (base.database.obj, bound_schema()), sqlite_database(":memory:")
    bind(empty)
    yield empty
    empty.close()
    bind(*before)


def test_tables_that_are_made_after_the_first_query_are_known(empty_memory: peewee.Database) -> None:
    with pytest.raises(peewee.OperationalError, match="no such table"):
        Source.select().exists()
    empty_memory.create_tables([Source])
    assert Source.create(sdss_id=1, ra=2.0).ra == 2


def test_an_older_table_that_comes_after_the_first_query_is_followed(empty_memory: peewee.Database) -> None:
    empty_memory.create_tables([Source])
    assert not Source.select().exists()
    base.database.execute_sql("CREATE TABLE finder (task_pk INTEGER PRIMARY KEY, teff REAL)")
    base.database.execute_sql("INSERT INTO finder (teff) VALUES (5000)")

    class Finder(PipelineOutputMixin):
        teff = FloatField(null=True)
        logg = FloatField(null=True)

    assert [(row.teff, row.logg, row.v_astra) for row in Finder.select()] == [(5000, None, None)]


# ---- what it costs


@pytest.mark.sqlite_only(reason="PostgreSQL's catalogue is counted in test_production_schema.py")
def test_tables_as_the_models_say_cost_one_query_per_bind(
    database: peewee.Database, recorded_queries: Callable[[], AbstractContextManager[list[str]]]
) -> None:
    bind(base.database.obj)
    with recorded_queries() as seen:
        for _ in range(3):
            Corv.select().exists()
        Corv.create_table()
        Corv.select().exists()
    assert sum("sqlite_master" in sql for sql in seen) == 1
    assert layout_of(Corv) is None
