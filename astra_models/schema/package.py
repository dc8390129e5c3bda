"""Whose tables a database has: packages, each with its models and its migrations."""

from pathlib import Path
from typing import NamedTuple

from astra_models.base import BaseModel

OURS = "astra_models"


class Package(NamedTuple):
    """A package whose models have tables: ours, or one of pipelines.

    Parameters
    ----------
    name : str
        What it is imported as.
    models : tuple of type
        Its models that are tables.
    migrations : Path or None
        The folder of its migrations, whether it is there or not; None for a single module, which has none.
    """

    name: str
    models: tuple[type[BaseModel], ...]
    migrations: Path | None

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return self.name == OURS

    @property
    def tables(self) -> set[str]:
        """The names of its tables."""
        return {model._meta.table_name for model in self.models}
