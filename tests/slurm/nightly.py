"""A code location with a pipeline that a schedule runs each minute, on workers of Slurm."""

import os

import dagster as dg

from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.run_sweep import run_sweep_sensor
from astra_orchestration.resources import resources_for
from tests import fragile

engine = {"slurm": {"shared_temp_directory": os.environ["ASTRA_TEST_SHARED"], "jobs": 1, "cores": 2, "memory": "1GB"}}
nights = dg.define_asset_job("nights", selection=["fragile"], executor_def=dg.in_process_executor)
spectra = dg.AssetSpec("boss_visit_spectrum")

defs = dg.Definitions(
    assets=[spectra, pipeline_asset(fragile.fragile)],
    resources=resources_for(engine=engine),
    schedules=[
        dg.ScheduleDefinition(
            name="each_minute",
            job=nights,
            cron_schedule="* * * * *",
            tags={"astra/launcher": "slurm"},
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
    sensors=[run_sweep_sensor],
)
