"""What the tables of the bound database are made of: packages, each with its models and its migrations."""

from pathlib import Path
from typing import NamedTuple

from astra_models.base import BaseModel


class Package(NamedTuple):
    """A package whose models have tables: ours, or one of pipelines.

    Parameters
    ----------
    name : str
        What it is imported as; the history of migrations says whose a step is by it.
    models : tuple of type
        Its models that are tables.
    migrations : Path or None
        The folder of its migrations, whether it is there or not; None for a single module, which has none.
    """

    name: str
    models: tuple[type[BaseModel], ...]
    migrations: Path | None

    @property
    def tables(self) -> set[str]:
        """The names of its tables."""
        return {model._meta.table_name for model in self.models}
