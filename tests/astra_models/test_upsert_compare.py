"""Rows that equal the stored ones are found without being staged, and no other rows are taken for such."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import peewee
import pytest

from astra_models.columns.typed import FLOAT32, FLOAT64, FLOATS, Column
from astra_models.fields import BitField, BytesField, DateTimeField, DoubleField, FloatArrayField, FloatField, TextField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.upsert import upsert
from astra_models.upsert.digest import digest_in_sql, digest_of_arrays, digest_of_row

NIGHT = datetime(2024, 7, 1, 4, 5, 6, 789, UTC)
ROW: dict[str, Any] = {
    "result_flags": 1,
    "tag": "0.0",
    "teff": 0.0,
    "logg": None,
    "ra": 0.1,
    "night": NIGHT,
    "code": b"\0\1",
    "lines": [1.5, float("nan")],
}
DIFFERENCES: list[dict[str, Any]] = [
    {"result_flags": 1 << 32},
    {"tag": "0.0 "},
    {"teff": np.nextafter(np.float32(0), np.float32(1))},
    {"teff": float("nan")},
    {"teff": None, "logg": 0.0},
    {"teff": None},
    {"logg": 0.0},
    {"ra": 0.1 + 1e-15},
    {"teff": 0.1, "ra": 0.0},
    {"night": NIGHT + timedelta(microseconds=1)},
    {"night": None},
    {"code": b"\0\2"},
    {"code": b""},
    {"code": None},
    {"lines": [1.5]},
    {"lines": [float("nan"), 1.5]},
    {"lines": []},
    {"lines": None},
]


@pytest.fixture
def model(database: peewee.Database) -> Any:
    class Everything(PipelineOutputMixin):
        result_flags = BitField(default=0)
        teff = FloatField(null=True, unit="K")
        logg = FloatField(null=True, unit="dex(cm / s2)")
        ra = DoubleField(null=True, unit="deg")
        night = DateTimeField(null=True)
        code = BytesField(null=True)
        note = TextField(null=True)
        lines = FloatArrayField(null=True, unit="")

    database.create_tables([Everything])
    return Everything


def rows_of(spectra: list[Any], differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        ROW | values | {"spectrum_pk": spectrum.spectrum_pk, "v_astra": 8_000}
        for spectrum, values in zip(spectra, differences, strict=True)
    ]


def test_what_is_as_before_is_not_staged(model: Any, make_spectra: Any, recorded_queries: Any) -> None:
    rows = rows_of(make_spectra(len(DIFFERENCES)), DIFFERENCES)
    upsert(model, rows)
    with recorded_queries() as queries:
        assert upsert(model, rows, unchanged="skip").unchanged == len(rows)
    assert not [query for query in queries if "TEMPORARY" in query]


def test_any_difference_is_found(model: Any, make_spectra: Any) -> None:
    spectra = make_spectra(len(DIFFERENCES) + 5)
    upsert(model, rows_of(spectra, [{} for _ in spectra]))
    before = [row.modified for row in model.select().order_by(model.spectrum_pk)]
    report = upsert(model, rows_of(spectra, [*DIFFERENCES, *({} for _ in range(5))]), unchanged="skip")
    after = [row.modified for row in model.select().order_by(model.spectrum_pk)]
    assert [values for values, old, new in zip(DIFFERENCES, before, after, strict=False) if old == new] == []
    assert (report.updated, report.unchanged) == (len(DIFFERENCES), 5)


@pytest.mark.parametrize(("stored", "given"), [(0.0, -0.0), (np.float32(np.nan), -np.float32(np.nan))], ids=repr)
def test_what_is_equal_in_sql_is_as_before(model: Any, make_spectra: Any, stored: float, given: float) -> None:
    spectra = make_spectra(5)
    upsert(model, rows_of(spectra, [{"teff": stored}] * 5))
    assert upsert(model, rows_of(spectra, [{"teff": given}] * 5), unchanged="skip").unchanged == 5


# ---- the hash is the server's


def any_floats(dtype: Any) -> np.ndarray:
    """Give values of every size, made of random bits, and the special ones."""
    bits = np.random.default_rng(1).integers(0, 256, 400 * np.dtype(dtype).itemsize, dtype=np.uint8)
    special = [0.0, -0.0, 1.0, np.nan, -np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).tiny]
    return np.concatenate([bits.view(dtype), np.array(special, dtype)])


@pytest.mark.postgresql_only(reason="the hash is PostgreSQL's")
@pytest.mark.parametrize(("kind", "element"), [(FLOAT32, "real"), (FLOAT64, "double precision")])
def test_floats_have_the_servers_hash(database: peewee.Database, kind: Any, element: str) -> None:
    values = any_floats(kind.dtype)
    null = np.arange(len(values)) % 7 == 0
    first, second = Column(kind, values, null), Column(kind, values[::-1].copy(), np.zeros(len(values), bool))
    pairs = [f"({place}, %s::{element}, %s::{element})" for place in range(len(values))]
    statement = (
        f"SELECT {digest_in_sql('ARRAY[one, other]')} FROM (VALUES {', '.join(pairs)}) AS pairs (place, one, other) "
        "ORDER BY place"
    )
    given = [
        value
        for one, is_null, other in zip(first.values.tolist(), null.tolist(), second.values.tolist(), strict=True)
        for value in (None if is_null else one, other)
    ]
    hashes = [row[0] for row in database.execute_sql(statement, given)]
    assert digest_of_row([first, second]).values.tolist() == hashes


@pytest.mark.postgresql_only(reason="the hash is PostgreSQL's")
def test_arrays_of_any_length_have_the_servers_hash(database: peewee.Database) -> None:
    values = any_floats(np.float32)
    arrays = [values[:length] for length in (0, 1, 2, 5, len(values))]
    column = np.empty(len(arrays), object)
    column[:] = arrays
    hashes = [
        database.execute_sql(f"SELECT {digest_in_sql('%s::real[]')}", ([*array.tolist()],)).fetchone()[0]
        for array in arrays
    ]
    given = Column(FLOATS, column, np.zeros(len(arrays), bool))
    assert digest_of_arrays(given).values.tolist() == hashes
