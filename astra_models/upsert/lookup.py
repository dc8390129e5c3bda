"""Finding rows by many keys at once, each through the key's index, and reserving new primary keys."""

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
import peewee

from astra_models.base import BaseModel
from astra_models.columns.typed import kind_of
from astra_models.database.sql import is_postgresql, quote, quoted_table
from astra_models.upsert.plan import primary_key_of

KEYS_LOOKED_UP = 64


def find_rows(
    model: type[BaseModel],
    keys: Mapping[peewee.Field, np.ndarray],
    wanted: Sequence[peewee.Field] = (),
    condition: str = "true",
) -> list[tuple]:
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
        A further condition in SQL, in which the row is called ``old``. It is part of the code, never made from input.

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


def find_a_few(model: type[BaseModel], keys: Mapping[peewee.Field, np.ndarray]) -> tuple[int, int]:
    """Look for a sample of the keys, to guess whether the rows exist.

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


def _find_on_postgresql(
    model: type[BaseModel], fields: list[peewee.Field], values: list[list]
) -> tuple[str, tuple[list, ...]]:
    names = [quote(field.column_name) for field in fields]
    types = ", ".join(f"%s::{kind_of(field).sql}[]" for field in fields)
    same = " AND ".join(f"old.{name} = new.{name}" for name in names)
    # LIMIT keeps the planner from joining with all of a large table.
    old = f"SELECT * FROM {quoted_table(model)} AS old WHERE {same} LIMIT 1"
    numbered = f"unnest({types}) WITH ORDINALITY AS numbered ({', '.join(names)}, place)"
    new = f"(SELECT {', '.join(names)}, place - 1 AS place FROM {numbered}) AS new"
    return f"{new}, LATERAL ({old}) AS old", tuple(values)


def _find_on_sqlite(
    model: type[BaseModel], fields: list[peewee.Field], values: list[list]
) -> tuple[str, tuple[str, ...]]:
    same = " AND ".join(
        f"old.{quote(field.column_name)} = json_extract(new.value, '$[{place}]')" for place, field in enumerate(fields)
    )
    new = "(SELECT key AS place, value FROM json_each(?)) AS new"
    # CROSS JOIN keeps this order of the tables: the key's index is looked into for each of the keys.
    return f"{new} CROSS JOIN {quoted_table(model)} AS old ON {same}", (json.dumps(list(zip(*values, strict=True))),)


def next_key(model: type[BaseModel]) -> str:
    """Give the SQL expression of PostgreSQL's next primary key: the column's default.

    Not `pg_get_serial_sequence`: in production schemas, some sequences aren't owned by their column.
    """
    statement = (
        "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a "
        "ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attrelid = %s::regclass AND a.attname = %s"
    )
    parameters = (quoted_table(model), primary_key_of(model).column_name)
    return model._meta.database.execute_sql(statement, parameters).fetchone()[0]


def hand_out_keys(model: type[BaseModel], n_keys: int, above: int = 0) -> np.ndarray:
    """Reserve primary keys that no row has, in the transaction that is open.

    Parameters
    ----------
    model : type
        The table.
    n_keys : int
        How many.
    above : int, optional
        They are higher than this key, which came with a row from elsewhere, and so are all later ones.

    Returns
    -------
    ndarray of int, shape (n_keys,)
        The keys, ascending.
    """
    database = model._meta.database
    if not is_postgresql(database):
        name = quote(primary_key_of(model).column_name)
        (highest,) = database.execute_sql(f"SELECT coalesce(max({name}), 0) FROM {quoted_table(model)}").fetchone()
        return max(highest, above) + 1 + np.arange(n_keys)
    following = next_key(model)
    sequence = re.fullmatch(r"nextval\((.*)\)", following)
    if above and sequence is not None:
        raise_it = f"SELECT setval({sequence[1]}, %s) WHERE coalesce(pg_sequence_last_value({sequence[1]}), 0) < %s"
        database.execute_sql(raise_it, (above, above))
    rows = database.execute_sql(f"SELECT {following} FROM generate_series(1, %s)", (n_keys,)).fetchall()
    return np.array(sorted(key for (key,) in rows), dtype=np.int64)
