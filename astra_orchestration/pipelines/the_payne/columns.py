"""Labels of a network as columns of the table, with their errors and correlations.

The table has abundances over hydrogen. A network that has them over iron gives them, too: [X/H] = [X/Fe] + [Fe/H], with
the covariance of the two.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from astra_models.the_payne import LABELS

from .fitting import Fit
from .network import Array, PayneError

IRON = "fe_h"

WARNINGS = {"teff": (3100.0, 7900.0), "logg": (0.1, 5.2), "fe_h": (-1.4, 0.4)}
"""Labels outside of which the table has a flag."""


def table_labels(labels: tuple[str, ...]) -> tuple[tuple[str, ...], Array]:
    """Say which columns a network's labels are, and the matrix that makes them of the labels.

    Raises
    ------
    PayneError
        If the table has no column for a label.
    """
    names, matrix = [], np.eye(len(labels))
    for place, label in enumerate(labels):
        name = label
        if label not in LABELS and label.endswith("_fe") and IRON in labels:
            name = f"{label.removesuffix('_fe')}_h"
            matrix[place, labels.index(IRON)] = 1
        if name not in LABELS:
            raise PayneError(
                f"the table of The Payne has no column for the network's label {label!r}; it has {', '.join(LABELS)}"
            )
        names.append(name)
    if len(set(names)) < len(names):
        raise PayneError(f"two labels of the network are one column of the table: {', '.join(labels)}")
    return tuple(names), matrix


def columns_of(fit: Fit, names: tuple[str, ...], matrix: Array) -> dict[str, float]:
    """Give labels, errors and correlations of a fit by the columns' names.

    Parameters
    ----------
    fit : Fit
        What was found.
    names, matrix
        From `table_labels`.
    """
    values, covariance = matrix @ fit.labels, matrix @ fit.covariance @ matrix.T
    errors, formal = (np.sqrt(np.diag(matrix)) for matrix in (covariance, matrix @ fit.formal @ matrix.T))
    columns: dict[str, float] = {}
    for place, name in enumerate(names):
        columns |= {name: values[place], f"e_{name}": errors[place], f"raw_e_{name}": formal[place]}
    for one, other in combinations(LABELS, 2):
        if one in names and other in names:
            i, j = names.index(one), names.index(other)
            columns[f"rho_{one}_{other}"] = covariance[i, j] / (errors[i] * errors[j])
    return columns


def warnings_of(columns: dict[str, float]) -> dict[str, bool]:
    """Say which labels are in a range that the table warns of."""
    return {
        f"flag_warn_{name}": not low <= columns[name] <= high
        for name, (low, high) in WARNINGS.items()
        if np.isfinite(columns.get(name, np.nan))
    }
