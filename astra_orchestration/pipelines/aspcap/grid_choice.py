"""Step 2: which grids a spectrum is fitted with, and where each fit begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.ferre.grid import Grid

from .configuration import GridEntry
from .guesses import Guess

INSIDE = 0.01
"""Share of the box by which a start is kept away from its limits."""

NEAREST_INSIDE = 0.05
"""The same of a guess that no grid holds."""


@dataclass(frozen=True)
class KnownGrid:
    """A grid of the configuration, as its header says it is.

    Parameters
    ----------
    name : str
        Its name in the configuration.
    grid : Grid
        What its header says.
    entry : GridEntry
        What the configuration says.
    """

    name: str
    grid: Grid
    entry: GridEntry

    def takes(self, telescope: str | None, mean_fiber: float | None) -> bool:
        """Tell whether its line-spread function is that of a telescope and fibre."""
        if self.entry.telescopes and telescope not in self.entry.telescopes:
            return False
        if self.entry.fibers is None:
            return True
        low, high = self.entry.fibers
        return mean_fiber is not None and low - 0.5 <= mean_fiber < high + 0.5

    def holds(self, label: str, value: float) -> bool:
        """Tell whether a value is within the box."""
        axis = self.grid.axis(label)
        return self.grid.lower[axis] <= value <= self.grid.upper[axis]

    def center(self) -> NDArray[np.float64]:
        """Give the middle of the box, (n_dim,)."""
        return (np.array(self.grid.lower) + np.array(self.grid.upper)) / 2

    def clipped(self, start: NDArray[np.float64], share: float = INSIDE) -> NDArray[np.float64]:
        """Keep a point away from the limits of the box by a share of its size, (n_dim,)."""
        lower, upper = np.array(self.grid.lower), np.array(self.grid.upper)
        margin = share * (upper - lower)
        return np.clip(start, lower + margin, upper - margin)

    def start_at(self, guess: Guess) -> NDArray[np.float64]:
        """Give where a fit begins, (n_dim,)."""
        return self.clipped(np.array([guess.value(label) for label in self.grid.labels]))


def grids_for(
    grids: Sequence[KnownGrid], telescope: str | None, mean_fiber: float | None, guess: Guess | None
) -> list[tuple[KnownGrid, NDArray[np.float64]]]:
    """Choose the grids that a spectrum is fitted with.

    Those that hold temperature and gravity of the guess; else those that hold its temperature; else the nearest one;
    without a guess all of them, from their centers.

    Parameters
    ----------
    grids : sequence of KnownGrid
        All grids of the configuration.
    telescope, mean_fiber : optional
        Of the spectrum: they decide which line-spread function it has.
    guess : Guess or None
        From `guesses.initial_guess`.

    Returns
    -------
    list of (KnownGrid, array)
        Each grid with the start, (n_dim,). Empty if no grid is of the telescope and fibre.
    """
    usable = [grid for grid in grids if grid.takes(telescope, mean_fiber)]
    if guess is None:
        return [(grid, grid.center()) for grid in usable]
    at_teff = [grid for grid in usable if grid.holds("TEFF", guess.teff)]
    both = [grid for grid in at_teff if grid.holds("LOGG", guess.logg)]
    chosen = both or at_teff or ([min(usable, key=lambda grid: _distance(grid, guess))] if usable else [])
    return [(grid, grid.start_at(guess)) for grid in chosen]


def _distance(known: KnownGrid, guess: Guess) -> float:
    """Give the distance of a guess from a box in steps of temperature and gravity."""
    wanted = np.array([guess.value(label) for label in known.grid.labels])
    axes = [known.grid.axis(label) for label in ("TEFF", "LOGG")]
    away = (known.clipped(wanted, NEAREST_INSIDE) - wanted) / np.array(known.grid.steps)
    return float(np.hypot(*away[axes]))
