"""Times: aware, in UTC, and compared alike on both back ends."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import FieldValueError
from astra_models.fields import utc_now
from astra_models.rocket import Rocket
from astra_models.source import Source
from astra_models.upsert import upsert

DENVER = timezone(timedelta(hours=-7))
NOON = datetime(2024, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)


def created(value: Any) -> datetime:
    return Source.get_by_id(Source.create(created=value).pk).created


@pytest.mark.lesson(28)
def test_now_is_aware_and_in_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)
    assert abs(utc_now() - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.lesson(28)
def test_a_row_is_created_now_in_utc(database: peewee.Database) -> None:
    before = utc_now()
    source = Source.get_by_id(Source.create(sdss_id=1).pk)
    assert before <= source.created <= utc_now()
    assert source.created.tzinfo is not None
    assert source.created.utcoffset() == timedelta(0)


@pytest.mark.lesson(28)
@pytest.mark.parametrize(
    "value",
    [
        NOON,
        NOON.astimezone(DENVER),
        NOON.replace(tzinfo=None),
        "2024-07-01T12:00:00.123456+00:00",
        "2024-07-01 12:00:00.123456",
        "2024-07-01 05:00:00.123456-07:00",
        np.datetime64("2024-07-01T12:00:00.123456"),
        np.datetime64("2024-07-01T12:00:00.123456789"),
    ],
    ids=str,
)
def test_a_moment_comes_back_aware_and_in_utc(database: peewee.Database, value: Any) -> None:
    moment = created(value)
    assert moment == NOON
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.lesson(28)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=st.datetimes(
        min_value=datetime(1900, 1, 2),
        max_value=datetime(2200, 1, 1),
        timezones=st.sampled_from([UTC, DENVER, timezone(timedelta(hours=5, minutes=45))]),
    )
)
def test_any_moment_comes_back(database: peewee.Database, moment: datetime) -> None:
    assert created(moment) == moment


@pytest.mark.lesson(28)
def test_moments_are_compared_as_moments(database: peewee.Database) -> None:
    for i, moment in enumerate([NOON, NOON.replace(microsecond=0), NOON + timedelta(microseconds=1)]):
        Source.create(sdss_id=i, created=moment)

    def found(condition: Any) -> list[int]:
        return [source.sdss_id for source in Source.select().where(condition).order_by(Source.created)]

    assert found(Source.created == NOON) == [0]
    assert found(Source.created < NOON) == [1]
    assert found(Source.created >= NOON.astimezone(DENVER)) == [0, 2]
    assert found(Source.created > NOON.replace(tzinfo=None)) == [2]
    assert found(Source.created > "2024-07-01 12:00:00.123456") == [2]
    assert found(Source.created.between(NOON, NOON)) == [0]
    assert found(Source.created.in_([NOON])) == [0]
    assert found(Source.created > Source.modified) == []
    assert Source.select(peewee.fn.MAX(Source.created)).scalar() == NOON + timedelta(microseconds=1)


def test_the_parts_of_a_moment_can_be_asked_for(database: peewee.Database) -> None:
    Source.create(created=NOON)
    assert Source.select().where(Source.created.year == 2024).count() == 1
    assert Source.select().where(Source.created.hour == 12).count() == 1


@pytest.mark.parametrize("value", ["yesterday", 59_900, 59_900.5, ["2024-07-01"], np.datetime64(2**60, "s")], ids=repr)
def test_what_is_no_moment_is_an_error_that_names_the_column(database: peewee.Database, value: Any) -> None:
    with pytest.raises(FieldValueError, match=r"created: .*is not a (moment|datetime)"):
        Source.create(created=value)


@pytest.mark.parametrize("value", [None, np.datetime64("NaT")], ids=repr)
def test_a_missing_moment_is_null(database: peewee.Database, value: Any) -> None:
    with pytest.raises(peewee.IntegrityError):  # created is never missing
        Source.create(created=value)


# ---- what moves `modified`


@pytest.fixture
def old(spectrum: BossVisitSpectrum) -> Rocket:
    return Rocket.create(spectrum_pk=spectrum.spectrum_pk, created=NOON, modified=NOON)


def times(result: Rocket) -> tuple[datetime, datetime]:
    again = Rocket.get_by_id(result.task_pk)
    return again.created, again.modified


@pytest.mark.lesson(28)
def test_saving_a_row_moves_modified_and_keeps_created(old: Rocket) -> None:
    before = utc_now()
    old.teff = 5000
    old.save()
    assert times(old)[0] == NOON
    assert before <= times(old)[1] <= utc_now()


@pytest.mark.lesson(28)
def test_saving_some_columns_moves_modified_too(old: Rocket) -> None:
    before = utc_now()
    old.teff, old.logg = 5000, 4
    old.save(only=[Rocket.teff])
    assert before <= times(old)[1] <= utc_now()
    assert (Rocket.get().teff, Rocket.get().logg) == (5000, None)
    old.save(only=["logg"])
    assert Rocket.get().logg == 4


@pytest.mark.lesson(28)
@pytest.mark.parametrize("values", [{"teff": 5000}, {Rocket.teff: 5000}], ids=["by name", "by field"])
def test_an_update_moves_modified_and_keeps_created(old: Rocket, values: dict[Any, float]) -> None:
    before = utc_now()
    assert Rocket.update(values).execute() == 1
    assert times(old)[0] == NOON
    assert before <= times(old)[1] <= utc_now()


@pytest.mark.lesson(28)
def test_an_update_may_set_modified_itself(old: Rocket) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    Rocket.update(teff=5000, modified=moment).execute()
    assert times(old)[1] == moment
    Rocket.update({Rocket.modified: NOON}).execute()
    assert times(old)[1] == NOON


@pytest.mark.lesson(28)
def test_other_ways_of_updating_move_modified_too(old: Rocket) -> None:
    before = utc_now()
    Rocket.set_by_id(old.task_pk, {"teff": 5000})
    assert times(old)[1] >= before

    before, old.teff = utc_now(), 6000
    Rocket.bulk_update([old], [Rocket.teff])
    assert times(old)[1] >= before
    assert Rocket.get().teff == 6000


def test_a_model_without_modified_is_updated_as_well(spectrum: BossVisitSpectrum) -> None:
    from astra_models.spectrum import Spectrum

    assert Spectrum.update(spectrum_flags=1).execute() == 1


# ---- whole columns


@pytest.mark.parametrize("unit", ["us", "ns", "s"])
def test_a_column_of_moments_is_stored_and_those_beyond_the_calendar_are_refused(
    database: peewee.Database, make_spectra: Any, unit: str
) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(3)]
    rows = np.zeros(3, dtype=[("spectrum_pk", "i8"), ("created", f"M8[{unit}]")])
    rows["spectrum_pk"], rows["created"] = keys, np.datetime64("2024-07-01T12:00:00")
    rows["created"][1] = np.datetime64("NaT")
    if unit != "ns":  # which end in 2262
        rows["created"][2] = np.datetime64("12000-01-01")
    before = utc_now()
    report = upsert(Rocket, rows)
    assert report.rejected == (unit != "ns")
    stored = {result.spectrum_pk: result.created for result in Rocket.select()}
    assert stored[keys[0]] == NOON.replace(microsecond=0)
    assert before <= stored[keys[1]] <= utc_now()
