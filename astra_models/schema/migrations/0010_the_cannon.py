"""What The Cannon measures beside sdss/astra's labels: parameters of model atmospheres, and by which model."""

from astra_models.schema.steps import add_column

LABELS = ("m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm")


def up(migrator, db):
    """Add columns to the table of The Cannon."""
    for prefix in ("", "e_", "raw_e_"):
        for label in LABELS:
            add_column(migrator, "the_cannon", f"{prefix}{label}", "REAL")
    add_column(migrator, "the_cannon", "trained_model", "TEXT")
