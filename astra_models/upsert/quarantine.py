"""Finding the rows that the database refuses, and keeping them where an operator can see them.

A batch is written as a whole first. Only if the database refuses it are unknown keys looked for, at once for the
whole batch, and then halves of the batch tried, until each bad row is alone. Good rows land all the same.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import peewee

from astra_models.columns.typed import Refusal
from astra_models.database.retry import one_line, sqlstate
from astra_models.database.sql import is_any_of, quoted_table
from astra_models.rejected import REFUSED, RejectedResult, payload_to_json
from astra_models.upsert.batch import Batch
from astra_models.upsert.writer import Writer, Written
from astra_models.version import installed_v_astra

ROW_ERRORS = (peewee.IntegrityError, peewee.DataError, peewee.InternalError)
# Data exceptions, violated constraints, and exceptions that triggers raise.
ROW_ERROR_CLASSES = ("22", "23", "P0")


def write_whole(writer: Writer, batch: Batch) -> tuple[Written, list[Refusal]]:
    """Write all rows of a batch, in the transaction that is open, and let the database refuse it."""
    if writer.checks_keys_first:
        batch = _without_unknown_keys(batch)
    return (writer.write(batch) if len(batch) else Written()), batch.refusals


def write_good_rows(writer: Writer, batch: Batch) -> tuple[Written, list[Refusal]]:
    """Write the rows that the database takes, in the transaction that is open.

    Parameters
    ----------
    writer : Writer
        Writes batches into the table.
    batch : Batch
        Rows that passed all checks, but which the database refused as a whole.

    Returns
    -------
    written : Written
        What became of the rows that were taken.
    refusals : list of Refusal
        The rows that were not.
    """
    checked = _without_unknown_keys(batch)
    try:
        return _try(writer, checked), checked.refusals
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return _bisect(writer, checked, error)


def record_refusals(batch: Batch, refusals: list[Refusal], run_id: str | None) -> Counter[str]:
    """Keep refused rows in ``rejected_result``, and count the reasons."""
    rows = [_rejected(batch, refusal, run_id) for refusal in refusals]
    for start in range(0, len(rows), 500):
        RejectedResult.insert_many(rows[start : start + 500]).execute()
    return Counter(refusal.check for refusal in refusals)


def _try(writer: Writer, batch: Batch) -> Written:
    if not len(batch):
        return Written()
    with writer.database.atomic():
        return writer.write(batch)


def is_about_rows(error: peewee.PeeweeException) -> bool:
    """Tell whether it was a row that the database refused, and not the statement."""
    state = sqlstate(error)
    return state is None or state[:2] in ROW_ERROR_CLASSES


def _without_unknown_keys(batch: Batch) -> Batch:
    for key in batch.plan.foreign_keys:
        column = batch.columns[key.name]
        wanted = np.unique(column.values[~column.null])
        target = key.rel_field
        found = [pk for (pk,) in target.model.select(target).where(is_any_of(target, wanted)).tuples()]
        unknown = ~column.null & ~np.isin(column.values, np.array(found, dtype=np.int64))
        if unknown.any():
            table = quoted_table(target.model)
            messages = [f"{key.name} {value} is not in {table}" for value in column.values[unknown]]
            batch = batch.without(unknown, f"{key.name} is not in {table}", messages)
    return batch


def _bisect(writer: Writer, batch: Batch, error: peewee.PeeweeException) -> tuple[Written, list[Refusal]]:
    if len(batch) == 1:
        reason = f"{sqlstate(error) or type(error).__name__}: {one_line(error)}"
        return Written(), batch.without(np.array([True]), reason, [reason]).refusals
    written, refusals = Written(), batch.refusals
    middle = len(batch) // 2
    for places in (np.arange(middle), np.arange(middle, len(batch))):
        half = replace(batch.take(places), refusals=[])
        try:
            some, found = _try(writer, half), []
        except ROW_ERRORS as half_error:
            some, found = _bisect(writer, half, half_error)
        written, refusals = written + some, refusals + found
    return written, refusals


def _rejected(batch: Batch, refusal: Refusal, run_id: str | None) -> dict[str, Any]:
    payload = batch.payload(refusal.row)
    return {
        "model": batch.plan.model.__name__,
        "spectrum_pk": _whole(payload.get("spectrum_pk")),
        "source_pk": _whole(payload.get("source_pk")),
        "v_astra": _whole(payload.get("v_astra", installed_v_astra()), bits=32),
        "reason": REFUSED,
        "message": refusal.message,
        "payload": payload_to_json(payload),
        "run_id": run_id,
    }


def _whole(value: Any, bits: int = 64) -> int | None:
    """Give a key as an integer if it is one that the column can hold; the payload has it as it was."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        return None
    return int(value) if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None
