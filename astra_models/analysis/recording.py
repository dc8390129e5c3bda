"""Writing batches: results, of one model or several, and failures, each into its own table."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

import numpy as np
import peewee

from astra_models.analysis.analyst import Found
from astra_models.analysis.calling import Item, rows_of
from astra_models.analysis.leases import Leases
from astra_models.base import database
from astra_models.columns.many import ManyResults
from astra_models.database.peewee_internals import mark_as_saved
from astra_models.database.retry import run_transaction
from astra_models.errors import LeaseLostError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import CONTRACT, RejectedResult, forget, forget_contract
from astra_models.schema.tables import require_tables
from astra_models.upsert import UpsertReport, upsert, writer_class_for
from astra_models.upsert.batch import Batch, batch_of_columns, keys_of
from astra_models.upsert.plan import Existing, Rules, plan_for
from astra_models.upsert.writer import Stored
from astra_models.upsert.writing import write_batch

Output = TypeVar("Output", bound=PipelineOutputMixin)

logger = logging.getLogger(__name__)


def bulk_insert_or_replace_pipeline_results(results: Iterable[Output]) -> list[Output]:
    """Write results, replacing those of the same spectrum and major.minor version.

    Parameters
    ----------
    results : iterable of PipelineOutputMixin
        Results, of one model or several.

    Returns
    -------
    list of PipelineOutputMixin
        The same objects, with ``task_pk`` and ``created`` as the database has them. A result that can't be stored is
        left out, logged, and kept in ``rejected_result``.
    """
    stored: list[Output] = []
    record(results, stored=stored)
    return stored


@dataclass(frozen=True)
class Recording:
    """How the results of a run are written.

    Parameters
    ----------
    existing, keep_good : optional
        As for `upsert`.
    run_id : str, optional
        The run's id, kept with failures and refused results.
    replaced : int, optional
        Rows of ``rejected_result`` with the reason ``contract``, up to this key, are replaced by new ones of the same
        spectra: those of earlier runs.
    leases : Leases, optional
        The run's leases: what it lost isn't written, and what is written is given back.
    """

    existing: Existing = "newest"
    keep_good: bool = False
    run_id: str | None = None
    replaced: int = 0
    leases: Leases | None = None


def record(
    batch: Iterable[Item[Output]],
    *,
    existing: Existing = "newest",
    keep_good: bool = False,
    run_id: str | None = None,
    stored: list[Output] | None = None,
) -> UpsertReport:
    """Write results, each to its model's table, and failures to ``rejected_result``.

    Parameters
    ----------
    batch : iterable
        Results, of one model or several, and unsaved `RejectedResult` rows.
    existing, keep_good : optional
        As for `upsert`.
    run_id : str, optional
        The run's id, kept with failures and refused results.
    stored : list, optional
        If given, it is filled with the results that are in the database now, in the order given, and these get
        their ``task_pk`` and ``created``.

    Returns
    -------
    UpsertReport
        The counts; failures count as rejected. A result that is as the stored one but for its timings, `modified` and
        the like is written, and counts as unchanged.
    """
    return record_batch(batch, Recording(existing, keep_good, run_id), stored)


def record_batch(batch: Iterable[Item[Output]], how: Recording, stored: list[Output] | None = None) -> UpsertReport:
    """Write a batch of a run, as `record`."""
    items: list[Item[Output]] = list(batch) if stored is None else list(rows_of(batch))
    stored_ids: set[int] = set()
    on_stored = _marking(stored_ids) if stored is not None else None

    def write() -> UpsertReport:
        failures: list[RejectedResult] = []
        by_model: dict[type[Output], list[Output | ManyResults[Output]]] = {}
        for item in items:
            if isinstance(item, RejectedResult):
                failures.append(item)
            elif isinstance(item, ManyResults):
                by_model.setdefault(item.model, []).append(item)
            else:
                by_model.setdefault(type(item), []).append(item)
        report = UpsertReport()
        for model, some in by_model.items():
            report += upsert(
                model,
                # A table by itself is prepared in parts, each while the one before it is being written.
                some[0] if len(some) == 1 and isinstance(some[0], ManyResults) else some,
                existing=how.existing,
                keep_good=how.keep_good,
                unchanged="count",
                run_id=how.run_id,
                on_stored=on_stored,
                before_write=None if how.leases is None else partial(_require_keys, how.leases),
            )
        done = [key for item in items if not _is_contract(item) for key in _keys_of(item)]
        return report + _record_failures(failures, how, done)

    while True:
        try:
            report = write()
            break
        except LeaseLostError as error:
            assert how.leases is not None
            logger.warning("%s", error)
            items = list(_without(items, error.keys))
            how.leases.forget(error.keys)
    _warn_of_rejected(report)
    if stored is not None:
        stored.extend(item for item in items if id(item) in stored_ids)  # pyright: ignore[reportArgumentType]
    return report


def record_found(found: Found, how: Recording, pipeline_run_pk: int | None = None) -> UpsertReport:
    """Write what another process found in a chunk: as `record`, of columns that are checked already.

    Parameters
    ----------
    found : Found
        What it found.
    how : Recording
        How it is written.
    pipeline_run_pk : int, optional
        The record of the run.
    """
    rules = Rules(how.existing, how.keep_good, "count")
    report = UpsertReport()
    started = time.monotonic()
    before_write = None if how.leases is None else partial(_require_keys, how.leases)
    try:
        for model, columns in found.columns:
            writer = writer_class_for(model)(plan_for(model), rules, returning=False)
            batch = batch_of_columns(writer.plan, columns, pipeline_run_pk=pipeline_run_pk)
            writer.prepare(batch)
            report += write_batch(writer, batch, how.run_id, before_write)[0]
        for failure in found.failures:
            failure.pipeline_run_pk = pipeline_run_pk
        report += _record_failures(found.failures, how, found.keys)
    except LeaseLostError as error:
        assert how.leases is not None
        logger.warning("%s", error)
        how.leases.forget(found.keys)
    _warn_of_rejected(report)
    return replace(report, seconds=time.monotonic() - started)


def _require_keys(leases: Leases, batch: Batch) -> None:
    if "spectrum_pk" in batch.columns:
        leases.require(batch.columns["spectrum_pk"].values.tolist())


def _keys_of(item: Item[Output]) -> list[int | None]:
    return item["spectrum_pk"].tolist() if isinstance(item, ManyResults) else [item.__data__.get("spectrum_pk")]


def _without(items: Iterable[Item[Output]], keys: Iterable[int]) -> Iterator[Item[Output]]:
    """Give results and failures but for those of some spectra."""
    lost = set(keys)
    for item in items:
        left = np.array([key not in lost for key in _keys_of(item)])
        if left.all():
            yield item
        elif isinstance(item, ManyResults) and left.any():
            yield item[np.flatnonzero(left)]


def _is_contract(item: object) -> bool:
    return isinstance(item, RejectedResult) and item.reason == CONTRACT


def _warn_of_rejected(report: UpsertReport) -> None:
    if report.rejected:
        logger.warning("%d of %d results were rejected: %s", report.rejected, report.rows, _grouped(report.reasons))


def _marking(stored_ids: set[int]) -> Callable[[Batch, Stored], None]:
    """Make a function that sets on a batch's results what the database assigned."""

    def mark(batch: Batch, stored: Stored) -> None:
        created = batch.plan.model._meta.fields["created"]
        refused = {refusal.row for refusal in batch.refusals}
        results = cast("list[PipelineOutputMixin]", batch.source)
        for row, (result, key) in enumerate(zip(results, keys_of(batch.plan, results), strict=True)):
            if row not in refused and key is not None and key in stored:
                result.task_pk, result.created = stored[key][0], created.python_value(stored[key][1])
                mark_as_saved(result)
                stored_ids.add(id(result))

    return mark


def last_rejected() -> int:
    """Give the key of the latest row in ``rejected_result``, or 0."""
    require_tables()
    return run_transaction(database, lambda: RejectedResult.select(peewee.fn.MAX(RejectedResult.pk)).scalar()) or 0


def _record_failures(failures: list[RejectedResult], how: Recording, done: Sequence[int | None]) -> UpsertReport:
    """Write failures, and give back the spectra that are done: the last transaction of a batch."""
    leases = how.leases
    if not failures and (leases is None or not leases.ended_by(done)):
        if leases is not None:
            leases.forget(done)
        return UpsertReport()
    if failures:
        require_tables()
    by_version: dict[tuple[str, int], list[RejectedResult]] = {}
    for failure in failures:
        failure.run_id = how.run_id
        by_version.setdefault((failure.model, failure.v_astra), []).append(failure)

    def write() -> None:
        if leases is not None:
            leases.require(done)
        for (model_name, v_astra), some in by_version.items():
            failed = [row.spectrum_pk for row in some if row.reason != CONTRACT and row.spectrum_pk is not None]
            forget(model_name, "spectrum_pk", failed, v_astra)
            forget_contract(
                model_name, {row.spectrum_pk for row in some if row.reason == CONTRACT}, v_astra, how.replaced
            )
        RejectedResult.bulk_create(failures, batch_size=500)
        if leases is not None:
            leases.give_back(done)

    run_transaction(database, write)
    if leases is not None:
        leases.forget(done)
    return UpsertReport(rejected=len(failures), reasons=Counter(_reason(failure) for failure in failures))


def _reason(failure: RejectedResult) -> str:
    return f"{failure.reason}: {failure.message.split(':', 1)[0]}"


def _grouped(reasons: Counter[str]) -> str:
    shown = [f"{reason} ({count})" for reason, count in reasons.most_common(5)]
    return "; ".join(shown) + ("; ..." if len(reasons) > 5 else "")
