"""Step 5: which of a spectrum's coarse fits is taken: that of the smallest chi-squared, with penalties for edges."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .flags import Edges

COOL_FACTOR = 10.0
"""For a temperature that the configuration says its grid isn't to be trusted at."""

WARN_FACTOR, BAD_FACTOR, FAIL_FACTOR = 5.0, 10.0, 20.0
"""For each of temperature and gravity: within a step of the grid's edge; within 1/8 step, too; failed."""

JUDGED = ("TEFF", "LOGG")


class CoarseFit(NamedTuple):
    """A coarse fit of a spectrum with one grid.

    Parameters
    ----------
    grid : str
        The grid's name.
    teff : float
        K.
    rchi2 : float
        Reduced chi-squared; NaN if FERRE gave none.
    edges : Edges
        How each dimension stands to the grid's edges.
    penalized_below : float, optional
        Temperature (K) below which the grid is not to be trusted.
    """

    grid: str
    teff: float
    rchi2: float
    edges: Edges
    penalized_below: float | None = None

    @property
    def penalized_rchi2(self) -> float:
        """Reduced chi-squared with penalties; NaN if there is none."""
        total = self.rchi2
        if self.penalized_below is not None and self.teff < self.penalized_below:
            total *= COOL_FACTOR
        for label in JUDGED:
            total *= WARN_FACTOR if label in self.edges.warn else 1
            total *= BAD_FACTOR if label in self.edges.bad else 1
            total *= FAIL_FACTOR if label in self.edges.failed else 1
        return total


class Choice(NamedTuple):
    """Which fit is taken.

    Parameters
    ----------
    best : int
        Which one; the first of those that are equally good.
    is_tie : bool
        Whether another one is as good.
    is_good : bool
        Whether any has a chi-squared.
    """

    best: int
    is_tie: bool
    is_good: bool


def choose(fits: Sequence[CoarseFit]) -> Choice:
    """Choose among the coarse fits of a spectrum.

    Raises
    ------
    ValueError
        If there are none.
    """
    penalized = np.array([fit.penalized_rchi2 for fit in fits])
    if not len(penalized):
        raise ValueError("there is no coarse fit to choose")
    if not np.isfinite(penalized).any():
        return Choice(0, is_tie=False, is_good=False)
    best = int(np.nanargmin(penalized))
    return Choice(best, is_tie=bool(np.count_nonzero(penalized == penalized[best]) > 1), is_good=True)
