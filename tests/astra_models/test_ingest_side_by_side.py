"""A result file by several connections: what is in the tables, and what is said of it, is as with one."""

from pathlib import Path
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.apogee import ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.apogeenet import ApogeeNet
from astra_models.database.sql import quoted_table
from astra_models.ingest import ResultFileReport, ingest_result_file
from astra_models.ingest.rows import side_by_side
from astra_models.ingest.rows.writing import write_rows
from astra_models.ingest.tables import files
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.sample.summary_file import write_result_file

pytestmark = pytest.mark.long_on_each

N_ROWS = 450  # four chunks and a half
SPECTRA = (ApogeeVisitSpectrumInApStar, ApogeeVisitSpectrum)
LINKS = {"pk", "source_pk", "spectrum_pk", "task_pk", "drp_spectrum_pk", "pipeline_run_pk"}
TIMES = {"created", "modified"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VALUES_PER_CHUNK", 0)  # a hundred rows at a time


def write_visits(path: Path, change: Any = None) -> Path:
    return write_result_file(path, ApogeeNet, N_ROWS, level="visit", style="dr19", change=change)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_visits(tmp_path / "astraAllVisitApogeeNet-0.6.0.fits")


def values_of(row: peewee.Model) -> tuple[str, ...]:
    return tuple(repr(value) for name, value in sorted(row.__data__.items()) if name not in LINKS | TIMES)


def stored() -> list[list[tuple[str, ...]]]:
    """Give all rows by their values, spectra and results with the star that they are of."""
    star_of = {source.pk: values_of(source) for source in Source.select()}
    spectra = [row for model in SPECTRA for row in model.select()]
    spectrum_of = {row.spectrum_pk: (type(row).__name__, *values_of(row), *star_of[row.source_pk]) for row in spectra}
    results = [values_of(row) + star_of[row.source_pk] + spectrum_of[row.spectrum_pk] for row in ApogeeNet.select()]
    rejected = [(row.message, row.payload) for row in RejectedResult.select()]
    return [sorted(rows) for rows in (star_of.values(), spectrum_of.values(), results, rejected)]


def said(report: ResultFileReport) -> tuple[Any, ...]:
    return report.tables, report.rejected, report.superseded, report.reasons, report.rows


def forget_all() -> None:
    for model in (ApogeeNet, *SPECTRA, Spectrum, Source, RejectedResult, IngestedFile):
        model.delete().execute()


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32 - 1), n_stars=st.sampled_from([3, 40, N_ROWS]), writers=st.integers(2, 4))
def test_it_is_as_with_one_connection(
    database: peewee.Database, tmp_path: Path, seed: int, n_stars: int, writers: int
) -> None:
    """Stars come again in other chunks, and so do spectra; some rows can't be stored."""
    rng = np.random.default_rng(seed)
    star, again = rng.integers(0, n_stars, N_ROWS), rng.integers(0, 30, N_ROWS)
    nameless = rng.random(N_ROWS) < 0.02

    def change(rows: np.ndarray, first: int) -> None:
        part = slice(first, first + len(rows))
        repeated = np.flatnonzero(again[part] == 0)
        rows[repeated] = rows[rng.integers(0, len(rows), len(repeated))]
        for name in ("sdss_id", "catalogid", "gaia_dr2_source_id", "gaia_dr3_source_id"):
            rows[name] = np.where(nameless[part], -1, star[part] + 1000)
        rows["sdss4_apogee_id"] = np.where(nameless[part], "", [f"2M{one}" for one in star[part]])

    file = write_visits(tmp_path / f"{seed} {n_stars}.fits", change)
    found = []
    for n in (1, writers):
        forget_all()
        reports = [said(ingest_result_file(file, writers=n)), said(ingest_result_file(file, writers=n, again=True))]
        found.append((stored(), reports))
    assert found[0] == found[1]


@pytest.mark.postgresql_only(reason="SQLite has one writer at a time, and takes no more constraints")
def test_a_row_that_the_database_refuses_takes_no_other_along(database: peewee.Database, file: Path) -> None:
    def change(rows: np.ndarray, first: int) -> None:
        rows["teff"][rows["spectrum_pk"] == 150] = 1234.0

    write_visits(file, change)
    database.execute_sql(f"ALTER TABLE {quoted_table(ApogeeNet)} ADD CONSTRAINT plausible CHECK (teff <> 1234)")
    try:
        report = ingest_result_file(file, writers=3)
    finally:
        database.execute_sql(f"ALTER TABLE {quoted_table(ApogeeNet)} DROP CONSTRAINT plausible")
    assert (report.rejected, report.counts()) == (1, {"inserted": N_ROWS - 1})
    assert "the database refused it" in RejectedResult.get().message


@pytest.mark.postgresql_only(reason="SQLite has one writer at a time")
def test_what_was_broken_off_is_completed(
    database: peewee.Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def break_off(rows: Any) -> Any:
        done.append(len(rows))
        if len(done) == 3:
            raise RuntimeError("broken off")
        return write_rows(rows)

    with monkeypatch.context() as patched:
        patched.setattr(side_by_side, "write_rows", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            ingest_result_file(file, writers=2)
    assert IngestedFile.select().count() == 0
    assert 0 < ApogeeNet.select().count() < N_ROWS
    report = ingest_result_file(file, writers=2)
    assert (report.rejected, report.tables["source"].total(), ApogeeNet.select().count()) == (0, N_ROWS, N_ROWS)
    assert report.counts()["unchanged"] + report.counts()["inserted"] == N_ROWS


@pytest.mark.postgresql_only(reason="SQLite has one writer at a time")
def test_chunks_are_written_at_the_same_time(
    database: peewee.Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    together = threading.Barrier(2, timeout=20)
    first_two = iter([True, True])

    def meet(rows: Any) -> Any:
        if next(first_two, False):
            together.wait()
        return write_rows(rows)

    monkeypatch.setattr(side_by_side, "write_rows", meet)
    assert ingest_result_file(file, writers=2).counts() == {"inserted": N_ROWS}


def test_no_connection_is_refused_by_name(database: peewee.Database, file: Path) -> None:
    with pytest.raises(ValueError, match="writers=0 is no number of connections"):
        ingest_result_file(file, writers=0)


@pytest.mark.postgresql_only(reason="SQLite has one writer at a time, and takes no more constraints")
def test_a_chunk_of_which_nothing_can_be_stored_is_listed(database: peewee.Database, file: Path) -> None:
    database.execute_sql(f"ALTER TABLE {quoted_table(Source)} ADD CONSTRAINT closed CHECK (sdss_id > 100)")
    try:
        report = ingest_result_file(file, writers=2)
    finally:
        database.execute_sql(f"ALTER TABLE {quoted_table(Source)} DROP CONSTRAINT closed")
    assert (report.rejected, report.counts()) == (100, {"inserted": N_ROWS - 100})
