"""Copying the rows of a production schema into one of ours, chunk after chunk, inside the server.

A chunk is a range of keys. Usually it is one statement, as fast as COPY: the server reads, converts and writes, and no
row comes here. If a row can't be stored, the chunk goes the careful way: each row is judged, and those that can't be
stored go to ``rejected_result`` with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import peewee

from astra_models.adoption.duplicates import find_duplicates
from astra_models.adoption.ledger import (
    CHUNKS,
    DUPLICATES,
    LOWEST,
    Adoption,
    Lock,
    chunks_of,
    rejected_before,
    table_of,
)
from astra_models.adoption.plan import TablePlan
from astra_models.adoption.statements import listed, literal, quoted, read, run
from astra_models.base import bound_schema, database
from astra_models.database.retry import ROW_ERRORS, is_about_rows, run_transaction
from astra_models.pipeline import PipelineOutputMixin
from astra_models.rejected import NOT_INGESTED, RejectedResult
from astra_models.source import Source
from astra_models.spectrum import Spectrum

__all__ = ["Copied", "Copying", "copy_carefully", "copy_table", "judged", "list_rejected", "note_duplicates"]

ROWS_IN_CHUNK = 50_000
RUN = "pipeline_run_pk"

Progress = Callable[[str, int, int], None]
"""Takes the table, how many of its rows are done, and how many there are."""


@dataclass
class Copied:
    """What became of a table's rows.

    Parameters
    ----------
    rows : int
        Rows that were copied now.
    before : int
        Rows that were there already.
    rejected : int
        Rows of the table there that can't be stored, those of earlier runs included.
    new, changed : int
        Rows, of those that had been copied before, that are new or changed there, and were taken.
    deleted : int
        Rows that are no longer there, and are kept here.
    changed_in_both : list of int
        Keys of rows that changed there and here; what is here is kept.
    """

    rows: int = 0
    before: int = 0
    rejected: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    changed_in_both: list[int] = field(default_factory=list)

    def add(self, other: "Copied") -> None:
        """Add what became of further rows."""
        for name in ("rows", "before", "rejected", "new", "changed", "deleted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.changed_in_both += other.changed_in_both


@dataclass(frozen=True)
class Copying:
    """How tables are copied: by which adoption, under which lock, in chunks of how many rows, and who is told."""

    adoption: Adoption
    lock: Lock
    chunk: int = ROWS_IN_CHUNK
    progress: Progress | None = None

    def tell(self, table: str, done: int, total: int) -> None:
        """Tell how far a table is."""
        if self.progress is not None:
            self.progress(table, done, total)


def copy_table(plan: TablePlan, how: Copying) -> Copied:
    """Copy the rows of a table that weren't yet, and move its sequence past the highest key."""
    known = chunks_of(plan.name)
    report = Copied(before=sum(chunk.rows for chunk in known))
    total = read(f"SELECT count(*) FROM {plan.there}")[0][0]
    after = known[-1].last if known else LOWEST
    boundaries = _boundaries(plan, after, how.chunk)
    if boundaries and plan.uniques:
        note_duplicates(plan, how)
    careful = False
    for last in boundaries:
        rows, rejected = run_transaction(
            database, lambda after=after, last=last, careful=careful: _copy_chunk(plan, how, after, last, careful)
        )
        report.rows += rows
        report.rejected += rejected
        # Where one chunk had bad rows the next may, too: trying it in vain would double the time.
        careful, after = rejected > 0, last
        how.tell(plan.name, report.before + report.rows + report.rejected, total)
    run_transaction(database, lambda: _move_sequence(plan))
    return report


def _boundaries(plan: TablePlan, after: int, chunk: int) -> list[int]:
    """Give the last key of each chunk of rows that weren't copied yet."""
    key = f"s.{quoted(plan.key)}"
    numbered = (
        f"SELECT {key} AS key, row_number() OVER (ORDER BY {key}) AS n, max({key}) OVER () AS highest "
        f"FROM {plan.there} s WHERE {key} > %s"
    )
    statement = f"SELECT key FROM ({numbered}) found WHERE n %% %s = 0 OR key = highest ORDER BY 1"
    return [key for (key,) in read(statement, after, chunk)]


def note_duplicates(plan: TablePlan, how: Copying) -> None:
    """Keep a list of the rows that lose their place to another with the same key, to look up in each chunk."""

    def work() -> None:
        how.lock.settle()
        run(f"DELETE FROM {table_of(DUPLICATES)} WHERE table_name = %s", plan.name)
        for unique in plan.uniques:
            if not unique.is_kept:
                losers = find_duplicates(plan, unique, bound_schema(), known=table_of(DUPLICATES))
                run(f"INSERT INTO {table_of(DUPLICATES)} {losers}")

    run_transaction(database, work)


def _copy_chunk(plan: TablePlan, how: Copying, after: int, last: int, careful: bool) -> tuple[int, int]:
    """Copy a range of keys; give how many rows were copied, and how many rejected."""
    how.lock.settle()
    within = f"s.{quoted(plan.key)} > {after} AND s.{quoted(plan.key)} <= {last}"
    rejected = 0
    if careful or _has_duplicates(plan, after, last) or not _copy_at_once(plan, how, within):
        rejected = copy_carefully(plan, how, within, after, last)
    rows = write_chunk(plan, how, after, last, rejected)
    return rows, rejected


def _has_duplicates(plan: TablePlan, after: int, last: int) -> bool:
    statement = f"SELECT 1 FROM {table_of(DUPLICATES)} WHERE table_name = %s AND key > %s AND key <= %s LIMIT 1"
    return run(statement, plan.name, after, last).fetchone() is not None


def _copy_at_once(plan: TablePlan, how: Copying, within: str) -> bool:
    """Copy rows by one statement; tell whether all could be stored."""
    try:
        with database.atomic():
            run(f"{insertion(plan, how)} WHERE {within}")
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return False
    return True


def insertion(plan: TablePlan, how: Copying) -> str:
    """Give the statement that inserts rows, as far as the condition on ``s``."""
    names, values = [column.name for column in plan.columns], [column.expression for column in plan.columns]
    if issubclass(plan.model, PipelineOutputMixin):
        names, values = [*names, RUN], [*values, str(how.adoption.pipeline_run_pk)]
    return f"INSERT INTO {plan.here} ({listed(names)}) SELECT {', '.join(values)} FROM {plan.there} s"


def copy_carefully(plan: TablePlan, how: Copying, within: str, after: int, last: int) -> int:
    """Copy the rows that can be stored, and list the others with the reason; give how many these are."""
    joins, why = judged(plan)
    run(f"{insertion(plan, how)} {joins} WHERE {within} AND {why} IS NULL ON CONFLICT DO NOTHING")
    run(rejected_before(how.adoption, plan), plan.model.__name__, after, last)
    here = f"SELECT 1 FROM {plan.here} t WHERE t.{plan.primary_key} = s.{quoted(plan.key)}"
    is_stored = f"EXISTS ({here} AND {plan.checksum_here()} = {plan.checksum_there()})"
    return list_rejected(plan, how, within, f"({why} IS NOT NULL OR NOT {is_stored})")


def list_rejected(plan: TablePlan, how: Copying, within: str, condition: str) -> int:
    """List rows in ``rejected_result``, each with the reason; give how many they are."""
    joins, why = judged(plan)
    key = f"s.{quoted(plan.key)}"
    taken = literal(f": a row of {plan.here} has its place, with the same primary or unique key")
    found = run(
        f"INSERT INTO {quoted(bound_schema(), str(RejectedResult._meta.table_name))} (model, spectrum_pk, source_pk, "
        f"v_astra, reason, message, payload, created, pipeline_run_pk) "
        f"SELECT %s, {_key_of(plan, Spectrum)}, {_key_of(plan, Source)}, {_version_of(plan)}, %s, "
        f"%s || coalesce({why}, {key}::text || {taken}), to_jsonb(s)::text, now(), %s FROM {plan.there} s {joins} "
        f"WHERE {within} AND {condition} RETURNING 1",
        plan.model.__name__,
        NOT_INGESTED,
        f"adopting {plan.there.replace('%%', '%')}, {plan.key} ",
        how.adoption.pipeline_run_pk,
    )
    return len(found.fetchall())


def judged(plan: TablePlan) -> tuple[str, str]:
    """Give the joins, and SQL of the reason why a row can't be stored; NULL if it can."""
    key = f"s.{quoted(plan.key)}"
    joins = [f"LEFT JOIN {table_of(DUPLICATES)} d ON d.table_name = {literal(plan.name)} AND d.key = {key}"]
    cases = [*plan.problems(), ("d.key IS NOT NULL", "d.message")]
    for number, parent in enumerate(plan.parents):
        other = quoted(bound_schema(), parent.table)
        joins.append(f"LEFT JOIN {other} p{number} ON p{number}.{quoted(parent.key)} = {parent.expression}")
        is_orphan = f"{parent.expression} IS NOT NULL AND p{number}.{quoted(parent.key)} IS NULL"
        said = f"{literal(f'{parent.column} ')} || ({parent.expression})::text || {literal(f' is not in {other}')}"
        cases.append((is_orphan, said))
    whens = " ".join(f"WHEN {condition} THEN {key}::text || ': ' || {said}" for condition, said in cases)
    return " ".join(joins), f"(CASE {whens} END)"


def _key_of(plan: TablePlan, parent: type[peewee.Model]) -> str:
    if plan.model is parent:
        return f"s.{quoted(plan.key)}"
    name = "spectrum_pk" if parent is Spectrum else "source_pk"
    return plan.expression_of(name) or "NULL"


def _version_of(plan: TablePlan) -> str:
    made = next((column for column in plan.columns if column.name == "v_astra"), None)
    if made is None:
        return "NULL"
    bad = " OR ".join(f"({condition})" for condition, _ in made.problems)
    return f"CASE WHEN NOT coalesce({bad}, false) THEN {made.expression} END" if bad else made.expression


def write_chunk(plan: TablePlan, how: Copying, after: int, last: int, rejected: int) -> int:
    """Write down which rows of a range are here, with the checksums of what they were made from; give their number.

    The checksums are made from the rows there, by another reading than that of the copy.
    """
    key = f"s.{quoted(plan.key)}"
    within = f"{key} > {after} AND {key} <= {last}"
    there = f"SELECT {key} AS key, {plan.checksum_there()} AS checksum FROM {plan.there} s WHERE {within}"
    if rejected:
        there = (
            f"SELECT found.* FROM ({there}) found JOIN {plan.here} t ON t.{plan.primary_key} = found.key "
            f"WHERE {plan.checksum_here()} = found.checksum"
        )
    arrays = "coalesce(array_agg(key ORDER BY key), '{}'), coalesce(array_agg(checksum ORDER BY key), '{}')"
    written = run(
        f"INSERT INTO {table_of(CHUNKS)} SELECT %s, %s, %s, %s, %s, {arrays} FROM ({there}) f "
        "RETURNING cardinality(keys)",
        *(plan.name, after, last, rejected, plan.rules(how.adoption.timezone)),
    )
    return int(written.fetchone()[0])


def _move_sequence(plan: TablePlan) -> None:
    """Move the sequence of the primary key past the highest key, there and here."""
    found = run("SELECT pg_get_serial_sequence(%s, %s)", plan.here.replace("%%", "%"), plan.columns[0].name).fetchone()
    if found[0] is None:
        return
    sequence = found[0].replace("%", "%%")
    here, there = (
        f"SELECT max({plan.primary_key}) FROM {plan.here}",
        f"SELECT max(s.{quoted(plan.key)}) FROM {plan.there} s",
    )
    highest = f"greatest(({here}), ({there}))"
    run(f"SELECT setval(%s, {highest}) WHERE {highest} >= (SELECT last_value FROM {sequence})", found[0])
