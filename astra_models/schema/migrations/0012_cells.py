"""The index of the sky: in which cell each source is. It is filled when it is first used."""

from astra_models.schema.steps import add_index, create_table

CELLS = """\
CREATE TABLE IF NOT EXISTS "source_cell" (
    "source_pk" {whole} NOT NULL PRIMARY KEY,
    "cell" {whole} NOT NULL,
    "ra" {double} NOT NULL,
    "dec" {double} NOT NULL,
    "pmra" REAL,
    "pmde" REAL,
    "motion" REAL NOT NULL
)"""


def up(migrator, db):
    """Add the table of cells."""
    create_table(
        migrator,
        postgresql=CELLS.format(whole="BIGINT", double="DOUBLE PRECISION"),
        sqlite=CELLS.format(whole="INTEGER", double="REAL"),
    )
    add_index(migrator, "source_cell_cell", "source_cell", "cell")
    add_index(migrator, "source_cell_motion", "source_cell", "motion")
