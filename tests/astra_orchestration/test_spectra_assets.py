"""The sample survey and the tables of spectra, as assets."""

from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest

from astra_models.aspcap import ASPCAP
from astra_models.boss import BossVisitSpectrum
from astra_models.configuration import find_files
from astra_models.errors import MissingFileError
from astra_models.source import Source
from astra_orchestration.assets.spectra import catalogue, sample_survey
from astra_orchestration.resources import resources_for


def launch(target: Any, assets: Any = (sample_survey, catalogue), **config: Any) -> dg.ExecuteInProcessResult:
    ops = {name: {"config": values} for name, values in config.items()}
    return dg.materialize(list(assets), resources=resources_for(target), run_config={"ops": ops})


def metadata(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    [event] = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(key)]
    return {name: entry.value for name, entry in event.materialization.metadata.items()}


def observed(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    found = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    return {
        one.asset_key.to_user_string(): {name: entry.value for name, entry in one.metadata.items()} for one in found
    }


def test_the_sample_survey_is_made_and_ingested_once(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    first = launch(target, sample_survey={"stars": 3})
    again = launch(target, sample_survey={"stars": 3})

    made = metadata(first, "sample_survey")
    assert made["stars"] == 3
    assert Path(made["truth"]).is_file()
    visits = metadata(first, "boss_visit_spectrum")
    assert visits["inserted"] == BossVisitSpectrum.select().count() >= made["visits"]
    assert "rejected" not in visits, "files are told of once"
    assert metadata(first, "source")["rejected"] == 4
    assert "`empty.fits`: it is empty" in metadata(first, "source")["refused files"]
    assert metadata(first, "source")["inserted"] == Source.select().count() == 3
    assert metadata(again, "source")["unchanged"] == 3
    unchanged = metadata(again, "boss_visit_spectrum")
    assert (unchanged["inserted"], unchanged["updated"]) == (0, 0)
    assert unchanged["dagster/row_count"] == unchanged["unchanged"] == visits["inserted"]


def test_own_files_are_ingested(memory_database: peewee.Database, real_data: Path) -> None:
    result = launch(
        {"sqlite": {"path": ":memory:"}}, [catalogue], catalogue={"paths": [f"{real_data}/pyhammer/*.fits"]}
    )

    assert metadata(result, "boss_visit_spectrum")["inserted"] == BossVisitSpectrum.select().count() > 0


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_the_release_of_files_that_do_not_say_it_is_a_setting(
    memory_database: peewee.Database, real_data: Path, tmp_path: Path
) -> None:
    content = (real_data / "apogee_tools" / "aspcapStar-r6-l30e.2-2M00452143+1634446.fits").read_bytes()
    (tmp_path / "aspcapStar.fits").write_bytes(content.replace(b"apStar-r6-2M", b"apStar-t9-2M"))
    config = {"paths": [f"{tmp_path}/*.fits"]}
    memory = {"sqlite": {"path": ":memory:"}}

    refused = launch(memory, [catalogue], catalogue=config)
    landed = launch(memory, [catalogue], catalogue=config | {"release": "dr14"})

    assert "by the asset's setting `release`" in observed(refused)["source"]["refused files"]
    assert metadata(landed, "apogee_coadded_spectrum_in_ap_star")["inserted"] == 1
    assert [row.v_astra for row in ASPCAP.select()] == [14]


def test_files_can_be_named_by_an_environment_variable(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.fits").touch()
    monkeypatch.setenv("ASTRA_SPECTRA", f"{tmp_path}/*.fits")

    result = launch({"sqlite": {"path": ":memory:"}}, [catalogue])

    assert observed(result)["source"]["files"] == 1


def test_many_refused_files_are_counted_and_not_all_listed(memory_database: peewee.Database, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}.fits").touch()

    result = launch({"sqlite": {"path": ":memory:"}}, [catalogue], catalogue={"paths": [f"{tmp_path}/*.fits"]})

    found = observed(result)["source"]
    assert found["rejected"] == 30
    assert found["refused files"].splitlines()[-1] == "- and 10 more"


def test_patterns_give_files_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.fits", "a.fits", "deep/c.fits", "[odd].fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURVEY", str(tmp_path))

    assert find_files(["?.fits", "$SURVEY/a.fits"]) == [str(tmp_path / "a.fits"), str(tmp_path / "b.fits")]
    assert str(tmp_path / "deep/c.fits") in find_files(["**/*.fits"])
    assert find_files(["[odd].fits"]) == [str(tmp_path / "[odd].fits")]


def test_a_pattern_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file matches '.*/\*.fits' .*astra sample"):
        find_files([f"{tmp_path}/*.fits"])


def test_an_empty_table_is_observed_and_not_called_materialized_and_nothing_downstream_is_skipped(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @dg.asset(deps=["boss_visit_spectrum", "apogee_visit_spectrum"])
    def takes_two_kinds() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [sample_survey, catalogue, takes_two_kinds],
            instance=instance,
            resources=resources_for({"sqlite": {"path": ":memory:"}}),
            run_config={"ops": {"sample_survey": {"config": {"stars": 2}}}},
        )
        made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert made == {
            "sample_survey",
            "source",
            "boss_visit_spectrum",
            "boss_combined_spectrum",
            "takes_two_kinds",
        }
        assert instance.get_latest_materialization_event(dg.AssetKey("apogee_visit_spectrum")) is None
    empty = observed(result)
    assert empty.keys() == {key.to_user_string() for key in catalogue.keys} - made
    assert empty["apogee_visit_spectrum"]["dagster/row_count"] == 0
