"""Odd values of every option and argument: one line that says what is wrong, or the work is done; never a traceback."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from astra_models import base
from astra_models.database.config import sqlite_database
from astra_models.schema.tables import create_tables
from astra_orchestration.cli.main import app
from tests.answers import all_commands

pytestmark = pytest.mark.long_on_each

CODES = {0, 1, 2, 3}
ODD = (
    *("", " ", "-", "--", ".", "*", "**", "[", "?", "%s", "{}", "'", '"', ";", "#", "\\", "None", "true"),
    *("0", "-1", "+5", "0x10", "1.5", "1e400", "nan", "NaN", "inf", "-inf", "9" * 12, "9" * 30, "-" + "9" * 30),
    "\uff11\uff12",
    *("ünï", "\U0001f4a5", "a\nb", "\t", "\x1b[2J", "\u202e", "\udcff", "[bold]x[/]", "x" * 5000, "x" * 200_000),
    *("corv", "Corv", "source", "1;drop table source", "teff >", "teff > 1", "tef", "0.9", "2000-13-45"),
)
"""Values that people type by mistake, and that programs put where something is missing."""

USUAL: dict[tuple[str, ...], list[str]] = {
    ("sample",): ["--stars", "1", "--apogee-stars", "0", "--folder", "sample"],
    ("run",): ["rocket"],
    ("rows",): ["source"],
    ("query",): ["select 1"],
    ("export",): ["source", "-o", "source.csv", "--overwrite"],
    ("ingest", "files"): ["none.fits"],
    ("ingest", "spectra"): ["none.fits"],
    ("explain",): ["17"],
    ("adopt",): ["astra_080"],
    ("backup",): ["kept", "--only", "results"],
    ("restore",): ["kept"],
    ("grids", "fetch"): ["da", "--from", "none.whl"],
    ("grids", "add"): ["own", "none.npz"],
    ("mapping", "guess"): ["stars.csv"],
    ("mapping", "show"): ["apogee_dr12_hipparcos"],
    ("migrate", "make"): ["astra_models"],
    ("new", "pipeline"): ["line_depth"],
    ("train", "snow_white"): ["--grid", "none"],
    ("train", "the_cannon"): [],
}
"""What a command is given besides, so that it does little."""

LONG = {("sample", "stars"), ("sample", "apogee_stars")}
"""Options of which a large number is no mistake, and takes long."""


def options() -> list[tuple[tuple[str, ...], Any]]:
    """Give all options and arguments that take a value."""
    return [
        (names, parameter)
        for names, context in all_commands().items()
        for parameter in context.command.params
        if not getattr(parameter, "is_flag", False) and parameter.name != "help"
    ]


OPTIONS = options()


def arguments_with(names: tuple[str, ...], parameter: Any, value: str) -> list[str]:
    """Give a command line in which a parameter has a value."""
    usual = USUAL.get(names, [])
    if parameter.param_type_name == "argument":
        positional = [one for one in all_commands()[names].command.params if one.param_type_name == "argument"]
        rest = list(usual)
        at = positional.index(parameter)
        return [*names, *rest[len(positional) :], "--", *rest[:at], value, *rest[at + 1 : len(positional)]]
    option = parameter.opts[0]
    if option in usual:
        usual = [*usual[: usual.index(option)], *usual[usual.index(option) + 2 :]]
    return [*names, *usual, f"{option}={value}"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with an empty database, far from the network and from what the user has."""
    before = base.database.obj, base.bound_schema()
    base.bind(sqlite_database(tmp_path / "astra.db"))
    create_tables()
    (tmp_path / "stars.csv").write_text("sdss_id,teff\n1,5000\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in ("ASTRA_DATA", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    yield tmp_path
    base.database.close()
    base.bind(*before)


def require_manners(names: tuple[str, ...], parameter: Any, value: str) -> Result:
    """Run a command with a value, and make sure that it ends as it should."""
    done = CliRunner().invoke(app, arguments_with(names, parameter, value))
    told = f"{' '.join(names)} {parameter.opts[0]}={value[:60]!r}: {done.stderr[-2000:]}"
    assert done.exception is None or isinstance(done.exception, SystemExit), (told, done.exception)
    assert done.exit_code in CODES, told
    assert "Traceback" not in done.stderr and "\x1b" not in done.output, told
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1, told
    if done.exit_code == 2:
        [error] = errors
        assert len(done.stderr.splitlines()) == 1 and len(error) < 2500, told
        assert "Input should" not in error and "pydantic" not in error, told
        if error.startswith("error: invalid value for"):
            assert any(name in error for name in (*parameter.opts, str(parameter.metavar))), told
            assert re.findall("^[a-zA-Z0-9.-]*", value)[0][:40] in error, told
    return done


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(OPTIONS), st.sampled_from(ODD) | st.text(max_size=30).filter(lambda text: "\0" not in text))
@example(next(one for one in OPTIONS if (one[0], one[1].name) == (("rows",), "limit")), "abc")
def test_an_odd_value_is_refused_in_one_line_or_taken(folder: Path, option: Any, value: str) -> None:
    names, parameter = option
    if (names, parameter.name) in LONG and value.strip().lstrip("+").isdigit() and int(value) > 5:
        return
    if any(part in value for part in ("/", "~")):  # it is to stay in the folder
        return
    require_manners(names, parameter, value)
    assert os.getcwd() == str(folder)


def test_all_options_are_tried() -> None:
    tried = {(names, parameter.name) for names, parameter in OPTIONS}
    assert {(("run",), "limit"), (("rows",), "where"), (("ingest", "files"), "files")} <= tried
    assert len(tried) > 80
