"""What we use of peewee that it doesn't document; nothing else in the package may.

Each function says why there is no documented way. `_meta` and `__data__` are documented, and used everywhere.
"""

from functools import cached_property
from typing import Any, TypeVar

import peewee

NO_DEFAULTS = "__no_default__"
"""Keyword of a model by which peewee's cursors make rows: columns that aren't given stay unset."""

driver_errors: peewee.ExceptionWrapper = getattr(peewee, "__exception_wrapper__")  # noqa: B009  not in the stubs
"""Context in which a driver's errors become peewee's, for COPY and ``executemany``, which peewee doesn't offer."""


class UnsavedOnDemand:
    """Base of models whose rows list their unsaved columns only when asked.

    peewee makes the set with every row; most rows are upserted, and nobody asks.
    """

    __data__: dict[str, Any]

    @cached_property
    def _dirty(self) -> set[str]:
        return set(self.__data__)


class OrderedOnDemand(peewee.Metadata):
    """What peewee knows of a model, whose columns are put in order when that is asked for.

    peewee makes the list anew with every column that a class gets: a tenth of the time in which our models are made.
    """

    def _update_sorted_fields(self) -> None:
        vars(self).pop("sorted_fields", None)
        vars(self).pop("sorted_field_names", None)

    def __getattr__(self, name: str) -> Any:
        if name not in ("sorted_fields", "sorted_field_names") or "_sorted_field_list" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super()._update_sorted_fields()  # pyright: ignore[reportAttributeAccessIssue]  not in the stubs
        return vars(self)[name]


def mark_as_saved(row: peewee.Model) -> None:
    """Say that a row is as the database has it; peewee does so only for rows that it wrote or read itself."""
    vars(row)["_dirty"] = set()


Row = TypeVar("Row", bound=peewee.Model)
Query = TypeVar("Query", bound="peewee.ModelSelect[Any]")


def row_as_read(model: type[Row], columns: dict[str, Any]) -> Row:
    """Make a row of all its columns as the database has them; peewee's own way takes several times as long."""
    row = model.__new__(model)
    vars(row).update(__data__=columns, __rel__={}, _dirty=set())
    return row


def mark_as_changed(row: peewee.Model) -> None:
    """Say that any column of a row may differ from what the database has."""
    vars(row).pop("_dirty", None)


def next_place() -> int:
    """Give the place that the next field would have, and use it up.

    peewee counts the fields that are made, and columns are in that order: there is nothing else by which something
    between two columns could know where it stands.
    """
    return place_of(peewee.Field())


def place_of(field: peewee.Field) -> int:
    """Give a field's place in the order in which fields were made."""
    return vars(field)["_order"]


def put_here(field: peewee.Field) -> None:
    """Give a field the place of one that is made now: a copy would stand where the original does in its table."""
    attributes = vars(field)
    attributes["_order"] = next_place()
    attributes["_sort_key"] = (1 if field.primary_key else 2, attributes["_order"])


def declared_fields(model: type[peewee.Model]) -> list[peewee.Field]:
    """Give all fields of a model in the table's order, those that are left out of ``sorted_fields`` included."""
    return list(getattr(model._meta, "_sorted_field_list"))  # noqa: B009  not in the stubs


def restore_sorted_fields(model: type[peewee.Model]) -> None:
    """Make ``sorted_fields`` and ``sorted_field_names`` again of all fields of a model."""
    getattr(model._meta, "_update_sorted_fields")()  # noqa: B009  not in the stubs


def gives_models(query: peewee.Select) -> bool:
    """Tell whether a query gives model instances; peewee has methods to choose tuples or dicts, and none to ask."""
    return isinstance(query, peewee.ModelSelect) and vars(query)["_row_type"] in (None, peewee.ROW.MODEL)


def settings_of(database: peewee.Database) -> dict[str, object]:
    """Give the pragmas that a database sets on each connection (none on PostgreSQL), without opening one to ask."""
    return dict(getattr(database, "_pragmas", ()))


def selected_by(query: peewee.SelectBase) -> list[Any]:
    """Give what a query selects, in order; peewee tells it only to its own cursors."""
    return list(getattr(query, "_returning") or ())  # noqa: B009  not in the stubs


def limit_of(query: peewee.SelectBase) -> int | None:
    """Give the limit that a query has already, which a further one may not raise."""
    return getattr(query, "_limit")  # noqa: B009  not in the stubs


def still_default(query: Query) -> Query:
    """Let a query of a model with more columns be one of its keys inside another, as peewee has it without these.

    ``Corv.source_pk.in_(query)`` is of many columns otherwise, which is an error.
    """
    setattr(query, "_is_default", True)  # noqa: B010  not in the stubs
    return query


def joined_models(query: "peewee.ModelSelect[Any]") -> list[type[peewee.Model]]:
    """Give the models that a query joins, which conditions may be about."""
    joins = [joined[0] for some in getattr(query, "_joins").values() for joined in some]  # noqa: B009  not in the stubs
    return [model for model in joins if isinstance(model, type)]


def name_of_alias(node: "peewee.Alias | peewee.SelectBase") -> str:
    """Give the name that a query gives to what it selects; empty if it gives none to a query within it."""
    return str(getattr(node, "_alias") or "")  # noqa: B009  not in the stubs


def function_of(node: object) -> peewee.Function | None:
    """Give the function that a node calls, over a window or not; peewee makes a list of words of one over a window."""
    if isinstance(node, peewee.Function):
        return node
    if isinstance(node, peewee.NodeList) and node.nodes and isinstance(node.nodes[0], peewee.Function):
        over = node.nodes[1] if len(node.nodes) > 1 else None
        return node.nodes[0] if isinstance(over, peewee.SQL) and over.sql == "OVER" else None
    return None


def query_of(source: object) -> peewee.SelectBase | None:
    """Give the query that a source of columns is, or is the name of (WITH); None if it is a table."""
    inner = getattr(source, "_query", None) if isinstance(source, peewee.CTE) else source
    return inner if isinstance(inner, peewee.SelectBase) else None


def names_in_sql(source: peewee.SelectBase | peewee.CTE) -> list[str]:
    """Name the columns of a query within a query, as the database does; empty where it is the database's choice."""
    declared = getattr(source, "_columns", None) if isinstance(source, peewee.CTE) else None
    if declared:
        return [str(getattr(column, "_path", ("",))[-1]) for column in declared]
    query = query_of(source)
    return [] if query is None else [_name_in_sql(node) for node in selected_by(query)]


def _name_in_sql(node: object) -> str:
    if isinstance(node, peewee.Alias | peewee.SelectBase):
        return name_of_alias(node)
    if isinstance(node, peewee.FieldAlias):
        return str(node.field.column_name)
    if isinstance(node, peewee.Field):
        return str(node.column_name)
    return str(node.name) if isinstance(node, peewee.Column) else ""
