"""Rows out of the database: astropy tables, files of any format, and the summary products that a survey publishes."""

from astra_models.products.compared import compare
from astra_models.products.table import to_table

__all__ = ["compare", "to_table"]
