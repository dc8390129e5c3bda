"""Files of results as partitions of an asset: what lands, what is said of it, and what fails the run."""

from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import peewee
import pytest
from astropy.io import fits

from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database_identity import database_id
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_orchestration.assets.result_files import _reasons, _unplaced, result_file
from astra_orchestration.definitions import defs
from astra_orchestration.resources import resources_for
from astra_orchestration.resources.folders import ResultFoldersResource
from astra_orchestration.sample import make_sample
from astra_orchestration.sample.summary_file import write_result_file

NAME = "astraAllStarASPCAP-0.8.1.fits.gz"
one_database = pytest.mark.sqlite_only(reason="what is said does not depend on the database")


def launch(target: Any, name: str, folders: list[str], raises: bool = True, **config: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("result_files", [name])
        return dg.materialize(
            [result_file],
            instance=instance,
            partition_key=name,
            resources=resources_for(target) | {"result_folders": ResultFoldersResource(folders=folders)},
            run_config={"ops": {"result_file": {"config": config}}},
            raise_on_error=raises,
        )


def said_of(result: dg.ExecuteInProcessResult, key: str = "result_file") -> dict[str, Any]:
    found = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    return {name: entry.value for name, entry in found[key].materialization.metadata.items()}


def observed(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.to_user_string(): {name: entry.value for name, entry in event.metadata.items()}
        for event in (event.asset_observation_data.asset_observation for event in result.get_asset_observation_events())
    }


def cause(result: dg.ExecuteInProcessResult) -> Any:
    [event] = result.get_step_failure_events()
    return event.step_failure_data


def without_identifiers(rows: Any, start: int) -> None:
    """Take from row 3 of a file what says which star it is."""
    for name in set(rows.dtype.names) & set(IDENTIFIERS):
        rows[name][3 - start] = "" if rows[name].dtype.kind == "S" else -1


def test_a_file_lands_once_and_says_what_it_was(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    write_result_file(tmp_path / NAME, ASPCAP, 5)

    first, again = (launch(target, NAME, [str(tmp_path)]) for _ in range(2))

    said = said_of(first)
    record = IngestedFile.get()
    assert ASPCAP.select().count() == Source.select().count() == said["inserted"] == 5
    assert said["path"] == str(tmp_path / NAME)
    assert (said["kind"], said["version"]) == ("astraAllStarASPCAP", "0.8.1")
    assert (said["sha256"], said["bytes"]) == (record.sha256, record.size)
    assert record.run_id == first.run_id
    assert said["tables"].splitlines()[2:] == [
        "| source | 5 | 0 | 0 |",
        "| apogee_coadded_spectrum_in_ap_star | 5 | 0 | 0 |",
        "| aspcap | 5 | 0 | 0 |",
    ]
    assert said["dagster/partition_row_count"] == 5
    assert said_of(again)["ingested before"] is True
    assert said_of(again)["sha256"] == record.sha256
    assert ASPCAP.select().count() == 5


@one_database
def test_the_graph_shows_which_tables_have_new_rows(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    name = "astraAllStarApogeeNet-0.8.1.fits.gz"
    write_result_file(tmp_path / name, ApogeeNet, 5)

    first, again = (launch(target, name, [str(tmp_path)], again=True) for _ in range(2))

    said = said_of(first, "apogee_net")
    counts = {"inserted": 5, "updated": 0, "unchanged": 0, "dagster/row_count": 5}
    assert said == {"result file": name, "database id": database_id()} | counts
    assert observed(first)["source"]["inserted"] == 5
    assert [event.asset_key.to_user_string() for event in again.get_asset_materialization_events()] == ["result_file"]
    assert not observed(again)


@one_database
def test_a_table_that_is_computed_here_is_observed_and_not_materialized(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    write_result_file(tmp_path / "corv.fits", Corv, 4, level="visit")

    result = launch(target, "corv.fits", [str(tmp_path)])

    assert Corv.select().count() == 4
    assert observed(result)["corv"] == {
        "result file": "corv.fits",
        "inserted": 4,
        "updated": 0,
        "unchanged": 0,
        "dagster/row_count": 4,
        "database id": database_id(),
    }
    assert [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()] == ["result_file"]


@one_database
def test_rows_that_are_rejected_do_not_fail_the_run_and_are_listed(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    write_result_file(tmp_path / NAME, ASPCAP, 5, change=without_identifiers)

    result = launch(target, NAME, [str(tmp_path)])

    said = said_of(result)
    assert result.success
    assert (said["inserted"], said["rejected"]) == (4, 1)
    assert "| 1 | it has no identifier of a source" in said["reasons"]
    assert RejectedResult.get().run_id == result.run_id


def test_a_file_of_spectra_lands_as_by_the_command(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    make_sample(tmp_path / "sample", stars=1)
    [path, *_] = sorted((tmp_path / "sample" / "visits").glob("*.fits"))

    first, again = (launch(target, path.name, [str(path.parent)]) for _ in range(2))

    said = said_of(first)
    assert first.success and again.success
    assert BossVisitSpectrum.select().count() == Source.select().count() == 1
    assert (said["path"], said["kind"], said["bytes"]) == (str(path), "spectra", path.stat().st_size)
    assert (said["inserted"], said["updated"], said["unchanged"]) == (1, 0, 0)
    assert said["tables"].splitlines()[2:] == ["| source | 1 | 0 | 0 |", "| boss_visit_spectrum | 1 | 0 | 0 |"]
    assert observed(first)["boss_visit_spectrum"] == {
        "result file": path.name,
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "dagster/row_count": 1,
        "database id": database_id(),
    }
    assert said_of(again)["unchanged"] == 1
    assert not observed(again)


@one_database
def test_a_spectrum_that_is_damaged_fails_the_run_with_the_reason(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    make_sample(tmp_path / "sample", stars=1)
    [path, *_] = sorted((tmp_path / "sample" / "visits").glob("*.fits"))
    path.write_bytes(path.read_bytes()[:-8_000])

    result = launch(target, path.name, [str(path.parent)], raises=False)

    assert not result.success
    assert "truncated" in cause(result).user_failure_data.description
    assert not BossVisitSpectrum.select().exists()


@one_database
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_the_release_of_a_file_that_does_not_say_it_is_a_setting(
    database: peewee.Database, target: dict[str, Any], real_data: Path, tmp_path: Path
) -> None:
    content = (real_data / "apogee_tools" / "aspcapStar-r6-l30e.2-2M00452143+1634446.fits").read_bytes()
    path = tmp_path / "aspcapStar.fits"
    path.write_bytes(content.replace(b"apStar-r6-2M", b"apStar-t9-2M"))

    refused = launch(target, path.name, [str(tmp_path)], raises=False)
    wrong = launch(target, path.name, [str(tmp_path)], raises=False, release="r9")
    landed = launch(target, path.name, [str(tmp_path)], release="dr14")

    assert "by the asset's setting `release`" in cause(refused).user_failure_data.description
    assert "'r9' is no data release" in cause(wrong).user_failure_data.description
    assert landed.success
    assert [(row.v_astra, row.pwd) for row in ASPCAP.select()] == [(14, str(path))]


@one_database
def test_a_file_of_no_known_kind_fails_the_run_and_says_what_is_in_it(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    fits.HDUList([fits.PrimaryHDU(np.zeros((3, 4)))]).writeto(tmp_path / "image.fits")

    result = launch(target, "image.fits", [str(tmp_path)], raises=False)

    said = cause(result).user_failure_data.description
    assert said.startswith(f"{tmp_path / 'image.fits'}: it is no file of results that is known")
    assert "it is no spectrum that is known" in said
    assert "HDU 0: image of 3 x 4" in said


@one_database
def test_a_file_that_is_refused_fails_the_run_with_the_reason(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    whole = write_result_file(tmp_path / NAME, ASPCAP, 5).read_bytes()
    (tmp_path / NAME).write_bytes(whole[: len(whole) // 2])

    result = launch(target, NAME, [str(tmp_path)], raises=False)

    assert not result.success
    failure = cause(result).user_failure_data
    assert failure.description.startswith(f"{tmp_path / NAME}: it")
    assert "truncated" in failure.description or "end before they are complete" in failure.description
    assert failure.metadata["path"].value == str(tmp_path / NAME)
    assert not IngestedFile.select().exists()
    assert not Source.select().exists()


@one_database
def test_a_file_of_the_same_name_with_other_contents_is_an_update(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path
) -> None:
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder, n_rows in zip(folders, (4, 6), strict=True):
        folder.mkdir()
        write_result_file(folder / NAME, ASPCAP, n_rows)

    old, new = (launch(target, NAME, [], path=str(folder / NAME)) for folder in folders)

    assert said_of(old)["replaces a file of this name"] is False
    assert said_of(new)["replaces a file of this name"] is True
    assert said_of(new)["inserted"] == 2
    assert ASPCAP.select().count() == 6


@one_database
@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("old", "new"), r"several files are named 'astraAll.*old/astra.*new/astra.*; give the path"),
        (("empty",), r"there is no file 'astraAll.*' in the watched folders \(.*empty\); give the path"),
        ((), r"there is no file .* \(no folder is named by ASTRA_RESULT_FOLDERS\)"),
    ],
)
def test_a_name_that_no_folder_or_several_have_is_not_guessed(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path, folders: tuple[str, ...], message: str
) -> None:
    for folder in ("old", "new", "empty"):
        (tmp_path / folder).mkdir()
        if folder != "empty":
            write_result_file(tmp_path / folder / NAME, ASPCAP, 1)

    result = launch(target, NAME, [str(tmp_path / folder) for folder in folders], raises=False)

    assert not result.success
    with pytest.raises(FileNotFoundError, match=message):
        raise FileNotFoundError(cause(result).error.cause.message)


def test_long_lists_are_cut() -> None:
    reasons = Counter({f"reason | {number}": 30 - number for number in range(25)})

    assert _reasons(reasons).splitlines()[2] == "| 30 | reason \\| 0 |"
    assert _reasons(reasons).splitlines()[-1] == "| | and 5 more reasons |"


def test_columns_with_nowhere_to_go_are_all_named() -> None:
    unplaced = [("BOSS", f"column_{number}", f"reason {number // 2}") for number in range(3)]

    assert _unplaced(unplaced).splitlines()[2:] == [
        "| BOSS | reason 0 | `column_0`, `column_1` |",
        "| BOSS | reason 1 | `column_2` |",
    ]


def test_it_is_a_writer_among_others_and_has_a_partition_for_each_file() -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey("result_file"))

    assert node.pools == {"astra_database"}
    assert node.partitions_def == dg.DynamicPartitionsDefinition(name="result_files")
