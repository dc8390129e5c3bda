"""A generator of another Astra as an asset: in Python, as an entry point, as a component, and on workers."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest
from typer.testing import CliRunner

from astra_models.analysis.due import due_options, select_due
from astra_models.analysis.job import reference_to
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.upsert import upsert
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.cli.main import app
from astra_orchestration.components import Incumbent
from astra_orchestration.incumbent import incumbent
from astra_orchestration.resources import resources_for
from tests.astra_orchestration.test_components import DEFINITIONS, PROJECT
from tests.other_packages import forget_packages

pytestmark = pytest.mark.usefixtures("other_astra")

BOSSNET = "survey_astra.pipelines.bossnet:bossnet"
CORV = "survey_astra.pipelines.corv:corv"
Visits = Callable[..., list[BossVisitSpectrum]]


def n_due(task: Any) -> int:
    return len(select_due(BossNet, BossVisitSpectrum, **due_options(task, BossVisitSpectrum)))


def temperatures() -> set[float]:
    return {row.teff for row in BossNet.select()}


def test_it_is_an_asset(database: peewee.Database, make_visits: Visits, target: dict[str, Any]) -> None:
    make_visits(3)
    asset = pipeline_asset(incumbent(BOSSNET))
    settings = {"ops": {"bossnet": {"config": {"scale": 2000.0}}}}

    assert dg.materialize([asset], resources=resources_for(target), run_config=settings).success

    assert BossNet.select().count() == 3
    assert temperatures() == {4000}
    assert json.loads(PipelineRun.get().parameters)["scale"] == 2000


def test_it_is_an_entry_point(
    database: peewee.Database, make_visits: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_visits(2)
    site = tmp_path / "site"
    metadata = site / "observers-1.dist-info"
    metadata.mkdir(parents=True)
    (site / "observers.py").write_text(
        f"from astra_orchestration.incumbent import incumbent\n\nbossnet = incumbent({BOSSNET!r})\n"
    )
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: observers\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[astra.pipelines]\ntheir_bossnet = observers:bossnet\n")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    forget_packages("observers")
    try:
        done = CliRunner().invoke(app, ["run", "their_bossnet", "--scale", "3000"])
    finally:
        monkeypatch.undo()
        forget_packages("observers")

    assert done.exit_code == 0, (done.output, done.exception)
    assert "their_bossnet: 2 due, 2 inserted" in " ".join(done.output.split())
    assert temperatures() == {6000}


def test_it_is_a_component(database: peewee.Database, make_visits: Visits, target: dict[str, Any]) -> None:
    make_visits(2)
    declared = Incumbent(
        task=BOSSNET, name="their_bossnet", parameters={"scale": 500.0}, schedule="0 3 * * *", checks=False
    ).build_defs(None)  # pyright: ignore[reportArgumentType]  it isn't looked at
    [asset] = list(declared.assets or ())

    assert dg.materialize([asset], resources=resources_for(target)).success  # pyright: ignore[reportArgumentType]

    assert temperatures() == {1000}
    assert asset.key.to_user_string() == "their_bossnet"  # pyright: ignore[reportAttributeAccessIssue]
    assert [schedule.name for schedule in declared.schedules or ()] == ["their_bossnet_schedule"]


@pytest.mark.sqlite_only(reason="the project's processes open one file")
def test_a_project_declares_it_in_yaml(database: peewee.Database, make_visits: Visits, tmp_path: Path) -> None:
    make_visits(2)
    database.close()
    folder = tmp_path / "project"
    (folder / "mine" / "defs" / "theirs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "mine" / "__init__.py").touch()
    (folder / "mine" / "definitions.py").write_text(DEFINITIONS)
    (folder / "mine" / "defs" / "theirs" / "defs.yaml").write_text(
        "type: astra_orchestration.components.Incumbent\n"
        f"attributes: {{task: '{BOSSNET}', name: their_bossnet, parameters: {{scale: 7}}, root: {tmp_path}}}\n"
    )
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]),
        "ASTRA_DATABASE_PATH": str(database.database),
        "DAGSTER_HOME": str(folder),
    }
    program = str(Path(sys.executable).parent / "dagster")

    done = subprocess.run(
        [program, "asset", "materialize", "--select", "their_bossnet", "-m", "mine.definitions"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert temperatures() == {14}


def test_all_definitions_load_with_one_that_fills_a_table_of_ours(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "observers-1.dist-info").mkdir(parents=True)
    (site / "observers.py").write_text(
        f"from astra_orchestration.incumbent import incumbent\n\ncorv = incumbent({CORV!r}, name='their_corv')\n"
    )
    (site / "observers-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: observers\nVersion: 1\n")
    (site / "observers-1.dist-info" / "entry_points.txt").write_text("[astra.pipelines]\ntheir_corv = observers:corv\n")
    code = (
        "from astra_orchestration.definitions import defs\n"
        "keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}\n"
        "print({'corv', 'their_corv', 'snow_white'} <= keys)\n"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]]),
        "ASTRA_DATABASE_PATH": ":memory:",
    }

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=100
    )

    assert done.stdout.strip() == "True", done.stderr


def test_a_component_says_what_is_missing() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="spectra='BossVisitSpectrum'"):
        Incumbent(task="survey_astra.pipelines.others:clam").build_defs(None)  # pyright: ignore[reportArgumentType]


@pytest.mark.long_on_each
def test_workers_find_it_by_its_name(database: peewee.Database, make_visits: Visits, target: dict[str, Any]) -> None:
    make_visits(8)
    task = incumbent(BOSSNET, name="on_workers", parameters={"scale": 100.0})
    asset = pipeline_asset(task)

    assert dg.materialize([asset], resources=resources_for(target, engine={"local": {"workers": 2}})).success

    assert PipelineRun.get().engine == "local"
    assert BossNet.select().count() == 8
    assert temperatures() == {200}


@pytest.mark.long_on_each
def test_a_process_pool_works_in_workers_and_the_query_counts_there(
    database: peewee.Database, make_visits: Visits, target: dict[str, Any]
) -> None:
    spectra = make_visits(6)
    Source.update(g_mag=16.0).execute()
    upsert(SnowWhite, [SnowWhite.from_spectrum(one, classification="DA") for one in spectra[:4]])
    BossVisitSpectrum.update(mjd=1).where(BossVisitSpectrum.spectrum_pk == spectra[1].spectrum_pk).execute()
    asset = pipeline_asset(incumbent(CORV, name="their_corv"))

    assert dg.materialize([asset], resources=resources_for(target, engine={"local": {"workers": 1}})).success

    assert Corv.select().count() == 3
    assert [(row.spectrum_pk, row.reason) for row in RejectedResult.select()] == [(spectra[1].spectrum_pk, "no_result")]


def test_another_process_makes_the_same_task_of_its_name(memory_database: peewee.Database, tmp_path: Path) -> None:
    task = incumbent(CORV, parameters={"max_workers": 3}, root=str(tmp_path))
    reference = reference_to(task)
    assert reference is not None
    assert reference_to(incumbent(CORV, parameters={"max_workers": 3}, root=str(tmp_path))) not in (None, reference)
    code = (
        "from astra_models.analysis.job import Reference\n"
        f"task = Reference({reference.module!r}, {reference.name!r}).load()\n"
        "print(task.name, task.version, task.parameters['max_workers'].default, task.needs[0].model.__name__)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)

    assert done.stdout.split() == ["corv", "0.8.0", "3", "SnowWhite"], done.stderr


def test_another_version_of_the_other_astra_makes_its_results_due(
    database: peewee.Database, make_visits: Visits, other_astra: Any
) -> None:
    make_visits(2)
    write(analyse(incumbent(BOSSNET)))
    assert n_due(incumbent(BOSSNET)) == 0

    other_astra.__version__ = "0.8.1"

    assert n_due(incumbent(BOSSNET)) == 2
