"""Spectra with files, and the bound database as a target of `DatabaseResource`."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import peewee
import pytest

from astra_models import base
from astra_models.boss import BossVisitSpectrum

PASSWORD_VARIABLE = "ASTRA_TEST_PASSWORD"


@pytest.fixture(autouse=True)
def no_connection_left_open() -> Iterator[None]:
    """Close the database that a run has bound, and bind what was bound before."""
    before = base.database.obj, base.bound_schema()
    yield
    if base.database.obj is not before[0]:
        base.database.close()
        base.bind(*before)


@pytest.fixture
def target(database: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the bound database, as a target in the shape of the launchpad."""
    return target_of(database, base.bound_schema(), monkeypatch)


def target_of(
    database: peewee.Database, schema: str | None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    if isinstance(database, peewee.SqliteDatabase):
        return {"sqlite": {"path": str(database.database)}}
    params: Mapping[str, Any] = database.connect_params
    section = {"dbname": database.database, "schema": schema} | {
        name: params[name] for name in ("user", "host") if name in params
    }
    if "port" in params:
        section["port"] = int(params["port"])
    if "password" in params:
        monkeypatch.setenv(PASSWORD_VARIABLE, params["password"])
        monkeypatch.setenv("ASTRA_DATABASE_HOSTS", params.get("host", ""))
        section["password_env"] = PASSWORD_VARIABLE
    return {"postgres": {name: value for name, value in section.items() if value is not None}}


@pytest.fixture
def make_visits(
    make_spectra: Callable[..., list[BossVisitSpectrum]], write_spec_file: Callable[..., Path], tmp_path: Path
) -> Callable[..., list[BossVisitSpectrum]]:
    """Give a function that stores `n` BOSS visits which share a small FITS file."""

    def make(n: int, **columns: Any) -> list[BossVisitSpectrum]:
        path = tmp_path / "spec.fits"
        if not path.exists():
            write_spec_file(path)
        return make_spectra(n, path=str(path), **columns)

    return make


@pytest.fixture
def other_astra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """Have a stand-in of the survey's Astra installed, with a folder of its own; workers have it, too."""
    stand_in = Path(__file__).parents[1] / "incumbent"
    monkeypatch.syspath_prepend(stand_in)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(stand_in), *sys.path]))
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "mwm"))
    other = importlib.import_module("survey_astra")
    asked = importlib.import_module("survey_astra.models").queries
    yield other
    for name in [name for name in sys.modules if name.partition(".")[0] == "survey_astra"]:
        del sys.modules[name]
    assert not asked, "its own database was asked"
    assert not other.stored, "its own decorator was called"
