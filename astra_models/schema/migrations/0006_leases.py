"""Which run has which spectra in hand, and on how many computers and for how long runs of pipelines computed."""

from astra_models.schema.steps import add_column, add_index, create_table

LEASE = """\
CREATE TABLE IF NOT EXISTS "lease" (
    "pk" {key} NOT NULL PRIMARY KEY,
    "model" TEXT NOT NULL,
    "v_astra_major_minor" INTEGER NOT NULL,
    "first_key" {whole} NOT NULL,
    "last_key" {whole} NOT NULL,
    "keys" TEXT,
    "holder" TEXT NOT NULL,
    "run_id" TEXT,
    "host" TEXT NOT NULL,
    "process" TEXT NOT NULL,
    "taken" TIMESTAMPTZ NOT NULL,
    "expires" {whole} NOT NULL
)"""
OF_RUNS = {"engine": "TEXT", "workers": "INTEGER", "hosts": "TEXT", "core_seconds": "DOUBLE PRECISION"}


def up(migrator, db):
    """Add a table, and columns of runs."""
    create_table(
        migrator,
        postgresql=LEASE.format(key="BIGSERIAL", whole="BIGINT"),
        sqlite=LEASE.format(key="INTEGER", whole="INTEGER"),
    )
    add_index(migrator, "lease_model_v_astra_major_minor", "lease", "model", "v_astra_major_minor")
    for column, type_ in OF_RUNS.items():
        add_column(migrator, "pipeline_run", column, type_, sqlite=type_.replace("DOUBLE PRECISION", "REAL"))
