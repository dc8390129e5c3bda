"""Writing batches: results, of one model or several, and failures, each into its own table."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

import peewee

from astra_models.base import database
from astra_models.database.peewee_internals import mark_as_saved
from astra_models.database.retry import run_transaction
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import CONTRACT, RejectedResult, forget, forget_contract
from astra_models.schema.tables import require_tables
from astra_models.upsert import UpsertReport, upsert
from astra_models.upsert.batch import Batch, keys_of
from astra_models.upsert.plan import Existing
from astra_models.upsert.writer import Stored

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


def record(
    batch: Iterable[Output | RejectedResult],
    *,
    existing: Existing = "newest",
    keep_good: bool = False,
    run_id: str | None = None,
    stored: list[Output] | None = None,
    replaced: int = 0,
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
    replaced : int, optional
        Rows of ``rejected_result`` with the reason ``contract``, up to this key, are replaced by new ones of the same
        spectra: those of earlier runs.

    Returns
    -------
    UpsertReport
        The counts; failures count as rejected. A result that is as the stored one but for its timings, `modified` and
        the like is written, and counts as unchanged.
    """
    results: list[Output] = []
    failures: list[RejectedResult] = []
    by_model: dict[type[Output], list[Output]] = {}
    for item in batch:
        if isinstance(item, RejectedResult):
            failures.append(item)
        else:
            results.append(item)
            by_model.setdefault(type(item), []).append(item)
    report = UpsertReport()
    stored_ids: set[int] = set()
    on_stored = _marking(stored_ids) if stored is not None else None
    for model, some in by_model.items():
        report += upsert(
            model,
            some,
            existing=existing,
            keep_good=keep_good,
            unchanged="count",
            run_id=run_id,
            on_stored=on_stored,
        )
    report += _record_failures(failures, run_id, replaced)
    if report.rejected:
        logger.warning("%d of %d results were rejected: %s", report.rejected, report.rows, _grouped(report.reasons))
    if stored is not None:
        stored.extend(result for result in results if id(result) in stored_ids)
    return report


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


def _record_failures(failures: list[RejectedResult], run_id: str | None, replaced: int) -> UpsertReport:
    if not failures:
        return UpsertReport()
    require_tables()
    by_version: dict[tuple[str, int], list[RejectedResult]] = {}
    for failure in failures:
        failure.run_id = run_id
        by_version.setdefault((failure.model, failure.v_astra), []).append(failure)

    def write() -> None:
        for (model_name, v_astra), some in by_version.items():
            failed = [row.spectrum_pk for row in some if row.reason != CONTRACT and row.spectrum_pk is not None]
            forget(model_name, "spectrum_pk", failed, v_astra)
            forget_contract(model_name, {row.spectrum_pk for row in some if row.reason == CONTRACT}, v_astra, replaced)
        RejectedResult.bulk_create(failures, batch_size=500)

    run_transaction(database, write)
    return UpsertReport(rejected=len(failures), reasons=Counter(_reason(failure) for failure in failures))


def _reason(failure: RejectedResult) -> str:
    return f"{failure.reason}: {failure.message.split(':', 1)[0]}"


def _grouped(reasons: Counter[str]) -> str:
    shown = [f"{reason} ({count})" for reason, count in reasons.most_common(5)]
    return "; ".join(shown) + ("; ..." if len(reasons) > 5 else "")
