"""Finding rows by many keys at once, each through the key's index, however large the table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import peewee

from astra_models.database.sql import is_postgresql, quote, quoted_table
from astra_models.columns.typed import kind_of

KEYS_LOOKED_UP = 64


def find_rows(
    model: Any,
    keys: Mapping[peewee.Field, np.ndarray],
    wanted: Sequence[Any] = (),
    condition: str = "true",
) -> list[tuple[Any, ...]]:
    """Find rows by the values of some columns.

    Parameters
    ----------
    model : type
        The table.
    keys : mapping of Field to ndarray, each of shape (n,)
        Columns that together are unique, and the values that are looked for.
    wanted : sequence of Field
        The columns that are given back, as the driver gives them.
    condition : str
        What else must hold, in SQL, of a row that is called ``old``. It is part of the code, never made from input.

    Returns
    -------
    list of tuple
        For each row that is there: its place among the keys, and its values of the `wanted` columns.
    """
    database = model._meta.database
    find = _find_on_postgresql if is_postgresql(database) else _find_on_sqlite
    columns = ", ".join(["new.place", *(f"old.{quote(column.column_name)}" for column in wanted)])
    statement, parameters = find(model, list(keys), [values.tolist() for values in keys.values()])
    return database.execute_sql(f"SELECT {columns} FROM {statement} WHERE {condition}", parameters).fetchall()


def find_a_few(model: Any, keys: Mapping[peewee.Field, np.ndarray]) -> tuple[int, int]:
    """Look for a few of the keys, spread over all of them, to guess whether the rows are there.

    Parameters
    ----------
    model : type
        The table.
    keys : mapping of Field to ndarray, each of shape (n,)
        As for `find_rows`.

    Returns
    -------
    (int, int)
        How many were found, and how many were looked for.
    """
    n_keys = len(next(iter(keys.values())))
    if not n_keys:
        return 0, 0
    some = np.unique(np.linspace(0, n_keys - 1, KEYS_LOOKED_UP).astype(int))
    return len(find_rows(model, {field: values[some] for field, values in keys.items()})), len(some)


def _find_on_postgresql(model: Any, fields: list[peewee.Field], values: list[Any]) -> tuple[str, tuple[Any, ...]]:
    names = [quote(field.column_name) for field in fields]
    types = ", ".join(f"%s::{kind_of(field).sql}[]" for field in fields)
    same = " AND ".join(f"old.{name} = new.{name}" for name in names)
    # LIMIT keeps the planner from joining with all of a large table.
    old = f"SELECT * FROM {quoted_table(model)} AS old WHERE {same} LIMIT 1"
    numbered = f"unnest({types}) WITH ORDINALITY AS numbered ({', '.join(names)}, place)"
    new = f"(SELECT {', '.join(names)}, place - 1 AS place FROM {numbered}) AS new"
    return f"{new}, LATERAL ({old}) AS old", tuple(values)


def _find_on_sqlite(model: Any, fields: list[peewee.Field], values: list[Any]) -> tuple[str, tuple[Any, ...]]:
    same = " AND ".join(
        f"old.{quote(field.column_name)} = json_extract(new.value, '$[{place}]')" for place, field in enumerate(fields)
    )
    new = "(SELECT key AS place, value FROM json_each(?)) AS new"
    # CROSS JOIN keeps this order of the tables: the key's index is looked into for each of the keys.
    return f"{new} CROSS JOIN {quoted_table(model)} AS old ON {same}", (json.dumps(list(zip(*values, strict=True))),)
