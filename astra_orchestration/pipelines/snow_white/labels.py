"""The name that probabilities give a spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

NOT_WHITE_DWARF = "not a white dwarf"
"""What a spectrum is called that is of no class of white dwarfs; there is a column for its probability."""

SURE = 0.5
"""Probability from which a class needs no second name and no colon."""

CLOSE = 0.6
"""Share of the largest probability above which the second counts."""


def label_of(classes: Sequence[str], probabilities: ArrayLike) -> str:
    """Name a spectrum by its probabilities.

    Parameters
    ----------
    classes : sequence of str
        The names of the classes.
    probabilities : array_like of float, shape (n_classes,)
        One for each.

    Returns
    -------
    str
        The class with a probability of 0.5 or more; else ``A/B`` if the second class has more than 0.6 of the first's,
        else ``A:``. "DA/MS" is a class; "DA:/MS" isn't one.
    """
    values = np.asarray(probabilities, dtype=float)
    order = np.argsort(-values, kind="stable")
    first = int(order[0])
    if values[first] >= SURE:
        return classes[first]
    if len(order) > 1 and values[order[1]] > CLOSE * values[first]:
        return f"{classes[first]}/{classes[order[1]]}"
    return f"{classes[first]}:"


def column_of(label: str) -> str:
    """Name the column of a class's probability: ``p_da_ms`` of "DA/MS"."""
    return "p_" + label.lower().replace("/", "_").replace(" ", "_").replace("not_a_", "not_")
