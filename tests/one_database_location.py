"""A code location of slow pipelines, whose schedule ticks each minute."""

from collections.abc import Iterable

import dagster as dg

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.snow_white import SnowWhite
from astra_orchestration.assets.pipelines import pipeline_asset
from astra_orchestration.automation.run_sweep import run_sweep_sensor
from astra_orchestration.automation.version_sensor import version_sensor
from astra_orchestration.resources import resources_for
from tests import fragile


@task
def each_minute(spectra: Iterable[BossVisitSpectrum]) -> Iterable[SnowWhite]:
    """Give one temperature for all."""
    for spectrum in spectra:
        yield SnowWhite.from_spectrum(spectrum, teff=12_000)


naps = pipeline_asset(fragile.naps)
scheduled = pipeline_asset(each_minute)
left_out = [pipeline_asset(fragile.tells, name=f"left_out_for_{n}") for n in ("a_night", "two_nights")]

defs = dg.Definitions(
    assets=[dg.AssetSpec("boss_visit_spectrum"), naps, scheduled, *left_out],
    jobs=[dg.define_asset_job("nap", selection=[naps])],
    schedules=[
        dg.ScheduleDefinition(
            name="minutely",
            target=[scheduled],
            cron_schedule="* * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
    sensors=[version_sensor([naps]), run_sweep_sensor],
    resources=resources_for(),
    executor=dg.in_process_executor,
)
