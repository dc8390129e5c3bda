"""Writing one batch in a transaction of its own. A good batch needs nothing else; `quarantine` sees to bad rows."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from astra_models.columns.typed import Refusal
from astra_models.database.retry import ROW_ERRORS, is_about_rows, run_transaction
from astra_models.rejected import forget, has_failures
from astra_models.upsert.batch import Batch, without_unknown_keys
from astra_models.upsert.quarantine import record_refusals, write_good_rows
from astra_models.upsert.writer import Stored, UpsertReport, Writer, Written

Write = Callable[[Writer, Batch], tuple[Written, list[Refusal]]]
BeforeWrite = Callable[[Batch], None]


def write_batch(
    writer: Writer, batch: Batch, run_id: str | None, before_write: BeforeWrite | None = None
) -> tuple[UpsertReport, Stored]:
    """Write a batch; if the database refuses it as a whole, its good rows, in another transaction.

    Parameters
    ----------
    writer : Writer
        Writes batches into the table.
    batch : Batch
        Rows that passed all checks, and the refusals of those that didn't.
    run_id : str or None
        The run, for the rows that are refused.
    before_write : callable, optional
        Called with the batch at the begin of its transaction, which ends if it raises.

    Returns
    -------
    UpsertReport
        What became of the rows.
    dict
        Primary key and creation time by unique key, if the writer gives them.
    """
    try:
        return run_transaction(writer.database, partial(_write, writer, batch, run_id, before_write, _write_all))
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return run_transaction(writer.database, partial(_write, writer, batch, run_id, before_write, write_good_rows))


def forget_failures(batch: Batch) -> None:
    """Delete what is listed of a batch's spectra at the same major.minor version, in the transaction that is open."""
    model_name = batch.plan.model.__name__
    key = batch.plan.key[0]
    if not len(batch) or not has_failures(model_name):
        return
    versions = batch.columns["v_astra"].values
    for v_astra in np.unique(versions).tolist():
        forget(model_name, key.name, batch.columns[key.name].values[versions == v_astra].tolist(), v_astra)


def _write(
    writer: Writer, batch: Batch, run_id: str | None, before_write: BeforeWrite | None, write: Write
) -> tuple[UpsertReport, Stored]:
    if before_write is not None:
        before_write(batch)
    written, refusals = write(writer, batch)
    forget_failures(batch)
    report = UpsertReport(
        inserted=written.inserted,
        updated=written.updated,
        unchanged=written.unchanged,
        kept=written.kept,
        rejected=len(refusals),
        superseded=batch.superseded,
        reasons=record_refusals(batch, refusals, run_id) if refusals else Counter(),
    )
    return report, written.stored


def _write_all(writer: Writer, batch: Batch) -> tuple[Written, list[Refusal]]:
    """Write all rows of a batch, in the transaction that is open, and let the database refuse it."""
    if writer.checks_keys_first:
        batch = without_unknown_keys(batch)
    return (writer.write(batch) if len(batch) else Written()), batch.refusals
