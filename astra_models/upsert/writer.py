"""What the writers for PostgreSQL and SQLite share, and the report of what they did."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import peewee

from astra_models.database.sql import quote, quoted_table
from astra_models.notebook.reports import report_html
from astra_models.upsert.batch import Batch
from astra_models.upsert.lookup import find_rows
from astra_models.upsert.plan import REVISION, Key, Rules, UpsertPlan

Stored = dict[Key, tuple[int, str | datetime]]
"""Primary key and creation time (as the driver gives it) of stored rows, by unique key."""


@dataclass(frozen=True)
class UpsertReport:
    """How many rows were inserted, updated, rejected...: the counts add up to the rows given. Reports can be added.

    Parameters
    ----------
    inserted : int
        New rows.
    updated : int
        Rows that replaced one of the same key.
    unchanged : int
        Rows that equal what is stored, and were left alone (``unchanged="skip"``), or that have the same result as
        what is stored, and were written (``unchanged="count"``).
    kept : int
        Rows that didn't replace what is stored: that is of a newer patch (``existing="newest"``), or there at all
        (``existing="keep"``), or has measured values where they have none (``keep_good=True``).
    rejected : int
        Rows that can't be stored; they are kept in ``rejected_result``.
    superseded : int
        Rows that were left out because another one of the same batch has the same key.
    seconds : float
        How long it took.
    reasons : Counter
        Why rows were rejected, and how many for each reason.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    rejected: int = 0
    superseded: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """The number of rows given."""
        return self.inserted + self.updated + self.unchanged + self.kept + self.rejected + self.superseded

    def _repr_html_(self) -> str:
        names = ("inserted", "updated", "unchanged", "kept", "rejected", "superseded")
        return report_html({name: getattr(self, name) for name in names}, self.seconds, self.reasons)

    def __add__(self, other: "UpsertReport") -> "UpsertReport":
        return UpsertReport(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.kept + other.kept,
            self.rejected + other.rejected,
            self.superseded + other.superseded,
            self.seconds + other.seconds,
            self.reasons + other.reasons,
        )


@dataclass(frozen=True)
class Written:
    """What became of the rows of a batch.

    Parameters
    ----------
    inserted, updated, unchanged, kept : int
        Counts of rows.
    stored : dict
        Primary key and creation time by unique key, if they were asked for.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    stored: Stored = field(default_factory=dict)

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.kept + other.kept,
            self.stored | other.stored,
        )


class Writer(ABC):
    """Writes batches of one model into its table.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    rules : Rules
        What happens to a row whose key is stored already.
    returning : bool
        Whether to give back primary keys and creation times.
    """

    def __init__(self, plan: UpsertPlan, rules: Rules, returning: bool):
        self.plan = plan
        self.database = plan.model._meta.database
        self.keep_good = rules.keep_good and bool(plan.measured)
        self.keep_all = rules.existing == "keep"
        self.keep_newer = plan.version if rules.existing in ("newest", "merge") else None
        self.skip_unchanged = rules.unchanged == "skip"
        self.count_unchanged = rules.unchanged == "count" and not self.keep_all
        self.returning = returning
        self.table = quoted_table(plan.model)
        self.primary_key = quote(plan.primary_key.column_name)
        self.key = [quote(key.column_name) for key in plan.key]
        self.columns = [quote(column.column_name) for column in plan.fields]

    @property
    def checks_keys_first(self) -> bool:
        """Whether foreign keys have to be looked up before writing, because the database doesn't check them."""
        return False

    def prepare(self, batch: Batch) -> None:  # noqa: B027  there may be nothing to do
        """Do the work on a batch that needs no database; this may be called in another thread."""

    @abstractmethod
    def write(self, batch: Batch) -> Written:
        """Write a batch, in the transaction that is open."""

    @abstractmethod
    def insert(self, batch: Batch) -> None:
        """Write a batch of rows of which none is in the table, in the transaction that is open.

        Raises
        ------
        peewee.IntegrityError
            If one is, or a row is bad.
        """

    def stored(self, batch: Batch) -> Stored:
        """Give primary key and creation time of a batch's rows, by unique key."""
        wanted = [*self.plan.key, self.plan.primary_key, self.plan.model._meta.fields["created"]]
        rows = find_rows(self.plan.model, batch.keys(), wanted)
        return {tuple(row[1:-2]): (row[-2], row[-1]) for row in rows}

    def on_conflict(self) -> str:
        """Give the clause that updates the row of the same key."""
        clause = f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {self.updates('old', 'excluded')}"
        condition = self.overwrites("old", "excluded")
        return f"{clause} WHERE {condition}" if condition else clause

    def updates(self, old: str, new: str) -> str:
        """Give the assignments that make an old row a new one."""
        return ", ".join(self._assignment(column, old, new) for column in self.plan.updated)

    def _assignment(self, column: peewee.Field, old: str, new: str) -> str:
        name = quote(column.column_name)
        if column.name == REVISION and self.plan.given is not None:
            return f"{name} = NULL"  # the columns that are given don't say what the row holds now
        return f"{name} = coalesce({new}.{name}, {old}.{name})" if self.plan.fills else f"{name} = {new}.{name}"

    def overwrites(self, old: str, new: str) -> str:
        """Give the condition for a new row to replace an old one, or "" if it always does."""
        conditions = [self.may_replace(old, new)]
        if self.skip_unchanged:
            conditions.append(f"({' OR '.join(self._differs(old, new)) or 'false'})")
        return " AND ".join(filter(None, conditions))

    def may_replace(self, old: str, new: str) -> str:
        """Give the condition for a new row to replace an old one where they differ, or "" if it always may."""
        if self.keep_all:
            return "false"
        conditions = []
        if self.keep_newer is not None:
            version = quote(self.keep_newer.column_name)
            conditions.append(f"{old}.{version} <= {new}.{version}")
        if self.keep_good:
            conditions.append(f"({self.has_measured(new)} OR NOT {self.has_measured(old)})")
        return " AND ".join(conditions)

    def has_same_result(self, old: str, new: str) -> str:
        """Give the condition for a new row to replace an old one that has the same result."""
        columns = (quote(column.column_name) for column in self.plan.results)
        same = [f"NOT {old}.{column} {self.distinct} {new}.{column}" for column in columns]
        return " AND ".join(filter(None, [self.may_replace(old, new), *same])) or "true"

    def has_measured(self, row: str) -> str:
        """Give the condition for a row to hold a measured value."""
        columns = (quote(column.column_name) for column in self.plan.measured)
        return "(" + " OR ".join(f"{row}.{column} IS NOT NULL" for column in columns) + ")"

    def same_key(self, one: str, other: str) -> str:
        """Give the condition for two rows to have the same key."""
        return " AND ".join(f"{one}.{column} = {other}.{column}" for column in self.key)

    def _differs(self, old: str, new: str) -> list[str]:
        columns = [quote(column.column_name) for column in self.plan.compared]
        if self.plan.fills:  # where nothing is given, there is no difference
            return [f"coalesce({new}.{column} <> {old}.{column}, {new}.{column} IS NOT NULL)" for column in columns]
        return [f"{old}.{column} {self.distinct} {new}.{column}" for column in columns]

    distinct = "IS DISTINCT FROM"
