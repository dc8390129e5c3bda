"""Rows as Arrow tables and as frames of pandas and polars, at once or in batches.

NULL stays NULL: whole numbers and booleans with some are of the libraries' nullable types and don't become floats.
Moments are in UTC and say so. Units and descriptions go along.
"""

from collections.abc import Generator, Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from astra_models.columns.typed import BOOLEAN, BYTES, COMPUTED, FLOATS, INT32, INT64, MOMENT, Column
from astra_models.errors import MissingExtraError
from astra_models.products.apart import read_apart
from astra_models.products.arrow import arrow_batch, arrow_schema
from astra_models.products.computed import inferred, types_of_computed
from astra_models.products.given import Condition, number_of_rows
from astra_models.products.query import Model, OutColumn, Selection, snapshot
from astra_models.products.reading import all_columns, read_columns
from astra_models.products.table import places_of, selection_of

if TYPE_CHECKING:
    import pandas as pd
    import peewee
    import polars as pl
    import pyarrow as pa

__all__ = ["to_arrow", "to_batches", "to_pandas", "to_polars"]

ROWS_AT_ONCE = 50_000


class Wanted(TypedDict, total=False):
    """Which rows and columns: what `to_table` takes beside the model."""

    where: Condition | str | None
    v_astra: str | int | None
    columns: Sequence[str] | None
    joins: Sequence[Model]
    sdss_ids: Iterable[int] | None
    latest: bool
    limit: int | None


def to_batches(
    model: "Model | peewee.SelectBase", *, rows: int = ROWS_AT_ONCE, **wanted: Unpack[Wanted]
) -> "pa.RecordBatchReader":
    """Read rows as Arrow batches, one after the other, for what doesn't fit into memory.

    Parameters
    ----------
    model : type or query
        As for `to_table`.
    rows : int, optional
        Rows in a batch.
    **wanted
        ``where``, ``v_astra``, ``columns``, ``joins``, ``sdss_ids``, ``latest``, ``limit``, as for `to_table`.

    Returns
    -------
    pyarrow.RecordBatchReader
        Iterate it; all batches are of the database as it was when the first was read, whatever is written meanwhile.

    Raises
    ------
    MissingExtraError
        If pyarrow isn't installed.
    SelectionError
        As for `to_table`.
    """
    pa = _library("pyarrow", "arrow")
    at_once = number_of_rows(rows, "rows", least=1)
    asked = _asked(model, wanted)
    batches: Any = read_apart(lambda: _batches(*asked, at_once))
    schema = next(batches)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _asked(
    model: "Model | peewee.SelectBase", wanted: Wanted
) -> tuple[Selection, list[OutColumn], list[int], dict[str, str]]:
    """Give what is read, the columns that are wanted of it and their places, and where the rows come from."""
    selection, meta = selection_of(model, **wanted)
    names = wanted.get("columns")
    places = places_of(selection, None if isinstance(model, type) else names)
    chosen = list(range(len(selection.columns))) if places is None else places
    return selection, [selection.columns[place] for place in chosen], chosen, meta


def _batches(
    selection: Selection, columns: list[OutColumn], places: list[int], meta: dict[str, str], rows: int
) -> Generator["pa.Schema | pa.RecordBatch"]:
    """Give the schema, and then the batches."""
    with snapshot():
        computed = types_of_computed(selection)
        schema = arrow_schema(
            columns, meta, {n: computed[place] for n, place in enumerate(places) if place in computed}
        )
        try:
            yield schema
            for some in read_columns(selection, rows):
                yield arrow_batch(schema, [some[place] for place in places])
        except GeneratorExit:  # no more is wanted, which undoes nothing that was written meanwhile
            return


def to_arrow(model: "Model | peewee.SelectBase", **wanted: Unpack[Wanted]) -> "pa.Table":
    """Read rows as an Arrow table.

    Parameters
    ----------
    model : type or query
        As for `to_table`.
    **wanted
        ``where``, ``v_astra``, ``columns``, ``joins``, ``sdss_ids``, ``latest``, ``limit``, as for `to_table`.

    Returns
    -------
    pyarrow.Table
        Each field's metadata has its ``unit`` and ``description``, the schema's, under ``astra``, where the rows come
        from. Flags are integers, moments are timestamps in UTC, lists are lists of float32.

    Raises
    ------
    MissingExtraError
        If pyarrow isn't installed.
    SelectionError
        As for `to_table`.
    """
    pa = _library("pyarrow", "arrow")
    selection, columns, places, meta = _asked(model, wanted)
    parts = _all_columns(selection, places)
    computed = {n: inferred(part).dtype for n, part in enumerate(parts) if part.kind is COMPUTED}
    schema = arrow_schema(columns, meta, computed)
    return pa.Table.from_batches([arrow_batch(schema, parts)], schema)


def to_polars(model: "Model | peewee.SelectBase", **wanted: Unpack[Wanted]) -> "pl.DataFrame":
    """Read rows as a frame of polars; see `to_arrow`. It shares the memory of the Arrow table."""
    return _library("polars", "polars").from_arrow(to_arrow(model, **wanted))


def to_pandas(model: "Model | peewee.SelectBase", **wanted: Unpack[Wanted]) -> "pd.DataFrame":
    """Read rows as a frame of pandas.

    Parameters
    ----------
    model : type or query
        As for `to_table`.
    **wanted
        ``where``, ``v_astra``, ``columns``, ``joins``, ``sdss_ids``, ``latest``, ``limit``, as for `to_table`.

    Returns
    -------
    pandas.DataFrame
        Floats are NumPy's, NaN where NULL; integers and booleans that are NULL somewhere are of pandas' nullable types;
        moments are ``datetime64[us, UTC]``. ``attrs`` has ``units``, ``descriptions``, and where the rows come from.

    Raises
    ------
    MissingExtraError
        If pandas isn't installed.
    SelectionError
        As for `to_table`.
    """
    pd = _library("pandas", "pandas")
    selection, columns, places, meta = _asked(model, wanted)
    parts = _all_columns(selection, places)
    data = {out.name: _series(pd, column) for out, column in zip(columns, parts, strict=True)}
    frame = pd.DataFrame(data, copy=False)
    frame.attrs = {**meta, "units": _texts(columns, "unit"), "descriptions": _texts(columns, "description")}
    return frame


def _texts(columns: Sequence[OutColumn], name: str) -> dict[str, str]:
    return {column.name: text for column in columns if (text := getattr(column, name))}


def _all_columns(selection: Selection, places: list[int]) -> list[Column]:
    with snapshot():
        columns = all_columns(selection)
    return [columns[place] for place in places]


_NULLABLE = {INT32: "Int32", INT64: "Int64", BOOLEAN: "boolean"}


def _series(pd: ModuleType, column: Column) -> object:
    values: Any = column.values
    null = column.null
    if column.kind is COMPUTED:
        values = inferred(column)
        if not null.any():
            return values
        names = {"i": "Int64", "b": "boolean"}
        if values.dtype.kind in names:
            return pd.array(np.where(null, None, values.astype(object)), dtype=names[values.dtype.kind])
        return (
            np.where(null, np.nan, values) if values.dtype.kind == "f" else np.where(null, None, values.astype(object))
        )
    if column.kind in _NULLABLE:
        if not null.any():
            return values
        array = pd.arrays.BooleanArray if column.kind is BOOLEAN else pd.arrays.IntegerArray
        return array(values, null)
    if column.kind is MOMENT:
        return pd.Series(values).dt.tz_localize("UTC")
    if values.dtype.kind == "f":
        return values
    return pd.Series(values, dtype=object) if column.kind in (BYTES, FLOATS) else values


def _library(name: str, package: str) -> ModuleType:
    """Import a library that is optional here."""
    try:
        return import_module(name)
    except ImportError as error:
        how = f"astra-orchestration[{package}]" if package == "arrow" else package
        raise MissingExtraError(f"{name} isn't installed; install it by `pip install '{how}'`") from error
