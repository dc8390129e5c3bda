"""Results of many spectra yielded at once: stored as those that are yielded one by one, with the same contract."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models import task
from astra_models.analysis.analyst import columns_of
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.rows import ColumnRows
from astra_models.errors import FieldValueError, UnknownColumnError
from astra_models.line_forest import LineForest
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert

APART = {"task_pk", "created", "modified", "t_elapsed", "t_overhead", "pipeline_run_pk"}


@task
def at_once(spectra: Iterable[BossVisitSpectrum], size: int = 7) -> Iterable[Rocket]:
    for some in by(size, spectra):
        teff = np.array([1_000.0 + spectrum.spectrum_pk for spectrum in some])
        yield Rocket.from_spectra(some, teff=teff, logg=4, flag_low_snr=teff % 2 == 0)
        teff[:] = 0  # what was yielded counts as it was


@task
def one_by_one(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        teff = 1_000.0 + spectrum.spectrum_pk
        yield Rocket.from_spectrum(spectrum, teff=teff, logg=4, flag_low_snr=teff % 2 == 0)


def by(size: int, spectra: Iterable[Any]) -> Iterator[list[Any]]:
    some: list[Any] = []
    for spectrum in spectra:
        some.append(spectrum)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def stored() -> list[dict[str, Any]]:
    rows = Rocket.select().order_by(Rocket.spectrum_pk).dicts()
    return [{name: value for name, value in row.items() if name not in APART} for row in rows]


@pytest.fixture
def spectra(database: peewee.Database, make_spectra: Any) -> list[BossVisitSpectrum]:
    """Store thirty spectra."""
    return make_spectra(30)


def test_they_are_stored_as_single_ones_are(spectra: list[Any]) -> None:
    assert write(analyse(one_by_one)).inserted == 30
    expected = stored()
    Rocket.delete().execute()
    report = write(analyse(at_once))
    assert (report.inserted, report.rejected) == (30, 0) and stored() == expected
    assert all(row.t_elapsed is not None and row.pipeline_run_pk for row in Rocket.select())
    assert write(analyse(at_once)).rows == 0, "none is due any more"
    assert write(analyse(at_once, rerun="all")).unchanged == 30


def test_a_direct_call_gives_rows(spectra: list[Any]) -> None:
    found = list(at_once(spectra))
    assert [row.spectrum_pk for row in found] == [one.spectrum_pk for one in spectra]
    assert all(row.task_pk and row.teff == 1_000 + row.spectrum_pk for row in found)
    assert len(list(at_once(spectra, write_to_database=False))) == 30


def test_they_can_be_upserted_without_a_pipeline(spectra: list[Any]) -> None:
    rows = Rocket.from_spectra(spectra, teff=[5_000.0] * 30, tag="x")
    assert isinstance(rows, ColumnRows) and len(rows) == 30 and "30 rows of Rocket" in repr(rows)
    assert upsert(Rocket, rows).inserted == 30
    assert {(row.teff, row.tag) for row in Rocket.select()} == {(5_000, "x")}


def test_a_bad_row_does_not_take_the_good_ones_along(spectra: list[Any]) -> None:
    @task
    def bad(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        some = list(spectra)
        yield Rocket.from_spectra(some, teff=np.where(np.arange(len(some)) == 3, 1e300, 5_000.0))

    report = write(analyse(bad))
    assert (report.inserted, report.rejected) == (29, 1)
    assert RejectedResult.get().spectrum_pk == spectra[3].spectrum_pk and "1e+300" in RejectedResult.get().message


# ---- the contract, row by row


@pytest.mark.sqlite_only(reason="the contract is kept before anything is written")
@given(st.lists(st.integers(-3, 12), max_size=25))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_what_was_taken_is_answered_and_once(spectra: list[Any], places: list[int]) -> None:
    Rocket.delete().execute()
    RejectedResult.delete().execute()
    taken = spectra[:10]
    strangers = {place: spectra[place] for place in range(10, 13)}

    @task
    def odd(given: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        mine = list(given)
        some = [strangers.get(place, mine[place % 10]) for place in places]
        yield Rocket.from_spectra(some, teff=np.arange(len(some)) + 1.0)
        yield from (Rocket.from_spectrum(one) for one in mine)  # the rest, and many a second one

    list(odd(taken))
    first = {}
    for number, place in enumerate(places):
        key = strangers.get(place, taken[place % 10]).spectrum_pk
        if place not in strangers:
            first.setdefault(key, number + 1.0)
    assert {row.spectrum_pk: row.teff for row in Rocket.select()} == {
        one.spectrum_pk: first.get(one.spectrum_pk) for one in taken
    }
    n_refused = RejectedResult.select().where(RejectedResult.reason == "contract").count()
    assert n_refused == len(places) - len(first) + len(first)


@pytest.mark.sqlite_only(reason="nothing is written")
def test_another_version_or_source_is_refused(spectra: list[Any]) -> None:
    @task
    def wrong(given: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
        some = list(given)
        rows = Rocket.from_spectra(some, v_astra=[1_000, *[9_000] * (len(some) - 1)])
        rows.columns["source_pk"][1] += 1
        yield rows

    found = list(wrong(spectra[:5]))
    assert [row.spectrum_pk for row in found] == [one.spectrum_pk for one in spectra[2:5]]
    assert sorted(row.message[:14] for row in RejectedResult.select()) == ["another source", "another versio"]


# ---- what can be given


@pytest.mark.sqlite_only(reason="nothing is written")
def test_what_can_not_be_right_is_said_at_once(spectra: list[Any]) -> None:
    with pytest.raises(UnknownColumnError, match="teff"):
        Rocket.from_spectra(spectra, tef=5_000)
    with pytest.raises(FieldValueError, match=r"Rocket\.teff: 3 values were given for 30 spectra"):
        Rocket.from_spectra(spectra, teff=[1, 2, 3])
    with pytest.raises(ValueError, match="source_pk was given"):
        Rocket.from_spectra(spectra, source_pk=1)
    assert len(Rocket.from_spectra([], teff=[])) == 0


@pytest.mark.parametrize(
    "values",
    [
        np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False]),
        [1.0, None, 3.0],
        np.array([1.0, np.nan, 3.0]),
        (1, None, 3),
    ],
)
def test_missing_values(database: peewee.Database, make_spectra: Any, values: Any) -> None:
    upsert(Rocket, Rocket.from_spectra(make_spectra(3), teff=values))
    assert [row.teff for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [1.0, None, 3.0]


def test_values_with_a_unit_are_converted(database: peewee.Database, make_spectra: Any) -> None:
    from astropy import units

    spectra = make_spectra(2)
    upsert(Rocket, Rocket.from_spectra(spectra, teff=[5, 6] * units.kK, e_teff=0.1 * units.kK))
    assert [(row.teff, row.e_teff) for row in Rocket.select().order_by(Rocket.spectrum_pk)] == [
        (5000, 100),
        (6000, 100),
    ]


def test_columns_of_arrays_and_text(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(3)
    percentiles = np.arange(9.0).reshape(3, 3)
    name = next(field.name for field in LineForest._meta.sorted_fields if "percentiles" in field.name)
    rows = LineForest.from_spectra(spectra, tag=["a", "b", "c"], **{name: percentiles})
    assert upsert(LineForest, rows).inserted == 3
    found = list(LineForest.select().order_by(LineForest.spectrum_pk))
    assert [getattr(row, name) for row in found] == percentiles.tolist() and [row.tag for row in found] == list("abc")


@pytest.mark.sqlite_only(reason="nothing is written")
def test_workers_send_them_as_columns(spectra: list[Any]) -> None:
    [(model, columns)], refused = columns_of([Rocket], [Rocket.from_spectra(spectra, teff=1.0, t_elapsed=0.0)])
    assert model is Rocket and len(columns["teff"].values) == 30 and not refused
