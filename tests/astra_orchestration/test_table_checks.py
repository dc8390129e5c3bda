"""Checks of a pipeline's table: in the asset's own step, after its rows are stored."""

import base64
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import task
from astra_models.analysis.stream import ResultStream
from astra_models.boss import BossVisitSpectrum
from astra_models.quality import CHECKS, Finding
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import PipelineRunConfig, pipeline_asset
from astra_orchestration.checks.links import launchpad_link
from astra_orchestration.resources import resources_for

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]
NAMES = ["coverage", "rejected", "distribution", "physical_range", "integrity", "freshness"]


@task
def suns(spectra: Iterable[BossVisitSpectrum], teff: float = 5772.0) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=teff, logg=4.4)


def launch(asset: dg.AssetsDefinition, target: Any, config: Any = None, **kwargs: Any) -> dg.ExecuteInProcessResult:
    run_config = {} if config is None else {"ops": {asset.key.to_python_identifier(): {"config": config}}}
    return dg.materialize([asset], resources=resources_for(target), run_config=run_config, **kwargs)


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_a_run_checks_its_table_after_the_rows_are_stored(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(5)

    found = checked(launch(pipeline_asset(suns), target))

    assert list(found) == NAMES
    assert {name: each.description for name, each in found.items() if not each.passed} == {}
    assert found["coverage"].metadata["done"].value == 5


def test_each_check_says_what_it_means_and_what_to_do() -> None:
    specs = {each.name: each for each in pipeline_asset(suns).check_specs}

    assert list(specs) == NAMES
    assert [name for name, each in specs.items() if each.blocking] == ["physical_range", "integrity"]
    assert all("\n\nWhat to do: " in (each.description or "") for each in specs.values())


def test_a_warning_fails_its_check_and_not_the_run(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(5)

    result = launch(pipeline_asset(suns), target, {"limit": 2})
    coverage = checked(result)["coverage"]

    assert result.success
    assert (coverage.passed, coverage.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert coverage.description == "2 of 5 spectra have a result (40.0%), 3 are due"
    assert "| 3 | new |" in str(coverage.metadata["why they are due"].value)
    assert str(coverage.metadata["what to do"].value).startswith("Run the pipeline without `limit`")


def test_an_error_keeps_what_is_downstream_waiting_and_the_rows(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(5)
    made: list[str] = []
    asset = pipeline_asset(suns)

    @dg.asset(deps=[asset])
    def product() -> None:
        made.append("product")

    config = {"ops": {"suns": {"config": {"teff": -1.0}}}}
    result = dg.materialize([asset, product], resources=resources_for(target), run_config=config, raise_on_error=False)

    assert not result.success
    assert made == []
    assert Rocket.select().count() == 5
    assert len(result.asset_materializations_for_node("suns")) == 1
    assert list(checked(result)) == NAMES
    failed = checked(result)["physical_range"]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_due_is_asked_with_the_parameters_of_the_run(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(3)

    assert checked(launch(pipeline_asset(suns), target, {"teff": 6_000.0}))["coverage"].passed


def broken_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "astra.yml").write_text("quality: {min_coverag: 1}")
    monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))


def test_checks_that_cannot_be_made_lose_no_run(
    database: peewee.Database,
    target: dict[str, Any],
    make_spectra: Visits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_spectra(3)
    broken_configuration(tmp_path, monkeypatch)

    result = launch(pipeline_asset(suns), target)

    assert result.success
    assert Rocket.select().count() == 3
    assert {(each.passed, each.severity) for each in checked(result).values()} == {(False, dg.AssetCheckSeverity.WARN)}
    assert "there is no threshold 'min_coverag'" in str(checked(result)["integrity"].metadata["error"].value)


def test_a_check_that_raises_fails_alone(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_spectra(3)

    def divide(*_: object) -> Finding:
        return Finding(CHECKS[0], 1 / 0 > 1, "never")

    checks = (*CHECKS[:1], replace(CHECKS[1], find=divide), *CHECKS[2:])
    asset = pipeline_asset(suns, checks=checks)
    result = launch(asset, target)

    assert result.success
    assert [name for name, each in checked(result).items() if not each.passed] == ["rejected"]
    assert checked(result)["rejected"].metadata["error"].value == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("checks", "most"), [(True, 60), (False, 40)])
@pytest.mark.parametrize("n", [0, 300])
def test_a_run_has_few_events(
    memory_database: peewee.Database, make_spectra: Visits, checks: bool, most: int, n: int
) -> None:
    if n:
        make_spectra(n)
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(
            pipeline_asset(suns, checks=checks), {"sqlite": {"path": ":memory:"}}, {"batch_size": 10}, instance=instance
        )
        events = instance.all_logs(result.run_id)

    assert result.success
    assert len(events) < most
    assert len(checked(result)) == (6 if checks else 0)


def test_an_asset_without_checks_gives_its_stream(memory_database: peewee.Database, make_spectra: Visits) -> None:
    make_spectra(2)
    resources = resources_for({"sqlite": {"path": ":memory:"}})
    database, engine = resources["database"], resources["engine"]
    given = {"config": PipelineRunConfig(), "database": database, "engine": engine}

    stream = pipeline_asset(suns, checks=False)(dg.build_asset_context(), **given)
    output = next(pipeline_asset(suns)(dg.build_asset_context(), **given))

    assert isinstance(stream, ResultStream)
    assert isinstance(output.value, ResultStream)
    assert [len(batch) for batch in output.value] == [2]


def test_what_failed_is_run_again_by_a_link(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(3)
    RejectedResult.create(model="Rocket", v_astra=9000, reason="refused", message="too hot")

    rejected = checked(launch(pipeline_asset(suns), target))["rejected"]

    assert rejected.metadata["run again what failed"].value == launchpad_link("suns")


def test_numbers_over_time_are_of_the_table(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(4)

    [event] = launch(pipeline_asset(suns), target, {"limit": 3}).asset_materializations_for_node("suns")
    found = {name: entry.value for name, entry in event.metadata.items()}

    assert {name: found[name] for name in ("due", "done", "rejected", "still due", "failed", "coverage")} == {
        "due": 3,
        "done": 3,
        "rejected": 0,
        "still due": 1,
        "failed": 0,
        "coverage": 0.75,
    }
    assert (found["median teff (K)"], found["flagged share"]) == (5772.0, 0.0)
    for name in ("seconds", "rows per second", "core-seconds", "seconds of checks"):
        assert isinstance(found[name], float), name


def test_what_is_not_measured_has_no_median(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    [event] = launch(pipeline_asset(suns), target).asset_materializations_for_node("suns")

    assert not [name for name in event.metadata if name.startswith("median")]
    assert event.metadata["done"].value == 0


# ---- pictures


def own_picture(figure: Any, rows: Any) -> None:
    """How hot they are."""
    figure.subplots().hist(rows["teff"])


def wrong_picture(figure: Any, rows: Any) -> None:
    figure.subplots().plot(rows["no_such_column"])


@task(plots=[own_picture, wrong_picture])
def drawn(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_700 + spectrum.spectrum_pk, logg=4.4)


def metadata_of(result: dg.ExecuteInProcessResult, node: str) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node(node)
    return {name: entry.value for name, entry in event.metadata.items()}


def test_pictures_are_in_the_metadata_and_a_wrong_one_costs_a_warning(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits
) -> None:
    make_spectra(30)
    with dg.DagsterInstance.ephemeral() as instance:
        first = launch(pipeline_asset(drawn), target, instance=instance)
        again = launch(pipeline_asset(drawn), target, instance=instance)
        events = instance.all_logs(first.run_id)

    found = metadata_of(first, "drawn")
    assert first.success
    assert len(events) < 60
    for name in ("Kiel diagram", "own picture"):
        picture = base64.b64decode(str(found[name]).split("base64,")[1].split(")")[0])
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 150_000
    assert found["own picture"].endswith("\n\nHow hot they are.")
    assert found["wrong picture"] == "not drawn: KeyError: 'no_such_column'"
    warnings = [event.user_message for event in events if event.level == logging.WARNING]
    assert warnings == ["drawn: no picture of wrong picture: KeyError: 'no_such_column'"]
    assert "Kiel diagram" not in metadata_of(again, "drawn")  # nothing was written: the table is as it was


def test_without_matplotlib_there_are_results_and_no_pictures(
    memory_database: peewee.Database, make_spectra: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    make_spectra(3)

    result = launch(pipeline_asset(drawn), {"sqlite": {"path": ":memory:"}})

    assert result.success
    assert "pip install astra-orchestration[plot]" in metadata_of(result, "drawn")["pictures"]
    assert checked(result)["coverage"].passed
