"""A model's columns as data, for documentation and metadata: type, unit, description, heading.

Headings are declared among the columns: a `Heading` in a model's body is that of the columns after it, up to the next
heading. Columns before the first one have the model's name for a heading.
"""

from bisect import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import peewee

from astra_models.columns.typed import kind_of
from astra_models.database.peewee_internals import next_place, place_of
from astra_models.fields import BitField
from astra_models.pixels.arrays import pixel_arrays

if TYPE_CHECKING:
    from astropy.table import Table


class Heading:
    """The heading of the columns after it, up to the next heading in the same body.

    It is an attribute of the model, whose name doesn't matter::

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
        self.place = next_place()


def categories(model: type[peewee.Model]) -> dict[str, str]:
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
            before = bisect(places, place_of(field))
            found.setdefault(place_of(field), headings[before - 1][1] if before else base.__name__)
    return {field.name: found[place_of(field)] for field in model._meta.sorted_fields}


def column_type(field: peewee.Field) -> str:
    """Give PostgreSQL's name of a column's type; on SQLite, the column holds the same values."""
    try:
        return kind_of(field).sql
    except TypeError:  # a type of another package
        return field.field_type.lower()


def column_table(model: type[peewee.Model]) -> "Table":
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


def flag_table(model: type[peewee.Model]) -> "Table":
    """Describe the flags in a model's bit fields; see `BaseModel.flag_table`."""
    rows = [
        (name, field.name, flag.value.bit_length() - 1, flag.help_text or "")
        for field in model._meta.sorted_fields
        if isinstance(field, BitField)
        for name, flag in field.flags.items()
    ]
    return _table(model, rows, name=str, column=str, bit=int, description=str)


def pixel_array_table(model: type[peewee.Model]) -> "Table":
    """Describe the arrays that a model's rows read from files; see `BaseModel.pixel_array_table`."""
    rows = [(name, array.unit or "", array.help_text or "") for name, array in pixel_arrays(model).items()]
    return _table(model, rows, name=str, unit=str, description=str)


def _table(model: type[peewee.Model], rows: Sequence[Sequence[str | int]], **columns: type) -> "Table":
    from astropy.table import Table

    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    data = [list(column) for column in values]
    return Table(data, names=list(columns), dtype=list(columns.values()), meta={"table": model._meta.table_name})
