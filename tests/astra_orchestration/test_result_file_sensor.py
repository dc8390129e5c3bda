"""Files that are dropped into a folder are asked for once, when they have settled."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import DatabaseUnavailableError
from astra_models.ingest import ingest_result_file
from astra_models.ingested import IngestedFile
from astra_models.products.export import export
from astra_models.products.joins import with_source
from astra_models.products.query import select_model
from astra_models.source import Source
from astra_orchestration.assets.result_files import result_file, result_files
from astra_orchestration.automation import file_sensor as module
from astra_orchestration.definitions import defs
from astra_orchestration.resources import DatabaseResource, resources_for
from astra_orchestration.resources.folders import ResultFoldersResource
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.summary_file import write_result_file
from tests.exported import changed, contents, empty, fill

NAME = "astraAllStarASPCAP-0.8.1.fits.gz"
one_database = pytest.mark.sqlite_only(reason="what is decided from does not depend on the database")


class Observatory:
    """A watched folder, a database, and an instance that remembers runs and partitions as the daemon does."""

    def __init__(self, target: Any, folders: list[Path], instance: dg.DagsterInstance):
        self.resources = resources_for(target) | {
            "result_folders": ResultFoldersResource(folders=[str(folder) for folder in folders])
        }
        self.folder = folders[0]
        self.instance = instance
        self.cursor: str | None = None
        self.asked: set[str] = set()

    def tick(self) -> list[dg.RunRequest] | str:
        """Evaluate the sensor: what it asks for and wasn't asked for before, or why for nothing."""
        resources = {name: self.resources[name] for name in ("database", "result_folders")}
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            data: Any = module.result_file_sensor(context)
        if isinstance(data, dg.SkipReason):
            return data.skip_message or ""
        self.cursor = data.cursor
        for request in data.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        requests = [request for request in data.run_requests or () if request.run_key not in self.asked]
        self.asked |= {request.run_key or "" for request in requests}
        return requests or data.skip_reason.skip_message

    def settle(self) -> list[dg.RunRequest] | str:
        self.tick()
        return self.tick()

    def obey(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [result_file],
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=request.run_config,
            resources=self.resources,
            tags=request.tags,
            raise_on_error=False,
        )

    def statuses(self) -> dict[str, str]:
        """Give the status of each file, as the page of the asset's partitions shows it."""
        found = self.instance.get_status_by_partition(
            result_file.key, self.instance.get_dynamic_partitions("result_files"), result_files
        )
        return {name: status.value for name, status in (found or {}).items() if status}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dropped"
    folder.mkdir()
    return folder


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def observatory(
    database: peewee.Database, target: dict[str, Any], folder: Path, instance: dg.DagsterInstance
) -> Observatory:
    return Observatory(target, [folder], instance)


def names(requests: list[dg.RunRequest] | str) -> list[str]:
    assert not isinstance(requests, str), requests
    return [request.partition_key or "" for request in requests]


def drop(path: Path, content: str = "no file of results") -> Path:
    """Put a file there, older than anything that is written from now on."""
    path.write_text(content)
    earlier = time.time_ns() - 10**12
    os.utime(path, ns=(earlier, earlier))
    return path


def test_a_file_that_is_dropped_lands_once(observatory: Observatory, folder: Path) -> None:
    write_result_file(folder / NAME, ASPCAP, 5)

    waiting, requests, nothing = observatory.tick(), observatory.tick(), observatory.tick()
    assert isinstance(requests, list)
    result = observatory.obey(requests[0])

    assert waiting == (
        "1 files are in the watched folders; 1 of them are new or still being written: they are looked at again"
    )
    assert names(requests) == [NAME]
    assert requests[0].run_key == f"{NAME}:{(folder / NAME).stat().st_size}:{(folder / NAME).stat().st_mtime_ns}"
    assert nothing == "1 files are in the watched folders; 1 of them have a run"
    assert result.success
    assert observatory.tick() == "1 files are in the watched folders; all were dealt with"
    assert ASPCAP.select().count() == 5
    assert observatory.statuses() == {NAME: "MATERIALIZED"}


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "csv", "vot"])
def test_an_export_that_is_dropped_comes_back(observatory: Observatory, folder: Path, suffix: str) -> None:
    fill(Corv)
    before = contents(Corv)
    export(Corv, with_source(Corv, select_model(Corv)), folder / f"corv.{suffix}")
    empty(Corv)

    [request] = observatory.settle()
    assert isinstance(request, dg.RunRequest)
    result = observatory.obey(request)

    assert result.success
    assert changed(before, contents(Corv)) == {}
    assert IngestedFile.get().kind == "export of Corv"
    assert observatory.statuses() == {f"corv.{suffix}": "MATERIALIZED"}


@one_database
def test_a_file_that_grows_is_waited_for(observatory: Observatory, folder: Path) -> None:
    for length in range(1, 5):
        drop(folder / "growing.fits", "x" * length)
        assert "still being written" in observatory.tick()

    assert names(observatory.tick()) == ["growing.fits"]


@one_database
def test_a_file_that_changes_is_asked_for_again(observatory: Observatory, folder: Path) -> None:
    drop(folder / "changing.fits", "one")
    [first] = observatory.settle()
    drop(folder / "changing.fits", "other contents")
    [second] = observatory.settle()

    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key != second.run_key
    assert first.partition_key == second.partition_key


@one_database
def test_what_is_no_file_of_results_or_not_there_yet_is_left_alone(observatory: Observatory, folder: Path) -> None:
    for name in (".hidden.fits", "a.fits.part", "b.fits.tmp", "c.FITS.PART", "d.csv.yaml", "README.md", "e.fits~"):
        drop(folder / name)
    (folder / "deeper").mkdir()
    drop(folder / "deeper" / "f.fits")
    (folder / "gone.fits").symlink_to(folder / "nowhere.fits")

    assert observatory.tick() == "no files are in the watched folders"


@one_database
def test_a_file_that_was_ingested_before_needs_no_run(observatory: Observatory, folder: Path) -> None:
    ingest_result_file(write_result_file(folder / NAME, ASPCAP, 3))

    message = observatory.settle()

    assert message == "1 files are in the watched folders; all were dealt with, 1 of them ingested before"
    assert observatory.statuses() == {}


@one_database
def test_a_file_that_is_too_large_to_be_compared_here_is_asked_for(
    observatory: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_result_file(write_result_file(folder / NAME, ASPCAP, 3))
    monkeypatch.setattr(module, "MOST_BYTES_HASHED", 10)

    [request] = observatory.settle()
    assert isinstance(request, dg.RunRequest)

    assert observatory.obey(request).success
    assert IngestedFile.select().count() == 1


@one_database
def test_a_run_that_failed_is_asked_for_again_when_the_file_is_mended(observatory: Observatory, folder: Path) -> None:
    path = write_result_file(folder / NAME, ASPCAP, 5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])

    [request] = observatory.settle()
    assert isinstance(request, dg.RunRequest)
    assert not observatory.obey(request).success
    failed, nothing = observatory.statuses(), observatory.tick()
    path.write_bytes(whole)
    [request] = observatory.settle()
    assert isinstance(request, dg.RunRequest)
    assert observatory.obey(request).success

    assert failed == {NAME: "FAILED"}
    assert nothing == "1 files are in the watched folders; all were dealt with"
    assert observatory.statuses() == {NAME: "MATERIALIZED"}
    assert ASPCAP.select().count() == 5


@one_database
def test_a_run_that_failed_for_another_cause_is_executed_again(
    observatory: Observatory, database: peewee.Database, folder: Path
) -> None:
    write_result_file(folder / NAME, ASPCAP, 5)
    [request] = observatory.settle()
    assert isinstance(request, dg.RunRequest)
    database.execute_sql("ALTER TABLE aspcap RENAME TO elsewhere")

    failed, status = observatory.obey(request), observatory.statuses()
    database.execute_sql("ALTER TABLE elsewhere RENAME TO aspcap")
    again = observatory.obey(request)

    assert (failed.success, status) == (False, {NAME: "FAILED"})
    assert (again.success, observatory.statuses()) == (True, {NAME: "MATERIALIZED"})
    assert ASPCAP.select().count() == 5


@one_database
def test_files_of_all_kinds_in_a_folder_have_a_status_each(observatory: Observatory, folder: Path) -> None:
    make_sample(folder.parent / "sample", stars=1)
    [visit, *_] = sorted((folder.parent / "sample" / "visits").glob("*.fits"))
    shutil.copy(visit, folder / "visit.fits")
    write_result_file(folder / NAME, ASPCAP, 5)
    (folder / "broken.fits").write_bytes((folder / NAME).read_bytes()[:1_000])
    (folder / "stars.csv").write_text("star,t\n2M00000002+7417074,5000\n2M1,hot\n")
    (folder / "stars.csv.yaml").write_text("tables: {Source: {sdss4_apogee_id: star, zgr_teff: t}}")
    (folder / "unmapped.csv").write_text("star,t\n")

    for request in observatory.settle():
        assert isinstance(request, dg.RunRequest)
        observatory.obey(request)

    assert observatory.statuses() == {
        NAME: "MATERIALIZED",
        "broken.fits": "FAILED",
        "stars.csv": "MATERIALIZED",
        "unmapped.csv": "FAILED",
        "visit.fits": "MATERIALIZED",
    }
    assert (ASPCAP.select().count(), BossVisitSpectrum.select().count()) == (5, 1)
    assert [file.rejected for file in IngestedFile.select().order_by(IngestedFile.name)] == [0, 1]


@one_database
def test_a_mapping_that_is_put_beside_a_file_is_a_reason_to_ask_again(observatory: Observatory, folder: Path) -> None:
    drop(folder / "stars.csv")
    observatory.settle()
    drop(folder / "stars.csv.yaml")

    assert names(observatory.settle()) == ["stars.csv"]


@one_database
def test_a_mended_mapping_is_not_known_already(observatory: Observatory, folder: Path) -> None:
    (folder / "stars.csv").write_text("id,x,y\n5,1,2\n")
    mapping = "tables: {Source: {sdss_id: id, ra: {from: x, unit: deg}}}\n"
    (folder / "stars.csv.yaml").write_text(mapping)
    [request] = observatory.settle()
    assert observatory.obey(request).success
    os.utime(folder / "stars.csv.yaml", ns=(0, 1))
    assert "1 of them ingested before" in observatory.settle()

    (folder / "stars.csv.yaml").write_text(mapping.replace("from: x", "from: y"))
    [request] = observatory.settle()
    assert observatory.obey(request).success

    assert Source.get().ra == 2
    assert IngestedFile.select().count() == 2


@one_database
def test_there_are_a_few_requests_at_a_time(
    observatory: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    for number in range(5):
        drop(folder / f"{number}.fits")

    observatory.tick()
    asked = [names(observatory.tick()) for _ in range(3)]

    assert asked == [["0.fits", "1.fits"], ["2.fits", "3.fits"], ["4.fits"]]
    assert "5 of them have a run" in observatory.tick()


@one_database
def test_the_cursor_forgets_files_that_are_gone(observatory: Observatory, folder: Path) -> None:
    for number in range(20):
        drop(folder / f"{number:02d}.fits")
    observatory.settle()
    remembered = json.loads(observatory.cursor or "")
    for path in folder.iterdir():
        path.unlink()
    observatory.tick()

    assert len(remembered) == 20
    assert max(map(len, [*remembered, *remembered.values()])) == 17
    assert json.loads(observatory.cursor or "") == {}


@one_database
def test_with_too_many_files_the_newest_are_looked_at_and_that_is_said(
    observatory: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 2)
    for number, age in enumerate((3, 1, 2)):
        os.utime(drop(folder / f"{number}.fits"), (10**9 - age, 10**9 - age))

    message = observatory.tick()
    requests = observatory.tick()

    assert message.startswith("3 files are in the watched folders, and only the 2 newest are looked at")  # type: ignore[union-attr]
    assert sorted(names(requests)) == ["1.fits", "2.fits"]


@one_database
def test_a_cursor_that_is_not_ours_is_begun_anew(observatory: Observatory, folder: Path) -> None:
    drop(folder / "a.fits")
    for cursor in ("{not json", "[1]"):
        observatory.cursor = cursor
        assert "still being written" in observatory.tick()


@one_database
def test_a_folder_that_is_gone_is_said_and_the_others_are_looked_at(
    database: peewee.Database, target: dict[str, Any], instance: dg.DagsterInstance, folder: Path, tmp_path: Path
) -> None:
    drop(folder / "a.fits")
    observatory = Observatory(target, [tmp_path / "gone", folder], instance)
    message, requests = observatory.tick(), observatory.tick()

    assert f"the folder {tmp_path / 'gone'} can't be looked into: No such file or directory" in message
    assert names(requests) == ["a.fits"]


@one_database
def test_a_name_that_cannot_be_a_partition_is_said(observatory: Observatory, folder: Path) -> None:
    for name in ("a...b.fits", "two\nlines.fits"):
        drop(folder / name)

    message = observatory.settle()

    assert "the name 'a...b.fits' can't be a partition's" in message
    assert r"the name 'two\nlines.fits' can't be a partition's" in message


@one_database
def test_the_same_name_in_two_folders_is_one_partition_and_two_runs(
    database: peewee.Database, target: dict[str, Any], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        drop(folder / "same.fits", f"in {folder}")
        os.utime(folder / "same.fits", (10**9, 10**9 + folders.index(folder)))
    observatory = Observatory(target, folders, instance)
    requests = observatory.settle()
    partitions = instance.get_dynamic_partitions("result_files")

    assert names(requests) == ["same.fits", "same.fits"]
    paths = [request.run_config["ops"]["result_file"]["config"]["path"] for request in requests]  # type: ignore[union-attr]
    assert paths == [str(folder / "same.fits") for folder in folders]
    assert list(partitions) == ["same.fits"]


@one_database
def test_folders_are_named_by_the_environment(
    observatory: Observatory, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    drop(folder / "a.fits")
    drop(tmp_path / "other" / "b.fits")
    observatory.resources["result_folders"] = ResultFoldersResource(folders=[])
    unset = observatory.tick()
    monkeypatch.setenv("DROPPED", str(folder))
    monkeypatch.setenv("ASTRA_RESULT_FOLDERS", f"$DROPPED{os.pathsep}{tmp_path}/other{os.pathsep}{folder}/")
    requests = observatory.settle()

    assert unset.startswith("no folder is watched: name some by ASTRA_RESULT_FOLDERS")  # type: ignore[union-attr]
    assert names(requests) == ["a.fits", "b.fits"]


@one_database
def test_a_database_that_is_not_there_fails_the_tick_and_the_file_is_asked_for_later(
    observatory: Observatory, folder: Path
) -> None:
    drop(folder / "a.fits")
    there = observatory.resources
    away = DatabaseResource(target={"postgres": {"dbname": "survey", "host": "127.0.0.1", "port": 1}})
    observatory.resources = there | {"database": away}
    observatory.tick()
    with pytest.raises(DatabaseUnavailableError, match=r"database 'survey' on 127.0.0.1:1 can't be used"):
        observatory.tick()
    observatory.resources = there

    assert names(observatory.tick()) == ["a.fits"]


@one_database
def test_dagster_accepts_what_is_asked_for(
    database: peewee.Database, target: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    drop(folder / NAME)
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        observatory = Observatory(target, [folder], instance)
        observatory.tick()
        context = dg.SensorEvaluationContext(
            instance_ref=instance.get_ref(),
            cursor=observatory.cursor,
            last_tick_completion_time=None,
            last_run_key=None,
            repository_name=None,
            repository_def=defs.get_repository_def(),
            resources={name: observatory.resources[name] for name in ("database", "result_folders")},
        )
        with context:
            data = module.result_file_sensor.evaluate_tick(context)

    [request] = data.run_requests or ()
    assert request.tags["dagster/partition"] == NAME
    assert request.tags["dagster/sensor_name"] == "result_file_sensor"


def test_our_sensor_is_on_and_asks_for_the_asset() -> None:
    sensor = defs.resolve_sensor_def("result_file_sensor")

    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    [target] = sensor.targets
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in target.job_def.selection.resolve(graph)} == {"result_file"}


def ended(observatory: Observatory, request: dg.RunRequest, how: str) -> str:
    """Make a run of a request that ended, and give its id."""
    run = observatory.instance.create_run_for_job(
        dg.define_asset_job("one", [result_file]).resolve(
            asset_graph=dg.Definitions(assets=[result_file], resources=observatory.resources).resolve_asset_graph()
        ),
        tags=dict(request.tags),
    )
    observatory.instance.report_run_failed(run) if how == "FAILURE" else observatory.instance.report_run_canceled(run)
    return run.run_id


@one_database
@pytest.mark.parametrize("how", ["FAILURE", "CANCELED"])
def test_a_run_that_ended_before_it_was_done_with_its_file_is_asked_for_again(
    observatory: Observatory, folder: Path, how: str
) -> None:
    drop(folder / "a.fits")
    [request] = observatory.settle()
    asked = [request]
    for _ in range(2):
        ended(observatory, asked[-1], how)
        asked += observatory.tick()
        assert "1 of them have a run" in str(observatory.tick())
    last = ended(observatory, asked[-1], how)
    assert f"3 runs for a.fits ended before they were done with it, the last of them {last}" in str(observatory.tick())
    assert "all were dealt with" in str(observatory.tick())
    assert len({one.run_key for one in asked}) == 3
    assert [one.tags["astra/attempt"] for one in asked] == ["1", "2", "3"]


@one_database
def test_a_run_that_refused_its_file_is_not_asked_for_again(observatory: Observatory, folder: Path) -> None:
    drop(folder / "a.fits")
    [request] = observatory.settle()
    assert not observatory.obey(request).success
    assert "all were dealt with" in str(observatory.tick())
