"""Which spectra a pipeline still has to analyse, and why.

`DueRule` is the one place that says when a spectrum is due: it has no result of this major.minor version, it changed
since its result was written, or (unless turned off) its result is of an older patch version. A spectrum that failed or
gave no result at this version isn't due again until it changes. Runs, counts, `astra explain` and the version sensor
ask here.

A run's work list is fixed when the run starts: it is kept in a temporary file, so that what the run writes doesn't
change it.
"""

import array
import functools
import logging
import operator
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Literal, NamedTuple, TypedDict, Unpack

import peewee

from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import driver_errors, is_any_of, is_postgresql, rows_of
from astra_models.errors import UnknownSourceError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.schema.tables import require_tables
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.version import as_v_astra

__all__ = [
    "DueOptions",
    "DueReason",
    "DueRule",
    "DueSpectra",
    "Rerun",
    "Standing",
    "count_due",
    "newest_version",
    "select_due",
    "standing_of_spectra",
    "stored_versions",
    "why_version_is_due",
]

KEYS_IN_MEMORY = 100_000
KEYS_PER_READ = 10_000
BYTES_PER_KEY = 8

logger = logging.getLogger(__name__)


# ---- the rule


class DueReason(StrEnum):
    """Why a spectrum is due: the first of these that applies."""

    missing = "missing"
    """It has no result of this major.minor version."""
    changed = "changed"
    """It changed after its result was written."""
    older_patch = "older_patch"
    """Its result is of an older patch version."""


class Rerun(StrEnum):
    """Which spectra a run analyses: those that are due, only those that failed, or all of them again."""

    due = "due"
    failed = "failed"
    all = "all"


class DueRule:
    """When a spectrum is due, as SQL on the table of spectra, each with its result of one major.minor version.

    Parameters
    ----------
    output_model : type
        The pipeline's output model.
    spectrum_model : type
        The kind of spectrum.
    v_astra : int
        The version that results are wanted of.
    """

    def __init__(self, output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], v_astra: int):
        self.output_model = output_model
        self.spectrum = spectrum_model
        self.v_astra = v_astra
        self.result = output_model.alias("result")

    def reasons(self) -> dict[DueReason, peewee.Expression]:
        """Give the condition of each reason. A result of a newer patch version is never replaced."""
        result = self.result
        return {
            DueReason.missing: result.task_pk.is_null(),
            DueReason.changed: (result.v_astra <= self.v_astra) & (self.spectrum.modified > result.modified),
            DueReason.older_patch: result.v_astra < self.v_astra,
        }

    def reason(self) -> peewee.Case:
        """Give the reason that applies, or NULL, as an expression to select."""
        return peewee.Case(None, [(condition, reason.value) for reason, condition in self.reasons().items()])

    def failed(self) -> peewee.Function:
        """Give the condition that the spectrum failed, or gave no result, and didn't change since."""
        return self._is_listed(RejectedResult.reason.in_(FAILURES), RejectedResult.created >= self.spectrum.modified)

    def is_due(self, older_patch: bool = True) -> peewee.Expression:
        """Give the condition that there is a reason, and the spectrum hasn't failed."""
        reasons = self.reasons()
        if not older_patch:
            del reasons[DueReason.older_patch]
        return functools.reduce(operator.or_, reasons.values()) & ~self.failed()

    def can_be_tried_again(self) -> peewee.Expression:
        """Give the condition that the spectrum is in ``rejected_result`` at this version, for whatever reason."""
        result = self.result
        return (result.task_pk.is_null() | (result.v_astra <= self.v_astra)) & self._is_listed()

    def select(self, *columns: peewee.Node) -> "peewee.ModelSelect[SpectrumMixin]":
        """Select from the spectra that have a key, each joined to its result if it has one."""
        spectrum, result = self.spectrum, self.result
        same = (result.spectrum_pk == spectrum.spectrum_pk) & (result.v_astra_major_minor == self.v_astra // 1000)
        joined = spectrum.select(*columns).join(result, peewee.JOIN.LEFT_OUTER, on=same).switch(spectrum)
        return joined.where(spectrum.spectrum_pk.is_null(False))

    def _is_listed(self, *conditions: peewee.Expression) -> peewee.Function:
        rows = RejectedResult.select(peewee.SQL("1")).where(
            RejectedResult.model == self.output_model.__name__,
            RejectedResult.spectrum_pk == self.spectrum.spectrum_pk,
            RejectedResult.v_astra == self.v_astra,
            *conditions,
        )
        return peewee.fn.EXISTS(rows)


def why_version_is_due(stored: int, wanted: int) -> DueReason | None:
    """Say why a result of one version is due again at another, whatever its spectrum: `DueRule` for versions alone.

    Parameters
    ----------
    stored, wanted : int
        ``v_astra`` of the result, and of the version that results are wanted of.

    Returns
    -------
    DueReason or None
        None if the result isn't due for its version.
    """
    if stored // 1000 != wanted // 1000:
        return DueReason.missing
    return DueReason.older_patch if stored < wanted else None


# ---- asking by it


class DueOptions(TypedDict, total=False):
    """What narrows or widens a selection of due spectra; see `select_due`."""

    version: str | int | None
    sdss_ids: Iterable[int] | None
    where: peewee.ColumnBase | None
    limit: int | None
    rerun: Rerun | Literal["due", "failed", "all"]
    older_patch: bool


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
    older_patch : bool, optional
        Whether a result of an older patch version is due again.

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


def count_due(
    output_model: type[PipelineOutputMixin], spectrum_model: type[SpectrumMixin], **options: Unpack[DueOptions]
) -> int:
    """Count the spectra that `select_due` gives for the same arguments."""
    return run_transaction(database, _due_query(output_model, spectrum_model, **options).count)


class Standing(NamedTuple):
    """How a spectrum stands with a pipeline at one version.

    Parameters
    ----------
    reason : DueReason or None
        Why its result is missing or outdated; None if it is neither.
    failed : bool
        Whether the pipeline failed on it, or gave no result, and it didn't change since.
    """

    reason: DueReason | None
    failed: bool

    @property
    def is_due(self) -> bool:
        """Whether the spectrum is due."""
        return self.reason is not None and not self.failed


def standing_of_spectra(
    output_model: type[PipelineOutputMixin],
    spectrum_model: type[SpectrumMixin],
    where: peewee.ColumnBase,
    version: str | int | None = None,
) -> dict[int, Standing]:
    """Say of some spectra which of them are due, and why; by one query.

    Parameters
    ----------
    output_model, spectrum_model, version
        As for `select_due`.
    where : peewee.Expression
        Which spectra: a condition on the spectrum model.

    Returns
    -------
    dict of int to Standing
        By ``spectrum_pk``.
    """
    require_tables(output_model, spectrum_model)
    rule = DueRule(output_model, spectrum_model, as_v_astra(version))
    query = rule.select(spectrum_model.spectrum_pk, rule.reason(), rule.failed()).where(where)
    rows = run_transaction(database, lambda: rows_of(query))
    return {key: Standing(DueReason(reason) if reason else None, bool(failed)) for key, reason, failed in rows}


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
    output_model: type[PipelineOutputMixin],
    spectrum_model: type[SpectrumMixin],
    *,
    version: str | int | None = None,
    sdss_ids: Iterable[int] | None = None,
    where: peewee.ColumnBase | None = None,
    limit: int | None = None,
    rerun: Rerun | Literal["due", "failed", "all"] = Rerun.due,
    older_patch: bool = True,
) -> "peewee.ModelSelect[SpectrumMixin]":
    if rerun not in set(Rerun):
        raise ValueError(f"rerun={rerun!r} is none of {', '.join(repr(known.value) for known in Rerun)}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit} is negative; give a number of spectra, or None for all")
    rule = DueRule(output_model, spectrum_model, as_v_astra(version))
    require_tables(output_model, spectrum_model)
    query = rule.select(spectrum_model.spectrum_pk)
    if rerun == Rerun.due:
        query = query.where(rule.is_due(older_patch))
    elif rerun == Rerun.failed:
        query = query.where(rule.can_be_tried_again())
    if sdss_ids is not None or where is not None:
        query = query.join(Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == spectrum_model.source_pk))
    if sdss_ids is not None:
        query = query.where(is_any_of(Source.sdss_id, _known_ids(sdss_ids)))
    return (query if where is None else query.where(where)).limit(limit)


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
