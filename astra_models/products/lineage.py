"""From which columns of which tables a column of a product comes."""

from collections.abc import Iterator
from typing import NamedTuple

import peewee

from astra_models.products.query import OutColumn

__all__ = ["Origin", "origins_of"]


class Origin(NamedTuple):
    """A column of a table."""

    table: str
    column: str


def origins_of(column: OutColumn) -> tuple[Origin, ...]:
    """Give the columns that a column is read from, or computed of, each once; none if it is NULL in every row."""
    return tuple(dict.fromkeys(_origins(column.expression)))


def _origins(node: object) -> Iterator[Origin]:
    if isinstance(node, peewee.FieldAlias):
        node = node.field
    if isinstance(node, peewee.Field):
        yield Origin(node.model._meta.table_name, node.column_name)
    elif isinstance(node, peewee.Expression):
        yield from _origins(node.lhs)
        yield from _origins(node.rhs)
    elif isinstance(node, peewee.Function):
        for argument in node.arguments or ():
            yield from _origins(argument)
    elif isinstance(node, peewee.WrappedNode):
        yield from _origins(node.node)
