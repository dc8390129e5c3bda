"""How far a survey is: due, done and failed spectra per pipeline and version, and where results come from.

Only pipelines that are computed here have due spectra. Other results come in files, whenever somebody ingests one.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import peewee

from astra_models.analysis.counting import (
    ByVersion,
    Counting,
    Figure,
    Rejections,
    Stored,
    existing_models,
    has_needed_tables,
)
from astra_models.analysis.due import DueCounts, needs_of
from astra_models.analysis.recipe import is_set_up
from astra_models.base import BaseModel
from astra_models.database.retry import one_line
from astra_models.errors import AstraError
from astra_models.ingested import IngestedFile
from astra_models.outputs import Pipeline, all_models, pipelines
from astra_models.pipeline import LatestMixin, PipelineOutputMixin
from astra_models.products.query import snapshot
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.schema.tables import existing_tables, require_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.survey_count import Counted, keep_counts
from astra_models.version import installed_v_astra

logger = logging.getLogger(__name__)


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
    done : int or None
        How many results there are.
    failed : int or None
        How many spectra failed or gave no result.
    rejected : int or None
        How many results, or rows of files, couldn't be stored.
    last : datetime or None
        When a result was last written or changed.
    files : tuple of FileStatus
        The result files that were ingested, oldest first.
    counted : datetime or None
        When that was counted, if not now: the oldest of its numbers.
    uncounted : tuple of str
        Which of ``due``, ``done``, ``failed`` and ``rejected`` are None because nobody counted them yet.
    """

    pipeline: str
    table: str
    computed: bool
    version: str | None
    v_astra: int | None
    due: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    done: int | None = 0
    failed: int | None = 0
    rejected: int | None = 0
    last: datetime | None = None
    files: tuple[FileStatus, ...] = ()
    counted: datetime | None = None
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """What a database holds.

    Attributes
    ----------
    tables : dict of str to int or None
        Rows of the tables of sources and of spectra; None if they are many, and nobody counted them yet.
    pipelines : list of VersionStatus
        What is computed here first, then what comes in files; by name, newest version first.
    files : list of FileStatus
        Result files that are of no single pipeline: sources, spectra, tables with a mapping.
    counted : dict of str to datetime
        When the rows of a table were counted, by its name; of the others that is now.
    """

    tables: dict[str, int | None]
    pipelines: list[VersionStatus] = field(default_factory=list)
    files: list[FileStatus] = field(default_factory=list)
    counted: dict[str, datetime] = field(default_factory=dict)


def survey_status(computed: Iterable[Pipeline] | None = None, *, exact: bool = False) -> Status:
    """Count what is in the bound database.

    Tables of up to 200,000 rows are counted. Of larger ones it is said what was counted last: here with `exact`, or at
    the end of a long run.

    Parameters
    ----------
    computed : iterable of Pipeline, optional
        The pipelines that are computed here; by default all that can be used.
    exact : bool, optional
        Whether all tables are counted. What is found of large ones is kept, if the database can be written to.

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
    computed = list(pipelines() if computed is None else computed)
    with snapshot():
        there = existing_tables()
        results = result_models(there)
        counting = Counting([*results, *_read_models(computed, there)], exact=exact)
        status = _status(computed, there, results, counting)
    _keep(counting.new)
    return status


def _read_models(computed: Iterable[Pipeline], there: set[str]) -> list[type[BaseModel]]:
    """Give the models of what is read to count spectra, failures, and what is due."""
    models: list[type[BaseModel]] = [Source, Spectrum, RejectedResult, *SpectrumMixin.concrete_models()]
    for pipeline in computed:
        models += [*pipeline.output_models, *pipeline.spectrum_models, *(need.model for need in needs_of(pipeline))]
    return existing_models(models, there)


def _keep(counts: list[Counted]) -> None:
    try:
        keep_counts(counts)
    except (peewee.PeeweeException, AstraError) as error:
        logger.warning("the counts aren't kept for the next time: %s", one_line(error))


def result_models(there: Iterable[str]) -> list[type[PipelineOutputMixin]]:
    """Give the models of results whose tables exist. Those not kept by spectrum may lack the columns of the others."""
    found = [model for model in existing_models(all_models(), there) if issubclass(model, LatestMixin)]
    return cast("list[type[PipelineOutputMixin]]", found)


def major_minor(version: int | None) -> str | None:
    """Name a major.minor version: 9 is 0.9, 1002 is 1.2."""
    return None if version is None else f"{version // 1000}.{version % 1000}"


def _status(
    computed: list[Pipeline], there: set[str], results: list[type[PipelineOutputMixin]], counting: Counting
) -> Status:
    kinds = existing_models(SpectrumMixin.concrete_models(), there)
    rows = {model._meta.table_name: counting.rows(model) for model in (Source, Spectrum, *kinds)}
    rejected, files = counting.rejected(), ingested_files(there)
    makers = {model: pipeline for pipeline in computed for model in pipeline.output_models}
    ready = {pipeline.name for pipeline in computed if is_set_up(pipeline)}
    pipelines: list[VersionStatus] = []
    for model in results:
        maker, of_model = makers.get(model), files.pop(model.__name__, {})
        is_ready = maker is not None and maker.name in ready
        due = _count_due(maker, model, there, counting) if maker is not None and is_ready else None
        pipelines += _versions(model, maker, counting.results(model), due, rejected, of_model, is_ready=is_ready)
    pipelines.sort(key=lambda status: (not status.computed, status.pipeline))
    others = [file for some in files.values() for many in some.values() for file in many]
    return _with_rows(rows, Status({}, pipelines, others))


def _with_rows(rows: dict[str, Figure[int]], status: Status) -> Status:
    tables = {name: figure.value for name, figure in rows.items()}
    counted = {name: figure.counted for name, figure in rows.items() if figure.counted is not None}
    return replace(status, tables=tables, counted=counted)


def _versions(
    model: type[PipelineOutputMixin],
    maker: Pipeline | None,
    results: Figure[ByVersion[Stored]],
    due: Figure[DueCounts] | None,
    rejected: Figure[Rejections],
    files: ByVersion[list[FileStatus]],
    *,
    is_ready: bool,
) -> Iterator[VersionStatus]:
    """Give a model's results and failures by version, newest first; those of no known version come last."""
    stored, installed = dict(results.value or {}), installed_v_astra()
    if maker is not None and (results.value is None or is_ready):
        stored.setdefault(installed // 1000, (installed, 0, None))
    elif results.value is None:
        stored[None] = (None, 0, None)
    listed = (rejected.value or {}).get(model.__name__, {})
    for version in sorted({*stored, *listed, *files}, key=lambda version: (version is None, -(version or 0))):
        v_astra, done, last = stored.get(version, (None, 0, None))
        status = VersionStatus(
            pipeline=maker.name if maker else model._meta.table_name,
            table=model._meta.table_name,
            computed=maker is not None,
            version=major_minor(version),
            v_astra=v_astra,
            last=last,
            files=tuple(files.get(version, ())),
        )
        figures = [results, rejected]
        if due is not None and version == installed // 1000:
            status, figures = _with_due(status, due), [*figures, due]
        if results.value is None:
            status = replace(status, uncounted=(*status.uncounted, "done"), done=None)
        else:
            status = replace(status, done=done)
        counted = min((figure.counted for figure in figures if figure.counted is not None), default=None)
        yield replace(_with_failures(status, rejected, listed.get(version, Counter())), counted=counted)


def _with_due(status: VersionStatus, due: Figure[DueCounts]) -> VersionStatus:
    if due.value is None:
        return replace(status, uncounted=("due",))
    reasons = {reason.value: count for reason, count in due.value.reasons.most_common()}
    return replace(status, due=due.value.due, reasons=reasons, waiting=due.value.waiting)


def _with_failures(status: VersionStatus, rejected: Figure[Rejections], counts: Counter[str]) -> VersionStatus:
    if rejected.value is None:
        return replace(status, failed=None, rejected=None, uncounted=(*status.uncounted, "failed", "rejected"))
    failed = sum(counts[reason] for reason in FAILURES)
    return replace(status, failed=failed, rejected=counts.total() - failed)


def _count_due(
    maker: Pipeline, model: type[PipelineOutputMixin], there: set[str], counting: Counting
) -> Figure[DueCounts] | None:
    """Count what is due, if anything can be: it can for the first of a pipeline's models."""
    if model is not maker.output_models[0] or not has_needed_tables(maker, there):
        return None
    return counting.due(maker, there)


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
