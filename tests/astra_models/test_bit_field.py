"""Flags: named bits of one integer column."""

from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.corv import Corv
from astra_models.errors import FieldValueError, FlagError
from astra_models.fields import BitField, FloatField
from astra_models.fields.flags import any_bit
from astra_models.mwm import BossCombinedSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rocket import Rocket

every_bit = BitField()
flags = {f"flag_{n}": every_bit.flag(2**n) for n in range(63)}
Bits = type("Bits", (BaseModel,), {"abstract": True, "flags": every_bit} | flags)


# ---- on a row


def test_a_flag_is_false_until_it_is_set() -> None:
    result = Corv()
    assert result.result_flags == 0
    assert result.flag_low_snr is False
    result.flag_low_snr = True
    assert (result.flag_low_snr, result.result_flags) == (True, 1)


def test_flags_are_independent() -> None:
    result = Corv()
    result.flag_no_lines = True
    result.flag_not_converged = True
    result.flag_no_lines = False
    result.flag_low_snr = False
    assert result.result_flags == 2**2
    assert [result.flag_low_snr, result.flag_no_lines, result.flag_not_converged] == [False, False, True]


def test_a_flag_is_given_like_a_column() -> None:
    result = Corv(spectrum_pk=1, flag_low_snr=True, flag_no_lines=False)
    assert result.result_flags == 1
    assert Corv(flag_low_snr=True, flag_no_lines=True).result_flags == 3


@pytest.mark.parametrize(("value", "is_set"), [(np.bool_(True), True), (np.bool_(False), False), (1, True), (0, False)])
def test_numpy_booleans_and_integers_set_a_flag(value: Any, is_set: bool) -> None:
    result = Corv(result_flags=np.int64(2))
    result.flag_low_snr = value
    assert result.flag_low_snr is is_set
    assert result.result_flags == 2 + is_set


@pytest.mark.parametrize("text", ["False", "no", "", b"\0"])
def test_text_is_neither_true_nor_false(text: Any) -> None:
    result = Corv()
    with pytest.raises(FlagError, match=r"flag_low_snr: .* is neither true nor false"):
        result.flag_low_snr = text
    with pytest.raises(FlagError, match=r"flag_low_snr: .* is neither true nor false"):
        Corv(flag_low_snr=text)


def test_a_missing_integer_has_no_flag_set() -> None:
    result = Corv(result_flags=None)
    assert result.flag_low_snr is False
    result.flag_low_snr = True
    assert result.result_flags == 1


@given(st.sets(st.integers(0, 62)), st.sets(st.integers(0, 62)))
def test_flags_are_the_bits_of_the_integer(set_to: set[int], cleared: set[int]) -> None:
    row = Bits(**{f"flag_{n}": True for n in set_to})
    for n in cleared:
        setattr(row, f"flag_{n}", False)
    assert row.flags == sum(2**n for n in set_to - cleared)
    assert {n for n in range(63) if getattr(row, f"flag_{n}")} == set_to - cleared


# ---- in the database


@pytest.mark.lesson(20)
@pytest.mark.parametrize("value", [0, 1, 2**31, 2**62, 2**63 - 1])
def test_63_bits_are_stored(spectrum: BossVisitSpectrum, value: int) -> None:
    result = Corv.create(spectrum_pk=spectrum.spectrum_pk, result_flags=value)
    assert Corv.get_by_id(result.task_pk).result_flags == value


@pytest.mark.lesson(20)
def test_bit_63_is_an_error_on_both(spectrum: BossVisitSpectrum) -> None:
    with pytest.raises(FieldValueError, match=r"result_flags: .*64-bit"):
        Corv.create(spectrum_pk=spectrum.spectrum_pk, result_flags=2**63)


@pytest.fixture
def flagged(database: peewee.Database, make_spectra: Any) -> list[Corv]:
    """Store four results: no flag, low_snr, no_lines, both."""
    return [
        Corv.create(spectrum_pk=spectrum.spectrum_pk, result_flags=flags)
        for flags, spectrum in enumerate(make_spectra(4))
    ]


def found(condition: Any) -> list[int]:
    return [row.result_flags for row in Corv.select().where(condition).order_by(Corv.result_flags)]


def test_flags_are_conditions(flagged: list[Corv]) -> None:
    low_snr, no_lines = Corv.flag_low_snr, Corv.flag_no_lines
    assert found(low_snr) == [1, 3]
    assert found(~low_snr) == [0, 2]
    assert found(low_snr & no_lines) == [3]
    assert found(low_snr | no_lines) == [1, 2, 3]
    assert found(~(low_snr | no_lines)) == [0]
    assert found(low_snr & ~no_lines) == [1]
    assert found(~low_snr & ~no_lines) == [0]
    assert found((low_snr == True) & (Corv.spectrum_pk > 0)) == [1, 3]  # noqa: E712
    assert found(low_snr == False) == [0, 2]  # noqa: E712
    assert found(low_snr == no_lines) == [0, 3]
    assert found((Corv.result_flags & 2) != 0) == [2, 3]
    assert found(Corv.result_flags.bin_and(3) == 3) == [3]
    assert found(Corv.flag_too_few_pixels) == []


def test_flags_are_selected_ordered_by_and_counted(flagged: list[Corv]) -> None:
    query = Corv.select(Corv.flag_low_snr.alias("low")).order_by(Corv.result_flags)
    assert [bool(row.low) for row in query] == [False, True, False, True]
    assert [row.result_flags for row in Corv.select().order_by(Corv.flag_no_lines, Corv.result_flags)] == [0, 1, 2, 3]
    query = Corv.select(peewee.fn.COUNT(Corv.task_pk)).group_by(Corv.flag_low_snr)
    assert [count for (count,) in query.tuples()] == [2, 2]


def test_flags_of_an_alias_are_conditions_on_the_alias(flagged: list[Corv]) -> None:
    other = Corv.alias()
    query = Corv.select(Corv.task_pk).join(other, on=(other.spectrum_pk == Corv.spectrum_pk))
    assert query.where(Corv.flag_low_snr & other.flag_no_lines).count() == 1
    assert other.select().where(other.flag_low_snr).count() == 2


def test_flags_are_updated_in_the_database(flagged: list[Corv]) -> None:
    Corv.update(result_flags=Corv.result_flags.bin_or(4)).where(Corv.flag_low_snr).execute()
    assert found(Corv.flag_not_converged) == [5, 7]
    Corv.update(result_flags=Corv.result_flags.bin_and(~4)).execute()
    assert found(Corv.flag_not_converged) == []


def test_a_saved_flag_is_read_again(flagged: list[Corv]) -> None:
    row = flagged[0]
    row.flag_v_rad_at_edge = True
    row.save()
    assert Corv.get(Corv.flag_v_rad_at_edge).task_pk == row.task_pk


# ---- declaring them


@pytest.mark.lesson(21)
def test_a_bit_used_twice_is_an_error_when_the_class_is_made() -> None:
    with pytest.raises(FlagError, match=r"bit 1 \(2\*\*1\) already has a flag"):

        class Doppler(PipelineOutputMixin):
            initial_flags = BitField()
            flag_doppler = initial_flags.flag(2**1)
            flag_doppler_sdss4 = initial_flags.flag(2**1)


@pytest.mark.lesson(21)
def test_the_same_bit_of_two_columns_is_no_error() -> None:
    class Doppler(PipelineOutputMixin):
        initial_flags = BitField()
        flag_initial = initial_flags.flag(2**1)
        result_flags = BitField()
        flag_result = result_flags.flag(2**1)

    row = Doppler(flag_initial=True)
    assert (row.initial_flags, row.result_flags, row.flag_result) == (2, 0, False)


@pytest.mark.lesson(20)
@pytest.mark.parametrize("value", [0, -1, 3, 6, 2**63, 2**64, -(2**3), 1.5, "1", 2**62 + 1])
def test_what_is_no_single_bit_from_0_to_62_is_an_error(value: Any) -> None:
    with pytest.raises(FlagError, match=r"not 2\*\*n with n from 0 to 62"):
        BitField().flag(value)


@pytest.mark.lesson(20)
def test_bits_0_and_62_are_in_range() -> None:
    field = BitField()
    assert (field.flag(2**0).value, field.flag(2**62).value) == (1, 2**62)
    assert BitField().flag(np.int64(4)).value == 4


# ---- the next free bit


def taken_by_themselves(*declared: int | None) -> list[int]:
    """Declare flags, some of them without a value, and give the bits of these."""
    field = BitField()
    flags = [field.flag(None if bit is None else 2**bit) for bit in declared]
    return [flag.value.bit_length() - 1 for flag, bit in zip(flags, declared, strict=True) if bit is None]


def test_flags_without_a_value_take_one_bit_after_the_other() -> None:
    assert taken_by_themselves(None, None, None, None) == [0, 1, 2, 3]


def test_a_flag_without_a_value_takes_the_bit_after_the_one_before() -> None:
    assert taken_by_themselves(5, None, None) == [6, 7]
    assert taken_by_themselves(None, 11, None) == [0, 12]
    assert taken_by_themselves(3, 0, None) == [1]


def test_a_flag_without_a_value_takes_no_bit_that_has_a_flag() -> None:
    assert taken_by_themselves(3, 0, None, None, None) == [1, 2, 4]
    assert taken_by_themselves(1, 2, 3, 0, None) == [4]


def test_a_bit_that_was_taken_without_a_value_has_its_flag() -> None:
    with pytest.raises(FlagError, match=r"bit 1 \(2\*\*1\) already has a flag"):
        taken_by_themselves(None, None, 1)


def test_all_63_bits_can_be_taken_without_a_value_and_no_more() -> None:
    assert taken_by_themselves(*[None] * 63) == list(range(63))
    with pytest.raises(FlagError, match=r"no bit is left after bit 62, the last one; add a second column"):
        taken_by_themselves(*[None] * 64)


def test_no_bit_after_the_last_one_is_taken_and_the_error_names_a_free_one() -> None:
    with pytest.raises(FlagError, match=r"no bit is left after bit 62.*that are free, such as 2\*\*1$"):
        taken_by_themselves(0, 62, None)


@given(st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=20))
def test_every_flag_has_a_bit_of_its_own_however_they_are_declared(declared: list[int | None]) -> None:
    field = BitField()
    values: list[int] = []
    for bit in declared:
        if bit is not None and 2**bit in values:
            with pytest.raises(FlagError):
                field.flag(2**bit)
            continue
        values.append(field.flag(None if bit is None else 2**bit).value)
    assert len(set(values)) == len(values)


def test_a_flag_without_a_value_is_stored_like_any_other(spectrum: BossVisitSpectrum) -> None:
    class Finder(PipelineOutputMixin):
        result_flags = BitField()
        flag_odd = result_flags.flag(help_text="Odd")
        flag_even = result_flags.flag(help_text="Even")

    Finder.create_table()
    Finder.from_spectrum(spectrum, flag_even=True).save()
    assert Finder.select().where(Finder.flag_even & ~Finder.flag_odd).get().result_flags == 2


# ---- bits in queries, and NULL


def test_flags_are_set_and_cleared_by_a_query(flagged: list[Corv]) -> None:
    Corv.update(result_flags=Corv.flag_not_converged.set()).where(Corv.flag_low_snr).execute()
    assert found(Corv.flag_not_converged) == [5, 7]
    Corv.update(result_flags=Corv.flag_low_snr.clear()).execute()
    assert found(Corv.result_flags >= 0) == [0, 2, 4, 6]


def test_where_bits_are_null_no_flag_is_set_on_a_row_and_in_a_query(spectrum: BossVisitSpectrum) -> None:
    class Finder(PipelineOutputMixin):
        bits = BitField(null=True, default=None)
        flag_odd = bits.flag()

    Finder.create_table()
    row = Finder.create(spectrum_pk=spectrum.spectrum_pk)
    assert (row.bits, row.flag_odd, any_bit(row.bits)) == (None, False, False)
    assert Finder.select().where(Finder.flag_odd | any_bit(Finder.bits)).count() == 0
    assert Finder.select().where(~Finder.flag_odd & ~any_bit(Finder.bits)).count() == 1
    Finder.update(bits=Finder.flag_odd.set()).execute()
    assert Finder.get().bits == 1


@pytest.mark.lesson(21)
def test_no_two_flags_of_a_column_share_a_bit() -> None:
    for model in BaseModel.concrete_models():
        for field in model._meta.sorted_fields:
            if isinstance(field, BitField):
                values = [flag.value for flag in field.flags.values()]
                assert len(values) == len(set(values)), f"{model.__name__}.{field.name}"


def test_every_flag_says_what_it_means() -> None:
    for model in (Rocket, Corv, BossVisitSpectrum, BossCombinedSpectrum):
        for field in model._meta.sorted_fields:
            for name, flag in getattr(field, "flags", {}).items():
                assert flag.help_text, f"{model.__name__}.{name}"


@pytest.mark.lesson(50)
def test_flags_are_inherited(spectrum: BossVisitSpectrum) -> None:
    class Resampled(BossVisitSpectrum):
        shift = FloatField(null=True, unit="Angstrom")

    assert set(Resampled._meta.fields["zwarning_flags"].flags) == set(
        BossVisitSpectrum._meta.fields["zwarning_flags"].flags
    )
    row = Resampled(flag_sky_fiber=True)
    assert (row.zwarning_flags, row.flag_no_data) == (1, False)
    Resampled.create_table()
    columns = spectrum.to_dict() | {"pk": None, "zwarning_flags": 1}
    Resampled.create(**columns)
    assert Resampled.select().where(Resampled.flag_sky_fiber).count() == 1
    assert BossVisitSpectrum.select().where(BossVisitSpectrum.flag_sky_fiber).count() == 0


@pytest.mark.lesson(50)
def test_a_mixins_flags_are_each_models_own(memory_database: peewee.Database) -> None:
    BossCombinedSpectrum.select().where(BossCombinedSpectrum.flag_sky_fiber).execute()
    BossVisitSpectrum.select().where(BossVisitSpectrum.flag_sky_fiber).execute()


@pytest.mark.lesson(53)
def test_flags_need_no_source_code() -> None:
    names: dict[str, Any] = {"PipelineOutputMixin": PipelineOutputMixin, "BitField": BitField, "__name__": "made"}
    code = (
        "class Finder(PipelineOutputMixin):\n"
        "    result_flags = BitField()\n"
        "    one = result_flags.flag(2**0)\n"
        "    two = result_flags.flag(2**1)\n"
    )
    exec(code, names)
    row = names["Finder"](two=True)
    assert (row.one, row.two, row.result_flags) == (False, True, 2)
    assert set(names["Finder"]._meta.fields["result_flags"].flags) == {"one", "two"}


@pytest.mark.lesson(53)
def test_flags_may_be_set_on_a_class_made_by_type() -> None:
    field = BitField()
    model = type("Finder", (PipelineOutputMixin,), {"result_flags": field, "flag_low_snr": field.flag(1)})
    assert model(flag_low_snr=True).result_flags == 1


def test_the_documented_way_to_declare_a_bit_field() -> None:
    class MyPipeline(PipelineOutputMixin):
        teff = FloatField(null=True)
        my_flag = BitField(default=0)

    assert MyPipeline().my_flag == 0
    assert Rocket.result_flags.flags["flag_low_snr"].value == 2**0
