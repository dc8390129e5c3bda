"""Exports that come back somewhere else: in the other kind of database, after another program, of another package."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import peewee
import pytest
from astropy.table import Table

from astra_models import base, outputs
from astra_models.base import BaseModel, bind, bound_schema
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import OutputFormatError, UnrecognizedFileError
from astra_models.ingest import ingest_result_file
from astra_models.products.export import export
from astra_models.products.joins import with_source
from astra_models.products.query import select_model
from astra_models.rejected import RejectedResult
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from tests.exported import N_ROWS, changed, contents, empty, fill

pytestmark = pytest.mark.long_on_each

FORMATS = ["fits", "parquet", "ecsv", "csv", "vot"]


def write(model: type[BaseModel], path: Path) -> Path:
    export(model, with_source(model, select_model(model)), path)
    return path


# ---- from one kind of database to the other


@pytest.mark.postgresql_only(reason="the other database is SQLite, both ways in one test")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("model", [Source, BossVisitSpectrum, Corv, MWMBest])
def test_from_postgresql_to_sqlite_and_back(
    memory_database: peewee.Database, database: peewee.Database, tmp_path: Path, model: type[BaseModel], suffix: str
) -> None:
    there = base.database.obj, bound_schema()
    fill(model)
    before = contents(model)
    path = write(model, tmp_path / f"from_postgresql.{suffix}")
    bind(memory_database)
    try:
        assert ingest_result_file(path).rejected == 0
        assert changed(before, contents(model)) == {}
        path = write(model, tmp_path / f"from_sqlite.{suffix}")
    finally:
        bind(*there)
    empty(model)
    assert ingest_result_file(path).rejected == 0
    assert changed(before, contents(model)) == {}


# ---- what is the database's own


def test_the_time_of_a_write_is_that_of_this_database(database: peewee.Database, tmp_path: Path) -> None:
    fill(Corv)
    Corv.update(modified=datetime(2020, 1, 1, tzinfo=UTC)).execute()
    created = {row.v_rad: row.created for row in Corv.select()}
    path = write(Corv, tmp_path / "corv.fits")
    empty(Corv)
    start = datetime.now(UTC)
    ingest_result_file(path)
    assert {row.v_rad: row.created for row in Corv.select()} == created
    assert all(row.modified >= start for row in Corv.select())


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_parquet_tells_empty_text_from_null(database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    for number, text in enumerate(["", "a", None], start=1):
        Source.create(sdss_id=number, lead=text)
    path = write(Source, tmp_path / f"sources.{suffix}")
    empty(Source)
    assert ingest_result_file(path).rejected == 0
    leads = [row.lead for row in Source.select().order_by(Source.sdss_id)]
    assert leads == ["" if suffix == "parquet" else None, "a", None]


ODD_TEXTS = [
    " a",
    "a ",
    " ",
    "\ta",
    "a\nb",
    "a\r\nb",
    "\ra",
    "a\rb",
    "a\x0b\x0c\x1c\x1e\x85b",
    "a\u2028\u2029b",
    "#a",
    '"',
    "\\",
]


@pytest.mark.parametrize("suffix", ["fits", "parquet", "csv", "vot"])
def test_blanks_and_line_ends_in_text_come_back(database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    for number, text in enumerate(ODD_TEXTS, start=1):
        Source.create(sdss_id=number, lead=text)
    path = write(Source, tmp_path / f"sources.{suffix}")
    empty(Source)
    assert ingest_result_file(path).rejected == 0
    assert [row.lead for row in Source.select().order_by(Source.sdss_id)] == ODD_TEXTS


def test_pandas_reads_them_of_csv(database: peewee.Database, tmp_path: Path) -> None:
    for number, text in enumerate(ODD_TEXTS, start=1):
        Source.create(sdss_id=number, lead=text)
    frame = pd.read_csv(write(Source, tmp_path / "sources.csv"), keep_default_na=False)
    assert list(frame["lead"]) == ODD_TEXTS


def test_text_that_ecsv_cant_hold_is_refused(database: peewee.Database, tmp_path: Path) -> None:
    Source.create(sdss_id=1, lead="fine\nso far")
    Source.create(sdss_id=2)
    assert write(Source, tmp_path / "sources.ecsv").exists()
    for end in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029":
        Source.update(lead=f"a{end}b").where(Source.sdss_id == 2).execute()
        with pytest.raises(OutputFormatError, match=r"lead.*a line ends.*\.parquet"):
            write(Source, tmp_path / "more.ecsv")
    assert [path.name for path in tmp_path.iterdir()] == ["sources.ecsv"]


def test_ecsv_with_lists_and_no_row_is_read_by_astropy(database: peewee.Database, tmp_path: Path) -> None:
    path = write(BossVisitSpectrum, tmp_path / "spectra.ecsv")
    columns = with_source(BossVisitSpectrum, select_model(BossVisitSpectrum)).columns
    table = Table.read(path)
    assert (len(table), table.colnames) == (0, [column.name for column in columns])
    assert ingest_result_file(path).notes == ["it has no rows"]


# ---- tables of other packages


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_of_another_package(
    install: Callable[..., Path], database: peewee.Database, tmp_path: Path, suffix: str
) -> None:
    install()
    model = outputs.model_named("BrightestPixel")
    create_tables([model])
    fill(model)
    before = contents(model)
    path = write(model, tmp_path / f"brightest.{suffix}")
    empty(model)
    assert ingest_result_file(path).rejected == 0
    assert changed(before, contents(model)) == {}


# ---- through pandas


def read_by_pandas(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path, dtype_backend="numpy_nullable")
    identifiers = {field.name: "Int64" for field in Source._meta.sorted_fields if field.field_type in ("BIGINT", "INT")}
    identifiers |= {f"source_{name}": kind for name, kind in identifiers.items()}
    return pd.read_csv(path, dtype=identifiers, keep_default_na=False, na_values=[""])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("model", [Source, Corv])
def test_read_by_pandas_and_written_again(
    database: peewee.Database, tmp_path: Path, model: type[BaseModel], suffix: str
) -> None:
    fill(model)
    before = contents(model)
    frame = read_by_pandas(write(model, tmp_path / f"ours.{suffix}"))
    path = tmp_path / f"theirs.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    empty(model)
    report = ingest_result_file(path)
    assert (report.rejected, dict(report.reasons)) == (0, {})
    assert changed(before, contents(model)) == {}


@pytest.mark.skipif(shutil.which("stilts") is None, reason="STILTS isn't installed")
@pytest.mark.parametrize("form", ["votable", "votable-tabledata"])
@pytest.mark.parametrize("model", [Source, Corv])
def test_a_votable_that_stilts_has_written_again(
    database: peewee.Database, tmp_path: Path, model: type[BaseModel], form: str
) -> None:
    fill(model)
    before = contents(model)
    ours, theirs = write(model, tmp_path / "ours.vot"), tmp_path / "theirs.vot"
    subprocess.run(["stilts", "tcopy", f"in={ours}", f"out={theirs}", f"ofmt={form}"], check=True)
    empty(model)
    report = ingest_result_file(theirs)
    assert (report.rejected, dict(report.reasons)) == (0, {})
    assert changed(before, contents(model)) == {}


def test_an_identifier_that_pandas_has_made_a_float_is_refused(database: peewee.Database, tmp_path: Path) -> None:
    fill(Corv)
    path = tmp_path / "corv.csv"
    pd.read_csv(write(Corv, tmp_path / "ours.csv"), keep_default_na=False, na_values=[""]).to_csv(path, index=False)
    empty(Corv)
    report = ingest_result_file(path)
    assert (report.rejected, RejectedResult.select().count(), Corv.select().count()) == (N_ROWS, N_ROWS, 0)
    assert all("a float, can't hold an identifier of so many digits" in row.message for row in RejectedResult.select())


def test_columns_that_pandas_left_out_are_no_export(tmp_path: Path, database: peewee.Database) -> None:
    fill(Corv)
    frame = pd.read_parquet(write(Corv, tmp_path / "ours.parquet"))
    frame.drop(columns="teff").to_parquet(tmp_path / "theirs.parquet", index=False)
    with pytest.raises(UnrecognizedFileError, match="needs a mapping"):
        ingest_result_file(tmp_path / "theirs.parquet")
