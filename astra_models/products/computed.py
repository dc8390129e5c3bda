"""The types of columns that a query computes: whatever holds all of their values."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from astra_models.base import database
from astra_models.columns.typed import COMPUTED, Column
from astra_models.database.sql import driver_errors, is_postgresql
from astra_models.products.query import Selection

TEXT, FLOAT, WHOLE, TRUTH = (np.dtype(name) for name in ("U1", "f8", "i8", "?"))
NUMERIC = 1700
_OF_POSTGRESQL = {16: TRUTH, 20: WHOLE, 21: WHOLE, 23: WHOLE, 700: FLOAT, 701: FLOAT}
"""Types by their numbers in PostgreSQL's catalogue. Of decimals it depends on their values; all others are text."""


def types_of_computed(selection: Selection) -> dict[int, np.dtype]:
    """Ask the database for the types of computed columns, by their places, before any row is read.

    They are those that `inferred` gives all values together; a column that is NULL in all rows is of floats.
    """
    places = [place for place, column in enumerate(selection.columns) if column.kind is COMPUTED]
    if not places:
        return {}
    sql, parameters = selection.ordered(*(column.selected for column in selection.columns)).sql()
    names = ", ".join(f"c{place}" for place in range(len(selection.columns)))
    asked = f"WITH asked({names}) AS ({sql}) SELECT {{}} FROM asked"
    with driver_errors:
        if not is_postgresql(database):
            kinds = "MAX(typeof(c{0}) IN ('text', 'blob')), MAX(typeof(c{0}) = 'real'), MAX(typeof(c{0}) = 'integer')"
            every = ", ".join(kinds.format(place) for place in places)
            found = database.execute_sql(asked.format(every), parameters).fetchone()
            return {place: _of_sqlite(*found[3 * n : 3 * n + 3]) for n, place in enumerate(places)}
        described = database.execute_sql(f"{asked.format('*')} LIMIT 0", parameters).description
        types = {place: _OF_POSTGRESQL.get(described[place].type_code, TEXT) for place in places}
        decimals = [place for place in places if described[place].type_code == NUMERIC]
        if decimals:
            whole = "bool_and(c{0} = trunc(c{0}) AND abs(c{0}) < 9223372036854775808)"
            found = database.execute_sql(asked.format(", ".join(map(whole.format, decimals))), parameters).fetchone()
            types |= {place: WHOLE if is_whole else FLOAT for place, is_whole in zip(decimals, found, strict=True)}
        return types


def _of_sqlite(has_text: int | None, has_real: int | None, has_integer: int | None) -> np.dtype:
    if has_text:
        return TEXT
    return WHOLE if has_integer and not has_real else FLOAT


def inferred(column: Column, dtype: np.dtype | None = None) -> np.ndarray:
    """Give values whose kind isn't known the type that holds all of them, or one that is known by now."""
    values = [_whole_if_it_is(value) for value in column.values]
    dtype = dtype or _type_of(values)
    if dtype == TEXT:
        return np.array(["" if value is None else _told(value) for value in values], dtype=str)
    return np.array([0 if value is None else value for value in values], dtype=dtype)


def _type_of(values: list[object]) -> np.dtype:
    kinds = {type(value) for value in values if value is not None}
    if not kinds <= {bool, int, float, Decimal}:
        return TEXT
    return FLOAT if kinds & {float, Decimal} or not kinds else WHOLE if int in kinds else TRUTH


def _whole_if_it_is(value: object) -> object:
    """Give a whole number as an integer: PostgreSQL's sums of integers are decimals."""
    is_whole = isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value()
    return int(value) if isinstance(value, Decimal) and is_whole and abs(value) < 2**63 else value


def _told(value: object) -> str:
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds")
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
