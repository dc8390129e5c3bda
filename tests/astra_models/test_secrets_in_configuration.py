"""No configured value is repeated by an error: a password is easily written into the wrong place."""

import gc
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sdsstools
from hypothesis import given, settings
from hypothesis import strategies as st

import astra_models
from astra_models.configuration import read_configuration
from astra_models.database.config import get_database_and_schema
from astra_models.errors import ConfigurationError

PASSWORD = "Tr0ub4dor-3xY"
URL = f"postgresql://astra:{PASSWORD}@db.example.org/survey"
DSN = f"dbname=survey user=astra password={PASSWORD}"
PGPASS = f"db.example.org:5432:survey:astra:{PASSWORD}"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def write(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "astra.yml"
        path.write_text(text)
        path.chmod(mode)
        monkeypatch.setenv("ASTRA_CONFIG_PATH", str(path))
        return path

    return write


def everything_said(error: BaseException) -> str:
    """Give an error with all errors that come with it, shown or not."""
    said = "".join(traceback.format_exception(error))
    while (error := error.__cause__ or error.__context__) is not None:  # type: ignore[assignment]
        said += f"{error!r} {error}"
    return said


def refused(config: Any = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        get_database_and_schema(config)
    return everything_said(caught.value)


# ---- wrong sections


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (URL, "database: is text"),
        ([URL], "database: is a list"),
        ({URL: None}, "unknown key"),
        ({"dbname": URL}, "dbname is a connection string"),
        ({"dbname": DSN}, "dbname is a connection string"),
        ({"dbname": PGPASS}, "dbname is a connection string"),
        ({"dbname": [URL]}, "dbname is a list"),
        ({"dbname": {"password": PASSWORD}}, "dbname is a mapping"),
        ({"dbname": "survey", "host": f"astra:{PASSWORD}@db.example.org"}, "host is not the name"),
        ({"dbname": "survey", "host": f"db.example.org,astra:{PASSWORD}@db"}, "host is not the name"),
        ({"dbname": "survey", "host": f"astra:{PASSWORD}"}, "host is not the name"),
        ({"dbname": "survey", "host": f"/run/astra:{PASSWORD}@db"}, "host is not the name"),
        ({"dbname": "survey", "host": f"db password={PASSWORD}"}, "host is not the name"),
        ({"dbname": "survey", "host": [PASSWORD]}, "host is a list"),
        ({"dbname": "survey", "user": f"astra:{PASSWORD}"}, "user is a connection string"),
        ({"dbname": "survey", "user": {PASSWORD: 1}}, "user is a mapping"),
        ({"dbname": "survey", "port": PASSWORD}, "port is text"),
        ({"dbname": "survey", "port": [PASSWORD]}, "port is a list"),
        ({"dbname": "survey", "schema": [PASSWORD]}, "schema is a list"),
        ({"dbname": "survey", "schema": f"astra:{PASSWORD}"}, "schema is a connection string"),
        ({"dbname": "survey", "timezone": PASSWORD}, "timezone"),
        ({"dbname": "survey", "timezone": [PASSWORD]}, "timezone"),
        ({"dbname": "survey", "password": [PASSWORD]}, "password is a list"),
        ({"dbname": "survey", f"password={PASSWORD}": 1}, "unknown key"),
        ({"path": URL}, "is a connection string"),
        ({"path": f"survey?password={PASSWORD}"}, "is a connection string"),
        ({"path": [PASSWORD]}, "path is a list"),
        ({"path": "a.db", "pragmas": PASSWORD}, "pragmas: is text"),
        ({"path": "a.db", "pragmas": {"key": f"'{PASSWORD}'"}}, "pragmas: 'key'"),
        ({"path": "a.db", "pragmas": {f"key {PASSWORD}": 1}}, "pragmas"),
        ({"path": "a.db", "pragmas": {"busy_timeout": PASSWORD.replace("-", "")}}, "busy_timeout is text"),
    ],
)
def test_a_wrong_section_is_named_and_not_repeated(section: Any, names: str) -> None:
    said = refused({"database": section})

    assert names in said
    assert PASSWORD not in said
    assert PASSWORD.replace("-", "") not in said


@pytest.mark.parametrize("section", [URL, [URL], {"sas": URL, "pasword": PASSWORD}, {URL: "/data"}])
def test_wrong_roots_of_files_are_named_and_not_repeated(section: Any, configure: Callable[..., Path]) -> None:
    from astra_models.pixels.paths import product_root

    configure(f"products: {section!r}\n")
    with pytest.raises(ConfigurationError, match="products: ") as caught:
        product_root("sas")

    assert PASSWORD not in everything_said(caught.value)


@pytest.mark.parametrize("value", [URL, DSN, PGPASS, f"astra:{PASSWORD}@db", f"postgresql://astra:$PW{PASSWORD}@db/x"])
def test_a_connection_string_in_place_of_a_path_is_not_repeated(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_PATH", value)
    said = refused()

    assert "is a connection string" in said
    assert PASSWORD not in said


def test_a_zone_of_the_environment_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_DATABASE_TIMEZONE", PASSWORD)
    said = refused({"database": {"dbname": "survey"}})

    assert "ASTRA_DATABASE_TIMEZONE" in said
    assert PASSWORD not in said


def test_a_connection_string_in_place_of_the_configuration_file_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASTRA_CONFIG_PATH", URL)
    said = refused()

    assert "can't be read: No such file" in said
    assert PASSWORD not in said


anything = st.recursive(
    st.sampled_from(
        [PASSWORD, URL, DSN, PGPASS, f"u:{PASSWORD}@h", f"{PASSWORD}\n", f"'{PASSWORD}'", None, 1, 2.5, True]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", URL, DSN]), inner, max_size=2),
    max_leaves=4,
)
sections = anything | st.dictionaries(
    st.sampled_from(["dbname", "user", "host", "port", "schema", "timezone", "path", "pragmas", "pasword", URL]),
    anything,
)


@settings(max_examples=300, deadline=None)
@given(section=sections)
def test_whatever_is_configured_is_not_repeated_by_an_error(section: Any) -> None:
    said = ""
    try:
        get_database_and_schema({"database": section})  # opens nothing: a password alone may be a file's name
    except ConfigurationError as error:
        said = everything_said(error)
    assert PASSWORD not in said


# ---- the file


@pytest.mark.parametrize(
    "line",
    [
        f"password: @{PASSWORD}",
        f"password: *{PASSWORD}",
        f"password: !{PASSWORD} x",
        f"password: %{PASSWORD}",
        f"password: '{PASSWORD}",
        f'password: "{PASSWORD}',
        f"password: {PASSWORD}: x",
        f"password: [{PASSWORD}",
        f"? [{PASSWORD}]\n  : x",
        f"<<: {PASSWORD}",
        f"password: !!int {PASSWORD}",
        f"password: !!timestamp {PASSWORD}",
        f"password: !!binary {PASSWORD}\u00e4",
        f"password: !!python/name:{PASSWORD}",
        f"password: !env [{PASSWORD}]",
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_the_line_and_not_quoted(
    line: str, configure: Callable[..., Path]
) -> None:
    configure(f"database:\n  dbname: survey\n  {line}\n")
    said = refused()

    assert "astra.yml" in said
    assert "can't be read" in said
    assert PASSWORD not in said


def test_the_line_is_the_one_that_is_wrong(configure: Callable[..., Path]) -> None:
    configure("database:\n  dbname: survey\n  password: *secret\n")
    assert "line 3 " in refused()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {ran}']",
        "!!python/object/new:subprocess.Popen [['touch', '{ran}']]",
        "!!python/object/apply:pathlib.Path ['{ran}']",
        "!!python/name:os.system ''",
        "!!python/module:this ''",
        "!!python/tuple [1, 2]",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> ['{ran}']",
    ],
)
@pytest.mark.parametrize("where", ["plain", "variables", "extends"])
def test_a_tag_makes_no_python_object(tag: str, where: str, configure: Callable[..., Path], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    tag = tag.format(ran=ran)
    if where == "extends":
        (tmp_path / "base.yml").write_text(f"other: {tag}\n")
        configure("#!extends base.yml\ndatabase: {dbname: survey}\n")
    elif where == "variables":
        name, value = tag.split(" ", 1)
        configure(f'variables:\n  t: "{name}"\nother: $(t) {value}\n')
    else:
        configure(f"other: {tag}\n")

    assert "has a tag or a key that is no plain value" in refused()
    assert not ran.exists()


# ---- read as the survey's tools read it


def read_by_survey() -> dict[str, Any]:
    """Give what the survey's tools read; they don't close their files."""
    default = Path(astra_models.__file__).parent / "etc" / "astra.yml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        theirs = dict(sdsstools.get_config("astra", config_file=str(default)))
        gc.collect()
    return theirs


SURVEY_FILES = [
    "database: {dbname: survey, port: 5433, schema: astra_090}\n",
    "database:\n  dbname: ${DBNAME}\n  user: ${NOT_SET|somebody}\n  host: x${DBNAME}\n  schema: '${DBNAME}'\n",
    "database:\n  dbname: ${DBNAME}_${DBNAME}\n  user: ${NOT_SET}\n",
    "variables: {where: /data, n: 3}\nproducts: {sas: $(where)/sas, astra: $( where )/astra}\nn: $(n)\n",
    "#!extends base.yml\ndatabase: {dbname: mine}\nfolders: [a, b]\n",
    "# first\n\n#!extends base.yml\nTESTING: true\n",
    "TESTING: yes\nwhen: 2026-11-27\nx: 0o17\ny: 1_000\nz: ~\nt: 12:30:45\nf: .inf\nm: {<<: {a: 1}, b: 2}\n",
    "a: &a [1, 2]\nb: *a\n",
    "",
    "# nothing\n",
    "{}\n",
]


@pytest.mark.parametrize("text", SURVEY_FILES)
def test_a_file_says_what_it_says_to_the_surveys_tools(
    text: str, configure: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBNAME", "from_environment")
    (tmp_path / "base.yml").write_text("database: {dbname: base, user: base}\nslurm: {partition: any}\n")
    configure(text)

    assert dict(read_configuration()) == read_by_survey()


@pytest.mark.parametrize(
    ("there", "used"),
    [
        (["~/.config/sdss/astra.yaml", "~/.config/sdss/astra.yml"], 0),
        (["~/.config/sdss/astra.yml", "~/.config/sdss/astra/astra.yaml"], 0),
        (["~/.config/sdss/astra/astra.yml", "~/.astra/astra.yaml"], 0),
        (["~/.astra/astra.yaml", "~/.astra/astra.yml"], 0),
    ],
)
def test_of_several_files_the_one_is_used_that_the_surveys_tools_use(
    there: list[str], used: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in there:
        path = Path(name).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"who: {name}\n")

    assert read_configuration()["who"] == read_by_survey()["who"] == there[used]


# ---- who may read it


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_password_that_others_can_read_is_warned_of_once(mode: int, configure: Callable[..., Path]) -> None:
    path = configure(f"database: {{dbname: survey, password: {PASSWORD}}}\n", mode)

    with pytest.warns(UserWarning, match=f"chmod 600 {path}") as warned:
        assert [read_configuration(), read_configuration()]

    assert len(warned) == 1
    assert PASSWORD not in str(warned[0].message)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (f"database: {{dbname: survey, password: {PASSWORD}}}\n", 0o600),
        (f"database: {{dbname: survey, password: {PASSWORD}}}\n", 0o400),
        ("database: {dbname: survey}\n", 0o644),
        ("database:\n  dbname: survey\n  password: ${PGPASSWORD}\n", 0o644),
        ("database: {dbname: survey, password: }\n", 0o644),
    ],
)
def test_what_is_nobodys_secret_is_not_warned_of(
    text: str, mode: int, configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    configure(text, mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configuration()


def test_a_password_in_the_file_that_is_extended_is_warned_of(configure: Callable[..., Path], tmp_path: Path) -> None:
    base = tmp_path / "base.yml"
    base.write_text(f"database: {{password: {PASSWORD}}}\n")
    base.chmod(0o644)
    configure("#!extends base.yml\ndatabase: {dbname: survey}\n", 0o644)

    with pytest.warns(UserWarning, match=r"base.yml has a password in it"):
        read_configuration()
