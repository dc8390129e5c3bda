"""Production schemas, built from the list of their columns that stands beside a checkout of developers."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEPLOYED = Path(__file__).parents[2].parent / "shared" / "reference" / "deployed_columns.csv"
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
