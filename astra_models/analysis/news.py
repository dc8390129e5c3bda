"""What came since a pipeline's sensor looked last, without reading tables of millions of rows.

A mark is kept for each table that results are made from, when nothing there was due. A later look reads from indexes
which rows are new since, or modified; only those are asked about. A new version, other parameters, or a run with other
parameters than the deployment's may make anything due: then all is asked. What a look can't see in an index (rows
changed by SQL alone, results that were deleted) the nightly run finds, which asks in full.
"""

import hashlib
import operator
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import peewee

from astra_models.analysis.counting import keep_due
from astra_models.analysis.due import DueCounts, count_due_by_reason, due_options, needs_of, takes_values
from astra_models.analysis.recipe import recipe_of
from astra_models.base import BaseModel, database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_any_of, rows_of
from astra_models.due_mark import DueMark
from astra_models.fields import utc_now
from astra_models.ingested import IngestedFile
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.pipeline_run import PipelineRun
from astra_models.spectrum import SpectrumMixin
from astra_models.version import installed_v_astra

__all__ = ["Found", "State", "ask", "keeps_marks", "rows_of_older_patch", "set_mark", "state_of"]

SLACK = timedelta(minutes=5)
"""How long after a row was modified, by its writer's clock, others may see it."""
MOST_KEYS = 50_000
"""If more rows are new than this, all are asked about."""
SMALL = 100_000
"""Rows of a table that is simply read."""

Query: TypeAlias = "peewee.ModelSelect[Any]"


class Seen(NamedTuple):
    """What there is of one table that results are made from.

    Parameters
    ----------
    table : str
        Its name.
    last_key : int
        The largest key; 0 if it is empty.
    last_change : str
        When a row changed last, as far as an index or a run says it.
    """

    table: str
    last_key: int
    last_change: str


@dataclass(frozen=True)
class State:
    """What a pipeline's results would be made from now.

    Attributes
    ----------
    pipeline : str
        Its name.
    v_astra : int
        The installed version.
    recipe : str or None
        Checksum of the pipeline's version and of the deployment's parameters: of those that results depend on, or that
        its condition on spectra depends on.
    other_run : int
        The last run with other parameters, in ``pipeline_run``, whose results aren't to be left alone; 0 if none.
    tables : tuple of Seen
        What is in its tables: spectra, and results of other pipelines.
    looked : datetime
        When this was found out.
    """

    pipeline: str
    v_astra: int
    recipe: str | None
    other_run: int
    tables: tuple[Seen, ...]
    looked: datetime

    @property
    def cause(self) -> str:
        """The same 16 hexadecimal digits as long as nothing came that could make anything due."""
        parts = (self.v_astra, self.recipe, self.other_run, self.tables)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class Found(NamedTuple):
    """What a look found.

    Parameters
    ----------
    counts : DueCounts
        How many of the spectra that were asked about are due, and why.
    in_full : bool
        Whether all were asked about.
    is_release : bool
        Whether what is new is so because of the installed version, and not because spectra came.
    """

    counts: DueCounts
    in_full: bool
    is_release: bool = False


def state_of(pipeline: Pipeline) -> State:
    """Say what a pipeline's results would be made from now; indexes alone are read.

    Raises
    ------
    ParameterError
        If a file that a parameter names isn't there.
    """
    looked = utc_now()
    recipe = due_options(pipeline, pipeline.spectrum_models[0]).get("recipe")
    needs = [need.model for need in needs_of(pipeline)]
    seen = [Seen(_table(model), _last_key(model.pk), _last_modified(model)) for model in pipeline.spectrum_models]
    seen += [Seen(_table(model), _last_key(model.task_pk), _last_change(model, pipeline)) for model in needs]
    digest = None if recipe is None else recipe.digest
    other_run = _other_run(pipeline, digest)
    return State(pipeline.name, installed_v_astra(), _with_condition(pipeline, digest), other_run, tuple(seen), looked)


def ask(pipeline: Pipeline, state: State) -> Found | None:
    """Ask what is due of what came since the mark; None if nothing came.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    state : State
        What its results would be made from now.
    """
    marks = _marks(pipeline)
    if marks is None or any(_differs(mark, state) for mark in marks.values()):
        before = None if marks is None else min(mark.v_astra or 0 for mark in marks.values())
        return Found(_count(pipeline), True, before is None or before // 1000 != state.v_astra // 1000)
    counts, asked = DueCounts(Counter(), 0), False
    for model in pipeline.spectrum_models:
        keys = _keys_since(pipeline, model, marks)
        if keys is None:
            return Found(_count(pipeline), True)
        if keys:
            asked = True
            counts += _count_of(pipeline, model, keys)
    return Found(counts, False) if asked else None


def _with_condition(pipeline: Pipeline, digest: str | None) -> str | None:
    """Give a recipe's checksum, with the parameters that say which spectra are taken, where any do."""
    where, recipe = getattr(pipeline, "where", None), recipe_of(pipeline)
    if digest is None or recipe is None or not callable(where) or not takes_values(where):
        return digest
    return hashlib.sha256(f"{digest} {recipe.as_json()}".encode("ascii")).hexdigest()


def keeps_marks() -> bool:
    """Tell whether the bound database keeps marks: a schema that other software made doesn't."""
    return run_transaction(database, DueMark.table_exists)


def set_mark(state: State) -> None:
    """Keep what was seen: nothing of it is due, or it was given up."""
    if not keeps_marks():
        return
    rows = [
        {
            "pipeline": state.pipeline,
            "table_name": seen.table,
            "last_key": seen.last_key,
            "looked": state.looked,
            "v_astra": state.v_astra,
            "recipe": state.recipe,
            "pipeline_run_pk": state.other_run,
        }
        for seen in state.tables
    ]
    kept = [DueMark.last_key, DueMark.looked, DueMark.v_astra, DueMark.recipe, DueMark.pipeline_run_pk]
    query = DueMark.insert_many(rows).on_conflict(conflict_target=[DueMark.pipeline, DueMark.table_name], preserve=kept)
    run_transaction(database, query.execute)


# ---- what there is


def _table(model: type[BaseModel]) -> str:
    return str(model._meta.table_name)


def _last_key(key: peewee.Field) -> int:
    """Give the largest value of a primary key; 0 if there is none."""
    query = key.model.select(peewee.fn.MAX(key))
    return run_transaction(database, query.scalar) or 0


def _last_modified(model: type[SpectrumMixin] | type[PipelineOutputMixin]) -> str:
    query = model.select(peewee.fn.MAX(model.modified))
    return str(run_transaction(database, query.scalar))


def _other_run(pipeline: Pipeline, digest: str | None) -> int:
    if digest is None or not PipelineRun.table_exists():
        return 0
    others = (PipelineRun.pipeline == pipeline.name) & (PipelineRun.recipe != digest)
    if "keep" in PipelineRun._meta.sorted_field_names:
        others &= PipelineRun.keep.is_null()
    query = PipelineRun.select(peewee.fn.MAX(PipelineRun.pk)).where(others)
    return run_transaction(database, query.scalar) or 0


def _last_change(model: type[PipelineOutputMixin], pipeline: Pipeline) -> str:
    """Say when results may have changed last: by their own times if they are few, else by runs and files."""
    if _is_small(model):
        return _last_modified(model)
    return str([run_transaction(database, query.scalar) for query in _writes_of_others(pipeline)])


def _is_small(model: type[PipelineOutputMixin]) -> bool:
    return _last_key(model.task_pk) <= SMALL


def _writes_of_others(pipeline: Pipeline) -> Iterator[Query]:
    """Give the queries of when another pipeline's run ended last, and when a file of results was ingested last."""
    if PipelineRun.table_exists():
        when = peewee.fn.MAX(peewee.fn.COALESCE(PipelineRun.ended, PipelineRun.started))
        yield PipelineRun.select(when).where(PipelineRun.pipeline != pipeline.name)
    if IngestedFile.table_exists():
        yield IngestedFile.select(peewee.fn.MAX(IngestedFile.created))


# ---- what came


def _marks(pipeline: Pipeline) -> dict[str, DueMark] | None:
    """Give the marks of a pipeline's tables; None if one has none."""
    if not keeps_marks():
        return None
    query = DueMark.select().where(DueMark.pipeline == pipeline.name)
    marks = {mark.table_name: mark for mark in run_transaction(database, lambda: list(query))}
    models: list[type[BaseModel]] = [*pipeline.spectrum_models, *(need.model for need in needs_of(pipeline))]
    return marks if all(_table(model) in marks for model in models) else None


def _differs(mark: DueMark, state: State) -> bool:
    then = (mark.v_astra, mark.recipe, mark.pipeline_run_pk or 0)
    return then != (state.v_astra, state.recipe, state.other_run)


def _keys_since(pipeline: Pipeline, model: type[SpectrumMixin], marks: dict[str, DueMark]) -> list[int] | None:
    """Give the spectra that something came of since the marks; None if these are too many to be listed."""
    keys: set[int] = set()
    for query in _news(pipeline, model, marks):
        limited = query.limit(MOST_KEYS + 1)
        keys |= {key for (key,) in run_transaction(database, lambda limited=limited: rows_of(limited))}
        if len(keys) > MOST_KEYS:
            return None
    return sorted(keys)


def _news(pipeline: Pipeline, model: type[SpectrumMixin], marks: dict[str, DueMark]) -> Iterator[Query]:
    """Give a query of keys for each index: each reads from one, whatever the planner thinks of conditions together."""
    mark = marks[_table(model)]
    keys = model.select(model.spectrum_pk).where(model.spectrum_pk.is_null(False))
    yield keys.where(model.pk > (mark.last_key or 0))
    yield keys.where(model.modified >= mark.looked - SLACK)
    for need in needs_of(pipeline):
        mark, result = marks[_table(need.model)], need.model
        keys = result.select(result.spectrum_pk)
        yield keys.where(result.task_pk > (mark.last_key or 0))
        if _may_have_changed(result, pipeline, mark):
            yield keys.where(result.modified >= mark.looked - SLACK)


def _may_have_changed(model: type[PipelineOutputMixin], pipeline: Pipeline, mark: DueMark) -> bool:
    """Tell whether stored results may have other values since a mark: looking itself reads the whole table."""
    if _is_small(model):
        return True
    since = mark.looked - SLACK
    if PipelineRun.table_exists():
        ended = peewee.fn.COALESCE(PipelineRun.ended, PipelineRun.started) >= since
        if PipelineRun.select().where(PipelineRun.pipeline != pipeline.name, ended).exists():
            return True
    return IngestedFile.table_exists() and IngestedFile.select().where(IngestedFile.created >= since).exists()


def _count(pipeline: Pipeline) -> DueCounts:
    output = pipeline.output_models[0]
    started = time.monotonic()
    counts = (count_due_by_reason(output, model, **due_options(pipeline, model)) for model in pipeline.spectrum_models)
    counted = reduce(operator.add, counts)
    keep_due(pipeline, counted, time.monotonic() - started)
    return counted


def _count_of(pipeline: Pipeline, model: type[SpectrumMixin], keys: Iterable[int]) -> DueCounts:
    options = due_options(pipeline, model)
    among = is_any_of(model.spectrum_pk, keys)
    where = options.get("where")
    options["where"] = among if where is None else where & among
    return count_due_by_reason(pipeline.output_models[0], model, **options)


def rows_of_older_patch(model: type[PipelineOutputMixin], v_astra: int) -> int:
    """Count the results of older patch versions, which a pipeline with ``rerun_on_patch=False`` leaves alone."""
    older = (model.v_astra >= v_astra // 1000 * 1000) & (model.v_astra < v_astra)
    return run_transaction(database, model.select().where(older).count)
