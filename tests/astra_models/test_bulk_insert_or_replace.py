"""The documented function: it writes at once, and gives the results with their keys."""

from typing import Any

import peewee
import pytest

from astra_models import bulk_insert_or_replace_pipeline_results
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store four spectra."""
    return make_spectra(4)


def test_results_are_written_and_get_their_keys(spectra: list[BossVisitSpectrum]) -> None:
    results = [Rocket.from_spectrum(spectrum, teff=5_000 + i) for i, spectrum in enumerate(spectra)]
    written = bulk_insert_or_replace_pipeline_results(results)
    assert isinstance(written, list)
    assert [one is other for one, other in zip(written, results, strict=True)] == [True] * 4
    for result in written:
        stored = Rocket.get_by_id(result.task_pk)
        assert (stored.spectrum_pk, stored.teff) == (result.spectrum_pk, result.teff)
        assert stored.created == result.created


def test_it_writes_at_once_even_if_nothing_looks_at_the_result(spectra: list[BossVisitSpectrum]) -> None:
    bulk_insert_or_replace_pipeline_results(Rocket.from_spectrum(spectrum) for spectrum in spectra)
    assert Rocket.select().count() == 4


def test_replaced_results_have_the_keys_of_the_stored_ones(spectra: list[BossVisitSpectrum]) -> None:
    first = bulk_insert_or_replace_pipeline_results([Rocket.from_spectrum(spectra[0], teff=1)])[0]
    again = bulk_insert_or_replace_pipeline_results([Rocket.from_spectrum(spectra[0], teff=2)])[0]
    assert (again.task_pk, again.created) == (first.task_pk, first.created)
    assert Rocket.get().teff == 2


@pytest.mark.lesson(1)
@pytest.mark.lesson(2)
def test_failed_and_good_results_in_any_order(spectra: list[BossVisitSpectrum]) -> None:
    good = {"teff": 5_000, "logg": 4}
    for order in ([{}, good, good, {}], [good, {}, {}, good]):
        bulk_insert_or_replace_pipeline_results(
            [Rocket.from_spectrum(s, **values) for s, values in zip(spectra, order, strict=True)]
        )
        stored = [row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)]
        assert stored == [values.get("teff") for values in order]


@pytest.mark.lesson(5)
@pytest.mark.lesson(6)
def test_of_duplicates_the_last_is_stored(spectra: list[BossVisitSpectrum]) -> None:
    results = [Rocket.from_spectrum(spectra[i], teff=teff) for i, teff in [(0, 1), (1, 2), (0, 3), (1, 4), (2, 5)]]
    written = bulk_insert_or_replace_pipeline_results(results)
    assert [row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [3, 4, 5]
    keys = {row.spectrum_pk: row.task_pk for row in Rocket.select()}
    for result in results[2:]:
        assert any(result is one for one in written)
        assert result.task_pk == keys[result.spectrum_pk]


@pytest.mark.lesson(8)
def test_results_of_several_models_go_to_their_own_tables(spectra: list[BossVisitSpectrum]) -> None:
    results = [model.from_spectrum(s, teff=i) for i, s in enumerate(spectra) for model in (Rocket, Corv)]
    written = bulk_insert_or_replace_pipeline_results(results)
    assert [type(result) for result in written] == [Rocket, Corv] * 4
    for model in (Rocket, Corv):
        assert [row.teff for row in model.select().order_by(model.spectrum_pk)] == [0, 1, 2, 3]
    assert all(type(result).get_by_id(result.task_pk).teff == result.teff for result in written)


@pytest.mark.lesson(9)
def test_what_can_not_be_stored_is_left_out_and_kept(spectra: list[BossVisitSpectrum]) -> None:
    results = [Rocket.from_spectrum(spectrum, teff=5_000) for spectrum in spectra]
    results[1].teff = 1e39
    results[2].spectrum_pk = 10**6
    written = bulk_insert_or_replace_pipeline_results(results)
    assert written == [results[0], results[3]]
    assert Rocket.select().count() == 2
    assert {row.spectrum_pk for row in RejectedResult.select()} == {results[1].spectrum_pk, 10**6}


@pytest.mark.lesson(13)
def test_loaded_results_mix_with_new_ones(spectra: list[BossVisitSpectrum]) -> None:
    bulk_insert_or_replace_pipeline_results([Rocket.from_spectrum(spectra[0], teff=1)])
    loaded = Rocket.get()
    loaded.teff = 2
    written = bulk_insert_or_replace_pipeline_results([Rocket.from_spectrum(spectra[1], teff=3), loaded])
    assert [result.teff for result in written] == [3, 2]
    assert [row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [2, 3]


def test_nothing_gives_nothing(database: peewee.Database) -> None:
    assert bulk_insert_or_replace_pipeline_results([]) == []


def test_a_result_of_a_joined_spectrum(spectra: list[BossVisitSpectrum]) -> None:
    from astra_models.source import Source

    model = BossVisitSpectrum
    joined = model.select(model, Source).join(Source, on=(model.source_pk == Source.pk))
    written = bulk_insert_or_replace_pipeline_results(Rocket.from_spectrum(spectrum) for spectrum in joined)
    assert len(written) == 4
    assert {row.source_pk for row in Rocket.select()} == {spectrum.source_pk for spectrum in spectra}


def test_a_result_without_a_version_gets_the_installed_one_and_its_key(
    database: peewee.Database, make_spectra: Any
) -> None:
    (spectrum,) = make_spectra(1)
    (stored,) = bulk_insert_or_replace_pipeline_results([Rocket.from_spectrum(spectrum, teff=5_000, v_astra=None)])
    assert stored.task_pk == Rocket.get().task_pk
    assert Rocket.get().v_astra == 9_000
