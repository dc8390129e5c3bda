"""Sources: what is stored comes back on both back ends, and targeting bits can be asked for, of rows and in queries."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_models import fields
from astra_models.errors import FieldValueError, FlagError
from astra_models.fields.glossary import look_up
from astra_models.source import Source

LARGEST = float(np.finfo(np.float32).max)
EXTREMES: dict[type, list[Any]] = {
    fields.BitField: [0, 2**62, 2**63 - 1],
    fields.BigIntegerField: [None, -(2**63), 2**63 - 1],
    fields.IntegerField: [None, -(2**31), 2**31 - 1],
    fields.FloatField: [None, -LARGEST, LARGEST, float("inf"), float(np.float32(0.1))],
    fields.DoubleField: [None, 1e300, -0.1, 266.4168262000001],
    fields.TextField: [None, "", "2M00000002+7417074", "Barnard's étoile; --"],
    fields.BytesField: [None, b"", b"\x00", bytes(range(256)), b"\xff" * 57],
}

MADE_BEFORE_ANY_TEST = Source.has_target_bit(3)


def stored(source: Source) -> Source:
    return Source.get_by_id(source.pk)


def flags_of(*bits: int, n_bits: int = 57 * 8) -> bytes:
    """Pack bits as catalogues of SDSS-V do, bit 0 lowest in the first byte."""
    return np.packbits([bit in bits for bit in range(n_bits)], bitorder="little").tobytes()


# ---- rows


def values_of(field: Any) -> list[Any]:
    return next(values for kind, values in EXTREMES.items() if isinstance(field, kind))


def test_every_column_keeps_its_extremes(database: peewee.Database) -> None:
    given = [field for field in Source._meta.sorted_fields if field.name not in ("pk", "created", "modified")]
    for turn in range(max(map(len, EXTREMES.values()))):
        values = {field.name: values_of(field)[turn % len(values_of(field))] for field in given}
        source = stored(Source.create(**values))
        assert {name: getattr(source, name) for name in values} == values
        source.delete_instance()


def test_a_source_of_which_nothing_is_known_is_null_without_a_flag(database: peewee.Database) -> None:
    row = stored(Source.create()).to_dict()
    for name in ("pk", "created", "modified"):
        assert row.pop(name) is not None
    flags = {field.name: 0 for field in Source._meta.sorted_fields if isinstance(field, fields.BitField)}
    assert row == dict.fromkeys(row) | flags


def test_an_uncounted_neighborhood_is_missing(database: peewee.Database) -> None:
    Source.create(sdss_id=1)
    Source.create(sdss_id=2, n_neighborhood=3)
    assert Source.select(peewee.fn.AVG(Source.n_neighborhood)).scalar() == 3


@pytest.mark.lesson(19)
def test_positions_keep_all_digits(database: peewee.Database) -> None:
    position = {"ra": 266.41683708333335, "dec": -29.00781055555555, "l": 359.9442085, "b": -0.04615714444444444}
    source = stored(Source.create(**position))
    assert {name: getattr(source, name) for name in position} == position


@pytest.mark.parametrize("name", ["sdss_id", "sdss4_apogee_id", "gaia_dr2_source_id", "gaia_dr3_source_id"])
def test_an_identifier_belongs_to_one_source(database: peewee.Database, name: str) -> None:
    Source.create(**{name: 17})
    with pytest.raises(peewee.IntegrityError), database.atomic():
        Source.create(**{name: 17})
    Source.create()
    Source.create()


def test_an_update_of_a_few_columns_leaves_the_others(database: peewee.Database) -> None:
    source = Source.create(sdss_id=1, ebv_sfd=0.5, sdss5_target_flags=b"\x01", created=datetime(2020, 1, 1, tzinfo=UTC))
    before = stored(source).to_dict()
    Source.update(ebv_sfd=0.25).where(Source.sdss_id == 1).execute()
    after = stored(source).to_dict()
    assert after.pop("modified") > before.pop("modified")
    assert after == before | {"ebv_sfd": 0.25}


# ---- flags


@pytest.mark.lesson(20)
def test_every_flag_is_a_condition_on_its_own_bit(database: peewee.Database) -> None:
    for field in Source._meta.sorted_fields:
        for name, flag in getattr(field, "flags", {}).items():
            source = Source(**{name: True})
            assert getattr(source, field.name) == flag.value
    source = Source.create(
        flag_sdss4_apogee_member_carina=True, flag_ebv_upper_limit=True, flag_glimpse_truth_list=True
    )
    assert source.sdss4_apogee_member_flags == 2**61
    assert Source.get(Source.flag_sdss4_apogee_member_carina & Source.flag_glimpse_truth_list) == source
    assert Source.select().where(Source.flag_sdss4_apogee_member_sculptor).count() == 0


def test_every_flag_says_what_it_means() -> None:
    for field in Source._meta.sorted_fields:
        meanings = [flag.help_text for flag in getattr(field, "flags", {}).values()]
        assert all(meanings), field
        assert max(map(len, meanings), default=0) < 80, field
        assert len(set(meanings)) == len(meanings), field


def test_a_flag_is_asked_of_an_alias(database: peewee.Database) -> None:
    Source.create(flag_sdss4_apogee_member_m92=True, flag_ebv_from_sfd=True)
    other = Source.alias()
    assert other.select().where(other.flag_sdss4_apogee_member_m92 & other.flag_ebv_from_sfd).count() == 1


# ---- targeting bits of SDSS-V


@pytest.mark.parametrize("bit", [0, 1, 7, 8, 15, 200, 455])
def test_a_target_bit_of_a_row_and_in_a_query(database: peewee.Database, bit: int) -> None:
    chosen = Source.create(sdss_id=1, sdss5_target_flags=flags_of(bit))
    Source.create(sdss_id=2, sdss5_target_flags=flags_of(*(set(range(456)) - {bit})))
    Source.create(sdss_id=3)
    assert [source.sdss_id for source in Source.select().where(Source.has_target_bit(bit))] == [1]
    again = stored(chosen)
    assert [other for other in range(456) if again.has_target_bit(other)] == [bit]


@pytest.mark.lesson(46)
def test_bits_beyond_the_flags_and_missing_flags_are_not_set_rather_than_null(database: peewee.Database) -> None:
    for flags in (None, b"", b"\xff"):
        Source.create(sdss5_target_flags=flags)
    for bit in (8, 500, 2**31 - 1):
        assert not any(source.has_target_bit(bit) for source in Source.select())
        assert Source.select().where(Source.has_target_bit(bit)).count() == 0
        assert Source.select().where(~Source.has_target_bit(bit)).count() == 3


def test_target_bits_are_combined_selected_and_ordered_by(database: peewee.Database) -> None:
    for sdss_id, bits in enumerate([(0,), (0, 9), (9,), ()], start=1):
        Source.create(sdss_id=sdss_id, sdss5_target_flags=flags_of(*bits))

    def found(condition: Any) -> list[int]:
        return [source.sdss_id for source in Source.select().where(condition).order_by(Source.sdss_id)]

    assert found(Source.has_target_bit(0) & Source.has_target_bit(9)) == [2]
    assert found(Source.has_target_bit(0) | Source.has_target_bit(9)) == [1, 2, 3]
    assert found(Source.has_target_bit(0) & (Source.sdss_id > 1)) == [2]
    query: Any = Source.select(Source.has_target_bit(9)).order_by(Source.has_target_bit(9), Source.sdss_id).tuples()
    assert [bool(is_set) for (is_set,) in query] == [False, False, True, True]


@pytest.mark.lesson(46)
def test_any_of_several_target_bits_is_asked_of_rows_and_in_queries(database: peewee.Database) -> None:
    for sdss_id, bits in enumerate([(0,), (0, 9), (455,), ()], start=1):
        Source.create(sdss_id=sdss_id, sdss5_target_flags=flags_of(*bits))
    Source.create(sdss_id=5)

    for bits, having in [((0, 9), {1, 2}), ((9, 455), {2, 3}), ((1, 500), set()), ((), set())]:
        assert {one.sdss_id for one in Source.select() if one.has_any_target_bit(*bits)} == having
        assert {one.sdss_id for one in Source.select().where(Source.has_any_target_bit(*bits))} == having
        rest = Source.select().where(~Source.has_any_target_bit(*bits))
        assert {one.sdss_id for one in rest} == {1, 2, 3, 4, 5} - having
    assert [one.target_bits for one in Source.select().order_by(Source.sdss_id)] == [(0,), (0, 9), (455,), (), ()]


def test_a_target_bit_is_asked_of_a_joined_alias(database: peewee.Database) -> None:
    one = Source.create(sdss5_target_flags=flags_of(3))
    two = Source.create(sdss5_target_flags=flags_of(4))
    other = Source.alias()
    query = Source.select().join(other, on=(other.pk > Source.pk))
    assert query.where(Source.has_target_bit(3) & other.has_target_bit(4)).get() == one
    assert other.select().where(other.has_target_bit(4)).get().pk == two.pk


def test_a_condition_is_written_for_the_database_that_it_runs_on(database: peewee.Database) -> None:
    source = Source.create(sdss5_target_flags=flags_of(3))
    assert Source.get(MADE_BEFORE_ANY_TEST) == source


@pytest.mark.parametrize("bit", [np.int64(5), np.uint8(5), True + 4])
def test_a_bit_may_be_any_kind_of_integer(database: peewee.Database, bit: Any) -> None:
    source = Source.create(sdss5_target_flags=flags_of(5))
    assert source.has_target_bit(bit)
    assert Source.select().where(Source.has_target_bit(bit)).count() == 1


@pytest.mark.parametrize(
    ("bit", "message"),
    [(-1, "bit -1 is not from 0"), (2**31, "is not from 0"), (1.5, "1.5 is not a whole"), ("3", "'3' is not a whole")],
)
def test_what_is_no_bit_is_an_error(bit: Any, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        Source.has_target_bit(bit)
    with pytest.raises(FlagError, match=message):
        Source().has_target_bit(bit)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flags=st.none() | st.binary(max_size=4), bit=st.integers(0, 40))
def test_rows_and_queries_agree_on_every_bit(database: peewee.Database, flags: bytes | None, bit: int) -> None:
    Source.delete().execute()
    source = stored(Source.create(sdss5_target_flags=flags))
    assert source.sdss5_target_flags == flags
    expected = flags is not None and bool(int.from_bytes(flags, "little") >> bit & 1)
    assert source.has_target_bit(bit) is expected
    assert Source.select().where(Source.has_target_bit(bit)).exists() is expected


# ---- bytes


@pytest.mark.lesson(26)
def test_the_targeting_column_is_there_on_every_back_end(database: peewee.Database) -> None:
    columns = {column.name: column for column in database.get_columns("source", Source._meta.schema)}
    assert columns["sdss5_target_flags"].data_type.lower() in ("blob", "bytea")
    assert columns["sdss5_target_flags"].null


@pytest.mark.parametrize("value", [bytearray(b"\x01\x00"), memoryview(b"\x01\x00"), np.array([1, 0], np.uint8)])
def test_whatever_holds_bytes_is_stored(database: peewee.Database, value: Any) -> None:
    source = Source(sdss5_target_flags=value)
    assert source.has_target_bit(0)
    source.save()
    assert stored(source).sdss5_target_flags == b"\x01\x00"


def test_masked_bytes_are_missing(database: peewee.Database) -> None:
    assert stored(Source.create(sdss5_target_flags=np.ma.masked)).sdss5_target_flags is None


@pytest.mark.parametrize("value", ["\x01", 1, 1.5, [True, False], np.array([True, False]), np.array([1, 0])])
def test_what_is_not_bytes_is_refused(database: peewee.Database, value: Any) -> None:
    with pytest.raises(FieldValueError, match=r"sdss5_target_flags: .* is not bytes; np\.packbits"):
        Source.create(sdss5_target_flags=value)


def test_bytes_are_compared_in_queries(database: peewee.Database) -> None:
    Source.create(sdss_id=1, sdss5_target_flags=b"\x00'\xff")
    assert Source.get(Source.sdss5_target_flags == b"\x00'\xff").sdss_id == 1
    Source.update(sdss5_target_flags=b"").execute()
    assert Source.get().sdss5_target_flags == b""


# ---- descriptions


@pytest.mark.parametrize(
    ("column", "unit", "description"),
    [
        ("w1_flux", "nmgy", "Flux in W1 (unWISE, Vega)"),
        ("e_w2_mag", "mag", "Uncertainty of magnitude in W2 (unWISE, Vega)"),
        ("zgr_e_logg", "dex(cm / s2)", "Gaia XP: uncertainty of surface gravity"),
        ("zgr_e_plx", "mas", "Gaia XP: uncertainty of parallax"),
        ("zgr_e", "mag", "Gaia XP: extinction"),
        ("e_ebv_sfd", "mag", "Uncertainty of reddening E(B-V) by Schlegel, Finkbeiner & Davis (1998)"),
        ("u_jkc_mag", "mag", "Magnitude in Johnson-Kron-Cousins U, from Gaia XP spectra"),
        ("g_sdss_mag_flag", "", "Quality flag of the magnitude in SDSS g"),
        ("rms_f4_5", "mJy", "Scatter of the detections' flux at 4.5 micron"),
        ("boss_max_mjd", "d", "MJD of the last BOSS visit"),
    ],
)
def test_units_and_descriptions_of_families(column: str, unit: str, description: str) -> None:
    field = Source._meta.fields[column]
    assert (field.unit, field.help_text) == (unit, description) == look_up(column)


def test_identifiers_come_first() -> None:
    names = [field.name for field in Source._meta.sorted_fields]
    assert names[:2] == ["pk", "sdss_id"]
    assert names.index("catalogid") < names.index("sdss4_apogee_member_flags") < names.index("ra")
    assert names[-2:] == ["created", "modified"]


# ---- beside the table


def test_flags_that_were_not_selected_are_not_set(database: peewee.Database) -> None:
    Source.create(sdss5_target_flags=flags_of(3))
    assert not Source.select(Source.pk).get().has_target_bit(3)
