"""Everything about one star: its spectra, the results of all versions, and which spectra are due or failed, and why.

The number of queries depends on the number of tables, not of rows.
"""

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from astra_models.analysis.counting import ByVersion, due_options_now, existing_models, has_needed_tables
from astra_models.analysis.due import DueReason, Standing, needs_of, standing_of_spectra
from astra_models.base import BaseModel
from astra_models.database.sql import is_any_of, rows_of
from astra_models.errors import AstraError, UnknownSourceError
from astra_models.fields import BitField
from astra_models.notebook.main_columns import HEADLINES, IDENTIFIERS, ON_THE_SKY, measured_columns
from astra_models.notebook.rows import flags_set
from astra_models.outputs import Pipeline, pipelines
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import ADOPTION, PipelineRun
from astra_models.products.query import snapshot
from astra_models.rejected import FAILURES, NOT_INGESTED, RejectedResult
from astra_models.schema.tables import existing_tables, require_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.status.star import Analysis, Listed, Result, SpectrumOfStar, Star
from astra_models.status.survey import FileStatus, ingested_files, major_minor, result_models
from astra_models.version import installed_v_astra, version_integer_to_string

__all__ = ["HEADLINES", "explain_star", "find_star"]


def find_star(
    sdss_id: int | None = None,
    *,
    apogee_id: str | None = None,
    gaia_id: int | None = None,
    spectrum_pk: int | None = None,
) -> Source:
    """Find a source by one of its identifiers.

    Parameters
    ----------
    sdss_id : int, optional
        SDSS-V identifier.
    apogee_id : str, optional
        SDSS-IV APOGEE identifier, such as ``"2M00000002+7417074"``.
    gaia_id : int, optional
        Gaia source identifier, of DR3 or of DR2.
    spectrum_pk : int, optional
        Key of one of its spectra.

    Returns
    -------
    Source
        The source.

    Raises
    ------
    TypeError
        If none, or more than one identifier is given.
    UnknownSourceError
        If there is no such source.
    """
    given = {"sdss_id": sdss_id, "apogee_id": apogee_id, "gaia_id": gaia_id, "spectrum_pk": spectrum_pk}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise TypeError(f"find_star() takes one identifier, {len(named)} were given: {', '.join(named) or 'none'}")
    ((name, value),) = named.items()
    require_tables(Source, Spectrum)
    found = next(_candidates(name, value), None)
    if found is None:
        raise UnknownSourceError(
            f"there is no star of {name} {value} in the database; `astra status` shows what there is, and "
            "`astra ingest` brings in more"
        )
    return found


def explain_star(source: Source, computed: Iterable[Pipeline] | None = None) -> Star:
    """Collect everything that the database has about a source.

    Parameters
    ----------
    source : Source
        The source.
    computed : iterable of Pipeline, optional
        The pipelines that are computed here; by default all that can be used. Spectra can be due for these only, once
        their tables are made.

    Returns
    -------
    Star
        What there is.
    """
    require_tables(Source, Spectrum)
    there = existing_tables()
    computed = list(pipelines() if computed is None else computed)
    with snapshot():
        rows = [row for kind in _kinds(there) for row in _rows_of(kind, source)]
        keys = [row.spectrum_pk for row in rows if row.spectrum_pk is not None]
        results = [row for model in result_models(there) for row in _results_of(model, source, keys)]
        listed = _listed(source, keys)
        standings = {pipeline.name: _standings(pipeline, source, there) for pipeline in computed}
        files = ingested_files(there)
        adoptions = _adoptions(there)
    return Star(
        source_pk=source.pk,
        identifiers=_set(source, IDENTIFIERS),
        position=_set(source, ON_THE_SKY),
        spectra=[_spectrum(row) for row in rows],
        results=_results(results, computed, files, adoptions),
        analyses=[
            _analysis(pipeline, row, results, listed, standing)
            for pipeline in computed
            for row in rows
            if (standing := standings[pipeline.name].get(row.spectrum_pk)) is not None
        ],
        rejected=[_rejected(row) for row in listed],
    )


# ---- finding it


def _candidates(name: str, value: int | str) -> Iterator[Source]:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return  # no column holds it
    if name == "spectrum_pk":
        for kind in _kinds(existing_tables()):
            rows = rows_of(kind.select(kind.source_pk).where(kind.spectrum_pk == value))
            yield from (Source.get_by_id(source_pk) for (source_pk,) in rows if source_pk is not None)
        return
    columns = {
        "sdss_id": (Source.sdss_id,),
        "apogee_id": (Source.sdss4_apogee_id,),
        "gaia_id": (Source.gaia_dr3_source_id, Source.gaia_dr2_source_id),
    }
    for column in columns[name]:
        yield from Source.select().where(column == value)


def _kinds(there: set[str]) -> list[type[SpectrumMixin]]:
    return existing_models(SpectrumMixin.concrete_models(), there)


# ---- reading the rows


def _rows_of(kind: type[SpectrumMixin], source: Source) -> list[SpectrumMixin]:
    return list(kind.select().where(kind.source_pk == source.pk).order_by(kind.spectrum_pk))


def _results_of(model: type[PipelineOutputMixin], source: Source, spectrum_pks: list[int]) -> list[PipelineOutputMixin]:
    fields = model._meta.fields
    condition = model.source_pk == source.pk
    if "spectrum_pk" in fields:
        condition |= is_any_of(model.spectrum_pk, spectrum_pks)
    names = ("task_pk", "source_pk", "spectrum_pk", "v_astra", "modified", "pipeline_run_pk", *_measured(model))
    flags = [name for name, column in fields.items() if isinstance(column, BitField)]
    columns = [fields[name] for name in dict.fromkeys((*names, *model.upsert_key, *flags)) if name in fields]
    rows = list(model.select(*columns).where(condition))
    return sorted(rows, key=lambda row: (getattr(row, "spectrum_pk", None) or 0, -row.v_astra, row.task_pk))


def _measured(model: type[BaseModel]) -> list[str]:
    return measured_columns(model, {*model.record_columns, *model.upsert_key})


def _listed(source: Source, spectrum_pks: list[int]) -> list[RejectedResult]:
    condition = (RejectedResult.source_pk == source.pk) | is_any_of(RejectedResult.spectrum_pk, spectrum_pks)
    for pattern in _in_payload(source):  # rows of files have no keys of ours
        condition |= (RejectedResult.reason == NOT_INGESTED) & (RejectedResult.payload**pattern)
    return list(RejectedResult.select().where(condition).order_by(RejectedResult.pk))


def _in_payload(source: Source) -> Iterator[str]:
    """Give patterns that match a file's row, as JSON, if it names this source."""
    if source.sdss_id is not None:
        yield from (f'%"sdss_id": {source.sdss_id}{end}%' for end in ",}")
    if source.sdss4_apogee_id is not None:
        yield f'%"{source.sdss4_apogee_id}"%'
    for gaia_id in {source.gaia_dr3_source_id, source.gaia_dr2_source_id} - {None}:
        yield from (f"%: {gaia_id}{end}%" for end in ",}")


def _standings(pipeline: Pipeline, source: Source, there: set[str]) -> dict[int, Standing]:
    """Ask how the star's spectra stand with a pipeline, as far as its tables are made."""
    standings: dict[int, Standing] = {}
    if not has_needed_tables(pipeline, there):
        return standings
    for model in existing_models(pipeline.output_models[:1], there):
        for kind in existing_models(pipeline.spectrum_models, there):
            options = due_options_now(pipeline, kind)
            standings |= standing_of_spectra(model, kind, kind.source_pk == source.pk, **options)
    return standings


# ---- putting it into words


def _set(row: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and _is_finite(value)}


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _spectrum(row: SpectrumMixin) -> SpectrumOfStar:
    file, problem = None, None
    try:
        file = row.absolute_path
    except AstraError as error:
        problem = str(error)
    return SpectrumOfStar(
        spectrum_pk=row.spectrum_pk,
        kind=row._meta.table_name,
        key=_set(row, row.natural_key),
        telescope=getattr(row, "telescope", None),
        snr=row.__data__.get("snr"),  # visits in an apStar have none
        modified=row.modified,
        file=file,
        is_there=file is not None and Path(file).is_file(),
        problem=problem,
    )


def _results(
    rows: list[PipelineOutputMixin],
    computed: list[Pipeline],
    files: Mapping[str | None, ByVersion[list[FileStatus]]],
    adoptions: Mapping[int, str],
) -> list[Result]:
    names: dict[type[BaseModel], str] = {model: task.name for task in computed for model in task.output_models}
    newest: dict[tuple[object, ...], int] = {}
    for row in rows:
        newest[_same(row)] = max(row.v_astra, newest.get(_same(row), 0))
    return [
        Result(
            pipeline=names.get(type(row)) or row._meta.table_name,
            table=row._meta.table_name,
            task_pk=row.task_pk,
            spectrum_pk=getattr(row, "spectrum_pk", None),
            version=version_integer_to_string(row.v_astra),
            is_newest=row.v_astra == newest[_same(row)],
            values=_set(row, _measured(type(row))),
            units={name: unit for name in _set(row, _measured(type(row))) if (unit := row._meta.fields[name].unit)},
            flags=list(flags_set(row)),
            modified=row.modified,
            files=_file_names(files.get(type(row).__name__, {}), row.v_astra // 1000),
            adopted=adoptions.get(row.__data__.get("pipeline_run_pk") or 0),
        )
        for row in rows
    ]


def _adoptions(there: set[str]) -> dict[int, str]:
    """Say from where results were copied, by the run that they name."""
    if PipelineRun._meta.table_name not in there:
        return {}
    runs = PipelineRun.select(PipelineRun.pk, PipelineRun.parameters, PipelineRun.version, PipelineRun.started)
    return {
        run.pk: f"{json.loads(run.parameters)['schema']} by astra {run.version}, {run.started:%Y-%m-%d %H:%M} UTC"
        for run in runs.where(PipelineRun.pipeline == ADOPTION)
    }


def _same(row: PipelineOutputMixin) -> tuple[object, ...]:
    """Give the key of a result without its version."""
    return type(row), *(getattr(row, name) for name in row.upsert_key if name != "v_astra_major_minor")


def _file_names(files: ByVersion[list[FileStatus]], version: int) -> list[str]:
    return list(dict.fromkeys(file.name for file in (*files.get(version, ()), *files.get(None, ()))))


def _analysis(
    pipeline: Pipeline,
    row: SpectrumMixin,
    results: list[PipelineOutputMixin],
    listed: list[RejectedResult],
    standing: Standing,
) -> Analysis:
    model, key = pipeline.output_models[0], row.spectrum_pk
    own = [result for result in results if type(result) is model and result.spectrum_pk == key]
    failures = _failures(model, key, listed)
    if standing.failed:
        last = next(failure for failure in reversed(failures) if failure.reason in FAILURES)
        return Analysis(pipeline.name, key, "failed", f"{last.reason}: {last.message}")
    result = next((result for result in own if result.v_astra // 1000 == installed_v_astra() // 1000), None)
    if standing.reason is None and result is not None:
        return Analysis(pipeline.name, key, "done", f"result of {version_integer_to_string(result.v_astra)}")
    if standing.waiting or not standing.taken:
        return _set_aside(pipeline, results, key, standing)
    why = _why_due(standing.reason, row, result, own)
    if failures:
        why += "; the last time: " + failures[-1].message
    return Analysis(pipeline.name, key, "due", why)


def _failures(model: type[PipelineOutputMixin], key: int, listed: list[RejectedResult]) -> list[RejectedResult]:
    wanted = model.__name__, key, installed_v_astra()
    return [failure for failure in listed if (failure.model, failure.spectrum_pk, failure.v_astra) == wanted]


def _set_aside(
    pipeline: Pipeline, results: list[PipelineOutputMixin], spectrum_pk: int, standing: Standing
) -> Analysis:
    if standing.waiting:
        return Analysis(pipeline.name, spectrum_pk, "waiting", _awaited(pipeline, results, spectrum_pk))
    return Analysis(pipeline.name, spectrum_pk, "left out", _condition(pipeline))


def _why_due(
    reason: DueReason | None, row: SpectrumMixin, result: PipelineOutputMixin | None, results: list[PipelineOutputMixin]
) -> str:
    installed = installed_v_astra()
    if result is None:
        older = [version_integer_to_string(result.v_astra) for result in results if result.v_astra < installed]
        return f"no result of {major_minor(installed // 1000)}" + (f", only of {', '.join(older)}" if older else "")
    if reason == DueReason.changed and result.spectrum_revision is None:
        return f"the spectrum changed on {row.modified:%Y-%m-%d %H:%M:%S}, after its result"
    if reason is not None and reason in _WHY:
        return _WHY[reason]
    version, wanted = map(version_integer_to_string, (result.v_astra, installed))
    return f"its result is of {version}, and {wanted} is installed"


_WHY = {
    DueReason.changed: "the spectrum's row changed since its result was made from it",
    DueReason.pixels: "the spectrum's file has other pixels than its result was made from",
    DueReason.upstream: "another pipeline's result that its result was made from has other values now",
    DueReason.parameters: "its result was made with other parameters",
    DueReason.pipeline_version: "its result was made by another version of the pipeline",
}


def _awaited(pipeline: Pipeline, results: list[PipelineOutputMixin], spectrum_pk: int) -> str:
    version = installed_v_astra() // 1000
    there = {type(row) for row in results if row.spectrum_pk == spectrum_pk and row.v_astra // 1000 == version}
    lacking = [need for need in needs_of(pipeline) if need.model not in there]
    missing = [need.model.__name__ for need in [one for one in lacking if not one.optional] or lacking]
    return f"it needs a result of {' and '.join(missing)} of {major_minor(version)} first"


def _condition(pipeline: Pipeline) -> str:
    """Say which spectra a pipeline takes: by the docstring of the function that says so, if it has one."""
    where = getattr(pipeline, "where", None)
    said = (getattr(where, "__doc__", None) or "").strip().split("\n")[0] if inspect.isfunction(where) else ""
    return f"the pipeline doesn't take it: {said}" if said else "the pipeline doesn't take it, by its own condition"


def _rejected(row: RejectedResult) -> Listed:
    version = None if row.v_astra is None else version_integer_to_string(row.v_astra)
    return Listed(row.model, row.spectrum_pk, version, row.reason, row.message, row.created, row.run_id)
