"""What an upsert needs to know of a table, read from its model."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import peewee

from astra_models.base import BaseModel
from astra_models.errors import AbstractModelError
from astra_models.fields import BitField, GeneratedField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.upsert.columns import FLOAT32, FLOAT64, kind_of

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
    """

    model: type[BaseModel]
    fields: tuple[peewee.Field, ...]
    key: tuple[peewee.Field, ...]
    compared: tuple[peewee.Field, ...]
    measured: tuple[peewee.Field, ...]

    @property
    def updated(self) -> tuple[peewee.Field, ...]:
        """The columns that an update overwrites: not those of the key, which are the same."""
        same = {field.name for field in self.key}.union(PRESERVED)
        return tuple(field for field in self.fields if field.name not in same)

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


@cache
def plan_for(model: Any) -> UpsertPlan:
    """Read the plan for a model.

    Raises
    ------
    AbstractModelError
        If the model has no table of its own.
    TypeError
        If it doesn't say by which columns its rows are found again.
    """
    if not (isinstance(model, type) and issubclass(model, BaseModel) and model.upsert_key):
        raise TypeError(f"{model!r} is no output model; derive it from PipelineOutputMixin, or give it an upsert_key")
    if model.abstract:
        raise AbstractModelError(f"{model.__name__} is a base for other models and has no table to upsert into")
    fields = tuple(
        field for field in model._meta.sorted_fields if not field.primary_key and not isinstance(field, GeneratedField)
    )
    return UpsertPlan(
        model=model,
        fields=fields,
        key=tuple(model._meta.fields[name] for name in model.upsert_key),
        compared=tuple(field for field in fields if field.name not in (*PRESERVED, "modified")),
        measured=tuple(field for field in fields if _is_measured(field)),
    )


def _value_or_default(row: Any, name: str) -> Any:
    """Give a value as it was written: NULL in a column that can't be NULL became the default."""
    value = getattr(row, name)
    if value is not None:
        return value
    default = row._meta.fields[name].default
    return default() if callable(default) else default


def _is_measured(field: peewee.Field) -> bool:
    shared = field.name in PipelineOutputMixin._meta.fields
    return not (shared or isinstance(field, BitField) or field.name.startswith("initial_"))
