"""Production schemas, built from the list of their columns that stands beside a checkout of developers."""

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from astra_models import base
from astra_models.base import bind, bound_schema
from astra_models.database.config import postgresql_database

DEPLOYED = Path(__file__).parents[1].parent / "shared" / "reference" / "deployed_columns.csv"
TYPES = {
    "ArrayField": "real[]",
    "AutoField": "serial PRIMARY KEY",
    "BigBitField": "bytea",
    "BigIntegerField": "bigint",
    "BitField": "bigint",
    "BooleanField": "boolean",
    "DateTimeField": "timestamp",
    "DoubleField": "double precision",
    "FloatField": "real",
    "ForeignKeyField": "integer",
    "IntegerField": "integer",
    "TextField": "text",
}
MADE_BY_HAND = "GENERATED ALWAYS AS (v_astra / 1000) STORED"


def production_tables(release: str) -> dict[str, dict[str, str]]:
    """Give the columns of a release's tables, and the SQL that defines each; repetitions are dropped."""
    if not DEPLOYED.is_file():
        pytest.skip(f"production schemas: there is no {DEPLOYED}")
    tables: dict[str, dict[str, str]] = {}
    with DEPLOYED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["schema"] == release and row["table"]]
    for row in rows:
        columns = tables.setdefault(row["table"], {})
        name = row["column"]
        if f"{name}_id" not in columns:
            columns.setdefault(name, _definition(row))
    return tables


def _definition(row: dict[str, str]) -> str:
    if row["column"] == "v_astra_major_minor":
        return f"integer {MADE_BY_HAND}"
    definition = TYPES[row["peewee_type"]] + ("" if row["nullable"] == "1" else " NOT NULL")
    default = row["constraints"].partition("DEFAULT ")[2].partition("'")[0] if row["constraints"] else ""
    return definition + (f" DEFAULT {default}" if default else "") + (" UNIQUE" if row["unique"] else "")


def statements(release: str, schema: str) -> Iterator[str]:
    """Give the SQL that makes a release's schema."""
    yield f'CREATE SCHEMA "{schema}"'
    tables = production_tables(release)
    for table, columns in tables.items():
        lines = [f'"{name}" {definition}' for name, definition in columns.items()]
        if "v_astra_major_minor" in columns:
            owner = "spectrum_pk" if "spectrum_pk" in columns else "source_pk"
            lines.append(f"UNIQUE ({owner}, v_astra_major_minor)")
        yield f'CREATE TABLE "{schema}"."{table}" ({", ".join(lines)})'
    for table, columns in tables.items():
        for name in ("spectrum_pk", "spectrum_pk_id", "source_pk"):
            if name in columns:
                yield (
                    f'ALTER TABLE "{schema}"."{table}" ADD FOREIGN KEY ("{name}") '
                    f'REFERENCES "{schema}"."{name.split("_")[0]}" (pk)'
                )


def insert(query: Callable[..., list[Any]], table: str, **values: Any) -> None:
    """Insert a row; what can't be NULL and isn't given is 0, "", or a moment of 2024."""
    required = query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema() "
        "AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND is_generated = 'NEVER'",
        table,
    )
    fillers = {"text": "", "timestamp without time zone": "2024-01-01", "boolean": False}
    row = {name: fillers.get(kind, 0) for name, kind in required} | values
    names, places = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
    query(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())


# ---- production schemas to adopt

NAMES = itertools.count()
Query = Callable[..., list[Any]]


class Production(NamedTuple):
    """A production schema, the schema to adopt it into, and a function that runs SQL in the former."""

    schema: str
    target: str
    query: Query


@contextlib.contextmanager
def production_schemas(postgresql: dict[str, str]) -> Iterator[Callable[..., Production]]:
    """Give a function that makes a production schema with two spectra; models are bound to the database meanwhile."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(psycopg2.connect(**postgresql)))
        connection.autocommit = True
        before = base.database.obj, bound_schema()
        database = postgresql_database(**postgresql)
        bind(database)
        stack.callback(bind, *before)
        stack.callback(database.close)

        def make(release: str = "v080", name: str = 'Astra "080" %s', filled: bool = True) -> Production:
            number = next(NAMES)
            schema, target = f"{name} {number}", f'Adopted "here" {number}'
            query = _query_in(connection, schema)
            for one in (schema, target):
                stack.callback(query, f"DROP SCHEMA IF EXISTS {quoted(one).replace('%', '%%')} CASCADE")
            for statement in statements(release, "THE SCHEMA"):
                query(statement.replace('"THE SCHEMA"', quoted(schema)).replace("%", "%%"))
            if filled:
                fill(query)
            return Production(schema, target, query)

        yield make


def _query_in(connection: Any, schema: str) -> Query:
    def query(sql: str, *parameters: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    return query


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def fill(query: Query) -> None:
    """Store two sources, two BOSS visits, and results of them, as sdss/astra does."""
    insert(query, "source", pk=1, sdss_id=54_392_544, ra=266.4168262, n_neighborhood=-1)
    insert(query, "source", pk=7, sdss_id=54_392_545, ra=1.5, n_neighborhood=2)
    for pk in (1, 2):
        query("INSERT INTO spectrum (pk, spectrum_flags) VALUES (%s, 0)", pk)
        visit = {"source_pk": 1, "mjd": 59_900, "fieldid": 15_000, "catalogid": pk, "run2d": "v6_1_1", "release": "a"}
        visit |= {"spec_file": "x.fits", "modified": "2024-07-01 12:00:00"}
        insert(query, "boss_visit_spectrum", pk=pk, spectrum_pk=pk, telescope="apo25m", **visit)
    result = {"source_pk": 1, "v_astra": 8000, "modified": "2024-07-01 13:00:00", "created": "2024-01-01 01:00:00"}
    insert(query, "corv", task_pk=26_210, spectrum_pk=1, teff=12_000, logg="NaN", tag="é'%s", **result)
    insert(query, "boss_net", task_pk=5, spectrum_pk=1, teff=5777.25, **result)
    insert(query, "boss_net", task_pk=6, spectrum_pk=2, teff="Infinity", **result)
