"""Everything that Dagster is to know of, put together."""

import dagster as dg

from astra_orchestration.assets.declared import declared_assets
from astra_orchestration.assets.pipelines import all_pipeline_assets
from astra_orchestration.assets.products import product_assets
from astra_orchestration.assets.result_files import result_file
from astra_orchestration.assets.spectra import catalogue, sample_survey
from astra_orchestration.automation.file_sensor import result_file_sensor
from astra_orchestration.automation.product_sensor import product_sensor
from astra_orchestration.automation.run_sweep import run_sweep_sensor
from astra_orchestration.automation.schedules import nightly_job, nightly_schedule
from astra_orchestration.automation.version_sensor import astra_version_sensor
from astra_orchestration.resources import resources_for

made = [sample_survey, catalogue, result_file, *all_pipeline_assets()]

declared = declared_assets(made)

defs = dg.Definitions(
    assets=[*made, *declared, *product_assets([*made, *declared])],
    resources=resources_for(),
    jobs=[nightly_job],
    schedules=[nightly_schedule],
    sensors=[astra_version_sensor, product_sensor, result_file_sensor, run_sweep_sensor],
    # A run is one process: whatever kills it kills its steps, which would go on writing otherwise.
    executor=dg.in_process_executor,
)
