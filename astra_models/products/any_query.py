"""Any query of peewee's as a selection: joins, aliases of tables, aggregates, unions.

Each column that is selected gets a name and, where it comes from a column of a model, that one's type, unit and
description. What is computed has the type of what it gives.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import peewee

from astra_models.columns.condition_text import read_condition
from astra_models.database.peewee_internals import joined_models, limit_of, name_of_alias, selected_by
from astra_models.errors import SelectionError
from astra_models.fields import BigIntegerField, BooleanField, DoubleField
from astra_models.fields.flags import Flag
from astra_models.products.query import Computed, Condition, OutColumn, Query, Selection, free_name

HEADING = "Selected"
_OF_THE_SAME_KIND = frozenset({"MIN", "MAX", "COALESCE", "NULLIF", "FIRST_VALUE", "LAST_VALUE", "LAG", "LEAD"})
_TRUE_OR_FALSE = frozenset(
    {"AND", "OR", "=", "<", "<=", ">", ">=", "!=", "IN", "NOT IN", "IS", "IS NOT", "LIKE", "ILIKE", "BETWEEN"}
)


class WholeQuery(Selection):
    """The rows of a query as it is, in its own order."""

    __slots__ = ()

    def ordered(self, *expressions: peewee.Node) -> Query:
        """Give the query: what it selects are the columns already."""
        return self.base


def select_query(query: Any, *, where: Condition | str | None = None, limit: int | None = None) -> Selection:
    """Make a selection of a query.

    Parameters
    ----------
    query : peewee.ModelSelect or another query that gives rows
        It is read as it is, in its own order.
    where : peewee.Expression or str, optional
        A further condition.
    limit : int, optional
        At most so many rows.

    Raises
    ------
    SelectionError
        If a condition is given for a union, or names a column that isn't there.
    """
    query = query.clone()
    nodes = selected_by(query)
    if where is not None:
        if not isinstance(query, peewee.Select):
            raise SelectionError("a union takes no further condition; give it to the queries that it is made of")
        models = list(dict.fromkeys(_models(query, nodes)))
        query = query.where(read_condition(where, models) if isinstance(where, str) else where)
    if limit is not None:
        own = limit_of(query)
        query = query.limit(limit if own is None else min(limit, own))
    if not nodes:
        raise SelectionError("this query selects no columns; name them in select()")
    return WholeQuery(list(_columns(nodes)), query)


def _models(query: Any, nodes: list[Any]) -> Iterator[type[peewee.Model]]:
    if isinstance(query, peewee.ModelSelect):
        yield query.model
        yield from joined_models(query)
    for node in nodes:
        if isinstance(node, peewee.Field) and isinstance(node.model, type):
            yield node.model


def _columns(nodes: list[Any]) -> Iterator[OutColumn]:
    names = [_name(node) for node in nodes]
    often = Counter(names)
    taken: set[str] = set()
    for node, name in zip(nodes, names, strict=True):
        table = _table(node)
        free = free_name(name, f"{table}_{name}" if often[name] > 1 and table else name, taken)
        taken.add(free)
        yield OutColumn(free, _field(node), node, HEADING, nullable=True)


def _name(node: Any) -> str:
    if isinstance(node, peewee.Alias):
        return name_of_alias(node)
    if isinstance(node, peewee.FieldAlias):
        return str(node.field.name)
    if isinstance(node, peewee.Field | Flag | peewee.Column):
        return str(node.name)
    if isinstance(node, peewee.Function):
        of = _name(node.arguments[0]) if node.arguments and isinstance(node.arguments[0], peewee.Node) else ""
        return "_".join(part for part in (str(node.name).lower(), of) if part and part != "column")
    return "column"


def _table(node: Any) -> str:
    """Name the table of a column, or its alias in the query."""
    if isinstance(node, peewee.FieldAlias):
        return str(vars(node.source).get("alias") or node.field.model._meta.table_name)
    if isinstance(node, peewee.Field | Flag) and node.model is not None:
        return str(node.model._meta.table_name)
    return ""


def _field(node: Any) -> peewee.Field:
    """Give what has the type, unit and description of a column that is selected."""
    if isinstance(node, peewee.Alias):
        return _field(node.node)
    if isinstance(node, peewee.FieldAlias):
        return node.field
    if isinstance(node, peewee.Field):
        return node
    if isinstance(node, Flag):
        return BooleanField(help_text=node.help_text)
    if isinstance(node, peewee.Function):
        return _field_of_function(node)
    if isinstance(node, peewee.Negated) or (isinstance(node, peewee.Expression) and node.op in _TRUE_OR_FALSE):
        return BooleanField()
    return Computed()


def _field_of_function(node: peewee.Function) -> peewee.Field:
    name = str(node.name).upper()
    if name in ("COUNT", "ROW_NUMBER", "RANK", "DENSE_RANK"):
        return BigIntegerField(unit="")
    if name == "EXISTS":
        return BooleanField()
    if name in _OF_THE_SAME_KIND and node.arguments and isinstance(node.arguments[0], peewee.Node):
        return _field(node.arguments[0])
    if name in ("AVG", "STDDEV", "VARIANCE", "STDDEV_SAMP", "VAR_SAMP"):
        unit = getattr(_field(node.arguments[0]), "unit", None) if name != "VARIANCE" and node.arguments else None
        return DoubleField(unit=unit or "")
    return Computed()
