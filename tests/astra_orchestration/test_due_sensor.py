"""Whatever makes something due leads to a run of exactly that; nothing due leads to none."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models import base, task
from astra_models.analysis import news
from astra_models.analysis.stream import analyse, write
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.config import sqlite_database
from astra_models.database.revisions import PIXELS
from astra_models.database.sql import quote
from astra_models.due_mark import DueMark
from astra_models.fields import utc_now
from astra_models.pipeline_run import PipelineRun
from astra_models.rocket import Rocket
from astra_models.schema.tables import create_tables
from astra_models.snow_white import SnowWhite
from astra_models.upsert import upsert
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.resources import resources_for
from tests.conftest import make_boss_visits

pytestmark = pytest.mark.long_on_each

Visits = Callable[..., list[BossVisitSpectrum]]
Said = dg.RunRequest | str


def make_rocket(version: str = "1", *, rerun_on_patch: bool = True) -> Any:
    """Make a pipeline with a parameter, whose value the environment may say."""

    @task(version=version, environment={"teff": "ASTRA_TEST_TEFF"}, rerun_on_patch=rerun_on_patch)
    def rocket(spectra: Iterable[BossVisitSpectrum], teff: int = 5772) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.telescope == "broken":
                raise ValueError("the telescope is broken")
            yield Rocket.from_spectrum(spectrum, teff=teff)

    return rocket


@task
def corv(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Corv]:
    for spectrum, white in spectra:
        yield Corv.from_spectrum(spectrum, v_rad=(white.teff or 0) / 1000)


class Night:
    """Pipelines under Dagster, with an instance on disk."""

    def __init__(self, target: dict[str, Any], instance: dg.DagsterInstance):
        self.instance = instance
        self.cursor: str | None = None
        self.resources = resources_for(target)
        self.use(make_rocket(), corv)

    def use(self, *tasks: Any) -> None:
        """Have these pipelines, as after a start of the code server."""
        assets = [pipeline_asset(one) for one in tasks]
        self.sensor = version_sensor(assets)
        self.definitions = dg.Definitions(assets=assets, resources=self.resources, sensors=[self.sensor])

    def run(self, *names: str, tags: Any = None, resources: Any = None, **config: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        run_config: dict[str, Any] = {"ops": {name: {"config": config} for name in names}} if config else {}
        if resources:
            run_config["resources"] = {"database": {"config": {"target": resources}}}
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in names],
            tags=tags,
            run_config=run_config,
            raise_on_error=False,
        )

    def tick(self) -> Said:
        resources = {"database": self.resources["database"]}
        with dg.build_sensor_context(
            self.instance, cursor=self.cursor, definitions=self.definitions, resources=resources
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data.run_requests[0] if data.run_requests else data.skip_message or ""

    def obey(self, request: Said) -> dg.ExecuteInProcessResult:
        assert isinstance(request, dg.RunRequest), request
        return self.run(*(key.to_user_string() for key in request.asset_selection or ()), tags=dict(request.tags))

    def asked(self) -> str:
        """Tick, do what is asked for, and give what it said was due; then nothing is due any more."""
        request = self.tick()
        assert self.obey(request).success
        assert self.tick() == NOTHING
        return request.tags["astra/due"]  # type: ignore[union-attr]


NOTHING = "all tables are at version 0.9.0"


@pytest.fixture(scope="module")
def empty_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of an instance that has seen nothing, to copy."""
    folder = tmp_path_factory.mktemp("records")
    with dg.DagsterInstance.local_temp(str(folder)):
        return folder


@pytest.fixture
def night(
    database: peewee.Database, target: dict[str, Any], make_spectra: Visits, empty_records: Path, tmp_path: Path
) -> Iterator[Night]:
    """Give an evening on which nothing is due: three spectra have results of Snow White, Rocket and Corv."""
    shutil.copytree(empty_records, tmp_path, dirs_exist_ok=True)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        found = Night(target, instance)
        white(make_spectra(3))
        for one in (make_rocket(), corv):
            assert write(analyse(one)).inserted == 3
        assert found.tick() == NOTHING
        assert found.tick() == NOTHING
        yield found


def white(spectra: list[BossVisitSpectrum], teff: float = 10_000) -> None:
    keys = [{"spectrum_pk": one.spectrum_pk, "source_pk": one.source_pk} for one in spectra]
    assert upsert(SnowWhite, [row | {"v_astra": 9000, "teff": teff} for row in keys]).rejected == 0


# ---- reasons


def test_new_spectra(night: Night, make_spectra: Visits) -> None:
    make_spectra(2)
    assert night.asked() == "rocket: 2 due: 2 new"
    assert Rocket.select().count() == 5


def test_a_changed_spectrum(night: Night) -> None:
    BossVisitSpectrum.update(snr=3).where(BossVisitSpectrum.spectrum_pk == 1).execute()
    assert night.asked() == "rocket: 1 due: 1 spectrum changed | corv: 1 due: 1 spectrum changed"


def test_new_pixels(night: Night) -> None:
    pixels = peewee.fn.COALESCE(BossVisitSpectrum.revision, 0) + PIXELS
    BossVisitSpectrum.update(revision=pixels).where(BossVisitSpectrum.spectrum_pk == 2).execute()
    assert night.asked() == "rocket: 1 due: 1 pixels changed | corv: 1 due: 1 pixels changed"


def test_new_results_of_another_pipeline(night: Night, make_spectra: Visits) -> None:
    spectra = make_spectra(1)
    assert night.asked() == "rocket: 1 due: 1 new"
    white(spectra)
    assert night.asked() == "corv: 1 due: 1 new"


@pytest.mark.parametrize("few", [True, False])
def test_changed_results_of_another_pipeline(night: Night, monkeypatch: pytest.MonkeyPatch, few: bool) -> None:
    if not few:  # of a large table, only what a run or a file has written is looked for
        monkeypatch.setattr(news, "SMALL", 0)
        assert night.tick() == NOTHING
        made_by = {"pipeline": "snow_white", "version": "1", "v_astra": 9000, "recipe": "r", "parameters": "{}"}
        PipelineRun.create(**made_by, ended=utc_now())
    white(list(BossVisitSpectrum.select().where(BossVisitSpectrum.spectrum_pk == 3)), teff=20_000)
    assert night.asked() == "corv: 1 due: 1 upstream changed"
    assert sorted(row.v_rad for row in Corv.select()) == [10, 10, 20]


def test_another_version_of_the_pipeline(night: Night) -> None:
    night.use(make_rocket(version="2"), corv)
    assert night.asked() == "rocket: 3 due: 3 pipeline's version"


def test_other_parameters_of_the_deployment(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_TEST_TEFF", "6000")
    assert night.asked() == "rocket: 3 due: 3 parameters changed"
    assert {row.teff for row in Rocket.select()} == {6000}


def test_other_defaults_that_a_defs_yaml_gives(night: Night) -> None:
    night.use(make_rocket().with_defaults(teff=6000), corv)
    assert night.asked() == "rocket: 3 due: 3 parameters changed"
    assert {row.teff for row in Rocket.select()} == {6000}


def test_a_patch_says_how_many_rows_are_redone(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    white(list(BossVisitSpectrum.select()))
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")
    request = night.tick()
    assert request.tags["astra/due"] == "rocket: 3 due: 3 patch | corv: 3 due: 3 patch"  # type: ignore[union-attr]
    assert night.obey(request).success
    assert night.tick() == "all tables are at version 0.9.1"


def test_a_pipeline_may_be_spared_by_patches(
    night: Night, make_spectra: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.use(make_rocket(rerun_on_patch=False))
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")
    spared = "all tables are at version 0.9.1; rocket keeps 3 rows of an older patch (rerun_on_patch=False)"
    assert night.tick() == spared
    assert night.run("rocket").success  # the nightly run doesn't do them either
    assert {row.v_astra for row in Rocket.select()} == {9000}
    make_spectra(1)
    assert night.obey(night.tick()).success
    assert sorted(row.v_astra for row in Rocket.select()) == [9000, 9000, 9000, 9001]
    assert night.run("rocket", rerun="all").success
    assert {row.v_astra for row in Rocket.select()} == {9001}


# ---- what isn't asked of Dagster


def test_a_run_into_another_database_hides_nothing(
    night: Night, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")
    before = base.database.obj, bound_schema()
    other = sqlite_database(tmp_path / "other.db")
    bind(other)
    create_tables()
    make_boss_visits(1)
    other.close()
    bind(*before)

    assert night.run("rocket", resources={"sqlite": {"path": str(tmp_path / "other.db")}}).success
    assert base.database.obj.database == str(tmp_path / "other.db")

    request = night.tick()
    assert request.tags["astra/due"].startswith("rocket: 3 due: 3 patch")  # type: ignore[union-attr]


@pytest.mark.sqlite_only(reason="it is about what Dagster keeps of runs")
def test_many_runs_of_one_spectrum_hide_nothing(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")
    for _ in range(21):
        night.run("rocket", limit=1, sdss_ids=[1001])
    request = night.tick()
    assert request.tags["astra/due"].startswith("rocket: 2 due: 2 patch")  # type: ignore[union-attr]


# ---- attempts


def test_new_spectra_that_fail_are_asked_for_three_times(night: Night, make_spectra: Visits) -> None:
    make_spectra(25, telescope="broken")
    for _ in range(3):
        assert not night.obey(night.tick()).success
    assert "rocket: 3 runs for version 0.9.0 failed" in night.tick()  # type: ignore[operator]
    make_spectra(1)
    assert isinstance(night.tick(), dg.RunRequest), "what came since is another cause"


def test_while_a_run_has_the_pipeline_in_hand_it_is_not_asked_for(night: Night, make_spectra: Visits) -> None:
    make_spectra(1)
    job = night.definitions.resolve_implicit_global_asset_job_def()
    run = night.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset([dg.AssetKey("rocket")])
    )
    assert f"rocket: the run {run.run_id} is under way" in night.tick()  # type: ignore[operator]
    night.instance.delete_run(run.run_id)
    assert isinstance(night.tick(), dg.RunRequest)


def test_a_pipeline_whose_file_is_missing_does_not_stop_the_others(night: Night, make_spectra: Visits) -> None:
    @task
    def rocket(spectra: Iterable[BossVisitSpectrum], grid: Path = Path("/nowhere/grid.fits")) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)

    night.use(rocket, corv)
    BossVisitSpectrum.update(snr=3).where(BossVisitSpectrum.spectrum_pk == 1).execute()
    request = night.tick()
    assert request.tags["astra/due"] == "corv: 1 due: 1 spectrum changed"  # type: ignore[union-attr]
    assert night.obey(request).success
    assert "rocket: the parameter grid names '/nowhere/grid.fits', which isn't there" in night.tick()  # type: ignore[operator]


# ---- parameters of one run


def test_a_run_with_other_parameters_is_done_again_and_says_so_first(
    night: Night, capfd: pytest.CaptureFixture[str]
) -> None:
    result = night.run("rocket", teff=7000)
    said = [event.user_message for event in night.instance.all_logs(result.run_id) if event.user_message]
    [place] = [n for n, message in enumerate(said) if "the sensor will have these results done again" in message]
    assert said[place].startswith("teff: not as the deployment has it")
    assert place < next(n for n, message in enumerate(said) if message == "3 spectra are due")
    assert night.asked() == "rocket: 3 due: 3 parameters changed"
    assert {row.teff for row in Rocket.select()} == {5772}


def test_results_that_are_to_be_kept_are_left_alone_until_something_else_changes(night: Night) -> None:
    assert night.run("rocket", teff=7000, keep=True).success
    assert night.tick() == NOTHING
    assert night.run("rocket").success
    assert {row.teff for row in Rocket.select()} == {7000}
    BossVisitSpectrum.update(snr=3).where(BossVisitSpectrum.spectrum_pk == 1).execute()
    assert night.asked().startswith("rocket: 1 due: 1 spectrum changed")
    assert sorted(row.teff for row in Rocket.select()) == [5772, 7000, 7000]
    night.use(make_rocket(version="2"))
    assert night.asked() == "rocket: 3 due: 3 pipeline's version"


# ---- marks


def a_day_passes() -> None:
    """Make all rows a day older, and the time at which the sensor looked."""
    then = utc_now() - timedelta(days=1)
    BossVisitSpectrum.update(modified=then).execute()
    SnowWhite.update({SnowWhite.modified: then}).execute()
    for mark in DueMark.select():
        DueMark.update(looked=then + timedelta(hours=1)).where(DueMark.pk == mark.pk).execute()


def test_a_look_without_news_reads_no_table_of_spectra(night: Night, recorded_queries: Any) -> None:
    a_day_passes()
    with recorded_queries() as queries:
        assert night.tick() == NOTHING
    assert not [query for query in queries if "JOIN" in query]


def test_what_a_mark_misses_the_nightly_run_finds(night: Night) -> None:
    table = quote(bound_schema(), "boss_visit_spectrum")
    a_day_passes()
    base.database.execute_sql(f"UPDATE {table} SET snr = 3 WHERE spectrum_pk = 1")
    assert night.tick() == NOTHING
    assert night.run("rocket", "corv").success
    [event] = night.instance.fetch_materializations(dg.AssetKey("rocket"), limit=1).records
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["due"].value == 1


def test_in_a_schema_that_keeps_no_marks_all_is_asked_once(
    night: Night, make_spectra: Visits, recorded_queries: Any
) -> None:
    make_spectra(1)
    DueMark.drop_table()
    assert night.asked() == "rocket: 1 due: 1 new"
    with recorded_queries() as queries:
        assert night.tick() == NOTHING
    assert not [query for query in queries if "JOIN" in query]
    BossVisitSpectrum.update(snr=3).where(BossVisitSpectrum.spectrum_pk == 1).execute()
    assert night.asked().startswith("rocket: 1 due: 1 spectrum changed | corv: 1 due: 1 spectrum changed")


def test_more_news_than_can_be_listed_are_asked_about_in_full(
    night: Night, make_spectra: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "MOST_KEYS", 3)
    make_spectra(5)
    assert night.asked() == "rocket: 5 due: 5 new"
