"""Memory of an export doesn't grow with its rows."""

import tracemalloc
from pathlib import Path

import peewee
import pytest

from astra_models.fits import byte_stream, stream
from astra_models.products import export
from astra_models.products import reading as columns_read
from astra_models.products.fits import copy_blocks
from astra_models.products.fits import file as fits_file
from astra_models.products.fits import rows as fits_rows
from astra_models.products.query import select_model
from astra_models.source import Source

pytestmark = pytest.mark.long_on_each

FEW = 1000
MANY = 8 * FEW


def double_sources() -> None:
    """Store each source a second time, under another identifier."""
    n = Source.select().count()
    fields = [field for field in Source._meta.sorted_fields if field is Source.sdss_id or not field.unique]
    fields = [field for field in fields if not field.primary_key]
    others = [Source.sdss_id + n if field is Source.sdss_id else field for field in fields]
    Source.insert_from(Source.select(*others), fields).execute()


def peak_of_export(path: Path) -> int:
    """Write all sources, and give the most memory that it took."""
    tracemalloc.start()
    try:
        assert export.export(Source, select_model(Source), path).rows == Source.select().count()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "parquet"])
def test_eight_times_the_rows_take_no_more_memory(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    # Pieces that are small beside the few rows, so that there are many of them already.
    monkeypatch.setattr(fits_rows, "ROWS_PER_PART", FEW // 8)
    monkeypatch.setattr(copy_blocks, "ROWS_IN_CACHE", FEW // 16)
    monkeypatch.setattr(columns_read, "VALUES_AT_ONCE", 10_000)
    monkeypatch.setattr(fits_file, "COPIED_AT_ONCE", 1 << 14)
    monkeypatch.setattr(stream, "READ_AT_ONCE", 1 << 14)
    monkeypatch.setattr(byte_stream, "LARGEST_PIECE", 1 << 14)
    monkeypatch.setattr(export, "ROWS_PER_GROUP", FEW // 8)
    Source.insert_many([{"sdss_id": i, "lead": "x" * 500} for i in range(FEW)]).execute()
    export.export(Source, select_model(Source), tmp_path / f"first.{suffix}")  # what is imported and kept from now on
    few = peak_of_export(tmp_path / f"few.{suffix}")
    while Source.select().count() < MANY:
        double_sources()
    many = peak_of_export(tmp_path / f"many.{suffix}")
    assert many < 1.25 * few
