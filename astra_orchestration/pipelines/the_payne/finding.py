"""Which network is used: the one that is named, or the one that lies where it is looked for."""

from __future__ import annotations

from pathlib import Path

from astra_models.errors import NotSetUpError
from astra_orchestration.pipelines.white_dwarfs.registry import grids_folder

NETWORK_VARIABLE = "ASTRA_THE_PAYNE_NETWORK"
"""Environment variable with the file, or folder, of the network that is used where none is given."""


def default_network() -> Path:
    """Give the file that is used if nothing else is said: in the folder of Astra's data."""
    return grids_folder().parent / "the_payne" / "network.npz"


def find_network(given: object) -> Path:
    """Give the file, or folder, of the network of a run.

    Raises
    ------
    NotSetUpError
        If none is given, and none is where it is looked for.
    """
    if isinstance(given, Path):
        return given
    path = default_network()
    if not path.is_file():
        raise NotSetUpError(
            f"the_payne: there is no network ({path} isn't there): name one with --network or {NETWORK_VARIABLE}, such "
            "as a folder with binspec's three files"
        )
    return path
