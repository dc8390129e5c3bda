"""Failed analyses, spectra without a result, and results and rows that couldn't be stored; each with its reason.

Rows are those of files, and of a schema that was adopted.
"""

from collections.abc import Iterable

import peewee

from astra_models.base import BaseModel
from astra_models.columns.payload import payload_from_json, payload_to_json
from astra_models.database.sql import is_any_of
from astra_models.fields import AutoField, BigIntegerField, DateTimeField, IntegerField, TextField, utc_now

__all__ = [
    "CONTRACT",
    "CRASH",
    "EXCEPTION",
    "FAILURES",
    "MEMORY",
    "NOT_INGESTED",
    "NO_RESULT",
    "REASONS",
    "REFUSED",
    "TIMEOUT",
    "RejectedResult",
    "forget",
    "forget_contract",
    "has_failures",
    "payload_from_json",
    "payload_to_json",
    "select_rejected",
]

EXCEPTION = "exception"
NO_RESULT = "no_result"
REFUSED = "refused"
NOT_INGESTED = "not_ingested"
CONTRACT = "contract"
CRASH = "crash"
TIMEOUT = "timeout"
MEMORY = "memory"
REASONS = (EXCEPTION, NO_RESULT, CRASH, TIMEOUT, MEMORY, REFUSED, NOT_INGESTED, CONTRACT)
FAILURES = (EXCEPTION, NO_RESULT, CRASH, TIMEOUT, MEMORY)
"""Why a spectrum that was analysed has no result; the other reasons are of results and rows that couldn't be stored."""


class RejectedResult(BaseModel):
    """A spectrum whose analysis failed or gave no result, or a result or a file's row that couldn't be stored.

    A spectrum on which its pipeline failed isn't due again at the same version, unless it changed since. One listed as
    ``crash``, ``timeout`` or ``memory`` ended the process that analysed it, took too long, or needed more memory than
    there is, and did so again when it was tried alone. One listed as ``contract`` stays due: its pipeline gave a result
    that it wasn't asked for. A later result deletes its row here.
    """

    pk = AutoField()
    model = TextField(help_text="Name of the output model")
    spectrum_pk = BigIntegerField(null=True)
    source_pk = BigIntegerField(null=True)
    v_astra = IntegerField(null=True)
    reason = TextField(
        unit="", help_text="exception, no_result, crash, timeout, memory, refused, not_ingested or contract"
    )
    message = TextField(help_text="What went wrong")
    payload = TextField(null=True, help_text="The row that was refused, as JSON")
    run_id = TextField(null=True, help_text="The run in which it happened")
    created = DateTimeField(default=utc_now)
    traceback = TextField(null=True, help_text="Where it was raised: the last frames")
    pipeline_run_pk = IntegerField(null=True)
    spectrum_revision = BigIntegerField(null=True)
    upstream_revision = BigIntegerField(null=True)

    class Meta:
        indexes = ((("model", "spectrum_pk", "v_astra"), False),)


def select_rejected(
    models: Iterable[str] | None = None, reason: str | None = None, run_id: str | None = None
) -> "peewee.ModelSelect[RejectedResult]":
    """Select rows of the list, by output model, reason or run.

    Parameters
    ----------
    models : iterable of str, optional
        Only what is of these models: the names of their classes.
    reason : str, optional
        Only what has this reason, one of `REASONS`.
    run_id : str, optional
        Only this run; the beginning of its id is enough.

    Raises
    ------
    ValueError
        If `reason` is none of these.
    """
    if reason is not None and reason not in REASONS:
        raise ValueError(f"reason={reason!r} is none of {', '.join(REASONS)}")
    query = RejectedResult.select()
    if models is not None:
        query = query.where(RejectedResult.model.in_(list(models)))
    if reason is not None:
        query = query.where(RejectedResult.reason == reason)
    return query if run_id is None else query.where(RejectedResult.run_id.startswith(run_id))


def has_failures(model_name: str) -> bool:
    """Tell whether anything is listed for an output model."""
    return RejectedResult.select().where(RejectedResult.model == model_name).exists()


def forget(model_name: str, key_name: str, keys: Iterable[int], v_astra: int) -> None:
    """Delete failures and refusals of some keys, at this version and older patches of it.

    Parameters
    ----------
    model_name : str
        Name of the output model.
    key_name : {"spectrum_pk", "source_pk"}
        What the keys are.
    keys : iterable of int
        The keys, any number of them.
    v_astra : int
        The version that has a result now, or a newer failure.
    """
    RejectedResult.delete().where(
        RejectedResult.model == model_name,
        is_any_of(RejectedResult._meta.fields[key_name], keys),
        RejectedResult.v_astra.between(max(0, v_astra // 1000 * 1000), v_astra),
    ).execute()


def forget_contract(model_name: str, keys: Iterable[int | None], v_astra: int, last: int) -> None:
    """Delete results of some spectra that weren't asked for, as far as they were listed up to a row.

    Parameters
    ----------
    model_name : str
        Name of the output model.
    keys : iterable of int or None
        The ``spectrum_pk`` that they were given with.
    v_astra : int
        The version at which they were given.
    last : int
        The key of the last row to delete.
    """
    all_keys = set(keys)
    if not all_keys or not last:
        return
    about = is_any_of(RejectedResult.spectrum_pk, [key for key in all_keys if key is not None])
    if None in all_keys:
        about |= RejectedResult.spectrum_pk.is_null()
    RejectedResult.delete().where(
        RejectedResult.model == model_name,
        RejectedResult.reason == CONTRACT,
        RejectedResult.v_astra == v_astra,
        RejectedResult.pk <= last,
        about,
    ).execute()
