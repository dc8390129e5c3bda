"""Upserting into SQLite: one prepared INSERT ... ON CONFLICT, run over a batch's columns."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from astra_models.database.sql import driver_errors
from astra_models.upsert.batch import Batch
from astra_models.upsert.columns import FLOAT32, FLOAT64, FLOATS, MOMENT, Column
from astra_models.upsert.lookup import find_rows
from astra_models.upsert.writer import Writer, Written


class SqliteWriter(Writer):
    """Writes batches by ``executemany``."""

    distinct = "IS NOT"

    @property
    def checks_keys_first(self) -> bool:
        """Whether the connection leaves foreign keys unchecked (SQLite's own default)."""
        return not self.database.pragma("foreign_keys")

    def write(self, batch: Batch) -> Written:
        """Write a batch, in the transaction that is open."""
        kept = self._count_kept(batch) if self.keep_good else 0
        count_inserted = self._new_keys(batch) if self.plan.assigns_keys else self._keys_added()
        written = self._insert(as_rows(batch), self.on_conflict())
        inserted = count_inserted()
        stored = self.stored(batch) if self.returning else {}
        return Written(inserted, written - inserted, len(batch) - written - kept, kept, stored)

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

    def _query(self, sql: str, *parameters: Any) -> Any:
        return self.database.execute_sql(sql, parameters).fetchone()[0]

    def _insert(self, rows: Iterable[tuple[Any, ...]], on_conflict: str = "") -> int:
        places = ", ".join("?" * len(self.columns))
        statement = f"INSERT INTO {self.table} AS old ({', '.join(self.columns)}) VALUES ({places}) {on_conflict}"
        connection = self.database.connection()
        before = connection.total_changes
        with driver_errors:
            connection.executemany(statement, rows)
        return connection.total_changes - before

    def _count_kept(self, batch: Batch) -> int:
        unmeasured = np.all([batch.columns[column.name].null for column in self.plan.measured], axis=0)
        keys = batch.keys(np.flatnonzero(unmeasured))
        return len(find_rows(self.plan.model, keys, condition=self.has_measured("old")))


def as_rows(batch: Batch) -> Iterator[tuple[Any, ...]]:
    """Give a batch's rows as SQLite's driver takes them: Python numbers and text, NaN or None where NULL."""
    return zip(*(_as_bound(column) for column in batch.columns.values()), strict=True)


def _as_bound(column: Column) -> list[Any]:
    """Give a column's values as Python objects; SQLite stores NaN as NULL."""
    values = column.values
    if column.kind in (FLOAT32, FLOAT64):
        values = values.astype(np.float64)
        if column.null.any():
            values[column.null] = np.nan
        return values.tolist()
    if column.kind is MOMENT:
        values = _iso_texts(values)
    elif column.kind is FLOATS:
        values = np.array([None if value is None else json.dumps(value.tolist()) for value in values], dtype=object)
    if not column.null.any():
        return values.tolist()
    return [None if null else value for value, null in zip(values.tolist(), column.null.tolist(), strict=True)]


def _iso_texts(moments: np.ndarray) -> np.ndarray:
    """Write moments as `DateTimeField` does; a batch has few different ones."""
    distinct, places = np.unique(moments, return_inverse=True)
    texts = [f"{text.replace('T', ' ')}+00:00" for text in np.datetime_as_string(distinct, unit="us")]
    return np.array(texts, dtype=object)[places]
