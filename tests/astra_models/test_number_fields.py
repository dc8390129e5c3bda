"""Numbers in columns: single and double precision, missing values, NumPy scalars, on both back ends alike."""

import math
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import FieldValueError
from astra_models.rocket import Rocket
from astra_models.source import Source

LARGEST = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)


def stored(result: Rocket) -> Rocket:
    return Rocket.get_by_id(result.task_pk)


def same(one: float | None, other: float | None) -> bool:
    return one is other or one == other


@pytest.mark.lesson(19)
@pytest.mark.parametrize("value", [0.1, 5777.123456789, -1 / 3, 1e-30, 1e30, LARGEST, -LARGEST, 0.0])
def test_a_float_is_single_precision_everywhere(spectrum: BossVisitSpectrum, value: float) -> None:
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=value)
    assert stored(result).teff == float(np.float32(value))


@pytest.mark.lesson(19)
def test_a_double_keeps_all_its_digits_everywhere(database: peewee.Database) -> None:
    source = Source.create(ra=266.4168262, dec=-29.00780999999999)
    again = Source.get_by_id(source.pk)
    assert (again.ra, again.dec) == (266.4168262, -29.00780999999999)


@pytest.mark.lesson(19)
@pytest.mark.postgresql_only(reason="asks PostgreSQL's catalogue")
def test_floats_are_real_and_doubles_are_double_precision(database: peewee.Database) -> None:
    types = {column.name: column.data_type for column in database.get_columns("source", Source._meta.schema)}
    assert types["plx"] == "real"
    assert types["ra"] == "double precision"


@pytest.mark.lesson(19)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(width=32) | st.floats(-1e38, 1e38))
def test_any_float_comes_back_rounded_once(spectrum: BossVisitSpectrum, value: float) -> None:
    Rocket.delete().execute()
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=value)
    expected = None if math.isnan(value) else float(np.float32(value))
    assert same(stored(result).teff, expected)


@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan"), np.float64("nan"), np.nan], ids=repr)
def test_nan_is_null_by_every_way_in(spectrum: BossVisitSpectrum, nan: Any) -> None:
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=nan)
    missing = Rocket.select().where(Rocket.teff.is_null())
    assert missing.count() == 1

    result.teff = 5000
    result.save()
    assert missing.count() == 0
    result.teff = nan
    result.save()
    assert missing.count() == 1

    Rocket.update(teff=5000).execute()
    Rocket.update(teff=nan).execute()
    assert missing.count() == 1

    Rocket.update(teff=5000).execute()
    Rocket.delete().execute()
    Rocket.insert(spectrum_pk=spectrum.spectrum_pk, teff=nan).execute()
    assert missing.count() == 1

    Source.update(ra=nan).execute()
    assert Source.select().where(Source.ra.is_null()).count() == 1


@pytest.mark.parametrize("infinity", [float("inf"), -float("inf"), np.float32("inf"), np.float64("-inf")], ids=repr)
def test_infinity_is_kept(spectrum: BossVisitSpectrum, infinity: Any) -> None:
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, e_teff=infinity)
    assert stored(result).e_teff == float(infinity)
    assert Rocket.select().where(Rocket.e_teff == infinity).count() == 1
    Source.update(ra=infinity).execute()
    assert [row.ra for row in Source.select()] == [float(infinity)]


@pytest.mark.parametrize("value", [1e39, -1e39, np.float64(3.5e38)], ids=repr)
def test_a_number_beyond_single_precision_is_an_error_that_names_the_column(
    spectrum: BossVisitSpectrum, value: float
) -> None:
    with pytest.raises(FieldValueError, match=r"teff: -?\d.* beyond single precision .* store infinity or None"):
        Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=value)
    assert Rocket.select().count() == 0


def test_rounding_up_to_infinity_is_an_error_too(spectrum: BossVisitSpectrum) -> None:
    with pytest.raises(FieldValueError):
        Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=3.4028236e38)


NUMPY_SCALARS = [
    np.float16(5000),
    np.float32(5000),
    np.float64(5000),
    np.longdouble(5000),
    np.int16(5000),
    np.int32(5000),
    np.int64(5000),
    np.uint16(5000),
    np.uint64(5000),
    np.array(5000.0),
    np.array(5000),
]


@pytest.mark.parametrize("value", NUMPY_SCALARS, ids=lambda value: f"{type(value).__name__}-{value.dtype}")
def test_numpy_scalars_are_accepted_by_every_way_in(spectrum: BossVisitSpectrum, value: Any) -> None:
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=value)
    assert stored(result).teff == 5000
    assert Rocket.select().where(Rocket.teff == value).count() == 1
    assert Rocket.select().where(Rocket.teff.in_([value])).count() == 1
    assert Rocket.select().where(Rocket.teff.between(value - 1, value + 1)).count() == 1

    result.logg = value
    result.save()
    assert stored(result).logg == 5000

    Rocket.update(fe_h=value).where(Rocket.teff >= value).execute()
    assert stored(result).fe_h == 5000

    Source.create(sdss_id=1, ra=value)
    assert Source.get(Source.ra == value).sdss_id == 1


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint8, np.uint64, np.float64, np.array])
def test_numpy_integers_are_accepted_by_integer_columns(database: peewee.Database, kind: Any) -> None:
    source = Source.create(sdss_id=kind(54), healpix=kind(7), n_associated=kind(1))
    again = Source.get(Source.sdss_id == kind(54))
    assert (again.pk, again.sdss_id, again.healpix) == (source.pk, 54, 7)
    Source.update(healpix=kind(9)).where(Source.pk == kind(source.pk)).execute()
    assert Source.get(Source.healpix == kind(9)).pk == source.pk


def test_numpy_keys_booleans_and_text_are_accepted(spectrum: BossVisitSpectrum) -> None:
    pk = np.int64(spectrum.spectrum_pk)
    assert BossVisitSpectrum.get(BossVisitSpectrum.spectrum_pk == pk).pk == spectrum.pk
    assert Rocket.create(spectrum_pk=pk, tag=np.str_("dr20")).task_pk

    spectrum.fiber_offset = np.bool_(True)
    spectrum.telescope = np.str_("lco25m")
    spectrum.save()
    again = BossVisitSpectrum.get(BossVisitSpectrum.fiber_offset == np.bool_(True))
    assert (again.fiber_offset, again.telescope) == (True, "lco25m")
    assert BossVisitSpectrum.select().where(BossVisitSpectrum.telescope == np.str_("lco25m")).count() == 1
    assert Rocket.get(Rocket.tag == np.str_("dr20")).spectrum_pk == spectrum.spectrum_pk


@pytest.mark.sqlite_only(reason="SQLite stores NumPy scalars as BLOBs without a word")
def test_nothing_is_stored_as_a_blob(spectrum: BossVisitSpectrum, database: peewee.Database) -> None:
    Rocket.create(spectrum_pk=np.int64(spectrum.spectrum_pk), teff=np.float32(1), logg=np.int64(2), tag=np.str_("a"))
    types = database.execute_sql("SELECT typeof(spectrum_pk), typeof(teff), typeof(logg), typeof(tag) FROM rocket")
    assert types.fetchone() == ("integer", "real", "real", "text")


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, np.int64(2**40)], ids=repr)
def test_an_integer_that_its_column_can_not_hold_is_an_error_on_both(database: peewee.Database, value: int) -> None:
    with pytest.raises(FieldValueError, match=rf"healpix: {int(value)} .*32-bit"):
        Source.create(healpix=value)
    assert Source.select().count() == 0


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, np.uint64(2**63)], ids=repr)
def test_a_big_integer_that_its_column_can_not_hold_is_an_error_on_both(database: peewee.Database, value: int) -> None:
    with pytest.raises(FieldValueError, match=rf"sdss_id: {int(value)} .*64-bit"):
        Source.create(sdss_id=value)
    assert Source.select().count() == 0


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)], ids=repr)
def test_the_largest_integers_are_kept(database: peewee.Database, value: int) -> None:
    Source.create(sdss_id=value)
    assert Source.get().sdss_id == value


@pytest.mark.parametrize("value", [1.5, "many", float("inf")], ids=repr)
def test_what_is_no_integer_is_an_error_that_names_the_column(database: peewee.Database, value: Any) -> None:
    with pytest.raises(FieldValueError, match=r"healpix: .*is not a whole number"):
        Source.create(healpix=value)


@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan")], ids=repr)
def test_a_missing_integer_is_null(database: peewee.Database, nan: float) -> None:
    Source.create(sdss_id=1, healpix=nan)
    assert Source.get().healpix is None


@pytest.mark.parametrize("value", ["hot", [5000], {}], ids=repr)
def test_what_is_no_number_is_an_error_that_names_the_column(spectrum: BossVisitSpectrum, value: Any) -> None:
    with pytest.raises(FieldValueError, match=r"teff: .*is not a number"):
        Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=value)


def test_a_masked_value_is_null(spectrum: BossVisitSpectrum) -> None:
    Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=np.ma.masked)
    assert Rocket.get().teff is None
    Source.create(sdss_id=1, healpix=np.ma.masked, ra=np.ma.masked, lead=np.ma.masked)
    row = Source.get(Source.sdss_id == 1)
    assert (row.healpix, row.ra, row.lead) == (None, None, None)


def test_text_that_is_a_number_is_one(spectrum: BossVisitSpectrum) -> None:
    assert stored(Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff="5000.5")).teff == 5000.5


@pytest.mark.lesson(19)
def test_comparisons_with_a_rounded_number_agree(spectrum: BossVisitSpectrum) -> None:
    Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=5000.1)
    assert Rocket.select().where(Rocket.teff == 5000.1).count() == 1
    assert Rocket.select().where(Rocket.teff >= 5000.1).count() == 1
    assert Rocket.select().where(Rocket.teff > 5000.1).count() == 0
    assert Rocket.select().where(Rocket.teff > 5000).count() == 1


def test_arithmetic_and_aggregates_work_in_queries(spectrum: BossVisitSpectrum) -> None:
    Rocket.create(spectrum_pk=spectrum.spectrum_pk, teff=5000.5, e_teff=10)
    assert Rocket.select().where(Rocket.teff / Rocket.e_teff > 100.5).count() == 1
    assert Rocket.select(peewee.fn.AVG(Rocket.teff)).scalar() == pytest.approx(5000.5)
    Rocket.update(teff=Rocket.teff + 1).execute()
    assert Rocket.get().teff == 5001.5


# ---- lists of numbers


def offsets(spectrum: BossVisitSpectrum) -> list[float] | None:
    return BossVisitSpectrum.get_by_id(spectrum.pk).delta_ra


@pytest.mark.parametrize(
    "value",
    [
        [0.1, -0.2],
        (0.1, -0.2),
        np.array([0.1, -0.2]),
        np.array([0.1, -0.2], dtype=">f4"),
        [np.float32(0.1), -0.2],
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_list_comes_back_in_single_precision(spectrum: BossVisitSpectrum, value: Any) -> None:
    spectrum.delta_ra = value
    spectrum.save()
    assert offsets(spectrum) == [float(np.float32(0.1)), float(np.float32(-0.2))]


def test_a_list_may_be_empty_or_missing(spectrum: BossVisitSpectrum) -> None:
    spectrum.delta_ra = []
    spectrum.save()
    assert offsets(spectrum) == []
    spectrum.delta_ra = None
    spectrum.save()
    assert offsets(spectrum) is None


def test_a_list_keeps_its_missing_and_infinite_elements(spectrum: BossVisitSpectrum) -> None:
    BossVisitSpectrum.update(delta_ra=[1, math.nan, math.inf]).execute()
    np.testing.assert_array_equal(offsets(spectrum), [1, math.nan, math.inf])


@pytest.mark.parametrize(
    ("value", "says"),
    [([1e39], "beyond single precision"), (["a"], "list of numbers"), (0.1, "list of numbers")],
)
def test_a_list_that_can_not_be_kept_is_an_error_that_names_the_column(
    spectrum: BossVisitSpectrum, value: Any, says: str
) -> None:
    spectrum.delta_ra = value
    with pytest.raises(FieldValueError, match=f"delta_ra: .*{says}"):
        spectrum.save()


def test_lists_are_inserted_in_bulk(database: peewee.Database, make_spectra: Any) -> None:
    make_spectra(3, delta_ra=[0.5, 1.5])
    assert [row.delta_ra for row in BossVisitSpectrum.select()] == [[0.5, 1.5]] * 3


# ---- text


def test_text_comes_back_as_it_was(spectrum: BossVisitSpectrum) -> None:
    text = "M31* 'quoted' \"twice\" \\ % é 星 \t\n"
    result = Rocket.create(spectrum_pk=spectrum.spectrum_pk, tag=text)
    assert stored(result).tag == text


def test_a_nul_character_is_an_error_on_both(spectrum: BossVisitSpectrum) -> None:
    with pytest.raises(FieldValueError, match=r"tag: .*NUL"):
        Rocket.create(spectrum_pk=spectrum.spectrum_pk, tag="a\0b")
