"""Upserting into PostgreSQL: binary COPY into a temporary table, then one INSERT ... ON CONFLICT.

The stage is joined to the table, so that rows that exist keep their own primary key and use no value of its sequence.
A few keys of a batch are looked up first. If none of them exists, the batch is copied straight into the table; if all
do, the table is updated from the stage. If that turns out to be wrong for some row, the batch goes the usual way.

With ``unchanged="skip"``, rows are compared here with what is stored, floats by a hash that the server makes, and only
those that differ are staged: reading is faster than staging.

A stage is made once per connection and is empty after each transaction: making a table of hundreds of columns for
every batch would take a tenth of the time and leave the catalogues full of dead rows.
"""

import hashlib
from dataclasses import replace

import numpy as np
import peewee
import psycopg2.extensions

from astra_models.columns.copy_format import CopyStream
from astra_models.columns.typed import kind_of
from astra_models.database.sql import driver_errors, quote
from astra_models.fields import GeneratedField
from astra_models.upsert.batch import Batch
from astra_models.upsert.compare import compared_in_sql
from astra_models.upsert.lookup import find_a_few, next_key
from astra_models.upsert.plan import Rules, UpsertPlan
from astra_models.upsert.writer import Writer, Written

COPY_CHUNK = 1 << 20
NEAR = 4
"""Keys are near each other if their range has at most so many for each of them."""


class PostgresqlWriter(Writer):
    """Writes batches by COPY."""

    def __init__(self, plan: UpsertPlan, rules: Rules, returning: bool):
        super().__init__(plan, rules, returning)
        layout = hashlib.sha256(f"{self.table} ({self._stage_columns()})".encode()).hexdigest()
        self.stage = quote(f"astra_stage_{layout[:16]}")
        self.expects_unchanged = self.skip_unchanged  # as in the batch before
        self.updates_first = not (self.keep_good or self.keep_all or self.skip_unchanged)

    def prepare(self, batch: Batch) -> None:
        """Encode a batch, which takes time but no database."""
        _ = batch.places if self.expects_unchanged else batch.encoded

    def write(self, batch: Batch) -> Written:
        """Write a batch, in the transaction that is open."""
        # Compiling a statement of hundreds of columns takes longer than running it.
        self._run("SET LOCAL jit = off")
        n_known, n_looked_up = find_a_few(self.plan.model, batch.keys())
        written = self._copy_new(batch) if n_known == 0 else None
        written = written or self._write_changed(batch, all_known=n_known == n_looked_up)
        self.expects_unchanged = self.skip_unchanged and written.unchanged > len(batch) // 2
        return replace(written, stored=self.stored(batch)) if self.returning else written

    def insert(self, batch: Batch) -> None:
        """Write a batch of rows of which none is in the table, in the transaction that is open."""
        self._copy(self.table, batch)

    def _copy_new(self, batch: Batch) -> Written | None:
        """Copy rows into the table, as is fastest, if all of them are new; else do nothing."""
        try:
            with self.database.atomic():
                self._copy(self.table, batch)
        except peewee.IntegrityError:
            return None  # another one exists, or a row is bad: the careful way tells
        return Written(inserted=len(batch))

    def _write_changed(self, batch: Batch, all_known: bool) -> Written:
        """Write what is not as it is stored, if most rows are expected to be; else all rows."""
        near = self._range_of(batch)
        if not (self.expects_unchanged and near):
            return self._through_stage(batch, all_known)
        unchanged = self._find_unchanged(batch, near)
        others = np.delete(np.arange(len(batch)), unchanged)
        written = self._through_stage(batch.take(others), all_known) if len(others) else Written()
        return written + Written(unchanged=len(unchanged))

    def _find_unchanged(self, batch: Batch, near: str) -> list[int]:
        """Give the places of rows that equal the stored ones; some of them may be missing."""
        columns = [*self.plan.key, *self.plan.compared_beside_key]
        compared = compared_in_sql([(f"old.{quote(column.column_name)}", kind_of(column)) for column in columns])
        stored = self._run(f"SELECT {compared} FROM {self.table} AS old WHERE {near}").fetchall()
        return [place for place in map(batch.places.get, stored) if place is not None]

    def _through_stage(self, batch: Batch, all_known: bool) -> Written:
        self._run(f"CREATE TEMPORARY TABLE IF NOT EXISTS {self.stage} ({self._stage_columns()}) ON COMMIT DELETE ROWS")
        if self._run(f"SELECT FROM {self.stage} LIMIT 1").fetchone() is not None:
            self._run(f"TRUNCATE {self.stage}")  # of an earlier part of this transaction
        self._copy(self.stage, batch)
        # Either join takes the stage in its order, by key, so that concurrent writers lock rows in the same order.
        near = self._range_of(batch)
        other_joins = ("enable_mergejoin", "enable_nestloop" if near else "enable_hashjoin")
        self._run("".join(f"SET LOCAL {join} = off;" for join in other_joins))
        n_same = self._count(near, self.has_same_result("old", "new")) if self.count_unchanged else 0
        written = self._update_all(len(batch), near) if all_known and self.updates_first else None
        written = written or self._upsert(len(batch), near)
        self._run("".join(f"SET LOCAL {join} = DEFAULT;" for join in other_joins))
        return written + Written(updated=-n_same, unchanged=n_same) if n_same else written

    def _update_all(self, n_rows: int, near: str) -> Written | None:
        """Update the rows that exist, which is faster than an upsert; None if they weren't all."""
        updated = self._run(
            f"UPDATE {self.table} AS old SET {self.updates('old', 'new')} FROM {self.stage} AS new "
            f"WHERE {' AND '.join(filter(None, [self._same_key_within(near), self.overwrites('old', 'new')]))}"
        ).rowcount
        return Written(updated=updated) if updated == n_rows else None

    def _upsert(self, n_rows: int, near: str) -> Written:
        ((inserted, written),) = self._run(self._upsert_statement(near)).fetchall()
        kept = left = n_rows - written
        if left and self.skip_unchanged and not self.keep_all:
            kept = self._count(near, f"NOT ({self.may_replace('old', 'new') or 'true'})")
        return Written(inserted, written - inserted, left - kept, kept)

    def _range_of(self, batch: Batch) -> str:
        """Give the condition for a row to be in the range of the batch's keys, if these are near each other, else "".

        The table is then read once over that range; otherwise, the key's index serves each row, however large the
        table.
        """
        keys = batch.key_values()
        if keys[0].dtype.kind != "i" or int(keys[0][-1]) - int(keys[0][0]) >= NEAR * len(batch):
            return ""
        return " AND ".join(
            f"old.{name} BETWEEN {values.min()} AND {values.max()}"
            for name, values in zip(self.key, keys, strict=True)
            if values.dtype.kind == "i"
        )

    def _run(self, sql: str) -> psycopg2.extensions.cursor:
        return self.database.execute_sql(sql)

    def _stage_columns(self) -> str:
        columns = [f"{quote(column.column_name)} {kind_of(column).sql}" for column in self.plan.fields]
        columns += [
            f"{quote(key.column_name)} integer GENERATED ALWAYS AS ({key.expression}) STORED"
            for key in self.plan.key
            if isinstance(key, GeneratedField)
        ]
        return ", ".join(columns)

    def _copy(self, table: str, batch: Batch) -> None:
        statement = f"COPY {table} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"
        with driver_errors:
            self.database.cursor().copy_expert(statement, CopyStream(batch.encoded), COPY_CHUNK)

    def _upsert_statement(self, near: str) -> str:
        columns = [column for column in self.columns if column != self.primary_key]
        staged = ", ".join(f"new.{column}" for column in columns)
        new_key = f"new.{self.primary_key}" if self.plan.assigns_keys else next_key(self.plan.model)
        order = ", ".join(f"new.{column}" for column in self.key)
        condition = self.overwrites("old", "new")
        where = f"WHERE old.{self.primary_key} IS NULL OR {condition}" if condition else ""
        return (
            f"WITH written AS (INSERT INTO {self.table} AS old ({self.primary_key}, {', '.join(columns)}) "
            f"SELECT coalesce(old.{self.primary_key}, {new_key}), {staged} FROM {self._stage_and_stored(near)} "
            f"{where} ORDER BY {order} {self.on_conflict()} RETURNING (xmax = 0) AS is_new) "
            "SELECT count(*) FILTER (WHERE is_new), count(*) FROM written"
        )

    def _stage_and_stored(self, near: str) -> str:
        return f"{self.stage} AS new LEFT JOIN {self.table} AS old ON {self._same_key_within(near)}"

    def _same_key_within(self, near: str) -> str:
        return f"{self.same_key('old', 'new')} AND {near or 'true'}"

    def _count(self, near: str, condition: str) -> int:
        """Count the stored rows that are in the stage, too, and meet a condition."""
        joined = f"{self.stage} AS new JOIN {self.table} AS old ON {self._same_key_within(near)}"
        ((n_rows,),) = self._run(f"SELECT count(*) FROM {joined} WHERE {condition}").fetchall()
        return n_rows
