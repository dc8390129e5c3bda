"""What becomes of a column of a production schema: the SQL that makes our value of it, and what changes.

Values are kept, but for what our tables have another way of saying: NaN is NULL, times have a zone, versions are
numbers. The expressions are over an alias ``s`` of the table there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import peewee

from astra_models.adoption.statements import literal, quoted
from astra_models.base import database
from astra_models.database.catalog import StoredColumn, declared_type
from astra_models.database.layout import LOCAL_TIME, can_hold
from astra_models.errors import VersionError
from astra_models.fields import DateTimeField
from astra_models.version import version_string_to_integer

__all__ = ["Change", "ColumnPlan", "cannot_be_made", "plan_column", "plan_missing_column", "versions_as_numbers"]

FLOATS = ("real", "double precision")
TIMES = ("created", "modified")
LARGEST_INTEGER = 2**31 - 1
LARGEST_REAL = 3.4028235677973366e38
"""The least that is rounded to infinity in single precision."""
ROUNDED_TO_ZERO = 2.0**-150
"""The largest that is rounded to zero; the server refuses it instead."""
SENTINELS = {("source", "n_neighborhood"): -1}
"""Whole numbers that sdss/astra stores where it has no value, and that are NULL here."""
SUSPICIOUS = (-999.0, -9999.0, -99999.0)
"""Numbers that other software writes where it has no value. They are counted, and kept: some may be good."""
YEARS = ("0001-01-02", "9999-12-30")
"""Python has no other times, and a row with one couldn't be read."""


@dataclass(frozen=True)
class Change:
    """What is different about a column, or a table.

    Parameters
    ----------
    column : str
        The column, by its name there; "" for the table as a whole.
    what : str
        name, type, time, version, missing, default, digits, suspicious, flag, left behind or new.
    there, here : str
        How it is there, and here.
    outcome : str
        What it leads to.
    condition : str or None
        SQL over ``s`` that is true for the rows it concerns; None if they aren't counted.
    """

    column: str
    what: str
    there: str
    here: str
    outcome: str
    condition: str | None = None


@dataclass(frozen=True)
class ColumnPlan:
    """How a column of ours is made from one there.

    Parameters
    ----------
    name : str
        The column here.
    source : str or None
        The column there; None if there is none, and the value is a constant.
    expression : str
        SQL over ``s`` of the type that the column has here.
    problems : list of (str, str)
        SQL over ``s`` that is true if a row can't be stored for this column, and SQL of text that says why.
    is_injective : bool
        Whether different values there stay different here.
    changes : list of Change
        What is different.
    """

    name: str
    source: str | None
    expression: str
    problems: list[tuple[str, str]] = field(default_factory=list)
    is_injective: bool = True
    changes: list[Change] = field(default_factory=list)


def cannot_be_made(column: peewee.Field, stored: StoredColumn | None) -> str | None:
    """Say why a column of ours can't be made from what is there; None if it can, or need not be."""
    declared = declared_type(column, database.obj)
    if stored is not None and not _is_convertible(column, declared, stored.type):
        return f"it is of type {stored.type} there, and {declared} here"
    if stored is None and not column.null and column.default is None and not column.primary_key:
        return "it isn't there, and can't be NULL here"
    return None


def _is_convertible(column: peewee.Field, declared: str, stored: str) -> bool:
    return declared == stored or can_hold(column, declared, stored)


def plan_column(
    column: peewee.Field, name: str, stored: StoredColumn, timezone: str, versions: Sequence[str], otherwise: str
) -> ColumnPlan:
    """Say how a column of ours is made from one there.

    Parameters
    ----------
    column : peewee.Field
        The column here.
    name : str
        Its name there.
    stored : StoredColumn
        How it is there.
    timezone : str
        The zone of times without one.
    versions : sequence of str
        The versions that it has, if it holds them as text.
    otherwise : str
        For ``created`` and ``modified``, SQL of the time that stands for NULL.
    """
    declared = declared_type(column, database.obj)
    raw = f"s.{quoted(name)}"
    plan = ColumnPlan(column.column_name, name, raw)
    if column.column_name != name:
        plan.changes.append(Change(name, "name", name, column.column_name, "it has our name"))
    if isinstance(column, DateTimeField):
        plan = _of_time(plan, stored, timezone)
    elif declared in FLOATS:
        plan = _of_number(plan, declared, stored)
    elif _base(stored.type) in ("text", "character varying") and declared == "integer":
        plan = _of_version(plan, versions)
    elif stored.type != declared:
        plan = _of_other_type(plan, declared, stored)
    sentinel = SENTINELS.get((column.model._meta.table_name, plan.name))
    if sentinel is not None:
        change = Change(name, "missing", str(sentinel), "NULL", "no value is NULL", f"{raw} = {sentinel}")
        plan = _with(plan, f"nullif({plan.expression}, {sentinel})", change, is_injective=False)
    return plan if column.null or stored.required else _required(column, plan, otherwise)


def plan_missing_column(column: peewee.Field, otherwise: str) -> ColumnPlan | None:
    """Say what a column of ours has that isn't there; None if it is NULL."""
    if column.null or column.primary_key or hasattr(column, "expression"):
        return None
    value = otherwise if column.column_name in TIMES else _constant(column)
    change = Change(column.column_name, "new", "none", str(column.column_name), f"every row has {_told(column)}")
    return ColumnPlan(column.column_name, None, value, changes=[change])


def _of_time(plan: ColumnPlan, stored: StoredColumn, timezone: str) -> ColumnPlan:
    raw, (first, last) = plan.expression, YEARS
    within = f"{raw} BETWEEN '{first}' AND '{last}'"
    aware = raw
    if stored.type == LOCAL_TIME:
        zone = literal(timezone)
        # In the hour that is repeated each autumn, the earlier of the two, as where the schema is used in place.
        earlier = f"({raw} - interval '1 hour') AT TIME ZONE {zone} + interval '1 hour'"
        aware = f"least({raw} AT TIME ZONE {zone}, {earlier})"
        change = Change(plan.name, "time", "without a zone", "with one", f"taken as local times of {timezone}")
        plan = _with(plan, aware, change, is_injective=False)
    change = Change(
        plan.source or "", "missing", "outside of the years 1 to 9999", "NULL", "no program could read it",
        f"NOT ({within})",
    )  # fmt: skip
    return _with(plan, f"CASE WHEN {within} THEN {aware} END", change, is_injective=False)


def _of_number(plan: ColumnPlan, declared: str, stored: StoredColumn) -> ColumnPlan:
    raw, source = plan.expression, plan.source or ""
    plan.changes.append(Change(source, "missing", "NaN", "NULL", "no value is NULL", f"{raw} = 'NaN'"))
    those = ", ".join(f"{number:.0f}" for number in SUSPICIOUS)
    plan.changes.append(
        Change(source, "suspicious", those, "the same", "kept: some may be good", f"{raw} IN ({those})")
    )
    expression = f"nullif({raw}, 'NaN')"
    if stored.type == declared:
        return _with(plan, expression)
    if declared == "double precision":
        change = Change(source, "type", stored.type, declared, "the same number in more digits")
        return _with(plan, f"{expression}::double precision", change)
    too_large = f"abs({raw}) >= {LARGEST_REAL!r} AND abs({raw}) < 'Infinity'"
    plan.problems.append((too_large, f"{_say(source)} || {raw}::text || ' is beyond single precision'"))
    safe = f"CASE WHEN abs({raw}) <= {ROUNDED_TO_ZERO!r} THEN 0 ELSE {expression} END::real"
    rounded = f"CASE WHEN abs({raw}) < 1e38 AND abs({raw}) > 1e-37 THEN {raw}::real::double precision <> {raw} END"
    return _with(plan, safe, Change(source, "digits", stored.type, declared, "rounded to seven digits", rounded), False)


def _of_version(plan: ColumnPlan, versions: Sequence[str]) -> ColumnPlan:
    raw = plan.expression
    cases = "".join(f" WHEN {literal(text)} THEN {number}" for text, number in versions_as_numbers(versions).items())
    expression = f"CASE {raw}{cases} END" if cases else "NULL::integer"
    said = f"{_say(plan.source or '')} || quote_nullable({raw}) || {literal(' is no version, such as 0.8.0')}"
    plan.problems.append((f"{raw} IS NOT NULL AND {expression} IS NULL", said))
    change = Change(plan.source or "", "version", "text", "a number", "0.8.1 becomes 8001")
    return _with(plan, expression, change, is_injective=False)


def versions_as_numbers(versions: Iterable[str]) -> dict[str, int]:
    """Encode versions, and leave out what is none."""
    found = {}
    for text in versions:
        try:
            found[text] = int(text) if text.isdecimal() and text.isascii() else version_string_to_integer(text)
        except VersionError:
            continue
    return {text: number for text, number in found.items() if number <= LARGEST_INTEGER}


def _of_other_type(plan: ColumnPlan, declared: str, stored: StoredColumn) -> ColumnPlan:
    raw, source = plan.expression, plan.source or ""
    if (stored.type, declared) == ("bigint", "integer"):
        too_large = f"{raw} NOT BETWEEN {-LARGEST_INTEGER - 1} AND {LARGEST_INTEGER}"
        plan.problems.append((too_large, f"{_say(source)} || {raw}::text || ' is beyond 32 bits'"))
        change = Change(source, "type", stored.type, declared, "a number beyond 32 bits is refused", too_large)
    else:
        change = Change(source, "type", stored.type, declared, "it holds all values")
    return _with(plan, f"{raw}::{declared}", change)


def _required(column: peewee.Field, plan: ColumnPlan, otherwise: str) -> ColumnPlan:
    """Deal with NULL where it can't be here."""
    source, is_null = plan.source or "", f"{plan.expression} IS NULL"
    if column.column_name in TIMES:
        change = Change(source, "default", "NULL", "a time", "the other time of the row, or that of adopting", is_null)
        return _with(plan, f"coalesce({plan.expression}, {otherwise})", change, is_injective=False)
    if column.default is not None and not callable(column.default):
        change = Change(source, "default", "NULL", _told(column), f"NULL becomes {_told(column)}", is_null)
        return _with(plan, f"coalesce({plan.expression}, {_constant(column)})", change, is_injective=False)
    raw_is_null = f"s.{quoted(plan.source)} IS NULL"
    plan.problems.append((raw_is_null, _say(source) + " || 'is NULL'"))
    plan.changes.append(Change(source, "required", "NULL", "NOT NULL", "the row is rejected", raw_is_null))
    return plan


def _with(plan: ColumnPlan, expression: str, change: Change | None = None, is_injective: bool = True) -> ColumnPlan:
    changes = [*plan.changes, *([change] if change is not None else ())]
    return ColumnPlan(plan.name, plan.source, expression, plan.problems, plan.is_injective and is_injective, changes)


def _base(sql_type: str) -> str:
    return sql_type.split("(")[0]


def _say(source: str) -> str:
    return literal(f"{source} ")


def _constant(column: peewee.Field) -> str:
    value = column.default
    if isinstance(value, bool):
        return str(value).lower()
    return literal(value) if isinstance(value, str) else repr(value)


def _told(column: peewee.Field) -> str:
    if column.column_name in TIMES:
        return "the other time of the row, or that of adopting"
    return repr(column.default)
