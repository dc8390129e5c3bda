"""The labels of the sample survey's APOGEE stars, as an asset and by the command line."""

from pathlib import Path
from typing import Any

import dagster as dg
import peewee
import pytest
from typer.testing import CliRunner

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.aspcap import ASPCAP
from astra_orchestration.assets.sample_labels import sample_labels
from astra_orchestration.assets.spectra import catalogue, sample_survey
from astra_orchestration.cli.main import app
from astra_orchestration.resources import resources_for


def launch(target: Any, instance: dg.DagsterInstance, apogee_stars: int, stars: int = 1) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [sample_survey, catalogue, sample_labels],
        instance=instance,
        resources=resources_for(target),
        run_config={"ops": {"sample_survey": {"config": {"stars": stars, "apogee_stars": apogee_stars}}}},
    )


def metadata(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    [event] = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(key)]
    return {name: entry.value for name, entry in event.materialization.metadata.items()}


def test_labels_are_ingested_once_after_the_spectra(
    database: peewee.Database, target: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        first = launch(target, instance, apogee_stars=3)
        again = launch(target, instance, apogee_stars=3)

        made = metadata(first, "sample_survey")
        assert (made["APOGEE stars"], made["with labels"]) == (3, 2)
        labels = metadata(first, "sample_labels")
        assert (labels["inserted"], labels["rejected"], labels["ingested before"]) == (2, 0, False)
        assert metadata(again, "sample_labels")["ingested before"]
        assert ASPCAP.select().count() == 2
        of_labels = {row.spectrum_pk for row in ASPCAP.select()}
        assert of_labels <= {row.spectrum_pk for row in ApogeeCoaddedSpectrumInApStar.select()}
        shown = instance.get_latest_materialization_event(dg.AssetKey("aspcap"))
        observed = instance.fetch_observations(dg.AssetKey("aspcap"), limit=5).records
        assert shown is not None or observed, "the graph shows that aspcap has got rows"


def test_a_survey_without_apogee_stars_has_no_labels(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch({"sqlite": {"path": ":memory:"}}, instance, apogee_stars=0)

    assert result.success
    assert metadata(result, "sample_labels")["inserted"] == 0
    assert ASPCAP.select().count() == 0


def test_from_a_command_to_labels(database: peewee.Database, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    commands = (
        ["sample", "--stars", "1", "--apogee-stars", "3", "--aspcap", "--folder", str(folder)],
        ["ingest", "spectra", f"{folder}/apogee/**/*.fits"],
        ["ingest", f"{folder}/apogee/astraAllStarASPCAP-0.8.1.fits.gz"],
    )

    made, spectra, labels = (CliRunner().invoke(app, command) for command in commands)

    assert [step.exit_code for step in (made, spectra, labels)] == [0, 0, 0], labels.output
    said = " ".join(made.output.split())
    assert "3 APOGEE stars, as apStar and mwmStar" in said
    assert "labels of 2 are in" in said
    assert "9 grids for FERRE are in" in said
    assert f"export ASTRA_ASPCAP={folder}/aspcap/aspcap.yml\n" in made.output
    assert ApogeeCoaddedSpectrumInApStar.select().count() == 3
    assert ASPCAP.select().count() == 2
