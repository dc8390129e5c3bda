"""``astra init``, ``astra migrate`` and ``astra check-schema``."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import peewee
import pytest
from click.testing import Result
from typer.testing import CliRunner

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.database.config import sqlite_database
from astra_models.rocket import Rocket
from astra_orchestration.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"


def astra(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def quoted(table: str) -> str:
    return f'"{bound_schema()}"."{table}"' if bound_schema() else f'"{table}"'


@pytest.fixture
def new_file(tmp_path: Path) -> peewee.Database:
    """Bind all models to a SQLite file that isn't there yet."""
    bind(sqlite_database(tmp_path / "new.db"))
    return base.database.obj


@pytest.fixture
def altered(database: peewee.Database) -> Iterator[Callable[[str], None]]:
    """Give a function that alters a table; other tests get new ones."""

    def alter(statement: str, table: str) -> None:
        database.execute_sql(f"ALTER TABLE {quoted(table)} {statement}")

    yield alter
    Rocket.drop_table()


# ---- init


def test_init_makes_all_tables_and_the_second_time_says_that_they_are_there(new_file: peewee.Database) -> None:
    shown = astra("init")
    assert shown.exit_code == 0
    assert ": made " in shown.output
    assert "rejected_result" in shown.output
    assert {"aspcap", "corv", "rejected_result", "schema_migration"} <= set(new_file.get_tables())
    assert "all tables are there, nothing was made" in astra("init").output


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_init_makes_the_schema_that_is_named(database: peewee.Database) -> None:
    database.execute_sql('DROP SCHEMA IF EXISTS "named here" CASCADE')
    shown = astra("init", "--schema", "named here")
    assert shown.exit_code == 0, shown.output
    assert "schema 'named here'" in shown.output
    assert "schema: named here" in shown.output
    assert "corv" in database.get_tables(schema="named here")
    database.execute_sql('DROP SCHEMA "named here" CASCADE')


def test_init_of_a_schema_in_sqlite_is_an_error(new_file: peewee.Database) -> None:
    shown = astra("init", "--schema", "astra_090")
    assert shown.exit_code == 1
    assert "has no schemas: leave --schema out" in shown.output


# ---- migrate


def forget_last_migration() -> None:
    base.database.execute_sql(f"DELETE FROM {quoted('schema_migration')} WHERE name = '0005_known_files'")
    bind(base.database.obj, bound_schema())


def test_migrations_are_listed_and_applied(database: peewee.Database) -> None:
    assert astra("migrate", "status").exit_code == 1
    applied = astra("migrate", "up")
    assert applied.exit_code == 0, applied.output
    assert "applied 0001_first_version, 0002_whole_data_model, " in applied.output
    shown = astra("migrate", "status")
    assert shown.exit_code == 0
    assert "0002_whole_data_model" in shown.output
    assert "everything was applied already" in astra("migrate", "up").output


@pytest.mark.parametrize("command", [("status",), ("run", "corv"), ("rejected",), ("init",)])
def test_commands_say_that_tables_are_of_an_older_release(database: peewee.Database, command: tuple[str, ...]) -> None:
    astra("migrate", "up")
    forget_last_migration()
    shown = astra(*command)
    assert shown.exit_code == 1
    assert "older release" in shown.output
    assert "astra migrate up" in shown.output


# ---- the documentation


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_the_commands_of_the_documentation_run(database: peewee.Database) -> None:
    commands = re.findall(r"^\$ astra (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        shown = astra(*command.split())
        assert shown.exit_code == 0, (command, shown.output)
    database.execute_sql("DROP SCHEMA astra_090 CASCADE")


# ---- check-schema


def test_nothing_differs_in_our_own_tables(database: peewee.Database) -> None:
    shown = astra("check-schema")
    assert shown.exit_code == 0, shown.output
    assert "the tables are as the models say" in shown.output


def test_what_differs_is_listed_and_whether_it_matters(altered: Callable[..., None]) -> None:
    altered("DROP COLUMN teff", "rocket")
    altered("ADD COLUMN note TEXT", "corv")
    shown = astra("check-schema", "--json")
    assert shown.exit_code == 1
    found = {
        (difference["table"], difference["column"]): difference
        for difference in json.loads(shown.stdout)["data"]["differences"]
    }
    assert found.keys() == {("rocket", "teff"), ("corv", "note")}
    missing, extra = found["rocket", "teff"], found["corv", "note"]
    assert (missing["what"], missing["there"], missing["matters"]) == ("column", "none", True)
    assert "rows that have a value for it are refused" in missing["why"]
    assert (extra["what"], extra["here"], extra["matters"], extra["why"]) == (
        "column",
        "none",
        False,
        "it is left alone",
    )
    assert "2 differences, 1 of them matter" in astra("check-schema").output


def test_what_does_not_matter_is_no_failure(altered: Callable[..., None]) -> None:
    altered("ADD COLUMN note TEXT", "rocket")
    assert astra("check-schema").exit_code == 0


def test_a_missing_table_matters(database: peewee.Database) -> None:
    Rocket.drop_table()
    shown = astra("check-schema")
    assert shown.exit_code == 1
    assert "rocket" in shown.output


def test_a_missing_key_matters_and_a_missing_index_does_not(new_file: peewee.Database) -> None:
    astra("init")
    new_file.execute_sql("DROP INDEX source_sdss_id")
    new_file.execute_sql("DROP INDEX corv_v_astra")
    found = json.loads(astra("check-schema", "--json").stdout)["data"]["differences"]
    assert [(difference["column"], difference["what"], difference["matters"]) for difference in found] == [
        ("v_astra", "index", False),
        ("sdss_id", "key", True),
    ]


def test_tables_of_our_own_lack_nothing_that_a_step_could_add(new_file: peewee.Database) -> None:
    astra("init")
    done = astra("migrate", "make", "astra_models")
    assert done.exit_code == 1 and "lacks nothing that the models of astra_models have" in done.output
