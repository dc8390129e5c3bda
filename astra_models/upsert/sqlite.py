"""Upserting into SQLite: one prepared INSERT ... ON CONFLICT, run over a batch's columns."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from astra_models.database.sql import driver_errors
from astra_models.upsert.batch import Batch
from astra_models.upsert.columns import FLOAT32, FLOAT64, FLOATS, MOMENT, Column
from astra_models.upsert.writer import Stored, Writer, Written

VALUES_AT_ONCE = 100_000


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
        last = self._query(f"SELECT coalesce(max({self.primary_key}), 0) FROM {self.table}")
        written = self._insert(as_rows(batch))
        # Nobody else writes meanwhile, so the rows with higher keys are those that this batch added.
        inserted = self._query(f"SELECT count(*) FROM {self.table} WHERE {self.primary_key} > ?", last)
        stored = self._stored(self._keys_as_json(batch)) if self.returning else {}
        return Written(inserted, written - inserted, len(batch) - written - kept, kept, stored)

    def _query(self, sql: str, *parameters: Any) -> Any:
        return self.database.execute_sql(sql, parameters).fetchone()[0]

    def _insert(self, rows: Iterable[tuple[Any, ...]]) -> int:
        places = ", ".join("?" * len(self.columns))
        statement = (
            f"INSERT INTO {self.table} AS old ({', '.join(self.columns)}) VALUES ({places}) {self.on_conflict()}"
        )
        connection = self.database.connection()
        before = connection.total_changes
        with driver_errors:
            connection.executemany(statement, rows)
        return connection.total_changes - before

    def _keys_as_json(self, batch: Batch) -> str:
        return json.dumps(list(zip(*(key.tolist() for key in batch.key_values()), strict=True)))

    def _known(self) -> str:
        matches = " AND ".join(
            f"old.{column} = json_extract(new.value, '$[{place}]')" for place, column in enumerate(self.key)
        )
        # CROSS JOIN keeps this order of the tables: the key's index is looked into for each row of the batch.
        return f"FROM json_each(?) AS new CROSS JOIN {self.table} AS old ON {matches}"

    def _count_kept(self, batch: Batch) -> int:
        unmeasured = np.all([batch.columns[column.name].null for column in self.plan.measured], axis=0)
        keys = self._keys_as_json(batch.take(np.flatnonzero(unmeasured)))
        return self._query(f"SELECT count(*) {self._known()} WHERE {self.has_measured('old')}", keys)

    def _stored(self, keys: str) -> Stored:
        key = ", ".join(f"old.{column}" for column in self.key)
        rows = self.database.execute_sql(f"SELECT {key}, old.{self.primary_key}, old.created {self._known()}", (keys,))
        return {tuple(row[:-2]): (row[-2], row[-1]) for row in rows.fetchall()}


def as_rows(batch: Batch) -> Iterator[tuple[Any, ...]]:
    """Give a batch's rows as SQLite's driver takes them: Python numbers and text, NaN or None where NULL."""
    # A few at a time, because as Python objects they take eight times the memory.
    n_rows = max(1, VALUES_AT_ONCE // len(batch.columns))
    for start in range(0, len(batch), n_rows):
        some = slice(start, start + n_rows)
        yield from zip(*(_as_bound(column.take(some)) for column in batch.columns.values()), strict=True)


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
