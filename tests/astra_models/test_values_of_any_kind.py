"""Whatever value a row holds: it is stored, or NULL, or its row is refused and listed; all good rows are stored."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import peewee
import pytest
from astropy import units
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astra_models.analysis.replay import replay
from astra_models.columns.payload import MOST_CHARACTERS, payload_from_json, payload_to_json
from astra_models.columns.typed import to_column
from astra_models.errors import InexactPayloadError, NothingRejectedError
from astra_models.fields import (
    BigIntegerField,
    BitField,
    BooleanField,
    BytesField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    FloatField,
    IntegerField,
    TextField,
)
from astra_models.messages import shown
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.rocket import Rocket
from astra_models.upsert import upsert
from tests.astra_models.hostile import BrokenMapping, LoudText, cyclic, deep, odd_values, raising

pytestmark = pytest.mark.long_on_each

ODD = odd_values()


class OfAnyKind(PipelineOutputMixin):
    """A column of every type."""

    abstract = True

    single = FloatField(null=True, unit="K")
    double = DoubleField(null=True, unit="")
    whole = IntegerField(null=True, unit="")
    large = BigIntegerField(null=True, unit="")
    bits = BitField()
    flag_odd = bits.flag(2**0, "Odd")
    yes = BooleanField(null=True)
    text = TextField(null=True)
    moment = DateTimeField(null=True)
    blob = BytesField(null=True)
    floats = FloatArrayField(null=True, unit="K")


COLUMNS = {
    name: field
    for name, field in OfAnyKind._meta.fields.items()
    if name not in {*PipelineOutputMixin._meta.fields, "v_astra_major_minor"}
}
RECORD_COLUMNS = ("spectrum_pk", "source_pk", "v_astra", "created", "tag")
N_GOOD = 10


@pytest.fixture
def model(database: peewee.Database) -> Any:
    """Make a table with a column of every type."""

    class AnyKind(OfAnyKind):
        """A column of every type."""

    AnyKind.create_table()
    return AnyKind


def as_rows(form: str, model: Any, column: str, keys: list[int], values: list[Any]) -> Any:
    """Give rows of which one column has these values."""
    if form in ("dicts", "instances"):
        rows = [{"spectrum_pk": key, column: value} for key, value in zip(keys, values, strict=True)]
        return rows if form == "dicts" else [model(**row) for row in rows]
    held = np.empty(len(values), object)
    for place, value in enumerate(values):
        held[place] = value
    columns = {"spectrum_pk": np.array(keys, dtype=object), column: held}
    if form == "array":
        array = np.empty(len(values), [(name, object) for name in columns])
        for name, column_values in columns.items():
            array[name] = column_values
        return array
    table = Table()
    for name, column_values in columns.items():
        table[name] = column_values
    return table


@pytest.mark.parametrize(
    ("column", "form"),
    [
        *((column, "dicts") for column in (*COLUMNS, *RECORD_COLUMNS)),
        *((column, "array") for column in (*COLUMNS, *RECORD_COLUMNS) if column != "spectrum_pk"),
        *((column, form) for column in ("single", "text", "moment", "floats") for form in ("instances", "table")),
        ("spectrum_pk", "instances"),
    ],
)
def test_no_value_takes_another_row_along(
    model: Any, make_spectra: Callable[..., Any], column: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [make() for make in ODD]
    if form == "instances" and column.endswith("_pk"):  # the instance itself asks whether a key is a row
        odd = [value for value in odd if _tells_its_class(value)]
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(N_GOOD + len(odd))]
    rows = as_rows(form, model, column, keys[:-N_GOOD], odd)
    good = [{"spectrum_pk": key, "single": 5.0} for key in keys[-N_GOOD:]]

    report = upsert(model, rows) + upsert(model, good)
    both = [*good, *rows] if isinstance(rows, list) else good
    again = upsert(model, both, unchanged="count")

    assert report.rows == len(odd) + N_GOOD
    assert again.rows == len(both)
    assert again.updated + again.unchanged >= N_GOOD
    assert report.inserted + report.updated + report.rejected + report.superseded == report.rows
    assert model.select().where(model.spectrum_pk.in_(keys[-N_GOOD:]), model.single == 5.0).count() == N_GOOD
    assert len(list(model.select())) == report.inserted
    listed = list(RejectedResult.select())
    assert report.rejected <= len(listed)
    assert all(len(row.payload) < 2 * MOST_CHARACTERS and len(row.message) <= 4_000 for row in listed)
    assert all(row.message.isprintable() and column in row.message for row in listed)


def _tells_its_class(value: Any) -> bool:
    try:
        return isinstance(value.__class__, type)
    except (Exception, SystemExit, GeneratorExit):
        return False


@pytest.mark.parametrize(
    "row", [*ODD[-40:], BrokenMapping, lambda: {raising(ValueError, "__str__")(): 1}, lambda: {LoudText("teff"): 5.0}]
)
def test_no_row_takes_another_row_along(database: peewee.Database, make_spectra: Any, row: Any) -> None:
    spectra = make_spectra(3)
    good = [{"spectrum_pk": spectrum.spectrum_pk, "teff": 5.0} for spectrum in spectra]
    report = upsert(Rocket, [good[0], row(), *good[1:]], extra="ignore")
    assert (report.inserted, report.rejected) == (3, 1)
    (listed,) = RejectedResult.select()
    assert listed.message


def test_an_array_without_dimensions_is_a_row_or_a_scalar(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(4)]
    kind = [("spectrum_pk", "i8"), ("teff", "f8")]
    rows = [
        {"spectrum_pk": np.array(keys[0]), "teff": np.array(5.0), "logg": np.ma.array(1.0, mask=True)},
        np.array((keys[1], 6.0), dtype=kind),
        np.ma.array((keys[2], 7.0), mask=(False, True), dtype=kind),
        {"spectrum_pk": keys[3], "teff": np.ma.array(8.0), "tag": np.array("a"), "result_flags": np.array(3)},
    ]
    assert upsert(Rocket, rows).inserted == 4
    query = Rocket.select(Rocket.teff, Rocket.logg, Rocket.tag, Rocket.result_flags).order_by(Rocket.spectrum_pk)
    assert list(query.tuples()) == [(5.0, None, "", 0), (6.0, None, "", 0), (None, None, "", 0), (8.0, None, "a", 3)]


def test_columns_of_a_table_are_converted_value_by_value(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(4)]
    times = Time(["2024-07-01"] * 4)
    times[1] = np.ma.masked
    table = Table({"spectrum_pk": keys, "created": times, "logg": Masked(np.ones(4), mask=[True, False, False, True])})
    table["teff"] = Column([1.0, None, "hot", 2 * units.kK], dtype=object, unit="kK")
    table["e_teff"] = MaskedColumn(np.arange(4), unit="kK", mask=[True, False, False, False])
    report = upsert(Rocket, table)
    assert (report.inserted, report.rejected) == (3, 1)
    query = Rocket.select(Rocket.teff, Rocket.e_teff, Rocket.logg).where(Rocket.spectrum_pk != keys[2])
    query = query.order_by(Rocket.spectrum_pk)
    assert list(query.tuples()) == [(1_000.0, None, None), (None, 1_000.0, 1.0), (2_000.0, 3_000.0, None)]
    created = [row.created for row in Rocket.select().order_by(Rocket.spectrum_pk) if row.spectrum_pk != keys[2]]
    assert [moment.year == 2024 and moment.month == 7 for moment in created] == [True, False, True]


def test_masked_quantities_are_null(database: peewee.Database, make_spectra: Any) -> None:
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(4)]
    quantities = QTable({"spectrum_pk": keys, "e_logg": Masked(np.ones(4), mask=[True, False, False, False])})
    quantities["e_teff"] = Masked(np.ones(4) * units.kK, mask=[False, True, True, True])
    assert upsert(Rocket, quantities).inserted == 4
    assert list(Rocket.select(Rocket.e_logg, Rocket.e_teff).order_by(Rocket.spectrum_pk).limit(2).tuples()) == [
        (None, 1_000.0),
        (1.0, None),
    ]


@pytest.mark.sqlite_only(reason="no database is asked")
@pytest.mark.parametrize(
    ("column", "value", "converted"),
    [
        ("single", np.array(3.5), 3.5),
        ("single", 5 * units.kK, 5_000.0),
        ("single", Decimal("1.5"), 1.5),
        ("single", Fraction(1, 4), 0.25),
        ("single", Decimal("sNaN"), None),
        ("double", np.longdouble(1.5), 1.5),
        ("whole", 5.0, 5),
        ("whole", np.array(5, "u8"), 5),
        ("whole", Decimal("NaN"), None),
        ("yes", np.array(True), True),
        ("text", LoudText("a"), "a"),
        ("moment", np.datetime64("NaT"), None),
        ("moment", np.array("2024-07-01", "M8[D]"), datetime(2024, 7, 1)),
        ("blob", bytearray(b"a"), b"a"),
        ("floats", np.ma.array([1.0, 2.0], mask=[True, False]), [math.nan, 2.0]),
        ("floats", units.Quantity([1.0], "kK"), [1_000.0]),
    ],
    ids=lambda value: shown(value),
)
def test_what_can_be_converted_is(database: peewee.Database, column: str, value: Any, converted: Any) -> None:
    typed, refusals = to_column(COLUMNS[column], [value, None])
    assert not refusals
    assert typed.null.tolist() == [converted is None, True]
    if converted is not None:
        found = typed.values[0]
        np.testing.assert_equal(found.tolist() if isinstance(found, np.generic | np.ndarray) else found, converted)


@pytest.mark.sqlite_only(reason="no database is asked")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("single", 5 * units.km),
        ("double", Decimal("1e400")),
        ("double", np.longdouble("1e400")),
        ("double", np.timedelta64(5, "s")),
        ("whole", np.timedelta64(5, "ns")),
        ("whole", np.array([5])),
        ("single", "5.0"),
        ("moment", datetime.max),
        ("moment", datetime.min.replace(tzinfo=UTC)),
        ("moment", date(2024, 7, 1)),
        ("blob", "a"),
        ("floats", ["1"]),
        ("floats", [[1.0]]),
        ("floats", [1e39]),
        ("floats", np.broadcast_to(0.0, (10**10,))),
    ],
    ids=lambda value: shown(value),
)
def test_what_would_become_another_value_is_refused(database: peewee.Database, column: str, value: Any) -> None:
    typed, (refusal,) = to_column(COLUMNS[column], [None, value])
    assert refusal.row == 1
    assert typed.null.all()


def test_a_moment_at_the_end_of_time_does_not_make_the_table_unreadable(
    database: peewee.Database, make_spectra: Any
) -> None:
    spectra = make_spectra(4)
    ends = (datetime.max, datetime.max.replace(tzinfo=UTC).astimezone(None), datetime(9999, 12, 30, 23, tzinfo=UTC))
    ends = (*ends[::2], datetime.fromisoformat("9999-12-31T23:59:59-07:00"), datetime.min)
    rows = [{"spectrum_pk": s.spectrum_pk, "created": end} for s, end in zip(spectra, ends, strict=True)]
    report = upsert(Rocket, rows)
    assert [row.created for row in Rocket.select()] == [datetime(9999, 12, 30, 23, tzinfo=UTC)]
    assert report.rejected == 3


def test_flags_of_any_kind(model: Any, make_spectra: Any) -> None:
    values = [make() for make in ODD]
    keys = [spectrum.spectrum_pk for spectrum in make_spectra(len(values))]
    report = upsert(model, [{"spectrum_pk": key, "flag_odd": v} for key, v in zip(keys, values, strict=True)])
    more = upsert(
        model, [{"spectrum_pk": key, "bits": v, "flag_odd": True} for key, v in zip(keys, values, strict=True)]
    )
    assert report.rows == more.rows == len(values)
    assert report.inserted
    assert report.rejected


# ---- payloads

surrogates = st.text(st.characters(categories=["Cs", "Cc"]), max_size=3)


@dataclass(frozen=True)
class Odd:
    """Stands for one of the odd values, which the library would have to show."""

    place: int


def made(value: Any) -> Any:
    """Put the odd values in."""
    if isinstance(value, list):
        return [made(item) for item in value]
    return ODD[value.place]() if isinstance(value, Odd) else value


anything = st.deferred(
    lambda: st.builds(Odd, st.integers(0, len(ODD) - 1)) | exact | surrogates | st.lists(anything, max_size=3)
)
exact = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers(-(2**100), 2**100)
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.binary(max_size=20)
        | st.datetimes(timezones=st.just(UTC))
        | st.dates()
        | st.decimals(allow_nan=False)
        | st.fractions()
        | hnp.datetime64_dtypes().flatmap(hnp.from_dtype).filter(lambda value: not np.isnat(value))
        | st.lists(exact, max_size=3)
    )
)


@settings(max_examples=150, deadline=None)
@given(value=exact)
def test_a_payload_restores_what_has_an_exact_form(value: Any) -> None:
    restored = payload_from_json(payload_to_json({"value": value}))["value"]
    assert restored == value
    assert type(restored) is type(value)


@settings(max_examples=150, deadline=None)
@given(row=st.dictionaries(st.text(max_size=5), anything, max_size=4))
def test_a_payload_can_be_made_of_anything(row: dict[str, Any]) -> None:
    payload = payload_to_json({name: made(value) for name, value in row.items()})
    assert len(payload) <= 2 * MOST_CHARACTERS
    assert payload.isascii()
    if '": {"$repr": "' in payload:
        with pytest.raises(InexactPayloadError):
            payload_from_json(payload)
    else:
        assert list(payload_from_json(payload)) == list(row)


@settings(max_examples=150, deadline=None)
@given(
    value=hnp.scalar_dtypes().flatmap(hnp.from_dtype) | hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0))
)
def test_numpy_values_of_all_types(value: Any) -> None:
    for field in COLUMNS.values():
        typed, refusals = to_column(field, [value])
        assert typed.values.shape == (1,)
        assert not refusals or typed.null[0]
    for many in (np.atleast_1d(value), np.ma.masked_array(np.atleast_1d(value), mask=True)):
        for field in COLUMNS.values():
            assert len(to_column(field, many)[0].values) == len(many)
    assert payload_to_json({"value": value})


@pytest.mark.parametrize("value", [cyclic(), deep(), 10**5000, 1 + 2j, {"a": 1}, 5 * units.K, object], ids=shown)
def test_a_description_does_not_become_data(database: peewee.Database, make_spectra: Any, value: Any) -> None:
    spectra = make_spectra(3)
    rows = [{"spectrum_pk": s.spectrum_pk, "tag": v} for s, v in zip(spectra, ["a\0", value, "b"], strict=True)]
    rows[0]["spectrum_pk"], rows[0]["tag"] = max(s.spectrum_pk for s in spectra) + 1, "a"
    assert upsert(Rocket, rows, run_id="5f1c").rejected == 2
    report = replay("5f1c")
    assert (report.rows, report.rejected, report.left) == (1, 1, 1)
    assert [row.tag for row in Rocket.select()] == ["b"]
    assert RejectedResult.select().where(RejectedResult.payload.contains("$repr")).count() == 1


@pytest.mark.parametrize(
    "payload",
    [
        '{"spectrum_pk": 1, "tag": {"$repr": "{\'a\': 1}"}}',
        '{"spectrum_pk": 1, "teff": [1.0, {"$repr": "<X at 0x7f>"}]}',
        '{"spectrum_pk": 1, "tag": {"$unknown": "a"}}',
        '{"spectrum_pk": 1, "tag": {}}',
        '{"spectrum_pk": 1, "created": {"$datetime": "yesterday"}}',
        '{"row": 5}',
        "[1, 2]",
        "null",
        "no JSON",
        "[" * 100_000,
    ],
    ids=lambda value: value[:60],
)
def test_payloads_of_older_databases_are_recognised(database: peewee.Database, make_spectra: Any, payload: str) -> None:
    make_spectra(1)
    RejectedResult.create(model="Rocket", reason="refused", message="", payload=payload, v_astra=9_000)
    assert (replay().rows, replay().left) == (0, 1)
    assert not Rocket.select().exists()


def test_a_date_of_an_older_database_stays_a_date() -> None:
    assert payload_from_json('{"value": {"$datetime": "2020-01-01"}}') == {"value": date(2020, 1, 1)}


def test_a_result_of_another_model_is_not_replayed_as_one_of_this(database: peewee.Database, make_spectra: Any) -> None:
    from astra_models.corv import Corv

    (spectrum,) = make_spectra(1)
    assert upsert(Rocket, [Corv.from_spectrum(spectrum, v_rad=1.0)]).rejected == 1
    assert RejectedResult.get().spectrum_pk == spectrum.spectrum_pk
    assert replay().left == 1
    assert not Rocket.select().exists()


def test_nothing_to_replay_is_said(database: peewee.Database) -> None:
    with pytest.raises(NothingRejectedError):
        replay()
