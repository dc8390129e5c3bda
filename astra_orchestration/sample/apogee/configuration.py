"""The configuration with which ASPCAP works on the small grids of the sample."""

from pathlib import Path

import yaml

from astra_orchestration.sample.apogee.grids import FULL, MASKS, planned_grids
from astra_orchestration.sample.apogee.stars import FIBRES

CONFIGURATION = "aspcap.yml"

FITTED = {"C": "C", "N": "N", "Mg": "O Mg Si S Ca Ti"}
"""Species whose dimension isn't METALS."""


def write_configuration(folder: str | Path, ferre: str = "ferre.x", name: str = CONFIGURATION) -> Path:
    """Write a configuration of the small grids.

    Parameters
    ----------
    folder : str or Path
        The folder of the grids, see `grids.make_grids`.
    ferre : str, optional
        The program: a path, or its name.
    name : str, optional
        Name of the file.

    Returns
    -------
    Path
        The file.
    """
    grids = {
        plan.name: {
            "header": f"{plan.name}/{plan.name}.hdr",
            "telescopes": [plan.telescope],
            "fibers": list(FIBRES[plan.lsf]),
        }
        for plan in planned_grids()
        if plan.name != FULL
    }
    species = {name: {"mask": f"masks/{name}.mask", "fit": FITTED.get(name, "METALS")} for name in MASKS}
    path = Path(folder) / name
    path.write_text(yaml.safe_dump({"ferre": ferre, "grids": grids, "species": species}, sort_keys=False))
    return path
