"""Upserting into PostgreSQL: binary COPY into a temporary table, then one INSERT ... ON CONFLICT.

The stage is joined to the table, row by row through the key's index, so that rows that exist keep their own
primary key and use no value of its sequence. A few keys of a batch tell which shorter way may do: if none of them
exists, the batch is copied straight into the table; if all do, the stage updates the table. Where that turns out to be
wrong for some row, the batch takes the usual way.
"""

import io
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import peewee

from astra_models.database.sql import driver_errors, quote
from astra_models.fields import GeneratedField
from astra_models.upsert.batch import Batch
from astra_models.upsert.binary_copy import binary_copy
from astra_models.upsert.columns import kind_of
from astra_models.upsert.plan import UpsertPlan
from astra_models.upsert.writer import Stored, Writer, Written

COPY_CHUNK = 1 << 20
KEYS_LOOKED_UP = 64

_stage_numbers = itertools.count()


class PostgresqlWriter(Writer):
    """Writes batches by COPY."""

    def __init__(self, plan: UpsertPlan, keep_good: bool, skip_unchanged: bool, returning: bool):
        super().__init__(plan, keep_good, skip_unchanged, returning)
        self.stage = quote(f"astra_stage_{next(_stage_numbers)}")

    def write(self, batch: Batch) -> Written:
        """Write a batch, in the transaction that is open."""
        # Compiling a statement of hundreds of columns takes longer than running it.
        self._run("SET LOCAL jit = off")
        pieces = list(binary_copy(list(batch.columns.values())))
        n_known, n_looked_up = self._look_up_few(batch)
        written = self._copy_new(pieces, len(batch)) if n_known == 0 else None
        written = written or self._through_stage(pieces, len(batch), all_known=n_known == n_looked_up)
        return replace(written, stored=self._stored(batch)) if self.returning else written

    def _look_up_few(self, batch: Batch) -> tuple[int, int]:
        """Look up a few of the batch's keys; gives how many are in the table, and how many were looked up."""
        some = np.unique(np.linspace(0, len(batch) - 1, KEYS_LOOKED_UP).astype(int))
        known = self._run(f"SELECT count(*) FROM {self._known()}", self._keys(batch.take(some))).fetchone()[0]
        return known, len(some)

    def _copy_new(self, pieces: list[bytes], n_rows: int) -> Written | None:
        """Copy rows into the table, as is fastest, if all of them are new; else do nothing."""
        try:
            with self.database.atomic():
                self._copy(self.table, pieces)
        except peewee.IntegrityError:
            return None  # another one exists, or a row is bad: the careful way tells
        return Written(inserted=n_rows)

    def _through_stage(self, pieces: list[bytes], n_rows: int, all_known: bool) -> Written:
        self._run(f"CREATE TEMPORARY TABLE {self.stage} ({self._stage_columns()}) ON COMMIT DROP")
        self._copy(self.stage, pieces)
        written = self._update_all(n_rows) if all_known and not self.overwrites("old", "new") else None
        written = written or self._upsert(n_rows)
        self._run(f"DROP TABLE {self.stage}")
        return written

    def _update_all(self, n_rows: int) -> Written | None:
        """Update the rows that exist, which is faster than an upsert; None if they weren't all."""
        columns = (quote(column.column_name) for column in self.plan.updated)
        updates = ", ".join(f"{column} = new.{column}" for column in columns)
        # Row by row through the key's index, and so in the order of the stage: other writers lock in this order too.
        self._run("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        updated = self._run(
            f"UPDATE {self.table} AS old SET {updates} FROM {self.stage} AS new WHERE {self.same_key('old', 'new')}"
        ).rowcount
        self._run("SET LOCAL enable_hashjoin = DEFAULT; SET LOCAL enable_mergejoin = DEFAULT")
        return Written(updated=updated) if updated == n_rows else None

    def _upsert(self, n_rows: int) -> Written:
        inserted, written = self._run(self._upsert_statement()).fetchone()
        kept = self._count_kept() if self.keep_good else 0
        return Written(inserted, written - inserted, n_rows - written - kept, kept)

    def _run(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        return self.database.execute_sql(sql, parameters)

    def _stage_columns(self) -> str:
        columns = [f"{quote(column.column_name)} {kind_of(column).sql}" for column in self.plan.fields]
        columns += [
            f"{quote(key.column_name)} integer GENERATED ALWAYS AS ({key.expression}) STORED"
            for key in self.plan.key
            if isinstance(key, GeneratedField)
        ]
        return ", ".join(columns)

    def _copy(self, table: str, pieces: Iterable[bytes]) -> None:
        stream = io.BytesIO(b"".join(pieces))
        statement = f"COPY {table} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"
        with driver_errors:
            self.database.cursor().copy_expert(statement, stream, COPY_CHUNK)

    def _upsert_statement(self) -> str:
        columns = ", ".join(self.columns)
        staged = ", ".join(f"new.{column}" for column in self.columns)
        own_key = f"(SELECT old.{self.primary_key} FROM {self.table} AS old WHERE {self.same_key('old', 'new')})"
        order = ", ".join(f"new.{column}" for column in self.key)
        return (
            f"WITH written AS (INSERT INTO {self.table} AS old ({self.primary_key}, {columns}) "
            f"SELECT coalesce({own_key}, {self._next_key()}), {staged} FROM {self.stage} AS new "
            f"{self._where_it_matters()} ORDER BY {order} {self.on_conflict()} RETURNING (xmax = 0) AS is_new) "
            "SELECT count(*) FILTER (WHERE is_new), count(*) FROM written"
        )

    def _next_key(self) -> str:
        name = self.plan.primary_key.column_name
        sequence = self._run("SELECT pg_get_serial_sequence(%s, %s)", (self.table, name)).fetchone()[0]
        return f"nextval('{sequence}')"

    def _where_it_matters(self) -> str:
        condition = self.overwrites("old", "new")
        if not condition:
            return ""
        # A subquery of one value, and not a join, so that the key's index serves each row however large the table.
        return f"WHERE (SELECT {condition} FROM {self.table} AS old WHERE {self.same_key('old', 'new')}) IS NOT FALSE"

    def _count_kept(self) -> int:
        old = f"SELECT {self.has_measured('old')} FROM {self.table} AS old WHERE {self.same_key('old', 'new')}"
        statement = f"SELECT count(*) FROM {self.stage} AS new WHERE NOT {self.has_measured('new')} AND ({old})"
        return self._run(statement).fetchone()[0]

    def _known(self) -> str:
        """Give the FROM clause that finds the rows that exist, with arrays of key columns as parameters."""
        types = ", ".join(f"%s::{kind_of(key).sql}[]" for key in self.plan.key)
        # LIMIT keeps the planner from joining with all of a large table.
        old = f"SELECT * FROM {self.table} AS old WHERE {self.same_key('old', 'new')} LIMIT 1"
        return f"unnest({types}) AS new ({', '.join(self.key)}), LATERAL ({old}) AS old"

    def _keys(self, batch: Batch) -> tuple[list[Any], ...]:
        return tuple(key.tolist() for key in batch.key_values())

    def _stored(self, batch: Batch) -> Stored:
        key = ", ".join(f"old.{column}" for column in self.key)
        rows = self._run(f"SELECT {key}, old.{self.primary_key}, old.created FROM {self._known()}", self._keys(batch))
        return {tuple(row[:-2]): (row[-2], row[-1]) for row in rows.fetchall()}
