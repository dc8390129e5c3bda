"""A run's database is chosen in the launchpad: no password is kept with the run, or sent where nobody wanted it."""

import traceback
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.errors import ConfigurationError
from astra_orchestration.resources import DatabaseResource
from astra_orchestration.resources.targets import check_target

PASSWORD = "Tr0ub4dor-3xY"
URL = f"postgresql://astra:{PASSWORD}@db.example.org/survey"


@dg.asset
def connected(database: DatabaseResource) -> None:
    database.connect()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPASSWORD", "PGSERVICE", "PGPASSFILE", "ASTRA_SECRET_VARIABLES", "ASTRA_DATABASE_HOSTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration file that names a host."""
    (tmp_path / "astra.yml").write_text("database: {dbname: survey, host: 'db.example.org,db2.example.org'}\n")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))


def postgres(**section: Any) -> dict[str, Any]:
    return {"postgres": {"dbname": "survey", **section}}


def everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += "".join(traceback.format_exception(error)) + repr(error)
        error = error.__cause__ or error.__context__
    return said


def refused(target: Any) -> str:
    """Give what the resource says when it refuses a target in code, which is the same in the launchpad."""
    with pytest.raises(ConfigurationError) as caught:
        DatabaseResource(target=target)
    said = everything_said(caught.value)
    assert PASSWORD not in said
    return said


# ---- which variables


@pytest.mark.parametrize("name", ["PGPASSWORD", "ASTRA_PASSWORD", "ASTRA_DATABASE_PASSWORD_2"])
def test_a_variable_that_is_for_passwords_may_be_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, PASSWORD)
    database, _ = DatabaseResource(target=postgres(password_env=name)).target.resolve()
    assert database.connect_params["password"] == PASSWORD


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "HOME",
        "SLACK_TOKEN",
        "astra_password",
        "MY_ASTRA_PASSWORD",
        "PGPASSWORD2",
        "",
        PASSWORD,
    ],
)
def test_no_other_variable_may_be_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    assert "password_env is not the name of a variable with a password" in refused(postgres(password_env=name))


def test_the_names_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_SECRET_VARIABLES", "SURVEY_*_PW, OTHER_PW")
    for name in ("SURVEY_DB_PW", "OTHER_PW"):
        check_target(postgres(password_env=name))
    assert "SURVEY_*_PW or OTHER_PW" in refused(postgres(password_env="ASTRA_PASSWORD"))


def test_a_variable_that_is_not_set_is_named_only_if_it_looks_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_SECRET_VARIABLES", "*")
    for name, shown in (("SURVEY_PW", "'SURVEY_PW' is not set"), (PASSWORD, "that it names is not set")):
        with pytest.raises(ConfigurationError, match=shown) as caught:
            DatabaseResource(target=postgres(password_env=name)).connect()
        assert PASSWORD not in everything_said(caught.value)


# ---- which hosts


@pytest.mark.parametrize("host", ["db.example.org", "db2.example.org", "db2.example.org,db.example.org", None, ""])
def test_a_password_goes_to_the_configured_hosts(host: str | None, configured: None) -> None:
    check_target(postgres(host=host, password_env="ASTRA_PASSWORD"))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "db.example.org.evil.example.com",
        "db.example.org,evil.example.com",
        ",evil.example.com",
        "localhost",
        "127.0.0.1",
        "::1",
        "/tmp",
        "@evil",
        "/tmp/db.example.org",
    ],
)
def test_a_password_goes_to_no_other_host(host: str, configured: None) -> None:
    assert "a host that nobody has configured" in refused(postgres(host=host, password_env="ASTRA_PASSWORD"))


@pytest.mark.parametrize(
    ("patterns", "host", "goes"),
    [
        ("localhost", "localhost", True),
        ("localhost, 10.0.0.*", "10.0.0.7", True),
        ("*.example.org", "DB.Example.ORG", True),
        ("*.example.org", "db.example.org,db3.example.org", True),
        ("*.example.org", "db.example.org,evil.example.com", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", "db.example.org.evil.com", False),
        ("*", "/tmp/evil", False),
        ("/run/postgresql", "/run/postgresql", True),
        ("/run/*", "run.evil.com", False),
        ("", "localhost", False),
    ],
)
def test_further_hosts_are_a_setting(patterns: str, host: str, goes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_HOSTS", patterns)
    target = postgres(host=host, password_env="ASTRA_PASSWORD")
    if goes:
        check_target(target)
    else:
        refused(target)


def test_without_a_password_any_host_may_be_asked() -> None:
    check_target(postgres(host="elsewhere.example.com"))


def test_libpqs_own_passwords_stay_here_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    target = postgres(host="evil.example.com")

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert "the password of PGPASSWORD isn't sent" in refused(target)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGSERVICE", "survey")
    assert "the password of PGSERVICE isn't sent" in refused(target)
    monkeypatch.delenv("PGSERVICE")
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    passfile.write_text(f"# *:\ndb.example.org:5432:*:astra:{PASSWORD}\n")
    check_target(target)
    passfile.write_text(f"*:5432:*:astra:{PASSWORD}\n")
    assert f"the password of {passfile} isn't sent" in refused(target)


@pytest.mark.parametrize("extra", ["hostaddr", "service", "passfile", "options", "sslkey", "password"])
def test_libpqs_other_settings_are_no_way_around(extra: str) -> None:
    refused(postgres(host="db.example.org", password_env="ASTRA_PASSWORD", **{extra: PASSWORD}))


@pytest.mark.parametrize("key", ["dbname", "user", "host", "port", "schema", "timezone", "password_env"])
def test_variables_of_the_environment_are_not_looked_up_for_a_server(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    said = refused({"postgres": {"dbname": "survey", key: {"env": "AWS_SECRET_ACCESS_KEY"}}})
    assert f"{key} is a mapping" in said


# ---- nothing is kept


def keys_of(target: Any) -> list[Any]:
    """Give all keys of a mapping of mappings."""
    return (
        [] if not isinstance(target, dict) else [*target, *(key for each in target.values() for key in keys_of(each))]
    )


MISPLACED: list[Any] = [
    URL,
    [URL],
    {"postgres": URL},
    {"postgres": {"dbname": "survey", "password": PASSWORD}},
    {"postgres": {"dbname": URL}},
    {"postgres": {"dbname": [PASSWORD]}},
    {"postgres": {"dbname": "survey", "port": PASSWORD}},
    {"postgres": {"dbname": "survey", "host": f"astra:{PASSWORD}@db"}},
    {"postgres": {"dbname": "survey", "user": f"astra:{PASSWORD}"}},
    {"postgres": {"dbname": "survey", "timezone": {"env": PASSWORD}}},
    {"postgres": {"dbname": "survey", "password_env": PASSWORD}},
    {"postgres": {"dbname": "survey", f"password={PASSWORD}": 1}},
    {"sqlite": {"path": URL}},
    {"sqlite": {"path": {"env": PASSWORD}}},
    {"sqlite": {"path": "a.db", "pragmas": {"key": f"'{PASSWORD}'"}}},
    {"sqlite": {"path": "a.db", "pragmas": [PASSWORD]}},
    {"config": {"password": PASSWORD}},
    {URL: {}},
]


@pytest.mark.parametrize("target", MISPLACED)
def test_a_misplaced_password_is_refused_and_not_repeated(target: Any) -> None:
    refused(target)


# Dagster names unknown keys itself: those that are passwords are left out.
@pytest.mark.parametrize("target", [target for target in MISPLACED if PASSWORD not in str(keys_of(target))])
def test_no_run_is_made_that_would_keep_a_misplaced_password(target: Any) -> None:
    """Planning comes before a run is made, be it from the launchpad or by a schedule."""
    job = dg.Definitions(
        [connected], resources={"database": DatabaseResource()}
    ).resolve_implicit_global_asset_job_def()
    config = {"resources": {"database": {"config": {"target": target}}}}

    with pytest.raises((ConfigurationError, dg.DagsterInvalidConfigError)) as caught:
        create_execution_plan(job, config)

    assert PASSWORD not in everything_said(caught.value)


values = st.recursive(
    st.sampled_from([PASSWORD, URL, f"u:{PASSWORD}@h", f"password={PASSWORD}", None, 1, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["env", URL]), inner, max_size=2),
    max_leaves=3,
)
keys = st.sampled_from(
    ["dbname", "user", "port", "schema", "timezone", "password_env", "path", "pragmas", "password", URL]
)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["postgres", "sqlite", "config", URL]), section=values | st.dictionaries(keys, values))
def test_whatever_is_typed_is_not_repeated_by_an_error(kind: str, section: Any) -> None:
    said = ""
    try:
        check_target({kind: section})
    except ConfigurationError as error:
        said = everything_said(error)
    assert PASSWORD not in said
