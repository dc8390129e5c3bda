"""A pipeline that lacks a program or a model here: alone it says what it needs, among others it has nothing to do."""

import logging
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
from astra_models.quality import CHECKS
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


def run(target: dict[str, Any], *pipelines: Any, **options: Any) -> dg.ExecuteInProcessResult:
    assets = [pipeline_asset(pipeline) for pipeline in pipelines]
    return dg.materialize(assets, resources=resources_for(target), raise_on_error=False, **options)


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
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(target, needy, rocket, instance=instance)
        lines = [line for line in instance.all_logs(result.run_id) if line.step_key == "needy"]
    assert result.success
    assert [line.user_message for line in lines if int(line.level) > logging.INFO] == []
    said = [line.user_message for line in lines if line.dagster_event is None and line.level == logging.INFO]
    assert said == [f"not set up here, so nothing is done: needs a model: set {MODEL_VARIABLE}"]
    assert (Rocket.select().count(), Corv.select().count()) == (2, 0)
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {dg.AssetKey("rocket")}
    [event] = result.get_asset_observation_events()
    observation = event.asset_observation_data.asset_observation
    assert observation.asset_key == dg.AssetKey("needy")
    assert observation.description == f"not set up here: needs a model: set {MODEL_VARIABLE}"
    evaluations = [one for one in result.get_asset_check_evaluations() if one.asset_key == dg.AssetKey("needy")]
    assert {(one.passed, one.description) for one in evaluations} == {(True, "nothing to look at: not set up here")}
    assert {one.check_name for one in evaluations} == {check.name for check in CHECKS}
    model = tmp_path / "model"
    model.touch()
    monkeypatch.setenv(MODEL_VARIABLE, str(model))
    result = run(target, needy, rocket)
    assert result.success and not result.get_asset_observation_events()
    assert dg.AssetKey("needy") in {event.asset_key for event in result.get_asset_materialization_events()}
    assert Corv.select().count() == 2


@pytest.mark.sqlite_only(reason="what is made of nothing does not depend on the database")
def test_without_checks_and_for_assets_downstream_it_has_nothing_to_do_either(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(2)

    @dg.asset
    def counted(needy: peewee.ModelSelect) -> int:
        return needy.count()

    assets = [pipeline_asset(needy, checks=False), counted]
    result = dg.materialize(assets, resources=resources_for(target))
    assert result.output_for_node("counted") == 0
    assert [event.asset_key for event in result.get_asset_materialization_events()] == [counted.key]


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
