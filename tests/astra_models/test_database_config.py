"""Which database is used: the documented order, and an error for whatever is configured but wrong."""

import threading
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models.database.config import get_database_and_schema, is_in_memory
from astra_models.errors import ConfigurationError

POSTGRESQL = {
    "dbname": "sdss5db",
    "user": "astra",
    "host": "pg.example.org",
    "port": 5433,
    "password": "secret",
}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a home folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def configure(home: Path, text: str, name: str = ".config/sdss/astra/astra.yml") -> Path:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# ---- the time zone


def zone_of(section: dict[str, Any]) -> str | None:
    database, _ = get_database_and_schema({"database": section})
    return getattr(database, "timezone", None)


def test_the_zone_of_times_without_one_is_configured() -> None:
    assert zone_of(POSTGRESQL) is None
    assert zone_of(POSTGRESQL | {"timezone": "America/Denver"}) == "America/Denver"


def test_the_environment_names_the_zone_before_the_file_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_TIMEZONE", "UTC")
    assert zone_of(POSTGRESQL) == "UTC"
    assert zone_of(POSTGRESQL | {"timezone": "America/Denver"}) == "UTC"


@pytest.mark.parametrize("zone", ["Denver", "America/Nowhere", "../etc/passwd", 7])
def test_a_zone_that_there_is_not_is_an_error(zone: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timezone .* is no time zone; give its name, such as America/Denver"):
        zone_of(POSTGRESQL | {"timezone": zone})


# ---- the order


def test_the_environment_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_PATH", str(tmp_path / "first.db"))
    database, schema = get_database_and_schema({"TESTING": True, "database": POSTGRESQL})
    assert isinstance(database, peewee.SqliteDatabase)
    assert (database.database, schema) == (str(tmp_path / "first.db"), None)


def test_testing_comes_second() -> None:
    database, schema = get_database_and_schema({"TESTING": True, "database": POSTGRESQL})
    assert is_in_memory(database)
    assert schema is None


def test_a_database_with_a_dbname_is_postgresql_and_is_not_connected_to() -> None:
    database, schema = get_database_and_schema({"TESTING": False, "database": POSTGRESQL | {"schema": "astra_043"}})
    assert isinstance(database, peewee.PostgresqlDatabase)
    assert (database.database, schema) == ("sdss5db", "astra_043")
    given = {key: database.connect_params[key] for key in ("user", "host", "port", "password")}
    assert given == {"user": "astra", "host": "pg.example.org", "port": 5433, "password": "secret"}
    assert database.is_closed()


def test_a_postgresql_database_needs_no_more_than_its_name() -> None:
    database, schema = get_database_and_schema({"database": {"dbname": "sdss5db"}})
    assert (database.database, schema) == ("sdss5db", None)
    assert not {"user", "host", "port", "password"} & set(database.connect_params)


def test_a_port_may_be_text() -> None:
    database, _ = get_database_and_schema({"database": {"dbname": "sdss5db", "port": "5433"}})
    assert database.connect_params["port"] == 5433


def test_a_database_with_a_path_is_sqlite(tmp_path: Path) -> None:
    database, schema = get_database_and_schema({"database": {"path": str(tmp_path / "astra.db")}})
    assert isinstance(database, peewee.SqliteDatabase)
    assert (database.database, schema) == (str(tmp_path / "astra.db"), None)


def test_a_path_is_expanded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", str(home))
    for path in ("~/astra.db", "$WORK/astra.db", "${WORK}/astra.db"):
        database, _ = get_database_and_schema({"database": {"path": path}})
        assert database.database == str(home / "astra.db")


@pytest.mark.lesson(34)
def test_nothing_configured_warns_and_says_where_it_looked(home: Path) -> None:
    database, schema = get_database_and_schema()
    with pytest.warns(UserWarning, match="in memory") as warned:
        database.execute_sql("SELECT 1")
    database.execute_sql("SELECT 2")  # once is enough
    assert is_in_memory(database)
    assert schema is None
    assert len(warned) == 1
    database.close()
    said = str(warned[0].message)
    for place in ("ASTRA_DATABASE_PATH", "ASTRA_CONFIG_PATH", "~/.config/sdss/astra/astra.yml", "'database'"):
        assert place in said


# ---- the files


@pytest.mark.parametrize("name", [".config/sdss/astra.yml", ".config/sdss/astra/astra.yml", ".astra/astra.yml"])
def test_the_users_file_overrides_the_packages(home: Path, name: str) -> None:
    configure(home, "database:\n  dbname: mine\n  schema: astra_090\n", name)
    database, schema = get_database_and_schema()
    assert (database.database, schema) == ("mine", "astra_090")


def test_the_packages_defaults_hold_where_the_user_says_nothing(home: Path) -> None:
    from astra_models.configuration import read_configuration

    configure(home, f"database:\n  path: {home}/astra.db\n")
    assert read_configuration()["TESTING"] is False


def test_the_users_file_may_turn_testing_on(home: Path) -> None:
    configure(home, "TESTING: true\ndatabase:\n  dbname: mine\n")
    assert is_in_memory(get_database_and_schema()[0])


def test_a_file_named_by_the_environment_comes_before_the_one_at_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(home, "database:\n  dbname: at_home\n")
    elsewhere = configure(home, "database:\n  dbname: elsewhere\n", "other.yml")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(elsewhere))
    assert get_database_and_schema()[0].database == "elsewhere"


# ---- configured, and wrong


@pytest.mark.lesson(34)
@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"dbnam": "sdss5db"}, "unknown key 'dbnam'; did you mean dbname"),
        ({"dbname": "sdss5db", "hots": "localhost"}, "unknown key 'hots'; did you mean host"),
        ({"path": "astra.db", "pragma": {}}, "unknown key 'pragma'; did you mean pragmas"),
        ({"dbname": "sdss5db", "zzz": 1}, "unknown key 'zzz'; known are .*dbname.*host"),
        ({"dbname": "sdss5db", "path": "astra.db"}, "both 'dbname' .* and 'path'"),
        ({}, "neither 'dbname' .* nor 'path'"),
        ({"user": "astra"}, "neither 'dbname' .* nor 'path'"),
        ({"path": ""}, "neither 'dbname' .* nor 'path'"),
        ({"path": None}, "neither 'dbname' .* nor 'path'"),
        ({"dbname": ""}, "'dbname'"),
        ({"dbname": None}, "'dbname'"),
        (None, "database: is empty, and is not a mapping"),
        ("sdss5db", "database: is text, and is not a mapping"),
        (["dbname", "sdss5db"], "not a mapping"),
        (5, "not a mapping"),
        ({"dbname": "sdss5db", "port": "high"}, "port is text, and is not a number"),
        ({"dbname": "sdss5db", "schema": 35}, "schema is a number, and is not text"),
        ({"path": "/no/such/folder/astra.db"}, "no folder '/no/such/folder'"),
        ({"path": "astra.db", "pragmas": ["synchronous"]}, "pragmas.* is not a mapping"),
        (
            {"path": "astra.db", "pragmas": {"synchronous": "0; DROP TABLE source"}},
            "not a plain name and value",
        ),
        ({"path": "astra.db", "pragmas": {"busy_timeout": "long"}}, "busy_timeout is text, and is not a number"),
    ],
)
def test_a_wrong_section_is_an_error_that_names_it(section: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        get_database_and_schema({"database": section})


@pytest.mark.lesson(34)
@pytest.mark.parametrize("key", ["databse", "Database", "databases", "DATABASE"])
def test_a_misspelt_section_is_an_error_and_no_fallback(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{key}'.*did you mean database"):
        get_database_and_schema({key: {"dbname": "sdss5db"}})


def test_settings_of_other_tools_in_the_file_are_left_alone() -> None:
    database, _ = get_database_and_schema({"slurm": {"partition": "any"}, "database": {"dbname": "sdss5db"}})
    assert database.database == "sdss5db"


@pytest.mark.lesson(34)
@pytest.mark.parametrize("text", ["database: [", "database:\n\tdbname: x\n", "- a\n- b\n", "just text\n", "5\n"])
def test_a_file_that_is_no_configuration_is_an_error_that_names_it(home: Path, text: str) -> None:
    configure(home, text)
    with pytest.raises(ConfigurationError, match=r"astra\.yml"):
        get_database_and_schema()


@pytest.mark.lesson(34)
def test_a_file_named_by_the_environment_has_to_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(home / "missing.yml"))
    with pytest.raises(ConfigurationError, match=r"missing\.yml"):
        get_database_and_schema()


@pytest.mark.lesson(34)
def test_a_path_in_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_PATH", "/no/such/folder/astra.db")
    with pytest.raises(ConfigurationError, match="no folder '/no/such/folder'; make it"):
        get_database_and_schema()


@pytest.mark.lesson(55)
@pytest.mark.parametrize("path", ["$NOT_SET.db", "${NOT_SET}/astra.db", "$NOT_SET/astra.db"])
def test_a_variable_that_is_not_set_is_an_error_that_names_it(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NOT_SET.* is not set"):
        get_database_and_schema({"database": {"path": path}})


@pytest.mark.lesson(31)
def test_a_stray_environment_variable_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOO", "1")
    assert get_database_and_schema({"database": {"dbname": "sdss5db"}})[1] is None


# ---- SQLite as it is opened


def pragmas(database: peewee.SqliteDatabase) -> dict[str, Any]:
    names = ("journal_mode", "cache_size", "foreign_keys", "busy_timeout", "synchronous")
    try:
        return {name: database.pragma(name) for name in names}
    finally:
        database.close()


DOCUMENTED = {
    "journal_mode": "wal",
    "cache_size": -16_000,
    "foreign_keys": 1,
    "busy_timeout": 30_000,
    "synchronous": 0,
}


def test_sqlite_is_opened_as_documented(tmp_path: Path) -> None:
    database, _ = get_database_and_schema({"database": {"path": str(tmp_path / "astra.db")}})
    assert pragmas(database) == DOCUMENTED


@pytest.mark.lesson(33)
@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("synchronous", "normal", 1),
        ("synchronous", 2, 2),
        ("SYNCHRONOUS", "FULL", 2),
        ("journal_mode", "delete", "delete"),
        ("cache_size", -1000, -1000),
        ("foreign_keys", False, 0),
        ("busy_timeout", 50, 50),
        ("busy_timeout", "50", 50),
    ],
)
def test_each_pragma_can_be_changed(tmp_path: Path, name: str, value: Any, stored: Any) -> None:
    section = {"path": str(tmp_path / "astra.db"), "pragmas": {name: value}}
    database, _ = get_database_and_schema({"database": section})
    assert pragmas(database) == DOCUMENTED | {name.lower(): stored}


@pytest.mark.lesson(32)
def test_threads_share_one_database_in_memory() -> None:
    database, _ = get_database_and_schema({"TESTING": True})
    database.execute_sql("CREATE TABLE star (name TEXT)")
    database.execute_sql("INSERT INTO star VALUES ('Vega')")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.extend(database.execute_sql("SELECT name FROM star").fetchall()))
    thread.start()
    thread.join()
    database.close()
    assert seen == [("Vega",)]
