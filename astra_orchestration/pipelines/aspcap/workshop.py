"""What all stages work with: the configuration, its grids, FERRE, and a folder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from astra_models.errors import NotSetUpError
from astra_orchestration.pipelines.ferre.control import Settings
from astra_orchestration.pipelines.ferre.fit import Program
from astra_orchestration.pipelines.ferre.grid import Grid, read_grid

from .configuration import AspcapError, Configuration, SpeciesEntry, read_configuration
from .dimensions import DIMENSIONS
from .grid_choice import KnownGrid
from .setting_up import FOLDER, NO_CONFIGURATION
from .species import ties

T = TypeVar("T")


@dataclass(frozen=True)
class Workshop:
    """What all stages work with.

    Parameters
    ----------
    configuration : Configuration
        From `configuration.read_configuration`.
    root : Path
        The folder of all work folders.
    is_tidy : bool, optional
        Whether files are removed that nothing reads once a stage is good.
    """

    configuration: Configuration
    root: Path
    is_tidy: bool = True

    @classmethod
    def open(cls, configuration: Path | None, folder: Path, is_tidy: bool = True) -> "Workshop":
        """Read the configuration.

        Raises
        ------
        AspcapError
            If there is none, or it can't be used.
        """
        if configuration is None:
            raise NotSetUpError(NO_CONFIGURATION)
        return cls(read_configuration(configuration), Path(os.path.abspath(folder)), is_tidy)

    @cached_property
    def grids(self) -> dict[str, KnownGrid]:
        """The grids by their names."""
        entries = self.configuration.grids
        return {name: KnownGrid(name, read_grid(entry.header), entry) for name, entry in entries.items()}

    def grid(self, name: str) -> KnownGrid:
        """Give the grid that a result of an earlier stage names.

        Raises
        ------
        AspcapError
            If the configuration has none of that name any more.
        """
        if name not in self.grids:
            raise AspcapError(
                f"a result of an earlier stage is of the grid {name!r}, which the configuration doesn't have any more: "
                "run the earlier stages again"
            )
        return self.grids[name]

    def fits_abundances(self, name: str) -> bool:
        """Tell whether abundances are fitted with a grid."""
        return bool(self.configuration.species) and name in self.grids and self.grids[name].entry.abundances

    @property
    def processes(self) -> int:
        """How many grids are worked on at once."""
        return self.configuration.limits.processes

    def program(self, *, is_abundance: bool = False) -> Program:
        """Give FERRE with its limits."""
        limits = self.configuration.limits
        return Program(
            Path(self.configuration.ferre),
            seconds_per_spectrum=limits.seconds_per_abundance if is_abundance else limits.seconds_per_spectrum,
            seconds_of_silence=limits.seconds_per_spectrum,
            seconds_to_load=limits.seconds_to_load,
            most_processes=limits.processes_on_a_computer,
            most_threads=limits.threads_on_a_computer,
            most_loads=limits.loads_at_once,
        )

    def settings(self, free: Sequence[str]) -> Settings:
        """Say how a stage with continuum is fitted."""
        rules = self.configuration.continuum
        threads = self.configuration.limits.threads
        return Settings(tuple(free), continuum=rules.order, reject=rules.reject, n_threads=threads)

    def settings_of_species(self, grid: Grid, entry: SpeciesEntry) -> Settings:
        """Say how a species is fitted."""
        threads = self.configuration.limits.threads
        return Settings((entry.fit,), ties(grid, entry.fit), None, mask=entry.mask, n_threads=threads)


def resolve_configuration(value: object) -> object:
    """See that a configuration can be used, before anything starts.

    Raises
    ------
    AspcapError
        If there is none; or a grid, a mask or the program isn't there, or they don't fit together.
    """
    if value is None:
        raise NotSetUpError(NO_CONFIGURATION)
    path = Path(os.fspath(value)) if isinstance(value, str | os.PathLike) else None
    if path is None:
        raise AspcapError(f"{value!r} is no path of a configuration of ASPCAP")
    workshop = Workshop.open(path, FOLDER)
    for name, known in workshop.grids.items():
        _require_dimensions(path, name, known)
        _require_masks(path, name, known, workshop.configuration)
    return path


def _require_masks(path: Path, name: str, known: KnownGrid, configuration: Configuration) -> None:
    for entry in configuration.species.values() if known.entry.abundances else ():
        n_weights = count_weights(entry.mask)
        if n_weights not in (None, known.grid.n_pixels):
            raise AspcapError(
                f"{path}: the mask {entry.mask.name} has {n_weights} weights, and the grid {name} has "
                f"{known.grid.n_pixels} pixels: give a mask of as many lines"
            )


def _require_dimensions(path: Path, name: str, known: KnownGrid) -> None:
    labels = known.grid.labels
    if unknown := [label for label in labels if label not in DIMENSIONS]:
        raise AspcapError(
            f"{path}: the grid {name} has a dimension {unknown[0]!r}, which none of our columns is for; known are "
            f"{', '.join(DIMENSIONS)}"
        )
    if missing := [label for label in ("TEFF", "LOGG", "METALS") if label not in labels]:
        raise AspcapError(f"{path}: the grid {name} has no dimension {missing[0]}, which ASPCAP can't do without")


def count_weights(mask: Path) -> int | None:
    """Count the weights of a mask; None if it can't be read, which is told where its checksum is made."""
    try:
        status = mask.stat()
        return _count_weights(mask, status.st_size, status.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1000)
def _count_weights(mask: Path, *_: int) -> int:
    return len(mask.read_bytes().split())


def in_lots(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Take items some at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
