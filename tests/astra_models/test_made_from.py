"""What a task writes down of what its results were made from."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import peewee
import pytest

from astra_models import task
from astra_models.analysis.due import DueReason, standing_of_spectra
from astra_models.analysis.stream import analyse, count_work, write
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import PipelineError, TaskError
from astra_models.explain import explain_star
from astra_models.fits.star_file import FitsFile
from astra_models.ingest import ingest_spectra
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.status import survey_status
from astra_models.upsert import upsert
from astra_models.version import installed_v_astra
from astra_orchestration.sample import make_sample

pytestmark = pytest.mark.long_on_each


@task(version="2")
def level(
    spectra: Iterable[BossVisitSpectrum], teff: float = 5000.0, model: Path | None = None, fails: bool = False
) -> Iterable[Rocket]:
    for spectrum in spectra:
        if fails:
            raise ValueError("bad")
        yield Rocket.from_spectrum(spectrum, teff=teff)


@task
def both(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Rocket]:
    for spectrum, result in spectra:
        assert spectrum.spectrum_pk == result.spectrum_pk
        yield Rocket.from_spectrum(spectrum, teff=1000 * result.p_da)


@task
def either(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite | None]]) -> Iterable[Rocket]:
    for spectrum, result in spectra:
        yield Rocket.from_spectrum(spectrum, teff=0 if result is None else 1)


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in make_spectra(5)]


def run(pipeline: Any, **options: Any) -> int:
    """Run what is due; give how many spectra that was."""
    stream = analyse(pipeline, **options)
    write(stream, run_id="abc")
    assert stream.due is not None
    return stream.due


def measured(keys: list[int], **columns: Any) -> None:
    rows = [{"spectrum_pk": key, "v_astra": installed_v_astra()} | columns for key in keys]
    assert upsert(SnowWhite, rows).rejected == 0


def rocket(key: int) -> Rocket:
    return Rocket.get(spectrum_pk=key)


def test_a_result_leads_to_its_run_with_all_that_it_was_made_with(keys: list[int], tmp_path: Path) -> None:
    grid = tmp_path / "grid.npz"
    grid.write_bytes(b"grid")
    assert run(level, parameters={"teff": 6000.0, "model": grid}) == 5
    [made] = PipelineRun.select()
    assert {row.pipeline_run_pk for row in Rocket.select()} == {made.pk}
    assert (made.pipeline, made.version, made.v_astra, made.run_id) == ("level", "2", installed_v_astra(), "abc")
    assert json.loads(made.parameters) == {"teff": 6000.0, "model": str(grid), "fails": False}
    assert list(json.loads(made.model_files)) == [str(grid)]
    assert (made.due, made.answered, made.inserted, made.rejected) == (5, 5, 5, 0)
    assert made.started <= made.ended
    assert {"numpy", "peewee"} <= json.loads(made.packages).keys()


def test_a_night_on_which_nothing_has_changed_makes_nothing_due(keys: list[int]) -> None:
    assert [run(level), run(level)] == [5, 0]
    BossVisitSpectrum.update(snr=7).where(BossVisitSpectrum.spectrum_pk == keys[0]).execute()
    assert [run(level), run(level)] == [1, 0]
    assert (rocket(keys[0]).spectrum_revision, rocket(keys[1]).spectrum_revision) == (1, 0)


def test_other_parameters_or_other_contents_of_a_file_make_due(keys: list[int], tmp_path: Path) -> None:
    grid, moved = tmp_path / "grid.npz", tmp_path / "moved.npz"
    grid.write_bytes(b"grid")
    moved.write_bytes(b"grid")
    assert run(level, parameters={"model": grid}) == 5
    assert run(level, parameters={"model": moved}) == 0
    moved.write_bytes(b"another")
    assert run(level, parameters={"model": moved}) == 5
    assert run(level, parameters={"model": moved, "teff": 1.0}) == 5


def test_a_spectrum_that_changes_while_it_is_analysed_is_due_again(keys: list[int]) -> None:
    @task
    def slow(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk == keys[2]:
                BossVisitSpectrum.update(snr=1).where(BossVisitSpectrum.spectrum_pk == keys[2]).execute()
            yield Rocket.from_spectrum(spectrum)

    assert run(slow, limit=5) == 5
    assert run(slow) == 1
    assert run(slow) == 0


def test_what_is_tried_again_after_another_failed_has_its_results_too(keys: list[int]) -> None:
    @task
    def ahead(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Rocket]:
        for spectrum, result in list(spectra):
            if spectrum.spectrum_pk == keys[1]:
                raise ValueError("bad")
            yield Rocket.from_spectrum(spectrum, teff=1000 * result.p_da)

    measured(keys, p_da=0.5)
    assert run(ahead) == 5
    assert {row.spectrum_pk for row in Rocket.select().where(Rocket.teff == 500)} == {*keys} - {keys[1]}
    [listed] = RejectedResult.select()
    assert (listed.spectrum_pk, listed.message) == (keys[1], "ValueError: bad")


def test_results_of_another_pipeline_come_with_their_spectra(keys: list[int]) -> None:
    assert run(both) == 0
    measured(keys[:3], p_da=0.5)
    assert run(both) == 3
    assert [row.teff for row in Rocket.select()] == [500, 500, 500]
    measured(keys[:3], p_da=0.5)
    assert run(both) == 0
    measured(keys[:1], p_da=0.25)
    assert run(both) == 1
    assert rocket(keys[0]).teff == 250


def test_a_result_that_may_be_missing_is_none_and_makes_due_when_it_comes(keys: list[int]) -> None:
    assert run(either) == 5
    measured(keys[:2])
    assert run(either) == 2
    assert [rocket(key).teff for key in keys] == [1, 1, 0, 0, 0]
    assert run(either) == 0


def test_a_direct_call_looks_results_up_or_takes_tuples(keys: list[int]) -> None:
    measured(keys[:2], p_da=0.5)
    spectra = list(BossVisitSpectrum.select().order_by(BossVisitSpectrum.spectrum_pk))
    assert [row.spectrum_pk for row in both(spectra)] == keys[:2]
    pairs = [(spectrum, SnowWhite(spectrum_pk=spectrum.spectrum_pk, p_da=0.75)) for spectrum in spectra[2:4]]
    given = both(pairs, write_to_database=False)  # pyright: ignore[reportArgumentType]
    assert [row.teff for row in given] == [750, 750]
    with pytest.raises(TaskError, match="a spectrum and 1 results go together"):
        list(both([(spectra[0],)]))  # pyright: ignore[reportArgumentType]


def test_what_a_pipeline_says_of_its_own_provenance_does_not_count(keys: list[int]) -> None:
    @task
    def liar(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, spectrum_revision=99, upstream_revision=98, pipeline_run_pk=97)

    run(liar)
    [made] = PipelineRun.select()
    row = rocket(keys[0])
    assert (row.spectrum_revision, row.upstream_revision, row.pipeline_run_pk) == (0, None, made.pk)


def test_a_failure_counts_only_for_what_it_was_of(keys: list[int]) -> None:
    @task
    def picky(spectra: Iterable[BossVisitSpectrum], allowed: float = 0.0) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk == keys[0] and (spectrum.snr or 0) <= allowed:
                raise ValueError("too faint")
            yield Rocket.from_spectrum(spectrum)

    BossVisitSpectrum.update(snr=0).execute()
    assert [run(picky), run(picky)] == [5, 0]
    [failure] = RejectedResult.select()
    assert (failure.spectrum_revision, failure.pipeline_run_pk) == (1, rocket(keys[1]).pipeline_run_pk)
    BossVisitSpectrum.update(snr=10).where(BossVisitSpectrum.spectrum_pk == keys[0]).execute()
    assert [run(picky), run(picky)] == [1, 0]
    assert RejectedResult.select().count() == 0


def test_a_result_that_is_written_by_hand_is_no_longer_what_a_run_made(keys: list[int]) -> None:
    run(level)
    upsert(Rocket, [{"spectrum_pk": keys[0], "v_astra": installed_v_astra(), "teff": 1.0}])
    row = rocket(keys[0])
    assert (row.pipeline_run_pk, row.spectrum_revision) == (None, None)
    assert run(level, parameters={"teff": 1.0}) == 4


def test_where_says_which_spectra_a_pipeline_takes(keys: list[int]) -> None:
    @task(where=lambda spectrum: spectrum.spectrum_pk > keys[2])
    def few(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)

    @task(where=SnowWhite.p_da > 0.5)
    def white(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Rocket]:
        for spectrum, _ in spectra:
            yield Rocket.from_spectrum(spectrum)

    assert [run(few), run(few)] == [2, 0]
    measured(keys[:1], p_da=0.9)
    measured(keys[1:], p_da=0.1)
    assert run(white) == 1


def test_a_run_that_fails_is_written_down_too(keys: list[int]) -> None:
    @task
    def gives_up(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)
            raise SystemExit(0)

    run(gives_up)
    [made] = PipelineRun.select()
    assert (made.due, made.answered) == (5, 5)
    assert made.ended is not None
    with pytest.raises(PipelineError):
        run(level, parameters={"fails": True}, rerun="all")
    assert PipelineRun.select().count() == 1  # nothing was written by it


def test_pixels_that_are_rewritten_under_the_same_header_make_due(database: peewee.Database, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, stars=3, seed=3)
    files = [path for path in sample.files if "/visits/" in path and path not in {file.path for file in sample.broken}]
    ingest_spectra(files)
    n_spectra = BossVisitSpectrum.select().count()
    assert [run(level), run(level)] == [n_spectra, 0]
    changed = BossVisitSpectrum.get()
    place = next(hdu.data for hdu in FitsFile(changed.path).hdus if hdu.size)
    with open(changed.path, "r+b") as file:
        file.seek(place + 1)
        byte = file.read(1)[0]
        file.seek(place + 1)
        file.write(bytes([byte ^ 0x10]))
    ingest_spectra(files)
    [standing] = [
        standing
        for standing in standing_of_spectra(Rocket, BossVisitSpectrum, BossVisitSpectrum.mjd > 0).values()
        if standing.is_due
    ]
    assert standing.reason == DueReason.pixels
    assert [run(level), run(level)] == [1, 0]


def test_what_waits_is_counted_and_explained(keys: list[int]) -> None:
    measured(keys[:2], p_da=0.5)
    assert str(count_work(both)) == "2 due: 2 new; 3 wait for another pipeline's result"
    assert str(count_work(both, limit=1)).startswith("1 due: 1 new")
    run(both)
    assert str(count_work(both, rerun="all")).startswith("2 due: 2 again")
    waiting = BossVisitSpectrum.get(spectrum_pk=keys[4])
    states = {one.spectrum_pk: one for one in explain_star(Source.get_by_id(waiting.source_pk), [both]).analyses}
    assert (states[keys[4]].state, states[keys[4]].why) == ("waiting", "it needs a result of SnowWhite of 0.9 first")
    [status] = [status for status in survey_status([both]).pipelines if status.due is not None]
    assert (status.due, status.waiting, status.reasons) == (0, 3, {})
