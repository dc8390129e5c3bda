"""Snow White's picture in the UI: what spectra were called, by their S/N."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra_models.snow_white import CLASSES

from .labels import NOT_WHITE_DWARF, column_of, label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGES = (0.0, 5.0, 8.0, 12.0, 20.0, 35.0, np.inf)
"""Edges of the bins of S/N."""

MOST_LABELS = 9
"""Labels that have a row of their own; the rest share one."""


def classes_by_snr(figure: Figure, rows: Mapping[str, NDArray[Any]]) -> None:
    """Show what spectra were called, in per cent of each bin of S/N: labels with a colon or slash are for low ones."""
    labels, shares, numbers = shares_by_snr(labels_of(rows), _snr_of(np.asarray(rows["spectrum_pk"])))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for row, column in np.ndindex(shares.shape):
        if numbers[column]:
            axes.text(column, row, f"{shares[row, column]:.0%}", ha="center", va="center", fontsize="small")
    axes.set_yticks(range(len(labels)), labels)
    names = [f"{low:g} to {high:g}" if np.isfinite(high) else f"over {low:g}" for low, high in pairwise(EDGES)]
    axes.set_xticks(range(len(names)), [f"{name}\n({number})" for name, number in zip(names, numbers, strict=True)])
    axes.set_xlabel("median S/N per pixel (number of spectra)")
    axes.set_title("Classes by S/N", fontsize="medium")


def labels_of(rows: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Name spectra by the columns of their probabilities, of which those that are NaN in a row don't count."""
    columns = {name: rows[column] for name in (*CLASSES, NOT_WHITE_DWARF) if (column := column_of(name)) in rows}
    names, values = np.array(list(columns)), np.array(list(columns.values()), dtype=np.float64)
    known = np.isfinite(values)
    return np.array(
        [
            label_of(names[good].tolist(), row[good]) if good.any() else None
            for row, good in zip(values.T, known.T, strict=True)
        ],
        dtype=object,
    )


def shares_by_snr(
    classification: NDArray[Any], snr: NDArray[Any]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.intp]]:
    """Count labels in bins of S/N.

    Parameters
    ----------
    classification : ndarray of str or None, shape (n_spectra,)
        What each was called.
    snr : ndarray of float64, shape (n_spectra,)
        Median S/N per pixel; NaN where it isn't known.

    Returns
    -------
    labels : list of str
        The labels, the most frequent first; "other" for rare ones, "no class" for none.
    shares : ndarray of float64, shape (n_labels, n_bins)
        Of all spectra in the bin.
    numbers : ndarray of int, shape (n_bins,)
        Spectra in the bin.
    """
    known = np.isfinite(snr)
    words = np.array([str(word) if word else "no class" for word in classification[known]], dtype=object)
    place = np.clip(np.searchsorted(EDGES, snr[known], side="right") - 1, 0, len(EDGES) - 2)
    found, counts = np.unique(words.astype(str), return_counts=True)
    labels = [str(found[i]) for i in np.argsort(-counts, kind="stable")]
    if len(labels) > MOST_LABELS:
        rare = labels[MOST_LABELS - 1 :]
        words[np.isin(words.astype(str), rare)] = "other"
        labels = [*labels[: MOST_LABELS - 1], "other"]
    numbers = np.bincount(place, minlength=len(EDGES) - 1)
    counted = np.array([np.bincount(place[words == label], minlength=len(EDGES) - 1) for label in labels])
    shares = counted.reshape(len(labels), -1) / np.maximum(numbers, 1)
    return labels, shares, numbers


def _snr_of(spectrum_pks: NDArray[Any]) -> NDArray[np.float64]:
    from astra_models.boss import BossVisitSpectrum
    from astra_models.database.sql import is_any_of

    keys = [int(key) for key in spectrum_pks.tolist()]
    query = BossVisitSpectrum.select(BossVisitSpectrum.spectrum_pk, BossVisitSpectrum.snr)
    found = {row.spectrum_pk: row.snr for row in query.where(is_any_of(BossVisitSpectrum.spectrum_pk, keys))}
    return np.array([found.get(key) for key in keys], dtype=np.float64)
