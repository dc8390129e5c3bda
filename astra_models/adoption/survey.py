"""What will differ if a production schema is adopted: said, and counted, before anything is copied."""

from collections.abc import Iterator
from dataclasses import dataclass

from astra_models.adoption.columns import Change
from astra_models.adoption.duplicates import find_duplicates
from astra_models.adoption.plan import Plan, TablePlan
from astra_models.adoption.statements import quoted, read

__all__ = ["Finding", "Survey", "survey"]

COUNTED_AT_ONCE = 1000


@dataclass(frozen=True)
class Finding:
    """Something that differs.

    Parameters
    ----------
    table, column : str
        Where; `column` is "" for the table as a whole, and several names for a key.
    what : str
        What kind of difference: as in `Change`, or key or orphan.
    there, here : str
        How it is there, and here.
    rows : int or None
        How many rows it concerns; None if they aren't counted.
    outcome : str
        What it leads to.
    """

    table: str
    column: str
    what: str
    there: str
    here: str
    rows: int | None
    outcome: str

    @property
    def rejects(self) -> bool:
        """Whether the rows that it concerns can't be stored here."""
        return self.what in ("key", "orphan", "rejected")


@dataclass(frozen=True)
class Survey:
    """What there is in a production schema, and what will differ.

    Parameters
    ----------
    plan : Plan
        How it would be adopted.
    rows : dict of str to int
        Rows of each table that is adopted.
    left_behind : dict of str to int
        Rows of each table that isn't.
    findings : list of Finding
        What differs.
    """

    plan: Plan
    rows: dict[str, int]
    left_behind: dict[str, int]
    findings: list[Finding]


def survey(plan: Plan) -> Survey:
    """Read a production schema, and say what will differ; nothing is written.

    Parameters
    ----------
    plan : Plan
        How it would be adopted.
    """
    rows: dict[str, int] = {}
    findings: list[Finding] = []
    for table in plan.tables:
        rows[table.name], found = _survey_table(table)
        findings += found
        if rows[table.name]:
            findings += [*_keys(table), *_orphans(table)]
    left = {name: read(f"SELECT count(*) FROM {quoted(plan.schema, name)}")[0][0] for name in plan.left_behind}
    return Survey(plan, rows, left, findings)


def _survey_table(table: TablePlan) -> tuple[int, list[Finding]]:
    """Count rows, and those that each change concerns, in one reading of the table if it has few changes."""
    changes = [*table.all_changes(), *_problems(table)]
    counted = [change for change in changes if change.condition is not None]
    counts: dict[int, int] = {}
    n_rows = 0
    for start in range(0, max(1, len(counted)), COUNTED_AT_ONCE):
        some = counted[start : start + COUNTED_AT_ONCE]
        asked = "".join(f", count(*) FILTER (WHERE {change.condition})" for change in some)
        [(n_rows, *numbers)] = read(f"SELECT count(*){asked} FROM {table.there} s")
        counts |= {id(change): number for change, number in zip(some, numbers, strict=True)}
    return n_rows, [
        Finding(
            table.name, change.column, change.what, change.there, change.here, counts.get(id(change)), change.outcome
        )
        for change in changes
        if _is_told(change, counts.get(id(change)))
    ]


def _problems(table: TablePlan) -> Iterator[Change]:
    for column in table.columns:
        for condition, _ in column.problems:
            outcome = "the row goes to rejected_result"
            yield Change(column.source or column.name, "rejected", "can't be stored", column.name, outcome, condition)


def _is_told(change: Change, count: int | None) -> bool:
    """Tell whether a difference is worth saying: of values, only if there are any."""
    return change.what in ("name", "type", "time", "version", "left behind", "new", "digits") or count != 0


def _keys(table: TablePlan) -> Iterator[Finding]:
    for unique in table.uniques:
        if unique.is_kept:
            continue
        losers = find_duplicates(table, unique, table.schema)
        [(count,)] = read(f"SELECT count(*) FROM ({losers}) f")
        if count:
            outcome = "of each, the row that was modified last is kept; the others go to rejected_result"
            yield Finding(table.name, ", ".join(unique.columns), "key", "the same twice", "unique", count, outcome)


def _orphans(table: TablePlan) -> Iterator[Finding]:
    for parent in table.parents:
        condition = f"{parent.expression} IS NOT NULL"
        if parent.there:
            other = quoted(table.schema, parent.table)
            there = quoted(parent.there)
            condition += f" AND NOT EXISTS (SELECT 1 FROM {other} p WHERE p.{there} = {parent.expression})"
        [(count,)] = read(f"SELECT count(*) FROM {table.there} s WHERE {condition}")
        if count:
            outcome = "the row goes to rejected_result"
            yield Finding(table.name, parent.column, "orphan", f"not in {parent.table}", "a key", count, outcome)
