"""Rows out of the database: tables, frames, files of any format, and the summary products that a survey publishes."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astra_models.products.compared import compare
    from astra_models.products.frames import to_arrow, to_batches, to_pandas, to_polars
    from astra_models.products.table import to_table

__all__ = ["compare", "to_arrow", "to_batches", "to_pandas", "to_polars", "to_table"]

_MODULES = {"compare": "compared", "to_table": "table"}


def __getattr__(name: str) -> object:
    """Import what is asked for: who reads a few rows needs neither frames nor comparisons."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'frames')}"), name)
