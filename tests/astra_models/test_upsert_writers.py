"""Several writers: the same table as with one, whatever is given, and an error that surfaces once."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert
from astra_models.upsert.batch import Batch

ON_POSTGRESQL = pytest.mark.postgresql_only(reason="SQLite has one writer at a time")
UNKNOWN, UNSTORABLE = 12, 1e300

row = st.fixed_dictionaries(
    {
        "spectrum": st.integers(0, UNKNOWN),
        "v_astra": st.sampled_from([8_000, 8_001, 9_000]),
        "teff": st.none() | st.floats(width=32, allow_nan=True) | st.just(UNSTORABLE),
    }
)


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store twelve spectra."""
    return make_spectra(12)


def table_of(rows: list[dict[str, Any]], spectra: list[BossVisitSpectrum]) -> np.ndarray:
    keys = [spectrum.spectrum_pk for spectrum in spectra] + [10_000]
    kinds = [("spectrum_pk", "i8"), ("v_astra", "i4"), ("teff", "f8")]
    return np.array(
        [(keys[row["spectrum"]], row["v_astra"], np.nan if row["teff"] is None else row["teff"]) for row in rows], kinds
    )


def rows_of(spectra: list[BossVisitSpectrum]) -> list[dict[str, Any]]:
    return [{"spectrum_pk": spectrum.spectrum_pk, "teff": place} for place, spectrum in enumerate(spectra)]


def stored() -> list[tuple[Any, ...]]:
    columns = (Rocket.spectrum_pk, Rocket.v_astra, Rocket.teff)
    return list(Rocket.select(*columns).order_by(*columns[:2]).tuples())


def listed() -> list[tuple[Any, ...]]:
    columns = (RejectedResult.spectrum_pk, RejectedResult.v_astra, RejectedResult.reason, RejectedResult.payload)
    return sorted(RejectedResult.select(*columns).tuples())


@ON_POSTGRESQL
@pytest.mark.parametrize("as_table", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(row, max_size=30),
    n=st.integers(2, 4),
    existing=st.sampled_from(["newest", "replace", "keep", "merge"]),
)
def test_the_table_is_the_same_as_with_one_writer(
    spectra: list[BossVisitSpectrum], as_table: bool, rows: list[dict[str, Any]], n: int, existing: Any
) -> None:
    table = table_of(rows, spectra)
    names = table.dtype.names or ()
    given: Any = table if as_table else [dict(zip(names, values, strict=True)) for values in table.tolist()]
    found = []
    for writers in (1, n):
        Rocket.delete().execute()
        RejectedResult.delete().execute()
        report = upsert(Rocket, given, batch_size=3, existing=existing, writers=writers)
        counts = (report.inserted, report.updated, report.kept, report.rejected, report.superseded, report.reasons)
        found.append((stored(), listed(), counts))
    assert found[0] == found[1]


OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND pid <> pg_backend_pid()"


@ON_POSTGRESQL
def test_batches_are_written_at_the_same_time_by_connections_that_are_closed(
    spectra: list[BossVisitSpectrum],
) -> None:
    database = Rocket._meta.database
    backends: set[int] = set()
    reported: list[int] = []

    def on_stored(batch: Batch, stored: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        reported.extend(key for key, _ in stored)

    def before_write(batch: Batch) -> None:
        deadline = time.monotonic() + 30
        while not backends:  # the first waits until the other one has begun, too
            database.execute_sql("SELECT pg_stat_clear_snapshot()")
            if database.execute_sql(OTHERS).fetchone()[0]:
                break
            assert time.monotonic() < deadline
        backends.add(database.execute_sql("SELECT pg_backend_pid()").fetchone()[0])

    report = upsert(Rocket, rows_of(spectra), batch_size=3, writers=2, before_write=before_write, on_stored=on_stored)
    assert report.inserted == 12
    assert reported == [spectrum.spectrum_pk for spectrum in spectra]
    assert len(backends) == 2
    assert database.execute_sql("SELECT pg_backend_pid()").fetchone()[0] not in backends
    deadline = time.monotonic() + 10
    while backends & {pid for (pid,) in database.execute_sql("SELECT pid FROM pg_stat_activity").fetchall()}:
        assert time.monotonic() < deadline


@ON_POSTGRESQL
def test_an_error_of_one_writer_surfaces_once_and_ends_the_others(spectra: list[BossVisitSpectrum]) -> None:
    written: list[int] = []

    def before_write(batch: Batch) -> None:
        keys = batch.columns["spectrum_pk"].values.tolist()
        if spectra[4].spectrum_pk in keys:
            raise LookupError("no lease")
        written.extend(keys)

    with pytest.raises(LookupError, match="no lease"):
        upsert(Rocket, rows_of(spectra), batch_size=2, writers=3, before_write=before_write)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("astra-")] == []
    assert [row[0] for row in stored()] == sorted(written)
    assert spectra[4].spectrum_pk not in written
    assert upsert(Rocket, rows_of(spectra), batch_size=2, writers=3).rows == 12


@ON_POSTGRESQL
def test_an_error_of_the_rows_ends_the_writers(spectra: list[BossVisitSpectrum]) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from rows_of(spectra)[:4]
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows"):
        upsert(Rocket, rows(), batch_size=2, writers=2)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("astra-")] == []


def test_one_writer_is_used_where_several_cannot_be(spectra: list[BossVisitSpectrum]) -> None:
    database = Rocket._meta.database
    threads: set[threading.Thread] = set()
    with pytest.raises(LookupError), database.atomic():
        report = upsert(
            Rocket,
            rows_of(spectra),
            batch_size=3,
            writers=4,
            before_write=lambda batch: threads.add(threading.current_thread()),
        )
        assert report.inserted == 12
        raise LookupError
    assert threads == {threading.main_thread()}
    assert stored() == []  # it was all in the caller's transaction
    assert upsert(Rocket, rows_of(spectra), batch_size=3, writers=4).inserted == 12
    assert len(stored()) == 12


def test_a_number_of_writers_has_to_be_one(spectra: list[BossVisitSpectrum]) -> None:
    with pytest.raises(ValueError, match="writers=0 is no number of connections"):
        upsert(Rocket, [], writers=0)
