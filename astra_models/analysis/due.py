"""Which spectra a pipeline still has to analyse.

One query answers it: spectra without a result at this major.minor version, spectra observed or reduced again
since their result, and (unless turned off) results of an older patch version. What failed or gave nothing at this
version is not due again until its spectrum changes. The list is fixed when it is asked for, and kept in a
temporary file, so that what the run itself writes can't make it drift.
"""

import array
import logging
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import peewee

from astra_models.database.retry import run_transaction
from astra_models.database.sql import driver_errors, is_any_of, is_postgresql
from astra_models.errors import UnknownSourceError
from astra_models.rejected import FAILURES, RejectedResult
from astra_models.schema.tables import require_tables
from astra_models.source import Source
from astra_models.version import as_v_astra

Rerun = Literal["due", "failed", "all"]

KEYS_IN_MEMORY = 100_000
KEYS_PER_READ = 10_000
BYTES_PER_KEY = 8

logger = logging.getLogger(__name__)


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
    output_model: Any,
    spectrum_model: Any,
    *,
    version: str | int | None = None,
    sdss_ids: Iterable[int] | None = None,
    where: peewee.Expression | None = None,
    limit: int | None = None,
    rerun: Rerun = "due",
    older_patch: bool = True,
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
        At most so many spectra, those of the smallest keys.
    rerun : {"due", "failed", "all"}, optional
        What is due; what is listed in ``rejected_result`` at this version; or everything, results of newer patch
        versions included.
    older_patch : bool, optional
        Whether a result of an older patch version is due again.

    Returns
    -------
    iterator of int
        ``spectrum_pk`` in ascending order, with ``len()``. Memory is bounded, and what is written afterwards
        doesn't change the list.

    Raises
    ------
    VersionError
        If `version` is none.
    UnknownSourceError
        If none of `sdss_ids` is in the database.
    MissingTableError
        If a table is missing.
    """
    query = _due_query(output_model, spectrum_model, version, sdss_ids, where, rerun, older_patch)
    ordered = query.order_by(spectrum_model.spectrum_pk).limit(_checked(limit))
    return run_transaction(spectrum_model._meta.database, lambda: DueSpectra(_stream(ordered)))


def count_due(output_model: Any, spectrum_model: Any, **options: Any) -> int:
    """Count the spectra that `select_due` would give for the same arguments."""
    limit = _checked(options.pop("limit", None))
    arguments = {"version": None, "sdss_ids": None, "where": None, "rerun": "due", "older_patch": True}
    if unknown := set(options) - set(arguments):
        raise TypeError(f"count_due() got unknown arguments {', '.join(sorted(unknown))}")
    query = _due_query(output_model, spectrum_model, **(arguments | options)).limit(limit)
    return run_transaction(spectrum_model._meta.database, query.count)


def _checked(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit} is negative; give a number of spectra, or None for all")
    return limit


def newest_version(output_model: Any) -> int | None:
    """Give the newest ``v_astra`` among a table's results, or None if it is empty.

    Raises
    ------
    MissingTableError
        If the table is missing.
    """
    require_tables(output_model)
    newest = output_model.select(peewee.fn.MAX(output_model.v_astra))
    return run_transaction(output_model._meta.database, newest.scalar)


def stored_versions(output_model: Any) -> list[int]:
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
    database = output_model._meta.database
    return run_transaction(database, lambda: [v_astra for (v_astra,) in query.bind(database).execute()])


def _due_query(
    output_model: Any,
    spectrum_model: Any,
    version: str | int | None,
    sdss_ids: Iterable[int] | None,
    where: peewee.Expression | None,
    rerun: Rerun,
    older_patch: bool,
) -> Any:
    if rerun not in ("due", "failed", "all"):
        raise ValueError(f"rerun={rerun!r} is none of 'due', 'failed', 'all'")
    v_astra = as_v_astra(version)
    require_tables(output_model, spectrum_model)
    result, spectrum = output_model.alias("result"), spectrum_model
    same = (result.spectrum_pk == spectrum.spectrum_pk) & (result.v_astra_major_minor == v_astra // 1000)
    query = (
        spectrum.select(spectrum.spectrum_pk)
        .join(result, peewee.JOIN.LEFT_OUTER, on=same)
        .switch(spectrum)
        .where(spectrum.spectrum_pk.is_null(False))
    )
    if rerun == "due":
        query = query.where(_is_due(result, spectrum, v_astra, older_patch))
        query = query.where(~peewee.fn.EXISTS(_failures(output_model, spectrum, v_astra, since_modified=True)))
    elif rerun == "failed":
        query = query.where(result.task_pk.is_null() | (result.v_astra <= v_astra))
        query = query.where(peewee.fn.EXISTS(_failures(output_model, spectrum, v_astra, since_modified=False)))
    if sdss_ids is not None or where is not None:
        query = query.join(Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == spectrum.source_pk))
    if sdss_ids is not None:
        query = query.where(is_any_of(Source.sdss_id, _known_ids(sdss_ids)))
    return query if where is None else query.where(where)


def _is_due(result: Any, spectrum: Any, v_astra: int, older_patch: bool) -> peewee.Expression:
    stale = spectrum.modified > result.modified
    if older_patch:
        stale |= result.v_astra < v_astra
    return result.task_pk.is_null() | ((result.v_astra <= v_astra) & stale)


def _failures(output_model: Any, spectrum: Any, v_astra: int, since_modified: bool) -> Any:
    listed = (
        (RejectedResult.model == output_model.__name__)
        & (RejectedResult.spectrum_pk == spectrum.spectrum_pk)
        & (RejectedResult.v_astra == v_astra)
    )
    if since_modified:
        listed &= RejectedResult.reason.in_(FAILURES) & (RejectedResult.created >= spectrum.modified)
    return RejectedResult.select(peewee.SQL("1")).where(listed)


def _known_ids(sdss_ids: Iterable[int]) -> list[int]:
    wanted = sorted({int(sdss_id) for sdss_id in sdss_ids})
    query: Any = Source.select(Source.sdss_id).where(is_any_of(Source.sdss_id, wanted)).tuples()
    known = run_transaction(Source._meta.database, lambda: [sdss_id for (sdss_id,) in query])
    if not known:
        shown = ", ".join(map(str, wanted[:5])) + (", ..." if len(wanted) > 5 else "")
        raise UnknownSourceError(
            f"none of the {len(wanted)} sdss_ids is in the table of sources: {shown or '(an empty list)'}. Check "
            "them, or ingest their spectra first (`astra ingest spectra`)"
        )
    if unknown := sorted(set(wanted) - set(known)):
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        logger.warning("%d of %d sdss_ids are not in the table of sources: %s", len(unknown), len(wanted), shown)
    return known


def _stream(query: Any) -> Iterator[tuple[int]]:
    """Run a query of one column with bounded memory, on either database."""
    database = query.model._meta.database
    sql, parameters = query.sql()
    if not is_postgresql(database):
        yield from database.execute_sql(sql, parameters)
        return
    with driver_errors, database.connection().cursor("astra_due", withhold=True) as cursor:
        cursor.itersize = KEYS_PER_READ
        cursor.execute(sql, parameters)
        yield from cursor
