"""What is written into a table or a file: columns, and the query that their rows come from.

Everything that leaves the database goes through a `Selection`, whether it is one model's rows or the join of sources,
spectra and results that a summary product is made of.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import peewee

from astra_models.base import BaseModel, database
from astra_models.columns.headings import categories
from astra_models.columns.selected import column_names, free_name
from astra_models.columns.typed import COMPUTED, INT32, INT64, LOCAL_MOMENT, MOMENT, TEXT, Kind, kind_of
from astra_models.database.sql import driver_errors, is_any_of, is_postgresql
from astra_models.errors import SelectionError, did_you_mean
from astra_models.fields import IntegerField
from astra_models.messages import shown
from astra_models.products.beside import is_one_at_most, put_beside
from astra_models.products.given import (
    Condition,
    condition_of,
    number_of_rows,
    require_joined,
    whole_numbers,
)
from astra_models.products.sqlite_watch import watching
from astra_models.schema.tables import require_tables_to_read
from astra_models.source import Source
from astra_models.upsert.plan import primary_key_of
from astra_models.version import as_v_astra, version_string_to_integer

Model = type[BaseModel]
if TYPE_CHECKING:
    Query = peewee.ModelSelect[Any]
else:
    Query = peewee.ModelSelect
Row = tuple[Any, ...]
"""A row as the driver gives it."""

CURSOR = "astra_products"
ROWS_AT_ONCE = 1000


class Computed(peewee.Field):
    """Stands for a column that no model has: its kind is that of the values."""

    unit = ""


@dataclass(frozen=True)
class OutColumn:
    """A column of what is written.

    Parameters
    ----------
    name : str
        Its name there.
    field : peewee.Field
        The model's column, which has its type, unit and description.
    expression : peewee.ColumnBase or None
        What is selected; None if the column is NULL in every row.
    heading : str
        The group of columns that it is in.
    nullable : bool
        Whether it can be NULL.
    """

    name: str
    field: peewee.Field
    expression: peewee.ColumnBase | None
    heading: str
    nullable: bool

    @cached_property
    def kind(self) -> Kind:
        """How its values are held here."""
        return kind_read(self.field)

    @property
    def is_there(self) -> bool:
        """Whether anything is selected; the column is NULL in every row otherwise."""
        return self.expression is not None

    @property
    def selected(self) -> peewee.ColumnBase:
        """What is selected, of a column that is there."""
        assert self.expression is not None
        return self.expression

    @property
    def unit(self) -> str:
        """Its unit, empty if there is none."""
        return getattr(self.field, "unit", None) or ""

    @property
    def description(self) -> str:
        """What it holds."""
        return self.field.help_text or ""


class Selection(NamedTuple):
    """Columns, and the rows that they are of.

    Parameters
    ----------
    columns : list of OutColumn
        In their order.
    base : peewee.Select
        The query, with its joins and conditions; its own columns don't count.
    order : sequence
        What the rows are ordered by, so that the same rows always give the same file.
    is_key : bool
        Whether the first of `order` is unique and never NULL. The rows can then be read in parts.
    """

    columns: list[OutColumn]
    base: Query
    order: Sequence[peewee.ColumnBase] = ()
    is_key: bool = False

    def select(self, *expressions: peewee.Node) -> Query:
        """Make a query of other expressions over the same rows, unordered."""
        return self.base.clone().columns(*expressions)

    def rows_of(self, n_values: int) -> int:
        """Say how many rows have about so many values; at least one."""
        return max(n_values // max(len(self.columns), 1), 1)

    def ordered(self, *expressions: peewee.Node) -> Query:
        """Make a query of other expressions over the same rows, in their order."""
        return self.select(*expressions).order_by(*self.order)


def kind_read(field: peewee.Field) -> Kind:
    """Tell how a field's values are held once they have been read."""
    if isinstance(field, Computed):
        return COMPUTED
    target = field
    while isinstance(target, peewee.ForeignKeyField):
        target = target.rel_field
    kind = kind_of(field if target is field else target)
    if kind is LOCAL_MOMENT:
        return MOMENT
    if kind is TEXT and isinstance(target, IntegerField):  # a version, as production has it
        return INT64 if target.bits == 64 else INT32
    return kind


def select_model(
    model: Model,
    *,
    where: Condition | str | None = None,
    columns: Sequence[str] | str | None = None,
    v_astra: str | int | None = None,
    sdss_ids: Iterable[int] | None = None,
    latest: bool = False,
    limit: int | None = None,
    joins: Sequence[Model] = (),
) -> Selection:
    """Select rows of one model, with all columns of its table or some. The conditions are as for `to_table`.

    Raises
    ------
    SelectionError
        If the model has no column that is named, or that a condition needs.
    """
    if getattr(model, "abstract", False):
        raise SelectionError(f"{model.__name__} is a base of other models, without a table of its own")
    limit = None if limit is None else number_of_rows(limit)
    database.connect(reuse_if_open=True)  # from here on, the model's columns are those that its table has
    require_tables_to_read(model, *joins)
    wanted = _columns_of(model, joins)
    if columns is not None:
        wanted = named(model, wanted, columns)
    whole = model.select()
    for other in joins:
        whole = put_beside(whole, model, other)
    query = whole
    if where is not None:
        condition = condition_of(where, [model, *joins])
        require_joined(condition, [model, *joins])
        query = query.where(condition)
    if v_astra is not None:
        query = query.where(of_version(model, v_astra))
    if sdss_ids is not None:
        query = query.where(_of_sources(model, sdss_ids))
    if latest:
        query = query.where(_require(model, "is_latest", "versions to take the newest of")())
    key = primary_key_of(model)
    # A limit is of rows in their order, whatever is then asked of them.
    several = [primary_key_of(other) for other in joins if not is_one_at_most(model, other)]
    if several:
        return Selection(wanted, query if limit is None else query.limit(limit), (key, *several))
    if limit is not None:
        query = whole.where(key.in_(query.columns(key).order_by(key).limit(limit)))
    return Selection(wanted, query, (key,), is_key=True)


def _columns_of(model: Model, joins: Sequence[Model]) -> list[OutColumn]:
    """Give the columns of a model, and of those beside it: of a name that is taken, with their table's in front."""
    for other, times in Counter(joins).items():
        if times > 1:
            raise SelectionError(f"{other.__name__} is joined {times} times; write the query with an alias")
    columns: list[OutColumn] = []
    for each in (model, *joins):
        headings, taken = categories(each), {column.name for column in columns}
        for field in each._meta.sorted_fields:
            wanted = f"{each._meta.table_name}_{field.name}" if field.name in taken else field.name
            nullable = bool(field.null) or each is not model
            name = free_name(field.name, wanted, taken)
            columns.append(OutColumn(name, field, field, headings[field.name], nullable))
    return columns


def named(model: Model, columns: list[OutColumn], names: Sequence[str] | str) -> list[OutColumn]:
    """Choose columns by their names, in the order of these; text has commas between them.

    Raises
    ------
    SelectionError
        If none of the columns has a name.
    """
    there = {column.name: column for column in columns}
    wanted = column_names(names)
    for name in wanted:
        if name not in there:
            raise SelectionError(f"{model.__name__} has no column {shown(name)}; {did_you_mean(name, there)}")
    return [there[name] for name in wanted]


def of_version(model: Model, v_astra: str | int) -> peewee.Expression:
    """Make the condition that a row is of a version's major.minor.

    Raises
    ------
    SelectionError
        If the model's rows have no version.
    """
    field = _require(model, "v_astra", "column v_astra, so none of its rows is of a version")
    major_minor = major_minor_of(v_astra)
    if "v_astra_major_minor" in model._meta.fields:
        return model._meta.fields["v_astra_major_minor"] == major_minor
    return field.between(major_minor * 1000, major_minor * 1000 + 999)


def major_minor_of(v_astra: str | int) -> int:
    """Give the major.minor of a version as the database keeps it: 9 for ``"0.9"``, ``"0.9.1"`` and 9001."""
    integer = version_string_to_integer(v_astra) if isinstance(v_astra, str) else as_v_astra(v_astra)
    return integer // 1000


def _of_sources(model: Model, sdss_ids: Iterable[int]) -> peewee.Expression:
    sdss_ids = whole_numbers(sdss_ids, "sdss_ids")
    if "source_pk" in model._meta.fields:
        return model._meta.fields["source_pk"].in_(Source.select(Source.pk).where(is_any_of(Source.sdss_id, sdss_ids)))
    return is_any_of(_require(model, "sdss_id", "source, so none of its rows is of an sdss_id"), sdss_ids)


def _require(model: Model, name: str, what: str) -> Any:
    found = getattr(model, name, None)
    if found is None:
        raise SelectionError(f"{model.__name__} has no {what}; leave that condition out")
    return found


# ---- reading


@contextmanager
def snapshot() -> Iterator[None]:
    """See the bound database as it is now, until the end of the block, whatever others write meanwhile."""
    database.connect(reuse_if_open=True)
    if database.in_transaction():  # the caller's, whose view of the database is the caller's choice
        yield
        return
    with nullcontext() if is_postgresql(database) else watching(database), database.atomic():
        if is_postgresql(database):
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        token = _is_shareable.set(is_postgresql(database))
        try:
            yield
        finally:
            _is_shareable.reset(token)


_is_shareable: ContextVar[bool] = ContextVar("_is_shareable", default=False)


def can_be_shared() -> bool:
    """Tell whether other connections can see what this one's `snapshot` sees."""
    return _is_shareable.get()


def share_snapshot() -> str:
    """Give the name by which other connections can join this `snapshot`."""
    return database.execute_sql("SELECT pg_export_snapshot()").fetchone()[0]


_FOR_WIDE_ROWS = (
    "SET LOCAL enable_sort = off",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SELECT octet_length(repeat(repeat(' ', 1024), 16384))",
)
"""What makes a connection of PostgreSQL read rows of hundreds of columns several times faster.

An index gives them in their order sooner than they are sorted, and to hand them on from process to process costs more
than it saves. A process that has once freed 16 MB no longer gives its memory back to the system after every row.
"""


@contextmanager
def shared_snapshot(name: str) -> Iterator[None]:
    """See, by a connection of this thread's own, what the thread of a `snapshot` sees."""
    database.connect(reuse_if_open=True)
    try:
        with database.atomic():
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            database.execute_sql("SET TRANSACTION SNAPSHOT %s", (name,))
            for statement in _FOR_WIDE_ROWS:
                database.execute_sql(statement)
            yield
    finally:
        database.close()


def read_rows(query: peewee.Query, at_once: int = ROWS_AT_ONCE) -> Iterator[list[Row]]:
    """Read a query's rows as the driver gives them, some at a time, by a cursor that stays with the server.

    Parameters
    ----------
    query : peewee.Select
        What to read. It has to be in a transaction: see `snapshot`.
    at_once : int, optional
        Rows per list.
    """
    sql, parameters = query.sql()
    if not is_postgresql(database):
        with driver_errors:  # a cursor of SQLite ends with the last reference to it, its connection being there or not
            cursor = database.connection().cursor()
            cursor.execute(sql, tuple(parameters))
            while rows := cursor.fetchmany(at_once):
                yield rows
        return
    with driver_errors, closing(database.connection().cursor()) as cursor:
        name = f"{CURSOR}_{next(_numbers)}"
        cursor.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", tuple(parameters))
        while True:
            cursor.execute(f"FETCH FORWARD {at_once} FROM {name}")
            if not (rows := cursor.fetchall()):
                break
            yield rows
        cursor.execute(f"CLOSE {name}")


_numbers = itertools.count()
