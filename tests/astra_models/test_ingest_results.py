"""Result files into the database: once each, whatever happens, with an account of every row."""

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.bossnet import BossNet
from astra_models.errors import UnrecognizedFileError
from astra_models.fits.columns import FitsColumn
from astra_models.ingest import ingest_result_file
from astra_models.ingest.rows import side_by_side
from astra_models.ingest.tables import files as results
from astra_models.ingest.tables import values as result_values
from astra_models.ingested import IngestedFile
from astra_models.mwm import BossCombinedSpectrum
from astra_models.rejected import RejectedResult, payload_from_json
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.the_payne import ThePayne
from astra_orchestration.sample.summary_file import write_result_file

pytestmark = pytest.mark.long_on_each

N_ROWS = 250


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "VALUES_PER_CHUNK", 0)  # a hundred rows at a time


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_result_file(tmp_path / "astraAllStarApogeeNet-0.6.0.fits.gz", ApogeeNet, N_ROWS, style="dr19")


def n_rows() -> list[int]:
    return [model.select().count() for model in (Source, Spectrum, ApogeeCoaddedSpectrumInApStar, ApogeeNet)]


def changing(name: str, places: list[int], value: Any) -> Any:
    """Give a function that changes a column of some rows as the file is written."""

    def change(rows: np.ndarray, first: int) -> None:
        for place in places:
            rows[name][place] = value

    return change


def without_identifiers(place: int) -> Any:
    """Give a function that takes all identifiers from a row as the file is written."""

    def change(rows: np.ndarray, first: int) -> None:
        rows["sdss4_apogee_id"][place] = ""
        for name in ("sdss_id", "gaia_dr2_source_id", "gaia_dr3_source_id", "catalogid"):
            rows[name][place] = -1

    return change


def test_a_file_becomes_sources_spectra_and_results(database: peewee.Database, file: Path) -> None:
    report = ingest_result_file(file, run_id="a run")
    assert n_rows() == [N_ROWS] * 4
    assert report.kind == "astraAllStarApogeeNet"
    assert (report.rows, report.rejected, report.counts()) == (N_ROWS, 0, {"inserted": N_ROWS})
    row = IngestedFile.get()
    assert (row.name, row.size, row.rows, row.inserted) == (file.name, file.stat().st_size, N_ROWS, N_ROWS)
    assert (row.v_astra, row.run_id, len(row.sha256)) == (6000, "a run", 64)
    assert ApogeeNet.select().join(Source).where(Source.pk == ApogeeNet.source_pk).count() == N_ROWS


def test_the_same_file_again_writes_nothing_and_says_so(database: peewee.Database, file: Path) -> None:
    ingest_result_file(file)
    before = [row.modified for row in ApogeeNet.select().order_by(ApogeeNet.task_pk)]
    report = ingest_result_file(file.rename(file.with_name("another name.fits.gz")))
    assert report.known
    assert report.tables == {}
    assert IngestedFile.select().count() == 1
    again = ingest_result_file(file.with_name("another name.fits.gz"), again=True)
    assert (again.known, again.counts()) == (False, {"unchanged": N_ROWS})
    assert [row.modified for row in ApogeeNet.select().order_by(ApogeeNet.task_pk)] == before


def test_other_contents_under_the_same_name_are_an_update_and_said_to_be(database: peewee.Database, file: Path) -> None:
    ingest_result_file(file)
    write_result_file(file, ApogeeNet, N_ROWS, style="dr19", change=changing("teff", [1, 7], 1234.0))
    report = ingest_result_file(file)
    assert report.replaces
    assert report.counts() == {"updated": 2, "unchanged": N_ROWS - 2}
    assert ApogeeNet.select().where(ApogeeNet.teff == 1234).count() == 2
    assert n_rows() == [N_ROWS] * 4


def test_a_dry_run_counts_and_writes_nothing(database: peewee.Database, file: Path) -> None:
    report = ingest_result_file(file, dry_run=True)
    assert report.tables["apogee_net"] == {"rows": N_ROWS}
    assert n_rows() == [0] * 4
    assert IngestedFile.select().count() == 0


def test_a_truncated_file_is_a_clear_error_and_nothing_is_written(database: peewee.Database, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(UnrecognizedFileError, match=file.name):
        ingest_result_file(file)
    assert n_rows() == [0] * 4


def test_whole_rows_of_a_truncated_file_land_if_asked_for_and_the_file_completes_them(
    database: peewee.Database, file: Path
) -> None:
    whole = file.read_bytes()
    content = gzip.decompress(whole)
    file.write_bytes(gzip.compress(content[: len(content) * 2 // 3], 1))
    report = ingest_result_file(file, damaged="read")
    assert 0 < report.rows < N_ROWS
    assert n_rows() == [report.rows] * 4
    assert "truncated in HDU 2" in report.notes[-1]
    file.write_bytes(whole)
    completed = ingest_result_file(file)
    assert (completed.replaces, completed.rejected, n_rows()) == (True, 0, [N_ROWS] * 4)
    assert completed.counts() == {"unchanged": report.rows, "inserted": N_ROWS - report.rows}


def test_a_bad_row_is_kept_with_its_values_and_takes_no_other_along(database: peewee.Database, file: Path) -> None:
    write_result_file(file, ApogeeNet, N_ROWS, style="dr19", change=without_identifiers(120))
    report = ingest_result_file(file, run_id="a run")
    assert (report.rejected, report.counts()) == (1, {"inserted": N_ROWS - 1})
    rejected = RejectedResult.get()
    assert (rejected.model, rejected.reason, rejected.run_id) == ("ApogeeNet", "not_ingested", "a run")
    assert f"{file.name} APOGEE, row 120: it has no identifier" in rejected.message
    assert payload_from_json(rejected.payload)["task_pk"] == 121
    assert IngestedFile.get().rejected == 1


def test_rows_that_are_mended_are_taken_off_the_list(database: peewee.Database, file: Path) -> None:
    write_result_file(file, ApogeeNet, N_ROWS, style="dr19", change=without_identifiers(3))
    ingest_result_file(file)
    assert RejectedResult.select().count() == 1
    write_result_file(file, ApogeeNet, N_ROWS, style="dr19")
    ingest_result_file(file)
    assert RejectedResult.select().count() == 0
    assert n_rows() == [N_ROWS] * 4


def test_what_was_broken_off_is_completed(
    database: peewee.Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = side_by_side.write_rows, []

    def stop_at_the_second(rows: Any) -> Any:
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(rows)

    monkeypatch.setattr(side_by_side, "write_rows", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        ingest_result_file(file)
    assert n_rows() == [100] * 4
    assert IngestedFile.select().count() == 0
    monkeypatch.undo()
    report = ingest_result_file(file)
    assert report.counts() == {"inserted": N_ROWS - 100, "unchanged": 100}
    assert n_rows() == [N_ROWS] * 4


def test_files_of_several_pipelines_share_their_stars_and_spectra(database: peewee.Database, tmp_path: Path) -> None:
    ingest_result_file(write_result_file(tmp_path / "one.fits", ApogeeNet, N_ROWS))
    ingest_result_file(write_result_file(tmp_path / "other.fits", BossNet, N_ROWS, instrument="BOSS"))
    assert Source.select().count() == N_ROWS
    assert Spectrum.select().count() == 2 * N_ROWS
    assert BossCombinedSpectrum.select().count() == N_ROWS
    both = BossNet.select().join(ApogeeNet, on=(ApogeeNet.source_pk == BossNet.source_pk))
    assert both.count() == N_ROWS


def test_visits_in_stars_files_refer_to_the_visits_that_they_are_made_of(
    database: peewee.Database, tmp_path: Path
) -> None:
    path = tmp_path / "astraAllVisitThePayne.fits"

    def change(rows: np.ndarray, first: int) -> None:
        rows["apstar"] = "stars"
        rows["drp_spectrum_pk"] = rows["spectrum_pk"] + 100_000

    more = [FitsColumn("drp_spectrum_pk", "K"), FitsColumn("apstar", "A", 5)]
    write_result_file(path, ThePayne, N_ROWS, level="visit", style="dr19", more=more, change=change)
    report = ingest_result_file(path)
    assert (report.rejected, report.counts()) == (0, {"inserted": N_ROWS})
    assert report.tables["apogee_visit_spectrum"] == {"inserted": N_ROWS}
    in_star, visit = ApogeeVisitSpectrumInApStar, ApogeeVisitSpectrum
    joined = in_star.select().join(visit, on=(in_star.drp_spectrum_pk == visit.spectrum_pk))
    assert joined.where(in_star.mjd == visit.mjd, in_star.source_pk == visit.source_pk).count() == N_ROWS
    assert ThePayne.select().join(in_star, on=(in_star.spectrum_pk == ThePayne.spectrum_pk)).count() == N_ROWS
    assert ingest_result_file(path, again=True).counts() == {"unchanged": N_ROWS}


def test_progress_is_told(database: peewee.Database, file: Path) -> None:
    told: list[tuple[int, int]] = []
    ingest_result_file(file, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (N_ROWS, N_ROWS)
    assert len(told) == 3


def test_what_is_checked_is_told_before_the_first_row(database: peewee.Database, file: Path) -> None:
    told: list[tuple[str, int, int]] = []
    ingest_result_file(
        file,
        checking=lambda done, of: told.append(("bytes", done, of)),
        progress=lambda done, of: told.append(("rows", done, of)),
    )
    size = file.stat().st_size
    assert told[-4:] == [("bytes", size, size), ("rows", 100, N_ROWS), ("rows", 200, N_ROWS), ("rows", N_ROWS, N_ROWS)]


def test_memory_does_not_grow_with_the_file(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_values, "_MEMO_SIZE", 100)
    peaks = []
    for n_rows, first in ((100, 1), (200, 1001), (1600, 2001)):  # the first only for what is imported
        path = write_result_file(tmp_path / f"{n_rows}.fits.gz", ApogeeNet, n_rows, style="dr19", first=first)
        tracemalloc.start()
        try:
            assert ingest_result_file(path).counts() == {"inserted": n_rows}
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] < peaks[1] + 1.5e6  # rows that are kept would take 3.5 MB


def test_a_file_need_not_be_packed(database: peewee.Database, file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.fits"
    plain.write_bytes(gzip.decompress(file.read_bytes()))
    assert ingest_result_file(plain).counts() == {"inserted": N_ROWS}
