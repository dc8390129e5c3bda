"""The revision of a result is another one when a value is."""

from typing import Any

import numpy as np
import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra_models.fields import (
    BitField,
    BooleanField,
    DoubleField,
    FloatArrayField,
    FloatField,
    IntegerField,
    TextField,
)
from astra_models.pipeline import PipelineOutputMixin
from astra_models.upsert.batch import make_batch
from astra_models.upsert.plan import plan_for


class OfEveryKind(PipelineOutputMixin):
    abstract = True

    a = FloatField(null=True, unit="")
    b = FloatField(null=True, unit="")
    c = DoubleField(null=True, unit="")
    d = IntegerField(null=True, unit="")
    e = TextField(null=True)
    f = FloatArrayField(null=True, unit="")
    g = BooleanField(null=True)
    result_flags = BitField()


MODEL: list[type[OfEveryKind]] = []


@pytest.fixture(autouse=True)
def model() -> None:
    """Make the model that the rows are of, which no other test sees."""

    class EveryKind(OfEveryKind):
        pass

    MODEL[:] = [EveryKind]


FLOATS = st.one_of(st.none(), st.floats(width=32, allow_nan=False))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a": FLOATS,
    "b": FLOATS,
    "c": st.one_of(st.none(), st.floats(allow_nan=False)),
    "d": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    "e": st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)),
    "f": st.one_of(st.none(), st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
    "g": st.one_of(st.none(), st.booleans()),
    "result_flags": st.integers(0, 2**62),
}
ROWS = st.fixed_dictionaries(VALUES)


def revisions(rows: list[dict[str, Any]]) -> list[int]:
    given = [{"spectrum_pk": place, "v_astra": 9_000} | row for place, row in enumerate(rows, 1)]
    return make_batch(plan_for(MODEL[0]), given).columns["revision"].values.tolist()


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


@given(st.lists(ROWS, min_size=1, max_size=4), st.data())
@settings(max_examples=200, deadline=None)
def test_a_change_of_one_value_always_changes_it(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(VALUES)))
    changed = rows[0] | {name: data.draw(VALUES[name])}
    before, after = revisions(rows), revisions([changed, *rows[1:]])
    assert before[1:] == after[1:]
    assert (before[0] == after[0]) == same(rows[0][name], changed[name])
    assert all(0 <= revision < 2**60 for revision in before)


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_it_is_the_same_whatever_is_in_the_batch_and_however_it_is_given(row: dict[str, Any]) -> None:
    [alone] = revisions([row])
    assert revisions([row] * 3) == [alone] * 3
    assert revisions([{name: value for name, value in row.items() if value is not None}]) == [alone]
    instance = MODEL[0](spectrum_pk=1, v_astra=9_001, tag="x", t_elapsed=2.0, **row)
    assert make_batch(plan_for(MODEL[0]), [instance]).columns["revision"].values.tolist() == [alone]


def test_zero_is_not_null_and_has_no_sign() -> None:
    [null, zero, minus_zero, nan] = revisions([{"a": None}, {"a": 0.0}, {"a": -0.0}, {"a": np.nan}])
    assert (null == nan, zero == minus_zero, null == zero) == (True, True, False)


def test_values_that_change_places_change_it() -> None:
    assert len(set(revisions([{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, {"b": 1}, {}]))) == 5


@pytest.mark.parametrize("n_rows", [1, 7, 70_000])
def test_large_batches_are_hashed_like_small_ones(database: peewee.Database, n_rows: int) -> None:
    table = np.zeros(n_rows, [("spectrum_pk", "i8"), ("v_astra", "i4"), ("a", "f4"), ("c", "f8"), ("d", "i4")])
    table["spectrum_pk"], table["v_astra"] = np.arange(n_rows) + 1, 9_000
    table["a"] = table["c"] = table["d"] = np.arange(n_rows)
    found = make_batch(plan_for(MODEL[0]), table).columns["revision"].values
    last = n_rows - 1
    assert found[-1] == revisions([{"a": last, "c": last, "d": last}])[0]
