"""The engine of a run under Dagster: chosen in code or in the launchpad, with no change to a pipeline."""

import os
from types import SimpleNamespace
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.analysis import stream
from astra_models.analysis.engine import InProcess
from astra_models.analysis.isolation import Limits
from astra_models.errors import ConfigurationError
from astra_models.pipeline_run import PipelineRun
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.engines.choosing import configured_engine
from astra_orchestration.resources import EngineResource, io_manager, resources_for
from tests import fragile

pytestmark = pytest.mark.long_on_each

naps = pipeline_asset(fragile.naps)


def in_launchpad(engine: dict[str, Any]) -> dict[str, Any]:
    return {"resources": {"engine": {"config": {"engine": engine}}}}


def launch(target: Any, engine: dict[str, Any], **options: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([naps], resources=resources_for(target), run_config=in_launchpad(engine), **options)


def test_a_run_is_given_workers_in_the_launchpad(
    database: peewee.Database, target: dict[str, Any], make_spectra: Any
) -> None:
    make_spectra(60)
    result = launch(target, {"local": {"workers": 2}})
    [event] = result.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (metadata["inserted"], metadata["workers"]) == (60, 2)
    assert metadata["core-seconds"] > 2.5 and metadata["memory of a worker (MB)"] > 20
    assert PipelineRun.get().engine == "local" and PipelineRun.get().run_id == result.run_id
    assert not any(row.t_elapsed is None for row in Rocket.select())


def test_an_engine_is_given_in_code(database: peewee.Database, target: dict[str, Any], make_spectra: Any) -> None:
    make_spectra(5)
    dg.materialize([naps], resources=resources_for(target, engine={"local": {"workers": 1}}))
    assert PipelineRun.get().engine == "local"


def test_an_engine_is_configured_where_none_is_given(
    database: peewee.Database, target: dict[str, Any], make_spectra: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    make_spectra(5)
    config = tmp_path / "astra.yml"
    config.write_text("engines: {default: local, local: {workers: 1}}")
    dg.materialize([naps], resources=resources_for(target))
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(config))
    dg.materialize([naps], resources=resources_for(target), run_config={"ops": {"naps": {"config": {"rerun": "all"}}}})
    assert [run.engine for run in PipelineRun.select().order_by(PipelineRun.pk)] == ["in_process", "local"]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"locl": {}}, "locl"),
        ({"local": {"worker": 2}}, "worker"),
        ({"local": {"workers": "many"}}, "workers"),
        ({"slurm": {"carry": "everything"}}, "carry"),
    ],
)
def test_the_launchpad_refuses_what_it_does_not_know(
    memory_database: peewee.Database, engine: dict[str, Any], words: str
) -> None:
    with pytest.raises((dg.DagsterInvalidConfigError, dg.DagsterInvalidDefinitionError, ValueError), match=words):
        launch({"sqlite": {"path": ":memory:"}}, engine)


def test_the_launchpad_shows_each_setting_with_its_meaning() -> None:
    schema: Any = EngineResource(engine={"in_process": {}}).get_resource_definition().config_schema.config_type
    engines = schema.fields["engine"].config_type.fields
    assert set(engines) == {"config", "in_process", "local", "slurm", "address"}
    for engine in engines.values():
        for name, field in engine.config_type.fields.items():
            assert field.description, name


def test_observations_and_lines_stay_few(
    database: peewee.Database, target: dict[str, Any], make_spectra: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(io_manager, "SECONDS_TO_OBSERVATION", 0.0)
    make_spectra(200)
    with dg.instance_for_test() as instance:
        result = launch(target, {"in_process": {}}, instance=instance)
        observed = instance.fetch_observations(naps.key, limit=100).records
        lines = [entry for entry in instance.all_logs(result.run_id) if "done," in entry.user_message]
    assert 1 <= len(observed) <= 5 and 1 <= len(lines) <= 20
    assert os.environ.get("DAGSTER_HOME") is None


def test_the_bounds_of_the_child_process_can_be_set(monkeypatch: Any, tmp_path: Any) -> None:
    shown = EngineResource(engine={"in_process": {"seconds_per_spectrum": 5, "megabytes": 100}}).make()
    config = tmp_path / "astra.yml"
    config.write_text("engines:\n  in_process: {seconds_per_spectrum: 5, megabytes: 100}\n")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(config))
    for engine in (shown, configured_engine()):
        assert isinstance(engine, InProcess) and engine.limits == Limits(5, 100_000_000)
    config.write_text("engines:\n  in_process: {seconds_per_spectrum: many}\n")
    with pytest.raises(ConfigurationError, match="'in_process': its setting 'seconds_per_spectrum' is wrong"):
        configured_engine()


def test_a_run_of_two_weeks_has_twenty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    lines, observations = stream.Pace(), stream.Pace(io_manager.SECONDS_TO_OBSERVATION, growth=4)
    told = observed = 0
    while clock[0] < 14 * 86_400:
        clock[0] += 1 + clock[0] / 100
        told, observed = told + lines.is_due(), observed + observations.is_due()
    assert 15 <= told <= 20 and observed > 5, "the observations have to be counted, too"
