"""Which spectra a pipeline still has to analyse, and why, by `DueRule`.

A spectrum that failed or gave no result isn't due again until what it was made from changes. Runs, counts,
`astra explain` and the version sensor ask here.

A run's work list is fixed when the run starts: it is kept in a temporary file, so that what the run writes doesn't
change it.
"""

import array
import inspect
import json
import logging
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, TypedDict, Unpack

import peewee

from astra_models.analysis.recipe import recipe_of
from astra_models.analysis.rule import DueReason, DueRule, Need, RecipeKey, why_version_is_due
from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import driver_errors, is_any_of, is_postgresql, rows_of
from astra_models.errors import UnknownSourceError
from astra_models.outputs import Pipeline
from astra_models.pipeline import PipelineOutputMixin
from astra_models.schema.tables import require_tables
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.version import as_v_astra

__all__ = [
    "DueOptions",
    "DueReason",
    "DueRule",
    "DueSpectra",
    "Need",
    "RecipeKey",
    "Rerun",
    "Standing",
    "StillDue",
    "count_due",
    "count_due_by_reason",
    "due_options",
    "needs_of",
    "newest_version",
    "select_due",
    "standing_of_spectra",
    "stored_versions",
    "takes_values",
    "where_of",
    "why_version_is_due",
]

KEYS_IN_MEMORY = 100_000
KEYS_PER_READ = 10_000
BYTES_PER_KEY = 8

IN_PLACE_OF_KEYS = -(2**62)

logger = logging.getLogger(__name__)


class Rerun(StrEnum):
    """Which spectra a run analyses: those that are due, only those that failed, or all of them again."""

    due = "due"
    failed = "failed"
    all = "all"


class DueOptions(TypedDict, total=False):
    """What narrows or widens a selection of due spectra; see `select_due`."""

    version: str | int | None
    sdss_ids: Iterable[int] | None
    where: peewee.ColumnBase | None
    limit: int | None
    rerun: Rerun | Literal["due", "failed", "all"]
    failed_for: str | None
    older_patch: bool
    needs: Sequence[Need]
    recipe: RecipeKey | None


Where = peewee.ColumnBase | Callable[..., peewee.ColumnBase | None] | None
"""Which spectra a pipeline takes: a condition, or a function that makes it for a kind of spectrum, and for the values
of the pipeline's parameters if it has a second argument."""


def needs_of(pipeline: Pipeline) -> tuple[Need, ...]:
    """Give the results of other pipelines that a pipeline takes; a pipeline that isn't a task takes none."""
    return getattr(pipeline, "needs", ())


def due_options(
    pipeline: Pipeline, spectrum_model: type[SpectrumMixin], parameters: Mapping[str, object] | None = None
) -> DueOptions:
    """Give what a pipeline itself says of what is due for it: what it needs, which spectra it takes, and its recipe.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    spectrum_model : type
        One of its kinds of spectra.
    parameters : mapping of str to object, optional
        Values of its parameters; the others have their defaults.

    Raises
    ------
    ParameterError
        If a parameter can't have its value, or a file that one names isn't there.
    """
    recipe = recipe_of(pipeline, parameters)
    return DueOptions(
        needs=needs_of(pipeline),
        where=where_of(pipeline, spectrum_model, {} if recipe is None else recipe.values),
        recipe=None if recipe is None else RecipeKey(recipe.pipeline, recipe.version, recipe.digest),
        older_patch=getattr(pipeline, "rerun_on_patch", True),
    )


def where_of(
    pipeline: Pipeline, spectrum_model: type[SpectrumMixin], values: Mapping[str, object]
) -> peewee.ColumnBase | None:
    """Give the condition of the spectra that a pipeline takes, None for all.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    spectrum_model : type
        One of its kinds of spectra.
    values : mapping of str to object
        The values of its parameters.
    """
    where: Where = getattr(pipeline, "where", None)
    if not callable(where):
        return where
    return where(spectrum_model, values) if takes_values(where) else where(spectrum_model)


def takes_values(where: Callable[..., object]) -> bool:
    """Tell whether a function has a second argument, for the values of parameters."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    declared = [one for one in inspect.signature(where).parameters.values() if one.kind in kinds]
    return len(declared) > 1 and declared[1].default is inspect.Parameter.empty


class DueSpectra(Iterator[int]):
    """Keys of spectra in ascending order; ``len()`` is the number of those still to come.

    Parameters
    ----------
    rows : iterable of tuple
        Keys as a cursor gives them.
    """

    def __init__(self, rows: Iterable[tuple[int]]):
        self._file = tempfile.SpooledTemporaryFile(KEYS_IN_MEMORY * BYTES_PER_KEY)  # noqa: SIM115  lives as long as this
        weakref.finalize(self, self._file.close)
        self._left = 0
        chunk = array.array("q")
        for (key,) in rows:
            chunk.append(key)
            self._left += 1
            if len(chunk) == KEYS_PER_READ:
                self._file.write(chunk.tobytes())
                del chunk[:]
        self._file.write(chunk.tobytes())
        self._file.seek(0)
        self._chunk: Iterator[int] = iter(())

    def __next__(self) -> int:
        key = next(self._chunk, None)
        if key is None:
            chunk = array.array("q", self._file.read(KEYS_PER_READ * BYTES_PER_KEY))
            self._chunk = iter(chunk)
            key = next(self._chunk, None)
        if key is None:
            raise StopIteration
        self._left -= 1
        return key

    def __len__(self) -> int:
        return self._left


def select_due(
    output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], **options: Unpack[DueOptions]
) -> DueSpectra:
    """Select the spectra that a pipeline has to analyse.

    Parameters
    ----------
    output_model : type
        The pipeline's output model.
    spectrum_model : type
        The kind of spectrum.
    version : str or int, optional
        The version that results are wanted of; the installed one if not given.
    sdss_ids : iterable of int, optional
        Only spectra of these sources.
    where : peewee.Expression, optional
        A further condition, on the spectrum model or `Source`.
    limit : int, optional
        At most this many spectra, those of the smallest keys.
    rerun : Rerun or {"due", "failed", "all"}, optional
        Spectra that are due; those in ``rejected_result`` at this version; or all, including those with a result of a
        newer patch version.
    failed_for : str, optional
        With ``rerun="failed"``, only what is in ``rejected_result`` for this reason, or for several, as in
        ``"timeout, memory"``.
    older_patch : bool, optional
        Whether a result of an older patch version is due again.
    needs : sequence of Need, optional
        The other pipelines' results that go into each result: a spectrum without one isn't due.
    recipe : RecipeKey, optional
        What results would be made with now; those that were made with another are due. None if that doesn't matter.

    Returns
    -------
    iterator of int
        ``spectrum_pk`` in ascending order, with ``len()``. Memory is bounded, and later writes don't change the list.

    Raises
    ------
    VersionError
        If `version` is not a version.
    UnknownSourceError
        If none of `sdss_ids` is in the database.
    MissingTableError
        If a table is missing.
    """
    ordered = _due_query(output_model, spectrum_model, **options).order_by(spectrum_model.spectrum_pk)
    return run_transaction(database, lambda: DueSpectra(_stream(ordered)))


class StillDue:
    """Asks which of some keys are due now. The question is put together once: that takes longer than its answer.

    Parameters
    ----------
    output_model, spectrum_model, **options
        As for `select_due`, whose limit doesn't count here.
    """

    def __init__(
        self,
        output_model: type[PipelineOutputMixin],
        spectrum_model: type[SpectrumMixin],
        **options: Unpack[DueOptions],
    ):
        self._models = (output_model, spectrum_model)
        self._options: DueOptions = options | {"limit": None}
        self._question: tuple[str, list[object], int] | None = None

    def __call__(self, keys: Sequence[int]) -> list[int]:
        """Give those that are due, in ascending order; it asks in the transaction that is open."""
        if not keys:
            return []
        self._question = self._question or self._make_question()
        sql, parameters, place = self._question
        parameters = [*parameters[:place], _as_parameter(keys), *parameters[place + 1 :]]
        return [key for (key,) in database.execute_sql(sql, parameters).fetchall()]

    def _make_question(self) -> tuple[str, list[object], int]:
        """Give SQL, its parameters, and which of these are the keys."""
        key = self._models[1].spectrum_pk
        query = _due_query(*self._models, **self._options)
        sql, parameters = query.where(is_any_of(key, [IN_PLACE_OF_KEYS])).order_by(key).sql()
        return sql, list(parameters), parameters.index(_as_parameter([IN_PLACE_OF_KEYS]))


def _as_parameter(keys: Sequence[int]) -> object:
    """Give keys as `is_any_of` sends them."""
    return [int(key) for key in keys] if is_postgresql(database) else json.dumps([int(key) for key in keys])


def count_due(
    output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], **options: Unpack[DueOptions]
) -> int:
    """Count the spectra that `select_due` gives for the same arguments."""
    return run_transaction(database, _due_query(output_model, spectrum_model, **options).count)


class DueCounts(NamedTuple):
    """How many spectra are due, and why.

    Parameters
    ----------
    reasons : Counter of DueReason
        How many are due for each reason.
    waiting : int
        How many would be due, but another pipeline has no result of them yet.
    again : int
        How many are done again because that was asked for (``rerun="all"`` or ``"failed"``), and for no other reason.
    """

    reasons: Counter[DueReason]
    waiting: int
    again: int = 0

    @property
    def due(self) -> int:
        """How many are due."""
        return self.reasons.total() + self.again

    def __add__(self, other: "DueCounts") -> "DueCounts":  # pyright: ignore[reportIncompatibleMethodOverride]
        return DueCounts(self.reasons + other.reasons, self.waiting + other.waiting, self.again + other.again)

    def __str__(self) -> str:
        counts = [f"{count:,} {reason}" for reason, count in self.reasons.most_common()]
        counts += [f"{self.again:,} again"] * bool(self.again)
        waiting = f"; {self.waiting:,} wait for another pipeline's result" if self.waiting else ""
        return f"{self.due:,} due{': ' if counts else ''}{', '.join(counts)}{waiting}"


def count_due_by_reason(
    output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], **options: Unpack[DueOptions]
) -> DueCounts:
    """Count the spectra that `select_due` gives for the same arguments, by reason, and those that wait."""
    rule = _rule(output_model, spectrum_model, options)
    query = _due_query(output_model, spectrum_model, **options)
    chosen = query.select(rule.reason().alias("reason")).order_by(spectrum_model.spectrum_pk)
    counted = peewee.Select([chosen], [chosen.c.reason, peewee.fn.COUNT(peewee.SQL("*"))]).group_by(chosen.c.reason)
    waiting = rule.select(spectrum_model.spectrum_pk).where(rule.is_waiting(options.get("where")))
    waiting = _narrowed(waiting, spectrum_model, options, waiting=True)

    def count() -> DueCounts:
        found: dict[str | None, int] = dict(counted.bind(database).tuples().execute())
        again = found.pop(None, 0)
        reasons = Counter({DueReason(reason): n for reason, n in found.items()})
        return DueCounts(reasons, waiting.count() if rule.needs else 0, again)

    return run_transaction(database, count)


class Standing(NamedTuple):
    """How a spectrum stands with a pipeline at one version.

    Parameters
    ----------
    reason : DueReason or None
        Why its result is missing or outdated; None if it is neither.
    failed : bool
        Whether the pipeline failed on it, or gave no result, and what it was made from is as it was.
    waiting : bool
        Whether another pipeline has no result of it yet that the pipeline needs, or that says whether it takes it.
    taken : bool
        Whether the pipeline takes it, by its own condition.
    """

    reason: DueReason | None
    failed: bool
    waiting: bool = False
    taken: bool = True

    @property
    def is_due(self) -> bool:
        """Whether the spectrum is due."""
        return self.reason is not None and self.taken and not self.failed and not self.waiting


def standing_of_spectra(
    output_model: type[PipelineOutputMixin],
    spectrum_model: type[SpectrumMixin],
    which: peewee.ColumnBase,
    **options: Unpack[DueOptions],
) -> dict[int, Standing]:
    """Say of some spectra which of them are due, and why; by one query.

    Parameters
    ----------
    output_model, spectrum_model, **options
        As for `select_due`; those that choose what is done again have no effect.
    which : peewee.Expression
        Which spectra: a condition on the spectrum model.

    Returns
    -------
    dict of int to Standing
        By ``spectrum_pk``.
    """
    rule, where = _rule(output_model, spectrum_model, options), options.get("where")
    waits, taken = rule.lacks_results(where), rule.is_taken(where)
    query = rule.select(spectrum_model.spectrum_pk, rule.reason(), rule.failed(), waits, taken).where(which)
    query = _narrowed(query, spectrum_model, options, waiting=True)
    rows = run_transaction(database, lambda: rows_of(query))
    return {
        key: Standing(DueReason(reason) if reason else None, bool(failed), bool(waits), bool(taken))
        for key, reason, failed, waits, taken in rows
    }


def newest_version(output_model: type[PipelineOutputMixin]) -> int | None:
    """Give the newest ``v_astra`` among a table's results, or None if it is empty.

    Raises
    ------
    MissingTableError
        If the table is missing.
    """
    require_tables(output_model)
    newest = output_model.select(peewee.fn.MAX(output_model.v_astra))
    return run_transaction(database, newest.scalar)


def stored_versions(output_model: type[PipelineOutputMixin]) -> list[int]:
    """Give every ``v_astra`` among a table's results, oldest first.

    The index is looked into once per version, not once per row: a table of any size answers at once.

    Raises
    ------
    MissingTableError
        If the table is missing.
    """
    require_tables(output_model)
    oldest = output_model.select(peewee.fn.MIN(output_model.v_astra)).cte("versions", True, ("v_astra",))
    newer = output_model.select(peewee.fn.MIN(output_model.v_astra)).where(output_model.v_astra > oldest.c.v_astra)
    following = peewee.Select([oldest], [newer]).where(oldest.c.v_astra.is_null(False))
    versions = oldest.union_all(following)
    query = versions.select_from(versions.c.v_astra).where(versions.c.v_astra.is_null(False)).tuples()
    return run_transaction(database, lambda: [v_astra for (v_astra,) in query.bind(database).execute()])


def _due_query(
    output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], **options: Unpack[DueOptions]
) -> "peewee.ModelSelect[SpectrumMixin]":
    rerun, limit = options.get("rerun", Rerun.due), options.get("limit")
    if rerun not in set(Rerun):
        raise ValueError(f"rerun={rerun!r} is none of {', '.join(repr(known.value) for known in Rerun)}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit} is negative; give a number of spectra, or None for all")
    rule = _rule(output_model, spectrum_model, options)
    query = rule.select(spectrum_model.spectrum_pk)
    if rerun == Rerun.due:
        query = query.where(rule.is_due())
    elif rerun == Rerun.failed:
        query = query.where(rule.can_be_tried_again(options.get("failed_for")))
    elif rule.needs:
        query = query.where(rule.has_needs())
    return _narrowed(query, spectrum_model, options).limit(limit)


def _rule(output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], options: DueOptions) -> DueRule:
    needs = options.get("needs", ())
    require_tables(output_model, spectrum_model, *(need.model for need in needs))
    database.follow_tables()
    return DueRule(
        output_model,
        spectrum_model,
        as_v_astra(options.get("version")),
        needs=needs,
        recipe=options.get("recipe"),
        older_patch=options.get("older_patch", True),
    )


def _narrowed(
    query: "peewee.ModelSelect[SpectrumMixin]",
    spectrum_model: type[SpectrumMixin],
    options: DueOptions,
    *,
    waiting: bool = False,
) -> "peewee.ModelSelect[SpectrumMixin]":
    """Leave in what the options ask for; of what waits, it isn't known yet whether the pipeline takes it."""
    sdss_ids, where = options.get("sdss_ids"), options.get("where")
    if sdss_ids is not None or where is not None:
        query = query.join(Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == spectrum_model.source_pk))
    if sdss_ids is not None:
        query = query.where(is_any_of(Source.sdss_id, _known_ids(sdss_ids)))
    return query if where is None or waiting else query.where(where)


def _known_ids(sdss_ids: Iterable[int]) -> list[int]:
    wanted = sorted({int(sdss_id) for sdss_id in sdss_ids})
    query = Source.select(Source.sdss_id).where(is_any_of(Source.sdss_id, wanted))
    known = run_transaction(database, lambda: [sdss_id for (sdss_id,) in rows_of(query)])
    if not known:
        raise UnknownSourceError(
            f"none of the {len(wanted)} sdss_ids is in the table of sources: {_first(wanted) or '(an empty list)'}. "
            "Check them, or ingest their spectra first (`astra ingest spectra`)"
        )
    if unknown := sorted(set(wanted) - set(known)):
        logger.warning(
            "%d of %d sdss_ids are not in the table of sources: %s", len(unknown), len(wanted), _first(unknown)
        )
    return known


def _first(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def _stream(query: "peewee.ModelSelect[SpectrumMixin]") -> Iterator[tuple[int]]:
    """Run a query of one column with bounded memory, on either database."""
    sql, parameters = query.sql()
    if not is_postgresql(database):
        yield from database.execute_sql(sql, parameters)
        return
    with driver_errors, database.connection().cursor("astra_due", withhold=True) as cursor:
        cursor.itersize = KEYS_PER_READ
        cursor.execute(sql, parameters)
        yield from cursor
