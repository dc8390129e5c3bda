"""A large selection as several, one for each range of its key, which can be read at the same time."""

import os
from itertools import pairwise

import peewee

from astra_models.base import database
from astra_models.products.query import Selection

MOST_RANGES = 4
ROWS_IN_RANGE = 100_000


def key_ranges(selection: Selection) -> list[Selection]:
    """Cut a selection at keys, so that each processor has some of its rows.

    Parameters
    ----------
    selection : Selection
        In the order of its key; in a `snapshot`.

    Returns
    -------
    list of Selection
        In the order of their keys; the selection alone if it is small, or its key isn't of whole numbers.
    """
    key = selection.order[0] if selection.is_key else None
    if not isinstance(key, peewee.IntegerField):
        return [selection]
    most = min(MOST_RANGES, os.cpu_count() or 1)
    n_ranges = count_up_to(selection, most * ROWS_IN_RANGE) // ROWS_IN_RANGE
    if n_ranges < 2:
        return [selection]
    # Each is one look into the key's index; SQLite reads the whole of it for both in one query.
    first, last = (selection.select(key).order_by(order).limit(1).scalar() for order in (key.asc(), key.desc()))
    bounds = [first + (last + 1 - first) * n // n_ranges for n in range(n_ranges + 1)]
    return [selection._replace(base=selection.base.where(key >= low, key < high)) for low, high in pairwise(bounds)]


def count_up_to(selection: Selection, most: int) -> int:
    """Count the rows of a selection, no further than is asked for."""
    some = peewee.Select([selection.select(peewee.SQL("1")).limit(most)], [peewee.fn.COUNT(peewee.SQL("*"))])
    [(n_rows,)] = database.execute(some.bind(database))
    return n_rows
