"""What results are made from: revisions of spectra and of results, and the runs of pipelines.

Every table of results and of spectra gets its columns, those of other packages too. They may be NULL, so that no row
is rewritten, and a row that is there already goes on being due by the rule that it was stored under.
"""

import peewee

from astra_models.database.catalog import read_tables
from astra_models.database.sql import quote

OF_RESULTS = {"task_pk", "source_pk", "v_astra", "v_astra_major_minor", "t_elapsed", "t_overhead", "tag"}
OF_SPECTRA = {"pk", "spectrum_pk", "source_pk", "path", "created", "modified"}
PROVENANCE = {"pipeline_run_pk": "INTEGER", "spectrum_revision": "BIGINT", "upstream_revision": "BIGINT"}
COUNTS = ("due", "answered", "inserted", "updated", "unchanged", "kept", "rejected")
RUN = (
    "pipeline TEXT NOT NULL",
    "version TEXT NOT NULL",
    "v_astra INTEGER NOT NULL",
    "recipe TEXT NOT NULL",
    "parameters TEXT NOT NULL",
    *(f"{name} TEXT" for name in ("model_files", "git_revision", "packages", "python", "host", "run_id")),
    *(f"{name} BIGINT" for name in COUNTS),
)


def up(migrator, db):
    """Add columns and a table."""
    on_postgresql = isinstance(db, peewee.PostgresqlDatabase)
    if on_postgresql and migrator.schema is not None:
        db.execute_sql("SELECT set_config('search_path', quote_ident(%s), true)", (migrator.schema,))
    for name, table in read_tables(db, migrator.schema).items():
        for column, type_ in columns_of(name, table.columns.keys()).items():
            if column not in table.columns:
                db.execute_sql(f"ALTER TABLE {quote(name)} ADD COLUMN {column} {type_ if on_postgresql else 'INTEGER'}")
    for statement in runs(on_postgresql):
        db.execute_sql(statement)


def columns_of(name, columns):
    """Give the columns that a table is to have."""
    if name == "rejected_result":
        return PROVENANCE
    if columns >= OF_RESULTS and "spectrum_pk" in columns:
        return PROVENANCE | {"revision": "BIGINT"}
    return {"revision": "BIGINT"} if columns >= OF_SPECTRA and "task_pk" not in columns else {}


def runs(on_postgresql):
    """Give the statements that make the table of runs."""
    key = "BIGSERIAL NOT NULL PRIMARY KEY" if on_postgresql else "INTEGER NOT NULL PRIMARY KEY"
    columns = [f"pk {key}", *RUN, "started TIMESTAMPTZ NOT NULL", "ended TIMESTAMPTZ"]
    if not on_postgresql:
        columns = [column.replace("BIGINT", "INTEGER") for column in columns]
    return [
        f"CREATE TABLE IF NOT EXISTS pipeline_run ({', '.join(columns)})",
        "CREATE INDEX IF NOT EXISTS pipeline_run_pipeline_recipe ON pipeline_run (pipeline, recipe)",
    ]
