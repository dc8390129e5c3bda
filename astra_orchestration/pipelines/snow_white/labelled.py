"""Spectra whose classes somebody knows, for training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .features import NoFeaturesError, features
from .forest import ClassifierError


class Labelled(NamedTuple):
    """A spectrum of which somebody knows the class."""

    label: str
    """One of `astra_models.snow_white.CLASSES`, or "not a white dwarf"."""
    path: str
    """A file of BOSS."""


def features_of_file(path: str) -> NDArray[np.float32]:
    """Describe the spectrum in a file of BOSS; `ClassifierError` if too little of it is there."""
    from astra_models.boss import BossVisitSpectrum

    spectrum = BossVisitSpectrum(path=path)
    try:
        return features(spectrum.wavelength, spectrum.flux, spectrum.ivar)
    except NoFeaturesError as error:
        raise ClassifierError(f"{path}: {error}; leave it out of the labelled spectra") from error


def read_labelled(table: str | Path) -> Iterator[Labelled]:
    """Read a table of labelled spectra.

    Parameters
    ----------
    table : str or Path
        Any table that astropy reads, such as CSV or FITS, with the columns ``path`` and ``classification``. Paths are
        relative to the table's folder.

    Raises
    ------
    ClassifierError
        If it can't be read, or a column is missing.
    """
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    table = Path(table)
    try:
        found = Table.read(table)
    except (OSError, ValueError, IORegistryError) as error:
        raise ClassifierError(f"the labelled spectra can't be read from {str(table)!r}: {error}") from error
    if missing := {"path", "classification"} - set(found.colnames):
        raise ClassifierError(
            f"{table} has no column {' and '.join(sorted(missing))}; it has {', '.join(found.colnames)}"
        )
    for path, label in zip(found["path"], found["classification"], strict=True):
        yield Labelled(str(label).strip(), str(table.parent / str(path).strip()))
