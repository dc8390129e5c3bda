"""FITS tables: what is written is what was stored, whatever it was, and nobody meets half a file."""

import gzip
import itertools
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from astropy.table import Table
from astropy.units import UnitsWarning
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.base import database as bound_database
from astra_models.errors import DamagedProductError, OutputExistsError, SelectionError
from astra_models.fits.checksum import Checksum
from astra_models.fits.columns import FitsColumn
from astra_models.fits.text import escape, unescape
from astra_models.fits.verify import verify
from astra_models.fits.written_header import UNITS_BEYOND_FITS, fits_unit, table_cards
from astra_models.products.fits import file as fits_file
from astra_models.products.fits import rows as fits_rows
from astra_models.products.fits.file import FitsReport, FitsTable, write_fits
from astra_models.products.query import select_model
from astra_models.source import Source
from tests.conftest import own_models
from tests.everything import INT32, INT64, is_sqlite, row, store, table_of_everything, text
from tests.fits_readers import fitsverify, needs_fitsverify, opened, rows_of, without_padding

TOLD = {"V_ASTRA": ("0.9.0", "version")}
LONG = "A double, whose unit FITS doesn't know, and more; " * 2 + "end"


@pytest.fixture
def everything(database: peewee.Database) -> Iterator[Any]:
    """Give a table with a column of every type."""
    with table_of_everything() as model:
        yield model


def written(model: Any, path: Path, **options: Any) -> FitsReport:
    return write_fits(path, lambda: [FitsTable("ROWS", select_model(model))], TOLD, **options)


def expected(row: dict[str, Any]) -> dict[str, Any]:
    """What is to be read: '' is no text, what pads is gone, moments are text."""
    moment, numbers, blob = row["moment"], row["numbers"], row["blob"]
    return (
        row
        | {
            "label": row["label"] or None,
            "name": row["name"] or None,
            "blob": (blob or b"").rstrip(b"\0") or None,
            "numbers": None if numbers is None else without_padding(numbers),
            "moment": None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="microseconds"),
        }
        | {name: row[name] + 0.0 for name in ("single", "double") if row[name] == 0 and is_sqlite()}
    )


def exact(row: dict[str, Any]) -> dict[str, Any]:
    """Make values differ that are equal, but not the same: 0.0 and -0.0."""

    def differing(value: Any) -> Any:
        if isinstance(value, list):
            return [differing(each) for each in value]
        return value.hex() if isinstance(value, float) else value

    return {name: differing(value) for name, value in row.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(row, max_size=5), suffix=st.sampled_from(["fits", "fits.gz"]))
def test_every_value_is_read_back(everything: Any, tmp_path: Path, rows: list[dict[str, Any]], suffix: str) -> None:
    everything.delete().execute()
    for one in rows:
        store(everything, one)

    report = written(everything, tmp_path / f"rows.{suffix}", overwrite=True)

    assert report.rows == {"ROWS": len(rows)}
    with opened(report.path) as hdus:
        found = rows_of(hdus[1], lists=["numbers"])
        for one in found:
            del one["pk"]
        assert list(map(exact, found)) == [exact(expected(one)) for one in rows]
        assert hdus[0].header["V_ASTRA"] == "0.9.0"


EXTREMES = [
    {"whole": -INT32, "long": -INT64, "always": -INT64, "name": "", "double": 1e308, "single": 1e-45},
    {"whole": -INT32 + 1, "long": -INT64 + 1, "always": 0, "name": "é\\ ", "label": "", "double": float("inf")},
    {"whole": INT32 - 1, "long": INT64 - 1, "always": INT64 - 1, "name": "n", "label": "\n", "numbers": [1, 2.5]},
    {"always": -1, "name": " ", "blob": b"\0\xff", "yes": False, "moment": datetime(2026, 1, 1, tzinfo=UTC)},
]


@needs_fitsverify
@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_fitsverify_finds_nothing_wrong(everything: Any, tmp_path: Path, suffix: str) -> None:
    for one in EXTREMES:
        everything.create(**one)
    assert fitsverify(written(everything, tmp_path / f"rows.{suffix}").path) == ""


@needs_fitsverify
def test_a_table_without_rows_is_a_table(everything: Any, tmp_path: Path) -> None:
    report = written(everything, tmp_path / "rows.fits")
    assert fitsverify(report.path) == ""
    with opened(report.path) as hdus:
        assert len(hdus[1].data) == 0
        assert hdus[1].columns.names == [field.name for field in everything._meta.sorted_fields]


def test_null_has_a_value_that_the_column_does_not_use(everything: Any, tmp_path: Path) -> None:
    for one in EXTREMES:
        everything.create(**one)
    with opened(written(everything, tmp_path / "rows.fits").path) as hdus:
        columns = hdus[1].columns
        assert columns["whole"].null == -INT32 + 2
        assert columns["long"].null == -INT64 + 2
        assert columns["always"].null is None


def test_a_table_of_astropy_has_units_and_masks(everything: Any, tmp_path: Path) -> None:
    everything.create(whole=None, always=1, name="a", single=1.5, label=None)
    everything.create(whole=7, always=1, name="b", single=None, label="x")
    path = written(everything, tmp_path / "rows.fits").path
    with pytest.warns(UnitsWarning, match="'dex' did not parse as fits unit"):
        table = Table.read(path)
    assert str(table["single"].unit) == "km / s"
    assert table["whole"].mask.tolist() == [True, False]
    assert table["single"].mask.tolist() == [False, True]
    assert table["label"].mask.tolist() == [True, False]


def test_what_columns_are_is_in_the_header(everything: Any, tmp_path: Path) -> None:
    everything.create(always=1, name="a")
    with opened(written(everything, tmp_path / "rows.fits").path) as hdus:
        header = hdus[1].header
        number = hdus[1].columns.names.index("double") + 1
        assert header[f"TUNIT{number}"] == "dex"
        assert header[f"TCOMM{number}"] == everything.double.help_text.strip()
        assert 0 < len(header.comments[f"TTYPE{number}"]) <= 45
        assert everything.double.help_text.startswith(header.comments[f"TTYPE{number}"].removesuffix(" .."))
        assert "--- Everything ---" in list(header["COMMENT"])


def test_headings_stand_before_their_columns(database: peewee.Database, tmp_path: Path) -> None:
    with opened(written(Source, tmp_path / "sources.fits").path) as hdus:
        cards = [(card.keyword, card.value) for card in hdus[1].header.cards]
    place = cards.index(("COMMENT", "--- Astrometry ---"))
    assert cards[place + 1][1] == "ra"


def test_rows_of_production_are_read_value_by_value(
    everything: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is of another type than ours can't be sent in one block: it gives the same file."""
    for one in EXTREMES:
        everything.create(**one)
    expected = written(everything, tmp_path / "rows.fits")
    monkeypatch.setattr(fits_rows, "is_postgresql", lambda database: False)
    assert written(everything, tmp_path / "again.fits").sha256 == expected.sha256


def test_many_rows_in_several_blocks(database: peewee.Database, tmp_path: Path) -> None:
    Source.insert_many([{"sdss_id": i, "lead": f"{i:04d}"} for i in range(2500)]).execute()
    told: list[int] = []
    report = written(Source, tmp_path / "rows.fits", progress=told.append)
    assert told[-1] == 2500 and told == sorted(told) and len(told) > 1
    with opened(report.path) as hdus:
        assert hdus[1].data["sdss_id"].tolist() == list(range(2500))
        assert hdus[1].data["lead"].tolist() == [f"{i:04d}" for i in range(2500)]


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits_rows, "ROWS_PER_PART", 1)
    monkeypatch.setattr(fits_rows.os, "cpu_count", lambda: 4)


@pytest.mark.postgresql_only(reason="SQLite's rows are read by one connection")
def test_parts_read_at_once_make_the_same_file(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows of which the parts don't begin at full words of the checksum, and in an order that isn't that of the table.
    Source.insert_many([{"sdss_id": i, "lead": "abc"[: i % 4], "bl_flg": "x"} for i in range(1001)]).execute()
    Source.update(lead="longer").where(Source.sdss_id == 3).execute()
    whole = written(Source, tmp_path / "whole.fits")
    in_parts(monkeypatch)
    told: list[int] = []
    parts = written(Source, tmp_path / "parts.fits", progress=told.append)
    assert parts.sha256 == whole.sha256
    assert told[-1] == 1001 and told == sorted(told)


@pytest.mark.postgresql_only(reason="SQLite's rows are read by one connection")
def test_parts_see_one_moment_too(database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Source.insert_many([{"sdss_id": i} for i in range(10)]).execute()
    in_parts(monkeypatch)
    share_snapshot = fits_rows.share_snapshot

    def interrupted() -> str:
        name = share_snapshot()
        _write_elsewhere(database)
        return name

    monkeypatch.setattr(fits_rows, "share_snapshot", interrupted)
    assert written(Source, tmp_path / "rows.fits").rows == {"ROWS": 10}
    assert Source.select().count() == 11


@pytest.mark.postgresql_only(reason="SQLite's rows are read by one connection")
def test_what_a_transaction_has_not_committed_is_in_its_own_file(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch)
    with database.atomic():
        Source.insert_many([{"sdss_id": i} for i in range(10)]).execute()
        assert written(Source, tmp_path / "rows.fits").rows == {"ROWS": 10}


def test_all_tables_are_of_one_moment(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(database, peewee.SqliteDatabase) and database.database == ":memory:":
        pytest.skip("nobody else can write to a database in memory")
    Source.create(sdss_id=1)
    write_table = fits_file.write_table

    def interrupted(*arguments: Any) -> int:
        rows = write_table(*arguments)
        _write_elsewhere(database)
        return rows

    monkeypatch.setattr(fits_file, "write_table", interrupted)
    tables = [FitsTable("ONE", select_model(Source)), FitsTable("TWO", select_model(Source))]
    assert write_fits(tmp_path / "rows.fits", lambda: tables, TOLD).rows == {"ONE": 1, "TWO": 1}
    assert Source.select().count() == 3


def _write_elsewhere(database: Any) -> None:
    """Add a source by another connection."""
    import threading

    def add() -> None:
        Source.create(sdss_id=100 + Source.select().count())
        bound_database.close()

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()


def test_a_file_that_is_there_stays(everything: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.fits"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="is there already"):
        written(everything, path)
    assert path.read_text() == "mine"
    written(everything, path, overwrite=True)
    assert verify(path, 2)


def test_a_failure_leaves_nothing_behind(everything: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.fits"
    path.write_text("mine")
    monkeypatch.setattr(fits_file, "with_checksums", lambda cards, datasum: fits_file.BLOCK * b" ")
    with pytest.raises(DamagedProductError):
        written(everything, path, overwrite=True)
    assert os.listdir(tmp_path) == ["rows.fits"]
    assert path.read_text() == "mine"


def test_too_many_columns_are_refused(memory_database: peewee.Database, tmp_path: Path) -> None:
    selection = select_model(Source)
    selection.columns.extend(selection.columns * 8)
    with pytest.raises(SelectionError, match="a FITS table can have 999"):
        write_fits(tmp_path / "rows.fits", lambda: [FitsTable("WIDE", selection)], TOLD)


@pytest.mark.parametrize("place", [100, 5_000, -100, -5_000])
@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_damage_is_found(memory_database: peewee.Database, tmp_path: Path, place: int, suffix: str) -> None:
    Source.insert_many([{"sdss_id": i, "ra": i / 7} for i in range(30)]).execute()
    path = tmp_path / f"rows.{suffix}"
    written(Source, path)
    assert verify(path)
    content = bytearray(gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(DamagedProductError):
        verify(path)


@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_a_file_that_ends_early_is_found(memory_database: peewee.Database, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    written(Source, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DamagedProductError):
        verify(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content + b"\0" * 2880, "there is something after its last HDU"),
        (lambda content: content[:-1], "its last block is not whole"),
        (lambda content: content.replace(b"DATASUM =", b"DATASUMS="), "HDU 0 has no checksums; HDU 1 has no checksums"),
    ],
    ids=["more", "less", "without checksums"],
)
def test_what_other_files_may_have_ours_do_not(
    memory_database: peewee.Database, tmp_path: Path, change: Callable[[bytes], bytes], problem: str
) -> None:
    path = tmp_path / "rows.fits"
    Source.create(sdss_id=1)
    written(Source, path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedProductError, match=problem):
        verify(path)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.fits"
    flushed = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    written(Source, path)
    assert flushed == [(False, False), (True, True)]


@pytest.mark.parametrize("n_rows", [0, 1, 300])
def test_compressed_blocks_are_one_file(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    monkeypatch.setattr(fits_file, "COPIED_AT_ONCE", 10_000)
    Source.insert_many([{"sdss_id": i, "ra": i / 7} for i in range(n_rows)]).execute()
    plain = Path(written(Source, tmp_path / "rows.fits").path).read_bytes()
    packed = Path(written(Source, tmp_path / "rows.fits.gz").path).read_bytes()
    member = zlib.decompressobj(wbits=31)  # reads one member; what other readers stop after
    assert member.decompress(packed) == plain
    assert (member.eof, member.unused_data) == (True, b"")


def test_the_same_rows_give_the_same_bytes(everything: Any, tmp_path: Path) -> None:
    for one in EXTREMES:
        everything.create(**one)
    sums = {written(everything, tmp_path / f"{i}.fits.gz").sha256 for i in range(2)}
    assert len(sums) == 1


# ---- text, units, sums


@given(text)
def test_text_is_escaped_and_comes_back(value: str) -> None:
    written = escape(value)
    assert unescape(written) == value
    assert all(0x20 <= byte < 0x7F for byte in written)
    assert not written.endswith(b" ")


def test_plain_text_is_not_changed() -> None:
    assert escape("2M00000032+5737103") == b"2M00000032+5737103"


@given(st.binary(max_size=50), st.lists(st.integers(0, 50), max_size=5))
def test_the_sum_does_not_depend_on_the_pieces(data: bytes, cuts: list[int]) -> None:
    whole = Checksum()
    whole.update(data + bytes(-len(data) % 4))
    pieces = Checksum()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        pieces.update(data[start:end])
    assert pieces.value == whole.value


def test_fits_has_a_name_for_all_units_but_a_few() -> None:
    from astropy import units

    for model in own_models():
        for field in model._meta.sorted_fields:
            unit = getattr(field, "unit", None) or ""
            if unit not in UNITS_BEYOND_FITS:
                written = units.Unit(fits_unit(unit), format="fits", parse_strict="raise")
                assert written == units.Unit(unit), field


def test_no_card_is_cut(recwarn: pytest.WarningsRecorder) -> None:
    long = FitsColumn("a_name_of_sixty_characters_which_is_longer_than_any_that_we_have", "E", description="word " * 40)
    assert all(len(card) % 80 == 0 for card in table_cards("T", [long, FitsColumn("b", "J", null=-1)], 0))
    assert not recwarn.list


def test_the_whole_row_is_what_the_header_says() -> None:
    columns = [FitsColumn("a", "J"), FitsColumn("b", "A", 3), FitsColumn("c", "E", 4), FitsColumn("d", "L")]
    cards = table_cards("T", columns, 2)
    assert any(card.startswith("NAXIS1  =                   24") for card in cards)
    assert np.dtype([(column.name, column.dtype) for column in columns]).itemsize == 24
