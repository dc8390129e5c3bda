"""Where runs are started: on this computer, as Dagster does it, or as jobs of Slurm; and which of them have died.

`AstraRunLauncher` is named in ``dagster.yaml``. A run is placed by its tag ``astra/launcher``.
"""

from astra_orchestration.launching.launcher import AstraRunLauncher

__all__ = ["AstraRunLauncher"]
