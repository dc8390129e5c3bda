"""What runs every night: new spectra first, then every pipeline on what is due."""

import dagster as dg

__all__ = ["nightly_job", "nightly_schedule"]

nightly_job = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.groups("catalogue", "pipelines").materializable(),
    description="Ingest new spectra, then analyse whatever is due.",
)

nightly_schedule = dg.ScheduleDefinition(
    name="nightly_schedule",
    job=nightly_job,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    description="Every night at 04:00 UTC. Off until an operator switches it on: it takes hours of all that is due.",
)
