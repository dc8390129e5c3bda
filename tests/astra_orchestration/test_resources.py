"""Where a run's database is: chosen in code, in the launchpad, or by the configuration files."""

from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import base
from astra_models.base import bind
from astra_models.database.config import is_in_memory, sqlite_database
from astra_models.errors import ConfigurationError, DatabaseUnavailableError, MissingTableError
from astra_models.source import Source
from astra_orchestration.resources import DatabaseResource, PostgresTarget, SqliteTarget, resources_for

PASSWORD = "hunter2-is-secret"


@dg.asset
def number_of_sources(database: DatabaseResource) -> int:
    database.connect(Source)
    return Source.select().count()


@dg.asset
def settings_of_sqlite(database: DatabaseResource) -> int:
    return database.connect().pragma("synchronous")


def launch(asset: dg.AssetsDefinition, target: Any = None, **kwargs: Any) -> dg.ExecuteInProcessResult:
    resources = {"database": DatabaseResource()}
    return dg.materialize([asset], resources=resources, run_config=in_launchpad(target), **kwargs)


def in_launchpad(target: Any) -> dict[str, Any]:
    return {} if target is None else {"resources": {"database": {"config": {"target": target}}}}


def write_configuration(text: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    path = folder / "astra.yml"
    path.write_text(text)
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(path))


# ---- choosing


def test_a_target_chosen_in_code_is_used(database: peewee.Database, target: dict[str, Any]) -> None:
    Source.create(sdss_id=1)

    result = dg.materialize([number_of_sources], resources={"database": DatabaseResource(target=target)})

    assert result.output_for_node("number_of_sources") == 1


def test_a_target_chosen_in_the_launchpad_takes_the_place_of_the_one_in_code(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    Source.create(sdss_id=1)
    elsewhere = DatabaseResource(target={"sqlite": {"path": str(tmp_path / "elsewhere.db")}})

    result = dg.materialize([number_of_sources], resources={"database": elsewhere}, run_config=in_launchpad(target))

    assert result.output_for_node("number_of_sources") == 1


def test_a_target_can_be_given_as_an_object() -> None:
    as_object = DatabaseResource(target=PostgresTarget(dbname="survey", schema="astra_090"))
    as_mapping = DatabaseResource(target={"postgres": {"dbname": "survey", "schema": "astra_090"}})

    assert as_object.target == as_mapping.target


def test_the_configuration_files_are_the_default(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "configured.db"
    write_configuration(f"database: {{path: {path}}}", monkeypatch, tmp_path)
    bind(sqlite_database(path))
    Source.create_table()
    base.database.close()
    bind(database)

    assert launch(number_of_sources).output_for_node("number_of_sources") == 0
    assert base.database.obj.database == str(path)


def test_the_environment_variable_comes_before_the_configuration_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_configuration(f"database: {{path: {tmp_path}/configured.db}}", monkeypatch, tmp_path)
    monkeypatch.setenv("ASTRA_DATABASE_PATH", str(tmp_path / "variable.db"))

    DatabaseResource().connect()

    assert base.database.obj.database == str(tmp_path / "variable.db")


@pytest.mark.parametrize(
    ("pragmas", "synchronous"), [("", 1), (", pragmas: {synchronous: full}", 2), (", pragmas: {Synchronous: 0}", 0)]
)
def test_orchestrated_results_survive_a_power_cut_unless_the_configuration_says_otherwise(
    pragmas: str, synchronous: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_configuration(f"database: {{path: {tmp_path}/astra.db{pragmas}}}", monkeypatch, tmp_path)

    assert launch(settings_of_sqlite).output_for_node("settings_of_sqlite") == synchronous


def test_a_sqlite_target_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "astra.db")
    target = {"sqlite": {"path": path}}
    monkeypatch.setenv("ASTRA_DATABASE_PATH", path)

    assert launch(settings_of_sqlite, target).output_for_node("settings_of_sqlite") == 1
    assert launch(settings_of_sqlite, {"config": {}}).output_for_node("settings_of_sqlite") == 1
    target["sqlite"]["pragmas"] = {"synchronous": "off"}  # type: ignore[assignment]
    assert launch(settings_of_sqlite, target).output_for_node("settings_of_sqlite") == 0


def test_a_database_that_is_bound_is_not_bound_again(tmp_path: Path) -> None:
    resource = DatabaseResource(target=SqliteTarget(path=str(tmp_path / "astra.db")))

    first = resource.connect()

    assert resource.connect() is first
    assert DatabaseResource(target={"sqlite": {"path": str(tmp_path / "astra.db")}}).connect() is first
    assert DatabaseResource(target={"sqlite": {"path": str(tmp_path / "other.db")}}).connect() is not first


def test_the_connection_is_closed_when_the_run_ends(target: dict[str, Any]) -> None:
    launch(number_of_sources, target)

    assert base.database.is_closed()


# ---- what is refused


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"sqlite": {"path": "a.db"}, "config": {}}, r"has \['config', 'sqlite'\], but takes exactly one of"),
        ({}, "takes exactly one of postgres, sqlite, config"),
        ({"oracle": {"dbname": "a"}}, r"has \['oracle'\], but takes exactly one of"),
        ({"sqlite": {"pth": "a.db"}}, "target.sqlite: unknown key 'pth'; did you mean path"),
        ({"config": {"path": "a.db"}}, "target.config: unknown key 'path'; known are instead"),
        ({"postgres": {"dbname": "a", "password": PASSWORD}}, "name the environment variable in password_env"),
        ({"sqlite": PASSWORD}, "target.sqlite: is not a mapping"),
        (PASSWORD, "target: is not a mapping"),
    ],
)
def test_a_target_that_is_wrong_is_refused(target: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        DatabaseResource(target=target)

    assert PASSWORD not in str(error.value)


def test_a_wrong_value_is_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"target.postgres.port") as error:
        DatabaseResource(target={"postgres": {"dbname": "a", "port": PASSWORD}})

    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        {"sqlite": {"path": "a.db"}, "config": {}},
        {"oracle": {}},
        {"sqlite": {"pth": "a.db"}},
        {"postgres": {"dbname": "a", "password": PASSWORD}},
    ],
)
def test_the_launchpad_refuses_a_target_that_is_wrong(target: Any) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError) as error:
        launch(number_of_sources, target)

    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("dbname", [f"postgresql://astra:{PASSWORD}@host/db", f"dbname=db password={PASSWORD}"])
def test_a_connection_string_is_not_a_database_name(dbname: str) -> None:
    with pytest.raises(ConfigurationError, match="give the database's name alone") as error:
        DatabaseResource(target={"postgres": {"dbname": dbname}}).connect()

    assert PASSWORD not in str(error.value)


def test_a_password_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTRA_SURVEY_PASSWORD", raising=False)

    with pytest.raises(ConfigurationError, match="environment variable 'ASTRA_SURVEY_PASSWORD' is not set; export it"):
        DatabaseResource(target={"postgres": {"dbname": "survey", "password_env": "ASTRA_SURVEY_PASSWORD"}}).connect()


def test_a_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ASTRA_SURVEY_PASSWORD", PASSWORD)
    monkeypatch.setenv("ASTRA_DATABASE_HOSTS", "127.0.0.1")
    target = {"postgres": {"dbname": "survey", "host": "127.0.0.1", "port": 1, "password_env": "ASTRA_SURVEY_PASSWORD"}}

    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(number_of_sources, target, instance=instance, raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
        records = [str(entry) for entry in instance.all_logs(result.run_id)]

    shown = [repr(DatabaseResource(target=target)), str(run), *records, *capfd.readouterr()]
    assert not result.success
    assert any("127.0.0.1:1" in text for text in shown)
    assert not [text for text in shown if PASSWORD in text]


# ---- what can't be used


def test_a_server_that_is_not_there_fails_the_step_and_not_the_set_up() -> None:
    nowhere = {"postgres": {"dbname": "a", "host": "127.0.0.1", "port": 1}}

    result = launch(number_of_sources, nowhere, raise_on_error=False)

    failure = result.failure_data_for_node("number_of_sources")
    assert failure is not None
    assert failure.error is not None
    assert failure.error.cause is not None
    assert failure.error.cause.cls_name == DatabaseUnavailableError.__name__
    assert "PostgreSQL database 'a' on 127.0.0.1:1 can't be used" in failure.error.cause.message


@pytest.mark.postgresql_only(reason="a SQLite file is made when it isn't there")
def test_a_database_that_does_not_exist_is_named(target: dict[str, Any]) -> None:
    target["postgres"]["dbname"] = "no_such_database"

    with pytest.raises(DatabaseUnavailableError, match=r"'no_such_database'.*does not exist"):
        DatabaseResource(target=target).connect()


@pytest.mark.postgresql_only(reason="SQLite has no schemas")
def test_a_schema_that_does_not_exist_is_named_with_the_remedy(target: dict[str, Any]) -> None:
    target["postgres"]["schema"] = "no_such_schema"

    with pytest.raises(MissingTableError, match=r"no schema 'no_such_schema'.*astra init"):
        DatabaseResource(target=target).connect(Source)


def test_a_table_that_does_not_exist_is_named_with_the_remedy(
    database: peewee.Database, target: dict[str, Any]
) -> None:
    class Unmade(base.BaseModel):
        """A table that nobody has made."""

    with pytest.raises(MissingTableError, match=r"unmade.*astra init"):
        DatabaseResource(target=target).connect(Unmade)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no folder '.*/nowhere'"):
        DatabaseResource(target={"sqlite": {"path": f"{tmp_path}/nowhere/astra.db"}}).connect()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, and no database.\n" * 100)

    with pytest.raises(DatabaseUnavailableError, match="file is not a database"):
        DatabaseResource(target={"sqlite": {"path": str(path)}}).connect()


# ---- in memory


def test_a_database_in_memory_is_for_tests_only(memory_database: peewee.Database, tmp_path: Path) -> None:
    in_memory = {"sqlite": {"path": ":memory:"}}

    assert launch(number_of_sources, in_memory).success
    with dg.DagsterInstance.local_temp(str(tmp_path)) as kept:
        result = launch(number_of_sources, in_memory, instance=kept, raise_on_error=False)

    failure = result.failure_data_for_node("number_of_sources")
    assert failure is not None
    assert failure.error is not None
    assert "would vanish with its process; set ASTRA_DATABASE_PATH" in str(failure.error.cause)


def test_what_is_in_memory_stays_when_a_run_connects(memory_database: peewee.Database) -> None:
    Source.create(sdss_id=1)

    result = launch(number_of_sources, {"sqlite": {"path": ":memory:"}})

    assert result.output_for_node("number_of_sources") == 1
    assert is_in_memory(base.database.obj)


def test_the_launchpad_shows_the_target_that_is_the_default() -> None:
    assert resources_for()["database"].target.kind == "config"
    assert resources_for({"sqlite": {"path": "a.db"}})["database"].target == SqliteTarget(path="a.db")


@pytest.mark.postgresql_only(reason="SQLite's times all have a zone")
def test_the_zone_of_times_without_one_is_part_of_the_target(target: dict[str, Any]) -> None:
    target["postgres"]["timezone"] = "Asia/Tokyo"
    connected = DatabaseResource(target=target).connect()
    assert connected.execute_sql("SHOW timezone").fetchone() == ("Asia/Tokyo",)


def test_tables_of_an_older_release_are_told_before_a_run_uses_them(target: dict[str, Any]) -> None:
    from astra_models.base import bind, bound_schema, database
    from astra_models.corv import Corv
    from astra_models.errors import OutdatedSchemaError

    table = f'"{bound_schema()}"."corv"' if bound_schema() else '"corv"'
    database.execute_sql(f"ALTER TABLE {table} DROP COLUMN rchi2")
    bind(database.obj, bound_schema())
    with pytest.raises(OutdatedSchemaError, match="astra migrate up"):
        DatabaseResource(target=target).connect(Corv)
    Corv.drop_table()
