"""What the dimensions of FERRE's grids are called in our tables."""

from collections.abc import Mapping
from typing import NamedTuple

from astra_models.ferre import GRID_EDGES, LABELS

ALPHA = "O Mg Si S Ca Ti"
"""The dimension of [alpha/M] has the names of its elements."""


class Dimension(NamedTuple):
    """A dimension of a grid.

    Parameters
    ----------
    column : str
        Its column in the tables of FERRE's stages: ``teff``, ``log10_v_micro``.
    edge : str
        What the flags of a grid's edges call it.
    parameter : str
        Its column in the table of ASPCAP.
    is_log10 : bool
        Whether that column has the number itself, and FERRE its logarithm.
    """

    column: str
    edge: str
    parameter: str
    is_log10: bool = False


DIMENSIONS: Mapping[str, Dimension] = {
    "TEFF": Dimension("teff", "teff", "teff"),
    "LOGG": Dimension("logg", "logg", "logg"),
    "METALS": Dimension("m_h", "m_h_atm", "m_h_atm"),
    "LGVSINI": Dimension("log10_v_sini", "v_sini", "v_sini", is_log10=True),
    "LOG10VDOP": Dimension("log10_v_micro", "v_micro", "v_micro", is_log10=True),
    ALPHA: Dimension("alpha_m", "alpha_m", "alpha_m_atm"),
    "C": Dimension("c_m", "c_m_atm", "c_m_atm"),
    "N": Dimension("n_m", "n_m_atm", "n_m_atm"),
}
"""By what a grid's header calls it."""

assert {dimension.column for dimension in DIMENSIONS.values()} == set(LABELS)
assert {dimension.edge for dimension in DIMENSIONS.values()} == set(GRID_EDGES)
