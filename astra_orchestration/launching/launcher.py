"""The run launcher of ``dagster.yaml``: it starts each run where its tag says."""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext
from dagster._serdes import ConfigurableClassData
from dagster._time import get_current_timestamp

from astra_models.messages import error_text
from astra_orchestration.launching.local_runs import LocalRuns
from astra_orchestration.launching.places import LAUNCHER_TAG, LOCAL, SLURM, Place
from astra_orchestration.launching.slurm_runs import SETTINGS, SlurmRuns

__all__ = ["AstraRunLauncher"]

LOCAL_START_SECONDS = 300.0

logger = logging.getLogger(__name__)


class AstraRunLauncher(DefaultRunLauncher):
    """Starts runs on this computer, as Dagster does, or as jobs of Slurm.

    Parameters
    ----------
    default : {"local", "slurm"}
        Where runs are started that don't have the tag ``astra/launcher``.
    local_start_seconds : float
        How long a run on this computer may take to start.
    slurm : mapping of str to object, optional
        How jobs are submitted.
    inst_data : ConfigurableClassData, optional
        What Dagster keeps of this configuration.
    """

    def __init__(
        self,
        default: str = LOCAL,
        local_start_seconds: float = LOCAL_START_SECONDS,
        slurm: Mapping[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ):
        super().__init__(inst_data)
        self._default = default
        self._slurm_settings = slurm or {}
        self._local_start_seconds = local_start_seconds

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Give what can be set in ``dagster.yaml``."""
        return {
            "default": dg.Field(
                dg.Enum("AstraLauncher", [dg.EnumValue(LOCAL), dg.EnumValue(SLURM)]), default_value=LOCAL
            ),
            "local_start_seconds": dg.Field(float, default_value=LOCAL_START_SECONDS),
            "slurm": dg.Field(dg.Shape(SETTINGS), is_required=False),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "AstraRunLauncher":
        """Make the launcher of an instance."""
        return cls(inst_data=inst_data, **config_value)

    def place_of(self, run: dg.DagsterRun) -> Place:
        """Give where a run is, or is to be.

        Raises
        ------
        DagsterInvalidConfigError
            If its tag names no place.
        """
        name = run.tags.get(LAUNCHER_TAG, self._default)
        if name not in (LOCAL, SLURM):
            raise dg.DagsterInvariantViolationError(
                f"the tag {LAUNCHER_TAG} is {name!r}; runs are started at {LOCAL!r} or {SLURM!r}"
            )
        if name == SLURM:
            return SlurmRuns(self._instance, self._slurm_settings)
        return LocalRuns(self._instance, super().launch_run, super().terminate, self._local_start_seconds)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run."""
        place = self.place_of(context.dagster_run)
        if LAUNCHER_TAG not in context.dagster_run.tags:  # the default may be another one tomorrow
            self._instance.add_run_tags(context.dagster_run.run_id, {LAUNCHER_TAG: self._default})
        place.launch(context)

    def terminate(self, run_id: str) -> bool:
        """End a run; False if there was nothing to end."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return False
        return self.place_of(run).terminate(run)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether runs are looked after: they are."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the process or job of a run that has started is there."""
        return self.place_of(run).health(run)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Give the end of the log of a run that died, where there is one."""
        place = self.place_of(run)
        return place.last_words(run) if isinstance(place, SlurmRuns) else None

    def sweep(self) -> list[str]:
        """Fail runs that died before they started, and end those that are to be cancelled and have gone.

        Dagster looks after runs that have started only: the others it fails when their time to start is over, which
        has to last as long as Slurm's queue.

        Returns
        -------
        list of str
            Ids of these runs.
        """
        statuses = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
        ended = []
        for record in self._instance.get_run_records(dg.RunsFilter(statuses=statuses)):
            try:
                if self._sweep_one(record):
                    ended.append(record.dagster_run.run_id)
            except dg.DagsterError as error:
                logger.warning("run %s isn't looked after: %s", record.dagster_run.run_id, error_text(error))
        return ended

    def _sweep_one(self, record: dg.RunRecord) -> bool:
        run = record.dagster_run
        seconds = get_current_timestamp() - record.update_timestamp.timestamp()
        why = self.place_of(run).death(run, seconds)
        now = self._instance.get_run_by_id(run.run_id)
        if why is None or now is None or now.status != run.status:
            return False
        if run.status == dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, why)
        else:
            words = self.get_run_worker_debug_info(run)
            self._instance.report_run_failed(run, why + (f"\n{words}" if words else ""))
        return True
