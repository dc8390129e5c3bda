"""Rows that replace only what they set: sorted by the columns that they set, each sort with a plan of its own."""

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import peewee

from astra_models.columns.values import is_a
from astra_models.upsert.batch import keys_of
from astra_models.upsert.given import is_table, names_of_table, record_of
from astra_models.upsert.plan import Key, UpsertPlan

if TYPE_CHECKING:
    from astra_models.upsert.given import Given

Names = frozenset[str]


def split_by_columns(plan: UpsertPlan, rows: "Given", extra: str) -> "Iterator[tuple[UpsertPlan, Given]]":
    """Split rows into those that set the same columns.

    Rows of the same key stay in their order, so that the outcome is as if they were written one after the other.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    rows : list or table
        Rows of any kind. All rows of a table set its columns.
    extra : {"raise", "ignore"}
        What to do about columns that the model doesn't have.

    Yields
    ------
    UpsertPlan
        The plan that overwrites these columns and no others.
    list or table
        The rows.

    Raises
    ------
    UnknownColumnError
        If there are columns that the model doesn't have, and `extra` is "raise".
    """
    if is_table(rows):
        known = (plan.model._meta.combined.get(name) for name in names_of_table(rows))
        yield _overwriting(plan, frozenset(column.name for column in known if column is not None)), rows
        return
    groups: dict[tuple[int, Names], list[object]] = {}
    last: dict[Key | None, tuple[int, Names]] = {}
    for row, key in zip(rows, keys_of(plan, rows), strict=True):
        names = _names_set(plan, row, extra)
        level, names_before = last.get(key, (0, names)) if key is not None else (0, names)
        group = (level if names == names_before else level + 1, names)
        last[key] = group
        groups.setdefault(group, []).append(row)
    for group in sorted(groups, key=itemgetter(0)):
        yield _overwriting(plan, group[1]), groups[group]


def _overwriting(plan: UpsertPlan, names: Names) -> UpsertPlan:
    compared = tuple(column for column in plan.compared if column.name in names)
    return replace(plan, given=names, compared=compared)


def _names_set(plan: UpsertPlan, row: object, extra: str) -> Names:
    """Give the columns that a row sets. An instance has all defaults: a value that equals one isn't taken for set."""
    if is_a(row, plan.model):
        data = cast("peewee.Model", row).__data__
        return frozenset(name for name, value in data.items() if not _is_default(plan.model._meta.fields[name], value))
    record = record_of(plan, row, extra)
    return frozenset() if isinstance(record, str) else frozenset(record)


def _is_default(field: peewee.Field, value: Any) -> bool:
    return field.default is not None and type(value) is type(field.default) and value == field.default
