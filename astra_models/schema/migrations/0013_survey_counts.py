"""What was counted of large tables: ``astra status`` shows it, and counts when it is asked to."""

from astra_models.schema.steps import add_index, create_table

COUNTS = """\
CREATE TABLE IF NOT EXISTS "survey_count" (
    "pk" {key} NOT NULL PRIMARY KEY,
    "table_name" TEXT NOT NULL,
    "what" TEXT NOT NULL,
    "found" TEXT NOT NULL,
    "v_astra" INTEGER NOT NULL,
    "counted" TIMESTAMPTZ NOT NULL,
    "seconds" REAL NOT NULL
)"""


def up(migrator, db):
    """Add the table of counts."""
    create_table(migrator, postgresql=COUNTS.format(key="BIGSERIAL"), sqlite=COUNTS.format(key="INTEGER"))
    add_index(migrator, "survey_count_table_name_what", "survey_count", "table_name", "what", unique=True)
