"""Upserting into SQLite: one prepared INSERT ... ON CONFLICT, run over a batch's columns."""

import json
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from astra_models.columns.typed import FLOAT32, FLOAT64, FLOATS, MOMENT, Column
from astra_models.database.sql import driver_errors, quote
from astra_models.upsert.batch import Batch
from astra_models.upsert.lookup import find_rows
from astra_models.upsert.writer import Writer, Written

VALUES_AT_ONCE = 16_000
"""As many Python objects as stay in the processor's cache until they are written."""


class SqliteWriter(Writer):
    """Writes batches by ``executemany``."""

    distinct = "IS NOT"

    @property
    def checks_keys_first(self) -> bool:
        """Whether the connection leaves foreign keys unchecked (SQLite's own default)."""
        return not self.database.pragma("foreign_keys")

    def write(self, batch: Batch) -> Written:
        """Write a batch, in the transaction that is open."""
        n_same = self._count_same_results(batch) if self.count_unchanged else 0
        count_inserted = self._new_keys(batch) if self.plan.assigns_keys else self._keys_added()
        written = self._insert(as_rows(batch), self.on_conflict())
        inserted = count_inserted()
        left = len(batch) - written
        kept = len(self._kept(batch)) if left and self.skip_unchanged and not self.keep_all else left
        stored = self.stored(batch) if self.returning else {}
        return Written(inserted, written - inserted - n_same, n_same + left - kept, kept, stored)

    def insert(self, batch: Batch) -> None:
        """Write a batch of rows of which none is in the table, in the transaction that is open."""
        self._insert(as_rows(batch))

    def _keys_added(self) -> Callable[[], int]:
        # Nobody else writes meanwhile, so the rows with higher keys are those that are added.
        last = self._query(f"SELECT coalesce(max({self.primary_key}), 0) FROM {self.table}")
        return lambda: self._query(f"SELECT count(*) FROM {self.table} WHERE {self.primary_key} > ?", last)

    def _new_keys(self, batch: Batch) -> Callable[[], int]:
        n_new = len(batch) - len(find_rows(self.plan.model, batch.keys()))
        return lambda: n_new

    def _query(self, sql: str, *parameters: int) -> int:
        return self.database.execute_sql(sql, parameters).fetchone()[0]

    def _insert(self, rows: Iterable[tuple], on_conflict: str = "") -> int:
        places = ", ".join("?" * len(self.columns))
        statement = f"INSERT INTO {self.table} AS old ({', '.join(self.columns)}) VALUES ({places}) {on_conflict}"
        with driver_errors:
            return self.database.connection().executemany(statement, rows).rowcount  # without what triggers change

    def _kept(self, batch: Batch) -> set[int]:
        """Give the places of rows that may not replace what is stored."""
        kept: set[int] = set()
        if self.keep_good:
            unmeasured = np.flatnonzero(
                np.all([batch.columns[field.name].null for field in self.plan.measured], axis=0)
            )
            good = find_rows(self.plan.model, batch.keys(unmeasured), condition=self.has_measured("old"))
            kept.update(int(unmeasured[place]) for (place,) in good)
        if self.keep_newer is not None and self._may_be_newer(batch):
            versions = batch.columns[self.keep_newer.name].values
            stored = find_rows(self.plan.model, batch.keys(), [self.keep_newer])
            kept.update(place for place, version in stored if version > versions[place])
        return kept

    def _may_be_newer(self, batch: Batch) -> bool:
        """Tell from the index of versions whether a row may be stored that is of a newer patch than one given."""
        version = self.plan.version
        assert version is not None
        versions = batch.columns[version.name].values
        name = quote(version.column_name)
        highest = self._query(
            f"SELECT coalesce(max({name}), 0) FROM {self.table} WHERE {name} <= ?", self.plan.last_patch(versions.max())
        )
        return highest > versions.min()

    def _count_same_results(self, batch: Batch) -> int:
        """Count the rows that replace what is stored by the same result."""
        compared = find_rows(self.plan.model, batch.keys(), self.plan.results)
        if not compared:
            return 0
        kept = self._kept(batch)
        columns = [_as_fetched(batch.columns[field.name]) for field in self.plan.results]
        given = list(zip(*columns, strict=True)) if columns else [()] * len(batch)  # rows may set nothing but keys
        return sum(row[1:] == given[row[0]] and row[0] not in kept for row in compared)


def as_rows(batch: Batch) -> Iterator[tuple]:
    """Give a batch's rows as tuples for SQLite's driver: Python numbers and text, NaN where NULL."""
    columns = [_as_bound(column) for column in batch.columns.values()]
    n_rows = max(1, VALUES_AT_ONCE // len(columns))
    for start in range(0, len(batch), n_rows):
        yield from zip(*(values[start : start + n_rows].tolist() for values in columns), strict=True)


def _as_bound(column: Column) -> np.ndarray:
    """Give a column's values so that ``tolist`` makes what SQLite takes of them.

    NaN stands for NULL in columns of any type: SQLite stores it so, and the driver binds it ten times faster than None,
    for which it looks for an adapter each time.
    """
    values, null = column.values, column.null
    if null.all():
        return np.full(len(values), np.nan)
    if column.kind in (FLOAT32, FLOAT64):
        values = values.astype(np.float64)
        values[null] = np.nan
        return values
    if column.kind is MOMENT:
        values = _iso_texts(values)
    elif column.kind is FLOATS:
        values = np.array([None if value is None else json.dumps(value.tolist()) for value in values], dtype=object)
    if null.any():
        values = values.astype(object)
        values[null] = np.nan
    return values


def _as_fetched(column: Column) -> list[object]:
    """Give a column's values as SQLite's driver gives those that were stored."""
    values = _as_bound(column)
    if column.null.any():
        values = values.astype(object)
        values[column.null] = None
    return values.tolist()


def _iso_texts(moments: np.ndarray) -> np.ndarray:
    """Write moments as `DateTimeField` does; a batch has few different ones."""
    distinct, places = np.unique(moments, return_inverse=True)
    lines = "+00:00\n".join([*np.datetime_as_string(distinct, unit="us").tolist(), ""]).replace("T", " ")
    return np.array(lines.splitlines(), dtype=object)[places]
