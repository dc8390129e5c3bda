"""A code location with a sensor that fails as long as a file is there, and the one that tells of it, more often."""

import os
from pathlib import Path

import dagster as dg

from astra_orchestration.automation.tick_alerts import look_at_ticks


@dg.job
def nothing() -> None:
    """Do nothing."""


def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    if Path(os.environ["TROUBLE"]).exists():
        raise ValueError(f"connection to server failed: password={os.environ['ASTRA_TEST_PASSWORD']}")
    return dg.SkipReason("all is well")


def fails(context: dg.ScheduleEvaluationContext) -> dict[str, object]:
    raise ValueError("there is no calendar")


ON = dg.DefaultSensorStatus.RUNNING
defs = dg.Definitions(
    jobs=[nothing],
    sensors=[
        dg.sensor(name="troubled", job=nothing, minimum_interval_seconds=2, default_status=ON)(look),
        dg.sensor(name="tick_alert_sensor", minimum_interval_seconds=2, default_status=ON)(look_at_ticks),
    ],
    schedules=[dg.ScheduleDefinition(name="monthly", job=nothing, cron_schedule="0 0 1 * *", run_config_fn=fails)],
)
