"""Columns as Arrow has them: their types, with unit and description as metadata, and batches of rows."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astra_models.columns.typed import BYTES, COMPUTED, FLOATS, MOMENT, TEXT, Column
from astra_models.products.computed import inferred
from astra_models.products.flag_bits import bits_of
from astra_models.products.query import OutColumn

if TYPE_CHECKING:
    from pyarrow import Array, DataType, RecordBatch, Schema

__all__ = ["arrow_batch", "arrow_schema"]


def arrow_schema(
    columns: Sequence[OutColumn], meta: Mapping[str, str], computed: Mapping[int, np.dtype] | None = None
) -> "Schema":
    """Give the Arrow types of columns.

    Parameters
    ----------
    columns : sequence of OutColumn
        The columns.
    meta : mapping of str to str
        What the rows are and where they come from; kept as JSON under the key ``astra``.
    computed : mapping of int to dtype, optional
        The types of columns that a query computes, by their places.
    """
    import pyarrow as pa

    fields = []
    for place, column in enumerate(columns):
        about = {"unit": column.unit, "description": column.description}
        if bits := bits_of(column.field):
            about["flags"] = json.dumps({name: {"bit": bit, "meaning": text} for name, (bit, text) in bits.items()})
        metadata = {name: text for name, text in about.items() if text}
        fields.append(pa.field(column.name, _type_of(column, (computed or {}).get(place)), metadata=metadata))
    return pa.schema(fields, metadata={"astra": json.dumps(dict(meta))})


def _type_of(column: OutColumn, computed: np.dtype | None) -> "DataType":
    import pyarrow as pa

    if column.kind is COMPUTED:
        dtype = np.dtype(np.float64) if computed is None else computed
        return pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)
    types = {TEXT: pa.string(), BYTES: pa.binary(), FLOATS: pa.list_(pa.float32()), MOMENT: pa.timestamp("us", "UTC")}
    return types.get(column.kind) or pa.from_numpy_dtype(column.kind.dtype)


def arrow_batch(schema: "Schema", columns: Sequence[Column]) -> "RecordBatch":
    """Give rows as a batch; numbers are not copied."""
    import pyarrow as pa

    arrays = [_array(field.type, column) for field, column in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(kind: "DataType", column: Column) -> "Array":
    import pyarrow as pa

    values = column.values
    if column.kind is COMPUTED:
        values = inferred(column, np.dtype("U1") if pa.types.is_string(kind) else np.dtype(kind.to_pandas_dtype()))
        return pa.array(values, type=kind, mask=column.null)
    return pa.array(values, type=kind, mask=column.null if column.null.any() else None)
