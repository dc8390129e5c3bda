"""A table with a column of every type, and whatever its rows may have, for property tests."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import peewee
from hypothesis import strategies as st

from astra_models.base import BaseModel
from astra_models.base import database as bound_database
from astra_models.fields import (
    AutoField,
    BigIntegerField,
    BitField,
    BooleanField,
    BytesField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    FloatField,
    IntegerField,
    TextField,
)

INT32, INT64 = 2**31, 2**63

text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
text |= st.sampled_from(["", " ", "a ", "  b", "\\", "\\u00e9", "é", "\u03b1 ", "\n", "\x7f", "😀", "'", "x" * 100])
whole32 = st.integers(-INT32, INT32 - 1) | st.sampled_from([-INT32, -INT32 + 1, INT32 - 1, -1, 0])
whole64 = st.integers(-INT64, INT64 - 1) | st.sampled_from([-INT64, -INT64 + 1, INT64 - 1, -1, 0])
single = st.floats(width=32, allow_nan=False) | st.just(-0.0)
double = st.floats(allow_nan=False) | st.just(-0.0)
unsigned_zero = single.map(lambda value: value + 0.0)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


def optional(values: Any) -> Any:
    return st.none() | values


row = st.fixed_dictionaries(
    {
        "whole": optional(whole32),
        "long": optional(whole64),
        "always": whole64,
        "bits": whole64,
        "single": optional(single),
        "double": optional(double),
        "yes": optional(st.booleans()),
        "label": optional(text),
        "name": text,
        "blob": optional(st.binary(max_size=5)),
        "numbers": optional(st.lists(unsigned_zero | st.just(float("nan")), max_size=4)),
        "moment": optional(moments),
    }
)


@contextmanager
def table_of_everything() -> Iterator[Any]:
    """Make a table with a column of every type in the bound database, for a block."""

    class Everything(BaseModel):
        """A column of every type."""

        pk = AutoField()
        whole = IntegerField(null=True, unit="", help_text="A 32-bit integer")
        long = BigIntegerField(null=True, unit="", help_text="A 64-bit integer")
        always = BigIntegerField(unit="", help_text="A 64-bit integer that is never missing, whatever its value")
        bits = BitField(help_text="Flags")
        single = FloatField(null=True, unit="km / s", help_text="A float")
        double = DoubleField(
            null=True, unit="dex", help_text="A double, whose unit FITS doesn't know, and more; " * 2 + "end"
        )
        yes = BooleanField(null=True, help_text="True or false")
        label = TextField(null=True, help_text="Text, or none (ñ)")
        name = TextField(help_text="Text")
        blob = BytesField(null=True, help_text="Bytes")
        numbers = FloatArrayField(null=True, unit="arcsec", help_text="A list")
        moment = DateTimeField(null=True, help_text="A moment")

    Everything.create_table()
    yield Everything
    Everything.drop_table()


def store(model: Any, row: dict[str, Any]) -> None:
    """Store a row, with the sign of zero, which a number in the text of a statement doesn't have."""
    pk = model.create(**row).pk
    zeros = [name for name in ("single", "double") if row[name] == 0 and math.copysign(1, row[name]) < 0]
    if zeros:
        model.update(dict.fromkeys(zeros, peewee.SQL("CAST('-0' AS REAL)"))).where(model.pk == pk).execute()


def is_sqlite() -> bool:
    """Tell whether the database is one that keeps no sign of zero."""
    return isinstance(bound_database.obj, peewee.SqliteDatabase)
