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
    asked = selection.select(peewee.fn.COUNT(peewee.SQL("*")), peewee.fn.MIN(key), peewee.fn.MAX(key))
    [(n_rows, first, last)] = database.execute(asked.tuples())
    n_ranges = min(MOST_RANGES, os.cpu_count() or 1, n_rows // ROWS_IN_RANGE)
    if n_ranges < 2:
        return [selection]
    bounds = [first + (last + 1 - first) * n // n_ranges for n in range(n_ranges + 1)]
    return [selection._replace(base=selection.base.where(key >= low, key < high)) for low, high in pairwise(bounds)]
