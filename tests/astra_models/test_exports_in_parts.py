"""ECSV, CSV and VOTable are written some rows at a time, and are what astropy makes of the whole table."""

import tracemalloc
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import BYTES, FLOATS
from astra_models.corv import Corv
from astra_models.line_forest import LineForest
from astra_models.products import export as export_module
from astra_models.products import parts, reading
from astra_models.products.export import export
from astra_models.products.flag_bits import bits_of
from astra_models.products.provenance import provenance
from astra_models.products.query import Selection, select_model
from astra_models.products.table import table_of
from astra_models.products.text_file import write_out
from astra_models.products.votable import votable_with_rows
from astra_models.source import Source
from tests.exported import fill

pytestmark = pytest.mark.long_on_each


TOLD = provenance()


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files be of the same moment, which they say."""
    monkeypatch.setattr(export_module, "provenance", lambda: TOLD)


def whole(model: type[BaseModel], selection: Selection, path: Path) -> bytes:
    """Write all rows at once, as astropy does."""
    meta = {"model": model.__name__, "table": model._meta.table_name, **TOLD}
    table: Any = table_of(selection, meta)
    if path.suffix == ".vot":
        write_out(table, selection, BYTES)
        return votable_with_rows(table, selection, meta)
    if path.suffix == ".csv":
        write_out(table, selection, FLOATS, BYTES)
    for column in selection.columns:
        if path.suffix == ".ecsv" and (bits := bits_of(column.field)):
            table[column.name].meta["flags"] = {name: {"bit": n, "meaning": text} for name, (n, text) in bits.items()}
    options = {"strip_whitespace": False} if path.suffix == ".csv" else {}
    table.write(path, format=f"ascii.{path.suffix[1:]}", **options)
    return path.read_bytes()


@pytest.mark.parametrize("rows_at_once", [3, 100])
@pytest.mark.parametrize("suffix", ["ecsv", "csv", "vot"])
@pytest.mark.parametrize("model", [Source, BossVisitSpectrum, Corv, LineForest])
def test_the_same_bytes_as_all_at_once(
    database: peewee.Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: type[BaseModel],
    suffix: str,
    rows_at_once: int,
) -> None:
    fill(model)
    selection = select_model(model)
    monkeypatch.setattr(parts, "VALUES_AT_ONCE", rows_at_once * len(selection.columns))
    path = tmp_path / f"in_parts.{suffix}"
    export(model, selection, path)
    assert path.read_bytes() == whole(model, selection, tmp_path / f"whole.{suffix}")


@pytest.mark.parametrize("suffix", ["ecsv", "csv", "vot"])
def test_no_rows(database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in_parts.{suffix}"
    assert export(Corv, select_model(Corv), path).rows == 0
    assert path.read_bytes() == whole(Corv, select_model(Corv), tmp_path / f"whole.{suffix}")


@pytest.mark.parametrize("suffix", ["ecsv", "csv", "vot"])
def test_nothing_but_nulls(database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    Source.insert_many([{"sdss_id": n} for n in range(5)]).execute()
    path = tmp_path / f"in_parts.{suffix}"
    export(Source, select_model(Source), path)
    assert path.read_bytes() == whole(Source, select_model(Source), tmp_path / f"whole.{suffix}")


@pytest.mark.parametrize("suffix", ["ecsv", "csv", "vot", "parquet", "fits"])
def test_columns_without_a_number_that_can_be_packed(database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    Source.create(sdss_id=1, lead="a")
    selection = select_model(Source, columns="sdss_id,lead,ra,created")
    assert export(Source, selection, tmp_path / f"rows.{suffix}").rows == 1


FEW, MANY = 200, 1600
COLUMNS = "sdss_id,lead,ra,created"


def store_sources(*numbers: int) -> None:
    Source.insert_many([{"sdss_id": n, "lead": "x" * 5000} for n in range(*numbers)]).execute()


def peak_of_export(path: Path) -> int:
    """Write all sources, and give the most memory that it took."""
    tracemalloc.start()
    try:
        export(Source, select_model(Source, columns=COLUMNS), path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["ecsv", "csv", "vot"])
def test_eight_times_the_rows_take_no_more_memory(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(parts, "VALUES_AT_ONCE", FEW // 4 * len(COLUMNS.split(",")))
    monkeypatch.setattr(reading, "VALUES_AT_ONCE", FEW // 4 * len(COLUMNS.split(",")))
    store_sources(FEW)
    export(Source, select_model(Source, columns=COLUMNS), tmp_path / f"first.{suffix}")  # what is imported and kept
    few = peak_of_export(tmp_path / f"few.{suffix}")
    store_sources(FEW, MANY)
    many = peak_of_export(tmp_path / f"many.{suffix}")
    assert many < 1.25 * few
