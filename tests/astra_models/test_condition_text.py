"""Conditions as text choose the rows that Python chooses, on both databases, and nothing of them gets into SQL."""

import operator
from typing import Any

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.bossnet import BossNet
from astra_models.columns.condition_text import DEEPEST, read_condition
from astra_models.errors import SelectionError
from astra_models.schema.tables import create_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum

pytestmark = pytest.mark.long_on_each

VALUES: list[dict[str, Any]] = [
    {"teff": 5000.0, "logg": 4.5, "fe_h": -0.5, "tag": "a", "result_flags": 0},
    {"teff": 3000.0, "logg": None, "fe_h": 0.25, "tag": "it's", "result_flags": 2},
    {"teff": None, "logg": 1.0, "fe_h": 0.0, "tag": "B", "result_flags": 8},
    {"teff": -1.5, "logg": 5.5, "fe_h": None, "tag": "", "result_flags": 9},
    {"teff": 10000.0, "logg": 2.25, "fe_h": 1.0, "tag": "ab", "result_flags": 16},
]


@pytest.fixture
def rows(database: peewee.Database) -> list[BossNet]:
    create_tables()
    source = Source.create(sdss_id=1, g_mag=15.0)
    for values in VALUES:
        spectrum = Spectrum.create(spectrum_flags=0)
        BossNet.insert(spectrum_pk=spectrum.pk, source_pk=source.pk, **values).execute()  # flags stay as they are
    return sorted(BossNet.select(), key=lambda row: row.task_pk)


def chosen(text: str) -> list[int]:
    query = BossNet.select(BossNet.task_pk).join(Source).where(read_condition(text, (BossNet, Source)))
    return [key for (key,) in query.order_by(BossNet.task_pk).tuples()]


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("teff > 4500.5", [1, 5]),
        ("teff >= 5e3 and logg < 4", [5]),
        ("TEFF > 1", "did you mean teff"),
        ("(teff + 1) * 2 > 20000 or fe_h = 0.25", [2, 5]),
        ("not (teff > 4000 or logg > 5)", []),
        ("teff is null or logg IS NULL", [2, 3]),
        ("fe_h in (0, 0.25, 7)", [2, 3]),
        ("fe_h not in (0, 0.25)", [1, 5]),
        ("fe_h between -0.5 and 0.0", [1, 3]),
        ("fe_h not between -0.5 and 0", [2, 5]),
        ("tag = 'it''s' or tag = ''", [2, 4]),
        ('tag like "a%"', [1, 5]),
        ("tag not like 'A%'", [2, 3, 4]),
        ("flag_unreliable_teff", [2]),
        ("not flag_unreliable_teff and not flag_unreliable_fe_h", [1, 5]),
        ("flag_warn or flag_bad", [2, 3, 4, 5]),
        ("teff / fe_h > 0", [2, 5]),
        ("teff / (fe_h - fe_h) > 0", []),
        ("-teff > 1 and - fe_h < 1", []),
        ("- teff > 1", [4]),
        ("5000 = teff", [1]),
        ("boss_net.teff > 4999 and source.g_mag < 16", [1, 5]),
        ("g_mag > 16", []),
        ("logg > fe_h + 4", [1]),
        ("created > '2020-01-01' and created < '2020-01-02T00:00:00+00:00'", []),
        ("created > '2020-01-01'", [1, 2, 3, 4, 5]),
        ("result_flags = 8.5", []),
        ("result_flags > 8.5", [4, 5]),
        ("~flag_bad & (teff > 1 | logg > 1)", [1, 5]),
    ],
)
def test_rows_are_chosen(rows: list[BossNet], text: str, which: list[int] | str) -> None:
    if isinstance(which, str):
        with pytest.raises(SelectionError, match=which):
            chosen(text)
    else:
        assert chosen(text) == [rows[number - 1].task_pk for number in which]


# ---- any condition of a grammar, held against Python


NUMBERS = {name: [row[name] for row in VALUES] for name in ("teff", "logg", "fe_h")}
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne}
Truth = bool | None
Told = tuple[str, list[Truth]]
"""A text, and whether it is true, false or unknown (NULL) of each row."""


def compared(name: str, sign: str, value: float) -> Told:
    truth = [None if own is None else SIGNS[sign](own, value) for own in NUMBERS[name]]
    return f"{name} {sign} {value}", truth


def is_null(name: str, negated: bool) -> Told:
    return f"{name} is {'not ' if negated else ''}null", [(own is None) != negated for own in NUMBERS[name]]


def negated(told: Told) -> Told:
    return f"not ({told[0]})", [None if truth is None else not truth for truth in told[1]]


def both(one: Told, other: Told) -> Told:
    def truth(a: Truth, b: Truth) -> Truth:
        return False if a is False or b is False else None if a is None or b is None else True

    return f"({one[0]}) and {other[0]}" if " or " not in other[0] else f"({one[0]}) and ({other[0]})", [
        truth(a, b) for a, b in zip(one[1], other[1], strict=True)
    ]


def either(one: Told, other: Told) -> Told:
    def truth(a: Truth, b: Truth) -> Truth:
        return True if a or b else None if a is None or b is None else False

    return f"{one[0]} or ({other[0]})", [truth(a, b) for a, b in zip(one[1], other[1], strict=True)]


VALUE = st.sampled_from([-1.5, 0.0, 0.25, 1.0, 2.25, 4.5, 5000.0, 1e4]) | st.integers(-3, 6).map(float)
SIMPLE = st.builds(compared, st.sampled_from(sorted(NUMBERS)), st.sampled_from(sorted(SIGNS)), VALUE) | st.builds(
    is_null, st.sampled_from(sorted(NUMBERS)), st.booleans()
)
CONDITION = st.recursive(
    SIMPLE,
    lambda inner: st.builds(negated, inner) | st.builds(both, inner, inner) | st.builds(either, inner, inner),
    max_leaves=8,
)


def test_any_condition_chooses_what_python_chooses(rows: list[BossNet]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(CONDITION)
    def holds(told: Told) -> None:
        assert chosen(told[0]) == [row.task_pk for row, truth in zip(rows, told[1], strict=True) if truth], told[0]

    holds()


# ---- what can't be read


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tef > 1", "'tef' is no column or flag of boss_net, source; did you mean teff"),
        ("flag_unreliable_tef", "did you mean flag_unreliable_teff"),
        ("corv.teff > 1", "'corv' is none of these tables"),
        ("teff > '5'", "teff is compared with '5', and takes a number"),
        ("tag = 5", "takes text in quotes"),
        ("created > 5", "takes a time in quotes"),
        ("created > 'yesterday'", "created can't be 'yesterday'"),
        ("teff", "can't be read to its end"),
        ("teff > ", "can't be read to its end"),
        ("teff > 1; drop table boss_net", "can't be read from '; drop table boss_ne' on"),
        ("teff > 1 or 1 = 1", "two values are compared"),
        ("teff > 1 -- and so on", "can't be read"),
        ("teff > 1)", r"can't be read from '\)' on"),
        ("(teff > 1", "can't be read to its end"),
        ("tag + 1 > 2", "takes numbers, and tag is text"),
        ("teff > tag", "teff is number, and tag text"),
        ("teff in ()", "can't be read"),
        ("teff in (select 1)", "'select' is no column"),
        ("random() > 1", "'random' is no column"),
        ("tag like teff", "like takes a column of text"),
        ("sdss5_target_flags > 1", "lists or bytes"),
        ("teff = null", "can't be read"),
        ("", "can't be read"),
        ("(" * 60 + "teff > 1" + ")" * 60, "at most 50 parentheses"),
        ("teff > 1 and " * 1000 + "teff > 1", "at most 10,000 characters"),
    ],
)
def test_what_cant_be_read_is_said(text: str, why: str) -> None:
    with pytest.raises(SelectionError, match=why):
        read_condition(text, (BossNet, Source))


def test_deep_parentheses_are_read() -> None:
    read_condition("(" * (DEEPEST - 1) + "teff > 1" + ")" * (DEEPEST - 1), (BossNet,))


def test_values_are_bound() -> None:
    query = BossNet.select(BossNet.task_pk).where(read_condition("tag = 'x\"; --' and teff > 1.5", (BossNet,)))
    sql, values = query.sql()
    assert "--" not in sql
    assert list(values) == ['x"; --', 1.5]


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from([*"()<>=!&|~+-*/,.'\"", "teff", "tag", " and ", " not ", " in ", " is ", " null", "1", "'x'", "flag_bad"])).map("".join))  # fmt: skip  # noqa: E501
def test_any_text_is_a_condition_or_a_refusal(text: str) -> None:
    try:
        condition = read_condition(text, (BossNet, Source))
    except SelectionError:
        return
    BossNet.select(BossNet.task_pk).where(condition).sql()
