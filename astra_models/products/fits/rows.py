"""Rows as FITS has them: big-endian structured arrays, ready to be written.

PostgreSQL can give rows nearly in that form (see `copy_blocks`); anything else is read value by value.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.sql import driver_errors, is_postgresql
from astra_models.fits.columns import row_dtype
from astra_models.products.fits.copy_blocks import CopyBlocks, Sent, Take
from astra_models.products.fits.layout import FitsLayout, encode
from astra_models.products.query import (
    Selection,
    can_be_shared,
    read_rows,
    share_snapshot,
    shared_snapshot,
)
from astra_models.products.reading import read_columns

ROWS_PER_PART = 5_000
PARTS_PER_READER = 4
MOST_READERS = 4

Sink = Callable[[int], AbstractContextManager[Take]]


def stream_rows(selection: Selection, layout: FitsLayout, sink: Sink) -> None:
    """Read all rows, and hand them on some at a time.

    Many rows of PostgreSQL are read in parts, by several connections that see the same snapshot: what takes time is
    the server's work of sending every value.

    Parameters
    ----------
    selection : Selection
        What to read; in a `snapshot`.
    layout : FitsLayout
        What the FITS table is like.
    sink : callable
        Called with the number of a row, it gives a context manager, which gives a function. That function is called
        with structured arrays of `row_dtype`, from this row on; it must not keep them.
    """
    if is_postgresql(database) and all(getattr(c.field, "stored_type", None) is None for c in selection.columns):
        _copy_in_parts(selection, layout, sink)
        return
    with sink(0) as take:
        for rows in _encoded(selection, layout):
            take(rows)


# ---- value by value


def _encoded(selection: Selection, layout: FitsLayout) -> Iterator[np.ndarray]:
    dtype = row_dtype(layout.columns)
    for values in read_columns(selection):
        rows = np.empty(len(values[0].null), dtype)
        for column, fits, plain in zip(values, layout.columns, layout.plain, strict=True):
            rows[fits.name] = encode(column, fits, plain)
        yield rows


# ---- as PostgreSQL sends it


def _copy_in_parts(selection: Selection, layout: FitsLayout, sink: Sink) -> None:
    n_readers = min(MOST_READERS, os.cpu_count() or 1, layout.n_rows // ROWS_PER_PART)
    if n_readers < 2 or not selection.is_key or not can_be_shared():
        with sink(0) as take:
            _copy_rows(selection, layout, take)
        return
    n_parts = min(n_readers * PARTS_PER_READER, layout.n_rows // ROWS_PER_PART)
    starts = [layout.n_rows * n // n_parts for n in range(n_parts)]
    left = iter(list(zip(_parts(selection, starts), starts, strict=True)))  # a part goes to whoever is free
    snapshot = share_snapshot()

    def read() -> None:
        with shared_snapshot(snapshot):
            for part, start in left:
                with sink(start) as take:
                    _copy_rows(part, layout, take)

    with ThreadPoolExecutor(n_readers) as pool:
        for reader in [pool.submit(read) for _ in range(n_readers)]:
            reader.result()


def _parts(selection: Selection, starts: list[int]) -> list[Selection]:
    """Cut a selection into parts that begin with the rows of these numbers."""
    key = selection.order[0]
    numbered = selection.select(key.alias("key"), (peewee.fn.ROW_NUMBER().over(order_by=[key]) - 1).alias("number"))
    first_keys = peewee.Select([numbered], [numbered.c.key]).where(numbered.c.number.in_(starts[1:]))
    found = sorted(value for rows in read_rows(first_keys.bind(database)) for (value,) in rows)
    limits = zip([None, *found], [*found, None], strict=True)
    parts = []
    for first, after in limits:
        conditions = ([] if first is None else [key >= first]) + ([] if after is None else [key < after])
        parts.append(selection._replace(base=selection.base.where(*conditions)))
    return parts


def _copy_rows(selection: Selection, layout: FitsLayout, take: Take) -> None:
    columns = [Sent(*each) for each in zip(selection.columns, layout.columns, layout.plain, strict=True)]
    blocks = CopyBlocks(columns, take)
    sql, parameters = selection.ordered(*blocks.expressions).sql()
    with driver_errors, database.connection().cursor() as cursor:
        query = cursor.mogrify(sql, tuple(parameters))
        cursor.copy_expert(b"COPY (" + query + b") TO STDOUT (FORMAT BINARY)", blocks)
    blocks.finish()
