"""The revision of a result: a hash of its values, which changes when one of them changes.

Results of other pipelines that were made from it are due again then, and only then: writing the same values again makes
the same revision. Columns that are NULL don't count, so that a column that is added to a table later changes nothing.

The hash is the sum of each column's value times the column's own odd number, modulo 2**64 (multilinear hashing; Lemire
and Kaser 2014, https://doi.org/10.1093/comjnl/bxt070). A change of one number always changes the sum; one of several
columns leaves it as it is once in 2**60 times.
"""

import hashlib
from functools import lru_cache

import numpy as np
import peewee

from astra_models.columns.typed import BYTES, FLOATS, INT64, TEXT, Column

__all__ = ["revision_of_rows"]

BITS = 60
"""So that the revisions of several results can be added up in 64 bits."""

EMPTY = np.uint64(1 << 63)
"""What a row without any value has, so that it isn't taken for no row."""


def revision_of_rows(fields: tuple[peewee.Field, ...], columns: dict[str, Column], n_rows: int) -> Column:
    """Hash the values of each row.

    Parameters
    ----------
    fields : tuple of peewee.Field
        The columns that count.
    columns : dict of str to Column
        The rows' columns by the name of the field; one that isn't there counts as NULL.
    n_rows : int
        How many rows there are.

    Returns
    -------
    Column of INT64, length n_rows
        The revisions, 0 to 2**60 - 1.
    """
    total = np.full(n_rows, EMPTY)
    for field in fields:
        column = columns.get(field.name)
        if column is None:
            continue
        term = _bits(column)
        if field.null:
            term += np.uint64(1)  # so that 0 isn't NULL
        term *= _factor_of(field)
        if column.null.any():
            term[column.null] = 0
        total += term
    return Column(INT64, (total >> np.uint64(64 - BITS)).view(np.int64), np.zeros(n_rows, bool))


@lru_cache(maxsize=8192)
def _factor_of(field: peewee.Field) -> np.uint64:
    name = f"{field.model._meta.table_name}.{field.name}"
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 1)


def _bits(column: Column) -> np.ndarray:
    """Give each value as 64 bits of its own; equal values have equal bits."""
    values = column.values
    if column.kind in (TEXT, BYTES, FLOATS):
        return _hashes(column)
    if values.dtype.kind == "f":
        values = values + values.dtype.type(0)  # 0.0 and -0.0 are the same
        return values.view(f"u{values.itemsize}").astype(np.uint64)
    return values.astype(np.int64).view(np.uint64)


def _hashes(column: Column) -> np.ndarray:
    known: dict[bytes, int] = {b"": 0}
    found = np.zeros(len(column.values), np.uint64)
    for place in np.flatnonzero(~column.null):
        value = column.values[place]
        content = value.encode() if isinstance(value, str) else bytes(value)
        if content not in known:
            known[content] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        found[place] = known[content]
    return found
