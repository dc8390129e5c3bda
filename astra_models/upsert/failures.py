"""Forgetting failures of spectra that now have a result, or a newer failure."""

from collections.abc import Iterable

import numpy as np

from astra_models.database.sql import is_any_of
from astra_models.rejected import RejectedResult
from astra_models.upsert.batch import Batch


def forget_failures(batch: Batch) -> None:
    """Take the batch's spectra off the list of failures of the same major.minor version, in the open transaction."""
    model_name = batch.plan.model.__name__
    key = batch.plan.key[0]
    if not len(batch) or not has_failures(model_name):
        return
    versions = batch.columns["v_astra"].values
    for v_astra in np.unique(versions).tolist():
        forget(model_name, key.name, batch.columns[key.name].values[versions == v_astra].tolist(), v_astra)


def has_failures(model_name: str) -> bool:
    """Tell whether anything is listed for an output model."""
    return RejectedResult.select().where(RejectedResult.model == model_name).exists()


def forget(model_name: str, key_name: str, keys: Iterable[int], v_astra: int) -> None:
    """Delete what is listed for some keys, at this version and older patches of it."""
    RejectedResult.delete().where(
        RejectedResult.model == model_name,
        is_any_of(RejectedResult._meta.fields[key_name], keys),
        RejectedResult.v_astra.between(v_astra // 1000 * 1000, v_astra),
    ).execute()
