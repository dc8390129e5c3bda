"""Pipelines that fail in odd ways: nothing of it is a success, is lost, or ends a run without a word."""

import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playhouse.migrate import SchemaMigrator, migrate

from astra_models import task
from astra_models.analysis.due import select_due
from astra_models.analysis.recording import record
from astra_models.analysis.stream import ResultStream, analyse, write
from astra_models.base import bind, bound_schema
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import MissingPixelsError, PipelineError, UnansweredError
from astra_models.messages import error_text, presentable, safe_text, traceback_text
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.version import installed_v_astra


@pytest.fixture
def spectra(memory_database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra."""
    return make_spectra(5)


def keys(spectra: Iterable[Any]) -> list[int]:
    return [spectrum.spectrum_pk for spectrum in spectra]


def listed() -> dict[int, str]:
    return {row.spectrum_pk: row.reason for row in RejectedResult.select()}


def due() -> list[int]:
    return list(select_due(Rocket, BossVisitSpectrum))


def raising(error: Callable[[], BaseException], *places: int) -> Any:
    """Make a task that raises at the spectra of some places."""

    @task
    def raises(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if (spectrum.spectrum_pk - 1) % 1000 in places:
                raise error()
            yield Rocket.from_spectrum(spectrum, teff=5_000)

    return raises


# ---- what ends a program doesn't end a run


@pytest.mark.parametrize(
    "error",
    [SystemExit, lambda: SystemExit(0), lambda: SystemExit("no"), GeneratorExit],
    ids=["exit", "exit 0", "exit with a text", "generator exit"],
)
def test_what_would_end_the_program_is_a_failure_of_its_spectrum(spectra: list[BossVisitSpectrum], error: Any) -> None:
    wanted = (spectra[2].spectrum_pk - 1) % 1000
    assert len(list(raising(error, wanted)(spectra))) == 4
    assert listed() == {spectra[2].spectrum_pk: "exception"}
    assert due() == []


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_of_several_open_spectra_each_is_tried_alone_after_an_exit(
    spectra: list[BossVisitSpectrum], error: type[BaseException]
) -> None:
    @task
    def together(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        taken = list(spectra)
        if spectra_key in keys(taken):
            raise error
        yield from (Rocket.from_spectrum(spectrum) for spectrum in taken)

    spectra_key = spectra[3].spectrum_pk
    assert len(list(together(spectra))) == 4
    assert listed() == {spectra_key: "exception"}


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_an_exit_before_a_spectrum_is_taken_fails_the_run(
    spectra: list[BossVisitSpectrum], error: type[BaseException]
) -> None:
    @task
    def leaves(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        raise error
        yield

    with pytest.raises(PipelineError, match=f"leaves raised before it took a spectrum: {error.__name__}"):
        list(leaves(spectra))
    assert listed() == {}


def test_an_exit_at_every_spectrum_fails_the_run(spectra: list[BossVisitSpectrum]) -> None:
    with pytest.raises(PipelineError, match="on all 5 spectra"):
        list(raising(lambda: SystemExit(0), *range(5))(spectra))
    assert due() == keys(spectra)


def test_ctrl_c_ends_the_run(spectra: list[BossVisitSpectrum]) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(raising(KeyboardInterrupt, 2)(spectra))
    assert listed() == {}


# ---- generators that take nothing


def returns_at_the_top(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    return
    yield


def takes_none(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in itertools.islice(spectra, 0):
        yield Rocket.from_spectrum(spectrum)


def only_says_that_it_loads(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    yield ...  # pyright: ignore[reportReturnType]


def invents_results(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    yield Rocket(spectrum_pk=1)


@pytest.mark.parametrize("function", [returns_at_the_top, takes_none, only_says_that_it_loads, invents_results])
def test_a_generator_that_takes_no_spectrum_fails_the_run(spectra: list[BossVisitSpectrum], function: Any) -> None:
    calls = []

    @task
    def counted(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        calls.append(spectra)
        yield from function(spectra)

    with pytest.raises(PipelineError, match="counted ended before it took a spectrum: it has to take one"):
        list(counted(spectra))
    assert len(calls) == 1
    assert due() == keys(spectra)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_a_generator_that_takes_some_at_a_time_is_called_until_all_are_taken(
    spectra: list[BossVisitSpectrum], size: int
) -> None:
    @task
    def some_at_a_time(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield from [Rocket.from_spectrum(spectrum) for _, spectrum in zip(range(size), spectra, strict=False)]

    assert keys(some_at_a_time(spectra)) == keys(spectra)


def test_a_generator_that_ends_for_good_after_the_last_spectrum_has_done_its_work(
    spectra: list[BossVisitSpectrum],
) -> None:
    left = len(spectra)

    @task
    def one_and_no_more(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        nonlocal left
        if left:
            left -= 1
            yield Rocket.from_spectrum(next(iter(spectra)))

    assert keys(one_and_no_more(spectra)) == keys(spectra)


def test_a_generator_that_stops_for_good_fails_and_what_it_gave_is_kept(spectra: list[BossVisitSpectrum]) -> None:
    left = 2

    @task
    def two_and_no_more(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        nonlocal left
        if left:
            left -= 1
            yield Rocket.from_spectrum(next(iter(spectra)))

    with pytest.raises(PipelineError, match=r"ended before it took another spectrum \(what it gave until then is kept"):
        list(two_and_no_more(spectra))
    assert Rocket.select().count() == 2
    assert due() == keys(spectra[2:])


def test_what_was_given_before_an_error_of_the_input_is_kept(spectra: list[BossVisitSpectrum]) -> None:
    def broken_input() -> Iterator[BossVisitSpectrum]:
        yield from spectra[:3]
        raise ConnectionError("the database is gone")

    @task
    def forgiving(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        try:
            for spectrum in spectra:
                yield Rocket.from_spectrum(spectrum)
        except ConnectionError:
            return  # as if there were no more

    with pytest.raises(ConnectionError, match="the database is gone"):
        list(forgiving(broken_input()))
    assert Rocket.select().count() == 3


@pytest.mark.parametrize("later", [None, SystemExit, RuntimeError])
def test_a_generator_that_does_not_take_a_spectrum_when_it_is_tried_alone_fails_the_run(
    spectra: list[BossVisitSpectrum], later: type[BaseException] | None
) -> None:
    calls = 0

    @task
    def breaking(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        nonlocal calls
        calls += 1
        if calls > 1:
            if later is None:
                return
            raise later("the device is gone")
        taken = list(itertools.islice(spectra, 3))
        yield Rocket.from_spectrum(taken[0])
        raise ValueError("first")

    with pytest.raises(PipelineError, match="before it took another spectrum"):
        list(breaking(spectra))
    assert calls == 2
    assert listed() == {}
    assert due() == keys(spectra[1:])


@pytest.mark.parametrize("n_open", [1001, 1500])
def test_the_pixels_of_spectra_that_are_open_for_long_are_released(
    memory_database: peewee.Database, n_open: int
) -> None:
    released = []

    class Watched(BossVisitSpectrum):
        def release_pixels(self) -> None:
            released.append(self.spectrum_pk)

    @task
    def together(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield from [Rocket.from_spectrum(spectrum) for spectrum in spectra]

    spectra = [Watched(spectrum_pk=key) for key in range(1, n_open + 1)]
    assert len(list(together(spectra, write_to_database=False))) == n_open
    assert released == list(range(1, n_open - 999))


# ---- generators that have nothing to say


@task
def silent(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give nothing."""
    for _ in spectra:
        yield ...  # pyright: ignore[reportReturnType]


def test_a_pipeline_that_never_gave_a_result_fails_and_marks_nothing(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(20)
    with pytest.raises(PipelineError, match=r"silent gave no result for any of 20 spectra.*still due"):
        list(silent(spectra))
    assert listed() == {}
    assert due() == keys(spectra)


def test_a_pipeline_may_have_nothing_to_say_of_a_few_spectra(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(19)
    assert list(silent(spectra)) == []
    assert listed() == dict.fromkeys(keys(spectra), "no_result")
    assert due() == []


@pytest.mark.parametrize(("v_astra", "fails"), [(0, False), (-1, True), (-1_000, True)])
def test_a_pipeline_that_has_results_of_this_version_may_have_nothing_to_say(
    database: peewee.Database, make_spectra: Any, v_astra: int, fails: bool
) -> None:
    other, *spectra = make_spectra(31)
    Rocket.create(spectrum_pk=other.spectrum_pk, v_astra=installed_v_astra() + v_astra)
    if fails:
        with pytest.raises(PipelineError, match="none of this version is stored"):
            list(silent(spectra))
        assert listed() == {}
    else:
        assert list(silent(spectra)) == []
        assert listed() == dict.fromkeys(keys(spectra), "no_result")


def test_one_result_is_enough(memory_database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(30)

    @task
    def rare(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            if i == 29:
                yield Rocket.from_spectrum(spectrum)

    assert len(list(rare(spectra))) == 1
    assert listed() == dict.fromkeys(keys(spectra[:-1]), "no_result")


def test_spectra_without_a_result_are_not_marked_if_the_pipeline_raised_on_the_others(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(6)
    last = spectra[2].spectrum_pk

    @task
    def hopeless(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk > last:
                raise ValueError(spectrum)
            yield ...  # pyright: ignore[reportReturnType]

    with pytest.raises(PipelineError, match="hopeless raised on all"):
        list(hopeless(spectra))
    assert due() == keys(spectra)


def test_unreadable_files_do_not_hide_that_nothing_was_said_of_the_others(
    memory_database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(20)
    unreadable = set(keys(spectra)[:10])

    @task
    def mute(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk in unreadable:
                raise MissingPixelsError(spectrum)
            yield ...  # pyright: ignore[reportReturnType]

    with pytest.raises(PipelineError, match="mute gave no result for any of 20 spectra"):
        list(mute(spectra))
    assert due() == keys(spectra)


# ---- too few results


@pytest.mark.parametrize(
    ("n_spectra", "min_answered", "fails"),
    [(20, 0.5, True), (19, 0.5, False), (20, 0.2, False), (20, 0.21, True), (20, 0, False)],
)
def test_a_run_that_answered_too_few_fails_after_it_was_written(
    memory_database: peewee.Database, make_spectra: Any, n_spectra: int, min_answered: float, fails: bool
) -> None:
    make_spectra(n_spectra)
    stream = analyse(raising(ValueError, *range(4, 20)), min_answered=min_answered)
    report = write(stream)
    assert (stream.answered(report), report.inserted) == (4, 4)
    assert len(listed()) == n_spectra - 4
    if fails:
        with pytest.raises(UnansweredError, match="only 4 of 20 spectra that were due have a result"):
            stream.require_answered(report)
    else:
        stream.require_answered(report)


def test_a_result_that_can_not_be_stored_answers_nothing(memory_database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(20)

    @task
    def overflowing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            yield Rocket.from_spectrum(spectrum, teff=1e39)

    stream = analyse(overflowing)
    with pytest.raises(UnansweredError, match="only 0 of 20"):
        stream.require_answered(write(stream))


def test_a_stream_that_does_not_know_what_is_due_can_not_have_too_few() -> None:
    stream = ResultStream([[]], [Rocket], min_answered=1)
    stream.require_answered(write(stream))


# ---- texts of exceptions


class Silent(Exception):
    """An exception whose text can't be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Leaving(Silent):
    """An exception that would end the program when it is shown."""

    def __str__(self) -> str:
        sys.exit(3)


class Nameless(type):
    """A class of classes that have another name than they say."""

    @property
    def __name__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("no name")


class Strange(Exception, metaclass=Nameless):
    """An exception whose class has no name."""


HOSTILE: dict[str, Callable[[], BaseException]] = {
    "NUL": lambda: ValueError("a\0b"),
    "a lone surrogate": lambda: ValueError("a\udc80b"),
    "a control sequence": lambda: ValueError("\x1b[31mred\x1b[0m \x9b31m \x07\r"),
    "another direction": lambda: ValueError("\u202egnp.exe\u2066"),
    "no text": Silent,
    "a text that exits": Leaving,
    "no name": lambda: Strange("x"),
    "an argument without a text": lambda: ValueError(Silent()),
    "a circle of causes": lambda: _in_a_circle(),
    "a note": lambda: _with_a_note("\x1b[2J"),
    "a group": lambda: ExceptionGroup("\x1b", [Silent(), ValueError("\0")]),
    "SystemExit": lambda: SystemExit("\x1b\0"),
    "unreadable pixels": lambda: MissingPixelsError("file \x1b]0;title\x07.fits"),
}


def _in_a_circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def _with_a_note(note: str) -> Exception:
    error = ValueError("x")
    error.add_note(note)
    return error


def test_exceptions_of_any_text_are_listed(
    database: peewee.Database, make_spectra: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good, *spectra = make_spectra(len(HOSTILE) + 1)
    errors = dict(zip(keys(spectra), HOSTILE.values(), strict=True))

    @task
    def raises(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for spectrum in spectra:
            if spectrum.spectrum_pk in errors:
                raise errors[spectrum.spectrum_pk]()
            yield Rocket.from_spectrum(spectrum)

    with caplog.at_level(logging.WARNING):
        assert keys(raises([good, *spectra])) == [good.spectrum_pk]
    assert listed() == dict.fromkeys(errors, "exception")
    for row in RejectedResult.select():
        assert "in raises\n    raise errors[spectrum.spectrum_pk]()" in row.traceback
        assert harmless(row.message)
        assert harmless(row.traceback)
    assert all(harmless(record.getMessage()) for record in caplog.records)


@pytest.mark.parametrize("error", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_exception_of_any_text_may_fail_the_run(spectra: list[BossVisitSpectrum], error: Any) -> None:
    if error is HOSTILE["unreadable pixels"]:
        return  # of a few files, it doesn't
    with pytest.raises(PipelineError) as failed:
        list(raising(error, *range(5))(spectra))
    cause = failed.value.__cause__
    assert cause is not None
    assert harmless(str(failed.value))
    assert harmless(str(cause))
    assert cause.__traceback__ is not None


def harmless(text: str) -> bool:
    return len(text) < 20_000 and text.encode() is not None and all(c.isprintable() or c in "\n\t" for c in text)


def test_a_text_of_50_megabytes_is_shortened(spectra: list[BossVisitSpectrum]) -> None:
    text = "begins" + "x" * 50_000_000 + "ends"
    list(raising(lambda: ValueError(text), 2)(spectra))
    [row] = RejectedResult.select()
    assert len(row.message) < 2_500
    assert row.message.startswith("ValueError: beginsxxx")
    assert row.message.endswith("xxxends")
    assert "characters ...]" in row.message
    assert len(row.traceback) < 10_100


def test_the_last_frames_are_kept_and_those_of_the_cause(spectra: list[BossVisitSpectrum]) -> None:
    def deep(level: int) -> None:
        if level == 0:
            raise ZeroDivisionError("at the bottom")
        deep(level - 1)

    @task
    def chained(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for i, spectrum in enumerate(spectra):
            try:
                deep(50 if i == 1 else 3)
            except ZeroDivisionError as error:
                if spectrum.spectrum_pk == spectra_keys[0]:
                    yield Rocket.from_spectrum(spectrum)
                    continue
                if i == 1:
                    raise
                raise ValueError("no fit") from error

    spectra_keys = keys(spectra)
    list(chained(spectra))
    tracebacks = [row.traceback for row in RejectedResult.select().order_by(RejectedResult.spectrum_pk)]
    assert tracebacks[0].count("in deep\n") == 20
    assert tracebacks[0].endswith("ZeroDivisionError: at the bottom")
    assert tracebacks[1].endswith('in chained\n    raise ValueError("no fit") from error\nValueError: no fit')
    assert "ZeroDivisionError: at the bottom\n\nwhich led to:\n" in tracebacks[1]
    assert "calling.py" not in tracebacks[0] + tracebacks[1]


def test_spectra_without_a_result_have_no_traceback(spectra: list[BossVisitSpectrum]) -> None:
    list(silent(spectra))
    assert {row.traceback for row in RejectedResult.select()} == {None}


def test_a_table_of_an_older_release_has_failures_without_a_traceback(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra, schema = make_spectra(3), bound_schema()
    migrator = SchemaMigrator.from_database(database, schema=schema)
    if schema is not None:
        database.execute_sql(f'SET search_path TO "{schema}"')
    migrate(migrator.drop_column("rejected_result", "traceback"))
    if schema is not None:
        database.execute_sql("RESET search_path")
    bind(database, schema)
    list(raising(ValueError, (spectra[1].spectrum_pk - 1) % 1000)(spectra))
    [row] = RejectedResult.select()
    assert (row.spectrum_pk, row.message, row.traceback) == (spectra[1].spectrum_pk, "ValueError", None)


ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


@given(ANY_TEXT)
def test_any_text_is_made_harmless(text: str) -> None:
    shown = safe_text(text)
    assert "\x1b" not in shown
    assert shown.encode("utf-8").decode() == shown
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert safe_text(shown) == shown
    if text.isprintable():
        assert shown == text


@given(ANY_TEXT.filter(lambda text: "\\" not in text), st.integers(1, 5))
def test_any_exception_has_a_text(text: str, depth: int) -> None:
    error: BaseException = ValueError(text)
    for _ in range(depth):
        later = RuntimeError(text)
        later.__context__ = error
        error = later
    for shown in (error_text(error), traceback_text(error), str(presentable(error))):
        assert "\0" not in shown
        assert shown.encode("utf-8").decode() == shown


def test_a_failure_that_is_recorded_by_hand_needs_no_spectrum(database: peewee.Database) -> None:
    record([RejectedResult(model="Rocket", v_astra=9_000, reason="exception", message="x")])
    assert listed() == {None: "exception"}
