"""A pipeline that lacks a program or a model here: alone it says what it needs, among others it has nothing to do."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import NotSetUpError
from astra_models.rocket import Rocket
from astra_models.upsert import upsert
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.resources import resources_for

Visits = Callable[..., list[BossVisitSpectrum]]

MODEL_VARIABLE = "ASTRA_TEST_MODEL"


def the_model(value: object) -> object:
    if value is None:
        raise NotSetUpError(f"needs a model: set {MODEL_VARIABLE}")
    return value


@task(environment={"model": MODEL_VARIABLE}, resolve={"model": the_model})
def needy(spectra: Iterable[BossVisitSpectrum], model: Path | None = None) -> Iterable[Corv]:
    for spectrum in spectra:
        yield Corv.from_spectrum(spectrum, v_rad=0)


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5772)


def run(target: dict[str, Any], *pipelines: Any) -> dg.ExecuteInProcessResult:
    assets = [pipeline_asset(pipeline) for pipeline in pipelines]
    return dg.materialize(assets, resources=resources_for(target), raise_on_error=False)


def test_alone_it_says_what_it_needs(database: peewee.Database, target: dict[str, Any], make_spectra: Visits) -> None:
    make_spectra(2)
    result = run(target, needy)
    assert not result.success
    assert f"needs a model: set {MODEL_VARIABLE}" in str(result.failure_data_for_node("needy"))
    with pytest.raises(NotSetUpError, match="needs a model"):
        next(iter(needy([])))


def test_among_others_it_has_nothing_to_do(
    database: peewee.Database,
    target: dict[str, Any],
    make_spectra: Visits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_spectra(2)
    assert run(target, needy, rocket).success
    assert (Rocket.select().count(), Corv.select().count()) == (2, 0)
    model = tmp_path / "model"
    model.touch()
    monkeypatch.setenv(MODEL_VARIABLE, str(model))
    assert run(target, needy, rocket).success
    assert Corv.select().count() == 2


@pytest.mark.sqlite_only(reason="what is decided from does not depend on the database")
def test_the_sensor_says_nothing_of_results_that_a_file_gave(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits, caplog: pytest.LogCaptureFixture
) -> None:
    [spectrum] = make_spectra(1)
    upsert(Corv, [{"spectrum_pk": spectrum.spectrum_pk, "v_rad": 1.0}])
    assets = [pipeline_asset(needy)]
    resources = resources_for(target)
    definitions = dg.Definitions(assets=assets, resources=resources)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance, definitions=definitions, resources={"database": resources["database"]}
        ) as context,
    ):
        tick = version_sensor(assets).evaluate_tick(context)
    assert tick.skip_message == "the tables have no results yet: materialize the pipelines once"
    assert "needs a model" not in caplog.text
