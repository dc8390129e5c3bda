"""Adopting a schema that sdss/astra made: what will differ, working on it in place, or copying it into one of ours.

Copying keeps keys, times and versions. It can be stopped and goes on, every row is verified by a checksum, and nothing
is lost silently: what can't be stored is in ``rejected_result``, and what has no place here is named.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import peewee

from astra_models.adoption.changes import take_changes
from astra_models.adoption.copying import ROWS_IN_CHUNK, Copied, Copying, Progress, copy_table
from astra_models.adoption.in_place import InPlace, bound_to, try_in_place
from astra_models.adoption.ledger import Lock, begin, chunks_of, find, finish
from astra_models.adoption.plan import Plan, make_plan, tables_by_name
from astra_models.adoption.statements import read
from astra_models.adoption.survey import Finding, Survey, survey
from astra_models.adoption.verifying import Verified, verify
from astra_models.base import database
from astra_models.database.layout import layouts
from astra_models.database.retry import describe, one_line, sqlstate
from astra_models.database.sql import is_postgresql
from astra_models.errors import AdoptionError, SchemaPermissionError, did_you_mean
from astra_models.outputs import packages
from astra_models.schema.migration import init, require_current

__all__ = [
    "Adopted",
    "Copied",
    "Finding",
    "InPlace",
    "Survey",
    "Verified",
    "adopt",
    "require_foreign",
    "survey_schema",
    "try_in_place",
    "verify_adopted",
]

HISTORY = "schema_migration"
NOT_ALLOWED = "42501"


@dataclass
class Adopted:
    """What became of a production schema.

    Parameters
    ----------
    schema, target : str
        The production schema, and ours.
    timezone : str
        The zone in which its times were taken.
    tables : dict of str to Copied
        What became of the rows of each table.
    verified : dict of str to Verified
        What the comparison of checksums gave, by table; empty if it wasn't made.
    left_behind : dict of str to str
        Tables that aren't adopted, and why.
    is_first : bool
        Whether no earlier run had begun.
    seconds : float
        How long it took, in s.
    """

    schema: str
    target: str
    timezone: str
    tables: dict[str, Copied] = field(default_factory=dict)
    verified: Mapping[str, Verified] = field(default_factory=dict)
    left_behind: dict[str, str] = field(default_factory=dict)
    is_first: bool = True
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether no row differs from what it was adopted as."""
        return all(found.is_good for found in self.verified.values())


def survey_schema(schema: str, timezone: str = "UTC") -> Survey:
    """Say what will differ if a production schema is adopted; nothing is written.

    Parameters
    ----------
    schema : str
        The schema, in the bound database.
    timezone : str, optional
        The zone of its times.

    Raises
    ------
    AdoptionError
        If there is no such schema, it has none of our tables, or is one of ours.
    """
    require_foreign(schema)
    with layouts.suspended(), permitted(schema):
        return survey(make_plan(schema, timezone, None))


def adopt(
    schema: str,
    target: str,
    timezone: str = "UTC",
    *,
    check: bool = True,
    chunk: int = ROWS_IN_CHUNK,
    progress: Progress | None = None,
) -> Adopted:
    """Copy a production schema into one of ours, or go on where that was stopped, or take what changed there since.

    Parameters
    ----------
    schema : str
        The production schema, in the bound database. It is only read.
    target : str
        Our schema; it is made, with its tables, if it isn't there.
    timezone : str, optional
        The zone of its times.
    check : bool, optional
        Whether every row is compared with its checksum in the end.
    chunk : int, optional
        Rows per transaction.
    progress : callable, optional
        Takes the table, how many of its rows are done, and how many there are.

    Returns
    -------
    Adopted
        What became of the rows.

    Raises
    ------
    AdoptionError
        If the schema can't be adopted, or not into `target`.
    AlreadyRunningError
        If another process is doing it.
    """
    require_foreign(schema)
    _require_target(schema, target)
    started = time.monotonic()
    with bound_to(target), permitted(schema):
        init(packages())
        require_current(packages())
        with Lock() as lock:
            plan = make_plan(schema, timezone, target)
            adoption = begin(schema, timezone, tables_by_name(plan.tables))
            is_first = not any(chunks_of(table.name) for table in plan.tables)
            how = Copying(adoption, lock, chunk, progress)
            report = Adopted(schema, target, timezone, left_behind=plan.left_behind, is_first=is_first)
            _copy(plan, how, report)
            if check:
                report.verified = verify(plan, adoption, progress)
    report.seconds = time.monotonic() - started
    return report


def _require_target(schema: str, target: str) -> None:
    """Make sure that rows can be copied into a schema."""
    if schema == target:
        raise AdoptionError(f"schema {schema!r} can't be copied into itself; name a new one, or use it in place")
    if "%" in target:
        raise AdoptionError(f"a schema of ours can't have a percent sign in its name: {target!r}; choose another")
    with layouts.suspended():
        tables = _key_types(target)
    if tables.keys() & {"source", "spectrum"} and HISTORY not in tables:
        raise AdoptionError(f"schema {target!r} isn't one of ours, and can't be copied into; name a new one")


def _copy(plan: Plan, how: Copying, report: Adopted) -> None:
    for table in plan.tables:
        found = Copied()
        if how.adoption.finished is not None:
            found.add(take_changes(table, how))
        found.add(copy_table(table, how))
        found.rejected = sum(chunk.rejected for chunk in chunks_of(table.name))
        report.tables[table.name] = found
    rows = sum(chunk.rows for table in plan.tables for chunk in chunks_of(table.name))
    finish(how.adoption, rows, sum(found.rejected for found in report.tables.values()))


def verify_adopted(
    target: str, progress: Progress | None = None, *, schema: str | None = None
) -> Mapping[str, Verified]:
    """Compare every row of an adopted schema with the checksum of what it was made from; nothing is written.

    Parameters
    ----------
    target : str
        Our schema.
    progress : callable, optional
        Takes the table, how many of its rows are done, and how many there are.
    schema : str, optional
        The production schema that it should have been adopted from.

    Raises
    ------
    AdoptionError
        If the schema wasn't adopted, or from another one.
    """
    with bound_to(target), layouts.suspended(), permitted(target):
        adoption = find()
        if adoption is None:
            raise AdoptionError(f"schema {target!r} wasn't adopted: it has no record of it")
        if schema not in (None, adoption.source_schema):
            raise AdoptionError(
                f"schema {target!r} was adopted from {adoption.source_schema!r}, and not from {schema!r}"
            )
        require_foreign(adoption.source_schema)
        return verify(make_plan(adoption.source_schema, adoption.timezone, target), adoption, progress)


def require_foreign(schema: str) -> None:
    """Make sure that a schema was made by sdss/astra.

    Raises
    ------
    AdoptionError
        If it isn't there, has none of our tables, or is one of ours.
    """
    if not is_postgresql(database):
        raise AdoptionError(
            "astra adopt works on PostgreSQL: it reads and writes two schemas of one database. A SQLite file of "
            "sdss/astra can't be adopted; export its tables to FITS there, and `astra ingest` them"
        )
    with layouts.suspended():
        there = [
            name for (name,) in read("SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'")
        ]
        tables = _key_types(schema)
    if schema not in there and Path(schema).is_file():
        raise AdoptionError(
            f"{schema} is a file, and astra adopt takes a schema of PostgreSQL; `astra ingest` takes files"
        )
    if schema not in there:
        raise AdoptionError(
            f"database {database.obj.database!r} has no schema {schema!r}; {did_you_mean(schema, sorted(there))}"
        )
    if not {"source", "spectrum"} <= tables.keys():
        raise AdoptionError(
            f"schema {schema!r} has no tables source and spectrum, so that it isn't one of sdss/astra's; its tables: "
            f"{', '.join(sorted(tables)) or 'none'}"
        )
    if HISTORY in tables and tables["spectrum"] == "bigint":
        raise AdoptionError(
            f"schema {schema!r} is one of ours already: write `schema: {schema}` into the configuration file, and "
            "bring it up to date with `astra migrate up`"
        )


@contextmanager
def permitted(schema: str) -> Iterator[None]:
    """Say what is needed where the role may not do something.

    Raises
    ------
    SchemaPermissionError
        If the server refuses a statement for lack of permission.
    """
    try:
        yield
    except peewee.PeeweeException as error:
        if sqlstate(error) != NOT_ALLOWED:
            raise
        raise SchemaPermissionError(
            f"{describe(database)}: {one_line(error)}; adopting takes a role that may read all tables of schema "
            f"{schema!r} (USAGE and SELECT) and make a schema in the database (CREATE)"
        ) from error


def _key_types(schema: str) -> dict[str, str | None]:
    """Give the tables of a schema, each with the type of its column ``pk``."""
    kind = "(SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = c.oid AND attname = 'pk')"
    schemas = "SELECT oid FROM pg_namespace WHERE nspname = %s"
    return dict(
        read(
            f"SELECT c.relname::text, {kind} FROM pg_class c "
            f"WHERE c.relnamespace = ({schemas}) AND c.relkind IN ('r', 'p')",
            schema,
        )
    )
