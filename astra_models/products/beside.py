"""How the rows of one model stand beside those of another: a result, its spectrum, its source, another result."""

from typing import TYPE_CHECKING

import peewee

from astra_models.base import BaseModel
from astra_models.errors import SelectionError

Model = type[BaseModel]
if TYPE_CHECKING:
    Query = peewee.ModelSelect[BaseModel]
else:
    Query = peewee.ModelSelect

SOURCE, SPECTRUM, VERSION = "source_pk", "spectrum_pk", "v_astra_major_minor"


def put_beside(query: Query, model: Model, other: Model) -> Query:
    """Join a model's rows with those of another that belong to them; a row to which none belongs stays.

    A source belongs to what was observed of it, a spectrum to its results, results to those of the same spectrum and,
    if both have one, of the same major.minor version. Where there is no spectrum on one side, the source counts.

    Raises
    ------
    SelectionError
        If nothing says which rows belong together.
    """
    return query.join_from(model, other, peewee.JOIN.LEFT_OUTER, on=_condition(model, other))


def _condition(model: Model, other: Model) -> peewee.Expression:
    if other is model:
        raise SelectionError(f"{model.__name__} can't be joined with itself; write the query with an alias")
    for name in (SPECTRUM, SOURCE):
        ours, theirs = _column(model, name), _column(other, name)
        if ours is not None and theirs is not None:
            return (ours == theirs) & _of_one_version(model, other) if name == SPECTRUM else ours == theirs
    raise SelectionError(
        f"nothing says which rows of {model.__name__} and {other.__name__} belong together, neither {SPECTRUM} nor "
        f"{SOURCE}; write the query with its condition"
    )


def _column(model: Model, name: str) -> peewee.Field | None:
    """Give a model's column of this name, or its key if it is the model that this is the key of."""
    own = model._meta.primary_key if f"{model._meta.table_name}_pk" == name else None
    return model._meta.fields.get(name) or own or None


def _of_one_version(model: Model, other: Model) -> peewee.Node:
    ours, theirs = model._meta.fields.get(VERSION), other._meta.fields.get(VERSION)
    return peewee.SQL("1 = 1") if ours is None or theirs is None else ours == theirs


def is_one_at_most(model: Model, other: Model) -> bool:
    """Tell whether no two rows of another model belong to one row of this one."""
    theirs = _column(other, SPECTRUM)
    if theirs is None or _column(model, SPECTRUM) is None:
        return _column(other, SOURCE) is other._meta.primary_key
    joined_by = {SPECTRUM} | ({VERSION} if all(VERSION in each._meta.fields for each in (model, other)) else set())
    key = set(other.upsert_key)  # of some results it has more columns, such as an element
    return bool(theirs.unique or theirs.primary_key or (key and key <= joined_by))
