"""What tables a database has, as its own catalogue says: columns, indexes and foreign keys."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import peewee

# What our field types are called by PostgreSQL's catalogue.
_TYPES = {
    "AUTO": "integer",
    "BIGAUTO": "bigint",
    "BIGINT": "bigint",
    "BLOB": "bytea",
    "BOOL": "boolean",
    "DATETIME": "timestamp without time zone",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "INT": "integer",
    "TEXT": "text",
    "TIMESTAMPTZ": "timestamp with time zone",
    "VARCHAR": "character varying",
}

# One row per table. Expressions and partial indexes are left out: none of our tables has any.
_POSTGRESQL = """
SELECT c.relname,
    ARRAY(
        SELECT ARRAY[a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
            coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity::text, ''), ''),
            (a.attgenerated <> '')::text]
        FROM pg_catalog.pg_attribute a
        LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
    ARRAY(
        SELECT ARRAY[o.relname::text, i.indisunique::text, (
            SELECT json_agg(a.attname ORDER BY k.place)::text
            FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum)]
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class o ON o.oid = i.indexrelid
        WHERE i.indrelid = c.oid AND i.indexprs IS NULL AND i.indpred IS NULL)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = coalesce(%s, current_schema()) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

_SQLITE_COLUMNS = """
SELECT m.name, x.name, upper(x.type), x."notnull" OR x.pk, coalesce(x.dflt_value, iif(x.pk, 'rowid', '')),
    x.hidden > 1, x.pk
FROM sqlite_master m JOIN pragma_table_xinfo(m.name) x WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite^_%' ESCAPE '^'
ORDER BY m.name, x.cid
"""

_SQLITE_INDEXES = """
SELECT m.name, i.name, i."unique", json_group_array(x.name)
FROM sqlite_master m JOIN pragma_index_list(m.name) i JOIN pragma_index_info(i.name) x
WHERE m.type = 'table' GROUP BY 1, 2, 3
"""


_SQLITE_NAMES = """
SELECT m.name, json_group_array(x.name) FROM sqlite_master m JOIN pragma_table_xinfo(m.name) x
WHERE m.type = 'table' GROUP BY 1
"""


@dataclass(frozen=True)
class StoredColumn:
    """A column as it is in the database.

    Parameters
    ----------
    type : str
        Its type, as the database calls it.
    required : bool
        Whether it can't be NULL.
    default : str
        The SQL that fills it where nothing is given, "" if there is none.
    generated : bool
        Whether the database computes it from other columns.
    """

    type: str
    required: bool = False
    default: str = ""
    generated: bool = False


@dataclass(frozen=True)
class StoredIndex:
    """An index as it is in the database.

    Parameters
    ----------
    name : str
        Its name.
    columns : tuple of str
        Its columns, in order.
    unique : bool
        Whether it is a key.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool


@dataclass(frozen=True)
class StoredTable:
    """A table as it is in the database.

    Parameters
    ----------
    columns : dict of str to StoredColumn
        By name, in the table's order.
    indexes : list of StoredIndex
        Primary key and unique keys included.
    """

    columns: dict[str, StoredColumn] = field(default_factory=dict)
    indexes: list[StoredIndex] = field(default_factory=list)

    def has_key(self, columns: Iterable[str]) -> bool:
        """Tell whether some columns, in whatever order, are a unique key."""
        wanted = set(columns)
        return any(index.unique and set(index.columns) == wanted for index in self.indexes)


def read_tables(database: peewee.Database, schema: str | None = None) -> dict[str, StoredTable]:
    """Read what tables there are: one query on PostgreSQL, two on SQLite.

    Parameters
    ----------
    database : peewee.Database
        The database.
    schema : str, optional
        On PostgreSQL, the schema; the first one of the search path if not given.

    Returns
    -------
    dict of str to StoredTable
        Tables and views by name.
    """
    if isinstance(database, peewee.PostgresqlDatabase):
        rows = database.execute_sql(_POSTGRESQL, (schema,)).fetchall()
        return {name: _from_postgresql(columns, indexes) for name, columns, indexes in rows}
    tables: dict[str, StoredTable] = {}
    for table, name, sql_type, required, default, generated, is_key in database.execute_sql(_SQLITE_COLUMNS).fetchall():
        column = StoredColumn(sql_type, bool(required), default, bool(generated))
        tables.setdefault(table, StoredTable()).columns[name] = column
        if is_key:  # of one column, as all of ours are: SQLite has no index for it
            tables[table].indexes.append(StoredIndex("", (name,), True))
    for table, name, unique, columns in database.execute_sql(_SQLITE_INDEXES).fetchall():
        tables[table].indexes.append(StoredIndex(name, tuple(json.loads(columns)), bool(unique)))
    return tables


def read_column_names(database: peewee.SqliteDatabase) -> dict[str, set[str]]:
    """Read which columns the tables of a SQLite database have, by one query."""
    rows = database.execute_sql(_SQLITE_NAMES).fetchall()
    return {table: set(json.loads(columns)) for table, columns in rows}


def declared_type(column: peewee.Field, database: peewee.Database) -> str:
    """Give the type that a field's column has in tables that we make, as the database calls it."""
    if not isinstance(database, peewee.PostgresqlDatabase):
        return str(column.ddl_datatype(database.get_sql_context()).sql).upper()
    known = _TYPES.get(column.field_type)
    if known is None:
        return str(column.ddl_datatype(database.get_sql_context()).sql).lower()
    modifiers = column.get_modifiers()
    return f"{known}({','.join(map(str, modifiers))})" if modifiers else known


def _from_postgresql(columns: list[list[str]], indexes: list[list[str]]) -> StoredTable:
    return StoredTable(
        {
            name: StoredColumn(sql_type, required == "true", default, generated == "true")
            for name, sql_type, required, default, generated in columns
        },
        [StoredIndex(name, tuple(json.loads(keys)), unique == "true") for name, unique, keys in indexes],
    )
