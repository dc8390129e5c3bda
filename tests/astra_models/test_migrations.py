"""Making tables, and bringing those of an older release up to date."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee
import psycopg2
import pytest

from astra_models import base, outputs, schema
from astra_models.aspcap import ASPCAP
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.catalog import read_tables
from astra_models.database.config import postgresql_database
from astra_models.database_identity import DatabaseIdentity, database_id
from astra_models.errors import (
    DatabaseUnavailableError,
    MigrationError,
    OutdatedSchemaError,
    SchemaPermissionError,
)
from astra_models.fields import FloatField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.schema import migration
from astra_models.schema.check import check_schema
from astra_models.schema.migration import Step
from astra_models.schema.package import Package
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

HERE = Path(__file__).parent
ALL = sorted(path.stem for path in (Path(schema.__file__).parent / "migrations").glob("[0-9]*.py"))


@pytest.fixture(autouse=True)
def packages() -> list[Package]:
    """Give the packages whose tables are made and migrated: ours. A test may put another folder of migrations in."""
    PACKAGES[:] = outputs.packages()
    return PACKAGES


PACKAGES: list[Package] = []


def init() -> list[str]:
    return migration.init(PACKAGES)


def migrate() -> list[str]:
    return migration.migrate(PACKAGES)


def require_current() -> None:
    migration.require_current(PACKAGES)


def steps() -> list[Step]:
    return migration.steps(PACKAGES)


@pytest.fixture
def empty(database: peewee.Database) -> peewee.Database:
    """Give the bound database, without any table; on PostgreSQL without the schema too, if it has a name."""
    if isinstance(database, peewee.PostgresqlDatabase):
        schema = bound_schema()
        database.execute_sql(f'DROP SCHEMA "{schema or "public"}" CASCADE')
        if schema is None:
            database.execute_sql("CREATE SCHEMA public")
    else:
        database.pragma("foreign_keys", 0)
        for table in database.get_tables():
            database.execute_sql(f'DROP TABLE "{table}"')
        database.pragma("foreign_keys", 1)
    bind(database, bound_schema())
    return database


@pytest.fixture
def first_version(empty: peewee.Database) -> peewee.Database:
    """Give the bound database as version 0.9.0 made it, with a few rows."""
    if isinstance(empty, peewee.PostgresqlDatabase):
        text = (HERE / "first_version.postgresql.sql").read_text()
        schema = bound_schema() or "public"
        empty.execute_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        empty.execute_sql(f'SET search_path TO "{schema}"')
        empty.execute_sql(text)
    else:
        empty.connection().executescript((HERE / "first_version.sqlite.sql").read_text())
    for statement in ROWS.split(";"):
        empty.execute_sql(statement)
    if isinstance(empty, peewee.PostgresqlDatabase):
        empty.execute_sql("RESET search_path")
    return empty


ROWS = """
INSERT INTO spectrum (spectrum_flags) VALUES (0);
INSERT INTO source (sdss_id, sdss4_apogee_target1_flags, sdss4_apogee_target2_flags, sdss4_apogee2_target1_flags,
    sdss4_apogee2_target2_flags, sdss4_apogee2_target3_flags, sdss4_apogee_member_flags,
    sdss4_apogee_extra_target_flags, sqf_4_5, mf4_5, csf, zgr_quality_flags, ebv_flags, created, modified)
    VALUES (5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '2026-01-01 00:00+00:00', '2026-01-01 00:00+00:00');
INSERT INTO boss_visit_spectrum (spectrum_pk, source_pk, release, filetype, run2d, mjd, fieldid, catalogid, spec_file,
    gri_gaia_transform_flags, zwarning_flags, created, modified)
    VALUES (1, 1, 'sdss5', 'specFull', 'v6', 1, 2, 3, 'x', 4, 0, '2026-01-01 00:00+00:00', '2026-01-01 00:00+00:00');
INSERT INTO corv (spectrum_pk, source_pk, v_astra, teff, result_flags, tag, created, modified)
    VALUES (1, 1, 9000, 12000, 1, '', '2026-01-01 00:00+00:00', '2026-01-01 00:00+00:00')
"""


def shape(database: peewee.Database) -> dict[str, Any]:
    """Give all that there is to compare of a database's tables: columns and indexes in no order, constraints."""
    schema = bound_schema()
    tables = read_tables(database, schema)
    return {
        name: (table.columns, {(index.columns, index.unique) for index in table.indexes}, constraints(database, name))
        for name, table in tables.items()
    }


def constraints(database: peewee.Database, table: str) -> set[Any]:
    if isinstance(database, peewee.PostgresqlDatabase):
        sql = (
            "SELECT contype, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
            "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE t.relname = %s AND n.nspname = %s"
        )
        return set(database.execute_sql(sql, (table, bound_schema() or "public")).fetchall())
    keys = database.execute_sql('SELECT "table", "from", "to", on_delete FROM pragma_foreign_key_list(?)', (table,))
    [(text,)] = database.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    return set(keys.fetchall()) | {text.partition("GENERATED")[2].split(",")[0]}


# ---- init


def test_init_makes_everything_and_the_second_time_nothing(empty: peewee.Database) -> None:
    made = init()
    assert {"source", "spectrum", "corv", "aspcap", "mwm_best", "rejected_result"} <= set(made)
    assert init() == []
    assert check_schema() == []
    assert [(step.name, step.applied is not None) for step in steps()] == [(name, True) for name in ALL]
    assert migrate() == []
    require_current()


def test_init_makes_the_tables_that_are_missing_and_leaves_the_others(empty: peewee.Database) -> None:
    init()
    Source.create(sdss_id=1)
    Rocket.drop_table()
    assert init() == ["rocket"]
    assert [source.sdss_id for source in Source.select()] == [1]


@pytest.mark.postgresql_only(reason="SQLite has no roles")
@pytest.mark.parametrize("has_schema", [True, False])
def test_init_without_permission_says_who_can_help(
    empty: peewee.Database, postgresql: dict[str, str], has_schema: bool
) -> None:
    connection = psycopg2.connect(**postgresql)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE ROLE astra_reader LOGIN")
    try:
        if has_schema:
            cursor.execute("CREATE SCHEMA mine")
            cursor.execute("GRANT USAGE ON SCHEMA mine TO astra_reader")
        reader = postgresql_database(**postgresql | {"user": "astra_reader"})
        bind(reader, "mine")
        with pytest.raises(SchemaPermissionError, match=r"schema 'mine': you may not make .* \(permission denied"):
            init()
        reader.close()
    finally:
        cursor.execute("DROP SCHEMA IF EXISTS mine CASCADE; DROP OWNED BY astra_reader; DROP ROLE astra_reader")
        connection.close()


@pytest.mark.sqlite_only(reason="a file that can't be written")
def test_init_of_a_file_that_cannot_be_written_says_so(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    peewee.SqliteDatabase(str(path)).execute_sql("CREATE TABLE other (x)")
    locked = peewee.SqliteDatabase(f"file:{path}?mode=ro", uri=True)
    bind(locked)
    with pytest.raises(SchemaPermissionError, match="may not make schemas and tables here"):
        init()
    locked.close()


@pytest.mark.postgresql_only(reason="SQLite makes the file")
def test_init_of_a_database_that_is_not_there_says_so(database: peewee.Database, postgresql: dict[str, str]) -> None:
    bind(postgresql_database(**postgresql | {"dbname": "nosuch"}))
    with pytest.raises(DatabaseUnavailableError, match='database "nosuch" does not exist'):
        init()


# ---- the first version's tables, migrated


def test_migrated_tables_are_as_new_ones(first_version: peewee.Database) -> None:
    assert migrate() == ALL
    migrated = shape(first_version)
    assert check_schema() == []

    for table in reversed(peewee.sort_models([m for m in base.BaseModel.concrete_models() if m.table_exists()])):
        table.drop_table(cascade=isinstance(first_version, peewee.PostgresqlDatabase))
    first_version.execute_sql(f"DROP TABLE {peewee_quoted('schema_migration')}")
    init()
    fresh = shape(first_version)
    assert migrated.keys() == fresh.keys()
    for table, expected in fresh.items():
        assert migrated[table] == expected, table


def peewee_quoted(table: str) -> str:
    return f'"{bound_schema()}"."{table}"' if bound_schema() else f'"{table}"'


def test_a_migration_does_what_it_says_whatever_has_become_of_the_models(first_version: peewee.Database) -> None:
    class Later(PipelineOutputMixin):
        __module__ = "astra_models.later"

        teff = FloatField(null=True)

    for model in (Corv, ASPCAP):  # of a table that is there already, and of one that 0002 makes
        model._meta.add_field("later", FloatField(null=True, unit="", index=True))
    try:
        assert Later in outputs.packages()[0].models
        assert migrate() == ALL
        tables = read_tables(first_version, bound_schema())
        assert "later" not in tables
        for model in (Corv, ASPCAP):
            assert "later" not in tables[model._meta.table_name].columns
            assert "teff" in tables[model._meta.table_name].columns
        assert {(difference.table, difference.column) for difference in check_schema() if difference.matters} == {
            ("later", ""),
            ("corv", "later"),
            ("aspcap", "later"),
        }
    finally:
        for model in (Corv, ASPCAP):
            model._meta.remove_field("later")


def test_columns_that_older_tables_lack_are_added_and_filled(first_version: peewee.Database) -> None:
    def run(statement: str) -> None:
        first_version.execute_sql(statement.format(peewee_quoted("boss_visit_spectrum"), peewee_quoted("corv")))

    run("ALTER TABLE {0} DROP COLUMN zwarning_flags")
    run("ALTER TABLE {0} DROP COLUMN snr")
    run("ALTER TABLE {1} DROP COLUMN tag")
    if isinstance(first_version, peewee.PostgresqlDatabase):
        run("ALTER TABLE {1} ALTER COLUMN teff SET NOT NULL, ALTER COLUMN source_pk TYPE integer")
        run("ALTER TABLE {1} ALTER COLUMN result_flags DROP NOT NULL")
    migrate()
    assert check_schema() == []
    assert [(visit.zwarning_flags, visit.snr, visit.mjd) for visit in BossVisitSpectrum.select()] == [(0, None, 1)]
    assert [(result.tag, result.v_astra_major_minor) for result in Corv.select()] == [("", 9)]
    defaults = {column.default for column in read_tables(first_version, bound_schema())["corv"].columns.values()}
    assert "''::text" not in defaults


def test_rows_survive_a_migration(first_version: peewee.Database) -> None:
    migrate()
    [result] = Corv.select(Corv, Source).join(Source, attr="source")
    assert (result.teff, result.v_astra_major_minor, result.flag_low_snr) == (12_000, 9, True)
    assert (result.source.sdss_id, result.source.flag_sdss4_apogee_faint) == (5, True)
    [visit] = BossVisitSpectrum.select()
    assert (visit.spectrum_pk, visit.spec_file, visit.gri_gaia_transform_flags) == (1, "x", 4)
    assert upsert(Corv, [{"spectrum_pk": 1, "v_astra": 9001, "teff": 1.0}]).updated == 1
    Spectrum.create()
    assert Spectrum.select().count() == 2
    with pytest.raises(peewee.IntegrityError):
        Corv.insert(spectrum_pk=99, v_astra=9000).execute()


def test_older_tables_get_an_id_when_they_are_migrated(first_version: peewee.Database) -> None:
    migrate()
    [row] = DatabaseIdentity.select()
    assert len(row.identity) == 32
    assert row.created.tzinfo is not None
    assert database_id() == row.identity


def test_failures_that_were_listed_before_have_no_traceback(first_version: peewee.Database) -> None:
    first_version.execute_sql(
        f"INSERT INTO {peewee_quoted('rejected_result')} (model, spectrum_pk, v_astra, reason, message, created) "
        "VALUES ('Corv', 1, 9000, 'exception', 'ValueError: x', '2026-01-01 00:00+00:00')"
    )
    migrate()
    [row] = RejectedResult.select()
    assert (row.model, row.message, row.traceback) == ("Corv", "ValueError: x", None)
    RejectedResult.create(model="Corv", reason="exception", message="", traceback="here")
    assert [row.traceback for row in RejectedResult.select().order_by(RejectedResult.pk)] == [None, "here"]


def test_older_tables_are_told_before_they_are_used(first_version: peewee.Database) -> None:
    assert [step.applied for step in steps()] == [None] * len(ALL)
    with pytest.raises(OutdatedSchemaError, match=r"older release .*0002_whole_data_model.*astra migrate up"):
        require_current()
    migrate()
    require_current()
    assert all(step.applied for step in steps())


def test_a_migration_without_record_is_told(empty: peewee.Database) -> None:
    init()
    empty.execute_sql(f"DELETE FROM {peewee_quoted('schema_migration')} WHERE name = '{ALL[-1]}'")
    bind(empty, bound_schema())
    with pytest.raises(OutdatedSchemaError, match=ALL[-1]):
        require_current()
    assert migrate() == [ALL[-1]]
    assert check_schema() == []


def test_tables_that_were_made_by_hand_are_current(database: peewee.Database) -> None:
    require_current()
    assert migrate() == ALL
    assert check_schema() == []


def test_an_empty_database_is_not_migrated(empty: peewee.Database) -> None:
    with pytest.raises(MigrationError, match="none of our tables; make them with `astra init`"):
        migrate()


# ---- how migrations are applied


@pytest.fixture
def write_migration(tmp_path: Path, packages: list[Package]) -> Callable[[str, str], None]:
    """Give a function that writes a migration, into a folder that takes the place of ours."""
    packages[0] = packages[0]._replace(migrations=tmp_path)

    def write(name: str, body: str) -> None:
        (tmp_path / f"{name}.py").write_text(f"def up(migrator, db):\n    {body}\n")

    return write


def test_migrations_are_applied_in_the_order_of_their_numbers(
    database: peewee.Database, write_migration: Callable[[str, str], None]
) -> None:
    write_migration("0010_third", "db.execute_sql('DROP TABLE first_one')")
    write_migration("0002_second", "db.execute_sql('INSERT INTO first_one VALUES (1)')")
    write_migration("0001_first", "db.execute_sql('CREATE TABLE first_one (x INTEGER)')")
    assert migrate() == ["0001_first", "0002_second", "0010_third"]
    assert migrate() == []


def test_a_migration_that_fails_is_undone_and_not_recorded(
    database: peewee.Database, write_migration: Callable[[str, str], None]
) -> None:
    write_migration("0001_good", "db.execute_sql('CREATE TABLE kept (x INTEGER NOT NULL)')")
    write_migration(
        "0002_bad",
        "db.execute_sql('CREATE TABLE dropped (x INTEGER)'); db.execute_sql('INSERT INTO kept VALUES (NULL)')",
    )
    with pytest.raises(MigrationError, match=r"failed and was undone: .*kept"):
        migrate()
    assert [step.applied is not None for step in steps()] == [True, False]
    there = set(database.get_tables())
    assert "kept" in there
    assert "dropped" not in there
    write_migration("0002_bad", "db.execute_sql('INSERT INTO kept VALUES (1)')")
    assert migrate() == ["0002_bad"]
    database.execute_sql("DROP TABLE kept")
