"""ASPCAP's stages one after the other, and what they stored, to be compared with another run."""

from pathlib import Path
from typing import Any

from astra_models.analysis.stream import analyse, write
from astra_models.aspcap import ASPCAP
from astra_models.ferre import FerreChemicalAbundances, FerreCoarse, FerreStellarParameters
from astra_orchestration.engines.on_workers import OnWorkers
from astra_orchestration.pipelines.aspcap import aspcap, ferre_coarse, ferre_stellar_parameters

STAGES = (ferre_coarse, ferre_stellar_parameters, aspcap)
TABLES = (FerreCoarse, FerreStellarParameters, FerreChemicalAbundances, ASPCAP)
UNLIKE = {"task_pk", "created", "modified", "t_elapsed", "t_overhead", "pipeline_run_pk", "tag", "upstream_pk"}
UNLIKE |= {"pwd", "ferre_name", "ferre_index", "ferre_n_obj", "ferre_time_load_grid", "ferre_time_elapsed"}
UNLIKE |= {"ferre_time_coarse", "ferre_time_params", "ferre_time_abundances"}
UNLIKE |= {"revision", "upstream_revision"}
"""What isn't the same in two runs: keys, times, where the files are, and what is made of those."""


def run(configuration: Path, folder: Path, engine: OnWorkers | None = None) -> None:
    for stage in STAGES:
        write(analyse(stage, parameters={"configuration": configuration, "folder": folder}, engine=engine))


def stored(table: Any) -> list[dict[str, Any]]:
    rows = [{name: value for name, value in row.items() if name not in UNLIKE} for row in table.select().dicts()]
    return sorted(rows, key=lambda row: (row["spectrum_pk"], str(row.get("element"))))


def forget() -> None:
    for table in reversed(TABLES):
        table.delete().execute()
