"""What pipelines of APOGEE spectra say: by which calibration values of ASPCAP are calibrated."""

from astra_models.schema.steps import add_column


def up(migrator, db):
    """Add a column to the table of ASPCAP."""
    add_column(migrator, "aspcap", "calibration", "TEXT")
