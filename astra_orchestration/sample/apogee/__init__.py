"""APOGEE stars of the sample survey, made with a small line model whose labels are known."""
