"""How many results a pipeline has, by version, and what is due: counted, or as it was counted last.

Tables of some hundred thousand rows are counted whenever somebody asks. Larger ones are counted when that is asked
for, at the end of a run that took much longer than counting does, and when the sensor looks at all there is; what was
found then is kept (`astra_models.survey_count`).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import peewee

from astra_models.analysis.due import DueCounts, DueOptions, count_due_by_reason, due_options, needs_of, where_of
from astra_models.analysis.rule import DueReason
from astra_models.base import BaseModel, database
from astra_models.database.sizes import rows_at_most
from astra_models.database.sql import rows_of
from astra_models.errors import AstraError, NotSetUpError, ParameterError
from astra_models.fields import utc_now
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import RejectedResult
from astra_models.schema.tables import existing_tables
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.survey_count import DUE, REJECTED, RESULTS, ROWS, Counted, SurveyCount, keep_counts, kept_counts
from astra_models.version import installed_v_astra

__all__ = [
    "LARGE",
    "ByVersion",
    "Counting",
    "Figure",
    "Rejections",
    "Stored",
    "count_after_run",
    "due_options_now",
    "existing_models",
    "has_needed_tables",
    "keep_due",
]

LARGE = 200_000
"""Rows of a table that isn't counted without being asked to."""
MUCH_LONGER = 10
"""How many times as long as counting a run has to take, for its end to be the time to count."""
USUAL_SECONDS = 30.0
"""How long counting takes, where nobody knows: a pipeline of some ten million spectra."""

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")
ByVersion = dict[int | None, Value]
"""By major.minor version, as ``v_astra_major_minor`` has it; None stands for one that isn't known."""
Stored = tuple[int | None, int, datetime | None]
"""The newest ``v_astra`` of a major.minor version, how many results there are, and when the last was written."""
Rejections = dict[str, ByVersion[Counter[str]]]
"""How many rows were rejected, by model, major.minor version and reason."""


@dataclass(frozen=True)
class Figure(Generic[Value]):
    """What was counted.

    Parameters
    ----------
    value : object
        What was found; None if nobody counted yet.
    counted : datetime or None
        When, if not now.
    """

    value: Value | None
    counted: datetime | None = None


class Counting:
    """Counts tables; of those that are large, gives what was counted last.

    Parameters
    ----------
    models : iterable of type
        The models of all tables that may be counted, which have to exist.
    exact : bool, optional
        Whether large ones are counted, too.

    Attributes
    ----------
    new : list of Counted
        What was counted of large tables, to be kept.
    """

    def __init__(self, models: Iterable[type[BaseModel]], *, exact: bool = False):
        self._sizes = rows_at_most(database.obj, models, LARGE)
        self._exact = exact
        self._now = utc_now()
        self.new: list[Counted] = []
        self.kept = kept_counts() if None in self._sizes.values() else {}

    def is_large(self, *models: type[BaseModel]) -> bool:
        """Tell whether a table of these has too many rows to be counted without being asked to."""
        return any(self._sizes[model] is None for model in models)

    def rows(self, model: type[BaseModel]) -> Figure[int]:
        """Count a table."""
        return self._figure(_table(model), ROWS, [model], lambda: self._rows_of(model), int, int)

    def results(self, model: type[PipelineOutputMixin]) -> Figure[ByVersion[Stored]]:
        """Count results by major.minor version."""
        return self._figure(
            _table(model), RESULTS, [model], lambda: self._results_of(model), _results_as_json, _results_from_json
        )

    def due(self, pipeline: Pipeline, there: Iterable[str]) -> Figure[DueCounts]:
        """Count what is due for a pipeline, at the installed version."""
        kinds = [kind for kind in existing_models(pipeline.spectrum_models, there) if self._sizes[kind] != 0]
        if not kinds:
            return Figure(DueCounts(Counter(), 0))
        read = [pipeline.output_models[0], *kinds, *(need.model for need in needs_of(pipeline))]
        table = _table(pipeline.output_models[0])
        return self._figure(table, DUE, read, lambda: self._due_of(pipeline, kinds), _due_as_json, _due_from_json)

    def rejected(self) -> Figure[Rejections]:
        """Count the rows of ``rejected_result``."""
        model = RejectedResult
        return self._figure(_table(model), REJECTED, [model], _count_rejected, _rejected_as_json, _rejected_from_json)

    def _figure(
        self,
        table: str,
        what: str,
        read: Iterable[type[BaseModel]],
        count: Callable[[], Value],
        as_json: Callable[[Value], Any],
        from_json: Callable[[Any], Value],
    ) -> Figure[Value]:
        if not self.is_large(*read):
            return Figure(count())
        if self._exact:
            started = time.monotonic()
            value = count()
            taken = time.monotonic() - started
            self.new.append(Counted(table, what, as_json(value), installed_v_astra(), taken, self._now))
            return Figure(value)
        kept = self.kept.get((table, what))
        if kept is None or (what == DUE and kept.v_astra != installed_v_astra()):  # other spectra are due now
            return Figure(None)
        try:
            return Figure(from_json(kept.found), kept.counted)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # another release may have kept it otherwise
            logger.warning("what was counted of %s at %s can't be read: %s", table, kept.counted, error)
            return Figure(None)

    def _rows_of(self, model: type[BaseModel]) -> int:
        if self._sizes[model] == 0:
            return 0
        [(count,)] = rows_of(model.select(peewee.fn.COUNT(peewee.SQL("*"))))
        return count

    def _results_of(self, model: type[PipelineOutputMixin]) -> ByVersion[Stored]:
        if self._sizes[model] == 0:
            return {}
        counts = peewee.fn.COUNT(peewee.SQL("*")), peewee.fn.MAX(model.modified)  # one pass over the table for both
        query = model.select(model.v_astra, *counts).group_by(model.v_astra).order_by(model.v_astra)
        found: ByVersion[Stored] = {}
        for v_astra, count, last in rows_of(query):
            _, before, last_before = found.get(v_astra // 1000, (0, 0, None))
            found[v_astra // 1000] = v_astra, before + count, max(filter(None, (last, last_before)), default=None)
        return found

    def _due_of(self, pipeline: Pipeline, kinds: Iterable[type[SpectrumMixin]]) -> DueCounts:
        counts = DueCounts(Counter(), 0)
        for kind in kinds:
            counts += count_due_by_reason(pipeline.output_models[0], kind, **due_options_now(pipeline, kind))
        return counts


# ---- without being asked


def count_after_run(pipeline: Pipeline, seconds: float) -> None:
    """Count a pipeline's large tables at the end of a run, if that takes little of the time that the run took.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    seconds : float
        How long the run took.
    """
    try:
        there = existing_tables()
        output, kinds = pipeline.output_models[0], existing_models(pipeline.spectrum_models, there)
        needed = [need.model for need in needs_of(pipeline)]
        counting = Counting([output, *kinds, *needed, Source, Spectrum], exact=True)
        own = {_table(model) for model in (output, *kinds)}
        before = [one.seconds for one in counting.kept.values() if one.table in own]
        if not counting.is_large(output, *kinds) or seconds < MUCH_LONGER * (sum(before) or USUAL_SECONDS):
            return
        counting.results(output)
        counting.due(pipeline, there)
        for model in (Source, Spectrum, *kinds):
            counting.rows(model)
        keep_counts(counting.new)
    except (peewee.PeeweeException, AstraError) as error:  # what the run wrote is written
        logger.warning("%s: what is due now isn't counted: %s", pipeline.name, error)


def keep_due(pipeline: Pipeline, counts: DueCounts, seconds: float) -> None:
    """Keep what is due for a pipeline, if it is one of large tables; somebody has just counted it.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    counts : DueCounts
        What was found.
    seconds : float
        How long that took.
    """
    there = existing_tables()
    output = pipeline.output_models[0]
    read = existing_models([output, *pipeline.spectrum_models], there)
    if SurveyCount._meta.table_name in there and Counting(read).is_large(*read):
        content = _due_as_json(counts)
        keep_counts([Counted(_table(output), DUE, content, installed_v_astra(), seconds, utc_now())])


# ---- pipelines and their tables


def existing_models(models: Iterable[type[Model]], there: Iterable[str]) -> list[type[Model]]:
    """Give the models whose tables exist, sorted by table."""
    tables = set(there)
    found = [model for model in models if model._meta.table_name in tables]
    return sorted(found, key=lambda model: model._meta.table_name)


def has_needed_tables(pipeline: Pipeline, there: Iterable[str]) -> bool:
    """Tell whether the tables exist that the results are in which a pipeline takes: without them nothing is due."""
    needed = {need.model for need in needs_of(pipeline)}
    return len(existing_models(needed, there)) == len(needed)


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


def _table(model: type[BaseModel]) -> str:
    return str(model._meta.table_name)


def _count_rejected() -> Rejections:
    columns = RejectedResult.model, RejectedResult.v_astra, RejectedResult.reason
    query = RejectedResult.select(*columns, peewee.fn.COUNT(peewee.SQL("*"))).group_by(*columns)
    counted = [(model, None if v_astra is None else v_astra // 1000, *rest) for model, v_astra, *rest in rows_of(query)]
    return _rejected_from_json(counted)


# ---- as JSON


def _results_as_json(stored: ByVersion[Stored]) -> list[Any]:
    return [[version, *some, last and last.isoformat()] for version, (*some, last) in stored.items()]


def _results_from_json(content: Any) -> ByVersion[Stored]:
    return {
        version: (v_astra, done, None if last is None else datetime.fromisoformat(last))
        for version, v_astra, done, last in content
    }


def _due_as_json(counts: DueCounts) -> dict[str, Any]:
    return {"reasons": {reason.value: count for reason, count in counts.reasons.items()}, "waiting": counts.waiting}


def _due_from_json(content: Any) -> DueCounts:
    reasons = Counter({DueReason(reason): count for reason, count in content["reasons"].items()})
    return DueCounts(reasons, content["waiting"])


def _rejected_as_json(found: Rejections) -> list[Any]:
    return [
        [model, version, reason, count]
        for model, by_version in found.items()
        for version, counts in by_version.items()
        for reason, count in counts.items()
    ]


def _rejected_from_json(content: Iterable[Any]) -> Rejections:
    found: Rejections = {}
    for model, version, reason, count in content:
        found.setdefault(model, {}).setdefault(version, Counter())[reason] += count
    return found
