"""Training on one's own survey, from the database to a file: what `astra train the_cannon` and the asset do."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .finding import default_model
from .labelled import read_training_set, read_windows
from .making import train_model
from .model import CannonModel
from .model_file import save_model
from .polynomial import Degree
from .validation import FOLDS, CrossValidation


class Trained(NamedTuple):
    """What training left.

    Attributes
    ----------
    path : Path
        The file of the model.
    checksum : str
        Its SHA-256.
    model : CannonModel
        The model.
    validation : CrossValidation
        How well it labels stars that it hasn't seen.
    left_out : tuple of str
        Stars and labels that weren't used, and why.
    seconds : float
        What it took.
    """

    path: Path
    checksum: str
    model: CannonModel
    validation: CrossValidation
    left_out: tuple[str, ...]
    seconds: float


def train_to_file(
    path: str | Path | None = None,
    table: str = "aspcap",
    *,
    labels: Sequence[str] | None = None,
    where: str | None = None,
    degree: Degree = "quadratic",
    windows: str | Path | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> Trained:
    """Train a model on labels of the database, cross-validate it, and write it.

    Parameters
    ----------
    path : str or Path, optional
        The file; by default the one that runs look for.
    table : str
        A table of results that has labels.
    labels, where
        See `labelled.read_training_set`.
    degree, folds, seed
        See `making.train_model`.
    windows : str or Path, optional
        A file for `labelled.read_windows`.
    say : callable
        Called with what is being done.

    Raises
    ------
    CannonError
        If there is nothing to learn from.
    """
    started = time.monotonic()
    where_to = Path(os.path.abspath(Path(path).expanduser())) if path else default_model()
    allowed = None if windows is None else read_windows(windows)
    with tempfile.TemporaryDirectory(prefix="the_cannon-") as folder:
        known = read_training_set(Path(folder), table, labels, where)
        for sentence in known.left_out:
            say(sentence)
        model, validation = train_model(known, degree=degree, windows=allowed, folds=folds, seed=seed, say=say)
    checksum = save_model(model, where_to)
    return Trained(where_to, checksum, model, validation, known.left_out, time.monotonic() - started)
