"""Pipelines: generators of results, timed, and called again for what they didn't answer."""

import gc
import inspect
import time
from collections.abc import Iterable, Iterator
from typing import Any, Optional, Union

import numpy as np
import peewee
import pytest

from astra_models import task
from astra_models.analysis import calling
from astra_models.analysis.due import select_due
from astra_models.analysis.recording import record
from astra_models.analysis.stream import analyse
from astra_models.analysis.task import OF_RUNS
from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import PipelineError, TaskError
from astra_models.mwm import BossCombinedSpectrum
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.spectrum import Spectrum, SpectrumMixin


@pytest.fixture
def spectra(memory_database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra with pixels."""
    return make_spectra(5, pixels={"flux": np.ones(3), "ivar": np.ones(3)})


def answered(results: Iterable[Any]) -> list[int]:
    return [result.spectrum_pk for result in results]


def keys(spectra: Iterable[Any]) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in spectra]


def listed() -> dict[int, tuple[str, str]]:
    return {row.spectrum_pk: (row.reason, row.message) for row in RejectedResult.select()}


@task
def plain(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give every spectrum the same temperature."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


def failing_on(*bad: int) -> Any:
    """Make a task that raises at certain spectra."""

    @task
    def failing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk in bad:
                raise ZeroDivisionError(f"nothing to divide in {spectrum.spectrum_pk}")
            yield Rocket.from_spectrum(spectrum, teff=5_000)

    return failing


# ---- writing


def test_results_are_written_and_given(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(5)
    results = list(plain(spectra))
    assert answered(results) == keys(spectra)
    stored = {row.task_pk: row for row in Rocket.select()}
    for result in results:
        assert stored[result.task_pk].spectrum_pk == result.spectrum_pk
        assert stored[result.task_pk].teff == 5_000
        assert stored[result.task_pk].created == result.created


def test_results_need_not_be_written(spectra: list[BossVisitSpectrum]) -> None:
    results = list(plain(spectra, write_to_database=False))
    assert [result.task_pk for result in results] == [None] * 5
    assert Rocket.select().count() == 0
    assert RejectedResult.select().count() == 0


def test_a_pipeline_is_tested_without_a_database() -> None:
    (result,) = plain.function([BossVisitSpectrum(spectrum_pk=1, source_pk=2)])
    assert (result.teff, result.spectrum_pk) == (5_000, 1)


def test_a_run_takes_back_what_it_kept_from_the_garbage_collector_and_nothing_of_its_callers(
    spectra: list[BossVisitSpectrum],
) -> None:
    gc.unfreeze()
    assert answered(plain(spectra)) == keys(spectra)
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        assert answered(plain(spectra)) == keys(spectra)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.lesson(38)
@pytest.mark.parametrize(("size", "batches"), [(2, [2, 2, 1]), (5, [5]), (100, [5]), (1, [1] * 5)])
def test_the_batch_size_of_the_decorator_is_used(
    spectra: list[BossVisitSpectrum], size: int, batches: list[int]
) -> None:
    @task(batch_size=size)
    def in_batches(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)

    assert in_batches.batch_size == size
    assert [len(batch) for batch in in_batches.batches(spectra)] == batches


@pytest.mark.lesson(38)
def test_the_batch_size_of_the_call_comes_first(spectra: list[BossVisitSpectrum]) -> None:
    assert [len(batch) for batch in plain.batches(spectra, batch_size=3)] == [3, 2]
    results = plain(spectra, batch_size=2)
    next(results)
    assert Rocket.select().count() == 2
    assert len(list(results)) == 4
    assert Rocket.select().count() == 5


@pytest.mark.lesson(38)
def test_the_functions_own_arguments_are_passed_on(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def scaled(spectra: Iterable[BossVisitSpectrum], scale: float, *, offset: float = 0) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=scale * 1_000 + offset)

    assert {row.teff for row in scaled(spectra, 5, write_to_database=False)} == {5_000}
    assert {row.teff for row in scaled(spectra, scale=6, offset=1, batch_size=2)} == {6_001}
    with pytest.raises(TypeError, match="no_such_option"):
        list(scaled(spectra, 5, no_such_option=1))


@pytest.mark.lesson(39)
def test_nothing_is_printed(spectra: list[BossVisitSpectrum], capfd: pytest.CaptureFixture[str]) -> None:
    list(plain(spectra, batch_size=2))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.lesson(40)
def test_a_query_is_run_again_at_every_call(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(3)
    assert len(list(plain(BossVisitSpectrum.select()))) == 3
    make_spectra(2)
    assert len(list(plain(BossVisitSpectrum.select()))) == 5


def test_results_may_be_of_several_models(database: peewee.Database, make_spectra: Any) -> None:
    @task
    def both(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | Corv]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=1)
            yield Corv.from_spectrum(spectrum, teff=2)

    results = list(both(make_spectra(3)))
    assert [type(result) for result in results] == [Rocket, Corv] * 3
    assert {row.teff for row in Rocket.select()} == {1}
    assert {row.teff for row in Corv.select()} == {2}


def test_a_spectrum_of_the_general_table_is_analysed_too(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(2)
    assert len(list(plain(Spectrum.select()))) == 2


def test_a_result_that_can_not_be_stored_is_left_out_and_kept(database: peewee.Database, make_spectra: Any) -> None:
    @task
    def overflowing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            yield Rocket.from_spectrum(spectrum, teff=10.0 ** (38 + i))

    spectra = make_spectra(3)
    assert answered(overflowing(spectra, run_id="5f1c")) == keys(spectra)[:1]
    assert {row.spectrum_pk for row in RejectedResult.select()} == set(keys(spectra)[1:])
    assert {(row.reason, row.run_id) for row in RejectedResult.select()} == {("refused", "5f1c")}


# ---- when it raises


@pytest.mark.lesson(10)
@pytest.mark.parametrize("bad", [[0], [2], [4], [1, 2], [0, 4], [1, 2, 3, 4]])
def test_the_other_spectra_are_analysed(database: peewee.Database, make_spectra: Any, bad: list[int]) -> None:
    spectra = make_spectra(5)
    bad_keys = [spectra[i].spectrum_pk for i in bad]
    results = list(failing_on(*bad_keys)(spectra, run_id="5f1c"))
    assert sorted(answered(results)) == [key for key in keys(spectra) if key not in bad_keys]
    assert Rocket.select().count() == 5 - len(bad)
    assert listed() == {key: ("exception", f"ZeroDivisionError: nothing to divide in {key}") for key in bad_keys}
    row = RejectedResult.get()
    assert (row.model, row.run_id, row.source_pk) == ("Rocket", "5f1c", spectra[bad[0]].source_pk)


@pytest.mark.lesson(10)
def test_failures_are_not_given_as_results(spectra: list[BossVisitSpectrum]) -> None:
    failing = failing_on(spectra[2].spectrum_pk)
    for options in ({}, {"write_to_database": False}):
        assert {type(result) for result in failing(spectra, **options)} == {Rocket}


@pytest.mark.lesson(10)
def test_batches_hold_results_and_failures_that_are_not_stored_yet(spectra: list[BossVisitSpectrum]) -> None:
    items = [item for batch in failing_on(spectra[2].spectrum_pk).batches(spectra) for item in batch]
    failures = [item for item in items if isinstance(item, RejectedResult)]
    assert len(items) == 5
    assert [(row.spectrum_pk, row.reason, row.pk) for row in failures] == [(spectra[2].spectrum_pk, "exception", None)]
    assert RejectedResult.select().count() == 0
    report = record(items)
    assert (report.inserted, report.rejected) == (4, 1)


def taken_together(size: int, bad: Iterable[int], calls: list[list[int]]) -> Any:
    """Make a task that takes several spectra before it answers, and raises if a bad one is among them."""

    @task
    def together(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        waiting: list[BossVisitSpectrum] = []

        def answer() -> Iterator[Rocket]:
            calls.append(keys(waiting))
            if set(keys(waiting)) & set(bad):
                raise ValueError("singular matrix")
            for spectrum in waiting:
                yield Rocket.from_spectrum(spectrum, teff=5_000)
            waiting.clear()

        for spectrum in spectra:
            waiting.append(spectrum)
            if len(waiting) == size:
                yield from answer()
        if waiting:
            yield from answer()

    return together


@pytest.mark.lesson(10)
def test_of_several_open_spectra_each_is_tried_alone(database: peewee.Database, make_spectra: Any) -> None:
    spectra, calls = make_spectra(10), []
    bad = spectra[4].spectrum_pk
    results = list(taken_together(3, [bad], calls)(spectra))
    assert sorted(answered(results)) == [key for key in keys(spectra) if key != bad]
    assert listed() == {bad: ("exception", "ValueError: singular matrix")}
    alone = [call for call in calls if len(call) == 1]
    assert [bad] in alone
    assert len([call for call in calls if bad in call]) == 2


@pytest.mark.lesson(10)
def test_every_spectrum_is_answered_once(spectra: list[BossVisitSpectrum]) -> None:
    results = list(taken_together(4, [spectra[1].spectrum_pk], [])(spectra, write_to_database=False))
    assert len(answered(results)) == len(set(answered(results))) == 4


@pytest.mark.lesson(10)
def test_a_generator_that_raises_before_it_takes_a_spectrum_fails_the_run(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def broken(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        raise FileNotFoundError("no grid of templates")
        yield

    with pytest.raises(PipelineError, match=r"broken.*FileNotFoundError: no grid of templates"):
        list(broken(spectra))
    assert RejectedResult.select().count() == 0


@pytest.mark.lesson(10)
def test_a_generator_that_raises_at_every_spectrum_fails_the_run(spectra: list[BossVisitSpectrum]) -> None:
    with pytest.raises(PipelineError, match=r"failing raised.*ZeroDivisionError"):
        list(failing_on(*keys(spectra))(spectra))
    assert Rocket.select().count() == 0
    assert list(select_due(Rocket, BossVisitSpectrum)) == keys(spectra)


@pytest.mark.lesson(10)
def test_the_first_cause_is_not_lost(spectra: list[BossVisitSpectrum]) -> None:
    with pytest.raises(PipelineError) as failed:
        list(failing_on(*keys(spectra))(spectra))
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


@task
def reading(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Read the pixels."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=float(np.mean(spectrum.flux)))


def test_a_few_unreadable_files_do_not_fail_a_run_that_has_nothing_else(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(3, path="gone.fits")
    assert list(reading(spectra)) == []
    assert listed().keys() == set(keys(spectra))
    assert all("there is no file 'gone.fits'" in message for _, message in listed().values())
    assert list(select_due(Rocket, BossVisitSpectrum)) == []


def test_many_unreadable_files_and_nothing_else_fail_the_run(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(21, path="gone.fits")
    with pytest.raises(PipelineError, match="on all 21 spectra"):
        list(reading(spectra))
    assert listed() == {}
    assert list(select_due(Rocket, BossVisitSpectrum)) == keys(spectra)


def test_an_error_of_the_input_is_the_callers(spectra: list[BossVisitSpectrum]) -> None:
    def broken_input() -> Iterator[BossVisitSpectrum]:
        yield spectra[0]
        raise ConnectionError("the database is gone")

    with pytest.raises(ConnectionError, match="the database is gone"):
        list(plain(broken_input()))


@pytest.mark.lesson(11)
def test_an_interruption_passes(spectra: list[BossVisitSpectrum]) -> None:
    @task(batch_size=1)
    def interrupted(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            if i == 2:
                raise KeyboardInterrupt
            yield Rocket.from_spectrum(spectrum)

    with pytest.raises(KeyboardInterrupt):
        list(interrupted(spectra))
    assert Rocket.select().count() == 2
    assert RejectedResult.select().count() == 0


@pytest.mark.lesson(11)
def test_the_caller_may_stop_and_the_generator_is_closed(spectra: list[BossVisitSpectrum]) -> None:
    closed = []

    @task(batch_size=1)
    def careful(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        try:
            for spectrum in spectra:
                yield Rocket.from_spectrum(spectrum)
        finally:
            closed.append(True)

    results = careful(spectra)
    next(results)
    results.close()
    assert closed == [True]
    assert Rocket.select().count() == 1
    assert RejectedResult.select().count() == 0


# ---- spectra without a result


@pytest.mark.lesson(43)
def test_a_spectrum_without_a_result_is_listed_and_not_due_again(database: peewee.Database, make_spectra: Any) -> None:
    @task
    def picky(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk % 2:
                yield Rocket.from_spectrum(spectrum, teff=5_000)

    spectra = make_spectra(6)
    even = [key for key in keys(spectra) if key % 2 == 0]
    list(picky(spectra))
    assert {key: reason for key, (reason, _) in listed().items()} == dict.fromkeys(even, "no_result")
    assert list(select_due(Rocket, BossVisitSpectrum)) == []
    assert list(select_due(Rocket, BossVisitSpectrum, rerun="failed")) == even


@pytest.mark.lesson(43)
def test_a_generator_may_stop_early(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def one_at_a_time(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum)
            return

    assert answered(one_at_a_time(spectra)) == keys(spectra)


@pytest.mark.lesson(43)
def test_a_failure_ends_with_a_later_result(spectra: list[BossVisitSpectrum]) -> None:
    list(failing_on(spectra[0].spectrum_pk)(spectra))
    assert len(listed()) == 1
    list(plain(spectra))
    assert listed() == {}


def test_no_spectra_are_no_error(memory_database: peewee.Database) -> None:
    assert list(plain([])) == []


# ---- time


class Clock:
    """A clock that only goes on when it is told to, so that times can be compared exactly on a busy machine."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(calling, "time", clock)
    return clock


def seconds(clock: Any, per_spectrum: float, overhead: float) -> Any:
    @task
    def slow(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        clock.sleep(overhead)
        yield ...
        for spectrum in spectra:
            clock.sleep(per_spectrum)
            yield Rocket.from_spectrum(spectrum)

    return slow


@pytest.mark.lesson(41)
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_overhead_is_shared_out_once(spectra: list[BossVisitSpectrum], clock: Clock, batch_size: int) -> None:
    slow = seconds(clock, 0.01, 0.1)
    results = list(slow(spectra, batch_size=batch_size, write_to_database=False))
    assert sum(result.t_overhead for result in results) == pytest.approx(0.1)
    assert [result.t_elapsed for result in results] == pytest.approx([0.01] * len(spectra))


@pytest.mark.lesson(41)
def test_the_consumers_time_is_not_counted(spectra: list[BossVisitSpectrum], clock: Clock) -> None:
    results = []
    for result in seconds(clock, 0, 0)(spectra, batch_size=1, write_to_database=False):
        clock.sleep(0.05)
        results.append(result)
    assert sum(result.t_elapsed + result.t_overhead for result in results) == 0


@pytest.mark.lesson(41)
def test_times_are_stored(spectra: list[BossVisitSpectrum]) -> None:
    results = list(seconds(time, 0.01, 0.02)(spectra))
    stored = list(Rocket.select().order_by(Rocket.spectrum_pk))
    np.testing.assert_allclose([row.t_elapsed for row in stored], [row.t_elapsed for row in results], rtol=1e-6)
    assert all(row.t_overhead > 0 for row in stored)


@pytest.mark.lesson(41)
def test_overhead_between_results_is_counted(spectra: list[BossVisitSpectrum], clock: Clock) -> None:
    @task
    def two_models(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            clock.sleep(0.02)
            yield ...
            yield Rocket.from_spectrum(spectrum)

    results = list(two_models(spectra, write_to_database=False))
    assert sum(result.t_overhead for result in results) == pytest.approx(0.02 * len(spectra))
    assert sum(result.t_elapsed for result in results) == 0


@pytest.mark.lesson(41)
def test_the_clock_of_the_wall_is_not_used(spectra: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    for result in seconds(time, 0.01, 0)(spectra, write_to_database=False):
        assert result.t_elapsed >= 0.009


# ---- names


def test_the_decorator_is_imported_from_the_package_or_the_module() -> None:
    from astra_models.task import Task
    from astra_models.task import task as from_module

    assert from_module is task
    assert isinstance(plain, Task)


def test_what_is_imported_as_the_module_is_the_decorator() -> None:
    import astra_models.task as imported  # docs/decisions/0004-task-is-the-decorator.md

    assert imported is task


# ---- annotations


def test_a_task_says_what_it_is() -> None:
    assert plain.name == plain.__name__ == "plain"
    assert plain.__doc__ == "Give every spectrum the same temperature."
    assert plain.spectrum_models == (BossVisitSpectrum,)
    assert plain.output_models == (Rocket,)
    assert plain.batch_size > 0


V, C, A = BossVisitSpectrum, BossCombinedSpectrum, ApogeeCoaddedSpectrumInApStar


@pytest.mark.lesson(42)
@pytest.mark.parametrize(
    ("annotation", "models"),
    [
        (Iterable[V], (V,)),
        (Iterator[V], (V,)),
        (list[V], (V,)),
        (Iterable[V | C], (V, C)),
        (Iterable[Union[V, C]], (V, C)),  # noqa: UP007
        (Union[Iterable[V], Iterable[C]], (V, C)),  # noqa: UP007
        (Iterable[V] | None, (V,)),
        (Optional[Iterable[V]], (V,)),  # noqa: UP045
        (Optional[Iterable[Optional[V]]], (V,)),  # noqa: UP045
        ("Iterable[BossVisitSpectrum]", (V,)),
        (Iterable["BossVisitSpectrum"], (V,)),
        ("Iterable[BossVisitSpectrum | BossCombinedSpectrum] | None", (V, C)),
    ],
    ids=str,
)
def test_input_models_are_read_from_the_annotation(annotation: Any, models: tuple[type, ...]) -> None:
    def pipeline(spectra: Any) -> Iterable[Rocket]:
        yield from ()

    pipeline.__annotations__["spectra"] = annotation
    assert set(task(pipeline).spectrum_models) == set(models)


@pytest.mark.lesson(42)
@pytest.mark.parametrize(
    ("annotation", "models"),
    [
        (Iterable[Rocket], (Rocket,)),
        (Iterator[Rocket], (Rocket,)),
        (Iterable[Rocket | Corv], (Rocket, Corv)),
        (Iterable[Optional[Rocket]], (Rocket,)),  # noqa: UP045
        ("Iterable[Rocket]", (Rocket,)),
    ],
    ids=str,
)
def test_output_models_are_read_from_the_annotation(annotation: Any, models: tuple[type, ...]) -> None:
    def pipeline(spectra: Iterable[BossVisitSpectrum]) -> Any:
        yield from ()

    pipeline.__annotations__["return"] = annotation
    assert set(task(pipeline).output_models) == set(models)


def test_a_kind_of_spectra_in_general_means_all_kinds() -> None:
    @task
    def general(spectra: Iterable[SpectrumMixin]) -> Iterable[Rocket]:
        yield from ()

    assert set(general.spectrum_models) >= {V, C, A}
    assert all(not model.abstract for model in general.spectrum_models)


@pytest.mark.lesson(42)
def test_an_annotation_that_is_text_names_what_the_function_uses() -> None:
    class Local(Rocket):
        pass

    @task
    def local(spectra: "Iterable[BossVisitSpectrum]") -> "Iterable[Local]":
        for spectrum in spectra:
            yield later and Local.from_spectrum(spectrum)

    later = True  # not yet set when the annotations are read

    assert local.output_models == (Local,)
    assert [type(result) for result in local.function([BossVisitSpectrum(spectrum_pk=1)])] == [Local]


@pytest.mark.lesson(42)
def test_a_notebook_with_annotations_that_are_text() -> None:
    cell = """
from __future__ import annotations

class Mine(Rocket):
    pass

@task
def mine(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Mine]:
    yield from ()
"""
    notebook = {"task": task, "Iterable": Iterable, "Rocket": Rocket, "BossVisitSpectrum": V, "__name__": "__main__"}
    exec(cell, notebook)
    assert notebook["mine"].output_models == (notebook["Mine"],)


def test_an_annotation_that_is_text_can_not_name_what_nothing_else_uses() -> None:
    class Unused(Rocket):
        pass

    def local(spectra: "Iterable[BossVisitSpectrum]") -> "Iterable[Unused]":
        yield from ()

    with pytest.raises(TaskError, match=r"local: .* name 'Unused' is not defined.*define the model in the module, or"):
        task(local)


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"spectra": Iterable[V]},
        {"return": Iterable[Rocket]},
        {"spectra": Iterable[int], "return": Iterable[Rocket]},
        {"spectra": Iterable[V], "return": Iterable[V]},
        {"spectra": "Iterable[NoSuchSpectrum]", "return": Iterable[Rocket]},
        {"spectra": Iterable[V], "return": "Iterable[NoSuchModel]"},
    ],
    ids=str,
)
def test_annotations_that_do_not_say_what_is_taken_and_given_are_an_error(annotations: dict[str, Any]) -> None:
    def vague(spectra: Any) -> Any:
        yield from ()

    vague.__annotations__ = annotations
    with pytest.raises(TaskError, match="vague"):
        task(vague)


def test_a_function_that_is_no_generator_is_an_error() -> None:
    def returns(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        return []

    with pytest.raises(TaskError, match="returns is not a generator"):
        task(returns)


def test_what_is_no_result_is_an_error_that_names_it(spectra: list[BossVisitSpectrum]) -> None:
    @task
    def wrong(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Corv.from_spectrum(spectrum)

    with pytest.raises(TaskError, match=r"wrong yielded a Corv.*Rocket"):
        list(wrong(spectra))


@pytest.mark.parametrize("size", [0, -1])
def test_a_wrong_batch_size_is_an_error(size: int) -> None:
    def pipeline(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield from ()

    with pytest.raises(TaskError, match=f"batch_size={size}"):
        task(batch_size=size)(pipeline)


# ---- memory


def test_spectra_are_taken_as_they_are_needed(memory_database: peewee.Database, make_spectra: Any) -> None:
    taken = []

    def lazily() -> Iterator[BossVisitSpectrum]:
        for spectrum in make_spectra(10):
            taken.append(spectrum.spectrum_pk)
            yield spectrum

    results = plain(lazily(), batch_size=2)
    next(results)
    assert len(taken) <= 3
    results.close()


# ---- groups


def test_groups_are_refused_with_what_to_do_instead() -> None:
    with pytest.raises(
        TaskError, match=r"group_by=\('source_pk', 'telescope'\).*queries the others.*leave group_by out"
    ):

        @task(group_by=("source_pk", "telescope"))  # type: ignore[call-overload]
        def stacked(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
            yield from ()


@task
def mean_of_source(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give each visit the mean over all visits of its source by the same telescope."""
    for spectrum in spectra:
        of_same_group = (BossVisitSpectrum.source_pk == spectrum.source_pk) & (
            BossVisitSpectrum.telescope == spectrum.telescope
        )
        visits = BossVisitSpectrum.select().where(of_same_group)
        yield Rocket.from_spectrum(spectrum, teff=float(np.mean([visit.snr for visit in visits])))


def test_a_pipeline_that_looks_at_a_group_takes_its_spectra_one_by_one(
    database: peewee.Database, make_spectra: Any
) -> None:
    star, other = (spectrum.source_pk for spectrum in make_spectra(2))
    BossVisitSpectrum.delete().execute()
    visits = make_spectra(3, sources=[star, star, other], telescope="apo25m")
    for visit, snr in zip(visits, (10.0, 30.0, 50.0), strict=True):
        BossVisitSpectrum.update(snr=snr).where(BossVisitSpectrum.pk == visit.pk).execute()
    (elsewhere,) = make_spectra(1, sources=[star], telescope="lco25m", snr=90.0)
    due = [BossVisitSpectrum.get(BossVisitSpectrum.spectrum_pk == key) for key in select_due(Rocket, BossVisitSpectrum)]
    found = {row.spectrum_pk: row.teff for row in mean_of_source(due)}
    assert found == {
        visits[0].spectrum_pk: 20.0,
        visits[1].spectrum_pk: 20.0,
        visits[2].spectrum_pk: 50.0,
        elsewhere.spectrum_pk: 90.0,
    }
    assert len(select_due(Rocket, BossVisitSpectrum)) == 0
    BossVisitSpectrum.update(snr=70.0).where(BossVisitSpectrum.pk == visits[0].pk).execute()
    assert list(select_due(Rocket, BossVisitSpectrum)) == [
        visits[0].spectrum_pk
    ]  # what others are made from isn't asked


def test_the_names_that_runs_take_are_known_without_importing_what_runs() -> None:
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = inspect.signature(analyse).parameters.values()
    assert {one.name for one in taken if one.kind in positional} == OF_RUNS
