"""Results of many spectra at once: columns all the way, the contract held row by row."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from astropy import units

from astra_models import task
from astra_models.analysis.analyst import Analyst, Found
from astra_models.analysis.engine import job_of
from astra_models.analysis.recording import Recording, record_found
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.many import ManyResults
from astra_models.corv import Corv
from astra_models.errors import FieldValueError, TaskError, UnknownColumnError
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert
from astra_models.version import installed_v_astra


def batched(spectra: Iterable[BossVisitSpectrum], n: int) -> Iterator[list[BossVisitSpectrum]]:
    spectra = iter(spectra)
    while some := list(itertools.islice(spectra, n)):
        yield some


@pytest.fixture
def visits(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store five spectra in each kind of database."""
    return make_spectra(5)


def temperatures() -> dict[int, float | None]:
    return {row.spectrum_pk: row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)}


def listed() -> list[tuple[int | None, str]]:
    query = RejectedResult.select().order_by(RejectedResult.spectrum_pk, RejectedResult.pk)
    return [(row.spectrum_pk, row.reason) for row in query]


@task
def together(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give results of three spectra at once."""
    for some in batched(spectra, 3):
        teff = np.array([5000.0 + spectrum.spectrum_pk for spectrum in some])
        yield Rocket.from_spectra(some, teff=teff, flag_low_snr=teff > 5003)
        teff[:] = 0  # the array is used again


@task
def one_by_one(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give the same results, one by one."""
    for spectrum in spectra:
        teff = 5000.0 + spectrum.spectrum_pk
        yield Rocket.from_spectrum(spectrum, teff=teff, flag_low_snr=teff > 5003)


def content() -> list[tuple[Any, ...]]:
    """Give what is stored, without keys and times that differ from run to run."""
    aside = {"task_pk", "created", "modified", "t_elapsed", "t_overhead", "pipeline_run_pk"}
    fields = [field for field in Rocket._meta.sorted_fields if field.name not in aside]
    return list(Rocket.select(*fields).order_by(Rocket.spectrum_pk).tuples())


# ---- by itself


def test_arrays_scalars_and_flags_are_given_by_name(memory_database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(3)
    many = Rocket.from_spectra(spectra, teff=[1, None, 3.5], logg=4.5, flag_low_snr=[True, False, True], tag="a")
    rows = list(many)
    assert [type(row) for row in rows] == [Rocket] * 3
    assert [row.spectrum_pk for row in rows] == [spectrum.spectrum_pk for spectrum in spectra]
    assert [row.source_pk for row in rows] == [spectrum.source_pk for spectrum in spectra]
    assert [(row.teff, row.logg, row.flag_low_snr, row.tag) for row in rows] == [
        (1, 4.5, True, "a"), (None, 4.5, False, "a"), (3.5, 4.5, True, "a"),
    ]  # fmt: skip


def test_they_can_be_stored_without_a_task(visits: list[BossVisitSpectrum]) -> None:
    teff = np.ma.MaskedArray([5.0, 6.0, 7.0, 8.0, 9.0], [False, False, True, False, False])
    report = upsert(Rocket, Rocket.from_spectra(visits, teff=teff * 1000, e_teff=np.float32(2)))
    assert (report.inserted, report.rejected) == (5, 0)
    assert list(temperatures().values()) == [5000, 6000, None, 8000, 9000]
    assert {row.v_astra for row in Rocket.select()} == {installed_v_astra()}


def test_units_are_converted(memory_database: peewee.Database, make_spectra: Any) -> None:
    many = Rocket.from_spectra(make_spectra(2), teff=[5, 6] * units.kK, e_teff=0.1 * units.kK)
    assert [(row.teff, row.e_teff) for row in many] == [(5000, 100), (6000, 100)]
    assert "2 rows of Rocket" in repr(many)
    with pytest.raises(FieldValueError, match="teff: unit m can't be converted to K"):
        Rocket.from_spectra([], teff=[] * units.m)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"tef": 1}, UnknownColumnError, "tef.*teff"),
        ({"flag_low_sn": True}, UnknownColumnError, "flag_low_snr"),
        ({"logg": [1, 2]}, FieldValueError, "logg has 2 values for 3 spectra"),
        ({"logg": np.zeros((3, 2))}, FieldValueError, r"logg has values of shape \(3, 2\) for 3 spectra"),
        ({"flag_low_snr": [True]}, FieldValueError, "flag_low_snr has 1 values for 3 spectra"),
        ({"spectrum_pk": [1, 2, 99]}, ValueError, "spectrum_pk 99 was given, but the spectrum's is 3"),
    ],
)
def test_a_mistake_is_named(
    memory_database: peewee.Database, make_spectra: Any, values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Rocket.from_spectra(make_spectra(3), **values)


def test_spectra_have_to_come_alone(memory_database: peewee.Database, make_spectra: Any) -> None:
    with pytest.raises(TypeError, match="takes spectra alone"):
        Rocket.from_spectra([(spectrum, None) for spectrum in make_spectra(2)])  # pyright: ignore[reportArgumentType]


# ---- from a task


def test_a_task_stores_the_same_as_with_results_one_by_one(visits: list[BossVisitSpectrum]) -> None:
    write(analyse(one_by_one))
    expected = content()
    Rocket.delete().execute()
    report = write(analyse(together))
    assert (report.inserted, report.rejected) == (5, 0)
    assert content() == expected
    run = PipelineRun.select().order_by(PipelineRun.pk.desc()).get()
    for row in Rocket.select():
        assert row.pipeline_run_pk == run.pk
        assert row.spectrum_revision is not None
        assert row.t_elapsed > 0
        assert row.t_overhead >= 0
    assert write(analyse(together)).rows == 0  # nothing is due


def test_a_direct_call_gives_rows(visits: list[BossVisitSpectrum]) -> None:
    results = list(together(visits))
    assert [type(result) for result in results] == [Rocket] * 5
    assert all(result.task_pk for result in results)
    assert [result.teff for result in results] == list(temperatures().values())
    unsaved = list(together(visits, write_to_database=False))
    assert [(row.spectrum_pk, row.teff) for row in unsaved] == list(temperatures().items())


def test_another_process_gives_the_same(visits: list[BossVisitSpectrum]) -> None:
    write(analyse(one_by_one))
    expected = content()
    Rocket.delete().execute()
    job = job_of(together, {})
    assert job is not None
    found = Analyst(job).analyse(BossVisitSpectrum, [visit.spectrum_pk for visit in visits])
    found = Found.unpack(found.pack())
    assert (found.answered, found.rows) == (5, 5)
    assert len(found.usage.slowest) == 5
    record_found(found, Recording(), 7)
    assert content() == expected
    assert {row.pipeline_run_pk for row in Rocket.select()} == {7}


def test_a_row_that_cannot_be_stored_leaves_the_others_alone(visits: list[BossVisitSpectrum]) -> None:
    @task
    def beyond(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        some = list(spectra)
        yield Rocket.from_spectra(some, teff=[1, 2, 1e300, "hot", 5])

    report = write(analyse(beyond, min_answered=0))
    assert (report.inserted, report.rejected) == (3, 2)
    assert list(temperatures().values()) == [1, 2, 5]
    assert [pk for pk, _ in listed()] == [visits[2].spectrum_pk, visits[3].spectrum_pk]


Spoil = Callable[[list[BossVisitSpectrum]], ManyResults[Rocket]]


def twice(some: list[BossVisitSpectrum]) -> ManyResults[Rocket]:
    return Rocket.from_spectra([*some, some[2]], teff=[*range(5), 99])


def not_taken(some: list[BossVisitSpectrum]) -> ManyResults[Rocket]:
    return Rocket.from_spectra([*some, BossVisitSpectrum(spectrum_pk=10_000, source_pk=1)], teff=[*range(5), 99])


def another_version(some: list[BossVisitSpectrum]) -> ManyResults[Rocket]:
    return Rocket.from_spectra([*some, some[4]], teff=[*range(5), 99], v_astra=[installed_v_astra()] * 5 + [1])


def another_source(some: list[BossVisitSpectrum]) -> ManyResults[Rocket]:
    other = BossVisitSpectrum(spectrum_pk=some[0].spectrum_pk, source_pk=some[1].source_pk)
    return Rocket.from_spectra([other, *some], teff=[99, *range(5)])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (twice, "answered already"),
        (not_taken, "not taken"),
        (another_version, "v_astra is 1"),
        (another_source, "another source"),
    ],
)
def test_the_contract_holds_for_each_row(visits: list[BossVisitSpectrum], spoil: Spoil, message: str) -> None:
    @task
    def spoiled(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield spoil(list(spectra))

    report = write(analyse(spoiled))
    assert (report.inserted, report.rejected) == (5, 1)
    assert list(temperatures().values()) == [0, 1, 2, 3, 4]
    (row,) = RejectedResult.select()
    assert row.reason == "contract"
    if spoil is not another_version:
        assert message in row.message


def test_a_spectrum_that_is_left_out_has_no_result(visits: list[BossVisitSpectrum]) -> None:
    @task
    def most(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        some = list(spectra)
        yield Rocket.from_spectra(some[1:], teff=1)
        yield Rocket.from_spectra([], teff=1)

    report = write(analyse(most))
    assert (report.inserted, report.rejected) == (4, 1)
    assert listed() == [(visits[0].spectrum_pk, "no_result")]


def test_rows_and_columns_may_be_mixed_with_what_raises(visits: list[BossVisitSpectrum]) -> None:
    @task
    def mixed(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        for some in batched(spectra, 2):
            if visits[2] in some:
                raise ValueError("a bad pair")
            if len(some) == 1:
                yield Rocket.from_spectrum(some[0], teff=7)
            else:
                yield Rocket.from_spectra(some, teff=1)

    report = write(analyse(mixed))
    assert temperatures() == {visit.spectrum_pk: teff for visit, teff in zip(visits, (1, 1, None, 7, 7)) if teff}  # noqa: B905
    assert report.rejected == 1
    assert [pk for pk, _ in listed()] == [visits[2].spectrum_pk]


def test_a_model_that_the_annotation_names_twice_is_one() -> None:
    @task
    def both(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket | ManyResults[Rocket]]:
        yield from ()

    assert both.output_models == (Rocket,)


def test_results_of_another_model_are_refused(visits: list[BossVisitSpectrum]) -> None:
    @task
    def wrong(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        yield Corv.from_spectra(list(spectra), teff=1)  # type: ignore[misc]

    with pytest.raises(TaskError, match="yielded a Corv, but says that it gives Rocket"):
        write(analyse(wrong))


def test_a_spectrum_that_was_given_twice_is_answered_twice(visits: list[BossVisitSpectrum]) -> None:
    results = list(together([*visits[:2], visits[0]]))
    assert len(results) == 3
    assert len(temperatures()) == 2
    assert listed() == []
