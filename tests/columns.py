"""Typed columns, as tests compare them."""

from typing import Any

import numpy as np


def as_arrays(chunk: Any) -> dict[Any, dict[str, np.ndarray]]:
    """Give the columns of a chunk as arrays: NULL is NaN, NaT or None, and masked in whole numbers and booleans."""
    return {
        model: {name: as_array(column) for name, column in columns.items()} for model, columns in chunk.columns.items()
    }


def as_array(column: Any) -> np.ndarray:
    """Give a column as an array."""
    values, null = column.values, column.null
    if values.dtype.kind in "iub":
        return np.ma.MaskedArray(values, null) if null.any() else values
    missing = {"f": np.nan, "M": np.datetime64("NaT"), "O": None}[values.dtype.kind]
    return np.where(null, np.asarray(missing, values.dtype), values)
