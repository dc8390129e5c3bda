"""The labels of the sample survey's APOGEE stars, as rows of the table ``aspcap``: a first run learns from them."""

import os

import dagster as dg
from pydantic import Field

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar
from astra_models.ingested import IngestedFile
from astra_models.rejected import RejectedResult
from astra_orchestration.assets.result_files import events_of_tables, in_words, report_metadata
from astra_orchestration.assets.spectra import SAMPLE_FOLDER, made_up, sample_survey
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.identity import metadata_of_database
from astra_orchestration.resources.writers import WRITERS

__all__ = ["made_up_labels", "sample_labels"]


class SampleLabelsConfig(dg.Config):
    """Where the sample survey is."""

    folder: str = Field(default=SAMPLE_FOLDER, description="The folder of the sample survey")


@dg.asset(
    deps=[sample_survey, dg.AssetKey(ApogeeCoaddedSpectrumInApStar._meta.table_name)],
    group_name="sample",
    kinds={"python", "file"},
    owners=["team:astra"],
    description="The true labels of two of every three APOGEE stars of the sample survey, ingested into the table "
    "aspcap as a file of results.",
    pool=WRITERS,
)
def sample_labels(
    context: dg.AssetExecutionContext, config: SampleLabelsConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Ingest the file of labels, unless it was ingested before; a survey without APOGEE stars has none."""
    from astra_models.ingest import ingest_result_file
    from astra_orchestration.sample.apogee.survey import APOGEE_LABELS

    database.connect(IngestedFile, RejectedResult)
    path = os.path.abspath(os.path.join(config.folder, APOGEE_LABELS))
    if not os.path.exists(path):
        context.log.info(f"there is no file {path}: the sample survey has no APOGEE stars")
        return dg.MaterializeResult(metadata=metadata_of_database(context.instance, context.asset_key, {"inserted": 0}))
    report = ingest_result_file(path, run_id=context.run.run_id)
    context.log.info("it was ingested before: nothing is written" if report.known else in_words(report))
    for event in events_of_tables(report, os.path.basename(path), context.instance):
        context.log_event(event)
    return dg.MaterializeResult(
        metadata=metadata_of_database(context.instance, context.asset_key, report_metadata(report))
    )


def made_up_labels() -> list[dg.AssetsDefinition]:
    """Give the labels where the sample survey is made, and nowhere else."""
    return [sample_labels] if made_up() else []
