"""Everything that Dagster is to know of, put together."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

HERE = Path(__file__).parent


@contextmanager
def without_collection() -> Iterator[None]:
    """Have Python not look for cycles in what is made here, now or later: it stays.

    Looking takes a quarter of the time of loading, and as much again when the process ends.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


with without_collection():
    from astra_orchestration.assets.declared import declared_assets
    from astra_orchestration.assets.pipelines import all_pipeline_assets, is_pipeline_asset
    from astra_orchestration.assets.products import product_assets
    from astra_orchestration.assets.result_files import result_file
    from astra_orchestration.assets.sample_labels import made_up_labels
    from astra_orchestration.assets.spectra import catalogue, made_up
    from astra_orchestration.assets.training import snow_white_classifier, the_cannon_model
    from astra_orchestration.automation.failure_alerts import failure_alert_sensor
    from astra_orchestration.automation.file_sensor import result_file_sensor
    from astra_orchestration.automation.nightly_summary import nightly_summary_sensor
    from astra_orchestration.automation.product_sensor import product_sensor
    from astra_orchestration.automation.pruning import prune_runs_job, prune_runs_schedule
    from astra_orchestration.automation.retries import retry_job
    from astra_orchestration.automation.run_sweep import run_sweep_sensor
    from astra_orchestration.automation.schedules import nightly_job, nightly_schedule
    from astra_orchestration.automation.tick_alerts import tick_alert_sensor
    from astra_orchestration.automation.version_sensor import version_sensor
    from astra_orchestration.resources import shared_resources

    # Dagster looks for a project's settings as soon as it is asked, and an installed package has none.
    in_yaml = [dg.load_from_defs_folder(path_within_project=HERE)] if (HERE / "defs").is_dir() else []
    declared_in_yaml = [
        asset for one in in_yaml for asset in one.assets or () if isinstance(asset, dg.AssetsDefinition)
    ]
    replaced = {key for asset in declared_in_yaml for key in asset.keys}

    made = [
        *(*made_up(), catalogue, *made_up_labels(), result_file, snow_white_classifier, the_cannon_model),
        *(asset for asset in all_pipeline_assets() if asset.key not in replaced),
    ]

    of_pipelines = [asset for asset in (*made, *declared_in_yaml) if is_pipeline_asset(asset)]
    declared = declared_assets([*made, *declared_in_yaml])

    defs = dg.Definitions.merge(
        dg.Definitions(
            assets=[*made, *declared, *product_assets([*made, *declared_in_yaml, *declared])],
            resources=shared_resources(),
            jobs=[nightly_job, retry_job(of_pipelines), prune_runs_job],
            schedules=[nightly_schedule, prune_runs_schedule],
            sensors=[
                *(version_sensor(of_pipelines), product_sensor, result_file_sensor),
                *(run_sweep_sensor, failure_alert_sensor, tick_alert_sensor, nightly_summary_sensor),
            ],
            # A run is one process: whatever kills it kills its steps, which would go on writing otherwise.
            executor=dg.in_process_executor,
        ),
        *in_yaml,
    )
