"""Rows as astropy tables, and as files of other formats than FITS."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy.time import Time

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import OutputExistsError, OutputFormatError, SelectionError
from astra_models.outputs import model_named
from astra_models.products import to_table
from astra_models.products.export import export
from astra_models.products.query import select_model
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert import upsert

TARGETING = b"\x01\x00\x80"


@pytest.fixture
def results(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store results of three spectra; of the first, of two versions."""
    spectra = make_spectra(3)
    rows = [{"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk, "v_astra": 9000} for s in spectra]
    rows[0] |= {"teff": 5772.5, "result_flags": 2**40, "tag": "é"}
    upsert(Rocket, rows)
    upsert(Rocket, [rows[0] | {"v_astra": 10_002, "teff": 6000.0}])
    return spectra


def test_a_table_has_units_descriptions_and_masks(results: list[Any]) -> None:
    table = to_table(Rocket, v_astra="0.9")
    assert table.colnames == [field.name for field in Rocket._meta.sorted_fields]
    assert table["teff"].unit == "K"
    assert table["teff"].description == Rocket.teff.help_text
    assert table["teff"].mask.tolist() == [False, True, True]
    assert table["teff"][0] == np.float32(5772.5)
    assert table["result_flags"].tolist() == [2**40, 0, 0]
    assert table["tag"].tolist() == ["é", "", ""]
    assert (table["v_astra"].dtype, table["teff"].dtype) == (np.int32, np.float32)


def test_times_are_text_that_astropy_reads(results: list[Any]) -> None:
    row = Rocket.select().order_by(Rocket.task_pk).first()
    moment = Time(to_table(Rocket)["created"])[0]
    assert moment.to_datetime() == row.created.replace(tzinfo=None)


def test_a_table_says_where_it_is_from(results: list[Any]) -> None:
    meta = to_table(Rocket).meta
    assert (meta["model"], meta["table"]) == ("Rocket", "rocket")
    assert meta["software"].startswith("astra-orchestration ")
    assert {"run_id", "created"} <= meta.keys()


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, [5772.5, None, None, 6000.0]),
        ({"v_astra": "0.9"}, [5772.5, None, None]),
        ({"v_astra": "0.9.7"}, [5772.5, None, None]),
        ({"v_astra": 10_002}, [6000.0]),
        ({"v_astra": "1.0"}, []),
        ({"latest": True}, [None, None, 6000.0]),
        ({"limit": 2}, [5772.5, None]),
        ({"limit": 0}, []),
    ],
)
def test_rows_are_selected(results: list[Any], conditions: dict[str, Any], expected: list[float | None]) -> None:
    assert to_table(Rocket, **conditions)["teff"].tolist() == expected


def test_rows_are_selected_by_condition_and_source(results: list[Any]) -> None:
    assert to_table(Rocket, where=Rocket.teff > 5900)["teff"].tolist() == [6000.0]
    [source] = Source.select().where(Source.pk == results[1].source_pk)
    assert to_table(Rocket, sdss_ids=[source.sdss_id])["spectrum_pk"].tolist() == [results[1].spectrum_pk]
    assert to_table(Source, sdss_ids=[source.sdss_id])["pk"].tolist() == [source.pk]


def test_what_can_not_be_selected_is_said(memory_database: peewee.Database) -> None:
    with pytest.raises(SelectionError, match="Spectrum has no column v_astra"):
        to_table(Spectrum, v_astra="0.9")
    with pytest.raises(SelectionError, match="none of its rows is of an sdss_id"):
        to_table(Spectrum, sdss_ids=[1])
    with pytest.raises(SelectionError, match="has no versions"):
        to_table(Source, latest=True)
    with pytest.raises(SelectionError, match="did you mean Rocket"):
        model_named("roket")
    assert model_named("rocket") is model_named("ROCKET") is Rocket


def test_lists_and_bytes_are_rows_of_arrays(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(1, delta_ra=[1.5, -2.0])
    make_spectra(1, delta_ra=[3.0])
    make_spectra(1, delta_ra=None)
    Source.create(sdss5_target_flags=TARGETING)
    offsets = to_table(BossVisitSpectrum)["delta_ra"]
    np.testing.assert_array_equal(offsets[:2].data, np.array([[1.5, -2], [3, np.nan]], "f4"))
    assert offsets.mask.tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert to_table(Source)["sdss5_target_flags"][-1].tolist() == list(TARGETING)


def test_a_table_without_rows_has_all_columns(database: peewee.Database) -> None:
    table = to_table(Source)
    assert len(table) == 0
    assert table.colnames == [field.name for field in Source._meta.sorted_fields]
    assert table["ra"].unit == "deg"


# ---- files


@pytest.fixture
def sources(database: peewee.Database) -> None:
    """Store a source with values and one with hardly any."""
    Source.create(sdss_id=1, ra=1.25, lead="aé", g_mag=3, sdss5_target_flags=TARGETING, n_boss_visits=-1)
    Source.create(sdss_id=2)


def exported(path: Path, model: Any = Source, **options: Any) -> Any:
    return export(model, select_model(model), path, **options)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("ecsv", {}), ("csv", {"format": "ascii.csv"}), ("vot", {}), ("votable", {"format": "votable"})],
)
def test_a_file_reads_back_without_any_warning(
    sources: None, tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    report = exported(tmp_path / f"sources.{suffix}")
    assert (report.rows, report.size) == (2, Path(report.path).stat().st_size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table.read(report.path, **options)
    assert table.colnames == [field.name for field in Source._meta.sorted_fields]
    assert table["sdss_id"].tolist() == [1, 2]
    assert table["n_boss_visits"].tolist() == [-1, None]
    assert table["ra"][0] == 1.25
    assert table["g_mag"].tolist()[0] == 3
    assert [table["lead"][0], str(table["lead"][1]) in ("", "--")] == ["aé", True]
    if suffix != "csv":
        assert table["ra"].unit == "deg"
        assert table["ra"].description == Source.ra.help_text


def test_parquet_keeps_types_nulls_and_units(sources: None, tmp_path: Path) -> None:
    table = pq.read_table(exported(tmp_path / "sources.parquet").path)
    first, second = table.select(["ra", "lead", "sdss5_target_flags", "n_boss_visits", "g_mag"]).to_pylist()
    assert first == {"ra": 1.25, "lead": "aé", "sdss5_target_flags": TARGETING, "n_boss_visits": -1, "g_mag": 3}
    assert set(second.values()) == {None}
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    assert table["created"][0].as_py() == Source.select().order_by(Source.pk).first().created


def test_parquet_takes_lists(database: peewee.Database, make_spectra: Any, tmp_path: Path) -> None:
    make_spectra(1, delta_ra=[1.5, -2.0])
    make_spectra(1, delta_ra=None)
    table = pq.read_table(exported(tmp_path / "visits.parquet", BossVisitSpectrum).path)
    assert table["delta_ra"].to_pylist() == [[1.5, -2.0], None]


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "csv", "vot"])
def test_no_file_is_replaced_unless_asked(sources: None, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sources.{suffix}"
    exported(path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        exported(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    exported(path, overwrite=True)


def test_another_suffix_is_refused(memory_database: peewee.Database, tmp_path: Path) -> None:
    with pytest.raises(OutputFormatError, match=r"use one of \.fits, "):
        exported(tmp_path / "sources.xlsx")


def test_parquet_without_pyarrow_says_what_to_install(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(OutputFormatError, match=r"astra-orchestration\[arrow\]"):
        exported(tmp_path / "sources.parquet")
    assert list(tmp_path.iterdir()) == []
