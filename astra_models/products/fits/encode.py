"""Values of a column as FITS has them."""

from typing import Any

import numpy as np

from astra_models.columns.typed import BOOLEAN, BYTES, FLOATS, INT32, INT64, MOMENT, TEXT, Column
from astra_models.fits.text import escape
from astra_models.fits.written_header import FitsColumn
from astra_models.products.reading import padded


def encode(column: Column, fits: FitsColumn, plain: bool) -> Any:
    """Give values as FITS has them.

    Parameters
    ----------
    column : Column
        The values, and where they are NULL.
    fits : FitsColumn
        The column of the file.
    plain : bool
        Whether text needs no escaping.
    """
    if column.kind in (INT32, INT64):
        return column.values if fits.null is None else np.where(column.null, fits.null, column.values)
    if column.kind is BOOLEAN:
        no, yes = (0, 1) if fits.code == "B" else (ord("F"), ord("T"))
        return np.where(column.null, fits.null or 0, np.where(column.values, yes, no))
    if column.kind in (TEXT, MOMENT):
        given = ("" if value is None else value for value in column.values)
        ascii_only = [value.encode() for value in given] if plain else [escape(value) for value in given]
        return np.char.ljust(np.array(ascii_only, dtype=fits.dtype), fits.width)
    if column.kind in (FLOATS, BYTES):
        rows = padded(column.values, fits.width, fits.dtype.base)
        return rows[:, 0] if fits.is_single else rows
    return column.values
