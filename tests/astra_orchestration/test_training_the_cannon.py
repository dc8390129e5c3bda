"""Training The Cannon by one command and by one asset, and what becomes of runs before and after."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.the_cannon import TheCannon
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.assets.training import the_cannon_model
from astra_orchestration.cli.main import app
from astra_orchestration.pipelines.the_cannon import the_cannon
from astra_orchestration.pipelines.the_cannon.finding import default_model
from astra_orchestration.pipelines.the_cannon.model_file import load_model
from astra_orchestration.resources import resources_for
from astra_orchestration.sample import make_sample
from tests.answers import data_of

FEW = ["--label", "teff", "--label", "logg", "--label", "m_h_atm", "--folds", "2"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return Path(make_sample(tmp_path_factory.mktemp("sample"), stars=1, apogee_stars=36).folder) / "apogee"


@pytest.fixture
def survey(target, sample, tmp_path, monkeypatch):
    monkeypatch.setenv("ASTRA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MWM_ASTRA", str(tmp_path / "products"))
    monkeypatch.delenv("ASTRA_THE_CANNON_MODEL", raising=False)
    ingest_spectra(map(str, sample.glob("apStar/*.fits")))
    [labels] = sample.glob("astraAllStarASPCAP*")
    ingest_result_file(str(labels))
    return target


def astra(*arguments):
    return CliRunner().invoke(app, list(arguments))


def launch(target, *assets, config=None, **options):
    return dg.materialize(list(assets), resources=resources_for(target), run_config=config or {}, **options)


def test_the_asset_trains_and_shows_the_cross_validation_and_runs_use_it(survey):
    config = {
        "ops": {"the_cannon_model": {"config": {"label": ["teff", "logg", "m_h_atm"], "where": "snr > 5", "folds": 2}}}
    }

    trained = launch(survey, the_cannon_model, config=config)
    done = launch(survey, pipeline_asset(the_cannon, deps=["the_cannon_model"]))

    [event] = trained.asset_materializations_for_node("the_cannon_model")
    model = load_model(default_model())
    assert event.metadata["SHA-256"].value == model.checksum
    assert event.metadata["stars"].value == 24
    assert event.metadata["cross-validation"].value["spread"].keys() == {"teff", "logg", "m_h_atm"}
    assert event.metadata["training set"].value["where"] == "snr > 5"
    assert event.metadata["labels of stars not seen"].value.startswith(
        "![labels of stars not seen](data:image/png;base64,"
    )
    [results] = done.asset_materializations_for_node("the_cannon")
    assert results.metadata["inserted"].value == TheCannon.select().count() > 35
    assert {"kiel diagram by metallicity", "alpha against metallicity", "worst fits"} - results.metadata.keys() <= {
        "alpha against metallicity"  # it has no label of them
    }


def test_one_command_trains_and_a_new_model_makes_results_due(survey):
    first = astra("train", "the_cannon", "--labels", "aspcap", "--where", "snr > 5 and not flag_low_snr", *FEW)
    assert first.exit_code == 0, first.output
    assert "24 stars" in first.output and re.search(r"teff +\d", first.output)
    assert astra("run", "the_cannon").exit_code == 0
    n_due = re.search(r"(\d+) due", astra("run", "the_cannon", "--rerun", "all").output)[1]
    assert "nothing is due" in astra("run", "the_cannon").output

    again = astra("train", "the_cannon", "--degree", "linear", *FEW, "--json")
    made = data_of(again, "train the_cannon")
    assert (made["stars"], made["sha256"]) == (24, load_model(default_model()).checksum)
    assert {label["name"] for label in made["labels"]} >= {"teff", "logg"}

    assert f"{n_due} parameters changed" in astra("run", "the_cannon", "--dry-run").output


def test_what_cant_be_trained_is_one_sentence(survey):
    refusals = {
        "there is no model of results 'nothing'": ["--labels", "nothing"],
        "'tef' is no column or flag of aspcap": ["--where", "tef > 1"],
        "can't be read": ["--where", "teff > 1; delete from source"],
        "aspcap has no label 'v_macro'": ["--label", "v_macro"],
        "24 stars can't tell 28 terms of 6 labels apart": [],
    }
    for reason, options in refusals.items():
        failed = astra("train", "the_cannon", *options)

        assert failed.exit_code in (1, 2)
        assert reason in " ".join(failed.output.split()) and "Traceback" not in failed.output


def test_a_run_without_a_model_says_how_to_train_one(survey):
    failed = astra("run", "the_cannon")

    assert failed.exit_code == 1
    assert "astra train the_cannon --labels aspcap" in failed.output.replace("\n", " ")
    with pytest.raises(Exception, match="no model has been trained"):
        launch(survey, pipeline_asset(the_cannon))


def test_a_first_run_of_a_survey_with_few_labels_leaves_it_out_and_says_so(tmp_path):
    environment = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "ASTRA_DATABASE_PATH": str(tmp_path / "astra.db"),
        "ASTRA_DATA": str(tmp_path / "data"),
    }
    program = Path(sys.executable).with_name("astra")
    command = [program, "materialize", "--stars", "2", "--apogee-stars", "3"]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "nothing to learn from: 2 stars have labels, and 33 are needed" in " ".join(done.stdout.split())
    assert not any(line.startswith("│ the_cannon") for line in done.stdout.splitlines())
