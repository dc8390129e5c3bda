"""By what The Payne and MDwarfType found what they say, and whose results MWMBest adopted."""

from astra_models.schema.steps import add_column


def up(migrator, db):
    """Add columns to their tables."""
    add_column(migrator, "the_payne", "network", "TEXT")
    add_column(migrator, "m_dwarf_type", "templates", "TEXT")
    add_column(migrator, "mwm_best", "pipeline", "TEXT")
