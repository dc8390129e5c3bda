"""Column types, flags and pixel arrays: what the body of a model is made of."""

from astra_models.fields.flags import BitField, Flag
from astra_models.fields.plain import (
    AutoField,
    BigIntegerField,
    BooleanField,
    BytesField,
    DateTimeField,
    DoubleField,
    FloatArrayField,
    FloatField,
    ForeignKeyField,
    GeneratedField,
    IntegerField,
    TextField,
    utc_now,
)
from astra_models.pixels.arrays import LogLambdaArrayAccessor, PixelArray, PixelArrayAccessorFITS

__all__ = [
    "AutoField",
    "BigIntegerField",
    "BitField",
    "BooleanField",
    "BytesField",
    "DateTimeField",
    "DoubleField",
    "Flag",
    "FloatArrayField",
    "FloatField",
    "ForeignKeyField",
    "GeneratedField",
    "IntegerField",
    "LogLambdaArrayAccessor",
    "PixelArray",
    "PixelArrayAccessorFITS",
    "TextField",
    "utc_now",
]
