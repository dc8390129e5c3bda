"""What was counted of tables that are too large to be counted whenever somebody asks."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from astra_models.base import BaseModel, database
from astra_models.database.retry import run_transaction
from astra_models.fields import AutoField, DateTimeField, FloatField, IntegerField, TextField

__all__ = ["DUE", "REJECTED", "RESULTS", "ROWS", "Counted", "SurveyCount", "keep_counts", "kept_counts"]

ROWS, RESULTS, DUE, REJECTED = "rows", "results", "due", "rejected"
"""What is counted: rows; results by version; spectra that are due; what was rejected, by model, version and reason."""


class SurveyCount(BaseModel):
    """What was counted last of a large table: at the end of a long run, or by ``astra status --exact``."""

    pk = AutoField()
    table_name = TextField(help_text="The table; of what is due, that of the results")
    what = TextField(help_text="rows, results, due or rejected")
    found = TextField(help_text="What was counted, as JSON")
    v_astra = IntegerField(unit="", help_text="The version of Astra that counted")
    counted = DateTimeField(help_text="When it was counted (UTC)")
    seconds = FloatField(unit="s", help_text="How long that took")

    class Meta:
        indexes = ((("table_name", "what"), True),)


class Counted(NamedTuple):
    """Something that was counted.

    Parameters
    ----------
    table : str
        The table.
    what : str
        What of it: one of `ROWS`, `RESULTS`, `DUE`, `REJECTED`.
    found : object
        What JSON can hold.
    v_astra : int
        The version of Astra that counted.
    seconds : float
        How long it took.
    counted : datetime
        When.
    """

    table: str
    what: str
    found: Any
    v_astra: int
    seconds: float
    counted: datetime


def kept_counts() -> dict[tuple[str, str], Counted]:
    """Give what was counted last, by table and by what was counted; nothing if the database keeps no counts."""

    def read() -> list[SurveyCount]:
        return list(SurveyCount.select()) if SurveyCount.table_exists() else []

    return {
        (row.table_name, row.what): Counted(
            row.table_name, row.what, json.loads(row.found), row.v_astra, row.seconds, row.counted
        )
        for row in run_transaction(database, read)
    }


def keep_counts(counts: Iterable[Counted]) -> None:
    """Keep what was counted, in place of what was counted before.

    Raises
    ------
    StorageError
        If the database can't be written to.
    peewee.PeeweeException
        If it has no table for that.
    """
    rows = [
        {
            "table_name": one.table,
            "what": one.what,
            "found": json.dumps(one.found, default=str),
            "v_astra": one.v_astra,
            "counted": one.counted,
            "seconds": one.seconds,
        }
        for one in counts
    ]
    if not rows:
        return
    replaced = [SurveyCount.found, SurveyCount.v_astra, SurveyCount.counted, SurveyCount.seconds]
    key = [SurveyCount.table_name, SurveyCount.what]
    query = SurveyCount.insert_many(rows).on_conflict(conflict_target=key, preserve=replaced)
    run_transaction(database, query.execute)
