"""Files that aren't what they seem: each is refused alone, with a reason, and nothing waits or grows for it."""

import gzip
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import peewee
import pytest
from astropy.io import fits
from astropy.table import Table
from spectrum_files import write_apstar, write_apvisit, write_mwm_visit, write_spec_full

from astra_models import configuration
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.configuration import file_limits, find_files
from astra_models.errors import (
    ConfigurationError,
    MissingFileError,
    MissingPixelsError,
    UnknownKindError,
    UnrecognizedFileError,
)
from astra_models.fits import door
from astra_models.fits.header import Header
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import ingest_result_file, ingest_spectra
from astra_models.ingest.spectra import recognise
from astra_models.ingest.spectra.recognise import read_spectrum_file, why_no_spectrum
from astra_models.ingest.tables.opening import SpectrumFileError, open_result_file
from astra_models.mwm import BossRestFrameVisitSpectrum

MAPPING = {"tables": {"Source": {"sdss_id": "id", "ra": "ra"}}}
STARS = Table({"id": [5, 6], "ra": [1.5, 2.5]})


def with_card(path: Path, keyword: str, value: str, nth: int = 0) -> Path:
    """Write a value over that of the `nth` card of a keyword."""
    content = bytearray(path.read_bytes())
    places = [found.start() for found in re.finditer(f"{keyword:8}=".encode(), content) if found.start() % 80 == 0]
    content[places[nth] : places[nth] + 80] = f"{keyword:8}= {value:>20}".encode("latin-1").ljust(80)
    path.write_bytes(content)
    return path


def reason(path: Path | str) -> str:
    """Ingest a file beside a good one, which goes in, and give the reason of its refusal."""
    good = write_apvisit(Path(path).parent / "good.fits")
    report = ingest_spectra([path, good])
    assert report.ingested == 1
    ((refused, why),) = report.refused
    assert refused == str(path)
    return why


# ---- what is no file


@pytest.fixture
def no_files(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give names of what isn't a regular file, each with what is said of it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link to a fifo").symlink_to(tmp_path / "fifo")
    (tmp_path / "zero.fits").symlink_to("/dev/zero")
    (tmp_path / "loop.fits").symlink_to(tmp_path / "loop.fits")
    (tmp_path / "nowhere.fits").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.fits").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        said = {"fifo": "FIFO", "link to a fifo": "FIFO", "zero.fits": "a device", "folder.fits": "a folder"}
        said |= {"loop.fits": "symbolic links", "nowhere.fits": "no such file", "socket": "it can't be opened"}
        yield {str(tmp_path / name): words for name, words in said.items()}


def test_what_is_no_file_is_refused_at_once(memory_database: peewee.Database, no_files: dict[str, str]) -> None:
    for path, says in no_files.items():
        assert says in reason(path)
        for mapping in (None, MAPPING):
            with pytest.raises(UnrecognizedFileError, match=re.escape(path)) as refused:
                open_result_file(path, mapping)
            assert says in str(refused.value)
        with pytest.raises(MissingPixelsError, match=re.escape(path)):
            assert BossVisitSpectrum(path=path).flux


def test_names_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(MissingFileError, match="it is no regular file, but a pipe"):
        find_files([str(tmp_path / "fifo")])


def test_a_name_that_is_no_text(database: peewee.Database, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.fits")
    shutil.move(write_apstar(tmp_path / "apStar.fits", 1), path)
    assert "half a character" in reason(path)


# ---- what readers raise


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(0), "it is damaged (SystemExit: 0); fetch it again"),
        (RecursionError(), "nested too deeply"),
        (MemoryError(), "needs more memory than there is"),
        (KeyError("\x1b[2J"), r"KeyError: '\x1b[2J'"),
        (OSError(5, "Input/output error"), "it can't be read: OSError: Input/output error"),
        (fits.verify.VerifyError("y" * 5000), "VerifyError: yyy"),
    ],
)
def test_whatever_a_reader_raises_refuses_its_file_alone(
    memory_database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, says: str
) -> None:
    path = write_apstar(tmp_path / "apStar.fits", 1)

    def raising(file: FitsFile) -> bool:
        if file.path == str(path):
            raise error
        return False

    kind = recognise.KINDS[0]._replace(recognises=raising)
    monkeypatch.setattr(recognise, "KINDS", (kind, *recognise.KINDS[1:]))
    why = reason(path)
    assert says in why and len(why) < 1100 and why.isprintable()


def test_the_user_can_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: FitsFile) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(recognise, "KINDS", (recognise.KINDS[0]._replace(recognises=interrupted),))
    with pytest.raises(KeyboardInterrupt):
        read_spectrum_file(write_apstar(tmp_path / "apStar.fits", 1))


def test_an_exception_without_text() -> None:
    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert door.shown(HostileError()) == "HostileError: (HostileError, whose text can't be made: RuntimeError)"


def test_reasons_are_shown_in_printable_characters(memory_database: peewee.Database, tmp_path: Path) -> None:
    path = with_card(write_apstar(tmp_path / "apStar.fits", 1), "NVISITS", "'\x1b[2J\x07'")
    with_card(path, "OBJID", "'\x1b]0;x\x07'")
    assert reason(path).isprintable()


# ---- what headers say


@pytest.mark.parametrize(
    ("keyword", "value", "says"),
    [
        ("NAXIS1", "1000000000000", "1000000000000"),
        ("NAXIS1", "9" * 60, "9999"),
        ("NAXIS1", "-1", "has -1 as NAXIS1"),
        ("NAXIS", "999", "999 as NAXIS"),
        ("NAXIS", "T", "has True as NAXIS"),
        ("BITPIX", "NAN", "unknown BITPIX nan"),
        ("PCOUNT", "1000000000000", "truncated in the"),
        ("GCOUNT", "INF", "has inf as GCOUNT"),
    ],
)
def test_numbers_that_an_image_cannot_have(
    memory_database: peewee.Database, tmp_path: Path, keyword: str, value: str, says: str
) -> None:
    path = write_apvisit(tmp_path / "apVisit.fits")
    assert says in reason(with_card(path, keyword, value, nth=0 if keyword in ("PCOUNT", "GCOUNT", "NAXIS1") else 1))


def test_more_visits_than_cards(memory_database: peewee.Database, tmp_path: Path) -> None:
    path = with_card(write_apstar(tmp_path / "apStar.fits"), "NVISITS", "1000000000000")
    assert "NVISITS is 1000000000000" in reason(path)


@pytest.mark.parametrize(
    ("keyword", "value", "says"),
    [
        ("NAXIS2", "1000000000000", "HDU 1 ends at|truncated in the (table|data) of HDU 1: with axes of"),
        ("NAXIS1", "0", "truncated in the table|NAXIS1 says 0"),
        ("TFIELDS", "1000000000", "has 1000000000 columns"),
        ("TFORM1", "'1000000000000K'", "columns of HDU 1 take"),
        ("TFORM1", "'1QD(1000)'", "columns of HDU 1 take"),
        ("TFORM1", "NAN", "unknown format 'nan'"),
    ],
)
def test_numbers_that_a_table_cannot_have(
    memory_database: peewee.Database, tmp_path: Path, keyword: str, value: str, says: str
) -> None:
    visit = {"mjd": 59_000, "fieldid": 1, "catalogid": 5, "run2d": "v6"}
    path = with_card(write_mwm_visit(tmp_path / "mwmVisit.fits", {1: [visit]}), keyword, value)
    assert re.search(says, reason(path))


def write_tables_without_bytes(path: Path, n_rows: int) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update({"SDSS_ID": 5, "V_ASTRA": "0.8.1"})
    primary.writeto(path)
    cards = ["XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", f"NAXIS2  = {n_rows}", "PCOUNT  = 0"]
    cards += [
        "GCOUNT  = 1",
        "TFIELDS = 2",
        "TTYPE1  = 'FLUX'",
        "TFORM1  = '0E'",
        "TTYPE2  = 'MJD'",
        "TFORM2  = '0J'",
        "END",
    ]
    table = b"".join(card.encode().ljust(80) for card in cards).ljust(2880)
    path.write_bytes(path.read_bytes() + 4 * table)
    return path


def test_rows_without_bytes(memory_database: peewee.Database, tmp_path: Path) -> None:
    path = write_tables_without_bytes(tmp_path / "mwmVisit.fits", 10**12)
    assert "1000000000000 rows (NAXIS2)" in reason(path)


def test_a_long_chain_of_continuations_is_read_in_one_go() -> None:
    cards = [b"LONG    = 'a&'", *[b"CONTINUE  '" + b"b" * 60 + b"&'"] * 70_000, b"END"]
    header = Header(b"".join(card.ljust(80) for card in cards))
    assert len(str(header["LONG"])) > 4_000_000


@pytest.mark.parametrize("date", ["'9999-12-31T23:59:59-12:00'", "'0001-01-01T00:00:00+14:00'", "'0001-01-01'"])
def test_dates_at_which_nobody_observed(database: peewee.Database, tmp_path: Path, date: str) -> None:
    ingest_spectra([with_card(write_apvisit(tmp_path / "apVisit.fits"), "DATE-OBS", date)])
    (row,) = ApogeeVisitSpectrum.select()
    assert row.date_obs is None and row.mjd == 56_587


# ---- sizes


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that makes a line of YAML the configuration of files."""

    def configure(line: str) -> None:
        (tmp_path / "astra.yml").write_text(f"files: {{{line}}}\n")
        monkeypatch.setenv("ASTRA_CONFIG_PATH", str(tmp_path / "astra.yml"))
        configuration._configured_limits.cache_clear()

    return configure


def test_the_largest_size_is_a_setting(
    memory_database: peewee.Database, tmp_path: Path, configured: Callable[[str], None]
) -> None:
    path = write_spec_full(tmp_path / "spec.fits")
    packed = tmp_path / "spec.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert file_limits().largest_spectrum == 1_000_000_000
    configured("largest_spectrum: 100 kB, largest_text_table: 20")
    for one in (path, packed):
        says = r"too large for the file of a spectrum: .* 100000 are allowed; .*`files: largest_spectrum`"
        assert re.search(says, str(why_no_spectrum(one)))
    STARS.write(tmp_path / "stars.csv")
    (tmp_path / "stars.csv").write_text((tmp_path / "stars.csv").read_text() + "7,3.5\n" * 10)
    with pytest.raises(UnrecognizedFileError, match="20 are allowed; make it a FITS table"):
        open_result_file(tmp_path / "stars.csv", MAPPING)


@pytest.mark.parametrize(
    "line", ["largest_spectrum: huge", "largest_spectrum: -1", "largest: 5", "largest_spectrum: true"]
)
def test_a_setting_that_is_no_size(line: str, configured: Callable[[str], None], tmp_path: Path) -> None:
    configured(line)
    with pytest.raises(ConfigurationError, match="files: "):
        read_spectrum_file(write_apstar(tmp_path / "apStar.fits", 1))


def test_a_spectrum_that_is_packed_well_goes_in(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "apStar.fits.gz"
    path.write_bytes(gzip.compress(write_apstar(tmp_path / "apStar.fits", 40).read_bytes(), 9))
    assert path.stat().st_size * 40 < (tmp_path / "apStar.fits").stat().st_size
    assert ingest_spectra([path]).ingested == 1
    spectrum = ApogeeCoaddedSpectrumInApStar.get()
    np.testing.assert_array_equal(spectrum.flux, fits.getdata(tmp_path / "apStar.fits", 1)[0])


def test_a_table_of_pixels_is_no_table_of_results(tmp_path: Path) -> None:
    columns = [fits.Column(name, "E", array=np.zeros(10)) for name in ("FLUX", "LOGLAM", "IVAR")]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "spec.fits")
    with pytest.raises(SpectrumFileError, match="a row per pixel"):
        open_result_file(tmp_path / "spec.fits")


# ---- pixels


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("NAXIS1", "1000000000000"),
        ("NAXIS2", "1000000000000"),
        ("NAXIS2", "-5"),
        ("TFORM1", "'4A      '"),
        ("TFORM1", "'PE(9)   '"),
        ("TFORM1", "'X'"),
        ("XTENSION", "NAN"),
        ("TSCAL1", "NAN"),
        ("TFIELDS", "1000000000"),
        ("tfields", "1000000000"),
        ("HIERARCH TFIELDS", "1000000000"),
        ("NAXIS", "1000000000"),
        ("BITPIX", "1.5"),
    ],
)
def test_pixels_of_a_file_that_was_damaged_later_are_missing(
    tmp_path: Path, keyword: str, value: str, packed: bool
) -> None:
    path = write_spec_full(tmp_path / "spec.fits", n_pixels=500)
    content = path.read_bytes()
    start = content.index(b"XTENSION")
    is_new = keyword in ("TSCAL1", "tfields", "HIERARCH TFIELDS")
    at = content.index(
        b"TFIELDS" if is_new and keyword != "TSCAL1" else b"EXTNAME" if is_new else f"{keyword:8}=".encode(), start
    )
    card = f"{keyword:8}= {value:>20}".encode().ljust(80)
    content = content[:at] + card + content[at + 80 :]
    path = tmp_path / ("damaged.fits.gz" if packed else "damaged.fits")
    path.write_bytes(gzip.compress(content) if packed else content)
    spectrum = BossVisitSpectrum(path=str(path))
    with pytest.raises(MissingPixelsError, match=re.escape(str(path))):
        assert spectrum.flux


def test_pixels_of_visits_that_are_not_there(tmp_path: Path) -> None:
    path = with_card(write_apstar(tmp_path / "apStar.fits"), "NVISITS", "1000000000000")
    row = ApogeeVisitSpectrumInApStar(path=str(path), plate="6561", mjd=56_581, fiber=131, reduction="")
    with pytest.raises(MissingPixelsError):
        assert row.flux
    path = write_tables_without_bytes(tmp_path / "mwmVisit.fits", 10**12)
    visit = BossRestFrameVisitSpectrum(path=str(path), telescope="apo25m", filetype="mwmVisit", mjd=59_000)
    with pytest.raises(MissingPixelsError):
        assert visit.flux


@pytest.mark.parametrize("keyword", ["ZNAXIS1", "ZTILE1"])
def test_a_compressed_image_that_claims_to_be_huge(tmp_path: Path, keyword: str) -> None:
    images = [np.ones((3, 8575), ">f4"), np.full((3, 8575), 0.5, ">f4"), np.zeros((3, 8575), ">i2")]
    hdus = [fits.CompImageHDU(image, compression_type="GZIP_1") for image in images]
    path = tmp_path / "apStar.fits"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    assert set(ApogeeCoaddedSpectrumInApStar(path=str(path)).flux) == {1}
    with_card(path, keyword, "10000000000")
    with pytest.raises(MissingPixelsError, match=f"10000000000.*{keyword[:-1]}|{keyword[:-1]}.*damaged"):
        assert ApogeeCoaddedSpectrumInApStar(path=str(path)).flux


def test_pixels_of_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    whole = write_spec_full(tmp_path / "spec.fits", n_pixels=3000).read_bytes()
    path = tmp_path / "shrinks.fits"
    path.write_bytes(whole)
    done = threading.Event()

    def shrink_and_grow() -> None:
        while not done.is_set():
            os.truncate(path, 30_000)
            path.write_bytes(whole)

    thread = threading.Thread(target=shrink_and_grow)
    thread.start()
    try:
        for _ in range(300):
            try:
                assert BossVisitSpectrum(path=str(path)).flux.shape == (3000,)
            except MissingPixelsError:
                continue
    finally:
        done.set()
        thread.join()


# ---- tables that astropy reads


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", b"PK\x03\x04", "packed by zip"),
        ("t.vot", b'<VOTABLE><TABLE nrows="4000000000">', "says nrows is 4000000000"),
        ("t.vot", b'<VOTABLE><FIELD datatype="char" arraysize="99999999x99">', "says arraysize is"),
        ("t.vot", b'<VOTABLE><BINARY><STREAM encoding="base64" href="file:///etc/passwd"/>', "in another file"),
        ("t.vot", b"<VOTABLE>" + b'<FIELD name="a" datatype="int"/>' * 2000, "more than 1000 FIELDs"),
        ("t.csv", b",".join(b"a" for _ in range(20_000)), "to have 20000 columns"),
        ("t.ecsv", b"# %ECSV 1.0\n" + b"# - {name: a, datatype: int64}\n" * 10_000, "its ECSV header has"),
        ("t.ecsv", b"# %ECSV 1.0\n# ---\n# " + b"[" * 5000 + b"\na\n1\n", "astropy can't read it|nested too deeply"),
        ("t.csv.gz", gzip.compress(b"id,ra\n" + b"1,2\n" * 30_000_000, 1), "over 100 times its size"),
    ],
)
def test_tables_that_claim_too_much(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnrecognizedFileError, match=says):
        open_result_file(tmp_path / name, MAPPING)


def test_a_time_that_no_database_can_give_back_is_a_problem_of_its_row(
    database: peewee.Database, tmp_path: Path
) -> None:
    times = ["2020-01-01T00:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59"]
    table = Table({"id": [5, 6, 7], "when": times})
    table.write(tmp_path / "t.csv")
    visit = {
        name: {"value": value} for name, value in (("release", "x"), ("apred", "x"), ("plate", "1"), ("field", "f"))
    }
    visit |= {"mjd": {"value": 1}, "fiber": "id", "telescope": {"value": "apo25m"}, "filetype": {"value": "apVisit"}}
    visit |= {"prefix": {"value": ""}, "reduction": {"value": ""}, "date_obs": "when"}
    mapping = {"tables": {"Source": {"sdss_id": "id"}, "ApogeeVisitSpectrum": visit}}
    report = ingest_result_file(tmp_path / "t.csv", mapping=mapping)
    assert (report.rows, report.rejected) == (3, 2)
    assert [row.date_obs.year for row in ApogeeVisitSpectrum.select()] == [2020]


def test_unknown_files_are_told_from_damaged_ones(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(5))]).writeto(tmp_path / "other.fits")
    with pytest.raises(UnknownKindError):
        read_spectrum_file(tmp_path / "other.fits")
