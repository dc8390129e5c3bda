"""Primary keys that the database hands out, and those that are taken over from elsewhere."""

import re
from typing import Any

import numpy as np

from astra_models.database.sql import is_postgresql, quote, quoted_table


def next_key(model: Any) -> str:
    """Give the SQL expression of PostgreSQL's next primary key: the column's default.

    Not `pg_get_serial_sequence`: in production schemas, some sequences aren't owned by their column.
    """
    statement = (
        "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a "
        "ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attrelid = %s::regclass AND a.attname = %s"
    )
    primary_key = model._meta.primary_key.column_name
    return model._meta.database.execute_sql(statement, (quoted_table(model), primary_key)).fetchone()[0]


def hand_out_keys(model: Any, n_keys: int, above: int = 0) -> np.ndarray:
    """Give primary keys that no row has, in the transaction that is open.

    Parameters
    ----------
    model : type
        The table.
    n_keys : int
        How many.
    above : int, optional
        They are higher than this, and so are all that are handed out later: it is a key that was taken over.

    Returns
    -------
    ndarray of int, shape (n_keys,)
        The keys, ascending.
    """
    database = model._meta.database
    if not is_postgresql(database):
        name = quote(model._meta.primary_key.column_name)
        (highest,) = database.execute_sql(f"SELECT coalesce(max({name}), 0) FROM {quoted_table(model)}").fetchone()
        return max(highest, above) + 1 + np.arange(n_keys)
    following = next_key(model)
    sequence = re.fullmatch(r"nextval\((.*)\)", following)
    if above and sequence is not None:
        raise_it = f"SELECT setval({sequence[1]}, %s) WHERE coalesce(pg_sequence_last_value({sequence[1]}), 0) < %s"
        database.execute_sql(raise_it, (above, above))
    rows = database.execute_sql(f"SELECT {following} FROM generate_series(1, %s)", (n_keys,)).fetchall()
    return np.array(sorted(key for (key,) in rows), dtype=np.int64)
