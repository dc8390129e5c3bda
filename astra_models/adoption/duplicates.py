"""Rows of a production schema that break a unique key of ours: which of them is kept, and which are rejected."""

from astra_models.adoption.columns import TIMES
from astra_models.adoption.plan import TablePlan, UniqueKey
from astra_models.adoption.statements import literal, quoted

__all__ = ["find_duplicates"]


def find_duplicates(plan: TablePlan, unique: UniqueKey, parents_in: str | None, known: str | None = None) -> str:
    """Give the query of rows that are the same in a unique key as another, which is kept: the one modified last.

    Rows that can't be stored anyway don't count.

    Parameters
    ----------
    plan : TablePlan
        The table.
    unique : UniqueKey
        The key.
    parents_in : str or None
        The schema in which the rows that they refer to are looked for.
    known : str, optional
        The list, quoted, of rows that are rejected for another key.

    Returns
    -------
    str
        A query that gives the table's name, the row's key, and the reason.
    """
    key, names = f"s.{quoted(plan.key)}", ", ".join(unique.columns)
    same = ", ".join(unique.expressions)
    latest = [expression for name in reversed(TIMES) if (expression := plan.expression_of(name))]
    order = ", ".join([*(f"{expression} DESC NULLS LAST" for expression in latest[:1]), f"{key} DESC"])
    conditions = [f"{expression} IS NOT NULL" for expression in unique.expressions]
    conditions += [f"({condition}) IS NOT TRUE" for condition, _ in plan.problems()]
    for parent in plan.parents:
        there = parent.key if parents_in != plan.schema else parent.there
        if not there:
            continue
        other = f"SELECT 1 FROM {quoted(parents_in, parent.table)} p WHERE p.{quoted(there)} = {parent.expression}"
        conditions.append(f"({parent.expression} IS NULL OR EXISTS ({other}))")
    if known is not None:
        conditions.append(
            f"NOT EXISTS (SELECT 1 FROM {known} k WHERE k.table_name = {literal(plan.name)} AND k.key = {key})"
        )
    kept = f"first_value({key}) OVER (PARTITION BY {same} ORDER BY {order})"
    found = f"SELECT {key} AS key, {kept} AS kept FROM {plan.there} s WHERE {' AND '.join(conditions)}"
    why = literal(f" has the same {names}, and is kept: it was modified last")
    said = f"{literal(f'{plan.key} ')} || kept::text || {why}"
    return f"SELECT {literal(plan.name)}, key, {said} FROM ({found}) f WHERE key <> kept"
