"""A new version of Astra asks for what it makes due; an older one, or one that was asked for, for nothing."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import DatabaseUnavailableError
from astra_models.rocket import Rocket
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.definitions import defs
from astra_orchestration.resources import DatabaseResource, resources_for

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]

one_database = pytest.mark.sqlite_only(reason="what is decided from does not depend on the database")


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5772)


@task
def corv(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Corv]:
    for spectrum in spectra:
        if spectrum.telescope == "broken" or "ASTRA_TEST_BROKEN" in os.environ:
            raise ValueError("the telescope is broken")
        yield Corv.from_spectrum(spectrum, v_rad=0)


class Observatory:
    """Two pipelines under Dagster, with an instance that remembers their runs."""

    def __init__(self, target: dict[str, Any], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
        assets = [pipeline_asset(rocket), pipeline_asset(corv)]
        self.sensor = version_sensor(assets)
        self.resources = resources_for(target)
        self.definitions = dg.Definitions(assets=assets, resources=self.resources, sensors=[self.sensor])
        self.instance = instance
        self.monkeypatch = monkeypatch

    def install(self, version: str) -> None:
        self.monkeypatch.setenv("ASTRA_VERSION", version)

    def run(self, *assets: str, **kwargs: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(name) for name in assets] or None
        return job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False, **kwargs)

    def tick(self) -> dg.RunRequest | str:
        """Evaluate the sensor: what it asks for, or why for nothing."""
        resources = {"database": self.resources["database"]}
        with dg.build_sensor_context(self.instance, definitions=self.definitions, resources=resources) as context:
            data = self.sensor.evaluate_tick(context)
        return data.run_requests[0] if data.run_requests else data.skip_message or ""

    def obey(self, request: dg.RunRequest | str) -> dg.ExecuteInProcessResult:
        assert isinstance(request, dg.RunRequest), request
        names = [key.to_user_string() for key in request.asset_selection or ()]
        return self.run(*names, tags=dict(request.tags))


@pytest.fixture
def observatory(
    database: peewee.Database, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Observatory]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Observatory(target, instance, monkeypatch)


def names(request: dg.RunRequest | str) -> set[str]:
    assert isinstance(request, dg.RunRequest), request
    return {key.to_user_string() for key in request.asset_selection or ()}


def test_empty_tables_ask_for_nothing(observatory: Observatory) -> None:
    assert observatory.tick() == "the tables have no results yet: materialize the pipelines once"


def test_the_installed_version_asks_for_nothing(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(2)
    observatory.run()

    assert observatory.tick() == "all tables are at version 0.9.0"


def test_a_patch_updates_rows_in_place(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(3)
    observatory.run()
    before = {row.spectrum_pk: (row.task_pk, row.created) for row in Corv.select()}
    observatory.install("0.9.1")

    request = observatory.tick()
    assert observatory.obey(request).success

    assert names(request) == {"corv", "rocket"}
    assert isinstance(request, dg.RunRequest)
    assert request.run_key is not None and request.run_key.startswith("0.9.1:1:")
    assert request.tags["astra/due"] == "rocket: 3 due: 3 patch | corv: 3 due: 3 patch"
    assert request.tags["astra/version"] == "0.9.1"
    assert request.tags["astra/change"] == "patch: rows are updated in place"
    assert {row.spectrum_pk: (row.task_pk, row.created) for row in Corv.select()} == before
    assert {row.v_astra for row in Corv.select()} == {9001}
    assert observatory.tick() == "all tables are at version 0.9.1"


def test_a_minor_version_adds_rows(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(3)
    observatory.run()
    observatory.install("0.10.0")

    request = observatory.tick()
    assert observatory.obey(request).success

    assert isinstance(request, dg.RunRequest)
    assert request.tags["astra/change"] == "minor or major: new rows"
    assert sorted(row.v_astra for row in Corv.select()) == [9000] * 3 + [10000] * 3
    assert observatory.tick() == "all tables are at version 0.10.0"


def test_a_rollback_does_nothing_and_says_so(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(2)
    observatory.run()
    observatory.install("0.8.1")

    message = observatory.tick()

    assert message.startswith("0.8.1 is installed, which is older than the results of ")  # type: ignore[union-attr]
    assert "corv (0.9.0)" in message  # type: ignore[operator]
    assert "nothing is asked for after a rollback" in message  # type: ignore[operator]


@one_database
def test_coming_back_from_a_rollback_does_nothing(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(2)
    observatory.run()
    observatory.install("0.8.1")
    observatory.tick()
    observatory.install("0.9.0")

    assert observatory.tick() == "all tables are at version 0.9.0"


@one_database
def test_a_run_that_failed_is_asked_for_again_but_not_for_ever(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(2)
    observatory.run()
    observatory.install("0.9.1")
    BossVisitSpectrum.update(telescope="broken").execute()

    keys = []
    for _ in range(3):
        request = observatory.tick()
        assert not observatory.obey(request).success
        keys.append(request.run_key[:8])  # type: ignore[union-attr]
    given_up = observatory.tick()

    assert keys == ["0.9.1:1:", "0.9.1:2:", "0.9.1:3:"]
    assert "3 runs for version 0.9.1 failed" in given_up  # type: ignore[operator]
    observatory.install("0.9.2")
    assert observatory.tick().run_key.startswith("0.9.2:1:")  # type: ignore[union-attr]


@one_database
def test_only_what_is_outdated_is_asked_for_again(
    observatory: Observatory, make_spectra: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_spectra(2)
    observatory.run()
    observatory.install("0.9.1")
    monkeypatch.setenv("ASTRA_TEST_BROKEN", "yes")
    observatory.obey(observatory.tick())
    monkeypatch.delenv("ASTRA_TEST_BROKEN")

    request = observatory.tick()

    assert names(request) == {"corv"}
    assert observatory.obey(request).success
    assert {row.v_astra for row in Corv.select()} == {9001}


@one_database
@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTED", "CANCELED"])
def test_a_run_that_is_under_way_or_was_cancelled_is_not_asked_for_again(
    observatory: Observatory, make_spectra: Visits, status: str
) -> None:
    make_spectra(1)
    observatory.run()
    observatory.install("0.9.1")
    job = observatory.definitions.resolve_implicit_global_asset_job_def()
    request = observatory.tick()
    assert isinstance(request, dg.RunRequest)
    observatory.instance.create_run_for_job(job, status=dg.DagsterRunStatus(status), tags=dict(request.tags))

    message = observatory.tick()

    expected = "was cancelled: re-execute it" if status == "CANCELED" else "is under way"
    assert expected in message  # type: ignore[operator]


@one_database
def test_a_run_of_a_few_spectra_does_not_hide_that_the_others_are_outdated(
    observatory: Observatory, make_spectra: Visits
) -> None:
    make_spectra(3)
    observatory.run()
    observatory.install("0.9.1")
    observatory.run("corv", run_config={"ops": {"corv": {"config": {"limit": 1}}}})

    assert names(observatory.tick()) == {"corv", "rocket"}


@one_database
def test_a_run_of_a_few_spectra_does_not_make_a_release_a_patch(observatory: Observatory, make_spectra: Visits) -> None:
    make_spectra(3)
    observatory.run()
    observatory.install("0.10.0")
    observatory.run(
        "rocket", "corv", run_config={"ops": {name: {"config": {"limit": 1}} for name in ("rocket", "corv")}}
    )

    request = observatory.tick()

    assert isinstance(request, dg.RunRequest)
    assert request.tags["astra/change"] == "minor or major: new rows"


@one_database
def test_a_version_for_which_there_are_no_spectra_is_not_asked_for(
    observatory: Observatory, make_spectra: Visits
) -> None:
    make_spectra(1)
    observatory.run("corv")
    observatory.install("0.9.1")
    BossVisitSpectrum.delete().execute()

    assert observatory.tick() == "all tables are at version 0.9.1"


def test_results_that_were_not_made_by_dagster_count_too(observatory: Observatory, make_spectra: Visits) -> None:
    spectra = make_spectra(1)
    list(rocket(spectra))
    observatory.install("0.10.0")

    assert names(observatory.tick()) == {"rocket"}


def test_a_database_that_is_not_there_fails_the_tick(tmp_path: Path) -> None:
    sensor = defs.resolve_sensor_def("astra_version_sensor")
    away = DatabaseResource(target={"postgres": {"dbname": "survey", "host": "127.0.0.1", "port": 1}})

    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, resources={"database": away}) as context,
        pytest.raises(DatabaseUnavailableError, match=r"database 'survey' on 127.0.0.1:1 can't be used"),
    ):
        sensor.evaluate_tick(context)


def test_our_sensor_watches_all_our_pipelines() -> None:
    sensor = defs.resolve_sensor_def("astra_version_sensor")

    graph = defs.resolve_asset_graph()
    [target] = sensor.targets
    assert target.resolvable_to_job
    selected = target.job_def.selection.resolve(graph)
    assert {key.to_user_string() for key in selected} == {
        "aspcap",
        "corv",
        "ferre_coarse",
        "ferre_stellar_parameters",
        "mdwarftype",
        "mwm_best",
        "rocket",
        "snow_white",
        "the_cannon",
        "the_payne",
    }
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
