"""What all stages work with: the configuration, its grids, FERRE, and a folder."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

from astra_orchestration.pipelines.ferre.fit import Program
from astra_orchestration.pipelines.ferre.grid import read_grid

from .configuration import AspcapError, Configuration, read_configuration
from .dimensions import DIMENSIONS
from .grid_choice import KnownGrid

T = TypeVar("T")

CONFIGURATION_VARIABLE = "ASTRA_ASPCAP"
FOLDER = Path("var/aspcap")


@dataclass(frozen=True)
class Workshop:
    """What all stages work with.

    Parameters
    ----------
    configuration : Configuration
        From `configuration.read_configuration`.
    root : Path
        The folder of all work folders.
    """

    configuration: Configuration
    root: Path

    @classmethod
    def open(cls, configuration: Path | None, folder: Path) -> "Workshop":
        """Read the configuration.

        Raises
        ------
        AspcapError
            If there is none, or it can't be used.
        """
        if configuration is None:
            raise AspcapError(NO_CONFIGURATION)
        return cls(read_configuration(configuration), Path(os.path.abspath(folder)))

    @cached_property
    def grids(self) -> dict[str, KnownGrid]:
        """The grids by their names."""
        entries = self.configuration.grids
        return {name: KnownGrid(name, read_grid(entry.header), entry) for name, entry in entries.items()}

    def program(self, *, is_abundance: bool = False) -> Program:
        """Give FERRE with its limits."""


NO_CONFIGURATION = (
    "ASPCAP needs a configuration, which names FERRE, its grids and masks: give configuration=..., or set "
    f"{CONFIGURATION_VARIABLE}; `astra sample --aspcap` makes a small one, and docs/aspcap.md says what belongs into it"
)


def resolve_configuration(value: object) -> object:
    """See that a configuration can be used, before anything starts.

    Raises
    ------
    AspcapError
        If there is none; or a grid, a mask or the program isn't there, or they don't fit together.
    """
    if value is None:
        raise AspcapError(NO_CONFIGURATION)
    path = Path(os.fspath(value)) if isinstance(value, str | os.PathLike) else None
    if path is None:
        raise AspcapError(f"{value!r} is no path of a configuration of ASPCAP")
    for name, known in Workshop.open(path, FOLDER).grids.items():
        _require_dimensions(path, name, known)
    return path


def _require_dimensions(path: Path, name: str, known: KnownGrid) -> None:
    labels = known.grid.labels
    if unknown := [label for label in labels if label not in DIMENSIONS]:
        raise AspcapError(
            f"{path}: the grid {name} has a dimension {unknown[0]!r}, which none of our columns is for; known are "
            f"{', '.join(DIMENSIONS)}"
        )
    for label in ("TEFF", "LOGG", "METALS", *known.entry.coarse_fixed):
        if label not in labels and label in ("TEFF", "LOGG", "METALS"):
            raise AspcapError(f"{path}: the grid {name} has no dimension {label}, which ASPCAP can't do without")


def in_lots(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Take items some at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
