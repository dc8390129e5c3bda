"""The tables of sources and spectra, filled from files; and the sample survey, for those who have no files yet."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from astra_models.analysis.stream import Pace
from astra_models.base import BaseModel
from astra_models.configuration import find_files
from astra_models.ingest.spectra.files import MODELS
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_orchestration.assets.columns import TABLE_NAME, table_metadata
from astra_orchestration.checks.pictures import sky_metadata
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.identity import metadata_of_database
from astra_orchestration.resources.io_manager import WITHOUT_EVENT, qualified_name
from astra_orchestration.resources.writers import WRITERS

if TYPE_CHECKING:
    from astra_models.ingest import IngestReport

ROWS = "dagster/row_count"
CATALOGUE = (Source, *MODELS)
SPECTRA_VARIABLE = "ASTRA_SPECTRA"
SAMPLE_FOLDER = "var/sample"
REFUSED_SHOWN = 20
RELEASE = "Data release of files that don't say it, such as dr14"


class SampleSurveyConfig(dg.Config):
    """What the sample survey is to be."""

    folder: str = Field(default=SAMPLE_FOLDER, description="Where the files are written")
    stars: int = Field(default=200, ge=1, description="Number of stars")
    apogee_stars: int | None = Field(
        default=None,
        ge=0,
        description="Number of APOGEE stars besides; if not given, three for ten stars, but 60 at most, and none for "
        "fewer than 20 stars",
    )
    seed: int = Field(default=1, description="Seed of the random numbers: the same seed, the same survey")


class CatalogueConfig(dg.Config):
    """Which files are read."""

    paths: list[str] = Field(
        default=[],
        description=f"FITS files, as patterns such as data/*.fits. If empty, those that the environment variable "
        f"{SPECTRA_VARIABLE} names, or the sample survey's in {SAMPLE_FOLDER}",
    )
    again: bool = Field(default=False, description="Read files that are known, too")
    verify: bool = Field(
        default=False, description="Read every byte of files that are known, to see whether it has changed"
    )
    release: str | None = Field(default=None, description=RELEASE)


@dg.asset(
    group_name="sample",
    kinds={"python", "file"},
    owners=["team:astra"],
    description="FITS files of the survey's formats, made from simple models with known truth.",
)
def sample_survey(context: dg.AssetExecutionContext, config: SampleSurveyConfig) -> dg.MaterializeResult:
    """Make the sample survey, unless the same one is there."""
    from astra_orchestration.sample import make_sample, usual_apogee_stars

    n_apogee = usual_apogee_stars(config.stars) if config.apogee_stars is None else config.apogee_stars
    n_stars = config.stars + n_apogee
    pace = Pace()
    summary = make_sample(
        config.folder,
        stars=config.stars,
        seed=config.seed,
        progress=lambda done: context.log.info(f"{done} of {n_stars} stars") if pace.is_due() else None,
        apogee_stars=n_apogee,
    )
    context.log.info(f"{len(summary.files)} files {'are' if summary.was_there else 'written'} in {summary.folder}")
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(summary.folder),
            "truth": dg.MetadataValue.path(summary.truth),
            "stars": summary.stars,
            "white dwarfs": summary.white_dwarfs,
            "binaries": summary.binaries,
            "visits": summary.visits,
            "co-adds": summary.co_adds,
            "APOGEE stars": summary.apogee_stars,
            "with labels": summary.labeled,
            "broken on purpose": len(summary.broken),
            "megabytes": round(summary.size / 1e6, 1),
            "seed": summary.seed,
            "seconds": round(summary.seconds, 3),
        }
    )


def made_up() -> list[dg.AssetsDefinition]:
    """Give the sample survey where no files of one's own are named: it has no place in the graph of a real survey."""
    return [] if os.environ.get(SPECTRA_VARIABLE) else [sample_survey]


@dg.multi_asset(
    name="catalogue",
    specs=[
        dg.AssetSpec(
            key=model._meta.table_name,
            deps=made_up(),
            group_name="catalogue",
            kinds={"python", "table"},
            owners=["team:astra"],
            description=(model.__doc__ or "").strip(),
            metadata=table_metadata(model),
        )
        for model in CATALOGUE
    ],
    pool=WRITERS,
)
def catalogue(
    context: dg.AssetExecutionContext, config: CatalogueConfig, database: DatabaseResource
) -> Iterator[dg.MaterializeResult | dg.AssetObservation | dg.Output[None]]:
    """Read files into the tables of sources and spectra; what is there already stays as it is."""
    from astra_models.ingest import ingest_spectra

    database.connect(Spectrum, *CATALOGUE)
    paths = find_files(config.paths or _default_patterns())
    context.log.info(f"reading {len(paths)} files")
    pace = Pace()
    report = ingest_spectra(
        paths,
        progress=lambda done: context.log.info(f"{done} of {len(paths)} files") if pace.is_due() else None,
        again=config.again,
        verify=config.verify,
        release=config.release,
    )
    for path, change in report.changed[:REFUSED_SHOWN]:
        context.log.warning(f"changed {path}: {change}")
    for path, reason in report.refused[:REFUSED_SHOWN]:
        context.log.warning(f"refused {path}: {reason}")
    for model in CATALOGUE:
        key = dg.AssetKey(model._meta.table_name)
        metadata = _metadata(model, report)
        if model is Source and report.tables[model._meta.table_name].inserted:
            metadata |= sky_metadata(context.log)
        told = metadata_of_database(context.instance, key, metadata)
        if metadata[ROWS]:
            yield dg.MaterializeResult(asset_key=key, metadata=told)
        else:
            yield from _empty(key, told)


def _empty(key: dg.AssetKey, metadata: dict[str, Any]) -> Iterator[dg.AssetObservation | dg.Output[None]]:
    """Leave an observation of a table without rows, which is no green box in the graph.

    Its output is given all the same: what isn't would have Dagster skip all pipelines that take this kind of spectra,
    those that take other kinds, too.
    """
    yield dg.AssetObservation(asset_key=key, description="the table is empty", metadata=metadata)
    yield dg.Output(None, key.to_python_identifier(), metadata={WITHOUT_EVENT: True})


def _default_patterns() -> list[str]:
    given = os.environ.get(SPECTRA_VARIABLE, "").split()
    return given or [f"{SAMPLE_FOLDER}/**/*.fits"]


def _metadata(model: type[BaseModel], report: "IngestReport") -> dict[str, Any]:
    counts = report.tables[model._meta.table_name]
    metadata: dict[str, Any] = {
        "inserted": counts.inserted,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        TABLE_NAME: qualified_name(model),
        ROWS: model.select().count(),
    }
    return metadata | _of_files(report) if model is Source else metadata


def _of_files(report: "IngestReport") -> dict[str, Any]:
    """Give what is said of the files, once and not for every table."""
    metadata: dict[str, Any] = {
        "rejected": len(report.refused),
        "files": report.files,
        "known already": report.known,
        "refused before": report.refused_before,
        "seconds": round(report.seconds, 3),
    }
    if report.refused:
        metadata["refused files"] = dg.MetadataValue.md(_refused(report.refused))
    return metadata


def _refused(refused: Sequence[tuple[str, str]]) -> str:
    lines = [f"- `{os.path.basename(path)}`: {' '.join(reason.split())}" for path, reason in refused[:REFUSED_SHOWN]]
    if len(refused) > REFUSED_SHOWN:
        lines.append(f"- and {len(refused) - REFUSED_SHOWN} more")
    return "\n".join(lines)
