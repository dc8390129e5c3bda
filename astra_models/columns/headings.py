"""A model's columns as data: what they hold, under which heading, in tables that other things are made from.

The headings are said where the columns are: a `Heading` in a model's body stands over the columns after it, up to the
next one. Columns of a model before its first heading are under the model's own name, so one without any has one group.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import peewee

from astra_models.fields import BitField
from astra_models.pixels.arrays import pixel_arrays

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Heading", "categories", "column_table", "column_type", "flag_table", "pixel_array_table"]


class Heading:
    """What the columns after it have in common, up to the next heading in the same body.

    It is an attribute of the model, of any name that no other in the body has::

        class Source(BaseModel):
            _astrometry = Heading("Astrometry")
            ra = DoubleField(null=True)

    Parameters
    ----------
    text : str
        The heading.
    """

    def __init__(self, text: str):
        self.text = text
        numbered: Any = peewee.Field()  # peewee numbers fields as they are made: this one's number is our place
        self.place = numbered._order


def categories(model: Any) -> dict[str, str]:
    """Give the heading of each column, in the order of the table.

    Parameters
    ----------
    model : type
        A model. What it inherits is under the headings of the class that declares it.
    """
    found: dict[int, str] = {}
    for base in reversed(model.__mro__):
        headings = sorted((mark.place, mark.text) for mark in vars(base).values() if isinstance(mark, Heading))
        places = [place for place, _ in headings]
        for field in base._meta.sorted_fields if hasattr(base, "_meta") else ():
            before = bisect(places, field._order)
            found.setdefault(field._order, headings[before - 1][1] if before else base.__name__)
    return {field.name: found[field._order] for field in model._meta.sorted_fields}


def column_type(field: Any) -> str:
    """Give a column's type, as PostgreSQL calls it; SQLite holds the same values."""
    from astra_models.columns.typed import kind_of

    try:
        return kind_of(field).sql
    except TypeError:  # a type of another package
        return field.field_type.lower()


def column_table(model: Any) -> "Table":
    """Describe the columns of a model's table; see `BaseModel.column_table`."""
    headings = categories(model)
    rows = [
        (
            field.name,
            column_type(field),
            getattr(field, "unit", None) or "",
            field.help_text or "",
            headings[field.name],
            bool(field.null),
        )
        for field in model._meta.sorted_fields
    ]
    return _table(model, rows, name=str, type=str, unit=str, description=str, category=str, nullable=bool)


def flag_table(model: Any) -> "Table":
    """Describe the flags in a model's bit fields; see `BaseModel.flag_table`."""
    rows = [
        (name, field.name, flag.value.bit_length() - 1, flag.help_text or "")
        for field in model._meta.sorted_fields
        if isinstance(field, BitField)
        for name, flag in field.flags.items()
    ]
    return _table(model, rows, name=str, column=str, bit=int, description=str)


def pixel_array_table(model: Any) -> "Table":
    """Describe the arrays that a model's rows read from files; see `BaseModel.pixel_array_table`."""
    arrays: Iterable[tuple[str, Any]] = pixel_arrays(model).items()
    rows = [(name, array.unit or "", array.help_text or "") for name, array in arrays]
    return _table(model, rows, name=str, unit=str, description=str)


def _table(model: Any, rows: Sequence[Sequence[Any]], **columns: type) -> "Table":
    from astropy.table import Table

    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    data = [list(column) for column in values]
    return Table(data, names=list(columns), dtype=list(columns.values()), meta={"table": model._meta.table_name})
