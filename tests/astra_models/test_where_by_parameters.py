"""Which spectra a pipeline takes, where that depends on another pipeline's result and on a parameter."""

from collections.abc import Iterable, Mapping
from typing import Any

import peewee
import pytest

from astra_models.analysis.due import StillDue, count_due, due_options, select_due
from astra_models.analysis.news import ask, set_mark, state_of
from astra_models.analysis.stream import analyse, count_work, write
from astra_models.analysis.task import Task, task
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingTableError, ParameterError
from astra_models.rocket import Rocket
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.status.explain import explain_star
from astra_models.status.survey import survey_status
from astra_models.upsert import upsert
from astra_models.version import installed_v_astra

WHITE = ("DA", "DA:")


def white_dwarfs(spectrum: type[Any], values: Mapping[str, Any]) -> peewee.Expression | None:
    """White dwarfs of the wanted classes."""
    return None if values["all_spectra"] else SnowWhite.classification.in_(values["classes"])


@task(where=white_dwarfs, without_effect=["all_spectra"])
def chosen(
    spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite | None]],
    all_spectra: bool = False,
    classes: tuple[str, ...] = WHITE,
) -> Iterable[Rocket]:
    for spectrum, _ in spectra:
        yield Rocket.from_spectrum(spectrum, teff=1)


@pytest.fixture
def keys(database: peewee.Database, make_spectra: Any) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in make_spectra(5)]


def classify(classes: Mapping[int, str | None]) -> None:
    rows = [
        {"spectrum_pk": key, "v_astra": installed_v_astra(), "classification": name} for key, name in classes.items()
    ]
    assert upsert(SnowWhite, rows).rejected == 0


def run(pipeline: Task[Any] = chosen, **parameters: object) -> int:
    stream = analyse(pipeline, parameters=parameters)
    due = stream.due
    write(stream)
    return due


def states(key: int) -> tuple[str, str]:
    source = Source.get_by_id(BossVisitSpectrum.get(spectrum_pk=key).source_pk)
    [found] = [one for one in explain_star(source, [chosen]).analyses if one.spectrum_pk == key]
    return found.state, found.why


def test_spectra_without_a_class_wait_and_others_are_left_out(keys: list[int]) -> None:
    assert str(count_work(chosen)) == "0 due; 5 wait for another pipeline's result"
    classify(dict(zip(keys, ("DA", "DA:", "DB", None), strict=False)))

    assert str(count_work(chosen)) == "2 due: 2 new; 1 wait for another pipeline's result"
    assert [states(key)[0] for key in keys] == ["due", "due", "left out", "left out", "waiting"]
    assert states(keys[2])[1] == "the pipeline doesn't take it: White dwarfs of the wanted classes."
    assert states(keys[4])[1] == "it needs a result of SnowWhite of 0.9 first"
    [status] = [status for status in survey_status([chosen]).pipelines if status.due is not None]
    assert (status.due, status.waiting) == (2, 1)

    assert [run(), run()] == [2, 0]
    assert sorted(row.spectrum_pk for row in Rocket.select()) == keys[:2]
    assert [states(key)[0] for key in keys] == ["done", "done", "left out", "left out", "waiting"]


def test_a_parameter_takes_all(keys: list[int]) -> None:
    classify({keys[0]: "DA", keys[1]: "DB"})
    assert str(count_work(chosen, parameters={"all_spectra": True})) == "5 due: 5 new"
    assert (
        str(count_work(chosen, parameters={"classes": ["DB"]})) == "1 due: 1 new; 3 wait for another pipeline's result"
    )
    assert run(all_spectra=True) == 5
    assert run(chosen.with_defaults(all_spectra=True)) == 0
    assert str(count_work(chosen)) == "0 due"  # those results are no others


def test_a_spectrum_that_gets_another_class_becomes_due(keys: list[int]) -> None:
    classify(dict.fromkeys(keys, "DB"))
    options = due_options(chosen, BossVisitSpectrum)
    still_due = StillDue(Rocket, BossVisitSpectrum, **options)
    assert count_due(Rocket, BossVisitSpectrum, **options) == 0 and still_due(keys) == []
    classify({keys[3]: "DA"})
    assert list(select_due(Rocket, BossVisitSpectrum, **options)) == still_due(keys) == [keys[3]]
    assert run() == 1


def test_the_sensor_hears_of_new_classes(keys: list[int]) -> None:
    state = state_of(chosen)
    set_mark(state)
    assert ask(chosen, state_of(chosen)) is None or not ask(chosen, state_of(chosen)).counts.due  # type: ignore[union-attr]
    classify({keys[0]: "DA", keys[1]: "DB"})
    found = ask(chosen, state_of(chosen))
    assert found is not None and str(found.counts).startswith("1 due: 1 new")


def test_the_sensor_hears_of_another_condition(keys: list[int]) -> None:
    classify(dict.fromkeys(keys, "DB"))
    set_mark(state_of(chosen))
    assert ask(chosen, state_of(chosen)) is None or not ask(chosen, state_of(chosen)).counts.due  # type: ignore[union-attr]
    wider = chosen.with_defaults(all_spectra=True)
    found = ask(wider, state_of(wider))
    assert found is not None and found.in_full and found.counts.due == 5


def test_a_condition_of_the_spectra_alone_lets_nothing_wait(keys: list[int]) -> None:
    @task(where=BossVisitSpectrum.snr > 10)
    def bright(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite | None]]) -> Iterable[Rocket]:
        for spectrum, _ in spectra:
            yield Rocket.from_spectrum(spectrum)

    @task(where=BossVisitSpectrum.snr > 10)
    def needy(spectra: Iterable[tuple[BossVisitSpectrum, SnowWhite]]) -> Iterable[Rocket]:
        for spectrum, _ in spectra:
            yield Rocket.from_spectrum(spectrum)

    BossVisitSpectrum.update(snr=5).where(BossVisitSpectrum.spectrum_pk << keys[:3]).execute()
    BossVisitSpectrum.update(snr=50).where(BossVisitSpectrum.spectrum_pk << keys[3:]).execute()
    assert str(count_work(bright)) == "2 due: 2 new"
    assert str(count_work(needy)) == "0 due; 2 wait for another pipeline's result"


# ---- parameters that stand for something


def test_a_parameter_may_stand_for_what_is_found_now(keys: list[int]) -> None:
    found = {None: "first"}

    def resolve(given: object) -> object:
        if given == "lost":
            raise ParameterError("it is lost")
        return found.get(given, given)  # type: ignore[call-overload]

    @task(resolve={"model": resolve}, warnings=lambda values: [f"with {values['model']}"])
    def model(spectra: Iterable[BossVisitSpectrum], model: str | None = None) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, tag=model)

    assert model.recipe().values == model.recipe(model="first").values == {"model": "first"}
    assert model.recipe().digest == model.recipe(model="first").digest != model.recipe(model="second").digest
    assert model.warnings() == ("with first",) and model.warnings(model="x") == ("with x",)
    assert [run(model), run(model)] == [5, 0]
    found[None] = "second"
    assert str(count_work(model)) == "5 due: 5 parameters changed"
    assert [run(model), run(model)] == [5, 0]
    assert {row.tag for row in Rocket.select()} == {"second"}
    with pytest.raises(ParameterError, match="it is lost"):
        run(model, model="lost")


def test_without_the_table_of_classes_nothing_is_said_to_be_due(keys: list[int]) -> None:
    SnowWhite.drop_table()
    try:
        assert all(status.due is None for status in survey_status([chosen]).pipelines)
        assert (
            explain_star(Source.get_by_id(BossVisitSpectrum.get(spectrum_pk=keys[0]).source_pk), [chosen]).analyses
            == []
        )
        with pytest.raises(MissingTableError, match="snow_white"):
            run()
    finally:
        SnowWhite.create_table()
