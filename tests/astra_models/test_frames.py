"""Rows as Arrow tables and as frames of pandas and polars."""

import importlib
import sys
import threading
import tracemalloc
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peewee
import pyarrow as pa
import pytest

from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import MissingExtraError, OutputFormatError, SelectionError
from astra_models.outputs import output_models
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products import to_arrow, to_batches, to_pandas, to_table
from astra_models.products.export import export
from astra_models.products.query import select_model
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TARGETING = b"\x01\x00\x80"


@pytest.fixture
def results(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store results of three spectra, of which only the first has values."""
    spectra = make_spectra(3, modified=MOMENT)
    rows: list[dict[str, Any]] = [{"spectrum_pk": s.spectrum_pk, "source_pk": s.source_pk} for s in spectra]
    rows[0] |= {"teff": 5772.5, "result_flags": 2**40, "tag": "é", "pipeline_run_pk": 7}
    upsert(Rocket, rows)
    Source.update(sdss5_target_flags=TARGETING).where(Source.pk == spectra[0].source_pk).execute()
    return spectra


def test_an_arrow_table_has_types_units_and_nulls(results: list[Any]) -> None:
    table = to_arrow(Rocket)
    assert table.column_names == [field.name for field in Rocket._meta.sorted_fields]
    assert table["teff"].to_pylist() == [5772.5, None, None]
    assert table["pipeline_run_pk"].to_pylist() == [7, None, None]
    assert table["result_flags"].to_pylist() == [2**40, 0, 0]
    assert table["tag"].to_pylist() == ["é", "", ""]
    assert (table["teff"].type, table["v_astra"].type) == (pa.float32(), pa.int32())
    assert table["created"].type == pa.timestamp("us", "UTC")
    assert table.schema.field("teff").metadata == {b"unit": b"K", b"description": Rocket.teff.help_text.encode()}
    assert b"Rocket" in table.schema.metadata[b"astra"]


def test_moments_are_in_utc(results: list[Any]) -> None:
    assert to_arrow(BossVisitSpectrum, columns=["modified"])["modified"].to_pylist() == [MOMENT] * 3
    frame = to_pandas(BossVisitSpectrum, columns=["modified"])
    assert frame["modified"].tolist() == [pd.Timestamp(MOMENT)] * 3


def test_a_frame_of_pandas_keeps_whole_numbers(results: list[Any]) -> None:
    frame = to_pandas(Rocket)
    assert frame["pipeline_run_pk"].tolist() == [7, pd.NA, pd.NA]
    assert str(frame["pipeline_run_pk"].dtype) == "Int32"
    assert frame["result_flags"].tolist() == [2**40, 0, 0]
    assert (frame["teff"].dtype, frame["teff"].isna().tolist()) == (np.float32, [False, True, True])
    assert frame.attrs["units"]["teff"] == "K"
    assert frame.attrs["descriptions"]["teff"] == Rocket.teff.help_text
    assert frame.attrs["model"] == "Rocket"


def test_a_frame_of_polars(results: list[Any]) -> None:
    pytest.importorskip("polars", reason="polars isn't installed")
    frame = importlib.import_module("astra_models.products").to_polars(Rocket, where="teff > 0")
    assert frame["result_flags"].to_list() == [2**40]


def test_any_query_and_its_computed_columns(results: list[Any]) -> None:
    query = (
        Rocket.select(Rocket.spectrum_pk, Source.pk, Rocket.teff.alias("t"), (Rocket.teff * 2).alias("twice"))
        .join(Source, on=(Rocket.source_pk == Source.pk))
        .order_by(Rocket.spectrum_pk.desc())
    )
    wanted = {"spectrum_pk": [s.spectrum_pk for s in results[::-1]], "twice": [None, None, 11545.0]}
    assert to_arrow(query, columns=["spectrum_pk", "twice"]).to_pydict() == wanted
    assert to_pandas(query, columns=["twice", "t"]).columns.tolist() == ["twice", "t"]
    counted = Rocket.select(peewee.fn.COUNT(Rocket.task_pk).alias("n"))
    assert to_arrow(counted).to_pydict() == {"n": [3]}
    with pytest.raises(SelectionError, match="no column 'tt'"):
        to_arrow(query, columns=["tt"])


def test_bytes_and_lists(results: list[Any]) -> None:
    table = to_arrow(Source, columns=["sdss5_target_flags"])
    assert TARGETING in table["sdss5_target_flags"].to_pylist()
    assert TARGETING in to_pandas(Source, columns=["sdss5_target_flags"])["sdss5_target_flags"].tolist()


@pytest.mark.parametrize("model", output_models(), ids=lambda model: model.__name__)
def test_every_model_without_rows(memory_database: peewee.Database, model: type[PipelineOutputMixin]) -> None:
    names = [field.name for field in model._meta.sorted_fields]
    assert to_arrow(model).column_names == names
    assert to_pandas(model).columns.tolist() == names
    assert to_batches(model).read_all().num_rows == 0


def test_the_same_values_as_a_table(results: list[Any]) -> None:
    table, arrow = to_table(Rocket), to_arrow(Rocket)
    for name in ("task_pk", "teff", "result_flags", "tag", "v_astra", "pipeline_run_pk"):
        assert arrow[name].to_pylist() == table[name].tolist()


def test_batches_are_of_one_moment(results: list[Any], make_spectra: Any) -> None:
    reader = to_batches(Rocket, rows=1, columns=["spectrum_pk"])
    first = reader.read_next_batch()
    assert (first.num_rows, reader.schema.names) == (1, ["spectrum_pk"])
    assert sum(batch.num_rows for batch in reader) == 2


def test_batches_have_rows(results: list[Any]) -> None:
    for rows in (0, -1, 1.5, None):
        with pytest.raises(SelectionError, match="rows is a number of rows"):
            to_batches(Rocket, rows=rows)  # type: ignore[arg-type]
    assert to_batches(Rocket, rows=np.int64(2)).read_all().num_rows == 3  # type: ignore[arg-type]


def _write(results: list[Any], v_astra: int) -> None:
    upsert(Rocket, [{"spectrum_pk": results[0].spectrum_pk, "teff": 4000.0, "v_astra": v_astra}])
    Source.update(g_mag=15).where(Source.pk == results[0].source_pk).execute()


def test_what_is_written_while_batches_are_read_stays(results: list[Any], database: peewee.Database) -> None:
    for reads_all, v_astra in ((True, 10_000), (False, 11_000)):
        reader = to_batches(Rocket, rows=1, columns=["v_astra"])
        before, read = Rocket.select().count(), 0
        for batch in reader:
            read += batch.num_rows
            _write(results, v_astra)
            if not reads_all:
                break
        del reader, batch
        assert read == (before if reads_all else 1)
        database.close()
        assert Rocket.select().where(Rocket.v_astra == v_astra).count() == 1
    assert Source.select().where(Source.g_mag == 15).count() == 1
    assert [thread.name for thread in threading.enumerate() if "astra-batches" in thread.name] == []


@pytest.mark.parametrize("own_transaction", [False, True])
def test_what_is_written_while_batches_are_read_by_the_same_connection_stays(
    memory_database: peewee.Database, make_spectra: Any, own_transaction: bool
) -> None:
    spectra = make_spectra(2)
    upsert(Rocket, [{"spectrum_pk": one.spectrum_pk} for one in spectra])
    with memory_database.atomic() if own_transaction else nullcontext():
        for _ in to_batches(Rocket, rows=1):
            _write(spectra, 10_000)
            break
    assert not memory_database.in_transaction()
    assert Rocket.select().where(Rocket.v_astra == 10_000).count() == 1
    assert Source.select().where(Source.g_mag == 15).count() == 1


def test_batches_take_little_memory(memory_database: peewee.Database, make_spectra: Any) -> None:
    keys = [one.spectrum_pk for one in make_spectra(20_000)]
    upsert(Corv, [{"spectrum_pk": key, "teff": 5000.0} for key in keys])
    tracemalloc.start()
    assert sum(batch.num_rows for batch in to_batches(Corv, rows=500)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # all rows together take several times as much


def test_a_library_that_is_missing_is_named(
    memory_database: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="pandas isn't installed"):
        to_pandas(Rocket)
    with pytest.raises(MissingExtraError, match=r"astra-orchestration\[arrow\]"):
        to_arrow(Rocket)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(OutputFormatError, match=r"^rows\.parquet: Parquet needs pyarrow"):
        export(Rocket, select_model(Rocket), tmp_path / "rows.parquet")
