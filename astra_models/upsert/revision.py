"""The revision of a result: a hash of its values, which changes when one of them changes.

Results of other pipelines that were made from it are due again then, and only then: writing the same values again makes
the same revision. Columns that are NULL don't count, so that a column that is added to a table later changes nothing.

The hash is the sum of each column's value times the column's own odd number, modulo 2**64 (multilinear hashing; Lemire
and Kaser 2014, https://doi.org/10.1093/comjnl/bxt070). A change of one number always changes the sum; one of several
columns leaves it as it is once in 2**60 times.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import peewee

from astra_models.columns.typed import BYTES, FLOAT32, FLOAT64, FLOATS, INT64, TEXT, Column, Kind

__all__ = ["revision_of_rows"]

BITS = 60
"""So that the revisions of several results can be added up in 64 bits."""

EMPTY = np.uint64(1 << 63)
"""What a row without any value has, so that it isn't taken for no row."""

AT_ONCE = 65_536
"""Values that stay in one of the processor's caches."""

_NAN_BITS = {FLOAT32: np.float32(np.nan).view(np.uint32), FLOAT64: np.float64(np.nan).view(np.uint64)}


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
    floats: dict[Kind, list[peewee.Field]] = {kind: [] for kind in _NAN_BITS}
    for field in fields:
        column = columns.get(field.name)
        if column is not None and field.null and column.kind in floats:
            floats[column.kind].append(field)
        elif column is not None:
            total += _term(field, column)
    at_once = max(1, AT_ONCE // max(1, n_rows))
    for kind, some in floats.items():
        for start in range(0, len(some), at_once):
            total += _sum_of_floats(some[start : start + at_once], columns, _NAN_BITS[kind])
    return Column(INT64, (total >> np.uint64(64 - BITS)).view(np.int64), np.zeros(n_rows, bool))


def _sum_of_floats(
    fields: Sequence[peewee.Field], columns: Mapping[str, Column], nan_bits: np.unsignedinteger
) -> np.ndarray:
    """Give the sum of the terms of columns of floats, some at a time: of hundreds of columns, that is what counts."""
    block = np.array([_with_nan(columns[field.name]) for field in fields])
    block += block.dtype.type(0)  # 0.0 and -0.0 are the same
    terms = (block.view(nan_bits.dtype) ^ nan_bits).astype(np.uint64)  # NULL is NaN, and counts for nothing
    terms *= np.array([_factor_of(field) for field in fields])[:, np.newaxis]
    return terms.sum(axis=0, dtype=np.uint64)


def _with_nan(column: Column) -> np.ndarray:
    if not column.null.any():
        return column.values
    return np.where(column.null, column.values.dtype.type(np.nan), column.values)


def _term(field: peewee.Field, column: Column) -> np.ndarray:
    """Give a column's term of the sum, 0 where it is NULL."""
    if column.null.all():
        return np.zeros(len(column.values), np.uint64)
    term = _bits(column)
    if field.null:
        term += np.uint64(1)  # so that 0 isn't NULL
    term *= _factor_of(field)
    if column.null.any():
        term[column.null] = 0
    return term


def _factor_of(field: peewee.Field) -> np.uint64:
    return _factor(f"{field.model._meta.table_name}.{field.name}")


@lru_cache(maxsize=8192)
def _factor(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 1)


def _bits(column: Column) -> np.ndarray:
    """Give each value as 64 bits of its own; equal values have equal bits."""
    values = column.values
    if column.kind in (TEXT, BYTES, FLOATS):
        known = _Hashes()
        return np.fromiter(map(known.of, values.tolist()), np.uint64, len(values))
    if values.dtype.kind == "f":
        values = values + values.dtype.type(0)  # 0.0 and -0.0 are the same
        return values.view(f"u{values.itemsize}").astype(np.uint64)
    return values.astype(np.int64).view(np.uint64)


class _Hashes(dict[object, int]):
    """Hashes of texts, made once each: a batch has few different ones."""

    def of(self, value: object) -> int:
        """Give the hash of text, bytes or an array; 0 if it is empty."""
        return self[value] if type(value) is str else _hash(value)

    def __missing__(self, value: object) -> int:
        self[value] = found = _hash(value)
        return found


def _hash(value: object) -> int:
    content = value.encode() if isinstance(value, str) else b"" if value is None else bytes(cast("bytes", value))
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") if content else 0
