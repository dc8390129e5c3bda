"""A code location with one pipeline, and the sensor that asks for it."""

import dagster as dg

from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.resources import resources_for
from tests import fragile

asset = pipeline_asset(fragile.fragile)

defs = dg.Definitions(
    assets=[dg.AssetSpec("boss_visit_spectrum"), asset],
    resources=resources_for(),
    sensors=[version_sensor([asset])],
    executor=dg.in_process_executor,
)
