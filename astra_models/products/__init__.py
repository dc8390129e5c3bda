"""Rows out of the database: tables, frames, files of any format, and the summary products that a survey publishes."""

from astra_models.products.compared import compare
from astra_models.products.frames import to_arrow, to_batches, to_pandas, to_polars
from astra_models.products.table import to_table

__all__ = ["compare", "to_arrow", "to_batches", "to_pandas", "to_polars", "to_table"]
