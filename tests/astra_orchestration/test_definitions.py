"""What Dagster finds when it loads the project."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest
import yaml
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap

from astra_models.errors import ConfigurationError
from astra_models.ingest.spectra.files import MODELS
from astra_orchestration.assets.declared import declared_assets
from astra_orchestration.automation.schedules import nightly_job, nightly_schedule
from astra_orchestration.checks.links import LOCATION
from astra_orchestration.cli import serve
from astra_orchestration.definitions import defs, made
from astra_orchestration.resources import EngineResource, resources_for
from astra_orchestration.resources.targets import check_target
from astra_orchestration.web import server

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HEAVY = ("scipy.optimize", "matplotlib", "astropy.io.fits", "astropy.table")


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DAGSTER_HOME": str(folder),
        "ASTRA_DATABASE_PATH": str(folder / "astra.db"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize(
    "command",
    ["dagster definitions validate -w workspace.yaml", "dg check defs"],
    ids=["dagster", "dg"],
)
def test_dagster_finds_nothing_wrong(command: str, tmp_path: Path) -> None:
    program, *arguments = command.split()
    done = run([str(BIN / program), *arguments], tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_defined(tmp_path: Path) -> None:
    done = run([str(BIN / "dg"), "list", "defs", "--json"], tmp_path)
    found: dict[str, Any] = json.loads(done.stdout)

    assets = {asset["asset_key"]: (asset["group_name"], asset.get("dependency_keys", [])) for asset in found["assets"]}
    declared = {spec.key.to_user_string() for spec in declared_assets(made)}
    catalogue = {"source", *(model._meta.table_name for model in MODELS)}
    ours = {name: assets[name] for name in assets if name not in declared and assets[name][0] != "products"}
    assert ours == {
        "sample_survey": ("sample", []),
        "sample_labels": ("sample", ["apogee_coadded_spectrum_in_ap_star", "sample_survey"]),
        "result_file": ("result_files", []),
        **{name: ("catalogue", ["sample_survey"]) for name in catalogue},
        "aspcap": (
            "pipelines",
            ["apogee_coadded_spectrum_in_ap_star", "ferre_coarse", "ferre_stellar_parameters"],
        ),
        "ferre_coarse": ("pipelines", ["apogee_coadded_spectrum_in_ap_star", "apogee_net"]),
        "ferre_stellar_parameters": ("pipelines", ["apogee_coadded_spectrum_in_ap_star", "ferre_coarse"]),
        "corv": ("pipelines", ["boss_visit_spectrum", "snow_white"]),
        "mdwarftype": ("pipelines", ["boss_combined_spectrum", "boss_visit_spectrum"]),
        "mwm_best": (
            "pipelines",
            [
                *("apogee_coadded_spectrum_in_ap_star", "apogee_net", "aspcap", "astro_nn", "boss_combined_spectrum"),
                *("boss_net", "mdwarftype", "slam", "snow_white"),
            ],
        ),
        "rocket": ("pipelines", ["boss_visit_spectrum"]),
        "snow_white": ("pipelines", ["boss_visit_spectrum"]),
        "snow_white_classifier": ("training", []),
        "the_cannon": (
            "pipelines",
            ["apogee_coadded_spectrum_in_ap_star", "apogee_combined_spectrum", "the_cannon_model"],
        ),
        "the_cannon_model": (
            "training",
            ["apogee_coadded_spectrum_in_ap_star", "apogee_combined_spectrum", "aspcap"],
        ),
        "the_payne": ("pipelines", ["apogee_coadded_spectrum_in_ap_star", "apogee_combined_spectrum"]),
    }
    assert assets["slam"][0] == "result_files"
    assert declared <= assets.keys()
    assert [schedule["name"] for schedule in found["schedules"]] == ["nightly_schedule", "prune_runs_schedule"]
    sensors = {
        "astra_version_sensor",
        "result_file_sensor",
        "run_sweep_sensor",
        "product_sensor",
        "failure_alert_sensor",
        "tick_alert_sensor",
        "nightly_summary_sensor",
    }
    assert {sensor["name"] for sensor in found["sensors"]} == sensors
    assert {resource["name"] for resource in found["resources"]} == {
        *("database", "engine", "pipeline_results", "result_folders")
    }


def test_loading_is_quick_because_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = f"import sys, astra_orchestration.definitions; print([name for name in {HEAVY} if name in sys.modules])"

    done = run([sys.executable, "-c", code], tmp_path)

    assert done.stdout.strip() == "[]", done.stderr


def test_nothing_is_reported_to_anyone() -> None:
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())

    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}


def test_dagster_accepts_our_settings(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_writers_are_bounded_by_a_pool() -> None:
    graph = defs.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.materializable_asset_keys}

    pools = {name: pool for name, pool in pools.items() if graph.get(dg.AssetKey(name)).group_name != "products"}
    assert pools.pop("sample_survey") == pools.pop("snow_white_classifier") == pools.pop("the_cannon_model") == set()
    assert set(map(frozenset, pools.values())) == {frozenset({"astra_database"})}


def test_every_night_new_spectra_are_ingested_and_then_analysed() -> None:
    graph = defs.resolve_asset_graph()
    selected = {key.to_user_string() for key in nightly_job.selection.resolve(graph)}

    assert not {"sample_survey", "sample_labels"} & selected
    assert selected <= {key.to_user_string() for key in graph.materializable_asset_keys}
    assert {"source", "boss_visit_spectrum", "corv", "rocket"} <= selected
    assert nightly_schedule.cron_schedule == "0 4 * * *"
    assert nightly_schedule.execution_timezone == "UTC"
    assert nightly_schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_nightly_schedule_asks_for_a_run(database: peewee.Database, target: dict[str, Any]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        repository = defs.get_repository_def()
        resources = {"database": resources_for(target)["database"]}
        with dg.build_schedule_context(instance, resources=resources, repository_def=repository) as context:
            asked = defs.resolve_schedule_def("nightly_schedule").evaluate_tick(context)

    [request] = asked.run_requests or ()
    names = {key.to_user_string() for key in request.asset_selection or ()}
    assert {"source", "boss_visit_spectrum", "corv", "rocket"} <= names
    assert not {"ferre_coarse", "aspcap", "mdwarftype", "the_cannon", "the_payne"} & names  # they aren't set up here


def test_a_night_whose_database_is_away_asks_for_all(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        repository = defs.get_repository_def()
        away = {"database": resources_for({"postgres": {"dbname": "none", "host": str(tmp_path)}})["database"]}
        with dg.build_schedule_context(instance, resources=away, repository_def=repository) as context:
            asked = defs.resolve_schedule_def("nightly_schedule").evaluate_tick(context)

    assert [request.asset_selection for request in asked.run_requests or ()] == [None]


def test_the_code_location_has_one_name_wherever_it_is_loaded_from() -> None:
    [workspace] = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    names = {
        *(it["location_name"] for it in workspace.values()),
        project["code_location_name"],
        serve.DEFINITIONS,
        LOCATION,
    }
    assert names == {server.DEFINITIONS}
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"location_name: ([\w.]+)", page.read_text()):
            assert name in names, page


def test_the_launchpad_shows_what_can_be_set_with_examples() -> None:
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("rocket")})
    snapshot = job.get_job_snapshot()
    schema = snapshot.config_schema_snapshot
    root = snapshot.mode_def_snaps[0].root_config_key
    assert root is not None
    shown = yaml.safe_load(default_values_yaml_from_type_snap(schema, schema.get_config_snap(root)))
    assert shown["ops"]["rocket"]["config"].keys() >= {"limit", "sdss_ids", "rerun", "min_answered"}
    [target] = shown["resources"]["database"]["config"]["target"].values()
    [engine] = shown["resources"]["engine"]["config"]["engine"].values()
    for text in re.split(", or ", target["instead"]):
        check_target(yaml.safe_load(text))
    for text in re.split(", or ", engine["instead"].replace(", ...", ", shared_temp_directory: /shared")):
        EngineResource(engine=yaml.safe_load(text))
    with pytest.raises(ConfigurationError, match="is there to be read"):
        check_target({"config": {"instead": "sqlite: {path: mine.db}"}})


def test_every_asset_of_a_table_or_a_pipeline_says_where_its_code_is() -> None:
    for asset in defs.resolve_asset_graph().asset_nodes:
        if asset.group_name in ("sample", "result_files") and not asset.metadata.get("dagster/table_name"):
            continue
        [reference] = asset.metadata["dagster/code_references"].code_references
        lines = Path(reference.file_path).read_text().splitlines()
        assert 1 <= reference.line_number <= len(lines), asset.key
    [corv] = defs.resolve_asset_graph().get(dg.AssetKey("corv")).metadata["dagster/code_references"].code_references
    following = Path(corv.file_path).read_text().splitlines()[corv.line_number :]
    assert next(line for line in following if line.startswith(("def ", "class "))).startswith("def corv(")


def test_the_sample_is_no_part_of_a_graph_of_own_files(tmp_path: Path) -> None:
    code = """
from astra_orchestration.definitions import defs
print(*[node.key.path[0] for node in defs.resolve_asset_graph().asset_nodes])
"""
    own = {"ASTRA_SPECTRA": f"{tmp_path}/*.fits", "PYTHONWARNINGS": "ignore"}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert not {"sample_survey", "sample_labels"} & {*shown}
    assert {"source", "boss_visit_spectrum", "corv"} <= {*shown}
