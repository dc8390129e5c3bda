"""Step 10: how values stand to the edges of a grid, and what else is to be flagged."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from astra_orchestration.pipelines.ferre.grid import Grid

from .dimensions import DIMENSIONS

BAD_SHARE = 1 / 8
"""Within this share of a step from a limit a value is at the edge."""

FAILED_AT = -999.0
"""FERRE writes -999.999, or with few digits -1.0000E+03, for what it couldn't fit."""


class Edges(NamedTuple):
    """Labels of the dimensions that are near an edge of the grid, or have no value.

    Parameters
    ----------
    warn, bad : frozenset of str
        Within a step of a limit, and within 1/8 step: what is bad is to be warned of, too.
    failed : frozenset of str
        Without a value, or free without a positive error.
    """

    warn: frozenset[str] = frozenset()
    bad: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    def columns(self) -> dict[str, bool]:
        """Give the flags by their columns, those that are set."""
        flags = {f"flag_{DIMENSIONS[label].edge}_grid_edge_warn": True for label in self.warn}
        flags |= {f"flag_{DIMENSIONS[label].edge}_grid_edge_bad": True for label in self.bad}
        return flags | ({"flag_ferre_fail": True} if self.failed else {})


def edges(grid: Grid, values: ArrayLike, errors: ArrayLike, free: Iterable[str]) -> Edges:
    """Say how a fit stands to the edges of its grid.

    Parameters
    ----------
    grid : Grid
        The grid.
    values, errors : array_like of float, shape (n_dim,)
        What FERRE gave, in the order of the grid's dimensions.
    free : iterable of str
        Labels of the dimensions that were fitted; the others are as they were given.
    """
    value, error = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    lower, upper, steps = (np.array(one) for one in (grid.lower, grid.upper, grid.steps))
    is_free = np.isin(grid.labels, list(free))
    has_value = np.isfinite(value) & (value > FAILED_AT)
    with np.errstate(invalid="ignore"):
        failed = ~has_value | (is_free & ~(error > 0))
        away = np.minimum(value - lower, upper - value)
        near = [is_free & has_value & (away <= share * steps) for share in (1, BAD_SHARE)]
    labels = np.array(grid.labels, dtype=object)
    return Edges(*(frozenset(labels[chosen]) for chosen in (*near, failed)))


HIGH_V_MICRO, HIGH_RCHI2, LOW_SNR, HIGH_STD_V_RAD = 3.0, 1000.0, 20.0, 1.0
"""km/s; without unit; per pixel; km/s."""


def result_flags(v_micro: float, rchi2: float, snr: float | None, std_v_rad: float | None) -> dict[str, bool]:
    """Give flags of a result by their columns.

    Parameters
    ----------
    v_micro : float
        km/s.
    rchi2 : float
        Reduced chi-squared.
    snr : float or None
        Of the spectrum, per pixel.
    std_v_rad : float or None
        Scatter of the velocities of its visits, in km/s.
    """
    return {
        "flag_high_v_micro": bool(v_micro > HIGH_V_MICRO),
        "flag_high_rchi2": bool(rchi2 > HIGH_RCHI2),
        "flag_low_snr": snr is not None and bool(snr < LOW_SNR),
        "flag_high_std_v_rad": std_v_rad is not None and bool(std_v_rad > HIGH_STD_V_RAD),
    }
