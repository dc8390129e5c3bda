"""How many rows tables have at most, without counting those that are large."""

import math
from collections.abc import Iterable

import peewee

from astra_models.database.sql import is_postgresql, quoted_table

__all__ = ["rows_at_most"]

# As the planner does it: rows of a page when it was looked at, times the pages that there are now. Of a table that
# wasn't looked at yet, or is none (a view), only an empty one is known.
_POSTGRESQL = """
SELECT c.relname, CASE
    WHEN c.relkind <> 'r' THEN NULL
    WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN 0
    WHEN c.relpages > 0 AND c.reltuples > 0
    THEN c.reltuples / c.relpages * (pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::real)
    END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = coalesce(%s, current_schema()) AND c.relname = ANY(%s)
"""
SPAN = "SELECT {name}, (SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1"


def rows_at_most(
    database: peewee.Database, models: Iterable[type[peewee.Model]], limit: int
) -> dict[type[peewee.Model], int | None]:
    """Give a bound on the rows of tables.

    Parameters
    ----------
    database : peewee.Database
        Where they are.
    models : iterable of type
        Models of the tables, all of which exist.
    limit : int
        From how many rows on a table is large.

    Returns
    -------
    dict
        By model: 0 if it is empty for sure; a number up to `limit` if it has about so many rows, or fewer; None if it
        is large.
    """
    return (_of_postgresql if is_postgresql(database) else _of_sqlite)(database, list(models), limit)


def _of_postgresql(
    database: peewee.Database, models: list[type[peewee.Model]], limit: int
) -> dict[type[peewee.Model], int | None]:
    by_name = {str(model._meta.table_name): model for model in models}
    schema = models[0]._meta.schema if models else None
    estimates = dict(database.execute_sql(_POSTGRESQL, (schema, list(by_name))))
    found: dict[type[peewee.Model], int | None] = {}
    for name, model in by_name.items():
        rows = estimates.get(name)
        if rows is None:
            found[model] = _counted_up_to(database, model, limit)
        else:
            found[model] = math.ceil(rows) if rows <= limit else None
    return found


def _of_sqlite(
    database: peewee.Database, models: list[type[peewee.Model]], limit: int
) -> dict[type[peewee.Model], int | None]:
    by_name = {str(model._meta.table_name): model for model in models}
    asked = [SPAN.format(name=f"'{name}'", table=quoted_table(model)) for name, model in by_name.items()]
    spans = dict(database.execute_sql(" UNION ALL ".join(asked))) if asked else {}
    return {  # keys may be far apart
        model: span or 0 if (span := spans[name]) is None or span <= limit else _counted_up_to(database, model, limit)
        for name, model in by_name.items()
    }


def _counted_up_to(database: peewee.Database, model: type[peewee.Model], limit: int) -> int | None:
    [(found,)] = database.execute_sql(
        f"SELECT count(*) FROM (SELECT 1 FROM {quoted_table(model)} LIMIT {limit + 1}) AS found"
    )
    return found if found <= limit else None
