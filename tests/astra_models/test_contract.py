"""What a pipeline may yield: one result of each model for every spectrum that it took, and nothing else."""

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models import task
from astra_models.analysis import asked
from astra_models.analysis.asked import Asked
from astra_models.analysis.due import select_due
from astra_models.analysis.replay import discard
from astra_models.analysis.stream import ResultStream, write_batches
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import PipelineError, TaskError
from astra_models.ferre import FerreChemicalAbundances
from astra_models.rejected import RejectedResult, payload_from_json, select_rejected
from astra_models.rocket import Rocket
from astra_models.spectrum import Spectrum
from astra_models.upsert import UpsertReport
from astra_models.version import installed_v_astra

V_ASTRA = installed_v_astra()
OLDER = V_ASTRA - 1_000


@pytest.fixture
def spectra(memory_database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra."""
    return make_spectra(5)


@pytest.fixture
def visits(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra in each kind of database."""
    return make_spectra(5)


def keys(spectra: Iterable[Any]) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in spectra]


def listed() -> list[tuple[int | None, str]]:
    query = RejectedResult.select().order_by(RejectedResult.spectrum_pk, RejectedResult.pk)
    return [(row.spectrum_pk, row.reason) for row in query]


def due() -> list[int]:
    return list(select_due(Rocket, BossVisitSpectrum))


def temperatures() -> dict[int, float]:
    return {row.spectrum_pk: row.teff for row in Rocket.select()}


Make = Callable[[BossVisitSpectrum], Rocket]


def making(make: Make) -> Any:
    """Make a task that answers the third spectrum otherwise than the others."""

    @task
    def odd(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            yield make(spectrum) if i == 2 else Rocket.from_spectrum(spectrum, teff=5_000)

    return odd


def with_values(**values: Any) -> Make:
    return lambda spectrum: Rocket(
        **{"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk, "teff": 1} | values
    )


# ---- results that weren't asked for

WRONG: dict[str, tuple[Make, str]] = {
    "a spectrum that it wasn't given": (with_values(spectrum_pk=10**6), "not taken, or answered already"),
    "a spectrum that isn't any": (with_values(spectrum_pk="x"), "spectrum_pk is no key"),
    "no spectrum": (with_values(spectrum_pk=None), "not taken, or answered already"),
    "a key beyond all keys": (with_values(spectrum_pk=10**30), "spectrum_pk is no key"),
    "another source": (with_values(source_pk=10**6), "another source"),
    "a source that is none": (with_values(source_pk="x"), "another source"),
    "a version to come": (with_values(v_astra=99_000_000), "another version"),
    "an older version": (with_values(v_astra=OLDER), "another version"),
    "a version that is none": (with_values(v_astra="next"), "another version"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_result_that_was_not_asked_for_is_listed_and_its_spectrum_stays_due(
    spectra: list[BossVisitSpectrum], make: Make, message: str
) -> None:
    wanted = spectra[2].spectrum_pk
    list(making(make)(spectra, run_id="5f1c"))
    assert temperatures() == {key: 5_000 for key in keys(spectra) if key != wanted}
    assert due() == [wanted]
    [row] = RejectedResult.select()
    assert (row.model, row.reason, row.v_astra, row.run_id) == ("Rocket", "contract", V_ASTRA, "5f1c")
    assert row.message.startswith(message)
    assert payload_from_json(row.payload)["teff"] == 1
    assert [row.pk for row in select_rejected(reason="contract")] == [row.pk]


def test_a_spectrum_that_was_not_given_keeps_its_result(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits
    other = spectra.pop()
    Rocket.create(spectrum_pk=other.spectrum_pk, teff=7_000)
    list(making(with_values(spectrum_pk=other.spectrum_pk))(spectra))
    assert temperatures()[other.spectrum_pk] == 7_000
    assert listed() == [(other.spectrum_pk, "contract")]
    assert due() == [spectra[2].spectrum_pk]


@pytest.mark.parametrize(
    "values",
    [
        {"source_pk": None},
        {"v_astra": None},
        {"v_astra": np.int64(V_ASTRA), "source_pk": ...},
        {"spectrum_pk": np.int32, "source_pk": np.int64},
        {"spectrum_pk": np.array},
        {"spectrum_pk": float},
    ],
    ids=str,
)
def test_what_is_left_out_is_filled_in_and_any_type_of_number_is_one(
    spectra: list[BossVisitSpectrum], values: dict[str, Any]
) -> None:
    def make(spectrum: BossVisitSpectrum) -> Rocket:
        own = {name: value(getattr(spectrum, name)) if callable(value) else value for name, value in values.items()}
        own = {name: getattr(spectrum, name) if value is ... else value for name, value in own.items()}
        return with_values(**own)(spectrum)

    list(making(make)(spectra))
    [row] = Rocket.select().where(Rocket.teff == 1)
    assert (row.spectrum_pk, row.source_pk, row.v_astra) == (spectra[2].spectrum_pk, spectra[2].source_pk, V_ASTRA)
    assert listed() == []


def test_a_source_that_the_pipeline_writes_into_the_spectrum_is_not_its_source(
    spectra: list[BossVisitSpectrum],
) -> None:
    source = spectra[2].source_pk

    def make(spectrum: BossVisitSpectrum) -> Rocket:
        spectrum.source_pk = source + 1
        return Rocket.from_spectrum(spectrum)

    list(making(make)(spectra))
    assert listed() == [(spectra[2].spectrum_pk, "contract")]


def test_a_spectrum_without_a_source_has_results_without_one(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(4)
    for spectrum in spectra:
        spectrum.source_pk = None
    list(making(with_values(source_pk=1))(spectra))
    assert {row.source_pk for row in Rocket.select()} == {None}
    assert listed() == [(spectra[2].spectrum_pk, "contract")]


def test_a_spectrum_is_answered_once(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def twice(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=1)
            yield Rocket.from_spectrum(spectrum, teff=2)

    assert len(list(twice(spectra))) == 5
    assert set(temperatures().values()) == {1}
    assert listed() == [(key, "contract") for key in keys(spectra)]
    assert due() == []


def test_one_object_that_is_given_again_and_again_answers_one_spectrum(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(120)

    @task
    def lazy(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        result = None
        for spectrum in spectra:
            result = result or Rocket.from_spectrum(spectrum, teff=5_000)
            yield result

    list(lazy(spectra))
    assert temperatures() == {spectra[0].spectrum_pk: 5_000}
    assert listed() == [(spectra[0].spectrum_pk, "contract")] * 119
    assert due() == keys(spectra[1:])


def test_one_object_that_is_set_anew_for_each_spectrum_answers_each(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def reusing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        result = Rocket()
        for spectrum in spectra:
            result.spectrum_pk, result.source_pk = spectrum.spectrum_pk, spectrum.source_pk
            result.teff = spectrum.spectrum_pk
            yield result

    assert keys(reusing(spectra, write_to_database=False)) == keys(spectra)
    list(reusing(spectra))
    assert temperatures() == {key: key for key in keys(spectra)}


def test_results_of_two_spectra_that_are_swapped_are_of_the_right_ones(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def in_reverse(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in reversed(list(spectra)):
            yield Rocket.from_spectrum(spectrum, teff=spectrum.spectrum_pk)

    list(in_reverse(spectra))
    assert temperatures() == {key: key for key in keys(spectra)}
    assert listed() == []


def test_a_wrong_result_that_is_mended_is_an_answer(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def hesitant(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield with_values(v_astra=99_000_000)(spectrum)
            yield Rocket.from_spectrum(spectrum, teff=5_000)

    list(hesitant(spectra))
    assert set(temperatures()) == set(keys(spectra))
    assert due() == []


def test_spectra_without_a_result_are_told_from_those_with_a_wrong_one(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits

    @task
    def mixed(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            if i == 0:
                yield Rocket.from_spectrum(spectrum)
            if i in (2, 4):
                yield with_values(spectrum_pk=10**6)(spectrum)

    list(mixed(spectra))
    silent = keys(spectra[i] for i in (1, 3))
    assert listed() == [(key, "no_result") for key in silent] + [(10**6, "contract")] * 2
    assert due() == keys(spectra[i] for i in (2, 4))


def test_a_wrong_result_in_a_batch_is_that_of_a_spectrum_without_one(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def wrong(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        taken = list(spectra)
        yield from (Rocket.from_spectrum(spectrum) for spectrum in [taken[0], *[taken[2]] * 2, *taken[3:]])

    list(wrong(spectra))
    assert due() == [spectra[1].spectrum_pk]


def test_an_endless_stream_of_wrong_results_ends_the_run(spectra: list[BossVisitSpectrum], monkeypatch: Any) -> None:
    monkeypatch.setattr("astra_models.analysis.calling.MOST_REFUSED_WITHOUT_PROGRESS", 50)

    @task
    def endless(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        spectrum = next(iter(spectra))
        while True:
            yield Rocket.from_spectrum(spectrum)

    with pytest.raises(PipelineError, match="endless gave 50 results in a row that can't be accepted"):
        list(endless(spectra))
    assert len(temperatures()) == 1


def test_wrong_results_of_an_earlier_run_are_replaced(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits
    wrong = making(with_values(spectrum_pk=10**6))
    for run in ("first", "second"):
        list(wrong(spectra, run_id=run, batch_size=1))
    assert [row.run_id for row in RejectedResult.select()] == ["second"]


def test_a_wrong_result_leaves_the_failure_of_another_spectrum(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits
    other = spectra.pop()
    RejectedResult.create(
        model="Rocket", spectrum_pk=other.spectrum_pk, v_astra=V_ASTRA, reason="no_result", message="nothing"
    )
    list(making(with_values(spectrum_pk=other.spectrum_pk))(spectra))
    assert listed() == [(other.spectrum_pk, "no_result"), (other.spectrum_pk, "contract")]
    assert other.spectrum_pk not in due()


def test_wrong_results_are_dropped_and_never_stored_later(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits
    list(making(with_values(source_pk=10**6))(spectra))
    assert discard() == 1
    assert listed() == []


# ---- several models


@task
def both(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | Corv]:
    """Give a result of each model; the second ones late."""
    taken = []
    for spectrum in spectra:
        taken.append(spectrum)
        yield Rocket.from_spectrum(spectrum)
    for spectrum in taken:
        yield Corv.from_spectrum(spectrum)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few spectra that were partly answered stay in memory."""
    monkeypatch.setattr(asked, "MOST_PARTLY_ANSWERED", 4)


@pytest.mark.parametrize("n_spectra", [1, 40])
def test_each_model_has_its_result_however_late(
    database: peewee.Database, make_spectra: Any, little_memory: None, n_spectra: int
) -> None:
    spectra = make_spectra(n_spectra)
    list(both(spectra))
    for model in (Rocket, Corv):
        assert [row.spectrum_pk for row in model.select().order_by(model.spectrum_pk)] == keys(spectra)
    assert listed() == []


def test_of_each_model_there_is_one(memory_database: peewee.Database, make_spectra: Any, little_memory: None) -> None:
    @task
    def repeating(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | Corv]:
        taken = list(spectra)
        for model in (Rocket, Corv, Rocket, Corv):
            yield from (model.from_spectrum(spectrum) for spectrum in taken)

    spectra = make_spectra(10)
    assert len(list(repeating(spectra))) == 20
    assert {row.model for row in RejectedResult.select()} == {"Rocket", "Corv"}
    assert RejectedResult.select().count() == 20


def test_of_a_table_with_a_row_per_element_a_spectrum_has_many(
    memory_database: peewee.Database, make_spectra: Any, little_memory: None
) -> None:
    @task
    def elements(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | FerreChemicalAbundances]:
        for spectrum in spectra:
            for element in ("Al", "Mg", "Al"):
                yield FerreChemicalAbundances.from_spectrum(spectrum, element=element, m_h=-0.5)
            yield Rocket.from_spectrum(spectrum, teff=5_000)
            yield FerreChemicalAbundances.from_spectrum(spectrum, element="Fe", m_h=-0.25)

    some = make_spectra(30)
    assert len(list(elements(some))) == 30 * 4
    stored = FerreChemicalAbundances.select(FerreChemicalAbundances.spectrum_pk, FerreChemicalAbundances.element)
    assert sorted(stored.tuples()) == [(key, element) for key in keys(some) for element in ("Al", "Fe", "Mg")]
    assert listed() == [(key, "contract") for key in keys(some)]
    assert "once for each model and element" in RejectedResult.select().first().message


def test_the_source_of_a_late_result_is_that_of_its_spectrum(
    memory_database: peewee.Database, make_spectra: Any, little_memory: None
) -> None:
    @task
    def wrong(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | Corv]:
        taken = list(spectra)
        yield from (Rocket.from_spectrum(spectrum) for spectrum in taken)
        yield from (Corv(spectrum_pk=spectrum.spectrum_pk, source_pk=10**6) for spectrum in taken)

    list(wrong(make_spectra(10)))
    assert {row.message.partition(":")[0] for row in RejectedResult.select()} == {"another source"}
    assert Corv.select().count() == 0


# ---- older versions


def test_a_task_that_repeats_older_results_says_so(visits: list[BossVisitSpectrum]) -> None:
    spectra = visits

    @task(v_astra="older")
    def repeating(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=1, v_astra=OLDER)
            yield Rocket.from_spectrum(spectrum, teff=2)
            yield Rocket.from_spectrum(spectrum, teff=3, v_astra=OLDER)
            yield Rocket.from_spectrum(spectrum, teff=4, v_astra=V_ASTRA + 1_000)

    assert repeating.v_astra == "older"
    list(repeating(spectra))
    assert sorted((row.v_astra, row.teff) for row in Rocket.select()) == [(OLDER, 1)] * 5 + [(V_ASTRA, 2)] * 5
    assert len(listed()) == 10


def test_versions_of_another_name_are_an_error() -> None:
    with pytest.raises(TaskError, match="v_astra='any' is none of 'installed', 'older'"):
        task(v_astra="any")(both.function)  # pyright: ignore[reportArgumentType]


# ---- calls by hand


def test_a_spectrum_that_is_given_twice_is_answered_twice(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def together(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield from [Rocket.from_spectrum(spectrum) for spectrum in spectra]

    plain = making(with_values())
    twice = [*spectra, *spectra]
    for function in (plain, together):
        assert len(list(function(twice, write_to_database=False))) == 10
    list(together(twice))
    assert Rocket.select().count() == 5
    assert listed() == []


def test_a_spectrum_that_is_given_twice_to_a_task_of_two_models_is_answered_four_times(
    spectra: list[BossVisitSpectrum],
) -> None:
    assert len(list(both([*spectra, *spectra], write_to_database=False))) == 20


def test_spectra_that_are_in_no_database_are_analysed_too(memory_database: peewee.Database) -> None:
    spectra = [BossVisitSpectrum(flux=np.full(3, i)) for i in range(5)]

    @task
    def level(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in list(spectra):
            yield Rocket.from_spectrum(spectrum, teff=spectrum.flux.mean())

    assert [row.teff for row in level(spectra, write_to_database=False)] == [0, 1, 2, 3, 4]
    with pytest.raises(PipelineError, match="failing raised on all 5 spectra"):
        list(failing(spectra, write_to_database=False))


@task
def failing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Raise at each spectrum."""
    for spectrum in spectra:
        raise ValueError(spectrum.spectrum_pk)
        yield


def test_results_of_spectra_that_are_in_no_database_can_not_be_stored(database: peewee.Database) -> None:
    list(making(with_values())([BossVisitSpectrum() for _ in range(3)]))
    assert listed() == [(None, "refused")] * 3


def test_rows_of_the_general_table_have_the_source_of_their_kind(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(4)
    list(making(with_values(source_pk=10**6))(Spectrum.select().order_by(Spectrum.pk)))
    assert listed() == [(spectra[2].spectrum_pk, "contract")]


def test_a_spectrum_of_no_kind_can_be_answered(database: peewee.Database) -> None:
    Spectrum.create()

    @task
    def plain(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket(spectrum_pk=spectrum.spectrum_pk)

    assert len(list(plain(Spectrum.select()))) == 1


# ---- memory


def test_what_was_answered_needs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "MOST_PARTLY_ANSWERED", 200)
    result = Rocket(spectrum_pk=1, source_pk=1)

    def answer(models: list[Any], numbers: Iterable[int]) -> int:
        questions = Asked(models, V_ASTRA)
        tracemalloc.start()
        for number in numbers:
            questions.take(BossVisitSpectrum(spectrum_pk=number, source_pk=number))
            result.__data__ |= {"spectrum_pk": number, "source_pk": number, "v_astra": V_ASTRA}
            assert questions.answer(result) is None
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        questions.close()
        return size

    scattered = (number * 7_919 % 10**9 for number in range(1, 4_000))
    assert answer([Rocket], scattered) < 100_000
    assert answer([Rocket, Corv], range(1, 4_000)) < 400_000


# ---- any pipeline


class Reference:
    """The rule, with a memory without bounds."""

    def __init__(self, models: list[Any]):
        self.models = models
        self.taken: dict[int, int] = {}
        self.given: dict[tuple[int, Any], int] = {}

    def answer(self, result: Any, sources: dict[int, int]) -> bool:
        key = result.spectrum_pk
        place = (key, type(result))
        if self.given.get(place, 0) >= self.taken.get(key, 0):
            return False
        if result.source_pk not in (None, sources[key]) or result.v_astra != V_ASTRA:
            return False
        self.given[place] = self.given.get(place, 0) + 1
        return True


STEPS = st.one_of(
    st.tuples(st.just("take")),
    st.tuples(
        st.just("give"),
        st.integers(1, 5),
        st.sampled_from([Rocket, Corv]),
        st.sampled_from(["right", "right", "right", "none", "wrong"]),
        st.sampled_from([V_ASTRA, V_ASTRA, V_ASTRA, OLDER]),
    ),
)


@pytest.mark.parametrize("partly", [2, 1_000])
@given(st.lists(STEPS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_order_of_taking_and_giving_follows_the_rule(partly: int, steps: list[Any]) -> None:
    sources = {key: 100 + key for key in range(1, 10)}
    reference, expected = Reference([Rocket, Corv]), []

    @task
    def pipeline(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | Corv]:
        rest: Iterator[BossVisitSpectrum] = iter(spectra)
        first = next(rest, None)
        if first is None:
            return
        reference.taken[first.spectrum_pk] = 1
        for step in steps:
            if step[0] == "take":
                spectrum = next(rest, None)
                if spectrum is not None:
                    reference.taken[spectrum.spectrum_pk] = 1
                continue
            _, key, model, source, v_astra = step
            source_pk = {"right": sources[key], "none": None, "wrong": 7}[source]
            result = model(spectrum_pk=key, source_pk=source_pk, v_astra=v_astra, teff=len(expected))
            expected.append((result.teff, reference.answer(result, sources)))
            yield result
        for spectrum in rest:
            reference.taken[spectrum.spectrum_pk] = 1

    spectra = [BossVisitSpectrum(spectrum_pk=key, source_pk=source) for key, source in sources.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asked, "MOST_PARTLY_ANSWERED", partly)
        items = list(itertools.chain.from_iterable(pipeline.batches(spectra)))
    accepted = {item.teff for item in items if not isinstance(item, RejectedResult)}
    listed = [item for item in items if isinstance(item, RejectedResult)]
    refused = [payload_from_json(item.payload)["teff"] for item in listed if item.reason == "contract"]
    assert accepted == {teff for teff, is_answer in expected if is_answer}
    assert refused == [teff for teff, is_answer in expected if not is_answer]
    answered = {item.spectrum_pk for item in items if not isinstance(item, RejectedResult)}
    silent = {item.spectrum_pk for item in listed if item.reason == "no_result"}
    assert answered.isdisjoint(silent)
    n_blamed = len(sources) - len(answered) - len(silent)
    assert n_blamed <= len(refused)


def test_each_stream_that_is_written_counts_what_it_answered(spectra: list[BossVisitSpectrum]) -> None:
    batches = both.batches(spectra, batch_size=2)
    stream = ResultStream(batches, both.output_models, due=5)
    total = UpsertReport()
    for report, _ in write_batches(stream):
        total += report
    assert (stream.answered(total), total.inserted) == (5, 10)
