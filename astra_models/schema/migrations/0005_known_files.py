"""What is known of files: content and time of those of spectra, and the mapping by which a table was read.

A table that is read by another mapping is another one: the mapping's checksum joins that of the file in the key of
``ingested_file``. Rows that are there already get ``?``: nobody knows by which mapping they were read.
"""

import peewee

from astra_models.database.catalog import read_tables
from astra_models.database.sql import quote
from astra_models.schema.steps import add_column, add_index, create_table

UNKNOWN = "?"
SPECTRUM_FILE = """\
CREATE TABLE IF NOT EXISTS "spectrum_file" (
    "pk" {key} NOT NULL PRIMARY KEY,
    "path" TEXT NOT NULL,
    "size" {whole} NOT NULL,
    "mtime_ns" {whole} NOT NULL,
    "content" {whole},
    "reader" INTEGER NOT NULL,
    "v_astra" INTEGER NOT NULL,
    "spectra" INTEGER NOT NULL,
    "newest_visit" {whole},
    "refused" TEXT,
    "note" TEXT,
    "modified" TIMESTAMPTZ NOT NULL
)"""
SPECTRUM_CONTENT = """\
CREATE TABLE IF NOT EXISTS "spectrum_content" (
    "spectrum_pk" {whole} NOT NULL PRIMARY KEY,
    "file_pk" {whole},
    "content" {whole} NOT NULL,
    FOREIGN KEY ("spectrum_pk") REFERENCES "spectrum" ("pk") ON DELETE CASCADE,
    FOREIGN KEY ("file_pk") REFERENCES "spectrum_file" ("pk") ON DELETE SET NULL
)"""

INGESTED_FILE_IN_SQLITE = """\
CREATE TABLE "ingested_file (new)" (
    "pk" INTEGER NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "mapping" TEXT NOT NULL,
    "size" INTEGER NOT NULL,
    "kind" TEXT NOT NULL,
    "model" TEXT,
    "release" TEXT,
    "v_astra" INTEGER,
    "rows" INTEGER NOT NULL,
    "inserted" INTEGER NOT NULL,
    "updated" INTEGER NOT NULL,
    "unchanged" INTEGER NOT NULL,
    "rejected" INTEGER NOT NULL,
    "seconds" REAL,
    "run_id" TEXT,
    "created" TIMESTAMPTZ NOT NULL
)"""
OTHERS = ("size", "kind", "model", "release", "v_astra", "rows", "inserted", "updated", "unchanged", "rejected")
OTHERS += ("seconds", "run_id", "created")


def up(migrator, db):
    """Add two tables and a column, and exchange a key."""
    for statement in (SPECTRUM_FILE, SPECTRUM_CONTENT):
        create_table(
            migrator,
            postgresql=statement.format(key="BIGSERIAL", whole="BIGINT"),
            sqlite=statement.format(key="INTEGER", whole="INTEGER"),
        )
    add_index(migrator, "spectrum_file_path", "spectrum_file", "path", unique=True)
    add_index(migrator, "spectrum_content_file_pk", "spectrum_content", "file_pk")
    if isinstance(db, peewee.PostgresqlDatabase):
        add_column(migrator, "ingested_file", "mapping", "TEXT NOT NULL", default=UNKNOWN)
    elif "mapping" not in read_tables(db)["ingested_file"].columns:
        rebuild(db)
    add_index(migrator, "ingested_file_name", "ingested_file", "name")
    add_index(migrator, "ingested_file_sha256_mapping", "ingested_file", "sha256", "mapping", unique=True)
    db.execute_sql(f"DROP INDEX IF EXISTS {quote(migrator.schema, 'ingested_file_sha256')}")


def rebuild(db):
    """Copy the rows into a new table with one more column: SQLite can't add one that is required without a default."""
    db.execute_sql(INGESTED_FILE_IN_SQLITE)
    rest = ", ".join(f'"{name}"' for name in OTHERS)
    db.execute_sql(
        f'INSERT INTO "ingested_file (new)" ("pk", "name", "sha256", "mapping", {rest}) '
        f'SELECT "pk", "name", "sha256", ?, {rest} FROM "ingested_file"',
        (UNKNOWN,),
    )
    db.execute_sql('DROP TABLE "ingested_file"')
    db.execute_sql('ALTER TABLE "ingested_file (new)" RENAME TO "ingested_file"')
