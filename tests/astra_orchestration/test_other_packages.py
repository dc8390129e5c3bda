"""A pipeline of another package, from the command line and under Dagster: like one of ours."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import peewee
import pytest
from click.testing import Result
from typer.testing import CliRunner

from astra_models import base, outputs
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.rejected import REFUSED, RejectedResult, payload_to_json
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.cli.main import app
from astra_orchestration.resources import resources_for
from tests.other_packages import forget_packages, run_python, write_package

Install = Callable[..., Path]


def astra(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments: object) -> str:
    """Run a command that should work, and give what it says, in one line."""
    done = astra(*arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return " ".join(done.output.split())


@pytest.fixture
def brightest(install: Install, database: peewee.Database) -> Path:
    """Install a package of pipelines, and make its table."""
    folder = install()
    assert "made brightest_pixel" in told("init")
    return folder


@pytest.fixture
def results(brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> list[BossVisitSpectrum]:
    """Let the pipeline analyse three spectra."""
    spectra = make_spectra(3)
    assert "brightest: 3 due, 3 inserted" in told("run", "brightest")
    return spectra


# ---- from the command line


def test_it_runs_and_is_shown(results: list[BossVisitSpectrum]) -> None:
    assert told("run", "brightest") == "brightest: nothing is due"
    status = json.loads(astra("status", "--json").output)["data"]
    [own] = [pipeline for pipeline in status["pipelines"] if pipeline["table"] == "brightest_pixel"]
    assert (own["pipeline"], own["computed"], own["due"], own["done"]) == ("brightest", True, 0, 3)
    source = Source.get_by_id(results[0].source_pk)
    star = json.loads(astra("explain", str(source.sdss_id), "--json").output)["data"]
    assert [result["pipeline"] for result in star["results"]] == ["brightest"]
    assert ("brightest", "done") in {(analysis["pipeline"], analysis["state"]) for analysis in star["analyses"]}


@pytest.mark.parametrize("name", ["brightest", "BrightestPixel", "brightest_pixel"])
def test_what_was_rejected_is_listed_by_pipeline_model_or_table(brightest: Path, name: str) -> None:
    RejectedResult.create(model="BrightestPixel", reason=REFUSED, message="too bright")
    RejectedResult.create(model="Corv", reason=REFUSED, message="too cold")
    assert "too bright" in told("rejected", "--pipeline", name)
    assert "too cold" not in told("rejected", "--pipeline", name)
    assert "did you mean BrightestPixel?" in astra("rejected", "--pipeline", "BrightesPixel").output


def test_rows_of_a_package_that_is_gone_are_still_listed(database: peewee.Database) -> None:
    RejectedResult.create(model="GonePixel", reason=REFUSED, message="too bright")
    assert "too bright" in told("rejected", "--pipeline", "GonePixel")


def test_refused_rows_are_replayed(brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> None:
    [spectrum] = make_spectra(1)
    row = payload_to_json({"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk, "peak": 4861.0})
    RejectedResult.create(model="BrightestPixel", reason=REFUSED, message="", payload=row, v_astra=9000, run_id="5f1c")
    assert "1 tried: 1 inserted" in told("replay", "5f1c")
    assert [result.peak for result in outputs.model_named("brightest_pixel").select()] == [4861.0]


def test_its_summary_file_is_written_and_detected_when_it_is_ingested(
    results: list[BossVisitSpectrum], tmp_path: Path
) -> None:
    told("export", "--product", "astraAllVisitBrightestPixel", "--output-dir", tmp_path)
    [file] = tmp_path.glob("astraAllVisitBrightestPixel-*.fits.gz")
    model = outputs.model_named("BrightestPixel")
    for table in (model, BossVisitSpectrum, Spectrum, Source):
        table.delete().execute()
    assert f"{file.name}: astraAllVisitBrightestPixel, 3 rows" in told("ingest", file)
    assert [(row.peak, row.v_astra_major_minor) for row in model.select()] == [(5000.0, 9)] * 3


def test_its_rows_are_exported(results: list[BossVisitSpectrum], tmp_path: Path) -> None:
    assert "3 rows of BrightestPixel" in told("export", "brightest_pixel", "--output", tmp_path / "peaks.csv")


def test_its_table_is_moved_by_steps_of_its_own(brightest: Path) -> None:
    models = brightest / "models.py"
    models.write_text(models.read_text() + '\n    rv = FloatField(null=True, unit="km / s")\n')
    forget_packages("brightest")
    bind(base.database.obj, bound_schema())
    assert "brightest_pixel │ rv" in astra("check-schema").output
    made = "0001_add_brightest_pixel_rv.py: brightest_pixel.rv; `astra migrate up`"
    assert made in told("migrate", "make", "brightest")
    assert astra("migrate", "status").exit_code == 1
    refused = astra("run", "brightest")
    assert "(brightest/0001_add_brightest_pixel_rv to be applied); bring them up to date with" in refused.stderr
    assert "nothing is due" in told("run", "corv")
    assert "applied" in told("migrate", "up")
    assert "│ brightest │ 0001_add_brightest_pixel_rv │" in told("migrate", "status")
    assert "brightest_pixel" not in astra("check-schema").output
    assert "nothing is due" in told("run", "brightest")


def test_a_pipeline_without_tables_says_how_to_make_them_and_stops_nothing_else(
    install: Install, database: peewee.Database
) -> None:
    install()
    assert 'no table "' in (failed := astra("run", "brightest")).stderr.replace('"."', "")
    assert "astra init" in failed.stderr
    assert "nothing is due" in told("run", "corv")
    status = json.loads(astra("status", "--json").output)["data"]
    assert {"corv", "rocket"} <= {pipeline["pipeline"] for pipeline in status["pipelines"]}


# ---- under Dagster


@pytest.mark.sqlite_only(reason="the targets of runs are tested with our pipelines")
def test_it_is_an_asset_like_ours(brightest: Path, make_spectra: Callable[..., list[BossVisitSpectrum]]) -> None:
    make_spectra(3)
    target = {"sqlite": {"path": base.database.obj.database}}
    asset = pipeline_asset(outputs.load_pipeline("brightest"))
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([asset], instance=instance, resources=resources_for(target))
        [event] = run.get_asset_materialization_events()
        assert event.materialization.metadata["inserted"].value == 3
        sensor = version_sensor([asset], name="of_others")
        with dg.build_sensor_context(instance=instance, resources=resources_for(target)) as context:
            assert "all tables are at version" in str(sensor(context))


GRAPH = """
    from astra_orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    names = {key.to_user_string(): key for key in graph.get_all_asset_keys()}
    sensor, job = defs.resolve_sensor_def("astra_version_sensor"), defs.resolve_job_def("nightly")
    print(sorted(name for name in names if "rightest" in name))
    print(graph.get(names["brightest"]).group_name)
    print({"corv", "rocket", "aspcap", "astraAllStarCorv", "result_file"} <= names.keys())
    [target] = sensor.targets
    print(names["brightest"] in target.resolvable_to_job.selection.resolve(graph))
    print(names["brightest"] in job.asset_layer.executable_asset_keys)
"""


def test_the_code_location_has_its_assets_sensor_and_schedule(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_package(site)
    write_package(site, "broken", pipeline="broken", files={"__init__.py": "raise SystemExit('no licence')"})
    write_package(site, "claims", pipeline="claims", model="Corv")
    write_package(site, "named", pipeline="result_file", model="NamedPixel")
    run = run_python(GRAPH, site, ASTRA_DATABASE_PATH=str(tmp_path / "astra.db"))
    assert run.stdout.splitlines() == [
        "['astraAllStarBrightestPixel', 'astraAllVisitBrightestPixel', 'brightest']",
        "pipelines",
        *["True"] * 3,
    ], run.stderr
    assert run.stderr.count("Traceback") == 1
    assert "SystemExit: no licence" in run.stderr
    assert "the packages claims and astra_models have a table of one name" in run.stderr
    assert "the pipeline 'result_file' has no asset" in run.stderr
