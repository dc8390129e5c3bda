"""Models that are declared as the survey's own Astra declares them.

There, a kind of spectra is ``class X(BaseModel, SpectrumMixin)``, and its key of the source is an attribute ``source``
with the column ``source_pk``; results declare their keys and times again. Here, the mixins are models themselves and
have these columns. A class that says so again is the same model; what would become another one is refused.
"""

from collections.abc import Iterator
from typing import Any

import peewee

from astra_models.database.peewee_internals import place_of
from astra_models.errors import ModelError
from astra_models.fields.plain import DescribedField, ForeignKeyField

__all__ = ["DeclaredModel", "RelatedRow"]


OURS = ("pk", "task_pk", "created", "modified")
"""Columns that are the bases' even if they are declared again: 64-bit keys, and times in UTC."""


class RelatedRow:
    """The row that a key leads to: read when it is asked for, or joined. Of the class, it is the key itself.

    Parameters
    ----------
    column : str
        The name of the key.
    """

    def __init__(self, column: str):
        self.column = column

    def __get__(self, row: Any, model: Any = None) -> Any:
        if row is None:
            return model._meta.fields[self.column]
        known = row.__rel__.get(self.column)
        if known is None and (key := row.__data__.get(self.column)) is not None:
            related = row._meta.fields[self.column].rel_model
            known = row.__rel__[self.column] = related.get_or_none(related._meta.primary_key == key)
        return known

    def __set__(self, row: Any, value: object) -> None:
        row.__rel__.pop(self.column, None)
        setattr(row, self.column, value)


class DeclaredModel(peewee.ModelBase):
    """Makes model classes; bases and columns that are there already may be named again."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any], **options: Any) -> Any:
        """Make a class, without the bases that its other bases have, and with one column for each key."""
        needed = tuple(base for base in bases if not any(o is not base and issubclass(o, base) for o in bases))
        made = super().__new__(mcs, name, needed, _merged(name, needed, attributes), **options)
        if "__repr__" not in attributes and "__repr__" in vars(made):
            del made.__repr__  # peewee gives each class one that says little
        for attribute, value in _related_rows(made):
            made._meta.combined[attribute] = made._meta.fields[value.column]  # values may be given by this name
        return made


def _related_rows(model: Any) -> Iterator[tuple[str, RelatedRow]]:
    for base in model.__mro__:
        yield from ((name, value) for name, value in vars(base).items() if isinstance(value, RelatedRow))


def _merged(name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> dict[str, Any]:
    inherited = _inherited(bases)
    if not inherited:
        return attributes
    merged: dict[str, Any] = {}
    for attribute, value in attributes.items():
        column = _column_of(attribute, value)
        base = inherited.get(column)
        if base is None or not isinstance(value, peewee.Field):
            merged[attribute] = value
            continue
        if isinstance(base, peewee.ForeignKeyField) and isinstance(value, peewee.ForeignKeyField):
            merged[column] = _key(name, attribute, value, base)
            if attribute != column:
                merged[attribute] = RelatedRow(column)
        else:
            _require_same(name, attribute, value, base)
            if attribute not in OURS and isinstance(value, DescribedField):
                merged[attribute] = value
    return merged


def _inherited(bases: tuple[type, ...]) -> dict[str, peewee.Field]:
    fields: dict[str, peewee.Field] = {}
    for base in reversed(bases):
        fields |= getattr(getattr(base, "_meta", None), "fields", {})
    return fields


def _column_of(attribute: str, value: object) -> str:
    return (value.column_name or attribute) if isinstance(value, peewee.ForeignKeyField) else attribute


def _key(model: str, attribute: str, value: peewee.ForeignKeyField, base: peewee.ForeignKeyField) -> ForeignKeyField:
    """Give a key that is declared again, under the name that it has here."""
    if value.rel_model not in (base.rel_model, base.rel_model.__name__):
        related = getattr(value.rel_model, "__name__", value.rel_model)
        raise ModelError(
            f"{model}.{attribute}: this key is of {base.rel_model.__name__} in all models of its kind, and here of "
            f"{related}; give it another name and column"
        )
    if isinstance(value, ForeignKeyField) and attribute == base.name:
        return value
    made = ForeignKeyField(
        base.rel_model,
        null=value.null,
        unique=value.unique or base.unique,
        index=base.index,
        backref=value.declared_backref or "+",
        help_text=value.help_text or base.help_text,
    )
    vars(made).update(_order=place_of(value), _sort_key=(2, place_of(value)))
    return made


def _require_same(model: str, attribute: str, value: peewee.Field, base: peewee.Field) -> None:
    """Make sure that a column which is declared again holds what it holds in all models of its kind."""
    if isinstance(base, peewee.TextField) == isinstance(value, peewee.TextField):
        return
    raise ModelError(
        f"{model}.{attribute} is a {type(value).__name__}, and in all models of its kind a {type(base).__name__}; "
        "leave the line out, the base has this column"
        + (" (versions are kept as whole numbers: 0.8.1 is 8001)" if attribute == "v_astra" else "")
    )
