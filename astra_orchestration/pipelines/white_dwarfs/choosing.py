"""Which grid a spectrum is measured with, and what may be said by it.

A spectrum of the sample survey is of the built-in family, whatever grid is given: its file says so. Any other is
measured with the grid of the run. If that is the built-in family, which is no model atmosphere, velocities are all that
can be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from astra_models.errors import AstraError
from astra_models.fits.header import CardValue
from astra_models.fits.star_file import FitsFile
from astra_models.spectrum import SpectrumMixin

from .family import balmer_family
from .files import load_grid
from .grid import TemplateGrid
from .registry import BUILT_IN, label_of

__all__ = ["SAMPLE_CARD", "TRUTH", "ChosenGrid", "GridChoice", "is_of_sample", "without_grid"]

SAMPLE_CARD: tuple[str, CardValue] = ("ORIGIN", "astra sample survey")
"""The card of the primary header by which a file says that it is of the sample survey."""

TRUTH = "truth.ecsv"
"""The file in the sample survey's folder that says what each of its visits is of."""


NO_GRID = (
    "no grid of model atmospheres is given or registered: real stars get no temperatures and gravities "
    "(flag_no_model_grid); bring one by `astra grids fetch da`, or name one with --grid. The sample survey is of the "
    "built-in family, and isn't affected"
)


class ChosenGrid(NamedTuple):
    """What a spectrum is measured with.

    Parameters
    ----------
    templates : TemplateGrid
        The grid.
    label : str
        Its name and the first digits of its checksum, for ``template_grid`` of the result; of the built-in family its
        name alone.
    counts : bool
        Whether temperatures and gravities by it mean something for this spectrum.
    """

    templates: TemplateGrid
    label: str
    counts: bool


class GridChoice:
    """Chooses the grid of each spectrum of a run.

    Parameters
    ----------
    grid : Path or None
        The run's grid, as `resolve_grid` gives it; None for the built-in family.

    Raises
    ------
    TemplateError
        If it can't be read, or is no grid.
    """

    def __init__(self, grid: Path | None):
        family = balmer_family()
        self._of_sample = ChosenGrid(family, BUILT_IN, counts=True)
        if grid is not None:
            self._of_stars = ChosenGrid(load_grid(grid), label_of(grid), counts=True)
        else:
            self._of_stars = ChosenGrid(family, BUILT_IN, counts=False)

    def of(self, spectrum: SpectrumMixin) -> ChosenGrid:
        """Choose the grid of a spectrum."""
        return self._of_sample if is_of_sample(spectrum) else self._of_stars


def is_of_sample(spectrum: SpectrumMixin) -> bool:
    """Tell whether a spectrum is of the sample survey: by `SAMPLE_CARD` in its file, and by nothing else.

    A spectrum without a file, or whose file can't be read, is a real one.
    """
    try:
        return _says_sample(spectrum.absolute_path)
    except AstraError:  # it has no file, or none that can be read: its pixels will say so
        return False


@lru_cache(maxsize=64)  # of a star, several spectra come from one file
def _says_sample(path: str) -> bool:
    name, value = SAMPLE_CARD
    [primary] = FitsFile(path, n_hdus=1).hdus
    return primary.header.get(name) == value


def without_grid(values: Mapping[str, object]) -> list[str]:
    """Warn of a run without a grid of model atmospheres, by the values of its parameters."""
    if values.get("grid") is not None:
        return []
    return [NO_GRID]
