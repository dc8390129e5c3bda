"""Flags and uncertainties that follow from a result's values, however the result is made."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import peewee
import pytest
from astropy import units

from astra_models.apogee import ApogeeVisitSpectrum
from astra_models.apogeenet import ApogeeNet
from astra_models.aspcap import ASPCAP
from astra_models.astronn import AstroNN
from astra_models.astronn_dist import AstroNNdist
from astra_models.base import BaseModel
from astra_models.boss import BossVisitSpectrum
from astra_models.bossnet import BossNet
from astra_models.columns.flagging import rules_of
from astra_models.corv import Corv
from astra_models.errors import AstraError, FieldValueError, ModelError, UnknownColumnError
from astra_models.fields import BitField, DoubleField, FloatField, IntegerField, TextField
from astra_models.mdwarftype import MDwarfType
from astra_models.mwm import ApogeeRestFrameVisitSpectrum
from astra_models.pipeline import PipelineOutputMixin
from astra_models.slam import Slam
from astra_models.snow_white import SnowWhite
from astra_models.source import Source
from astra_models.the_cannon import TheCannon
from astra_models.the_payne import LABELS, ThePayne
from astra_models.upsert import upsert

pytestmark = pytest.mark.long_on_each

NAN = float("nan")
INFINITY = float("inf")


def names_of(row: Any, column: str = "result_flags") -> set[str]:
    """Name the flags of a row that are set, without their prefix."""
    return {name.removeprefix("flag_") for name in row._meta.fields[column].flags if getattr(row, name)}


def next_up(number: float) -> float:
    return float(np.nextafter(np.float32(number), np.float32(np.inf)))


def next_down(number: float) -> float:
    return float(np.nextafter(np.float32(number), np.float32(-np.inf)))


def check(model: Any, spectrum: BossVisitSpectrum, values: dict[str, Any], expected: set[str]) -> None:
    """Make a result in each way, store it, and compare the flags of the row and of what is stored."""
    row = model.from_spectrum(spectrum, **values)
    assert names_of(row) == expected
    many = model.from_spectra([spectrum, spectrum], **{name: [value, value] for name, value in values.items()})
    assert [names_of(one) for one in many] == [expected, expected]
    assert upsert(model, [row]).rejected == 0
    stored = model.get()
    assert names_of(stored) == expected
    for name in model._meta.fields["result_flags"].flags:
        assert model.select().where(getattr(model, name)).count() == (name.removeprefix("flag_") in expected), name


# ---- BOSSNet


GIANT = {"teff": 4_700.0, "logg": 2.4, "fe_h": -0.3}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GIANT, set()),
        # nothing, or nothing but a part, was measured
        ({}, {"runtime_exception"}),
        ({"teff": None, "logg": None, "fe_h": None}, {"runtime_exception"}),
        ({"teff": NAN, "logg": NAN, "fe_h": NAN}, {"runtime_exception"}),
        ({"logg": 2.4, "fe_h": -0.3}, {"runtime_exception"}),
        ({"logg": 11.0}, {"runtime_exception", "unreliable_logg"}),
        ({"fe_h": -9.0}, {"runtime_exception"}),
        ({"teff": 4_700.0}, set()),
        ({"teff": 2_500.0}, set()),
        ({"teff": 4_700.0, "logg": 2.4}, set()),
        ({"teff": 4_700.0, "fe_h": -9.0}, set()),
        ({"teff": 2_500.0, "logg": 4.5, "fe_h": NAN}, {"suspicious_fe_h"}),
        # teff
        (GIANT | {"teff": next_down(1_700)}, {"unreliable_teff", "unreliable_fe_h"}),
        (GIANT | {"teff": 1_700.0}, {"unreliable_fe_h"}),
        (GIANT | {"teff": 100_000.0}, set()),
        (GIANT | {"teff": next_up(100_000)}, {"unreliable_teff"}),
        (GIANT | {"teff": INFINITY}, {"unreliable_teff"}),
        (GIANT | {"teff": -5.0}, {"unreliable_teff", "unreliable_fe_h"}),
        # logg
        (GIANT | {"logg": -1.0}, set()),
        (GIANT | {"logg": next_down(-1)}, {"unreliable_logg"}),
        (GIANT | {"logg": 10.0}, {"unreliable_fe_h"}),
        (GIANT | {"logg": next_up(10)}, {"unreliable_logg", "unreliable_fe_h"}),
        (GIANT | {"logg": 5.0}, set()),
        (GIANT | {"logg": next_up(5)}, {"unreliable_fe_h"}),
        # fe_h
        (GIANT | {"fe_h": -4.0}, set()),
        (GIANT | {"fe_h": next_down(-4)}, {"unreliable_fe_h"}),
        (GIANT | {"fe_h": 2.0}, set()),
        (GIANT | {"fe_h": next_up(2)}, {"unreliable_fe_h"}),
        (GIANT | {"teff": 3_200.0}, set()),
        (GIANT | {"teff": next_down(3_200)}, {"unreliable_fe_h"}),
        # cool dwarfs
        ({"teff": 3_600.0, "logg": 4.6, "fe_h": 0.1}, {"suspicious_fe_h"}),
        ({"teff": 3_900.0, "logg": 4.6, "fe_h": 0.1}, set()),
        ({"teff": next_down(3_900), "logg": 4.6, "fe_h": 0.1}, {"suspicious_fe_h"}),
        ({"teff": 3_600.0, "logg": 3.0, "fe_h": 0.1}, set()),
        ({"teff": 3_600.0, "logg": next_up(3), "fe_h": 0.1}, {"suspicious_fe_h"}),
        ({"teff": 3_600.0, "logg": 6.0, "fe_h": 0.1}, {"unreliable_fe_h"}),
        ({"teff": 3_600.0, "logg": next_down(6), "fe_h": 0.1}, {"unreliable_fe_h", "suspicious_fe_h"}),
        ({"teff": 2_900.0, "logg": 5.2, "fe_h": 0.1}, {"unreliable_fe_h", "suspicious_fe_h"}),
    ],
)
def test_bossnet_flags_what_its_values_say(
    spectrum: BossVisitSpectrum, values: dict[str, Any], expected: set[str]
) -> None:
    check(BossNet, spectrum, values, expected)


@pytest.mark.parametrize(
    ("flag", "is_warned", "is_bad"),
    [
        (None, False, False),
        ("flag_runtime_exception", False, True),
        ("flag_unreliable_teff", False, True),
        ("flag_unreliable_logg", False, True),
        ("flag_unreliable_fe_h", True, True),
        ("flag_suspicious_fe_h", True, False),
    ],
)
def test_bossnet_says_which_results_are_to_be_used(
    spectrum: BossVisitSpectrum, flag: str | None, is_warned: bool, is_bad: bool
) -> None:
    row = BossNet.from_spectrum(spectrum, **GIANT, **({flag: True} if flag else {}))
    assert (row.flag_warn, row.flag_bad) == (is_warned, is_bad)
    row.save()
    assert BossNet.select().where(BossNet.flag_warn).count() == is_warned
    assert BossNet.select().where(BossNet.flag_bad).count() == is_bad


# ---- the other pipelines


DWARF = {"teff": 5_500.0, "logg": 4.4, "fe_h": 0.0}
M_DWARF = {"teff": 3_400.0, "fe_h": -0.2, "status": 0}
SOLAR = {"raw_logg": 4.0, "raw_fe_h": -0.5, "raw_e_teff": 40.0, "raw_e_logg": 0.1, "raw_e_fe_h": 0.02}
STAR = {"L_fakemag": 40.0, "e_L_fakemag": 2.0, "k_mag": 11.0, "ebv": 0.1}


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        # APOGEENet: the limits themselves are out
        (ApogeeNet, DWARF, set()),
        (ApogeeNet, {}, set()),
        (ApogeeNet, DWARF | {"teff": NAN, "logg": None}, set()),
        (ApogeeNet, DWARF | {"teff": 1_700.0}, {"unreliable_teff", "unreliable_fe_h"}),
        (ApogeeNet, {"teff": next_up(1_700)}, {"unreliable_fe_h"}),
        (ApogeeNet, DWARF | {"teff": 100_000.0}, {"unreliable_teff"}),
        (ApogeeNet, DWARF | {"teff": next_down(100_000)}, set()),
        (ApogeeNet, DWARF | {"logg": -1.0}, {"unreliable_logg"}),
        (ApogeeNet, DWARF | {"logg": next_up(-1)}, set()),
        (ApogeeNet, DWARF | {"logg": 10.0}, {"unreliable_logg", "unreliable_fe_h"}),
        (ApogeeNet, DWARF | {"logg": 7.0}, {"unreliable_fe_h"}),
        (ApogeeNet, {"logg": next_up(5)}, {"unreliable_fe_h"}),
        (ApogeeNet, {"logg": 5.0}, set()),
        (ApogeeNet, {"fe_h": -4.0}, {"unreliable_fe_h"}),
        (ApogeeNet, {"fe_h": next_up(-4)}, set()),
        (ApogeeNet, {"fe_h": 2.0}, {"unreliable_fe_h"}),
        (ApogeeNet, {"fe_h": next_down(2)}, set()),
        (ApogeeNet, DWARF | {"teff": 3_200.0}, set()),
        (ApogeeNet, {"teff": next_down(3_200)}, {"unreliable_fe_h"}),
        # astroNN
        (AstroNN, SOLAR, set()),
        (AstroNN, {}, set()),
        (AstroNN, SOLAR | {"raw_e_teff": 300.0}, set()),
        (AstroNN, SOLAR | {"raw_e_teff": next_up(300)}, {"uncertain_teff"}),
        (AstroNN, SOLAR | {"raw_e_logg": 0.25}, set()),  # 6 % of 4
        (AstroNN, SOLAR | {"raw_e_logg": 0.32}, {"uncertain_logg"}),
        (AstroNN, SOLAR | {"raw_e_logg": 0.2, "raw_logg": 1.0}, set()),
        (AstroNN, SOLAR | {"raw_e_logg": next_up(0.2), "raw_logg": 1.0}, {"uncertain_logg"}),
        (AstroNN, SOLAR | {"raw_e_logg": 0.375, "raw_logg": 5.0}, set()),  # 7.5 % exactly
        (AstroNN, SOLAR | {"raw_e_logg": 0.25, "raw_logg": -1.0}, {"uncertain_logg"}),
        (AstroNN, SOLAR | {"raw_e_logg": 0.25, "raw_logg": 0.0}, {"uncertain_logg"}),
        (AstroNN, SOLAR | {"raw_e_logg": 0.25, "raw_logg": NAN}, set()),
        (AstroNN, SOLAR | {"raw_fe_h": -1.0, "raw_e_fe_h": 0.125}, {"uncertain_fe_h"}),
        (AstroNN, SOLAR | {"raw_fe_h": 1.0, "raw_e_fe_h": 0.11}, set()),
        (AstroNN, SOLAR | {"raw_fe_h": 25.0, "raw_e_fe_h": 3.0}, set()),  # 12 % exactly
        (AstroNN, SOLAR | {"raw_fe_h": 0.0}, {"uncertain_fe_h"}),
        (AstroNN, {"logg": 3.0, "e_logg": 0.6}, {"uncertain_logg"}),  # as the network gave them
        # astroNN's distances
        (AstroNNdist, STAR, set()),
        (AstroNNdist, {"flag_no_result": True}, {"no_result"}),
        (AstroNNdist, STAR | {"e_L_fakemag": 8.0}, {"fakemag_unreliable"}),
        (AstroNNdist, STAR | {"e_L_fakemag": next_down(8)}, set()),
        (AstroNNdist, STAR | {"e_L_fakemag": NAN}, set()),
        (AstroNNdist, STAR | {"k_mag": None}, {"missing_photometry"}),
        (AstroNNdist, STAR | {"k_mag": 98.0}, {"missing_photometry"}),
        (AstroNNdist, STAR | {"k_mag": next_down(98)}, set()),
        (AstroNNdist, STAR | {"k_mag": -1.0}, {"missing_photometry"}),
        (AstroNNdist, STAR | {"ebv": NAN}, {"missing_extinction"}),
        (AstroNNdist, STAR | {"ebv": 0.0}, {"missing_extinction"}),
        (AstroNNdist, STAR | {"ebv": 98.0}, {"missing_extinction"}),
        # SLAM
        (Slam, M_DWARF, set()),
        (Slam, {}, set()),
        (Slam, M_DWARF | {"teff": next_down(2_800)}, {"teff_outside_bounds"}),
        (Slam, M_DWARF | {"teff": 2_800.0}, set()),
        (Slam, M_DWARF | {"teff": 4_500.0}, set()),
        (Slam, M_DWARF | {"teff": next_up(4_500)}, {"teff_outside_bounds"}),
        (Slam, M_DWARF | {"fe_h": -1.0}, set()),
        (Slam, M_DWARF | {"fe_h": next_down(-1)}, {"fe_h_outside_bounds"}),
        (Slam, M_DWARF | {"fe_h": 0.5}, set()),
        (Slam, M_DWARF | {"fe_h": next_up(0.5)}, {"fe_h_outside_bounds"}),
        (Slam, M_DWARF | {"status": 2}, set()),
        (Slam, M_DWARF | {"status": 1}, {"bad_optimizer_status"}),
        (Slam, M_DWARF | {"status": 3}, {"bad_optimizer_status"}),
        (Slam, M_DWARF | {"status": -1}, {"bad_optimizer_status"}),
        (Slam, M_DWARF | {"status": None}, set()),
        # M dwarfs' types
        (MDwarfType, {"spectral_type": "M3.5", "sub_type": 3.5}, set()),
        (MDwarfType, {"spectral_type": "K5.0"}, {"not_m_dwarf"}),
        (MDwarfType, {"spectral_type": None}, set()),
        (MDwarfType, {}, set()),
        # The Payne
        (ThePayne, DWARF, set()),
        (ThePayne, {}, set()),
        (ThePayne, DWARF | {"teff": 3_100.0, "logg": 0.1, "fe_h": -1.4}, set()),
        (ThePayne, DWARF | {"teff": 7_900.0, "logg": 5.2, "fe_h": 0.4}, set()),
        (ThePayne, DWARF | {"teff": next_down(3_100)}, {"warn_teff"}),
        (ThePayne, DWARF | {"teff": next_up(7_900)}, {"warn_teff"}),
        (ThePayne, DWARF | {"logg": next_down(0.1)}, {"warn_logg"}),
        (ThePayne, DWARF | {"logg": next_up(5.2)}, {"warn_logg"}),
        (ThePayne, DWARF | {"fe_h": next_down(-1.4)}, {"warn_fe_h"}),
        (ThePayne, DWARF | {"fe_h": next_up(0.4)}, {"warn_fe_h"}),
        (ThePayne, DWARF | {"logg": None, "fe_h": 9.0}, {"warn_fe_h"}),
    ],
)
def test_results_have_the_flags_that_their_values_say(
    spectrum: BossVisitSpectrum, model: Any, values: dict[str, Any], expected: set[str]
) -> None:
    check(model, spectrum, values, expected)


# ---- rows, columns and queries say the same

WITH_RULES = [ApogeeNet, AstroNN, AstroNNdist, BossNet, MDwarfType, Slam, ThePayne]
LIMITS = (-4, -1.4, -1, 0, 0.1, 0.2, 0.4, 0.5, 2, 3, 5, 5.2, 6, 10, 98, 300, 1_700, 2_800, 3_100, 3_200, 3_900, 1e5)


def any_values(field: Any, chance: random.Random) -> Any:
    if isinstance(field, TextField):
        return chance.choice(["K5.0", "M1.0", "", None])
    if isinstance(field, IntegerField):
        return chance.choice([None, -3, 0, 1, 2, 3, 4])
    near = chance.choice(LIMITS)
    nearby = [near, next_up(near), next_down(near), near * (1 + 1e-9), 3 * near]
    return chance.choice([*nearby, NAN, None, INFINITY, -INFINITY])


@pytest.mark.parametrize("model", WITH_RULES, ids=lambda model: model.__name__)
def test_a_rule_says_the_same_of_rows_of_columns_and_in_queries(
    database: peewee.Database, make_spectra: Any, model: Any
) -> None:
    chance = random.Random(17)
    inputs = rules_of(model).inputs
    spectra = make_spectra(300)
    values = [{name: any_values(field, chance) for name, field in inputs.items()} for _ in spectra]
    rows = [model.from_spectrum(one, **its) for one, its in zip(spectra, values, strict=True)]
    assert len({row.result_flags for row in rows}) > 1

    as_lists = {name: [its[name] for its in values] for name in inputs}
    masked = {
        name: np.ma.MaskedArray([0.0 if value is None else value for value in column], [v is None for v in column])
        for name, column in as_lists.items()
        if not isinstance(inputs[name], TextField)
    }
    by_row = [row.result_flags for row in rows]
    for columns in (as_lists, as_lists | masked):
        assert [row.result_flags for row in model.from_spectra(spectra, **columns)] == by_row

    plain = [{"spectrum_pk": one.spectrum_pk} | its for one, its in zip(spectra, values, strict=True)]
    assert upsert(model, plain).inserted == len(plain)
    assert set(found(model)) == {0}
    assert model.apply_flags() == sum(bits != 0 for bits in by_row)
    assert found(model) == by_row
    assert model.apply_flags() == 0


def found(model: Any) -> list[int]:
    return [row.result_flags for row in model.select().order_by(model.spectrum_pk)]


def test_all_models_with_rules_are_tested() -> None:
    ours = [model for model in PipelineOutputMixin.concrete_models() if model.__module__.startswith("astra_models.")]
    assert {model for model in ours if rules_of(model).flags} == set(WITH_RULES)


# ---- how results are made


def test_a_result_that_is_made_by_its_class_has_the_flags_of_what_is_given() -> None:
    assert names_of(BossNet(teff=1_500.0)) == {"unreliable_teff"}
    assert names_of(BossNet(spectrum_pk=1)) == set()  # of teff, nothing is said yet
    assert names_of(BossNet(spectrum_pk=1, teff=None)) == {"runtime_exception"}


def test_a_created_result_has_its_flags(spectrum: BossVisitSpectrum) -> None:
    BossNet.create(spectrum_pk=spectrum.spectrum_pk, teff=1_500.0)
    assert BossNet.select().where(BossNet.flag_unreliable_teff).count() == 1


def test_rules_add_flags_and_clear_none(spectrum: BossVisitSpectrum) -> None:
    row = BossNet.from_spectrum(spectrum, **GIANT, flag_unreliable_teff=True)
    assert names_of(row) == {"unreliable_teff"}
    row = BossNet.from_spectrum(spectrum, **GIANT | {"teff": 900.0}, flag_unreliable_teff=False, result_flags=2**4)
    assert names_of(row) == {"unreliable_teff", "unreliable_fe_h", "suspicious_fe_h"}
    many = BossNet.from_spectra(
        [spectrum] * 3,
        teff=np.array([5_000.0, 900.0, 900.0]),
        flag_suspicious_fe_h=[True, True, False],
        flag_unreliable_teff=[True, False, False],
    )
    assert many["result_flags"].tolist() == [2**1 | 2**4, 2**1 | 2**4, 2**1]


def test_rows_that_are_read_are_as_they_are_stored(spectrum: BossVisitSpectrum) -> None:
    upsert(BossNet, [{"spectrum_pk": spectrum.spectrum_pk, "teff": 900.0, "result_flags": 0}])
    assert BossNet.get().result_flags == 0
    assert BossNet.select(BossNet.task_pk).get().result_flags in (0, None)
    assert next(iter(BossNet.latest())).result_flags == 0


@pytest.mark.parametrize(
    "teff", [np.float32(900), np.float64(900), np.array(900.0), 900, np.int16(900), np.ma.array(900.0)[()]]
)
def test_a_rule_takes_any_kind_of_number(teff: Any) -> None:
    assert names_of(BossNet(teff=teff)) == {"unreliable_teff"}


@pytest.mark.parametrize("missing", [None, NAN, np.float32("nan"), np.ma.masked])
def test_a_rule_takes_any_kind_of_missing_value(missing: Any) -> None:
    assert names_of(BossNet(teff=missing)) == {"runtime_exception"}


def test_a_quantity_is_compared_in_the_unit_of_its_column(spectrum: BossVisitSpectrum) -> None:
    many = BossNet.from_spectra([spectrum, spectrum], teff=[0.9, 5.0] * units.kK)
    assert [names_of(row) for row in many] == [{"unreliable_teff"}, set()]
    assert names_of(BossNet(teff=0.9 * units.kK)) == {"unreliable_teff"}


def test_a_value_that_its_column_refuses_is_left_to_the_column(spectrum: BossVisitSpectrum) -> None:
    row = BossNet.from_spectrum(spectrum, teff="hot")
    assert names_of(row) == set()
    assert upsert(BossNet, [row]).rejected == 1


def test_arrays_of_single_precision_are_compared_as_they_are_stored(spectrum: BossVisitSpectrum) -> None:
    fe_h = np.array([-1.4, 0.4, 0.41], dtype=np.float32)
    many = ThePayne.from_spectra([spectrum] * 3, fe_h=fe_h)
    assert [names_of(row) for row in many] == [set(), set(), {"warn_fe_h"}]


def test_no_results_have_no_flags() -> None:
    assert len(BossNet.from_spectra([], teff=np.array([]))) == 0


def test_one_value_for_all_spectra_flags_them_all(spectrum: BossVisitSpectrum) -> None:
    assert [names_of(row) for row in BossNet.from_spectra([spectrum] * 2, teff=900.0)] == [{"unreliable_teff"}] * 2
    assert [names_of(row) for row in BossNet.from_spectra([spectrum] * 2)] == [{"runtime_exception"}] * 2


def test_bits_that_are_no_integers_are_refused_with_their_column(spectrum: BossVisitSpectrum) -> None:
    with pytest.raises(FieldValueError, match="result_flags: bits are integers"):
        BossNet.from_spectra([spectrum], teff=900.0, result_flags=np.array([0.5]))


# ---- flags of stored rows


def test_flags_are_applied_to_chosen_rows_which_are_then_of_another_revision(
    database: peewee.Database, make_spectra: Any
) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(3)]
    temperatures = (900.0, 800.0, 5_000.0)
    upsert(BossNet, [{"spectrum_pk": key, "teff": teff} for key, teff in zip(keys, temperatures, strict=True)])
    before = {row.spectrum_pk: row.revision for row in BossNet.select()}
    assert BossNet.apply_flags(BossNet.spectrum_pk == keys[1]) == 1
    after = {row.spectrum_pk: row.revision for row in BossNet.select()}
    assert [key for key in keys if after[key] != before[key]] == [keys[1]]
    assert found(BossNet) == [0, 2**1, 0]
    assert BossNet.apply_flags() == 1
    assert found(BossNet) == [2**1, 2**1, 0]


def test_slams_photometry_flag_is_by_colour_and_absolute_magnitude(
    database: peewee.Database, make_spectra: Any
) -> None:
    stars = [  # of an absolute magnitude of g at 100 pc minus 5
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, False),
        ({"bp_mag": 14.0, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, True),
        ({"bp_mag": 14.25, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, False),
        ({"bp_mag": 16.0, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, True),
        ({"bp_mag": 15.75, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, False),
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 11.0, "plx": 10.0}, True),
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 17.0, "plx": 10.0}, True),
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 16.9, "plx": 10.0}, False),
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 17.0, "plx": -0.1}, False),
        ({"bp_mag": 15.0, "rp_mag": 12.5, "g_mag": 17.0, "plx": None}, False),
        ({"bp_mag": None, "rp_mag": 12.5, "g_mag": 14.0, "plx": 10.0}, False),
        ({"bp_mag": None, "rp_mag": 12.5, "g_mag": 11.0, "plx": 10.0}, True),
    ]
    spectra = make_spectra(len(stars))
    for spectrum, (photometry, _) in zip(spectra, stars, strict=True):
        Source.update(photometry).where(Source.pk == spectrum.source_pk).execute()
    upsert(Slam, [Slam.from_spectrum(spectrum, **M_DWARF | {"teff": 5_000.0}) for spectrum in spectra])
    expected = [2**1 | is_outside * 2**3 for _, is_outside in stars]
    first = spectra[1].spectrum_pk
    assert Slam.apply_photometry_flag((Slam.spectrum_pk <= first) & (Source.g_mag > 0)) == 1
    assert found(Slam) == [*expected[:2], *[2**1] * (len(stars) - 2)]
    assert Slam.apply_photometry_flag() == sum(is_outside for _, is_outside in stars) - 1
    assert found(Slam) == expected
    assert Slam.apply_photometry_flag() == 0


def test_a_model_without_rules_has_no_flags_to_apply(spectrum: BossVisitSpectrum) -> None:
    Corv.create(spectrum_pk=spectrum.spectrum_pk)
    assert Corv.apply_flags() == 0


# ---- rules of one's own


def defined(**body: Any) -> Any:
    return type("Mine", (PipelineOutputMixin,), {"__module__": __name__} | body)


def with_rule(rule: Any, **columns: Any) -> Any:
    bits = BitField()
    return defined(**columns, result_flags=bits, flag_odd=bits.flag(help_text="Odd", when=rule))


def test_a_rule_of_ones_own_is_about_any_columns() -> None:
    columns: dict[str, Any] = {"a": DoubleField(null=True, unit=""), "b": IntegerField(default=7, unit="")}
    model = with_rule(lambda row: (row.a + row.b - 1 > 10) & ~(row.b == 3), **columns)
    odd = [(3.0, 9), (9.0, 3), (3.0, 8), (None, 9)]
    assert [model(a=a, b=b).flag_odd for a, b in odd] == [True, False, False, False]
    spectrum = BossVisitSpectrum(spectrum_pk=1, source_pk=1)
    assert model.from_spectrum(spectrum, a=4.5).flag_odd  # with the default of b
    assert model.from_spectra([spectrum] * 2, a=[4.5, 4.0])["result_flags"].tolist() == [1, 0]


def test_a_rule_asks_for_ranges_and_lists_as_queries_do(database: peewee.Database, make_spectra: Any) -> None:
    columns: dict[str, Any] = {"a": FloatField(null=True, unit=""), "b": IntegerField(null=True, unit="")}
    model = with_rule(lambda row: row.a.between(-0.1, 0.4) & row.b.not_in([2, 3]) | row.b.in_([7]), **columns)
    model.create_table()
    values = [(0.4, 1), (next_up(0.4), 1), (-0.1, 1), (next_down(-0.1), 1), (0.0, 3), (9.0, 7), (None, 7), (0.0, None)]
    spectra = make_spectra(len(values))
    expected = [1, 0, 1, 0, 0, 1, 1, 0]
    rows = [model.from_spectrum(one, a=a, b=b) for one, (a, b) in zip(spectra, values, strict=True)]
    assert [row.result_flags for row in rows] == expected
    a, b = ([value[place] for value in values] for place in (0, 1))
    assert [row.result_flags for row in model.from_spectra(spectra, a=a, b=b)] == expected
    upsert(model, [{"spectrum_pk": r.spectrum_pk, "a": r.a, "b": r.b} for r in rows])
    assert model.apply_flags() == sum(expected)
    assert found(model) == expected


def test_a_derived_model_has_the_rules_of_its_base() -> None:
    model = type("Warmer", (BossNet,), {"__module__": __name__, "shift": FloatField(null=True, unit="K")})
    assert names_of(model(teff=900.0)) == {"unreliable_teff"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda row: row.no_such_column > 3, "about 'no_such_column', which is no column"),
        (lambda row: 1_700 < row.teff < 5_000, "a chained comparison"),
        (lambda row: row.teff < 3 or row.teff > 4, "can't have and, or, not"),
        (lambda row: not row.teff < 3, "can't have and, or, not"),
        (lambda row: row.teff / row.teff > 1, r"uses what rules can't \(unsupported operand.*they have <, <="),
        (lambda row: row.teff.startswith("hot"), r"Mine\.flag_odd: its rule uses what rules can't"),
        (lambda row: row.teff, "has to give a condition on columns"),
        (lambda row: True, "has to give a condition on columns"),
    ],
)
def test_a_mistake_in_a_rule_shows_when_the_class_is_made(rule: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        with_rule(rule, teff=FloatField(null=True))
    assert isinstance(caught.value, AstraError)
    assert "Mine" not in {model.__name__ for model in BaseModel.concrete_models()}


# ---- formal errors and noise models


def test_formal_errors_are_the_errors_until_they_are_given(spectrum: BossVisitSpectrum) -> None:
    row = ApogeeNet.from_spectrum(spectrum, e_teff=40.0, e_logg=0.1, raw_e_logg=0.05, e_fe_h=None)
    assert (row.raw_e_teff, row.raw_e_logg, row.raw_e_fe_h) == (40.0, 0.05, None)
    assert (row.e_teff, row.e_logg) == (40.0, 0.1)
    many = ApogeeNet.from_spectra([spectrum] * 2, e_teff=np.array([40.0, 41.0]), e_logg=0.1, raw_e_logg=[0.05, 0.06])
    assert many["raw_e_teff"].tolist() == [40.0, 41.0]
    assert many["raw_e_logg"].tolist() == [0.05, 0.06]


@pytest.mark.parametrize("model", [TheCannon, ThePayne])
def test_formal_errors_of_labels_are_kept(spectrum: BossVisitSpectrum, model: Any) -> None:
    assert model.from_spectrum(spectrum, e_teff=40.0, e_fe_h=0.1).raw_e_teff == 40.0
    assert set(LABELS) == {name.removeprefix("raw_e_") for name in ThePayne.same_unless_given}


def test_labels_of_astronn_are_raw_until_they_are_calibrated(spectrum: BossVisitSpectrum) -> None:
    row = AstroNN.from_spectrum(spectrum, c_1_h=0.2, e_c_1_h=0.01, teff=5_000.0, raw_teff=5_100.0)
    assert (row.raw_c_1_h, row.raw_e_c_1_h, row.raw_teff) == (0.2, 0.01, 5_100.0)


def stored_errors(model: Any, *names: str) -> list[tuple[float | None, ...]]:
    rows = model.select().order_by(model.spectrum_pk)
    return [tuple(None if getattr(r, n) is None else round(getattr(r, n), 4) for n in names) for r in rows]


def test_apogeenets_noise_model_makes_uncertainties_of_formal_errors(
    database: peewee.Database, make_spectra: Any
) -> None:
    first, second = make_spectra(2)
    upsert(
        ApogeeNet,
        [
            ApogeeNet.from_spectrum(first, e_teff=40.0, e_logg=0.2, e_fe_h=0.1),
            ApogeeNet.from_spectrum(second, e_teff=None, raw_e_logg=0.4, e_fe_h=NAN),
        ],
    )
    assert ApogeeNet.apply_noise_model() == 2
    assert stored_errors(ApogeeNet, "e_teff", "e_logg", "e_fe_h") == [(60.0, 0.26, 0.11), (None, 0.51, None)]
    assert stored_errors(ApogeeNet, "raw_e_teff", "raw_e_logg") == [(40.0, 0.2), (None, 0.4)]
    revisions = [row.revision for row in ApogeeNet.select()]
    assert ApogeeNet.apply_noise_model() == 0
    assert [row.revision for row in ApogeeNet.select()] == revisions


def test_a_noise_model_of_ones_own_is_applied_to_chosen_rows(database: peewee.Database, make_spectra: Any) -> None:
    spectra = make_spectra(2)
    upsert(SnowWhite, [SnowWhite.from_spectrum(one, e_teff=90.0, raw_e_teff=200.0, e_logg=0.3) for one in spectra])
    changed = SnowWhite.apply_noise_model({"teff": (1.5, 100.0)}, SnowWhite.spectrum_pk == spectra[0].spectrum_pk)
    assert changed == 1
    assert stored_errors(SnowWhite, "e_teff", "e_logg") == [(400.0, 0.3), (90.0, 0.3)]


def test_a_noise_model_that_there_is_not_is_an_error(database: peewee.Database) -> None:
    with pytest.raises(ModelError, match=r"ThePayne has no noise model of its own; give one, such as \{'teff'"):
        ThePayne.apply_noise_model()
    with pytest.raises(UnknownColumnError, match="BossNet has no column 'raw_e_teff', which the noise model of teff"):
        BossNet.apply_noise_model({"teff": (1.0, 0.0)})


# ---- what is warned of and what is bad: a row and a query agree


def judged() -> Iterator[tuple[Any, str]]:
    for model in BaseModel.concrete_models():
        if not model.__module__.startswith("astra_models."):
            continue
        for name in ("flag_warn", "flag_bad"):
            if hasattr(model, name) and name not in model._meta.fields:
                yield model, name


def test_these_models_say_what_is_bad_or_to_be_warned_of() -> None:
    results = {ApogeeNet, ASPCAP, AstroNN, AstroNNdist, BossNet, Slam, ThePayne}
    warned = results | {ApogeeVisitSpectrum, ApogeeRestFrameVisitSpectrum}
    assert {model for model, name in judged() if name == "flag_warn"} == warned
    assert {model for model, name in judged() if name == "flag_bad"} == warned | {MDwarfType}


@pytest.mark.parametrize(("model", "name"), list(judged()), ids=lambda value: getattr(value, "__name__", value))
def test_a_row_and_a_query_agree_on_every_flag(
    database: peewee.Database, make_spectra: Any, model: Any, name: str
) -> None:
    column = "result_flags" if "result_flags" in model._meta.fields else "spectrum_flags"
    flags = [0, 2**63 - 1, *(2**bit for bit in range(28))]
    if not issubclass(model, PipelineOutputMixin):
        for place, (spectrum, bits) in enumerate(zip(make_spectra(len(flags)), flags, strict=True)):
            required = [f for f in model._meta.sorted_fields if not f.null and f.default is None and not f.primary_key]
            keys = {f.name: str(place) if isinstance(f, TextField) else place for f in required}
            model.create(**keys | {"spectrum_pk": spectrum.spectrum_pk, "source_pk": spectrum.source_pk, column: bits})
    else:
        spectra = make_spectra(len(flags))
        upsert(model, [{"spectrum_pk": s.spectrum_pk, column: bits} for s, bits in zip(spectra, flags, strict=True)])
    rows = list(model.select().order_by(model.spectrum_pk))
    held = {row.spectrum_pk for row in rows if getattr(row, name)}
    condition = getattr(model, name)
    assert {row.spectrum_pk for row in model.select().where(condition)} == held
    assert {row.spectrum_pk for row in model.select().where(~condition)} == {r.spectrum_pk for r in rows} - held
    assert 0 < len(held) < len(rows)
