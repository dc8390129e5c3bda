"""A default argument that is a query of another Astra, as our selection. The query itself is never run.

Three parts of it are taken over: the kind of spectra, its conditions, and the results of other pipelines that it joins.
A join of the pipeline's own table, for what has no result yet, is left out: that is what being due means here.
What can't be said in our columns is an error, and never left out.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import peewee

from astra_models.base import BaseModel
from astra_models.errors import ConfigurationError
from astra_models.fields.flags import Flag
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import version_string_to_integer

__all__ = ["Joined", "Selection", "read_query"]

REMEDY = "say it in ours by where=, a condition on our columns; where=None takes all spectra of the kind"

KEYWORDS = ("AND", "ESCAPE", "ASC", "DESC")
"""What peewee itself writes into conditions as plain SQL, such as that of ``between``."""
_KEYS = ("spectrum_pk", "source_pk", "pk")


@dataclass(frozen=True)
class Joined:
    """Results of another pipeline that come with each spectrum.

    Parameters
    ----------
    model : type
        Our model of them.
    optional : bool
        Whether spectra without one are taken, too.
    attribute : str
        What the pipeline calls the row.
    """

    model: type[PipelineOutputMixin]
    optional: bool
    attribute: str


@dataclass(frozen=True)
class Selection:
    """What a default query selects.

    Parameters
    ----------
    model : type
        Our model of the rows: a kind of spectra, or `Source`.
    condition : peewee.ColumnBase or None
        Which of them.
    joined : tuple of Joined
        Results that come with them.
    """

    model: type[BaseModel]
    condition: peewee.ColumnBase | None
    joined: tuple[Joined, ...]


def read_query(
    pipeline: str,
    query: peewee.SelectBase,
    models: Mapping[str, type[BaseModel]],
    results: Sequence[type[BaseModel]],
    *,
    version: str = "",
    replaced: bool = False,
) -> Selection:
    """Read what a default query selects. It isn't run.

    Parameters
    ----------
    pipeline : str
        The pipeline, for messages.
    query : peewee.SelectBase
        The query, of the other Astra's models.
    models : mapping of str to type
        Our models by their tables.
    results : sequence of type
        Our models of the pipeline's results.
    version : str, optional
        The version of the other Astra: results of it are those of the installed version here.
    replaced : bool, optional
        Whether the operator gave another condition, so that only kind and joins are read.

    Raises
    ------
    ConfigurationError
        If something in it can't be said in our columns.
    """
    reading = _Reading(pipeline, models, tuple(results), version)
    if not isinstance(query, peewee.ModelSelect):
        raise reading.untold(f"it is a {type(query).__name__}")
    model = reading.model(query.model)
    if replaced:
        try:
            return Selection(model, None, tuple(reading.joins(query)))
        except ConfigurationError:
            return Selection(model, None, ())
    for attribute, clause in (("_limit", "LIMIT"), ("_offset", "OFFSET"), ("_group_by", "GROUP BY")):
        if getattr(query, attribute, None) is not None:
            raise reading.untold(f"it has {clause}")
    if getattr(query, "_having", None) is not None:
        raise reading.untold("it has HAVING")
    joined = tuple(reading.joins(query))
    where = getattr(query, "_where", None)
    kept = [one for one in _conjuncts(where) if not (reading.is_due_condition(one) or reading.is_current(one))]
    translated = [reading.translated(one) for one in kept]
    reading.require_joined(translated, {model, Source, *(one.model for one in joined)})
    return Selection(model, reduce(operator.and_, translated) if translated else None, joined)


class _Reading:
    def __init__(
        self,
        pipeline: str,
        models: Mapping[str, type[BaseModel]],
        results: tuple[type[BaseModel], ...],
        version: str,
    ):
        self.pipeline = pipeline
        self.version = version
        self.models = models
        self.results = results

    def untold(self, why: str) -> ConfigurationError:
        """Give the error that the query can't be taken over, with why, and what to give in its place."""
        return ConfigurationError(f"{self.pipeline}: its default query can't be taken over: {why}; {REMEDY}")

    def model(self, theirs: object) -> type[BaseModel]:
        """Find our model of the table that one of theirs is of."""
        if not (isinstance(theirs, type) and issubclass(theirs, peewee.Model)):
            raise self.untold(f"it selects from {type(theirs).__name__}")
        table = theirs._meta.table_name
        if table not in self.models:
            raise self.untold(f"there is no table {table!r} here (its model {theirs.__name__})")
        return self.models[table]

    def require_joined(self, conditions: Sequence[object], known: set[type[BaseModel]]) -> None:
        """Make sure that conditions are on the spectra, their sources, and the results that come with them."""
        for field in (field for condition in conditions for field in _fields_of(condition)):
            if field.model not in known:
                raise self.untold(f"it asks about {field.model.__name__}.{field.name}, and doesn't join that table")

    # ---- joins

    def joins(self, query: peewee.ModelSelect) -> Iterator[Joined]:
        """Give the results of other pipelines that the query joins; sources, and its own results, come anyway."""
        attributes = {
            dest: attr
            for joins in vars(query)["_joins"].values()
            for dest, attr, *_ in joins
            if isinstance(dest, type) and issubclass(dest, peewee.Model)
        }
        for join in _joins(vars(query).get("_from_list") or ()):
            model = self.model(join.rhs)
            is_optional = join.join_type == peewee.JOIN.LEFT_OUTER
            if model in self.results:
                if not is_optional:
                    raise self.untold(f"it takes only spectra that have a result of {model.__name__} already")
            elif not (issubclass(model, Source | Spectrum) and self._is_plain(join)):
                yield Joined(self._results_joined(join, model), is_optional, attributes[join.rhs])

    def _results_joined(self, join: peewee.Join, model: type[BaseModel]) -> type[PipelineOutputMixin]:
        """Give the model of another pipeline's results that a join adds, each to its spectrum."""
        if not issubclass(model, PipelineOutputMixin) or issubclass(model, SpectrumMixin):
            raise self.untold(f"it joins {model.__name__}")
        parts = list(_conjuncts(getattr(join, "_on", None)))
        if not all(_is_key_equality(one, ("spectrum_pk",)) or _is_version_equality(one) for one in parts):
            raise self.untold(f"it joins {model.__name__} by more than spectrum_pk")
        return model

    def _is_plain(self, join: peewee.Join) -> bool:
        on = getattr(join, "_on", None)
        if all(map(_is_key_equality, _conjuncts(on))):
            return True
        raise self.untold(f"it joins {join.rhs.__name__} by more than its key")

    def is_current(self, node: object) -> bool:
        """Tell whether a condition asks for results of the other Astra's version, which come with spectra anyway."""
        return _is_version_equality(node) and node.rhs == self.version != ""  # type: ignore[attr-defined]

    def is_due_condition(self, node: object) -> bool:
        """Tell whether a condition says that there is no result yet."""
        return (
            isinstance(node, peewee.Expression)
            and node.op in (peewee.OP.IS, peewee.OP.EQ)
            and node.rhs is None
            and isinstance(node.lhs, peewee.Field)
            and self.models.get(node.lhs.model._meta.table_name) in self.results
        )

    # ---- conditions

    def translated(self, node: Any) -> Any:
        """Give a condition, or a part of one, on our models."""
        if isinstance(node, peewee.Field):
            return self._column(node)
        if isinstance(node, peewee.Negated):
            return ~self.translated(node.node)
        if isinstance(getattr(node, "_field", None), peewee.Field):  # a flag that wasn't compared with anything
            return self.translated(node._field.bin_and(node._value) != 0)
        if isinstance(node, peewee.Expression):
            if (flag := self._flag(node)) is not None:
                return flag
            lhs, rhs = self._pair(node)
            return peewee.Expression(lhs, node.op, rhs, flat=node.flat)
        return self._translated_parts(node)

    def _translated_parts(self, node: object) -> object:
        if isinstance(node, peewee.Function):
            return peewee.Function(node.name, [self.translated(one) for one in node.arguments or ()])
        if isinstance(node, peewee.Cast):
            return peewee.Cast(self.translated(vars(node)["node"]), vars(node)["_cast"].sql)
        if isinstance(node, peewee.NodeList):
            return peewee.NodeList([self.translated(one) for one in node.nodes], node.glue, node.parens)
        if isinstance(node, peewee.Value):
            return peewee.Value(node.value, unpack=False) if not node.multi else node
        return self._taken_as_it_is(node)

    def _taken_as_it_is(self, node: object) -> object:
        if isinstance(node, peewee.SQL) and not node.params and node.sql.strip().upper() in KEYWORDS:
            return node
        if isinstance(node, list | tuple | set | frozenset):
            return type(node)(self.translated(one) for one in node)
        if isinstance(node, peewee.Node) or (isinstance(node, type) and issubclass(node, peewee.Model)):
            raise self.untold(f"it has a {type(node).__name__}")
        return node

    def _column(self, field: peewee.Field) -> peewee.ColumnBase:
        model = self.model(field.model)
        if model in self.results:
            raise self.untold(f"it asks about results of {model.__name__} that are there already ({field.name})")
        column = getattr(field, "column_name", field.name)
        for name in (field.name, column, column.removesuffix("_id")):
            if name in model._meta.fields:
                return model._meta.fields[name]
        if (named := model._meta.columns.get(column)) is not None:
            return named
        raise self.untold(f"{model.__name__} has no column {field.name!r} here")

    def _flag(self, node: peewee.Expression) -> peewee.ColumnBase | None:
        """Translate a flag by its name: its bit may be another one here."""
        inner = node.lhs
        if not (node.op in (peewee.OP.NE, peewee.OP.EQ) and node.rhs == 0 and isinstance(inner, peewee.Expression)):
            return None
        if inner.op != peewee.OP.BIN_AND or not isinstance(inner.lhs, peewee.Field):
            return None
        names = [name for name, value in _flags_of(inner.lhs) if value == inner.rhs]
        model = self.model(inner.lhs.model)
        if model in self.results or len(names) != 1:
            return None  # the column itself is looked at next
        ours = getattr(model, names[0], None)
        if not isinstance(ours, Flag):
            raise self.untold(f"{model.__name__} has no flag {names[0]!r} here")
        return ours if node.op == peewee.OP.NE else ~ours

    def _pair(self, node: peewee.Expression) -> tuple[object, object]:
        lhs, rhs = self.translated(node.lhs), self.translated(node.rhs)
        for column, value, is_left in ((lhs, rhs, True), (rhs, lhs, False)):
            if isinstance(column, peewee.Field) and column.name == "v_astra":
                integer = _as_version(value)
                return (lhs, integer) if is_left else (integer, rhs)
        return lhs, rhs


def _as_version(value: object) -> object:
    """Give a version that another Astra keeps as text as the integer that we keep."""
    if isinstance(value, str):
        return version_string_to_integer(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_version(one) for one in value]
    return value


def _flags_of(field: peewee.Field) -> Iterator[tuple[str, int]]:
    for base in field.model.__mro__:
        for name, declared in vars(base).items():
            if getattr(declared, "_field", getattr(declared, "field", None)) is None:
                continue
            owner = getattr(declared, "_field", None) or declared.field
            value = getattr(declared, "_value", getattr(declared, "value", None))
            if isinstance(value, int) and getattr(owner, "name", None) == field.name:
                yield name, value


def _fields_of(node: object) -> Iterator[peewee.Field]:
    if isinstance(node, peewee.Field):
        yield node
    elif isinstance(node, peewee.Expression):
        yield from _fields_of(node.lhs)
        yield from _fields_of(node.rhs)
    elif isinstance(node, peewee.Negated):
        yield from _fields_of(node.node)
    elif isinstance(node, peewee.Function):
        yield from (field for one in node.arguments or () for field in _fields_of(one))
    elif isinstance(node, peewee.NodeList):
        yield from (field for one in node.nodes for field in _fields_of(one))


def _joins(nodes: Sequence[object]) -> Iterator[peewee.Join]:
    for node in nodes:
        if isinstance(node, peewee.Join):
            yield from _joins([node.lhs])
            yield node


def _conjuncts(node: object) -> Iterator[object]:
    if isinstance(node, peewee.Expression) and node.op == peewee.OP.AND:
        yield from _conjuncts(node.lhs)
        yield from _conjuncts(node.rhs)
    elif node is not None:
        yield node


def _is_key_equality(node: object, keys: Sequence[str] = _KEYS) -> bool:
    return (
        isinstance(node, peewee.Expression)
        and node.op == peewee.OP.EQ
        and all(
            isinstance(side, peewee.Field) and getattr(side, "column_name", side.name).removesuffix("_id") in keys
            for side in (node.lhs, node.rhs)
        )
    )


def _is_version_equality(node: object) -> bool:
    """Tell whether a condition asks for results of a version, which results that come with spectra have anyway."""
    return (
        isinstance(node, peewee.Expression)
        and node.op == peewee.OP.EQ
        and isinstance(node.lhs, peewee.Field)
        and node.lhs.name.startswith("v_astra")
    )
