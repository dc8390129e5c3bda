"""What `astra export` writes, dropped into an empty database, is there as it was."""

import csv
from pathlib import Path

import peewee
import pytest

from astra_models.base import BaseModel
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.corv import Corv
from astra_models.errors import UnrecognizedFileError
from astra_models.ingest import ingest_result_file
from astra_models.outputs import output_models
from astra_models.products.export import export
from astra_models.products.joins import with_source
from astra_models.products.query import select_model
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from tests.exported import N_ROWS, changed, contents, empty, fill

pytestmark = pytest.mark.long_on_each

FORMATS = ["fits", "fits.gz", "parquet", "ecsv", "csv", "vot"]
MODELS = [model for model in output_models() if model.__module__.startswith("astra_models.")]
SPECTRA = [model for model in SpectrumMixin.concrete_models() if model.__module__.startswith("astra_models.")]


@pytest.mark.parametrize(
    ("model", "suffix"),
    [(model, suffix) for model in (Source, BossVisitSpectrum, Corv, MWMBest) for suffix in FORMATS]
    + [(model, "parquet") for model in (*SPECTRA, *MODELS)],
)
def test_an_export_with_sources_comes_back(
    database: peewee.Database, tmp_path: Path, model: type[BaseModel], suffix: str
) -> None:
    fill(model)
    before = contents(model)
    path = tmp_path / f"rows.{suffix}"
    export(model, with_source(model, select_model(model)), path)
    empty(model)
    report = ingest_result_file(path)
    assert (report.rows, report.rejected, dict(report.reasons)) == (N_ROWS, 0, {})
    assert changed(before, contents(model)) == {}
    again = ingest_result_file(path, again=True)
    assert changed(before, contents(model)) == {}
    assert sum(counts["inserted"] + counts["updated"] for counts in again.tables.values()) == 0


def test_results_without_identifiers_are_refused_with_what_to_do(database: peewee.Database, tmp_path: Path) -> None:
    fill(Corv)
    path = tmp_path / "corv.csv"
    export(Corv, select_model(Corv), path)
    with pytest.raises(UnrecognizedFileError, match=r"without identifiers.*astra export Corv --with source"):
        ingest_result_file(path)


def test_an_edited_row_is_refused_alone(database: peewee.Database, tmp_path: Path) -> None:
    fill(Corv)
    path = tmp_path / "corv.csv"
    export(Corv, with_source(Corv, select_model(Corv)), path)
    lines = list(csv.reader(path.read_text().splitlines()))
    lines[3][lines[0].index("teff")] = "hot"
    with open(path, "w", newline="") as edited:
        csv.writer(edited).writerows(lines)
    empty(Corv)
    report = ingest_result_file(path)
    assert (report.rejected, Corv.select().count()) == (1, N_ROWS - 1)
    (kept,) = RejectedResult.select()
    assert "teff: 'hot' is not a number" in kept.message


def test_results_of_two_pipelines_are_of_the_same_spectra(database: peewee.Database, tmp_path: Path) -> None:
    fill(BossVisitSpectrum)
    spectra = BossVisitSpectrum.select(BossVisitSpectrum.spectrum_pk, BossVisitSpectrum.source_pk).tuples()
    for spectrum_pk, source_pk in list(spectra):
        for model in (Corv, BossNet):
            model.insert(spectrum_pk=spectrum_pk, source_pk=source_pk, v_astra=9001).execute()
    for model in (Corv, BossNet):
        export(model, with_source(model, select_model(model)), tmp_path / f"{model.__name__}.ecsv")
    for model in (BossNet, BossVisitSpectrum):
        model.delete().execute()
    empty(Corv)
    for model in (Corv, BossNet):
        assert ingest_result_file(tmp_path / f"{model.__name__}.ecsv").rejected == 0
    assert Spectrum.select().count() == N_ROWS
    assert Corv.select().join(BossNet, on=Corv.spectrum_pk == BossNet.spectrum_pk).count() == N_ROWS
