"""Files of spectra that are known: which are opened again, and which aren't."""

import hashlib
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spectrum_files import write_apstar, write_apvisit

from astra_models import spectrum_file
from astra_models.apogee import ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import IngestReport, ingest_spectra
from astra_models.ingest.spectra import known
from astra_models.ingest.spectra.fingerprint import PIECE, fingerprint
from astra_models.ingest.spectra.recognise import read_spectrum_file
from astra_models.mwm import BossCombinedSpectrum
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.spectrum_file import SpectrumContent, SpectrumFile, contents_of
from astra_orchestration.sample import SampleSummary, make_sample

OPENED: list[str] = []


def _note_what_is_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith(".fits"):
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note_what_is_opened)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return make_sample(tmp_path_factory.mktemp("sample"), stars=4, seed=3)


@pytest.fixture
def files(sample: SampleSummary, tmp_path: Path) -> list[str]:
    """Give a few files that a test may change: visits, a co-add, and one that is broken on purpose."""
    broken = [file.path for file in sample.broken]
    good = [path for path in sample.files if path not in broken]
    some = [
        *[path for path in good if "/visits/" in path][:3],
        *[path for path in good if "/stars/" in path][:1],
        broken[0],
    ]
    return [str(shutil.copy(path, tmp_path / Path(path).name)) for path in some]


def next_night(files: list[str], **options: Any) -> tuple[IngestReport, list[str]]:
    """Ingest files; give the report, and which of them were opened."""
    OPENED.clear()
    report = ingest_spectra(files, **options)
    return report, sorted(set(OPENED))


def rewrite_pixels(path: str, keep_time: bool = False) -> None:
    """Change one byte of a file's data, and nothing of its headers or size."""
    times = os.stat(path)
    place = next(hdu.data for hdu in FitsFile(path).hdus if hdu.size)
    with open(path, "r+b") as file:
        file.seek(place + 1)
        byte = file.read(1)[0]
        file.seek(place + 1)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + (0 if keep_time else 1)))


def contents() -> dict[int, int]:
    return contents_of([row.pk for row in Spectrum.select()])


# ---- what isn't opened


def test_the_next_night_opens_nothing_and_says_the_same(database: peewee.Database, files: list[str]) -> None:
    first = ingest_spectra(files)
    assert (first.known, first.refused_before, len(first.refused)) == (0, 0, 1)

    report, opened = next_night(files)

    assert opened == []
    assert (report.files, report.ingested, report.known, report.refused_before) == (5, 4, 4, 1)
    assert report.refused == first.refused
    assert report.is_unchanged
    assert {name: counts.unchanged for name, counts in report.tables.items()} == {
        name: counts.inserted for name, counts in first.tables.items()
    }


def test_a_new_file_is_read_among_known_ones(database: peewee.Database, files: list[str], tmp_path: Path) -> None:
    ingest_spectra(files[:2])
    report, opened = next_night(files[:3])
    assert opened == [files[2]]
    assert (report.known, report.files, report.tables["boss_visit_spectrum"].inserted) == (2, 3, 1)


def test_a_remark_on_a_file_is_made_each_night(database: peewee.Database, tmp_path: Path) -> None:
    path = str(write_apvisit(tmp_path / "apVisit.fits", OBJID="", RA=1.0))
    first = ingest_spectra([path])
    report, opened = next_night([path])
    assert opened == []
    assert report.notes == first.notes


@pytest.mark.parametrize("n_visits", [1, 3])
def test_every_spectrum_of_a_file_has_its_content(database: peewee.Database, tmp_path: Path, n_visits: int) -> None:
    path = write_apstar(tmp_path / "star.fits", n_visits=n_visits)
    ingest_spectra([path])
    [file] = SpectrumFile.select()
    assert (file.path, file.spectra, file.size, file.refused) == (str(path), n_visits + 1, path.stat().st_size, None)
    assert file.mtime_ns == path.stat().st_mtime_ns
    assert contents() == dict.fromkeys([row.pk for row in Spectrum.select()], fingerprint(path))
    assert len(contents()) == n_visits + 1
    assert next_night([str(path)])[1] == []


# ---- what is


def test_pixels_rewritten_under_the_same_header_are_noticed(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra(files)
    before = contents()
    [changed] = [row.spectrum_pk for row in BossVisitSpectrum.select().where(BossVisitSpectrum.path == files[0])]

    rewrite_pixels(files[0])
    report, opened = next_night(files)

    assert opened == [files[0]]
    assert report.is_unchanged  # no column says anything else
    after = contents()
    assert {key for key in before if before[key] != after[key]} == {changed}
    assert next_night(files)[1] == []


def test_a_file_that_was_only_touched_keeps_its_content(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra(files)
    before = contents()
    os.utime(files[0], ns=(0, 1))
    assert next_night(files)[1] == [files[0]]
    assert contents() == before
    assert next_night(files)[1] == []


def test_verify_reads_every_byte_and_notices_what_time_and_size_hide(
    database: peewee.Database, files: list[str]
) -> None:
    ingest_spectra(files)
    before = contents()
    rewrite_pixels(files[0], keep_time=True)
    assert next_night(files)[1] == []

    report, opened = next_night(files, verify=True)

    assert opened == sorted(files)
    assert report.changed == [(files[0], known.BYTES_CHANGED)]
    assert report.known == 3
    assert sum(before[key] != content for key, content in contents().items()) == 1
    assert next_night(files, verify=True)[0].changed == []


def test_again_reads_all(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra(files)
    report, opened = next_night(files, again=True)
    assert opened == sorted(files)
    assert (report.known, report.refused_before, len(report.refused)) == (0, 0, 1)


def test_a_reader_that_reads_more_reads_again_once(
    database: peewee.Database, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_spectra(files)
    monkeypatch.setattr(known, "READER", known.READER + 1)
    assert next_night(files)[1] == sorted(files)
    assert next_night(files)[1] == []
    monkeypatch.setattr(known, "READER", known.READER - 1)  # an older Astra reads less
    assert next_night(files[:4])[1] == []


def test_a_refused_file_is_tried_again_by_another_version(
    database: peewee.Database, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_spectra(files)
    monkeypatch.setenv("ASTRA_VERSION", "99.0.0")
    report, opened = next_night(files)
    assert opened == [files[4]]
    assert (report.known, report.refused_before, len(report.refused)) == (4, 0, 1)
    assert next_night(files)[0].refused_before == 1


def test_a_mended_file_is_ingested(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra([files[4]])
    shutil.copy(files[0], files[4])
    report, _ = next_night([files[4]])
    assert (report.refused, report.tables["boss_visit_spectrum"].inserted) == ([], 1)


def test_a_file_that_gets_damaged_is_refused_and_its_spectra_stay(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra(files[:1])
    Path(files[0]).write_bytes(b"SIMPLE  =")
    assert len(next_night(files[:1])[0].refused) == 1
    report, opened = next_night(files[:1])
    assert (opened, len(report.refused)) == ([], 1)
    assert BossVisitSpectrum.select().count() == 1
    assert len(contents()) == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that root can't read")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_cannot_be_read_now_is_tried_again(database: peewee.Database) -> None:
    path = "/proc/self/mem"  # can be opened, and gives EIO, also to root
    assert stat.S_ISREG(os.stat(path).st_mode)
    first = ingest_spectra([path])
    assert len(first.refused) == 1
    report = ingest_spectra([path])
    assert (len(report.refused), report.refused_before) == (1, 0)
    assert SpectrumFile.select().count() == 0


def test_spectra_that_were_deleted_come_back(database: peewee.Database, files: list[str]) -> None:
    ingest_spectra(files)
    BossVisitSpectrum.delete().where(BossVisitSpectrum.path == files[1]).execute()
    report, opened = next_night(files)
    assert opened == [files[1]]
    assert report.tables["boss_visit_spectrum"].inserted == 1

    [coadd] = BossCombinedSpectrum.select()
    coadd.delete_instance()
    Spectrum.delete().where(Spectrum.pk == coadd.spectrum_pk).execute()
    assert len(next_night(files)[1]) == 1
    assert next_night(files)[1] == []


def test_of_two_copies_both_are_known(database: peewee.Database, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy = str(shutil.copy(files[0], tmp_path / "copy"))
    for paths in ([files[0]], [copy]):
        ingest_spectra(paths)
    assert next_night([files[0], copy])[1] == []
    assert BossVisitSpectrum.get().path == copy
    assert {file.path: file.spectra for file in SpectrumFile.select()} == {files[0]: 0, copy: 1}
    ingest_spectra([copy, files[0]], again=True)
    assert next_night([files[0], copy])[1] == []


def test_a_star_is_read_again_when_its_visits_come(database: peewee.Database, tmp_path: Path) -> None:
    star = str(write_apstar(tmp_path / "apStar.fits", apred="r6", FIELD="120-45"))
    ingest_spectra([star])
    assert next_night([star])[1] == []
    other = str(write_apvisit(tmp_path / "other.fits", PLATE="1", V_APRED="r6"))
    ingest_spectra([other])
    assert next_night([star])[1] == []  # a visit, and none of its own

    visit = str(write_apvisit(tmp_path / "visit.fits", MJD5=56581, FIBERID=131, V_APRED="r6"))
    ingest_spectra([visit])
    report, opened = next_night([star])

    of_visit = ApogeeVisitSpectrum.get(ApogeeVisitSpectrum.path == visit).spectrum_pk
    assert opened == [star]
    assert report.tables["apogee_visit_spectrum_in_ap_star"].updated == 1
    linked = [row.drp_spectrum_pk for row in ApogeeVisitSpectrumInApStar.select() if row.drp_spectrum_pk]
    assert linked == [of_visit]
    assert next_night([star])[1] == []


def test_a_spectrum_that_its_file_lost_belongs_to_none(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "apStar.fits"
    ingest_spectra([write_apstar(path, n_visits=3)])
    write_apstar(path, n_visits=2)
    os.utime(path, ns=(0, 5))
    ingest_spectra([path])
    assert SpectrumContent.select().where(SpectrumContent.file_pk.is_null()).count() == 1
    assert SpectrumFile.get().spectra == 3
    assert next_night([str(path)])[1] == []


# ---- what can't be remembered harms nothing


def test_without_the_tables_all_is_as_before(database: peewee.Database, files: list[str]) -> None:
    SpectrumContent.drop_table()
    SpectrumFile.drop_table()
    first = ingest_spectra(files)
    assert first.tables["boss_visit_spectrum"].inserted == 3
    report, opened = next_night(files)
    assert opened == sorted(files)
    assert (report.known, report.refused_before, report.refused) == (0, 0, first.refused)
    assert report.tables["boss_visit_spectrum"].unchanged == 3
    assert not spectrum_file.keeps_contents()
    assert contents_of([1]) == {}


@pytest.mark.parametrize("name", ["n" * 200, "a\udcffb", "quote'\"\\", "{'a': 1}", "percent%s"])
def test_names_of_any_kind(database: peewee.Database, files: list[str], tmp_path: Path, name: str) -> None:
    path = str(shutil.copy(files[0], tmp_path / f"{name}.fits"))
    broken = str(tmp_path / f"{name}-broken.fits")
    Path(broken).write_bytes(b"no FITS \0 \xff")
    first = ingest_spectra([files[1], path, broken])
    again = ingest_spectra([files[1], path, broken])
    assert first.refused == again.refused
    assert BossVisitSpectrum.select().count() == first.ingested
    assert again.known == first.ingested


def test_a_pipe_is_not_waited_for_and_not_remembered(database: peewee.Database, files: list[str]) -> None:
    assert known.KnownFiles(()).look_at(["/dev/null", files[0]]).unread == ["/dev/null", files[0]]
    ingest_spectra(["/dev/null"])
    assert SpectrumFile.select().count() == 0


def test_what_is_known_and_the_spectra_are_written_together(
    database: peewee.Database, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise peewee.DataError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(known, "_upsert", fails)
        with pytest.raises(peewee.DataError):
            ingest_spectra(files)
    assert BossVisitSpectrum.select().count() == Source.select().count() == 0
    assert ingest_spectra(files).known == 0


# ---- the reader's revision


def test_the_revision_of_the_reader_is_that_of_what_it_reads(tmp_path: Path, sample: SampleSummary) -> None:
    """If this fails, more or less is read of a file: add 1 to `known.READER`, and put what is read here."""
    stars = write_apstar(tmp_path / "a.fits"), write_apvisit(tmp_path / "b.fits")
    columns: set[str] = set()
    for path in (*sample.files, *map(str, stars)):
        if path not in [file.path for file in sample.broken]:
            content = read_spectrum_file(path)
            columns |= {f"source.{name}" for name in content.source or ()}
            columns |= {f"{model._meta.table_name}.{name}" for model, values in content.spectra for name in values}
    digest = hashlib.sha256(" ".join(sorted(columns)).encode()).hexdigest()[:12]
    assert {known.READER: digest} == {2: "c8fd907546e1"}


# ---- fingerprints


@given(st.binary(max_size=64), st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_changes_the_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "some"
    path.write_bytes(content)
    before = fingerprint(path)
    assert fingerprint(path) == before
    assert -(2**63) <= before < 2**63
    path.write_bytes(content + b"\0")
    assert fingerprint(path) != before
    if content:
        place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
        other = bytearray(content)
        other[place] ^= 1 << bit
        path.write_bytes(other)
        assert fingerprint(path) != before


def test_pixels_that_change_places_or_signs_change_the_fingerprint(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).normal(size=PIECE // 4).astype(">f4")  # more than a piece with what follows
    path = tmp_path / "pixels"
    seen = set()
    for changed in (pixels, pixels[::-1], -pixels, np.roll(pixels, 1), np.roll(pixels, PIECE // 8), pixels.byteswap()):
        path.write_bytes(changed.tobytes() + b"and more" * 1000)
        seen.add(fingerprint(path))
    assert len(seen) == 6
    path.write_bytes(b"")
    assert fingerprint(path) not in seen


def test_the_fingerprint_is_the_same_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "some"
    path.write_bytes(bytes(range(251)) * 5000)
    assert fingerprint(path) == EXPECTED


EXPECTED = -609665302137836397
