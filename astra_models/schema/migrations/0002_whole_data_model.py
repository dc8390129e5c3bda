"""The whole data model: tables of every pipeline and kind of spectrum, and columns that older tables lack.

Indexes that no query uses are dropped.
"""

from astra_models.database.sql import quote
from astra_models.schema.additions import add_what_is_missing

UNUSED_INDEXES = (
    "boss_combined_spectrum_release",
    "boss_combined_spectrum_telescope",
    "boss_visit_spectrum_source_pk_telescope_mjd_fieldid_plateid",
)


def up(migrator, db):
    """Add tables, columns and indexes."""
    add_what_is_missing(db, migrator.schema)
    for name in UNUSED_INDEXES:
        db.execute_sql(f"DROP INDEX IF EXISTS {quote(migrator.schema, name)}")
