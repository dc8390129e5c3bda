"""Snow White's picture of what spectra of known kind were called: the sample survey comes with its truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.boss import BossVisitSpectrum
from astra_models.database.sql import is_any_of
from astra_models.errors import AstraError
from astra_orchestration.pipelines.white_dwarfs.choosing import TRUTH

from .pictures import labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGES = (0.0, 5.0, 10.0, np.inf)
"""Edges of the bins of S/N."""


def confusion_by_snr(figure: Figure, rows: Mapping[str, NDArray[Any]]) -> None:
    """Show what spectra of known kind were called, in per cent of each kind, by S/N: those of the sample survey."""
    visits = _visits(rows["spectrum_pk"])
    known = [visits.get(int(key), ("", np.nan)) for key in np.asarray(rows["spectrum_pk"])]
    kinds, snr = np.array([kind for kind, _ in known]), np.array([value for _, value in known], dtype=np.float64)
    called = np.array([str(label or "no class") for label in labels_of(rows)])
    is_known = (kinds != "") & np.isfinite(snr)
    if not is_known.any():
        return
    rows_of_kinds, labels = np.unique(kinds[is_known]), np.unique(called[is_known])
    every_axes = figure.subplots(1, len(EDGES) - 1, sharey=True, squeeze=False)[0]
    for axes, (low, high) in zip(every_axes, pairwise(EDGES), strict=True):
        here = is_known & (snr >= low) & (snr < high)
        found = [here & (kinds == kind) & (called == word) for kind in rows_of_kinds for word in labels]
        counts = np.sum(found, axis=1).reshape(len(rows_of_kinds), len(labels))
        numbers = counts.sum(axis=1, keepdims=True)
        axes.imshow(counts / np.maximum(numbers, 1), cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
        for row, column in np.argwhere(counts):
            share = counts[row, column] / numbers[row, 0]
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize="small")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_title(f"S/N {low:g} to {high:g}" if np.isfinite(high) else f"S/N over {low:g}", fontsize="medium")
    every_axes[0].set_yticks(range(len(rows_of_kinds)), rows_of_kinds)
    every_axes[0].set_ylabel("what it is")
    every_axes[len(every_axes) // 2].set_xlabel("what it was called")


def _visits(spectrum_pks: Iterable[Any]) -> dict[int, tuple[str, float]]:
    """Give kind and S/N of the visits whose kind is known, by key."""
    found: dict[int, tuple[str, float]] = {}
    truths: dict[Path, dict[str, str]] = {}
    wanted = is_any_of(BossVisitSpectrum.spectrum_pk, [int(key) for key in spectrum_pks])
    for visit in BossVisitSpectrum.select().where(wanted):
        try:
            path = Path(visit.absolute_path)
        except AstraError:  # it has no file, and so none that says what it is
            continue
        folder = path.parent.parent
        if folder not in truths:
            truths[folder] = _kinds_beside(folder)
        if kind := truths[folder].get(path.name):
            found[visit.spectrum_pk] = (kind, np.nan if visit.snr is None else visit.snr)
    return found


def _kinds_beside(folder: Path) -> dict[str, str]:
    """Read which kinds of stars the files below a folder are of, if it has a sample survey's truth."""
    if not (folder / TRUTH).is_file():
        return {}
    from astropy.table import Table

    truth = Table.read(folder / TRUTH, format="ascii.ecsv")
    return {Path(str(row["file"])).name: str(row["kind"]) for row in truth}
