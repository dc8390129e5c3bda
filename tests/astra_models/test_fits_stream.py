"""Binary tables of FITS files: as astropy reads them, in bounded memory, and never a damaged one taken for whole."""

import gzip
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.errors import UnrecognizedFileError
from astra_models.fits.byte_stream import ByteStream
from astra_models.fits.stream import NotFitsError, read_rows, scan

SEED = st.integers(0, 2**32 - 1)
N_ROWS = 57


def make_columns(seed: int, n_rows: int) -> list[fits.Column]:
    """A column of every kind that FITS has and the survey uses."""
    random = np.random.default_rng(seed)
    texts = np.array(["", "a", " b", "cc ", "ddd"])[random.integers(0, 5, n_rows)]
    return [
        fits.Column("logical", "L", array=random.integers(0, 2, n_rows).astype(bool)),
        fits.Column("bits", "11X", array=random.integers(0, 2, (n_rows, 11)).astype(bool)),
        fits.Column("byte", "B", array=random.integers(0, 256, n_rows).astype(np.uint8)),
        fits.Column("bytes", "5B", array=random.integers(0, 256, (n_rows, 5)).astype(np.uint8)),
        fits.Column("short", "I", array=random.integers(-(2**15), 2**15, n_rows).astype(np.int16)),
        fits.Column("unsigned_short", "I", bzero=2**15, array=random.integers(0, 2**16, n_rows).astype(np.uint16)),
        fits.Column("long", "J", array=random.integers(-(2**31), 2**31, n_rows).astype(np.int32)),
        fits.Column("unsigned_long", "J", bzero=2**31, array=random.integers(0, 2**32, n_rows).astype(np.uint32)),
        fits.Column("huge", "K", array=random.integers(-(2**63), 2**63 - 1, n_rows)),
        fits.Column("unsigned", "K", bzero=2**63, array=random.integers(0, 2**64, n_rows, np.uint64)),
        fits.Column("single", "E", array=random.normal(size=n_rows).astype(np.float32)),
        fits.Column("double", "D", array=random.normal(size=n_rows)),
        fits.Column("vector", "3E", array=random.normal(size=(n_rows, 3)).astype(np.float32)),
        fits.Column("matrix", "6D", dim="(3,2)", array=random.normal(size=(n_rows, 2, 3))),
        fits.Column("nothing", "0E", array=np.zeros((n_rows, 0), np.float32)),
        fits.Column("text", "4A", array=texts),
    ]


def write(path: Path, columns: list[fits.Column], **options: Any) -> Path:
    table = fits.BinTableHDU.from_columns(columns, name="T")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, checksum=True, overwrite=True, **options)
    return path


def read(path: Path, number: int = 0, n_rows: int = 10) -> dict[str, np.ndarray]:
    file = scan(str(path))
    assert file.problems == []
    table = file.tables[number]
    blocks = [raw for _, raw in read_rows(file, table, n_rows)]
    whole = np.concatenate(blocks) if blocks else table.first_row[:0]
    return {c.name: c.values(whole[str(c.number)]) for c in table.columns if c.size and not c.unreadable}


@given(seed=SEED, n_rows=st.integers(0, N_ROWS), at_once=st.integers(1, 60), suffix=st.sampled_from(["", ".gz"]))
@settings(max_examples=25, deadline=None)
def test_values_are_those_that_astropy_reads(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_rows: int, at_once: int, suffix: str
) -> None:
    path = write(tmp_path_factory.mktemp("fits") / f"table.fits{suffix}", make_columns(seed, n_rows))
    ours = read(path, n_rows=at_once)
    with fits.open(path, checksum=True) as hdus:
        theirs = hdus[1].data
        assert set(ours) == set(theirs.names) - {"nothing"}
        for name in set(ours) - {"bits", "text"}:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
            assert ours[name].dtype.isnative and ours[name].flags.c_contiguous
        np.testing.assert_array_equal(np.unpackbits(ours["bits"], axis=1)[:, :11], theirs["bits"])
        assert [text.decode().rstrip(" ") for text in ours["text"].tolist()] == list(theirs["text"])


def test_scaled_and_null_integers(tmp_path: Path) -> None:
    path = tmp_path / "table.fits"
    columns = [
        fits.Column("scaled", "I", array=np.array([0, 3, -2])),
        fits.Column("null", "J", null=-7, array=np.array([1, -7, -1])),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    for keyword, value in (("TSCAL1", 0.5), ("TZERO1", 10)):
        fits.setval(path, keyword, value=value, ext=1)
    ours = read(path)
    assert ours["scaled"].tolist() == [10.0, 11.5, 9.0]
    assert ours["null"].tolist() == [1, None, -1]


def test_logical_values_that_are_neither(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", [fits.Column("logical", "L", array=np.array([True, False, True]))])
    content = bytearray(path.read_bytes())
    start = len(content) - 2880
    content[start : start + 3] = b"\0FT"
    path.write_bytes(content)
    file = scan(str(path))
    (_, raw), *_ = read_rows(file, file.tables[0], 10)
    assert file.tables[0].columns[0].values(raw["1"]).tolist() == [None, False, True]


def test_arrays_of_variable_length_are_named_and_passed_over(tmp_path: Path) -> None:
    lists = np.array([np.arange(2.0), np.arange(5.0)], dtype=object)
    columns = [fits.Column("lists", "PD()", array=lists), fits.Column("after", "J", array=np.array([7, 8]))]
    path = write(tmp_path / "table.fits", columns)
    assert read(path)["after"].tolist() == [7, 8]
    assert scan(str(path)).tables[0].columns[0].unreadable == "an array of variable length, which is not read"


def test_every_table_is_found_with_its_rows(tmp_path: Path) -> None:
    numbers = [np.arange(n) for n in (0, 40_000, 3)]
    tables = [fits.BinTableHDU.from_columns([fits.Column("n", "J", array=some)]) for some in numbers]
    image = fits.ImageHDU(np.zeros((10, 10)))
    path = tmp_path / "tables.fits.gz"
    fits.HDUList([fits.PrimaryHDU(), tables[0], image, *tables[1:]]).writeto(path, checksum=True)
    file = scan(str(path))
    assert [(table.number, table.n_rows) for table in file.tables] == [(1, 0), (3, 40_000), (4, 3)]
    assert [len(table.first_row) for table in file.tables] == [0, 1, 1]
    for number in (2, 1, 0):  # in any order: each is read from where it begins
        assert read(path, number, 1000).get("n", np.arange(0)).tolist() == numbers[number].tolist()


def test_a_file_of_several_gzip_members(tmp_path: Path) -> None:
    plain = write(tmp_path / "table.fits", make_columns(1, N_ROWS))
    content = plain.read_bytes()
    path = tmp_path / "table.fits.gz"
    path.write_bytes(b"".join(gzip.compress(content[i : i + 5000]) for i in range(0, len(content), 5000)) + b"\0" * 99)
    assert read(path)["huge"].tolist() == read(plain)["huge"].tolist()


def test_what_stands_after_the_last_hdu_is_no_hdu(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", make_columns(1, N_ROWS))
    path.write_bytes(path.read_bytes() + b"\0" * 2880)
    assert len(read(path)["huge"]) == N_ROWS


# ---- damage


def test_checksums_are_verified(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", make_columns(2, N_ROWS))
    content = bytearray(path.read_bytes())
    content[-2880] ^= 1
    path.write_bytes(content)
    (problem,) = scan(str(path)).problems
    assert problem.startswith("the checksum of the data of HDU 1 is wrong: DATASUM says ")


def test_a_changed_header_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", make_columns(2, N_ROWS))
    path.write_bytes(path.read_bytes().replace(b"'double  '", b"'trouble '"))
    assert scan(str(path)).problems == [
        "the checksum of HDU 1 is wrong: its header is not the one that CHECKSUM was made of"
    ]


def test_without_checksums_nothing_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "table.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(make_columns(3, 4))]).writeto(path)
    assert scan(str(path)).problems == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_truncation_is_told_with_what_is_missing(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(0)
    path = write(tmp_path / f"table.fits{suffix}", [fits.Column("n", "D", array=random.normal(size=50_000))])
    path.write_bytes(path.read_bytes()[:200_000])
    file = scan(str(path))
    (problem,) = file.problems
    assert problem.startswith("it is truncated in HDU 1: 400000 bytes of data are expected and ")
    table = file.tables[0]
    assert 0 < table.n_rows < 50_000
    rows = np.concatenate([raw for _, raw in read_rows(file, table, 1000)])
    assert len(rows) == table.n_rows
    assert rows["1"].tolist() == np.random.default_rng(0).normal(size=50_000)[: table.n_rows].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"SIMPLE  =                    T".ljust(2880), "it is truncated in the header of HDU 0"),
        (b"SIMPLE  =                    T".ljust(100), "it is truncated in the header of HDU 0"),
        (gzip.compress(b"SIMPLE  =  ".ljust(2880))[:-9], "its gzip data end before they are complete"),
        (gzip.compress(b"x" * 9000)[:40] + b"oops" * 20, "its gzip data are damaged"),
    ],
    ids=["empty", "no END", "cut header", "cut gzip", "damaged gzip"],  # gzip's own bytes hold the time
)
def test_what_can_not_be_read_at_all(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(UnrecognizedFileError, match=message):
        scan(str(path))


def test_a_wrong_gzip_checksum_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits.gz", make_columns(2, N_ROWS))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnrecognizedFileError, match="gzip data are damaged"):
        scan(str(path))


def test_no_fits_file_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(NotFitsError, match="doesn't begin with SIMPLE"):
        scan(str(path))
    with pytest.raises(UnrecognizedFileError, match="no such file"):
        scan(str(tmp_path / "none.fits"))
    with pytest.raises(UnrecognizedFileError, match="it is a folder"):
        scan(str(tmp_path))


def test_columns_that_do_not_fill_the_row(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", [fits.Column("n", "J", array=np.arange(4))])
    path.write_bytes(path.read_bytes().replace(b"TFORM1  = 'J ", b"TFORM1  = 'I "))
    with pytest.raises(UnrecognizedFileError, match="take 2 bytes of a row, but NAXIS1 says 4"):
        scan(str(path))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits", [fits.Column("n", "D", array=np.arange(100_000.0))])
    file = scan(str(path))
    path.write_bytes(path.read_bytes()[:300_000])
    with pytest.raises(UnrecognizedFileError, match="has become shorter"):
        list(read_rows(file, file.tables[0], 1000))


# ---- bounds


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = write(tmp_path / "table.fits.gz", [fits.Column("n", "100D", array=random.normal(size=(40_000, 100)))])
    scan(str(path))  # once, for what is imported
    tracemalloc.start()
    try:
        file = scan(str(path))
        n_rows = sum(len(raw) for _, raw in read_rows(file, file.tables[0], 1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_rows == 40_000
    assert peak < 12e6  # of 32 MB


def test_highly_compressed_data_are_not_unpacked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes(100_000_000), 9))
    with ByteStream(str(path)) as stream:
        tracemalloc.start()
        try:
            total = 0
            while piece := stream.read_some(1 << 20):
                total += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (total, peak < 12e6) == (100_000_000, True)


def test_reading_that_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    path = write(tmp_path / "table.fits.gz", [fits.Column("n", "D", array=np.arange(100_000.0))])
    file = scan(str(path))
    rows = read_rows(file, file.tables[0], 1000)
    next(rows)
    rows.close()  # a file left open would be a ResourceWarning, which is an error
