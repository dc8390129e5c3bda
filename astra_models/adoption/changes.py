"""What changed in a production schema since it was adopted: found by checksums, not by times, and taken.

A row that changed there is taken as long as it is here as it was adopted. One that changed here, too, is kept.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from astra_models.adoption.copying import Copied, Copying, copy_carefully, judged, list_rejected, note_duplicates
from astra_models.adoption.ledger import CHUNKS, Chunk, chunks_of, table_of
from astra_models.adoption.plan import TablePlan
from astra_models.adoption.statements import quoted, run
from astra_models.base import database
from astra_models.database.retry import ROW_ERRORS, is_about_rows, run_transaction

__all__ = ["take_changes"]


class Found(NamedTuple):
    """Rows of a chunk that aren't as they were: keys of new, changed and deleted ones, and checksums then."""

    new: list[int]
    changed: list[int]
    then: list[int]
    deleted: list[int]


def take_changes(plan: TablePlan, how: Copying) -> Copied:
    """Take rows of a table that are new or changed there since they were copied.

    Chunks that were copied by rules of another release are left alone: their checksums say nothing.
    """
    report = Copied()
    rules = plan.rules(how.adoption.timezone)
    chunks = [chunk for chunk in chunks_of(plan.name) if chunk.rules == rules]
    total, done = sum(chunk.rows for chunk in chunks), 0
    if chunks and plan.uniques:
        note_duplicates(plan, how)
    for chunk in chunks:
        report.add(run_transaction(database, lambda chunk=chunk: _take_of_chunk(plan, how, chunk)))
        done += chunk.rows
        how.tell(plan.name, done, total)
    return report


def _take_of_chunk(plan: TablePlan, how: Copying, chunk: Chunk) -> Copied:
    how.lock.settle()
    found = _compare(plan, chunk)
    if not any(found) and not chunk.rejected:
        return Copied()
    # What was rejected before is among the new rows, unless it is gone there; its place in the list is taken anew.
    rejected = copy_carefully(plan, how, _among(plan, found.new), chunk.after, chunk.last)
    taken = _update(plan, found)
    left = sorted(set(found.changed) - set(taken))
    unchanged_here = _as_adopted(plan, found, left)
    if unchanged_here:
        rejected += list_rejected(plan, how, _among(plan, unchanged_here), "TRUE")
    _write(plan, chunk, [*found.new, *taken], found.deleted, rejected)
    return Copied(
        rejected=rejected,
        new=len(found.new) - (rejected - len(unchanged_here)),
        changed=len(taken),
        deleted=len(found.deleted),
        changed_in_both=sorted(set(left) - set(unchanged_here)),
    )


def _compare(plan: TablePlan, chunk: Chunk) -> Found:
    """Find the rows of a chunk that are not as they were there."""
    key = f"s.{quoted(plan.key)}"
    now = (
        f"SELECT {key} AS key, {plan.checksum_there()} AS checksum FROM {plan.there} s "
        f"WHERE {key} > {chunk.after} AND {key} <= {chunk.last}"
    )
    then = f"SELECT u.* FROM {table_of(CHUNKS)} c, unnest(c.keys, c.checksums) u (key, checksum) WHERE {_is_chunk()}"
    rows = run(
        f"SELECT key, n.checksum IS NULL, t.checksum FROM ({now}) n FULL JOIN ({then}) t USING (key) "
        "WHERE n.checksum IS DISTINCT FROM t.checksum ORDER BY key",
        *(plan.name, chunk.last),
    ).fetchall()
    changed = [(key, then) for key, is_gone, then in rows if not is_gone and then is not None]
    return Found(
        [key for key, _, then in rows if then is None],
        [key for key, _ in changed],
        [then for _, then in changed],
        [key for key, is_gone, _ in rows if is_gone],
    )


def _is_chunk() -> str:
    return "table_name = %s AND last_key = %s"


def _among(plan: TablePlan, keys: Iterable[int]) -> str:
    return f"s.{quoted(plan.key)} = ANY('{{{','.join(map(str, keys))}}}'::bigint[])"


def _update(plan: TablePlan, found: Found) -> list[int]:
    """Take changed rows, as far as they are here as they were adopted, and can be stored; give their keys."""
    pairs = list(zip(found.changed, found.then, strict=True))
    if not pairs:
        return []
    taken = _update_some(plan, pairs)
    if taken is not None:
        return taken
    return [key for pair in pairs for key in _update_some(plan, [pair]) or ()]


def _update_some(plan: TablePlan, pairs: Sequence[tuple[int, int]]) -> list[int] | None:
    """Update rows by one statement; None if one of them can't be stored."""
    joins, why = judged(plan)
    values = [column for column in plan.columns if column.source != plan.key]
    made = ", ".join(f"{column.expression} AS c{number}" for number, column in enumerate(values))
    there = f"SELECT s.{quoted(plan.key)} AS key, {made} FROM {plan.there} s {joins} "
    there += f"WHERE {_among(plan, (key for key, _ in pairs))} AND {why} IS NULL"
    assigned = ", ".join(f"{quoted(column.name)} = n.c{number}" for number, column in enumerate(values))
    statement = (
        f"UPDATE {plan.here} AS t SET {assigned} FROM ({there}) n "
        "JOIN unnest(%s::bigint[], %s::bigint[]) o (key, checksum) USING (key) "
        f"WHERE t.{plan.primary_key} = n.key AND {plan.checksum_here()} = o.checksum RETURNING n.key"
    )
    try:
        with database.atomic():
            rows = run(statement, [key for key, _ in pairs], [then for _, then in pairs]).fetchall()
    except ROW_ERRORS as error:
        if not is_about_rows(error):
            raise
        return None
    return [key for (key,) in rows]


def _as_adopted(plan: TablePlan, found: Found, keys: Sequence[int]) -> list[int]:
    """Give those of some keys whose rows are here as they were adopted."""
    rows = run(
        f"SELECT o.key FROM unnest(%s::bigint[], %s::bigint[]) o (key, checksum) "
        f"JOIN {plan.here} t ON t.{plan.primary_key} = o.key WHERE {plan.checksum_here()} = o.checksum "
        "AND o.key = ANY(%s::bigint[])",
        *(found.changed, found.then, list(keys)),
    ).fetchall()
    return [key for (key,) in rows]


def _write(plan: TablePlan, chunk: Chunk, taken: Sequence[int], deleted: Sequence[int], rejected: int) -> None:
    """Write down the checksums of rows that were taken; those of rows that changed in both places stay."""
    there = f"SELECT s.{quoted(plan.key)} AS key, {plan.checksum_there()} AS checksum FROM {plan.there} s"
    stored = (
        f"SELECT n.* FROM ({there} WHERE {_among(plan, taken)}) n JOIN {plan.here} t ON t.{plan.primary_key} = n.key "
        f"WHERE {plan.checksum_here()} = n.checksum"
    )
    old = (
        f"SELECT u.* FROM {table_of(CHUNKS)} c, unnest(c.keys, c.checksums) u (key, checksum) "
        f"WHERE {_is_chunk()} AND NOT u.key = ANY(%s::bigint[])"
    )
    arrays = "coalesce(array_agg(key ORDER BY key), '{}') AS k, coalesce(array_agg(checksum ORDER BY key), '{}') AS c"
    run(
        f"UPDATE {table_of(CHUNKS)} SET keys = a.k, checksums = a.c, rejected = %s "
        f"FROM (SELECT {arrays} FROM ({stored} UNION ALL {old}) f) a WHERE {_is_chunk()}",
        *(rejected, plan.name, chunk.last, [*taken, *deleted], plan.name, chunk.last),
    )
