"""Files of results, or of spectra, as an asset: a partition for each file, by its name.

A file of the same name in another folder is the same partition, as it is the same file to the database: a later version
of it. Which of them a run reads is in its configuration; the sensor puts it there.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from astra_models.analysis.stream import Pace
from astra_models.errors import UnrecognizedFileError
from astra_models.ingested import IngestedFile, ingested_file
from astra_models.outputs import MADE_FROM
from astra_models.rejected import RejectedResult
from astra_models.source import Source
from astra_orchestration.assets.columns import keys_by_table
from astra_orchestration.assets.pipelines import WRITERS, all_pipeline_assets
from astra_orchestration.assets.spectra import RELEASE, catalogue
from astra_orchestration.resources.database import DatabaseResource
from astra_orchestration.resources.folders import FOLDERS_VARIABLE, ResultFoldersResource, mapping_beside
from astra_orchestration.resources.identity import metadata_of_database
from astra_orchestration.resources.io_manager import one_line

if TYPE_CHECKING:
    from astra_models.ingest import ResultFileReport

COUNTS = ("inserted", "updated", "unchanged")
LINES_SHOWN = 20
VERDICT_TAG = "astra/verdict"
"""Of a run that found out what is wrong with its file: another one would find the same."""

result_files = dg.DynamicPartitionsDefinition(name="result_files")
"""The files that were asked for or dropped into a folder, by name."""


class ResultFileConfig(dg.Config):
    """Which file is read, and how. Left as it is, the file is looked for by its name in the watched folders."""

    path: str | None = Field(
        default=None, description=f"The file; if not given, it is looked for in the folders of {FOLDERS_VARIABLE}"
    )
    mapping: str | None = Field(
        default=None,
        description="A YAML file that says what the columns are, for a table that isn't the survey's; if not given, "
        "the one that has the file's name with .yaml after it, if there is one",
    )
    again: bool = Field(default=False, description="Go through a file that was ingested before")
    damaged: bool = Field(
        default=False, description="Read the whole rows of a truncated file, and one with a wrong checksum"
    )
    release: str | None = Field(default=None, description=RELEASE)


@dg.asset(
    partitions_def=result_files,
    group_name="result_files",
    kinds={"python", "file"},
    owners=["team:astra"],
    description="Files of results of other installations, each ingested once: sources, spectra and results, linked. "
    "Files of one star's spectra, too.",
    pool=WRITERS,
)
def result_file(
    context: dg.AssetExecutionContext,
    config: ResultFileConfig,
    database: DatabaseResource,
    result_folders: ResultFoldersResource,
) -> dg.MaterializeResult:
    """Ingest a file. What the database refuses of it is listed; a file that is refused as a whole fails the run."""
    from astra_models.ingest.tables.opening import MappingError

    database.connect(IngestedFile, RejectedResult)
    path = config.path or result_folders.find(context.partition_key)
    context.log.info(f"reading {path}")
    try:
        report = _ingest(context, path, config)
    except (UnrecognizedFileError, MappingError) as error:
        context.instance.add_run_tags(context.run.run_id, {VERDICT_TAG: "refused"})
        raise dg.Failure(str(error), {"path": dg.MetadataValue.path(path)}) from None
    context.log.info("it was ingested before: nothing is written" if report.known else in_words(report))
    for event in events_of_tables(report, context.partition_key, context.instance):
        context.log_event(event)
    return dg.MaterializeResult(
        metadata=metadata_of_database(context.instance, context.asset_key, report_metadata(report))
    )


def _ingest(context: dg.AssetExecutionContext, path: str, config: ResultFileConfig) -> "ResultFileReport":
    """Ingest a file as one of spectra, if that is what it is, or else as one of results."""
    from astra_models.errors import UnknownKindError, UnknownReleaseError
    from astra_models.ingest import ingest_result_file
    from astra_models.ingest.spectra.recognise import why_no_spectrum
    from astra_models.ingest.tables.opening import SpectrumFileError

    mapping = config.mapping or mapping_beside(path)
    no_spectrum = why_no_spectrum(path)
    if mapping is None and (no_spectrum is None or isinstance(no_spectrum, UnknownReleaseError)):
        return _ingest_spectra(path, config)
    pace = Pace()
    try:
        return ingest_result_file(
            path,
            mapping=mapping,
            run_id=context.run.run_id,
            again=config.again,
            damaged="read" if config.damaged else "refuse",
            progress=lambda done, total: context.log.info(f"{done} of {total} rows") if pace.is_due() else None,
        )
    except (UnknownKindError, SpectrumFileError) as error:
        raise UnrecognizedFileError(f"{error}; {no_spectrum}") from error


def _ingest_spectra(path: str, config: ResultFileConfig) -> "ResultFileReport":
    from astra_models.ingest import ResultFileReport, ingest_spectra

    found = ingest_spectra([path], again=config.again, release=config.release)
    for _, reason in found.refused:
        raise UnrecognizedFileError(f"{path}: {reason}")
    counted = {
        name: Counter({count: getattr(counts, count) for count in COUNTS}) for name, counts in found.tables.items()
    }
    tables = {name: counts for name, counts in counted.items() if counts.total()}
    n_rows = sum(counts.total() for name, counts in tables.items() if name != Source._meta.table_name)
    return ResultFileReport(path, "spectra", n_rows, "", tables=tables, known=bool(found.known), seconds=found.seconds)


def in_words(report: "ResultFileReport") -> str:
    """Say what became of a file's rows."""
    counts = report.counts()
    done = ", ".join(f"{counts[name]} {name}" for name in COUNTS)
    return f"{report.kind}, {report.rows} rows: {done}, {report.rejected} rejected in {report.seconds:.1f} s"


def events_of_tables(
    report: "ResultFileReport", name: str, instance: dg.DagsterInstance
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """Tell of the tables that the file has changed; where it isn't the only thing that fills one, as an observation."""
    models = {model._meta.table_name: model for model in MADE_FROM}
    filled = _filled_here()
    for table, counts in report.tables.items():
        if (counts["inserted"] or counts["updated"]) and (table in models or table in filled):
            kind = dg.AssetObservation if table in filled else dg.AssetMaterialization
            metadata = {"result file": name} | {count: counts[count] for count in COUNTS}
            if table in models:
                metadata["dagster/row_count"] = models[table].select().count()
            key = filled.get(table, dg.AssetKey(table))
            yield kind(asset_key=key, metadata=metadata_of_database(instance, key, metadata))


@cache
def _filled_here() -> dict[str, dg.AssetKey]:
    """Give the assets that fill tables, by the table's name."""
    return keys_by_table((catalogue, *all_pipeline_assets()))


def report_metadata(report: "ResultFileReport") -> dict[str, Any]:
    """Give what Dagster shows of an ingested file: counts, reasons of refusals, what is kept of it."""
    counts = report.counts()
    metadata: dict[str, Any] = {
        "path": dg.MetadataValue.path(report.path),
        "kind": report.kind,
        "ingested before": report.known,
        "replaces a file of this name": report.replaces,
        **{name: counts[name] for name in COUNTS},
        "rejected": report.rejected,
        "superseded": report.superseded,
        "seconds": round(report.seconds, 3),
        "rows per second": round(report.rows / max(report.seconds, 1e-9), 1),
        "dagster/partition_row_count": report.rows,
    }
    if report.tables:
        metadata["tables"] = dg.MetadataValue.md(_tables(report.tables))
    if report.reasons:
        metadata["reasons"] = dg.MetadataValue.md(_reasons(report.reasons))
    if report.unplaced:
        metadata["columns with nowhere to go"] = dg.MetadataValue.md(_unplaced(report.unplaced))
    if report.notes:
        metadata["notes"] = dg.MetadataValue.md(_lines([f"- {one_line(note)}" for note in report.notes]))
    return metadata | (_record_of(report) if report.sha256 else {"bytes": os.path.getsize(report.path)})


def _record_of(report: "ResultFileReport") -> dict[str, Any]:
    """Give what is kept of a file that was ingested."""
    from astra_models.version import version_integer_to_string

    record = ingested_file(report.sha256, report.mappings)
    metadata: dict[str, Any] = {"sha256": report.sha256}
    if record is None:  # somebody has deleted it meanwhile
        return metadata
    metadata["bytes"] = record.size
    metadata["first ingested"] = dg.MetadataValue.timestamp(record.created)
    if record.release is not None:
        metadata["release"] = record.release
    if record.v_astra is not None:
        metadata["version"] = version_integer_to_string(record.v_astra)
    return metadata


def _tables(tables: dict[str, Counter[str]]) -> str:
    lines = ["| table | inserted | updated | unchanged |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {' | '.join(str(counts[count]) for count in COUNTS)} |" for name, counts in tables.items()]
    return "\n".join(lines)


def _reasons(reasons: Counter[str]) -> str:
    lines = [f"| {count} | {one_line(reason)} |" for reason, count in reasons.most_common()]
    return "\n".join(["| rows | reason |", "| ---: | --- |", _lines(lines, "| | and {} more reasons |")])


def _unplaced(unplaced: Sequence[tuple[str, str, str]]) -> str:
    columns: dict[tuple[str, str], list[str]] = {}
    for part, column, why in unplaced:
        columns.setdefault((part, one_line(why)), []).append(f"`{column}`")
    lines = [f"| {part} | {why} | {', '.join(names)} |" for (part, why), names in columns.items()]
    return "\n".join(["| table | why | columns |", "| --- | --- | --- |", _lines(lines, "| | and {} more reasons | |")])


def _lines(lines: Sequence[str], more: str = "- and {} more") -> str:
    shown = list(lines[:LINES_SHOWN])
    if len(lines) > LINES_SHOWN:
        shown.append(more.format(len(lines) - LINES_SHOWN))
    return "\n".join(shown)
