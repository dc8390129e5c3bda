"""The rows that can't be stored: finding those that the database refuses, and keeping all where an operator sees them.

Only a batch with refusals, or one that the database refused as a whole, gets here. Of the latter, foreign keys are
looked up first, at once for all rows; if that wasn't it, halves of the batch are tried until each bad row is alone.
Good rows are stored all the same.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import peewee

from astra_models.columns.payload import payload_to_json
from astra_models.columns.typed import Refusal
from astra_models.columns.values import plain, whole_number
from astra_models.database.retry import ROW_ERRORS, is_about_rows, one_line, sqlstate
from astra_models.messages import MISTAKES, storable
from astra_models.rejected import REFUSED, RejectedResult
from astra_models.upsert.batch import Batch, without_unknown_keys
from astra_models.upsert.writer import Writer, Written
from astra_models.version import installed_v_astra

INSERTED_AT_ONCE = 500
LARGEST_INSERT = 5_000_000  # characters
LONGEST_MESSAGE = 4_000


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
    checked = without_unknown_keys(batch)
    try:
        return _try(writer, checked), checked.refusals
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return _bisect(writer, checked, error)


def record_refusals(batch: Batch, refusals: list[Refusal], run_id: str | None) -> Counter[str]:
    """Keep refused rows in ``rejected_result``, and count the reasons."""
    some: list[dict[str, object]] = []
    size = 0
    for refusal in refusals:
        some.append(rejected_row(batch, refusal, run_id))
        size += len(str(some[-1]["payload"]))
        if len(some) == INSERTED_AT_ONCE or size > LARGEST_INSERT:
            RejectedResult.insert_many(some).execute()
            some, size = [], 0
    if some:
        RejectedResult.insert_many(some).execute()
    return Counter(refusal.check for refusal in refusals)


def _try(writer: Writer, batch: Batch) -> Written:
    if not len(batch):
        return Written()
    with writer.database.atomic():
        return writer.write(batch)


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


def rejected_row(batch: Batch, refusal: Refusal, run_id: str | None = None) -> dict[str, object]:
    """Give the row of ``rejected_result`` for a row that can't be stored."""
    payload = batch.payload(refusal.row)
    return {
        "model": batch.plan.model.__name__,
        "spectrum_pk": key_of_payload(payload),
        "source_pk": _whole(payload.get("source_pk")),
        "v_astra": _whole(payload.get("v_astra", installed_v_astra()), bits=32),
        "reason": REFUSED,
        "message": storable(refusal.message, LONGEST_MESSAGE),
        "payload": payload_to_json(payload),
        "run_id": run_id,
    }


def key_of_payload(payload: Mapping[str, object]) -> int | None:
    """Give the spectrum that a row that can't be stored is of, as ``rejected_result`` has it."""
    return _whole(payload.get("spectrum_pk"))


def _whole(value: object, bits: int = 64) -> int | None:
    """Give a key as an integer if it is one that the column can hold; the payload has it as it was."""
    try:
        number = whole_number(plain(value))
    except MISTAKES:
        return None
    return number if number is not None and -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None
