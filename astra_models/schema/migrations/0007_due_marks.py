"""The database's identity, how far the sensor has looked, and indexes by which it sees what changed since."""

import uuid
from datetime import UTC, datetime

from astra_models.database.catalog import read_tables
from astra_models.schema.steps import add_column, add_index, create_table

IDENTITY = """\
CREATE TABLE IF NOT EXISTS "database_identity" (
    "pk" {key} NOT NULL PRIMARY KEY,
    "identity" TEXT NOT NULL,
    "created" TIMESTAMPTZ NOT NULL
)"""
MARK = """\
CREATE TABLE IF NOT EXISTS "due_mark" (
    "pk" {key} NOT NULL PRIMARY KEY,
    "pipeline" TEXT NOT NULL,
    "table_name" TEXT NOT NULL,
    "last_key" {whole},
    "looked" TIMESTAMPTZ,
    "v_astra" INTEGER,
    "recipe" TEXT,
    "pipeline_run_pk" INTEGER
)"""
OF_SPECTRA = {"pk", "spectrum_pk", "source_pk", "path", "created", "modified"}


def up(migrator, db):
    """Add tables, indexes on when spectra were modified, and a column of runs."""
    for table in (IDENTITY, MARK):
        create_table(
            migrator,
            postgresql=table.format(key="BIGSERIAL", whole="BIGINT"),
            sqlite=table.format(key="INTEGER", whole="INTEGER"),
        )
    db.execute_sql(
        'INSERT INTO "database_identity" ("pk", "identity", "created") '
        f"VALUES (1, '{uuid.uuid4().hex}', '{datetime.now(UTC)}') ON CONFLICT DO NOTHING"
    )
    add_index(migrator, "due_mark_pipeline_table_name", "due_mark", "pipeline", "table_name", unique=True)
    add_column(migrator, "pipeline_run", "keep", "BOOLEAN", sqlite="INTEGER")
    for name, table in read_tables(db, migrator.schema).items():
        if table.columns.keys() >= OF_SPECTRA and "task_pk" not in table.columns:
            add_index(migrator, f"{name}_modified", name, "modified")
