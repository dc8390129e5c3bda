"""A sensor that starts nothing: it fails runs that died before they started, which Dagster doesn't look after."""

import dagster as dg

from astra_orchestration.launching import AstraRunLauncher

__all__ = ["run_sweep_sensor"]


@dg.sensor(
    name="run_sweep_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs that died before they started, such as those whose Slurm job was cancelled in the queue.",
)
def run_sweep_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Have the launcher look after runs that haven't started, or are to be cancelled."""
    launcher = context.instance.run_launcher
    ended = launcher.sweep() if isinstance(launcher, AstraRunLauncher) else []
    return dg.SkipReason(f"ended {', '.join(ended)}" if ended else "no run died before it started")
