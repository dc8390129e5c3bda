"""PostgreSQL's hash of an array of floats, computed in NumPy.

With it, the server need not send hundreds of floats to show that they are as before; sending them would take longer
than all else. It hashes each with Bob Jenkins's lookup3, which tables partitioned by hash rely on, so that it won't
change. If a server hashed otherwise, equal rows would look different, which costs time and nothing else.

Two different arrays have the same hash once in 2**64 times. As in SQL, NaN is equal to NaN, and 0.0 to -0.0.

See http://burtleburtle.net/bob/c/lookup3.c, and hash_bytes_extended, hashfloat8extended and hash_array_extended in
PostgreSQL's sources.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from astra_models.columns.typed import INT64, Column

SEED = 1
"""Zeros have it for a hash, and NULL has 0, so it can't be 0."""

# What lookup3 has made of the seed and of a length of 8 bytes before it takes the bytes.
_STATE = (0x120B512D, 0x29CC18F1, 0x50DCECD0)
_TURNS = (14, 11, 25, 16, 4, 14, 24)
_FACTOR = np.uint64(31)
_VALUES_AT_ONCE = 16_384  # which stay in the processor's cache


def digest_in_sql(array: str) -> str:
    """Give the expression with which the server hashes an array: a column, or ``ARRAY[...]`` of some."""
    return f"hash_array_extended({array}, {SEED})"


def digest_of_row(columns: Sequence[Column]) -> Column:
    """Hash each row's values.

    Parameters
    ----------
    columns : sequence of Column of FLOAT32 or FLOAT64, each of length n_rows
        The columns, in the order in which the server's array has them.

    Returns
    -------
    Column of INT64, length n_rows
        The hashes.
    """
    n_rows = len(columns[0].values)
    digest = np.ones(n_rows, np.uint64)
    at_once = max(1, _VALUES_AT_ONCE // max(1, n_rows))
    for start in range(0, len(columns), at_once):
        some = columns[start : start + at_once]
        for column, hashes in zip(some, _hashes([column.values for column in some]), strict=True):
            digest = digest * _FACTOR + np.where(column.null, np.uint64(0), hashes)
    return Column(INT64, digest.view(np.int64), np.zeros(n_rows, bool))


def digest_of_arrays(column: Column) -> Column:
    """Hash each array.

    Parameters
    ----------
    column : Column of FLOATS, length n_rows
        The arrays, each of any length.

    Returns
    -------
    Column of INT64, length n_rows
        The hashes.
    """
    lengths = np.array([0 if null else len(array) for array, null in zip(column.values, column.null, strict=True)], int)
    starts = np.cumsum(lengths) - lengths
    hashes = _hashes(np.concatenate([np.empty(0, np.float32), *column.values[~column.null]]))
    digest = np.ones(len(lengths), np.uint64)
    for place in range(lengths.max(initial=0)):
        longer = np.flatnonzero(lengths > place)
        digest[longer] = digest[longer] * _FACTOR + hashes[starts[longer] + place]
    return Column(INT64, digest.view(np.int64), column.null)


def _hashes(values: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Hash each value of an array of floats."""
    with np.errstate(invalid="ignore"):  # of NaNs that signal
        doubles = np.array(values, dtype="<f8")
    doubles[np.isnan(doubles)] = np.nan
    words = doubles.view("<u4").reshape(*doubles.shape, 2)
    a, b = (words[..., place] + np.uint32(_STATE[place]) for place in (0, 1))
    c = np.full_like(a, _STATE[2])
    for (target, other), turn in zip(itertools.cycle(((c, b), (a, c), (b, a))), _TURNS, strict=False):
        target ^= other
        target -= (other << turn) | (other >> (32 - turn))
    hashes = (b.astype(np.uint64) << np.uint64(32)) | c
    hashes[doubles == 0] = SEED
    return hashes
