"""What an upsert needs to know of a table, read from its model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import peewee

from astra_models.base import BaseModel
from astra_models.columns.typed import FLOAT32, FLOAT64, kind_of
from astra_models.database.layout import TableLayout, layout_of
from astra_models.database.retry import describe
from astra_models.database.sql import quoted_table
from astra_models.errors import AbstractModelError, ReadOnlyTableError
from astra_models.fields import BitField, GeneratedField
from astra_models.pipeline import PipelineOutputMixin

PRESERVED = ("created",)
BYTES_PER_BATCH = 5_000_000
BYTES_PER_VALUE = 8


@dataclass(frozen=True)
class UpsertPlan:
    """How rows of one model are upserted.

    Parameters
    ----------
    model : type
        The result model.
    fields : tuple of peewee.Field
        The columns that are written: all but the primary key and what the database generates.
    key : tuple of peewee.Field
        The columns of the unique key.
    compared : tuple of peewee.Field
        The columns that make a row the same as before.
    measured : tuple of peewee.Field
        The columns of which at least one holds a value in a good result.
    missing : tuple of peewee.Field
        The columns of the model that the table doesn't have.
    given : frozenset of str, optional
        The columns that an update overwrites, if not all of them.
    fills : bool
        Whether a value that isn't given (NULL) leaves the stored one as it is.
    """

    model: type[BaseModel]
    fields: tuple[peewee.Field, ...]
    key: tuple[peewee.Field, ...]
    compared: tuple[peewee.Field, ...]
    measured: tuple[peewee.Field, ...]
    missing: tuple[peewee.Field, ...] = ()
    given: frozenset[str] | None = None
    fills: bool = False

    @property
    def updated(self) -> tuple[peewee.Field, ...]:
        """The columns that an update overwrites: not those of the key, which are the same."""
        same = {field.name for field in self.key}.union(PRESERVED, [self.primary_key.name])
        if self.given is not None:
            same |= {field.name for field in self.fields} - self.given - {"modified"}
        return tuple(field for field in self.fields if field.name not in same)

    @property
    def compared_beside_key(self) -> tuple[peewee.Field, ...]:
        """The columns that make rows of the same key the same."""
        return tuple(field for field in self.compared if field.name not in {key.name for key in self.key})

    @property
    def assigns_keys(self) -> bool:
        """Whether a new row's primary key comes with it, and not from the database."""
        return any(field.primary_key for field in self.fields)

    @cached_property
    def float_names(self) -> frozenset[str]:
        """The names of the columns of floats."""
        return frozenset(field.name for field in self.fields if kind_of(field) in (FLOAT32, FLOAT64))

    @property
    def primary_key(self) -> Any:
        """The column that the database assigns."""
        return self.model._meta.primary_key

    @property
    def foreign_keys(self) -> tuple[peewee.ForeignKeyField, ...]:
        """The columns that point to other tables."""
        return tuple(field for field in self.fields if isinstance(field, peewee.ForeignKeyField))

    def key_of(self, row: Any) -> tuple[Any, ...]:
        """Give the unique key of a model instance, with what the database generates of it."""
        return tuple(
            key.compute(_value_or_default(row, key.source))
            if isinstance(key, GeneratedField)
            else getattr(row, key.name)
            for key in self.key
        )

    @property
    def batch_size(self) -> int:
        """Rows per transaction: as many as make a few megabytes."""
        return max(200, min(10_000, BYTES_PER_BATCH // (BYTES_PER_VALUE * len(self.fields))))


def plan_for(model: Any) -> UpsertPlan:
    """Read the plan for a model, and for its table in the bound database as far as that is known.

    Raises
    ------
    AbstractModelError
        If the model has no table of its own.
    ReadOnlyTableError
        If its table isn't as upserts need it.
    TypeError
        If it doesn't say by which columns its rows are found again.
    """
    return cached_plan(model, layout_of(model) if hasattr(model, "_meta") else None)


@lru_cache(maxsize=256)
def cached_plan(model: Any, layout: TableLayout | None) -> UpsertPlan:
    """Read the plan for a model, and a table that is like that."""
    if not (isinstance(model, type) and issubclass(model, BaseModel) and model.upsert_key):
        raise TypeError(f"{model!r} is no output model; derive it from PipelineOutputMixin, or give it an upsert_key")
    if model.abstract:
        raise AbstractModelError(f"{model.__name__} is a base for other models and has no table to upsert into")
    if layout and layout.obstacles:
        raise ReadOnlyTableError(
            f"{model.__name__} can't be upserted: {quoted_table(model)} in {describe(model._meta.database)} isn't as "
            f"the model says: {'; '.join(layout.obstacles)}. Its rows can be read; `astra check-schema` lists what "
            "differs"
        )
    fields = tuple(
        field for field in model._meta.sorted_fields if not field.primary_key and not isinstance(field, GeneratedField)
    )
    return UpsertPlan(
        model=model,
        fields=fields,
        key=tuple(model._meta.fields[name] for name in model.upsert_key),
        compared=tuple(field for field in fields if field.name not in (*PRESERVED, "modified")),
        measured=tuple(field for field in fields if _is_measured(field)),
        missing=layout.missing if layout else (),
    )


def plan_for_columns(
    model: Any, names: Iterable[str], key: Sequence[str], *, own_keys: bool = False, fills: bool = False
) -> UpsertPlan:
    """Make a plan for rows that have some of a table's columns, and leave the others of a stored row as they are.

    Parameters
    ----------
    model : type
        Any model that is a table.
    names : iterable of str
        The columns that rows have. What can't be NULL is added, and gets its default in a new row.
    key : sequence of str
        The columns by which a row is found again; they have a unique constraint.
    own_keys : bool, optional
        Whether rows come with the primary key that they get if they are new.
    fills : bool, optional
        Whether NULL leaves a stored value as it is.
    """
    given = frozenset(names)
    primary_key = model._meta.primary_key
    fields = tuple(
        field
        for field in model._meta.sorted_fields
        if not isinstance(field, GeneratedField)
        and (own_keys if field.primary_key else field.name in given or not field.null)
    )
    aside = {*key, *PRESERVED, "modified", primary_key.name}
    return UpsertPlan(
        model=model,
        fields=fields,
        key=tuple(model._meta.fields[name] for name in key),
        compared=tuple(field for field in fields if field.name in given - aside),
        measured=(),
        given=given,
        fills=fills,
    )


def _value_or_default(row: Any, name: str) -> Any:
    """Give a value as it was written: NULL in a column that can't be NULL became the default."""
    value = getattr(row, name)
    if value is not None:
        return value
    default = row._meta.fields[name].default
    return default() if callable(default) else default


def _is_measured(field: peewee.Field) -> bool:
    if field.name in PipelineOutputMixin._meta.fields or field.name.startswith("initial_"):
        return False
    # A column with a default is never NULL, whether anything was measured or not.
    return field.null and field.default is None and not isinstance(field, BitField)
