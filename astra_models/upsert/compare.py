"""Comparing the rows of a batch with stored ones: the compared values, from here and from the server, in one form.

Integers and text are compared as they are, floats by a hash of all of them. Where the two sides
disagree on a value's form, equal rows look different, which costs time and nothing else.
"""

from collections.abc import Iterable, Sequence

from astra_models.columns.copy_format import as_sent
from astra_models.columns.typed import BYTES, FLOAT32, FLOAT64, FLOATS, LOCAL_MOMENT, MOMENT, Column, Kind
from astra_models.upsert.digest import digest_in_sql, digest_of_arrays, digest_of_row
from astra_models.upsert.plan import Key

_FLOAT = (FLOAT32, FLOAT64)
_AS_HEX = {
    BYTES: "encode({}, 'hex')",
    MOMENT: "encode(timestamptz_send({}), 'hex')",
    LOCAL_MOMENT: "encode(timestamp_send({}), 'hex')",
}
_IN_SQL = {FLOATS: digest_in_sql("{}"), **_AS_HEX}


def compared_in_sql(columns: Sequence[tuple[str, Kind]]) -> str:
    """Give the SELECT list of stored rows' values, to be compared with `compared_rows`.

    Parameters
    ----------
    columns : sequence of (str, Kind)
        Quoted names of columns, and their kinds.
    """
    floats = [name for name, kind in columns if kind in _FLOAT]
    others = [_IN_SQL.get(kind, "{}").format(name) for name, kind in columns if kind not in _FLOAT]
    return ", ".join([*others, *([digest_in_sql(f"ARRAY[{', '.join(floats)}]")] if floats else [])])


def compared_rows(columns: Sequence[Column]) -> Iterable[Key]:
    """Give the compared values of each row, as the driver fetches them for `compared_in_sql`.

    Parameters
    ----------
    columns : sequence of Column, each of length n_rows
        The columns, in the same order.
    """
    floats = [column for column in columns if column.kind in _FLOAT]
    others = [_fetched(column) for column in columns if column.kind not in _FLOAT]
    return zip(*others, *([_fetched(digest_of_row(floats))] if floats else []), strict=True)


def _fetched(column: Column) -> list:
    if column.kind is FLOATS:
        return _fetched(digest_of_arrays(column))
    values = as_sent(column).astype(">i8").view("V8") if column.kind in (MOMENT, LOCAL_MOMENT) else column.values
    listed = values.tolist()
    if column.kind in _AS_HEX:
        listed = [value.hex() if value else "" for value in listed]
    if not column.null.any():
        return listed
    return [None if null else value for value, null in zip(listed, column.null, strict=True)]
