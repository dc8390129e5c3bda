"""The record of an adoption, in the schema that it fills: from where, which rows with which checksums, and the lock.

A chunk of rows and its record are one transaction, so that an adoption goes on where it was stopped, however it was.
The checksums of a chunk are those of what its rows became; by them the rows are verified, and rows that changed in the
production schema are found.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from astra_models.adoption.plan import TablePlan
from astra_models.adoption.statements import literal, quoted, run, settle
from astra_models.base import bound_schema, database
from astra_models.database.retry import run_transaction
from astra_models.errors import AdoptionError, AlreadyRunningError
from astra_models.fields import utc_now
from astra_models.host import host_name
from astra_models.pipeline_run import ADOPTION, PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.schema.tables import existing_tables
from astra_models.version import installed_v_astra, installed_version

__all__ = ["Adoption", "Chunk", "Lock", "begin", "chunks_of", "find"]

ADOPTION_TABLE, CHUNKS, DUPLICATES = "adoption", "adoption_chunk", "adoption_duplicate"
WAIT = 20.0
"""Seconds for which the lock of a process that was killed is waited for: its server ends its statement first."""
PAUSE = 0.5
LOWEST = -(2**63)

_TABLES = {
    ADOPTION_TABLE: "source_schema text NOT NULL, timezone text NOT NULL, pipeline_run_pk bigint NOT NULL, "
    "started timestamptz NOT NULL, finished timestamptz",
    CHUNKS: "table_name text, after_key bigint NOT NULL, last_key bigint, rejected bigint NOT NULL, "
    "rules text NOT NULL, keys bigint[] NOT NULL, checksums bigint[] NOT NULL, PRIMARY KEY (table_name, last_key)",
    DUPLICATES: "table_name text, key bigint, message text NOT NULL, PRIMARY KEY (table_name, key)",
}


@dataclass(frozen=True)
class Adoption:
    """What is known of an adoption.

    Parameters
    ----------
    source_schema, timezone : str
        The production schema, and the zone of its times.
    pipeline_run_pk : int
        The row of ``pipeline_run`` that adopted results name.
    started : datetime
        When it began.
    finished : datetime or None
        When all rows were there; None if it was stopped before.
    """

    source_schema: str
    timezone: str
    pipeline_run_pk: int
    started: datetime
    finished: datetime | None


@dataclass(frozen=True)
class Chunk:
    """Rows that were copied in one transaction: those whose key is over `after` and at most `last`.

    Parameters
    ----------
    after, last : int
        The range of keys.
    rows, rejected : int
        How many rows were copied, and how many couldn't be.
    rules : str
        Digest of what the checksums are made of.
    """

    after: int
    last: int
    rows: int
    rejected: int
    rules: str


def table_of(name: str) -> str:
    """Quote a table of the record, in the bound schema."""
    return quoted(bound_schema(), name)


def find() -> Adoption | None:
    """Give the adoption of the bound schema; None if it has none."""
    if ADOPTION_TABLE not in existing_tables():
        return None
    columns = "source_schema, timezone, pipeline_run_pk, started, finished"
    rows = run_transaction(database, lambda: run(f"SELECT {columns} FROM {table_of(ADOPTION_TABLE)}").fetchall())
    return Adoption(*rows[0]) if rows else None


def begin(schema: str, timezone: str, plans: Mapping[str, TablePlan]) -> Adoption:
    """Give the adoption of the bound schema, or begin one, with its row of ``pipeline_run``.

    Raises
    ------
    AdoptionError
        If the schema was adopted from another one, or with another time zone, or has rows of its own.
    """
    found = find()
    if found is not None:
        if (found.source_schema, found.timezone) != (schema, timezone):
            raise AdoptionError(
                f"schema {bound_schema()!r} was adopted from {found.source_schema!r} with times of {found.timezone}, "
                f"and not from {schema!r} with times of {timezone}; adopt into another schema, or give those again"
            )
        return found
    _require_empty(plans)

    def work() -> None:
        for name, columns in _TABLES.items():
            run(f"CREATE TABLE IF NOT EXISTS {table_of(name)} ({columns})")
        row = _pipeline_run(schema, timezone)
        row.save(force_insert=True)
        run(
            f"INSERT INTO {table_of(ADOPTION_TABLE)} VALUES (%s, %s, %s, %s)", schema, timezone, row.pk, row.started
        )  # fmt: skip

    run_transaction(database, work)
    begun = find()
    assert begun is not None, "it was made"
    return begun


def _pipeline_run(schema: str, timezone: str) -> PipelineRun:
    parameters = json.dumps({"schema": schema, "timezone": timezone, "database": database.obj.database}, sort_keys=True)
    return PipelineRun(
        pipeline=ADOPTION,
        version=installed_version(),
        v_astra=installed_v_astra(),
        recipe=hashlib.sha256(parameters.encode()).hexdigest(),
        parameters=parameters,
        host=host_name(),
        started=utc_now(),
    )


def _require_empty(plans: Mapping[str, TablePlan]) -> None:
    for plan in plans.values():
        if run_transaction(database, lambda plan=plan: run(f"SELECT 1 FROM {plan.here} LIMIT 1").fetchone()):
            raise AdoptionError(
                f"table {plan.here} has rows already, and their keys may be those of the rows to come; adopt into a "
                "new schema, which needn't exist yet"
            )


def finish(adoption: Adoption, inserted: int, rejected: int) -> None:
    """Write down that all rows are there."""

    def work() -> None:
        run(f"UPDATE {table_of(ADOPTION_TABLE)} SET finished = now()")
        query = PipelineRun.update(inserted=inserted, rejected=rejected, ended=utc_now())
        query.where(PipelineRun.pk == adoption.pipeline_run_pk).execute()

    run_transaction(database, work)


def chunks_of(table: str) -> list[Chunk]:
    """Give what was copied of a table, in order of the keys."""
    statement = (
        f"SELECT after_key, last_key, cardinality(keys), rejected, rules FROM {table_of(CHUNKS)} "
        "WHERE table_name = %s ORDER BY last_key"
    )
    rows = run_transaction(database, lambda: run(statement, table).fetchall())
    return [Chunk(*row) for row in rows]


def rejected_before(adoption: Adoption, plan: TablePlan) -> str:
    """Give SQL that deletes what was rejected of a range of keys; it takes the model's name and the range."""
    key = f"(payload::jsonb ->> {literal(plan.key)})::bigint"
    own = f"CASE WHEN pipeline_run_pk = {adoption.pipeline_run_pk} THEN {key} END"
    table = quoted(bound_schema(), str(RejectedResult._meta.table_name))
    return f"DELETE FROM {table} WHERE model = %s AND {own} > %s AND {own} <= %s"


class Lock:
    """Hold the lock of the bound schema while a statement is run, and take it again on a new connection.

    Raises
    ------
    AlreadyRunningError
        If another process has it for longer than `WAIT` seconds.
    """

    def __init__(self) -> None:
        words = f"astra adopt {bound_schema()}".encode()
        self.key = int.from_bytes(hashlib.sha256(words).digest()[:8], "little", signed=True)
        self.connection: object = None

    def __enter__(self) -> "Lock":
        until = time.monotonic() + WAIT
        while not run_transaction(database, self.take):
            if time.monotonic() > until:
                raise AlreadyRunningError(self._who())
            time.sleep(PAUSE)
        return self

    def __exit__(self, *_: object) -> None:
        if database.is_closed() or database.connection() is not self.connection:
            return
        run_transaction(database, lambda: run("SELECT pg_advisory_unlock(%s)", self.key))

    def take(self) -> bool:
        """Take the lock, unless this connection has it; tell whether it does now."""
        if database.connection() is self.connection:
            return True
        [has_it] = run("SELECT pg_try_advisory_lock(%s)", self.key).fetchone()
        if has_it:
            self.connection = database.connection()
        return bool(has_it)

    def settle(self, mode: str = "ISOLATION LEVEL REPEATABLE READ") -> None:
        """Begin a transaction that writes; refuse if another process took the lock while the connection was lost."""
        settle(mode)
        if not self.take():
            raise AlreadyRunningError(self._who())

    def _who(self) -> str:
        statement = (
            "SELECT l.pid, a.client_addr::text, a.backend_start::text FROM pg_locks l "
            "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
            "AND (l.classid::bigint << 32 | l.objid::bigint) = %s AND l.pid <> pg_backend_pid()"
        )
        found = run(statement, self.key).fetchone()
        who = f" (server process {found[0]}, since {found[2]})" if found else ""
        return f"schema {bound_schema()!r} is being adopted by another process{who}; wait for it, or end it"
