"""Which tables of a production schema are adopted, and how: each with its columns, keys and parents."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import peewee

from astra_models.adoption.columns import TIMES, Change, ColumnPlan, cannot_be_made, plan_column, plan_missing_column
from astra_models.adoption.statements import checksum, quoted, read
from astra_models.base import BaseModel, database
from astra_models.database.catalog import StoredTable, declared_type, read_tables
from astra_models.database.layout import stored_name
from astra_models.database.peewee_internals import declared_fields
from astra_models.database.retry import run_transaction
from astra_models.database_identity import DatabaseIdentity
from astra_models.due_mark import DueMark
from astra_models.fields import GeneratedField
from astra_models.ingested import IngestedFile
from astra_models.lease import Lease
from astra_models.outputs import all_models
from astra_models.pipeline_run import PipelineRun
from astra_models.rejected import RejectedResult
from astra_models.schema.check import declared_indexes
from astra_models.spectrum_file import SpectrumContent, SpectrumFile
from astra_models.survey_count import SurveyCount

__all__ = ["Parent", "Plan", "TablePlan", "UniqueKey", "make_plan"]

BOOKKEEPING = (
    *(DatabaseIdentity, DueMark, IngestedFile, Lease, PipelineRun, RejectedResult),
    *(SpectrumContent, SpectrumFile, SurveyCount),
)
"""Tables about one database's own work, which another doesn't take over."""

ADOPTED_AT = "(SELECT a.started FROM {schema}.adoption a)"
TWO_MEANINGS = {"aspcap": ("initial_flags", 1), "ferre_stellar_parameters": ("initial_flags", 1)}
"""Bits that stand for two things there: the first guess came from Doppler, by the reduction of SDSS-V or of SDSS-IV."""


@dataclass(frozen=True)
class UniqueKey:
    """Columns of ours in which no two rows are the same.

    Parameters
    ----------
    columns : tuple of str
        Their names here.
    expressions : tuple of str
        SQL over ``s`` of their values.
    is_kept : bool
        Whether a key of the table there says the same, so that nothing has to be looked for.
    """

    columns: tuple[str, ...]
    expressions: tuple[str, ...]
    is_kept: bool


@dataclass(frozen=True)
class Parent:
    """A row of another table that a row refers to.

    Parameters
    ----------
    column : str
        The column here that does.
    expression : str
        SQL over ``s`` of its value.
    table, key : str
        The other table, and the column of it that is meant.
    there : str
        That column's name there.
    """

    column: str
    expression: str
    table: str
    key: str
    there: str


@dataclass(frozen=True)
class TablePlan:
    """How a table is adopted.

    Parameters
    ----------
    model : type
        Our model of it.
    schema : str
        The schema there.
    key : str
        The primary key, by its name there.
    columns : list of ColumnPlan
        The columns of ours that are made, the primary key first.
    uniques : list of UniqueKey
        Keys of ours, the primary key aside.
    parents : list of Parent
        What its rows refer to.
    changes : list of Change
        What is different about the table, and columns that are left behind.
    """

    model: type[BaseModel]
    schema: str
    key: str
    columns: list[ColumnPlan]
    uniques: list[UniqueKey] = field(default_factory=list)
    parents: list[Parent] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.model._meta.table_name)

    @property
    def there(self) -> str:
        """The table there, quoted."""
        return quoted(self.schema, self.name)

    @property
    def here(self) -> str:
        """The table here, quoted, in the bound schema."""
        return quoted(self.model._meta.schema, self.name)

    @property
    def primary_key(self) -> str:
        """The primary key here, quoted."""
        return quoted(self.columns[0].name)

    def all_changes(self) -> list[Change]:
        """Give what is different, columns and table."""
        return [*self.changes, *(change for column in self.columns for change in column.changes)]

    def expression_of(self, name: str) -> str | None:
        """Give SQL over ``s`` of a column's value; None if the column isn't made."""
        return next((column.expression for column in self.columns if column.name == name), None)

    def checksum_there(self) -> str:
        """Give SQL over ``s`` of the checksum of what a row becomes."""
        return checksum([column.expression for column in self.columns])

    def checksum_here(self, alias: str = "t") -> str:
        """Give SQL of the checksum of a row as it is here."""
        return checksum([f"{alias}.{quoted(column.name)}" for column in self.columns])

    def problems(self) -> list[tuple[str, str]]:
        """Give conditions on which a row can't be stored, and why; rows that it refers to aside."""
        return [problem for column in self.columns for problem in column.problems]

    def rules(self, timezone: str) -> str:
        """Give a digest of what a checksum is made of, so that those of other rules aren't compared."""
        words = [timezone, *(f"{column.name}={column.source}" for column in self.columns)]
        types = [declared_type(self.model._meta.columns[column.name], database.obj) for column in self.columns]
        return hashlib.sha256("\n".join((*words, *types)).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """How a production schema is adopted.

    Parameters
    ----------
    schema, timezone : str
        The schema there, and the zone of its times.
    tables : list of TablePlan
        Tables in the order in which they are copied: those that others refer to first.
    left_behind : dict of str to str
        Tables that aren't adopted, and why.
    new : list of str
        Tables of ours that aren't there; they are made, and empty.
    """

    schema: str
    timezone: str
    tables: list[TablePlan]
    left_behind: dict[str, str]
    new: list[str]


def make_plan(schema: str, timezone: str, target: str | None) -> Plan:
    """Read a production schema's catalogue, and say how its tables are adopted.

    Parameters
    ----------
    schema : str
        The production schema.
    timezone : str
        The zone of its times.
    target : str or None
        The schema of ours that keeps the record of the adoption, if there is one already.
    """
    tables = run_transaction(database, lambda: read_tables(database.obj, schema))
    models = {_name_of(model): model for model in all_models()}
    left_behind = {name: why for name in tables if (why := _why_left(models.get(name), tables[name]))}
    wanted = [model for name, model in models.items() if name in tables and name not in left_behind]
    began = "now()" if target is None else ADOPTED_AT.format(schema=quoted(target))
    planned = [_plan_table(model, schema, timezone, tables, began) for model in _parents_first(wanted)]
    new = sorted(name for name, model in models.items() if name not in tables and model not in BOOKKEEPING)
    return Plan(schema, timezone, planned, dict(sorted(left_behind.items())), new)


def _parents_first(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """Sort models so that those which others refer to come before these; by name where it doesn't matter."""
    wanted, found = sorted(models, key=_name_of), []

    def visit(model: type[BaseModel]) -> None:
        for other in sorted({other for other in model._meta.refs.values() if other is not model}, key=_name_of):
            visit(other)
        if model in wanted and model not in found:
            found.append(model)

    for model in wanted:
        visit(model)
    return found


def _name_of(model: type[BaseModel]) -> str:
    return str(model._meta.table_name)


def _key_of(model: type[BaseModel]) -> peewee.Field:
    return model._meta.get_primary_keys()[0]


def _why_left(model: type[BaseModel] | None, table: StoredTable) -> str | None:
    """Say why a table as a whole can't be adopted; None if it can."""
    if model is None:
        return "there is no such table here"
    if model in BOOKKEEPING:
        return "it is about the work in that schema"
    key = stored_name(_key_of(model), table.columns)
    if key is None or not table.has_key([key]):
        return f"its rows have no unique key {_key_of(model).column_name}"
    reasons = (_why_not_made(column, table) for column in declared_fields(model))
    return next((reason for reason in reasons if reason is not None), None)


def _why_not_made(column: peewee.Field, table: StoredTable) -> str | None:
    """Say why a column that can't be NULL can't be made."""
    if column.null or isinstance(column, GeneratedField):
        return None
    name = stored_name(column, table.columns)
    if name is None and column.column_name in TIMES:
        return None
    why = cannot_be_made(column, None if name is None else table.columns[name])
    return None if why is None else f"its column {column.column_name}: {why}"


def _plan_table(
    model: type[BaseModel], schema: str, timezone: str, tables: Mapping[str, StoredTable], began: str
) -> TablePlan:
    table = tables[str(model._meta.table_name)]
    names = {column: stored_name(column, table.columns) for column in declared_fields(model)}
    key = names[_key_of(model)]
    assert key is not None, "a table without it is left behind"
    plan = TablePlan(model, schema, key, [])
    for column, name in names.items():
        _plan_one(plan, column, name, table, timezone, _otherwise(column, names, table, timezone, began))
    plan.columns.sort(key=lambda column: column.source != key)
    known = {name for name in names.values() if name is not None}
    for name, stored in table.columns.items():
        if name not in known:
            has_one = f"s.{quoted(name)} IS NOT NULL"
            plan.changes.append(Change(name, "left behind", stored.type, "none", "there is no such column", has_one))
    if model._meta.table_name in TWO_MEANINGS:
        plan.changes.extend(_flags(model, names))
    plan.uniques.extend(_uniques(plan, model, table, names))
    plan.parents.extend(_parents(plan, model, tables))
    return plan


def _plan_one(
    plan: TablePlan, column: peewee.Field, name: str | None, table: StoredTable, timezone: str, otherwise: str
) -> None:
    if hasattr(column, "expression"):
        return
    if name is None:
        made = plan_missing_column(column, otherwise)
        if made is not None:
            plan.columns.append(made)
        return
    stored = table.columns[name]
    if why := cannot_be_made(column, stored):
        has_one = f"s.{quoted(name)} IS NOT NULL"
        plan.changes.append(Change(name, "left behind", stored.type, column.column_name, why, has_one))
        return
    declared = declared_type(column, database.obj)
    is_text = declared == "integer" and stored.type.startswith(("text", "character"))
    versions = _versions(plan, name) if is_text else []
    plan.columns.append(plan_column(column, name, stored, timezone, versions, otherwise))


def _versions(plan: TablePlan, name: str) -> list[str]:
    found = read(f"SELECT DISTINCT s.{quoted(name)} FROM {plan.there} s WHERE s.{quoted(name)} IS NOT NULL")
    return sorted(text for (text,) in found)


def _otherwise(
    column: peewee.Field, names: Mapping[peewee.Field, str | None], table: StoredTable, timezone: str, began: str
) -> str:
    """Give SQL of the time that stands for one that isn't there: the row's other one, or that of adopting."""
    if column.column_name not in TIMES:
        return began
    [other] = set(TIMES) - {column.column_name}
    found = next((field for field in names if field.column_name == other), None)
    name = None if found is None else names[found]
    if found is None or name is None:
        return began
    made = plan_column(found, name, table.columns[name], timezone, [], began).expression
    return f"coalesce({made}, {began})"


def _flags(model: type[BaseModel], names: Mapping[peewee.Field, str | None]) -> Iterator[Change]:
    column, bit = TWO_MEANINGS[str(model._meta.table_name)]
    name = next((there for field, there in names.items() if field.column_name == column), None)
    if name is not None:
        yield Change(
            name,
            "flag",
            f"bit {bit}: Doppler, of SDSS-V or of SDSS-IV",
            f"bit {bit}: of SDSS-V; bit 4: of SDSS-IV",
            "the bit is kept: nothing tells which of the two is meant",
            f"(s.{quoted(name)} & {2**bit}) <> 0",
        )


def _uniques(
    plan: TablePlan, model: type[BaseModel], table: StoredTable, names: Mapping[peewee.Field, str | None]
) -> Iterator[UniqueKey]:
    by_name = {column.name: column for column in names}
    planned = {column.name: column for column in plan.columns}
    for columns, is_unique in declared_indexes(model):
        if not is_unique or columns == (_key_of(model).name,):
            continue
        expressions = [_key_expression(by_name[name], planned) for name in columns]
        if any(expression is None for expression in expressions):
            continue  # always NULL here
        there = {names[by_name[name]] for name in columns}
        is_same = all(getattr(planned.get(by_name[name].column_name), "is_injective", True) for name in columns)
        is_kept = is_same and any(index.unique and set(index.columns) <= there for index in table.indexes)
        yield UniqueKey(
            tuple(str(by_name[name].column_name) for name in columns), tuple(map(str, expressions)), is_kept
        )


def _key_expression(column: peewee.Field, planned: Mapping[str, ColumnPlan]) -> str | None:
    if not isinstance(column, GeneratedField):
        made = planned.get(str(column.column_name))
        return None if made is None else made.expression
    made = planned.get(column.source)
    return None if made is None else column.expression.replace(column.source, f"({made.expression})")


def _parents(plan: TablePlan, model: type[BaseModel], tables: Mapping[str, StoredTable]) -> Iterator[Parent]:
    for key in model._meta.refs:
        expression, other = plan.expression_of(str(key.column_name)), key.rel_field
        table = str(key.rel_model._meta.table_name)
        if expression is None:
            continue
        there = stored_name(other, tables[table].columns) if table in tables else None
        yield Parent(str(key.column_name), expression, table, str(other.column_name), there or "")


def tables_by_name(plans: Iterable[TablePlan]) -> dict[str, TablePlan]:
    """Give plans by the names of their tables."""
    return {plan.name: plan for plan in plans}
