"""Where an analysis failed: the traceback, beside the message."""

from astra_models.schema.steps import add_column


def up(migrator, db):
    """Add a column, which is NULL in the rows that are there."""
    add_column(migrator, "rejected_result", "traceback", "TEXT")
