"""What an upsert needs to know about a table, from its model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, cast

import numpy as np
import peewee

from astra_models.base import BaseModel
from astra_models.columns.typed import FLOAT32, FLOAT64, INT32, INT64, kind_of
from astra_models.database.layout import TableLayout, layout_of
from astra_models.database.retry import describe
from astra_models.database.sql import quoted_table
from astra_models.errors import AbstractModelError, ReadOnlyTableError
from astra_models.fields import BitField, GeneratedField

PRESERVED = ("created",)
REVISION = "revision"
BYTES_PER_BATCH = 5_000_000
BYTES_PER_VALUE = 8
PATCHES = 1_000  # of one version, at most

Key = tuple[object, ...]
"""Values of a unique key, in the order of its columns."""

Existing = Literal["newest", "replace", "keep", "merge"]
Unchanged = Literal["write", "skip", "count"]


@dataclass(frozen=True)
class Rules:
    """What happens to a row whose key is stored already; see `upsert`.

    Parameters
    ----------
    existing : {"newest", "replace", "keep", "merge"}
        Which of the two rows is stored afterwards.
    keep_good : bool
        Whether a row without any measured value leaves a stored one that has some alone.
    unchanged : {"write", "skip", "count"}
        What to do about a row that equals the stored one.
    """

    existing: Existing = "newest"
    keep_good: bool = False
    unchanged: Unchanged = "write"


REPLACE = Rules("replace")


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
        The columns that decide whether a row is the same as before.
    measured : tuple of peewee.Field
        The columns of which at least one holds a value in a good result.
    missing : tuple of peewee.Field
        The columns of the model that the table doesn't have.
    given : frozenset of str, optional
        The columns that an update overwrites, if not all of them.
    fills : bool
        Whether a value that isn't given (NULL) leaves the stored one as it is.
    revised : tuple of peewee.Field
        The columns whose values make a row's ``revision``; none where it is not a hash of them.
    """

    model: type[BaseModel]
    fields: tuple[peewee.Field, ...]
    key: tuple[peewee.Field, ...]
    compared: tuple[peewee.Field, ...]
    measured: tuple[peewee.Field, ...]
    missing: tuple[peewee.Field, ...] = ()
    given: frozenset[str] | None = None
    fills: bool = False
    revised: tuple[peewee.Field, ...] = ()

    @property
    def updated(self) -> tuple[peewee.Field, ...]:
        """The columns that an update overwrites: not those of the key, which are the same."""
        same = {field.name for field in self.key}.union(PRESERVED, [self.primary_key.name])
        if self.given is not None:
            same |= {field.name for field in self.fields} - self.given - {"modified", *self.model.made_from}
        return tuple(field for field in self.fields if field.name not in same)

    @property
    def compared_beside_key(self) -> tuple[peewee.Field, ...]:
        """The columns, those of the key aside, that decide whether a row is the same as before."""
        return tuple(field for field in self.compared if field.name not in {key.name for key in self.key})

    @cached_property
    def version(self) -> peewee.Field | None:
        """The column that orders rows of the same key, as a patch number does; None if there is none."""
        sources = [self.model._meta.fields[key.source] for key in self.key if isinstance(key, GeneratedField)]
        return next((source for source in sources if kind_of(source) in (INT32, INT64)), None)

    def last_patch(self, version: int) -> int:
        """Give the highest version whose rows may have the key of a row of this version."""
        following = int(version) + np.arange(PATCHES + 1)
        same = np.ones(PATCHES + 1, bool)
        for key in self.key:
            if isinstance(key, GeneratedField):
                same &= key.compute(following) == key.compute(following[:1])
        return int(following[same][-1]) if not same[-1] else 2**63 - 1

    @cached_property
    def results(self) -> tuple[peewee.Field, ...]:
        """The columns that decide whether a row has the same result as before, however and whenever it was made.

        Where rows have a revision and are given whole, it stands for all values.
        """
        revised = self.revised if self.given is None else ()
        aside = self.model.provenance_columns.union(field.name for field in revised)
        beside = [field for field in self.compared_beside_key if field.name not in aside]
        return (*beside, *(field for field in self.fields if revised and field.name == REVISION))

    @property
    def assigns_keys(self) -> bool:
        """Whether a new row's primary key comes with it, and not from the database."""
        return any(field.primary_key for field in self.fields)

    @cached_property
    def float_names(self) -> frozenset[str]:
        """The names of the columns of floats."""
        return frozenset(field.name for field in self.fields if kind_of(field) in (FLOAT32, FLOAT64))

    @property
    def primary_key(self) -> peewee.Field:
        """The column that the database assigns."""
        return primary_key_of(self.model)

    @property
    def foreign_keys(self) -> tuple[peewee.ForeignKeyField, ...]:
        """The columns that point to other tables."""
        return tuple(field for field in self.fields if isinstance(field, peewee.ForeignKeyField))

    @property
    def batch_size(self) -> int:
        """Rows per transaction: as many as make a few megabytes."""
        return max(200, min(10_000, BYTES_PER_BATCH // (BYTES_PER_VALUE * len(self.fields))))


def plan_for(model: type[BaseModel]) -> UpsertPlan:
    """Plan upserts into a model's table as it is in the bound database, as far as that is known.

    Raises
    ------
    AbstractModelError
        If the model has no table of its own.
    ReadOnlyTableError
        If its table lacks what upserts need.
    TypeError
        If it has no `upsert_key`.
    """
    return cached_plan(model, layout_of(model) if hasattr(model, "_meta") else None)


@lru_cache(maxsize=256)
def cached_plan(model: type[BaseModel], layout: TableLayout | None) -> UpsertPlan:
    """Plan upserts into a table that differs from its model in the way that is given."""
    _require_upserts(model, layout)
    fields = tuple(
        field for field in model._meta.sorted_fields if not field.primary_key and not isinstance(field, GeneratedField)
    )
    return UpsertPlan(
        model=model,
        fields=fields,
        key=tuple(model._meta.fields[name] for name in model.upsert_key),
        compared=tuple(field for field in fields if field.name not in (*PRESERVED, "modified", *model.made_from)),
        measured=tuple(field for field in fields if _is_measured(field, model.record_columns)),
        missing=layout.missing if layout else (),
        revised=_revised(model, fields),
    )


def _require_upserts(model: type[BaseModel], layout: TableLayout | None) -> None:
    """Make sure that a model and its table are such that rows can be upserted."""
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


def plan_for_columns(
    model: type[BaseModel], names: Iterable[str], key: Sequence[str], *, own_keys: bool = False, fills: bool = False
) -> UpsertPlan:
    """Plan upserts of some of a table's columns, which leave the other columns of stored rows as they are.

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
    fields = tuple(
        field
        for field in model._meta.sorted_fields
        if not isinstance(field, GeneratedField)
        and (own_keys if field.primary_key else field.name in {*given, *model.made_from} or not field.null)
    )
    aside = {*key, *model.made_from, *PRESERVED, "modified", primary_key_of(model).name}
    return UpsertPlan(
        model=model,
        fields=fields,
        key=tuple(model._meta.fields[name] for name in key),
        compared=tuple(field for field in fields if field.name in given - aside),
        measured=(),
        given=given,
        fills=fills,
        revised=_revised(model, fields),
    )


def primary_key_of(model: type[peewee.Model]) -> peewee.Field:
    """Give a model's primary key; each of our models has one."""
    return cast("peewee.Field", model._meta.primary_key)


def _revised(model: type[BaseModel], fields: Sequence[peewee.Field]) -> tuple[peewee.Field, ...]:
    if REVISION not in model.made_from or all(field.name != REVISION for field in fields):
        return ()
    aside = model.record_columns | model.provenance_columns
    return tuple(field for field in fields if field.name not in aside)


def _is_measured(field: peewee.Field, record_columns: frozenset[str]) -> bool:
    if field.name in record_columns or field.name.startswith("initial_"):
        return False
    # A column with a default is never NULL, whether anything was measured or not.
    return field.null and field.default is None and not isinstance(field, BitField)
