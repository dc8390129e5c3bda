"""Which database something was materialized in: told with it, and counts of two databases are two plots."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import base, outputs, task
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import sqlite_database
from astra_models.database_identity import DatabaseIdentity, database_id
from astra_models.rocket import Rocket
from astra_models.schema.migration import init
from astra_models.schema.tables import create_tables
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.resources import resources_for
from tests.conftest import make_boss_visits

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5772)


@pytest.fixture
def other(database: peewee.Database, tmp_path: Path) -> dict[str, Any]:
    """Give another database with two spectra, as a target."""
    before = base.database.obj, bound_schema()
    file = sqlite_database(tmp_path / "other.db")
    bind(file)
    create_tables()
    make_boss_visits(2)
    file.close()
    bind(*before)
    return {"sqlite": {"path": str(tmp_path / "other.db")}}


def run(instance: dg.DagsterInstance, target: dict[str, Any], **config: Any) -> dict[str, Any]:
    """Materialize, and give the metadata."""
    asset = pipeline_asset(rocket, checks=False)
    result = dg.materialize(
        [asset],
        instance=instance,
        resources=resources_for(target),
        run_config={"ops": {"rocket": {"config": config}}},
        selection=["rocket"],
    )
    [event] = result.asset_materializations_for_node("rocket")
    return {name: entry.value for name, entry in event.metadata.items()}


def numbers(metadata: dict[str, Any]) -> set[str]:
    return {name for name, value in metadata.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def test_a_database_has_an_id_that_a_copy_keeps_and_a_new_one_does_not(tmp_path: Path) -> None:
    before = base.database.obj, bound_schema()
    found = []
    for name in ("first", "second"):
        bind(sqlite_database(tmp_path / f"{name}.db"))
        init(outputs.packages())
        init(outputs.packages())
        found.append(database_id())
        base.database.close()
    shutil.copy(tmp_path / "first.db", tmp_path / "restored.db")
    bind(sqlite_database(tmp_path / "restored.db"))
    restored = database_id()
    base.database.close()
    bind(*before)

    assert len(str(found[0])) == 32
    assert found[0] != found[1]
    assert restored == found[0]


def test_an_id_stays(database: peewee.Database) -> None:
    first = database_id()
    assert first is not None
    assert database_id() == first
    assert [row.identity for row in DatabaseIdentity.select()] == [first]


def test_tables_that_keep_no_id_have_none(database: peewee.Database) -> None:
    DatabaseIdentity.drop_table()
    assert database_id() is None
    DatabaseIdentity.create_table()
    assert database_id() is not None


def test_counts_of_two_databases_are_two_plots(
    database: peewee.Database, target: dict[str, Any], other: dict[str, Any], make_spectra: Visits, tmp_path: Path
) -> None:
    make_spectra(3)
    own = database_id()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        here, there, again = run(instance, target), run(instance, other), run(instance, target)

    assert here["inserted"] == 3
    assert (here["database id"], again["database id"]) == (own, own)
    assert there["database id"] != own
    assert there[f"inserted [{there['database id'][:8]}]"] == 2
    assert there[f"row count [{there['database id'][:8]}]"] == 2
    assert numbers(here) == numbers(again)
    assert numbers(here).isdisjoint(numbers(there))
    assert len(numbers(there)) == len(numbers(here))
