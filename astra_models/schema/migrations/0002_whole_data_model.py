"""The whole data model: tables of every pipeline and kind of spectrum, and columns that older tables lack.

The tables are as the SQL files beside this one say, whatever has become of the models since: a column per line, after
the comment ``default`` what rows get in it that are there already. Indexes that no query uses are dropped.
"""

import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import peewee

from astra_models.database.catalog import read_tables
from astra_models.database.sql import quote
from astra_models.version import installed_v_astra

UNUSED_INDEXES = (
    "boss_combined_spectrum_release",
    "boss_combined_spectrum_telescope",
    "boss_visit_spectrum_source_pk_telescope_mjd_fieldid_plateid",
)
TABLE = re.compile(r'CREATE TABLE IF NOT EXISTS "(\w+)"')
COLUMN = re.compile(
    r'^ +(?P<definition>"(?P<name>\w+)" (?P<type>[A-Z]+(?: PRECISION|\[\])?)(?P<required> NOT NULL)?'
    r"(?P<generated> GENERATED .*?)?.*?),?(?:  -- default (?P<default>.*))?$",
    re.MULTILINE,
)
REFERENCE = re.compile(r'^ +FOREIGN KEY \("(\w+)"\) (REFERENCES .*?),?$', re.MULTILINE)
CATALOGUE_TYPES = {"BIGSERIAL": "bigint", "TIMESTAMPTZ": "timestamp with time zone"}
MADE = {"now": lambda: datetime.now(UTC).isoformat(" ", "microseconds"), "v_astra": installed_v_astra}


def up(migrator, db):
    """Add tables, columns and indexes."""
    on_postgresql = isinstance(db, peewee.PostgresqlDatabase)
    if on_postgresql and migrator.schema is not None:
        db.execute_sql("SELECT set_config('search_path', quote_ident(%s), true)", (migrator.schema,))
    statements = Path(__file__).with_suffix(".postgresql.sql" if on_postgresql else ".sqlite.sql").read_text()
    there = read_tables(db, migrator.schema)
    for statement in filter(str.strip, statements.split(";\n")):
        table = TABLE.match(statement)
        if table is not None and table[1] in there:
            (alter if on_postgresql else rebuild)(db, table[1], statement, there[table[1]].columns)
        else:
            db.execute_sql(without_comments(statement))
    for name in UNUSED_INDEXES:
        db.execute_sql(f"DROP INDEX IF EXISTS {quote(migrator.schema, name)}")


def alter(db, table, statement, stored):
    """Make a table of PostgreSQL as a statement says; the rows that are there get a column's default."""
    references = dict(REFERENCE.findall(statement))

    def change(action, *parameters):
        db.execute_sql(f'ALTER TABLE "{table}" {action}', parameters)

    for column in COLUMN.finditer(statement):
        name, quoted = column["name"], quote(column["name"])
        if name not in stored:
            definition = f"{column['definition']} {references.get(name, '')}"
            if column["required"] and not column["generated"]:
                change(f"ADD COLUMN {definition} DEFAULT %s", default(column))
                change(f"ALTER COLUMN {quoted} DROP DEFAULT")
            else:
                change(f"ADD COLUMN {definition}")
            continue
        if stored[name].type != CATALOGUE_TYPES.get(column["type"], column["type"].lower()):
            change(f"ALTER COLUMN {quoted} TYPE {column['type']}")
        if stored[name].required != bool(column["required"]):
            change(f"ALTER COLUMN {quoted} {'SET' if column['required'] else 'DROP'} NOT NULL")


def rebuild(db, table, statement, stored):
    """Copy the rows into a new table, which takes the old one's place: SQLite can't alter much of a table.

    Foreign keys are switched off meanwhile, so that references to it stay.
    """
    columns = list(COLUMN.finditer(statement))
    if all(column["name"] in stored and is_as_said(column, stored[column["name"]]) for column in columns):
        return
    names, values, parameters = [], [], []
    for column in columns:
        is_there = column["name"] in stored
        if column["generated"] or not (is_there or column["required"]):
            continue
        names.append(quote(column["name"]))
        values.append(names[-1] if is_there else "?")
        parameters += [] if is_there else [default(column)]
    new, old = quote(f"{table} (new)"), quote(table)
    db.execute_sql(without_comments(statement).replace(f"IF NOT EXISTS {old}", new, 1))
    db.execute_sql(f"INSERT INTO {new} ({', '.join(names)}) SELECT {', '.join(values)} FROM {old}", tuple(parameters))
    db.execute_sql(f"DROP TABLE {old}")
    db.execute_sql(f"ALTER TABLE {new} RENAME TO {old}")


def is_as_said(column, stored):
    """Tell whether a column of SQLite has the type that it should, and is required if it should be."""
    return (stored.type, stored.required) == (column["type"], bool(column["required"]))


def default(column):
    """Give what rows get in a column that is new to them."""
    said = column["default"]
    if said is None:
        return None
    return MADE[said]() if said in MADE else ast.literal_eval(said)


def without_comments(statement):
    """Give a statement in one line."""
    lines = [re.sub(r"  -- .*", "", line).strip() for line in statement.splitlines()]
    return " ".join(lines).replace("( ", "(").replace(" )", ")")
