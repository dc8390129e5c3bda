"""A sensor that has products written when what they are made of is: Dagster's own for it is off in a new deployment."""

import dagster as dg

from astra_orchestration.assets.products import GROUP

__all__ = ["product_sensor"]

product_sensor = dg.AutomationConditionSensorDefinition(
    "product_sensor",
    target=dg.AssetSelection.groups(GROUP),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Writes a product again when its pipeline has run, and no blocking check of that failed.",
)
