"""By what The Payne and MDwarfType found what they say."""

from astra_models.schema.steps import add_column


def up(migrator, db):
    """Add columns to their tables."""
    add_column(migrator, "the_payne", "network", "TEXT")
    add_column(migrator, "m_dwarf_type", "templates", "TEXT")
