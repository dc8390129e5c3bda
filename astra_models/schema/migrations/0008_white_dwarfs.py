"""What was fitted to white dwarfs: formal errors, the other solution, grid and classifier."""

from astra_models.schema.steps import add_column

NUMBERS = {
    "corv": ("raw_e_v_rad", "raw_e_teff", "raw_e_logg", "other_teff", "other_logg", "other_rchi2"),
    "snow_white": ("p_not_white_dwarf",),
}
TEXTS = {"corv": ("template_grid",), "snow_white": ("classifier", "template_grid")}


def up(migrator, db):
    """Add columns to the tables of Corv and Snow White."""
    for columns, kind in ((NUMBERS, "REAL"), (TEXTS, "TEXT")):
        for table, names in columns.items():
            for name in names:
                add_column(migrator, table, name, kind)
