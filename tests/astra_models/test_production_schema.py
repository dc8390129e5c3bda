"""A production schema, made by other software, opens as it is: it is read and written without a migration."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import peewee
import psycopg2
import pytest

from astra_models import base
from astra_models.analysis.due import newest_version, select_due
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.config import postgresql_database, sqlite_database
from astra_models.database.layout import layout_of
from astra_models.errors import ConfigurationError, MigrationError, MissingColumnError, ReadOnlyTableError
from astra_models.mwm import BossCombinedSpectrum
from astra_models.outputs import packages
from astra_models.schema.migration import migrate, require_current
from astra_models.slam import Slam
from astra_models.source import Source
from astra_models.spectrum import Spectrum, load_spectra
from astra_models.upsert import upsert
from tests.production import insert, statements

DENVER = ZoneInfo("America/Denver")
NAMES = itertools.count()

Open = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.fixture
def open_production(postgresql: dict[str, str]) -> Iterator[Open]:
    """Give a function that makes a production schema, changes it, and binds all models to it for a while."""
    connection = psycopg2.connect(**postgresql)
    connection.autocommit = True

    @contextlib.contextmanager
    def opened(
        release: str = "v080", *changes: str, timezone: str | None = "America/Denver"
    ) -> Iterator[Callable[..., list[Any]]]:
        schema = f"astra_{release[1:]}_{next(NAMES)}"

        def query(sql: str, *parameters: Any) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(f'SET search_path TO "{schema}"')
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []

        before = base.database.obj, bound_schema()
        database = postgresql_database(**postgresql, timezone=timezone)
        try:
            for statement in (*statements(release, schema), *changes):
                query(statement)
            bind(database, schema)
            yield query
        finally:
            database.close()
            bind(*before)
            query(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    yield opened
    connection.close()


@pytest.fixture(params=["v080", "v081"])
def production(request: pytest.FixtureRequest, open_production: Open) -> Iterator[Callable[..., list[Any]]]:
    """Bind all models to a production schema with two spectra; gives a function that runs SQL in it."""
    with open_production(request.param) as query:
        fill(query)
        yield query


def fill(query: Callable[..., list[Any]]) -> None:
    """Store a source, two BOSS visits, and a result of one of them, as the other software does."""
    insert(query, "source", pk=1, sdss_id=54_392_544, ra=266.5)
    for pk in (1, 2):
        query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (%s, 0)", pk)
        visit = {"source_pk": 1, "mjd": 59_900, "fieldid": 15_000, "catalogid": pk, "run2d": "v6_1_1"}
        modified = "2024-07-01 12:00:00"
        insert(query, "boss_visit_spectrum", pk=pk, spectrum_pk=pk, telescope="apo25m", modified=modified, **visit)
    query("SELECT setval('spectrum_pk_seq', 2)")
    insert(query, "corv", spectrum_pk=1, source_pk=1, v_astra=8000, teff=12_000, modified="2024-07-01 13:00:00")


# ---- reading


def test_rows_are_read_as_from_our_own_tables(production: Callable[..., list[Any]]) -> None:
    [result] = Corv.select().where(Corv.teff > 10_000)
    assert (result.spectrum_pk, result.source_pk, result.v_astra, result.v_astra_major_minor) == (1, 1, 8000, 8)
    [joined] = Corv.select(Corv, Source).join(Source, attr="source").where(Source.sdss_id == 54_392_544)
    assert joined.source.ra == 266.5
    assert [visit.spectrum_pk for visit in BossVisitSpectrum.select().order_by(BossVisitSpectrum.pk)] == [1, 2]
    assert Spectrum.get_by_id(2).resolve().catalogid == 2


def test_every_table_that_is_there_is_read(production: Callable[..., list[Any]]) -> None:
    there = set(base.database.get_tables(bound_schema()))
    models = [model for model in base.BaseModel.concrete_models() if model._meta.table_name in there]
    assert len(models) >= 20
    for model in models:
        list(model.select().limit(1))
        list(model.alias().select().limit(1))


def test_local_times_are_read_as_aware_moments(production: Callable[..., list[Any]]) -> None:
    assert Corv.get().modified == datetime(2024, 7, 1, 19, tzinfo=UTC)
    assert Corv.get().modified.tzinfo is UTC


def test_moments_are_stored_in_local_time(production: Callable[..., list[Any]]) -> None:
    Corv.update(modified=datetime(2024, 1, 15, 12, tzinfo=UTC)).execute()
    assert production("SELECT modified::text FROM corv") == [("2024-01-15 05:00:00",)]


@pytest.mark.parametrize(("hour", "n_found"), [(18, 1), (19, 0), (20, 0)])
def test_moments_are_compared_with_local_times(production: Callable[..., list[Any]], hour: int, n_found: int) -> None:
    moment = datetime(2024, 7, 1, hour, tzinfo=UTC)
    assert Corv.select().where(Corv.modified > moment).count() == n_found
    assert Corv.select().where(Corv.modified > moment.astimezone(DENVER)).count() == n_found
    assert Corv.select().where(Corv.modified.hour > hour).count() == n_found


def test_a_column_of_another_name_is_found(production: Callable[..., list[Any]]) -> None:
    insert(production, "boss_combined_spectrum", spectrum_pk_id=1, source_pk=1, v_astra="0.8.0")
    assert "spectrum_pk" not in {name for (name,) in production(COLUMNS, "boss_combined_spectrum")}
    [row] = BossCombinedSpectrum.select().where(BossCombinedSpectrum.spectrum_pk == 1)
    assert row.spectrum_pk == 1
    [joined] = BossCombinedSpectrum.select(BossCombinedSpectrum).join(Spectrum).where(Spectrum.pk == 1)
    assert joined.spectrum_pk == 1


def test_versions_that_are_stored_as_text_are_numbers(production: Callable[..., list[Any]]) -> None:
    insert(production, "boss_combined_spectrum", v_astra="0.8.0")
    assert [row.v_astra for row in BossCombinedSpectrum.select().where(BossCombinedSpectrum.v_astra == 8000)] == [8000]
    assert not BossCombinedSpectrum.select().where(BossCombinedSpectrum.v_astra == 8001).exists()
    production("UPDATE boss_combined_spectrum SET spectrum_pk_id = 1")
    assert [spectrum.v_astra for spectrum in load_spectra(BossCombinedSpectrum, [1])] == [8000]


COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = %s"


def test_columns_that_are_missing_are_read_as_none(production: Callable[..., list[Any]]) -> None:
    assert "path" not in {name for (name,) in production(COLUMNS, "boss_visit_spectrum")}
    visit = BossVisitSpectrum.get()
    assert visit.path is None
    assert "path" not in BossVisitSpectrum.select().sql()[0]


def test_a_query_about_a_missing_column_says_so(production: Callable[..., list[Any]]) -> None:
    with pytest.raises(MissingColumnError, match=r"path.*missing from .*boss_visit_spectrum.*astra check-schema"):
        BossVisitSpectrum.select().where(BossVisitSpectrum.path == "x").exists()


# ---- writing


def test_results_are_upserted(production: Callable[..., list[Any]]) -> None:
    [before] = Corv.select()
    now = datetime.now(UTC)
    rows = [
        {"spectrum_pk": 1, "source_pk": 1, "v_astra": 8001, "teff": 13_000.0},
        {"spectrum_pk": 2, "source_pk": 1, "v_astra": 8001, "teff": 14_000.0, "tag": "new"},
    ]
    report = upsert(Corv, rows)
    assert (report.inserted, report.updated, report.rejected) == (1, 1, 0)
    first, second = Corv.select().order_by(Corv.spectrum_pk)
    assert (first.task_pk, first.created, first.teff, first.v_astra) == (before.task_pk, before.created, 13_000, 8001)
    assert (second.task_pk, second.teff, second.tag) == (before.task_pk + 1, 14_000, "new")
    for row in (first, second):
        assert timedelta(0) <= row.modified - now < timedelta(minutes=1)


@pytest.mark.parametrize("options", [{}, {"unchanged": "skip"}, {"keep_good": True}])
def test_batches_take_every_way_of_writing(production: Callable[..., list[Any]], options: dict[str, Any]) -> None:
    rows = [{"spectrum_pk": pk, "v_astra": 9000, "teff": 5000.0 + pk} for pk in (1, 2)]
    assert upsert(Corv, rows, **options).inserted == 2  # none is there
    again = upsert(Corv, rows, **options)  # all are
    assert (again.updated, again.unchanged) == ((0, 2) if options.get("unchanged") else (2, 0))
    mixed = [{"spectrum_pk": 1, "v_astra": 10_000, "teff": 1.0}, {"spectrum_pk": 1, "v_astra": 9000, "teff": 2.0}]
    report = upsert(Corv, mixed, **options)  # some are
    assert (report.inserted, report.updated) == (1, 1)
    stored = Corv.select(Corv.spectrum_pk, Corv.v_astra, Corv.teff).where(Corv.v_astra >= 9000).tuples()
    assert set(stored) == {(1, 9000, 2.0), (2, 9000, 5002.0), (1, 10_000, 1.0)}


def test_columns_and_instances_are_upserted_alike(production: Callable[..., list[Any]]) -> None:
    created = datetime(2024, 7, 1, 12, tzinfo=UTC)
    upsert(Corv, np.array([(1, 9000, 1.5)], dtype=[("spectrum_pk", "i8"), ("v_astra", "i4"), ("teff", "f8")]))
    upsert(Corv, [Corv(spectrum_pk=2, v_astra=9000, teff=2.5, created=created)])
    assert [row.teff for row in Corv.select().where(Corv.v_astra == 9000).order_by(Corv.spectrum_pk)] == [1.5, 2.5]
    assert production("SELECT created::text FROM corv WHERE spectrum_pk = 2") == [("2024-07-01 06:00:00",)]


def test_rows_are_saved_and_updated_one_by_one(production: Callable[..., list[Any]]) -> None:
    row = Corv.create(spectrum_pk=2, source_pk=1, v_astra=9000, teff=7000)
    row.teff = 7500
    row.save()
    assert [found.teff for found in Corv.select().where(Corv.spectrum_pk == 2)] == [7500]


def test_bad_rows_are_refused_and_good_ones_stored(production: Callable[..., list[Any]]) -> None:
    rows = [{"spectrum_pk": 1, "v_astra": 9000}, {"spectrum_pk": 2**31, "v_astra": 9000}, {"spectrum_pk": 99}]
    report = upsert(Corv, rows)
    assert (report.inserted, report.rejected) == (1, 2)
    assert "spectrum_pk: beyond 32 bits" in report.reasons


def test_what_is_due_compares_local_times(production: Callable[..., list[Any]]) -> None:
    def due() -> list[int]:
        return list(select_due(Corv, BossVisitSpectrum, version=8000))

    assert due() == [2]
    production("UPDATE boss_visit_spectrum SET modified = '2024-07-01 13:00:01' WHERE spectrum_pk = 1")
    assert due() == [1, 2]
    assert newest_version(Corv) == 8000


def test_what_failed_is_due_once_its_spectrum_changes(production: Callable[..., list[Any]]) -> None:
    from astra_models.analysis.recording import record
    from astra_models.rejected import NO_RESULT, RejectedResult

    failure = RejectedResult(model="Corv", spectrum_pk=2, v_astra=8000, reason=NO_RESULT, message="nothing")
    record([failure])
    assert list(select_due(Corv, BossVisitSpectrum, version=8000)) == []
    local = (datetime.now(DENVER) + timedelta(minutes=1)).replace(tzinfo=None)
    production("UPDATE boss_visit_spectrum SET modified = %s WHERE spectrum_pk = 2", local)
    assert list(select_due(Corv, BossVisitSpectrum, version=8000)) == [2]


def test_slam_is_read_but_not_written_and_says_why(production: Callable[..., list[Any]]) -> None:
    insert(production, "slam", spectrum_pk=1, v_astra="0.6.0", teff=3200)
    [row] = Slam.select()
    assert (row.teff, row.v_astra, row.v_astra_major_minor, row.modified) == (3200, 6000, None, None)
    with pytest.raises(ReadOnlyTableError, match="no column v_astra_major_minor, by which rows are found again"):
        upsert(Slam, [{"spectrum_pk": 1, "teff": 3300.0}])
    assert [row.teff for row in Slam.select()] == [3200]


# ---- columns that differ


def test_a_value_for_a_missing_column_is_an_error(open_production: Open) -> None:
    with open_production("v080", "ALTER TABLE corv DROP COLUMN rchi2") as production:
        fill(production)
        assert Corv.get().rchi2 is None
        assert upsert(Corv, [{"spectrum_pk": 1, "v_astra": 9000, "teff": 1.0, "rchi2": None}]).inserted == 1
        for given in ({"rchi2": 2.0}, {"rchi2": float("inf")}):
            with pytest.raises(MissingColumnError, match=r"Corv\.rchi2 is .* no such column"):
                upsert(Corv, [{"spectrum_pk": 2, "v_astra": 9000, "teff": 1.0} | given])
        with pytest.raises(MissingColumnError, match=r"Corv\.rchi2 is 2\.0"):
            Corv.create(spectrum_pk=2, rchi2=2.0)
        with pytest.raises(MissingColumnError, match="rchi2"):
            Corv.update(rchi2=1).execute()
        report = upsert(Corv, [{"spectrum_pk": 2, "v_astra": 9000, "rchi2": 2.0}], extra="ignore")
        assert report.inserted == 1


def test_extra_columns_are_left_alone(open_production: Open) -> None:
    with open_production("v080", "ALTER TABLE corv ADD COLUMN note text NOT NULL DEFAULT 'none'") as production:
        fill(production)
        production("UPDATE corv SET note = 'by hand'")
        upsert(Corv, [{"spectrum_pk": pk, "v_astra": 8000, "teff": 1.0} for pk in (1, 2)])
        assert production("SELECT note FROM corv ORDER BY spectrum_pk") == [("by hand",), ("none",)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("ADD COLUMN note text NOT NULL", "its column note, which we know nothing of, can't be NULL"),
        ("DROP CONSTRAINT corv_spectrum_pk_v_astra_major_minor_key", r"no unique key \(spectrum_pk, v_astra_major"),
        ("ALTER COLUMN v_astra_major_minor DROP EXPRESSION", "doesn't compute its column v_astra_major_minor"),
        ("ALTER COLUMN teff TYPE text", "its column teff is of type text, and not real"),
    ],
)
def test_tables_that_upserts_would_fail_on_are_read_only(open_production: Open, change: str, why: str) -> None:
    with open_production("v080", f"ALTER TABLE corv {change}"):
        assert not Corv.select().exists()
        with pytest.raises(ReadOnlyTableError, match=why):
            upsert(Corv, [{"spectrum_pk": 1}])


def test_keys_come_from_a_sequence_that_nobody_owns(open_production: Open) -> None:
    changes = ("CREATE SEQUENCE other", "ALTER TABLE corv ALTER COLUMN task_pk SET DEFAULT nextval('other')")
    with open_production("v080", *changes, "DROP SEQUENCE corv_task_pk_seq") as production:
        fill(production)
        upsert(Corv, [{"spectrum_pk": pk, "v_astra": 8000} for pk in (1, 2)])
        assert sorted(row.task_pk for row in Corv.select()) == [1, 2]


# ---- the time zone, and what happens when


def test_without_a_zone_local_times_are_an_error_that_says_what_to_set(open_production: Open) -> None:
    with (
        open_production("v080", timezone=None),
        pytest.raises(ConfigurationError, match=r"have no zone; say in which .*timezone.*ASTRA_DATABASE_TIMEZONE"),
    ):
        Corv.select().exists()


def test_the_zone_is_taken_from_the_environment(open_production: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_TIMEZONE", "Asia/Tokyo")
    with open_production("v080", timezone=None) as production:
        fill(production)
        assert Corv.get().modified == datetime(2024, 7, 1, 4, tzinfo=UTC)


def test_the_models_are_as_before_once_another_database_is_bound(open_production: Open) -> None:
    def state() -> list[Any]:
        return [
            (model, model.select().sql()[0].replace(f'"{bound_schema()}".', ""), model._meta.get_default_dict().keys())
            for model in base.BaseModel.concrete_models()
        ]

    before = base.database.obj, bound_schema()
    other = sqlite_database(":memory:")
    bind(other)
    as_declared = state()
    with open_production("v081"):
        Corv.select().exists()
        assert layout_of(Corv) is not None
        assert state() != as_declared
    bind(other)
    assert state() == as_declared
    assert layout_of(Corv) is None
    assert "zone" not in vars(Corv.modified)
    bind(*before)


def test_the_catalogue_is_asked_once_and_not_before_the_first_query(open_production: Open) -> None:
    with open_production("v080") as production:
        fill(production)
        assert base.database.is_closed()
        query = Corv.select().where(Corv.teff > 0)
        assert base.database.is_closed()
        seen: list[str] = []
        base.database.obj.query_hooks.append(lambda event: seen.append(event.sql))
        assert len(list(query)) == 1
        assert len(list(BossVisitSpectrum.select())) == 2
        assert sum("pg_catalog" in sql for sql in seen) == 1


@pytest.mark.postgresql_only(reason="a question about PostgreSQL's catalogue")
def test_our_own_tables_are_as_the_models_say(database: peewee.Database) -> None:
    list(Corv.select())
    assert [model for model in base.BaseModel.concrete_models() if layout_of(model)] == []


def test_a_production_schema_is_current_and_is_not_migrated(production: Callable[..., list[Any]]) -> None:
    require_current(packages())
    with pytest.raises(MigrationError, match="made by other software; they are used as they are"):
        migrate(packages())
