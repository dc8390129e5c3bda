"""Tables that are too large to be counted whenever somebody asks: what was counted last is kept and shown."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import peewee
import pytest

from astra_models import task
from astra_models.analysis import counting, news
from astra_models.analysis.stream import analyse, write
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.database.sizes import rows_at_most
from astra_models.database.sql import is_postgresql, quoted_table
from astra_models.fields import utc_now
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.status import VersionStatus, survey_status
from astra_models.survey_count import SurveyCount, kept_counts

Spectra = Callable[..., list[BossVisitSpectrum]]


@task
def rocket(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000.0)


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "0.9.1")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tables of more than two rows be large."""
    monkeypatch.setattr(counting, "LARGE", 2)


@pytest.fixture
def survey(database: peewee.Database, large: None, make_spectra: Spectra) -> list[BossVisitSpectrum]:
    """Give five visits: three have a result, one failed, one is due."""
    spectra = make_spectra(5)
    for spectrum in spectra[:3]:
        Rocket.from_spectrum(spectrum, teff=5_000.0).save(force_insert=True)
    listed = {"model": "Rocket", "v_astra": 9_001, "message": "no", "run_id": "1"}
    RejectedResult.create(spectrum_pk=spectra[3].spectrum_pk, reason="exception", **listed)
    look_at(Source, Spectrum, BossVisitSpectrum, Rocket, RejectedResult)
    return spectra


def look_at(*models: Any) -> None:
    """Have PostgreSQL look how many rows there are, as it does by itself every minute."""
    for model in models:
        if is_postgresql(model._meta.database):
            model._meta.database.execute_sql(f"ANALYZE {quoted_table(model)}")


def of_rocket(**options: Any) -> VersionStatus:
    [status] = [one for one in survey_status([rocket], **options).pipelines if one.pipeline == "rocket"]
    return status


# ---- how many rows there are, at most


def test_an_empty_table_is_known_to_be_empty(database: peewee.Database) -> None:
    assert rows_at_most(database, [Source, Rocket], 10) == {Source: 0, Rocket: 0}


def test_few_rows_and_many_are_told_apart(database: peewee.Database, make_spectra: Spectra) -> None:
    make_spectra(30)
    look_at(Source, Spectrum)
    found = rows_at_most(database, [Source, Spectrum, Rocket, Source], 29)
    assert found == {Source: None, Spectrum: None, Rocket: 0}
    assert rows_at_most(database, [Source, Spectrum], 30) == {Source: 30, Spectrum: 30}
    assert rows_at_most(database, [], 30) == {}


@pytest.mark.postgresql_only(reason="SQLite has the keys, and asks nothing of a planner")
def test_a_table_that_the_planner_has_not_seen_is_read_up_to_the_limit(
    database: peewee.Database, make_spectra: Spectra
) -> None:
    make_spectra(30)
    assert rows_at_most(database, [Source], 1_000) == {Source: 30}
    assert rows_at_most(database, [Source], 29) == {Source: None}


def test_keys_that_are_far_apart_make_no_large_table(database: peewee.Database) -> None:
    for pk in (1, 2_000_000_000):
        Source.create(pk=pk, sdss_id=pk)
    look_at(Source)
    assert rows_at_most(database, [Source], 10) == {Source: 2}


@pytest.mark.postgresql_only(reason="a view has keys on SQLite, too")
def test_a_view_is_read_up_to_the_limit(database: peewee.Database, make_spectra: Spectra) -> None:
    class Bright(Source):
        class Meta:
            table_name = "bright_source"

    make_spectra(3)
    database.execute_sql(f"CREATE VIEW {quoted_table(Bright)} AS SELECT * FROM {quoted_table(Source)}")
    try:
        assert rows_at_most(database, [Bright], 10) == {Bright: 3}
        assert rows_at_most(database, [Bright], 2) == {Bright: None}
    finally:
        database.execute_sql(f"DROP VIEW {quoted_table(Bright)}")


# ---- what is shown


def test_large_tables_are_not_counted_without_being_asked_to(survey: list[BossVisitSpectrum]) -> None:
    status = survey_status([rocket])

    assert (status.tables["source"], status.tables["spectrum"], status.counted) == (None, None, {})
    found = of_rocket()
    assert (found.version, found.due, found.done, found.counted) == ("0.9", None, None, None)
    assert found.uncounted == ("due", "done")
    assert (found.failed, found.rejected) == (1, 0)  # these are few


def test_they_are_counted_on_request_and_shown_with_that_time_later(survey: list[BossVisitSpectrum]) -> None:
    before = utc_now() - timedelta(seconds=1)
    exact = survey_status([rocket], exact=True)
    assert (exact.tables["source"], exact.counted) == (5, {})
    [counted] = exact.pipelines
    assert (counted.due, counted.done, counted.reasons, counted.counted) == (1, 3, {"new": 1}, None)

    Rocket.from_spectrum(survey[4]).save(force_insert=True)
    kept = survey_status([rocket])
    [later] = kept.pipelines
    assert kept.tables == exact.tables
    assert (later.due, later.done, later.reasons, later.last) == (1, 3, {"new": 1}, counted.last)
    assert later.counted is not None
    assert before < later.counted <= utc_now()
    assert kept.counted.keys() == {"source", "spectrum", "boss_visit_spectrum"}
    assert of_rocket(exact=True).due == 0
    assert of_rocket().due == 0


def test_small_tables_are_counted_beside_large_ones(survey: list[BossVisitSpectrum]) -> None:
    of_rocket(exact=True)
    Corv.from_spectrum(survey[0]).save(force_insert=True)

    [corv] = [one for one in survey_status([rocket]).pipelines if one.pipeline == "corv"]
    assert (corv.done, corv.counted, corv.uncounted) == (1, None, ())
    assert "corv" not in {table for table, _ in kept_counts()}


def test_many_failures_are_kept_as_well(survey: list[BossVisitSpectrum]) -> None:
    listed = {"model": "Rocket", "v_astra": 9_001, "message": "no", "run_id": "1"}
    for spectrum in survey[:3]:
        RejectedResult.create(spectrum_pk=spectrum.spectrum_pk, reason="refused", **listed)
    look_at(RejectedResult)
    assert (of_rocket().failed, of_rocket().uncounted) == (None, ("due", "done", "failed", "rejected"))

    of_rocket(exact=True)
    assert (of_rocket().failed, of_rocket().rejected, of_rocket().uncounted) == (1, 3, ())


def test_what_is_due_is_unknown_after_an_update(
    survey: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_rocket(exact=True)
    monkeypatch.setenv("ASTRA_VERSION", "0.10.0")
    newest, older = (one for one in survey_status([rocket]).pipelines if one.pipeline == "rocket")
    assert (newest.version, newest.due, newest.done, newest.uncounted) == ("0.10", None, 0, ("due",))
    assert (older.version, older.done, older.uncounted) == ("0.9", 3, ())


def test_a_small_database_keeps_nothing(database: peewee.Database, make_spectra: Spectra) -> None:
    make_spectra(3)
    survey_status([rocket], exact=True)
    assert not SurveyCount.select().exists()


def test_a_database_that_cannot_be_written_to_is_counted(
    survey: list[BossVisitSpectrum], database: peewee.Database, caplog: pytest.LogCaptureFixture
) -> None:
    setting = "default_transaction_read_only" if is_postgresql(database) else "query_only"
    words = ("SET {} = {}" if is_postgresql(database) else "PRAGMA {} = {}").format
    database.execute_sql(words(setting, 1))
    try:
        with caplog.at_level(logging.WARNING):
            assert of_rocket(exact=True).due == 1
        assert of_rocket().uncounted == ("due", "done")
    finally:
        database.execute_sql(words(setting, 0))
    assert "the counts aren't kept for the next time" in caplog.text


def test_tables_of_an_older_release_keep_nothing(
    survey: list[BossVisitSpectrum], caplog: pytest.LogCaptureFixture
) -> None:
    SurveyCount.drop_table()
    try:
        assert of_rocket().uncounted == ("due", "done")
        assert of_rocket(exact=True).due == 1
    finally:
        SurveyCount.create_table()
    assert "aren't kept" in caplog.text


# ---- without being asked


def test_a_long_run_counts_at_its_end(survey: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "USUAL_SECONDS", 0)
    write(analyse(rocket))

    found = of_rocket()
    assert (found.due, found.done, found.uncounted) == (0, 4, ())
    assert survey_status([rocket]).tables["boss_visit_spectrum"] == 5


def test_a_short_run_does_not(survey: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch) -> None:
    write(analyse(rocket))
    assert not SurveyCount.select().exists()

    of_rocket(exact=True)
    SurveyCount.update(seconds=1_000).execute()
    monkeypatch.setattr(counting, "USUAL_SECONDS", 0)
    write(analyse(rocket, rerun="all"))
    assert {row.seconds for row in SurveyCount.select()} == {1_000}


def test_a_run_does_not_fail_because_nothing_can_be_counted(
    survey: list[BossVisitSpectrum], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counting, "USUAL_SECONDS", 0)
    SurveyCount.drop_table()
    try:
        assert write(analyse(rocket)).inserted == 1
    finally:
        SurveyCount.create_table()
    assert "rocket: what is due now isn't counted" in caplog.text


def test_what_the_sensor_counted_is_kept(survey: list[BossVisitSpectrum]) -> None:
    found = news.ask(rocket, news.state_of(rocket))
    assert found is not None
    assert found.counts.due == 1

    assert (of_rocket().due, of_rocket().done, of_rocket().uncounted) == (1, None, ("done",))
