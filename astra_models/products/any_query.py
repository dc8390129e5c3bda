"""Any query of peewee's as a selection: joins, aliases of tables, aggregates, unions.

Each column that is selected gets a name and, where it comes from a column of a model, that one's type, unit and
description. What is computed has the type of what it gives.
"""

from collections.abc import Iterator
from typing import Any

import peewee

from astra_models.columns.selected import names_of
from astra_models.columns.typed import COMPUTED, to_column
from astra_models.database.peewee_internals import (
    function_of,
    joined_models,
    limit_of,
    names_in_sql,
    query_of,
    selected_by,
)
from astra_models.errors import SelectionError
from astra_models.fields import BigIntegerField, BooleanField, DoubleField
from astra_models.fields.flags import Flag
from astra_models.messages import shown
from astra_models.products.given import Condition, condition_of, number_of_rows
from astra_models.products.query import Computed, OutColumn, Query, Selection, kind_read
from astra_models.targeting import BitIsSet

HEADING = "Selected"
_ONE_OF_ITS_ARGUMENTS = frozenset({"MIN", "MAX", "COALESCE", "IFNULL", "GREATEST", "LEAST", "LAG", "LEAD"})
_OF_ITS_FIRST_ARGUMENT = frozenset({"NULLIF", "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE", "DISTINCT"})
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
        If it doesn't select, a condition is given for a union or names a column that isn't there, or the limit is no
        number of rows.
    """
    query = _reading(query).clone()
    nodes = selected_by(query)
    if where is not None:
        if not isinstance(query, peewee.Select):
            raise SelectionError("a union takes no further condition; give it to the queries that it is made of")
        models = list(dict.fromkeys(_models(query, nodes)))
        query = query.where(condition_of(where, models))
    if limit is not None:
        limit, own = number_of_rows(limit), limit_of(query)
        query = query.limit(limit if own is None else min(limit, own))
    return WholeQuery(list(_columns(query)), query)


def _reading(given: Any) -> peewee.SelectBase:
    """Give a query that selects: the one that is given, or that of all columns of an alias of a model."""
    if isinstance(given, peewee.ModelAlias):
        return given.select()
    if isinstance(given, peewee.RawQuery):
        raise SelectionError("the columns of raw SQL aren't known; write it by select(), or ask by `astra query`")
    if isinstance(given, peewee.CTE):
        raise SelectionError("a WITH is a part of a query; select from it, as with_.select_from(with_.c.teff)")
    if not isinstance(given, peewee.SelectBase):
        raise SelectionError(
            f"rows are read of a model, such as Corv, or of a query that selects, such as Corv.select(), not of "
            f"{shown(given)}"
        )
    if not selected_by(given):
        raise SelectionError("this query selects no columns; name them in select()")
    return given


def _models(query: Any, nodes: list[Any]) -> Iterator[type[peewee.Model]]:
    if isinstance(query, peewee.ModelSelect):
        yield query.model
        yield from joined_models(query)
    for node in nodes:
        if isinstance(node, peewee.Field) and isinstance(node.model, type):
            yield node.model


def _columns(query: peewee.SelectBase) -> Iterator[OutColumn]:
    nodes = selected_by(query)
    for node, name, field in zip(nodes, names_of(nodes), _fields(query), strict=True):
        yield OutColumn(name, field, node, HEADING, nullable=True)


def _fields(query: peewee.SelectBase) -> list[peewee.Field]:
    """Give what has the type, unit and description of each column of a query; of a union, of all that it is made of."""
    if isinstance(query, peewee.CompoundSelectQuery):
        pairs = zip(_fields(query.lhs), _fields(query.rhs), strict=False)
        return [one if kind_read(one) is kind_read(other) else Computed() for one, other in pairs]
    return [_field(node) for node in selected_by(query)]


def _field(node: Any) -> peewee.Field:
    """Give what has the type, unit and description of something that is selected."""
    if isinstance(node, peewee.Alias):
        return _field(node.node)
    if isinstance(node, peewee.FieldAlias):
        return node.field
    if isinstance(node, peewee.Field):
        return node
    if isinstance(node, Flag):
        return BooleanField(help_text=node.help_text)
    if isinstance(node, peewee.SelectBase):
        return _fields(node)[0] if len(selected_by(node)) == 1 else Computed()
    if isinstance(node, peewee.Column):
        return _field_within(node)
    function = function_of(node)
    if function is not None:
        return _field_of_function(function)
    if isinstance(node, peewee.Negated | BitIsSet) or (
        isinstance(node, peewee.Expression) and node.op in _TRUE_OR_FALSE
    ):
        return BooleanField()
    return Computed()


def _field_within(column: peewee.Column) -> peewee.Field:
    """Give what has the type of a column of a query within the query."""
    query, names = query_of(column.source), names_in_sql(column.source)
    if query is None or column.name not in names:
        return Computed()
    return _fields(query)[names.index(column.name)]


def _field_of_function(function: peewee.Function) -> peewee.Field:
    name, arguments = str(function.name).upper(), function.arguments or ()
    if name in ("COUNT", "ROW_NUMBER", "RANK", "DENSE_RANK"):
        return BigIntegerField(unit="")
    if name == "EXISTS":
        return BooleanField()
    first = _field(arguments[0]) if arguments and isinstance(arguments[0], peewee.Node) else Computed()
    if name in _ONE_OF_ITS_ARGUMENTS:
        others = arguments[2:] if name in ("LAG", "LEAD") else arguments[1:]
        return first if all(_is_of_the_kind_of(first, other) for other in others) else Computed()
    if name in _OF_ITS_FIRST_ARGUMENT:
        return first
    if name in ("AVG", "STDDEV", "VARIANCE", "STDDEV_SAMP", "VAR_SAMP"):
        return DoubleField(unit="" if name.startswith("VAR") else getattr(first, "unit", None) or "")
    return Computed()


def _is_of_the_kind_of(field: peewee.Field, argument: object) -> bool:
    """Tell whether a function can give another of its arguments in the place of one that is of a field's kind."""
    value = argument.value if isinstance(argument, peewee.Value) else argument
    if isinstance(value, peewee.Node):
        return kind_read(_field(value)) is kind_read(field)
    return value is None or (kind_read(field) is not COMPUTED and not to_column(field, [value])[1])
