"""Which model is used: the one that is named, or the one that training left where it is looked for."""

from __future__ import annotations

import os
from pathlib import Path

from astra_models.base import database
from astra_models.database_identity import database_id
from astra_models.errors import NotSetUpError
from astra_orchestration.pipelines.white_dwarfs.registry import grids_folder

MODEL_VARIABLE = "ASTRA_THE_CANNON_MODEL"
"""Environment variable with the file of the model that is used where none is given."""

DIGITS = 12
"""Of a database's identity, in the name of its model's file."""


def default_model() -> Path:
    """Give the file that training writes and runs look for, if nothing else is said.

    It is in the folder that ``ASTRA_DATA`` names; without that variable, in the user's folder of Astra's data. Its name
    is that of the database's identity: what was learnt in one survey doesn't label the stars of another by itself.
    """
    identity = database_id(may_write=not database.in_transaction())  # which may be a read-only one
    return grids_folder().parent / "the_cannon" / (f"model-{identity[:DIGITS]}.npz" if identity else "model.npz")


def is_trained() -> bool:
    """Tell whether a run has a model, if none is named."""
    return bool(os.environ.get(MODEL_VARIABLE)) or default_model().is_file()


def find_model(given: object) -> Path:
    """Give the file of the model of a run.

    Raises
    ------
    NotSetUpError
        If none is given, and none has been trained.
    """
    if isinstance(given, Path):
        return given
    path = default_model()
    if not path.is_file():
        raise NotSetUpError(
            f"the_cannon: no model has been trained ({path} isn't there): train one by "
            f"`astra train the_cannon --labels aspcap`, or name one with --model or {MODEL_VARIABLE}"
        )
    return path
