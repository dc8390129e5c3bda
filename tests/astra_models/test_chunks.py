"""Chunks of spectra: some seconds of work each, small ones first and last, whatever a process does once only."""

from typing import Any

import peewee
import pytest

from astra_models.analysis import work as work_module
from astra_models.analysis.analyst import Analyst
from astra_models.analysis.engine import job_of
from astra_models.analysis.stream import analyse, write
from astra_models.analysis.work import MOST_BYTES, MOST_SPECTRA, ChunkSize
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket
from tests import fragile


def sizes(size: ChunkSize, n_spectra: int, seconds: float, setup: float = 0.0) -> list[int]:
    """Give the sizes of all chunks, if one worker does one after the other and each spectrum takes so long."""
    given: list[int] = []
    left = n_spectra
    while left:
        given.append(size.of_next(left))
        left -= given[-1]
        size.note(given[-1], given[-1] * seconds + (setup if len(given) == 1 else 0.0))
    return given


def in_the_middle(given: list[int]) -> int:
    return given[len(given) // 2]


@pytest.mark.parametrize("seconds", [0.002, 0.05, 1.0, 5.0])
def test_chunks_take_five_to_thirty_seconds(seconds: float) -> None:
    given = sizes(ChunkSize(10, first=1), int(10_000 / seconds), seconds)
    assert 5 <= in_the_middle(given) * seconds <= max(given) * seconds <= 30


def test_a_spectrum_that_takes_longer_than_a_chunk_is_one() -> None:
    assert set(sizes(ChunkSize(8, first=1), 50, 600.0)) == {1}


def test_chunks_are_small_at_the_start_and_at_the_end() -> None:
    given = sizes(ChunkSize(100, first=1), 1_000_000, 0.01)
    assert given[0] == 1 and given[:5] == sorted(given[:5])
    for n_left in (100_000, 10_000, 1_000, 100):
        place = next(place for place in range(len(given)) if sum(given[place:]) <= n_left)
        assert given[place] <= max(n_left / 200 + 1, 200), "a worker is alone with it in the end"


def test_the_last_chunks_are_not_smaller_than_what_it_costs_to_send_them() -> None:
    given = sizes(ChunkSize(2, first=1), 100_000, 0.0001)
    assert min(given[7:-1]) * 0.0001 >= 0.29


@pytest.mark.parametrize(("workers", "seconds"), [(2, 10), (200, 10), (500, 20), (1_000, 30), (10_000, 30)])
def test_many_workers_get_longer_chunks(workers: int, seconds: float) -> None:
    """One process sends them all, fifty in a second."""
    assert ChunkSize(workers).seconds == seconds


def test_chunks_are_bounded_by_spectra_and_by_the_bytes_that_come_back() -> None:
    assert max(sizes(ChunkSize(2), 200_000, 1e-6)) == MOST_SPECTRA
    assert max(sizes(ChunkSize(2, bytes_per_spectrum=16_000), 200_000, 1e-6)) == MOST_BYTES / 16_000
    learning = ChunkSize(2)
    for _ in range(6):
        n_spectra = learning.of_next(1_000_000)
        learning.note(n_spectra, 1e-6 * n_spectra, 32_000 * n_spectra)
    assert learning.of_next(1_000_000) == MOST_BYTES / 32_000


def test_a_slow_first_chunk_does_not_make_all_of_them_small() -> None:
    """What a pipeline sets up when it has its first spectrum can't be told apart, but it is only once."""
    given = sizes(ChunkSize(4, first=1), 100_000, 0.01, setup=30)
    assert in_the_middle(given) * 0.01 >= 5 and len(given) < 150


@pytest.mark.sqlite_only(reason="nothing is written")
@pytest.mark.parametrize("pipeline", [fragile.sets_up_for_long, fragile.sets_up_for_long_in_silence])
def test_what_is_set_up_once_is_told_apart(database: peewee.Database, make_spectra: Any, pipeline: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(20)]
    job = job_of(pipeline, {})
    assert job is not None
    analyst = Analyst(job)
    first = analyst.analyse(BossVisitSpectrum, keys[:4])
    second = analyst.analyse(BossVisitSpectrum, keys[4:])
    assert 0.5 <= first.usage.setup_seconds <= first.usage.seconds and first.usage.seconds_without_setup < 0.4
    assert second.usage.setup_seconds == 0
    assert first.answered + second.answered == 20


@pytest.mark.sqlite_only(reason="the database isn't asked")
def test_the_overhead_of_a_chunk_is_shared_by_its_results(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(4)]
    job = job_of(fragile.sets_up_for_long, {})
    assert job is not None
    [(_, columns)] = Analyst(job).analyse(BossVisitSpectrum, keys).columns
    overhead = columns["t_overhead"].values
    assert overhead.sum() == pytest.approx(0.5, abs=0.3) and set(overhead) == {overhead[0]}
    assert columns["t_elapsed"].values.max() < 0.1


def test_what_is_still_due_is_asked_for_each_chunk(
    database: peewee.Database, make_spectra: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(work_module, "FIRST", 5)
    spectra = make_spectra(60)
    stream = analyse(fragile.fragile, batch_size=5)
    assert stream.work is not None
    for spectrum in spectra[20:40]:  # another run does these meanwhile
        Rocket.from_spectrum(spectrum, teff=1).save()
    assert write(stream).rows == 40 and stream.work.done_by_others == 20
    assert Rocket.select().where(Rocket.teff == 1).count() == 20
