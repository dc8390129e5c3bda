"""What the measurements share: where data are, what a figure is, and simple statistics."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra_orchestration.pipelines.white_dwarfs.registry import DEFAULT, find_grid

Array = NDArray[np.floating[Any]]

DATA_VARIABLE = "ASTRA_SCIENCE_DATA"
"""Environment variable with the folder of grids and real spectra."""


@dataclass(frozen=True)
class Figure:
    """One row of the table of docs/science.md.

    Parameters
    ----------
    pipeline : str
        The pipeline, as in "Corv".
    what : str
        What was recovered: "velocity, S/N 20".
    truth : str
        What it was recovered from.
    wanted, found : str
        What had to come out, and what did; `wanted` is empty where a figure is only reported.
    kept : bool, optional
        Whether `found` is what was wanted; None where nothing was.
    errors : str
        The errors that pulls were divided by: "formal", "total", or nothing.
    """

    pipeline: str
    what: str
    truth: str
    wanted: str
    found: str
    kept: bool | None = None
    errors: str = ""


@dataclass(frozen=True)
class Measured:
    """What a module's ``measure(data)`` gives.

    Parameters
    ----------
    figures : list of Figure
        Rows of the common table in docs/science.md.
    blocks : dict of str to str
        Markdown for the page that the module names as `PAGE` ("corv.md"): what comes between the marks of each name.
    """

    figures: list[Figure]
    blocks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What the measurements have to work with.

    Parameters
    ----------
    folder : Path, optional
        Folder with ``warwick_da/da_grid.npz``, ``koester_da/``, ``wdtools/`` and ``pyhammer/``.
    grid : Path, optional
        The grid of DA models.
    number : int
        Spectra per setting.
    """

    folder: Path | None
    grid: Path | None
    number: int = 1000

    @property
    def missing(self) -> str:
        """Say in a sentence what isn't there; empty when everything is."""
        if not self.grid:
            return (
                "There is no grid of DA models: run `astra grids fetch da`, or name one by --grid, "
                f"or the folder that holds warwick_da by --data or {DATA_VARIABLE}."
            )
        wanted = ("koester_da", "wdtools", "pyhammer", "annieslasso", "apogee_tools")
        names = [name for name in wanted if not self.path(name)]
        where = f"{self.folder} has" if self.folder else f"without --data or {DATA_VARIABLE} there is"
        return f"{where} no {', '.join(names)}: what needs them was left out." if names else ""

    def path(self, *parts: str) -> Path | None:
        """Give a file or folder of the data; None where it isn't there."""
        path = self.folder.joinpath(*parts) if self.folder else None
        return path if path and path.exists() else None


def find_data(folder: Path | None, grid: Path | None, number: int) -> Data:
    """Find grids and spectra: as told, by the environment, or the grid that is registered.

    Raises
    ------
    SystemExit
        If a path that was given doesn't exist.
    """
    named = folder or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    for path in (named, grid):
        if path and not path.exists():
            raise SystemExit(f"there is no {path}; give the folder of the data by --data or {DATA_VARIABLE}")
    inside = named / "warwick_da" / "da_grid.npz" if named else None
    return Data(named, grid or (inside if inside and inside.exists() else _registered()), number)


def _registered() -> Path | None:
    """Find the grid of DA models that `astra grids fetch da` leaves."""
    grid = find_grid(DEFAULT)
    return None if grid is None else Path(grid.require_whole().path)


def robust_width(values: Array) -> float:
    """Give half of the range that holds the central 68.27 per cent."""
    low, high = np.percentile(values, [15.865, 84.135])
    return float(high - low) / 2


def share(part: int, whole: int) -> str:
    """Write a share in per cent, with the numbers it is of."""
    return f"{part / max(whole, 1):.1%} ({part} of {whole})"
