"""How far a survey is: due, done and failed spectra per pipeline and version, and where results come from.

Only pipelines that are computed here have due spectra. Other results come in files, whenever somebody ingests one.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, cast

import peewee

from astra_models.analysis.due import DueCounts, DueOptions, count_due_by_reason, due_options, needs_of, where_of
from astra_models.analysis.recipe import is_set_up
from astra_models.base import BaseModel
from astra_models.database.sql import rows_of
from astra_models.errors import NotSetUpError, ParameterError
from astra_models.ingested import IngestedFile
from astra_models.outputs import Pipeline, all_models, pipelines
from astra_models.pipeline import LatestMixin, PipelineOutputMixin
from astra_models.products.query import snapshot
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.schema.tables import existing_tables, require_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import installed_v_astra

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")
ByVersion = dict[int | None, Value]
"""By major.minor version, as ``v_astra_major_minor`` has it; None stands for one that isn't known."""


@dataclass(frozen=True)
class FileStatus:
    """A result file that was ingested.

    Attributes
    ----------
    name, sha256, kind : str
        Its name, its checksum, and what it was recognised as.
    rows, rejected : int
        How many rows it has, and how many of them could not be stored.
    ingested : datetime
        When.
    """

    name: str
    sha256: str
    kind: str
    rows: int
    rejected: int
    ingested: datetime


@dataclass(frozen=True)
class VersionStatus:
    """A pipeline at one major.minor version.

    Attributes
    ----------
    pipeline : str
        Its name; that of the table, if it isn't computed here.
    table : str
        The table of the results.
    computed : bool
        Whether it is computed here; else its results come in files.
    version : str or None
        Major and minor version, such as ``"0.9"``; None for rows of files that couldn't be stored, whose version isn't
        known.
    v_astra : int or None
        The newest version among the results; the installed one if there is none yet.
    due : int or None
        How many spectra are due, at the installed version; None for other versions, and for what isn't computed here.
    reasons : dict of str to int
        How many are due for each reason.
    waiting : int
        How many would be due, but need a result of another pipeline first.
    done : int
        How many results there are.
    failed : int
        How many spectra failed or gave no result.
    rejected : int
        How many results, or rows of files, couldn't be stored.
    last : datetime or None
        When a result was last written or changed.
    files : tuple of FileStatus
        The result files that were ingested, oldest first.
    """

    pipeline: str
    table: str
    computed: bool
    version: str | None
    v_astra: int | None
    due: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    done: int = 0
    failed: int = 0
    rejected: int = 0
    last: datetime | None = None
    files: tuple[FileStatus, ...] = ()


@dataclass(frozen=True)
class Status:
    """What a database holds.

    Attributes
    ----------
    tables : dict of str to int
        Rows of the tables of sources and of spectra.
    pipelines : list of VersionStatus
        What is computed here first, then what comes in files; by name, newest version first.
    files : list of FileStatus
        Result files that are of no single pipeline: sources, spectra, tables with a mapping.
    """

    tables: dict[str, int]
    pipelines: list[VersionStatus] = field(default_factory=list)
    files: list[FileStatus] = field(default_factory=list)


def survey_status(computed: Iterable[Pipeline] | None = None) -> Status:
    """Count what is in the bound database.

    Parameters
    ----------
    computed : iterable of Pipeline, optional
        The pipelines that are computed here; by default all that can be used.

    Returns
    -------
    Status
        Without the pipelines whose table isn't made yet, and those that come in files and have nothing to show.

    Raises
    ------
    MissingTableError
        If there are no tables of sources and spectra.
    """
    require_tables(Source, Spectrum)
    with snapshot():
        return _status(list(pipelines() if computed is None else computed), existing_tables())


def result_models(there: Iterable[str]) -> list[type[PipelineOutputMixin]]:
    """Give the models of results whose tables exist. Those not kept by spectrum may lack the columns of the others."""
    found = [model for model in existing_models(all_models(), there) if issubclass(model, LatestMixin)]
    return cast("list[type[PipelineOutputMixin]]", found)


def existing_models(models: Iterable[type[Model]], there: Iterable[str]) -> list[type[Model]]:
    """Give the models whose tables exist, sorted by table."""
    tables = set(there)
    found = [model for model in models if model._meta.table_name in tables]
    return sorted(found, key=lambda model: model._meta.table_name)


def has_needed_tables(pipeline: Pipeline, there: Iterable[str]) -> bool:
    """Tell whether the tables exist that the results are in which a pipeline takes: without them nothing is due."""
    needed = {need.model for need in needs_of(pipeline)}
    return len(existing_models(needed, there)) == len(needed)


def major_minor(version: int | None) -> str | None:
    """Name a major.minor version: 9 is 0.9, 1002 is 1.2."""
    return None if version is None else f"{version // 1000}.{version % 1000}"


def _status(computed: list[Pipeline], there: set[str]) -> Status:
    counted: list[type[BaseModel]] = [Source, Spectrum, *existing_models(SpectrumMixin.concrete_models(), there)]
    tables = {model._meta.table_name: _count_rows(model) for model in counted}
    makers = {model: pipeline for pipeline in computed for model in pipeline.output_models}
    listed, files = _count_rejected(), ingested_files(there)
    pipelines: list[VersionStatus] = []
    for model in result_models(there):
        name = model.__name__
        pipelines += _versions(model, makers.get(model), listed.get(name, {}), files.pop(name, {}), there)
    pipelines.sort(key=lambda status: (not status.computed, status.pipeline))
    return Status(tables, pipelines, [file for some in files.values() for many in some.values() for file in many])


def _count_rows(model: type[BaseModel]) -> int:
    [(count,)] = rows_of(model.select(peewee.fn.COUNT(peewee.SQL("*"))))
    return count


def _versions(
    model: type[PipelineOutputMixin],
    maker: Pipeline | None,
    listed: ByVersion[Counter[str]],
    files: ByVersion[list[FileStatus]],
    there: set[str],
) -> Iterator[VersionStatus]:
    """Count a model's results and failures by version, newest first; those of no known version come last."""
    stored = _count_results(model)
    if maker is not None and is_set_up(maker):
        stored.setdefault(installed_v_astra() // 1000, (installed_v_astra(), 0, None))
    for version in sorted({*stored, *listed, *files}, key=lambda version: (version is None, -(version or 0))):
        v_astra, done, last = stored.get(version, (None, 0, None))
        counts = listed.get(version, Counter())
        failed = sum(counts[reason] for reason in FAILURES)
        due = _count_due(maker, model, version, there)
        yield VersionStatus(
            pipeline=maker.name if maker else model._meta.table_name,
            table=model._meta.table_name,
            computed=maker is not None,
            version=major_minor(version),
            v_astra=v_astra,
            due=None if due is None else due.due,
            reasons={} if due is None else {reason.value: count for reason, count in due.reasons.most_common()},
            waiting=0 if due is None else due.waiting,
            done=done,
            failed=failed,
            rejected=counts.total() - failed,
            last=last,
            files=tuple(files.get(version, ())),
        )


def due_options_now(pipeline: Pipeline, kind: type[SpectrumMixin]) -> DueOptions:
    """Give what a pipeline says of what is due for it, as it would run now, with its parameters as they are."""
    try:
        return due_options(pipeline, kind)
    except ParameterError as error:  # it can't run: that is told when it does
        if not isinstance(error, NotSetUpError):
            logger.warning("%s: whether parameters have changed can't be told: %s", pipeline.name, error)
        declared = getattr(pipeline, "parameters", {})
        values = {name: parameter.default for name, parameter in declared.items()}
        return DueOptions(needs=needs_of(pipeline), where=where_of(pipeline, kind, values))


def _count_due(
    maker: Pipeline | None, model: type[PipelineOutputMixin], version: int | None, there: set[str]
) -> DueCounts | None:
    if maker is None or model is not maker.output_models[0] or version != installed_v_astra() // 1000:
        return None
    if not has_needed_tables(maker, there) or not is_set_up(maker):
        return None
    counts = DueCounts(Counter(), 0)
    for kind in existing_models(maker.spectrum_models, there):
        counts += count_due_by_reason(model, kind, **due_options_now(maker, kind))
    return counts


def _count_results(model: type[PipelineOutputMixin]) -> ByVersion[tuple[int, int, datetime | None]]:
    """Give by major.minor version the newest ``v_astra``, how many results there are, and when the last was written."""
    counts = peewee.fn.COUNT(peewee.SQL("*")), peewee.fn.MAX(model.modified)  # one pass over the table for both
    query = model.select(model.v_astra, *counts).group_by(model.v_astra).order_by(model.v_astra)
    found: ByVersion[tuple[int, int, datetime | None]] = {}
    for v_astra, count, last in rows_of(query):
        _, before, last_before = found.get(v_astra // 1000, (0, 0, None))
        found[v_astra // 1000] = v_astra, before + count, max(filter(None, (last, last_before)), default=None)
    return found


def _count_rejected() -> dict[str, ByVersion[Counter[str]]]:
    """Count the rows of ``rejected_result`` by model, major.minor version and reason."""
    columns = RejectedResult.model, RejectedResult.v_astra, RejectedResult.reason
    found: dict[str, ByVersion[Counter[str]]] = {}
    query = RejectedResult.select(*columns, peewee.fn.COUNT(peewee.SQL("*"))).group_by(*columns)
    for model, v_astra, reason, count in rows_of(query):
        version = None if v_astra is None else v_astra // 1000
        found.setdefault(model, {}).setdefault(version, Counter())[reason] += count
    return found


def ingested_files(there: set[str]) -> dict[str | None, ByVersion[list[FileStatus]]]:
    """Give the files that were ingested, by the name of their model and major.minor version."""
    found: dict[str | None, ByVersion[list[FileStatus]]] = {}
    if IngestedFile._meta.table_name not in there:  # made by an older release
        return found
    for file in IngestedFile.select().order_by(IngestedFile.pk):
        version = None if file.v_astra is None else file.v_astra // 1000
        status = FileStatus(file.name, file.sha256, file.kind, file.rows, file.rejected, file.created)
        found.setdefault(file.model, {}).setdefault(version, []).append(status)
    return found
