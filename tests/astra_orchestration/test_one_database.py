"""Dagster's records and the results in one PostgreSQL database, a real daemon, and the state of both after each thing.

The code server and the daemon are started once: each test leaves them running for the next.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import dagster as dg
import psycopg2
import pytest
import yaml
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.remote_representation.external import RemoteRepository, RemoteSchedule, RemoteSensor
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.database.config import postgresql_database
from astra_models.lease import Lease
from astra_models.pipeline_run import PipelineRun
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_orchestration.resources.writers import let_runs_share
from tests.astra_orchestration.test_local_runs import process_of
from tests.conftest import make_boss_visits
from tests.launched import Runs
from tests.services import ROOT, Services, bare_environment
from tests.slurm.cluster import wait_until

pytest.importorskip("dagster_postgres", reason="the extra `postgres` isn't installed")

SCHEMA = "results"
SECONDS = 90.0
HOUR = 3600.0


class Place(NamedTuple):
    """One database, as Dagster and as SQL read it."""

    runs: Runs
    query: Callable[..., list[tuple[Any, ...]]]
    said: Callable[[], str]
    asleep: Path
    """While this file is there, all naps last."""

    def nap(self, **config: Any) -> str:
        """Put a run of the pipeline into the queue."""
        return self.runs.submit("nap", of_naps(**config))

    def status(self, run_id: str) -> str:
        """Give what Dagster's table says."""
        [(status,)] = self.query("SELECT status FROM public.runs WHERE run_id = %s", run_id)
        return str(status)

    def wait_for(self, run_id: str, *statuses: str) -> None:
        wait_until(lambda: self.status(run_id) in statuses, SECONDS, lambda: self.runs.messages(run_id) + self.said())

    def events(self, run_id: str) -> list[str]:
        """Give the types of a run's events, in order."""
        found = self.query(
            "SELECT dagster_event_type FROM public.event_logs WHERE run_id = %s AND dagster_event_type IS NOT NULL "
            "ORDER BY id",
            run_id,
        )
        return [name for (name,) in found]

    @property
    def repository(self) -> RemoteRepository:
        [location] = self.runs.workspace.create_request_context().code_locations
        [repository] = location.get_repositories().values()
        return repository

    def stop_sensor(self) -> None:
        """Leave all that is due to the runs of a test."""
        sensor = self.repository.get_sensor("astra_version_sensor")
        self.runs.instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        under_way = "SELECT 1 FROM public.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
        wait_until(lambda: not self.query(under_way), SECONDS, self.said)

    def ticks(self, of: RemoteSensor | RemoteSchedule) -> list[InstigatorTick]:
        """Give the ticks that asked for a run, the latest first."""
        ticks = self.runs.instance.get_ticks(of.get_remote_origin_id(), of.selector_id)
        return [tick for tick in ticks if tick.run_ids]

    def written(self, run_id: str) -> PipelineRun:
        """Give what the results' schema knows of a run."""
        return PipelineRun.get(PipelineRun.run_id == run_id)

    def rows(self, run_id: str) -> int:
        """Count the results of a run."""
        return Rocket.select().where(Rocket.pipeline_run_pk == self.written(run_id).pk).count()


def of_naps(**config: Any) -> dict[str, Any]:
    return {"ops": {"naps": {"config": config}}}


@pytest.fixture(scope="module")
def parameters(postgresql_server: dict[str, str]) -> Iterator[dict[str, str]]:
    """Make a database, and bind its schema of results."""
    name = f"astra_test_{uuid.uuid4().hex[:12]}"
    server = psycopg2.connect(**postgresql_server)
    server.autocommit = True
    before = base.database.obj, bound_schema()
    try:
        server.cursor().execute(f'CREATE DATABASE "{name}"')
        made = {"user": "postgres"} | postgresql_server | {"dbname": name}
        bind(postgresql_database(**made), SCHEMA)
        yield made
    finally:
        base.database.close()
        bind(*before)
        server.cursor().execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        server.close()


@pytest.fixture(scope="module")
def services(parameters: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Configure both by files, as a deployment does, and make the tables of results."""
    folder = tmp_path_factory.mktemp("one")
    section = parameters | {"schema": SCHEMA, "port": int(parameters["port"])}
    (folder / "astra.yml").write_text(json.dumps({"database": section}))
    home = folder / "dagster"
    home.mkdir()
    settings = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
    settings["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}
    settings["run_monitoring"]["poll_interval_seconds"] = 2
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    environment = bare_environment(
        ASTRA_CONFIG_PATH=str(folder / "astra.yml"),
        DAGSTER_HOME=str(home),
        DAGSTER_PG_URL=url_of(parameters),
        FRESHNESS_DAEMON_INTERVAL_SECONDS="3",
        ASTRA_TEST_ASLEEP=str(folder / "asleep"),
    )
    command = [sys.executable, "-m", "astra_orchestration.cli", "init"]
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, timeout=60)
    return Services(folder, "tests.one_database_location", environment)


def url_of(parameters: dict[str, str]) -> str:
    user, password = (quote(parameters.get(name, ""), safe="") for name in ("user", "password"))
    where = f"host={quote(parameters['host'], safe='')}&port={parameters['port']}"
    return f"postgresql+psycopg2://{user}:{password}@/{parameters['dbname']}?{where}"


@pytest.fixture(scope="module")
def place(parameters: dict[str, str], services: Services) -> Iterator[Place]:
    """Start the services."""
    connection = psycopg2.connect(**parameters)
    connection.autocommit = True

    def query(sql: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_PG_URL", services.environment["DAGSTER_PG_URL"])
        try:
            services.start("code")
            with services.records() as runs:
                let_runs_share(runs.instance)
                place = Place(runs, query, services.said, Path(services.environment["ASTRA_TEST_ASLEEP"]))
                make_boss_visits(3)
                first = runs.launch("nap", of_naps(limit=1))  # a pipeline without any result is left alone
                place.wait_for(first, "SUCCESS")
                services.start("daemon")
                yield place
        finally:
            services.stop()
            connection.close()


def test_a_tick_of_the_sensor_makes_a_run_of_what_is_new(place: Place) -> None:
    sensor = place.repository.get_sensor("astra_version_sensor")
    wait_until(lambda: place.ticks(sensor), SECONDS, place.said)
    [tick] = place.ticks(sensor)
    [run_id] = tick.run_ids
    place.wait_for(run_id, "SUCCESS")
    place.stop_sensor()
    assert tick.status == TickStatus.SUCCESS
    tags = place.query("SELECT value FROM public.run_tags WHERE run_id = %s AND key = 'astra/due'", run_id)
    assert tags == [("naps: 2 due: 2 new",)]
    assert place.events(run_id).count("ASSET_MATERIALIZATION") == 1
    written = place.written(run_id)
    assert (written.due, written.answered, written.inserted) == (2, 2, 2)
    assert written.ended is not None
    assert (place.rows(run_id), Rocket.select().count()) == (2, 3)
    assert Lease.select().count() == 0


def test_two_runs_at_once_share_what_is_due(place: Place, make_spectra: Any) -> None:
    place.stop_sensor()
    make_spectra(160)
    n_due = BossVisitSpectrum.select().count() - Rocket.select().count()
    place.asleep.touch()
    try:
        runs = [place.nap(batch_size=4) for _ in range(2)]
        wait_until(lambda: holders() == set(runs), SECONDS, place.said)
    finally:
        place.asleep.unlink()
    for run_id in runs:
        place.wait_for(run_id, "SUCCESS")
    shares = [place.rows(run_id) for run_id in runs]
    assert min(shares) > 0 and sum(shares) == n_due
    n_spectra = BossVisitSpectrum.select().count()
    assert Rocket.select().count() == Rocket.select(Rocket.spectrum_pk).distinct().count() == n_spectra
    assert all(place.written(run_id).ended is not None for run_id in runs)
    assert Lease.select().count() == 0


def holders() -> set[str]:
    return {lease.run_id for lease in Lease.select()}


def under_way(place: Place, run_id: str) -> None:
    """Wait until a run has written something, and has more in hand."""
    place.wait_for(run_id, "STARTED")

    def wrote() -> bool:
        runs = PipelineRun.select().where(PipelineRun.run_id == run_id)
        return bool(runs.count() and place.rows(run_id) and holders() == {run_id})

    wait_until(wrote, SECONDS, place.said)


def test_a_terminated_run_keeps_what_it_wrote_and_holds_nothing(place: Place, make_spectra: Any) -> None:
    place.stop_sensor()
    before = Rocket.select().count()
    make_spectra(160)
    run_id = place.nap(batch_size=4)
    under_way(place, run_id)
    assert place.runs.instance.run_launcher.terminate(run_id)
    place.wait_for(run_id, "CANCELED")
    written, rows = place.written(run_id), place.rows(run_id)
    assert 0 < rows < 160
    assert (written.inserted, written.answered) == (rows, rows)
    assert Lease.select().count() == 0
    events = place.events(run_id)
    assert "ASSET_OBSERVATION" in events and "ASSET_MATERIALIZATION" not in events
    assert events.index("PIPELINE_CANCELING") < events.index("PIPELINE_CANCELED")
    time.sleep(1)
    assert Rocket.select().count() == before + rows  # it writes no more
    rest = place.nap(limit=20)
    place.wait_for(rest, "SUCCESS")
    assert (place.rows(rest), Rocket.select().count()) == (20, before + rows + 20)


def test_a_killed_worker_is_failed_and_its_work_is_taken_up(place: Place, make_spectra: Any) -> None:
    place.stop_sensor()
    make_spectra(160)
    n_spectra, before = BossVisitSpectrum.select().count(), Rocket.select().count()
    run_id = place.nap(batch_size=4)
    under_way(place, run_id)
    os.kill(process_of(place.runs, run_id), signal.SIGKILL)
    place.wait_for(run_id, "FAILURE")
    assert place.events(run_id)[-1] == "PIPELINE_FAILURE"
    assert place.written(run_id).ended is None
    retried = "SELECT run_id FROM public.run_tags WHERE key = 'dagster/parent_run_id' AND value = %s"
    wait_until(lambda: place.query(retried, run_id), SECONDS, place.said)
    [(again,)] = place.query(retried, run_id)
    place.wait_for(again, "SUCCESS")
    assert 0 < place.rows(run_id) < n_spectra - before
    assert place.rows(run_id) + place.rows(again) == n_spectra - before
    assert Rocket.select().count() == n_spectra
    assert Lease.select().count() == 0


def test_a_tick_of_the_schedule_makes_a_run(place: Place) -> None:
    schedule = place.repository.get_schedule("minutely")
    wait_until(lambda: place.ticks(schedule), SECONDS, place.said)
    tick = place.ticks(schedule)[-1]
    [run_id] = tick.run_ids
    place.wait_for(run_id, "SUCCESS")
    assert tick.status == TickStatus.SUCCESS
    key = "SELECT value FROM public.run_tags WHERE run_id = %s AND key = 'dagster/schedule_name'"
    assert place.query(key, run_id) == [("minutely",)]
    written = place.written(run_id)
    assert written.pipeline == "each_minute"
    assert SnowWhite.select().where(SnowWhite.pipeline_run_pk == written.pk).count() == written.inserted > 0


def test_the_daemon_sees_that_nights_were_left_out(place: Place) -> None:
    instance = place.runs.instance
    for name, hours in (("left_out_for_a_night", 30), ("left_out_for_two_nights", 60)):
        data = StepMaterializationData(dg.AssetMaterialization(name))
        event = DagsterEvent(dg.DagsterEventType.ASSET_MATERIALIZATION.value, "", event_specific_data=data)
        instance.report_dagster_event(event, run_id="", timestamp=time.time() - hours * HOUR)
    keys = [dg.AssetKey(name) for name in ("naps", "left_out_for_a_night", "left_out_for_two_nights")]
    expected = [FreshnessState.PASS, FreshnessState.WARN, FreshnessState.FAIL]

    def states() -> list[FreshnessState]:
        found = instance.get_freshness_state_records(keys)
        return [found[key].freshness_state for key in keys if key in found]

    wait_until(lambda: states() == expected, SECONDS, lambda: f"{states()} {place.said()}")
