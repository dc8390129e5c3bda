"""Small grids for FERRE, and masks, of the same line model as the stars: what ASPCAP is tried with.

A grid's name holds what ASPCAP chooses it by: spectral type with g for giants or d for dwarfs, the letter of the line
spread function, and s for the telescope in the south, as in ``GKg_b`` and ``GKd_ds``. Its pixels are every 24th of an
apStar's, from the first one of each chip on. A pixel has the flux that the model has there at full resolution, so that
a star's pixels are picked and not averaged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astra_orchestration.pipelines.ferre.grid import Chip, Grid, write_grid
from astra_orchestration.sample.apogee.light import resolution_of
from astra_orchestration.sample.apogee.lines import (
    CHIPS,
    LABELS,
    LOG_START,
    LOG_STEP,
    Array,
    model_flux,
    pixels_of_element,
)
from astra_orchestration.sample.apogee.stars import FIBRES

FORMAT = 1
MANIFEST = "grids.json"

PICKED = 24
"""A small grid has every so manieth pixel."""

TELESCOPES = {"": "apo25m", "s": "lco25m"}
MASKS = ("C", "N", "Mg", "Fe", "Al")
FULL = "GKg_b_7514"

_LABEL_OF_DIMENSION = {
    "METALS": "m_h",
    "O Mg Si S Ca Ti": "alpha_m",
    "C": "c_m",
    "N": "n_m",
    "LOGG": "logg",
    "TEFF": "teff",
}
_NODES_OF_ABUNDANCES = {
    "METALS": (-0.6, 0.3, 4),
    "O Mg Si S Ca Ti": (-0.2, 0.2, 4),
    "C": (-0.5, 0.3, 4),
    "N": (-0.3, 0.3, 4),
}
_NODES_OF_TYPES = {
    "GKg": {"LOGG": (0.5, 1.1, 4), "TEFF": (3600.0, 500.0, 5)},
    "GKd": {"LOGG": (2.9, 0.8, 4), "TEFF": (4200.0, 600.0, 5)},
}
"""By dimension: first node, step, number of nodes. The two types overlap from logg 2.9 to 3.8, 4200 to 5600 K."""


@dataclass(frozen=True)
class GridPlan:
    """What a grid is to be.

    Parameters
    ----------
    name : str
        Of its folder and its files.
    nodes : dict of str to (float, float, int)
        By dimension, in the grid's order: first node, step, number of nodes.
    lsf : str
        Letter of the line spread function.
    telescope : str
        "apo25m" or "lco25m".
    picked : int
        It has every so manieth pixel of the chips.
    """

    name: str
    nodes: dict[str, tuple[float, float, int]]
    lsf: str
    telescope: str
    picked: int

    @property
    def resolution(self) -> float:
        """Wavelength over the full width at half maximum of the line spread function."""
        return resolution_of(self.telescope, self.lsf)

    @property
    def chips(self) -> list[Chip]:
        """The pixels of each chip."""
        return [
            Chip(LOG_START + LOG_STEP * first, LOG_STEP * self.picked, (n_pixels - 1) // self.picked + 1)
            for first, n_pixels in CHIPS
        ]


def planned_grids() -> list[GridPlan]:
    """List all grids: eight small ones, and one with all 7,514 pixels and four dimensions."""
    small = [
        GridPlan(f"{kind}_{lsf}{suffix}", _NODES_OF_ABUNDANCES | of_type, lsf, telescope, PICKED)
        for kind, of_type in _NODES_OF_TYPES.items()
        for lsf in FIBRES
        for suffix, telescope in TELESCOPES.items()
    ]
    four = {name: _NODES_OF_ABUNDANCES[name] for name in ("METALS", "O Mg Si S Ca Ti")} | _NODES_OF_TYPES["GKg"]
    return [*small, GridPlan(FULL, four, "b", "apo25m", 1)]


def make_grids(folder: str | Path) -> list[Path]:
    """Write all grids and masks into a folder, unless they are there.

    Parameters
    ----------
    folder : str or Path
        A folder for nothing else: each grid has a folder of its name in it, and there are ``masks`` for the small
        grids and ``masks_7514`` for the large one.

    Returns
    -------
    list of Path
        The headers of the grids.
    """
    folder = Path(folder)
    plans = planned_grids()
    headers = [folder / plan.name / f"{plan.name}.hdr" for plan in plans]
    if _are_there(folder, headers):
        return headers
    (folder / MANIFEST).unlink(missing_ok=True)
    grids = [make_grid(header, plan) for header, plan in zip(headers, plans, strict=True)]
    _write_masks(folder / "masks", plans[0].chips)
    _write_masks(folder / "masks_7514", plans[-1].chips)
    told = [_told(plan, grid) for plan, grid in zip(plans, grids, strict=True)]
    content = {"format": FORMAT, "grids": told, "masks": list(MASKS)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n")
    return headers


def make_grid(header: str | Path, plan: GridPlan) -> Grid:
    """Compute a grid's models and write them.

    Parameters
    ----------
    header : str or Path
        The file ``.hdr``; the models go beside it.
    plan : GridPlan
        What it is to be. Abundances that aren't dimensions are 0.
    """
    axes = [first + step * np.arange(n) for first, step, n in plan.nodes.values()]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    labels = np.zeros((len(places), len(LABELS)))
    for column, dimension in enumerate(plan.nodes):
        labels[:, LABELS.index(_LABEL_OF_DIMENSION[dimension])] = places[:, column]
    flux = model_flux(labels, _log_wavelengths(plan.chips), plan.resolution).astype(np.float32)
    return write_grid(
        header,
        tuple(plan.nodes),
        [first for first, _, _ in plan.nodes.values()],
        [step for _, step, _ in plan.nodes.values()],
        plan.chips,
        flux.reshape(*(len(axis) for axis in axes), -1),
        resolution=plan.resolution,
    )


def _log_wavelengths(chips: Sequence[Chip]) -> Array:
    pixels = [chip.start + chip.step * np.arange(chip.n_pixels, dtype=np.float64) for chip in chips]
    return np.asarray(np.concatenate(pixels), dtype=np.float64)


def _are_there(folder: Path, headers: Sequence[Path]) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return False
    masks = [folder / name / f"{element}.mask" for name in ("masks", "masks_7514") for element in MASKS]
    files = [*headers, *(header.with_suffix(".unf") for header in headers), *masks]
    return manifest.get("format") == FORMAT and all(file.is_file() for file in files)


def _write_masks(folder: Path, chips: Sequence[Chip]) -> None:
    """Write a weight for each pixel, a line each: 1 where the element's lines are, 0 elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for element in MASKS:
        weights = pixels_of_element(_log_wavelengths(chips), element)
        (folder / f"{element}.mask").write_text("".join(f"{weight:.1f}\n" for weight in weights.astype(float)))


def _told(plan: GridPlan, grid: Grid) -> dict[str, object]:
    return {
        "name": plan.name,
        "header": f"{plan.name}/{plan.name}.hdr",
        "masks": "masks" if plan.picked > 1 else "masks_7514",
        "telescope": plan.telescope,
        "lsf": plan.lsf,
        "resolution": plan.resolution,
        "labels": list(grid.labels),
        "n_points": list(grid.n_points),
        "n_pixels": grid.n_pixels,
    }
