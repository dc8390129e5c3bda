"""Rows as an astropy Table, with units, descriptions, and masks where a value is NULL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.base import BaseModel
from astra_models.columns.selected import column_names
from astra_models.columns.typed import BYTES, COMPUTED, FLOATS, MOMENT, TEXT, Column
from astra_models.errors import SelectionError, did_you_mean
from astra_models.messages import shown
from astra_models.products.any_query import select_query
from astra_models.products.computed import inferred
from astra_models.products.given import Condition
from astra_models.products.provenance import provenance
from astra_models.products.query import Model, OutColumn, Selection, select_model, snapshot
from astra_models.products.reading import all_columns, padded, text_of_moments

if TYPE_CHECKING:
    import peewee
    from astropy.table import Table

LENGTH_OF_MOMENT = 26  # of 2026-01-02T03:04:05.000000


def to_table(
    model: "Model | peewee.SelectBase",
    where: Condition | str | None = None,
    v_astra: str | int | None = None,
    *,
    columns: Sequence[str] | None = None,
    joins: Sequence[Model] = (),
    sdss_ids: Iterable[int] | None = None,
    latest: bool = False,
    limit: int | None = None,
) -> "Table":
    """Read rows of a model, or of any query, into a table.

    Parameters
    ----------
    model : type or query
        A model: a pipeline's results, sources, a kind of spectra. Or a query of peewee's, with joins, aliases and
        aggregates; of two columns of one name, each gets its table's in front.
    where : peewee.Expression or str, optional
        A condition, such as ``Corv.teff > 20_000`` or ``"teff > 20000 and not flag_low_snr"``: see
        `astra_models.columns.condition_text.read_condition`.
    v_astra : str or int, optional
        Only rows of this version's major.minor: ``"0.9"``, ``"0.9.0"`` or ``9000``.
    columns : sequence of str, optional
        Only these columns, in this order.
    joins : sequence of type, optional
        Models whose rows are put beside the model's, as ``[Source, SnowWhite]``: the source, the spectrum, or results
        of the same spectrum and version; nothing where there are none. A column whose name is taken gets its table's
        in front. Conditions may be about them, too.
    sdss_ids : iterable of int, optional
        Only rows of these sources.
    latest : bool, optional
        Only the row of the newest version for each spectrum.
    limit : int, optional
        At most so many rows, the first by their key.

    Returns
    -------
    astropy.table.Table
        A column for each of the model's table, with its unit and description; masked where a value is NULL. Flags are
        integers, moments are ISO 8601 text in UTC (which `astropy.time.Time` reads), lists are rows of NaN-padded
        float32, bytes are rows of 0-padded uint8. ``meta`` says where the rows come from.

    Raises
    ------
    SelectionError
        If the model has no column that a condition needs, or nothing to be joined by.
    """
    selection, meta = selection_of(
        model,
        where=where,
        columns=columns,
        joins=joins,
        v_astra=v_astra,
        sdss_ids=sdss_ids,
        latest=latest,
        limit=limit,
    )
    table: Any = table_of(selection, meta)
    places = places_of(selection, columns)
    return table if places is None else table[[table.colnames[place] for place in places]]


def selection_of(
    model: "Model | peewee.SelectBase",
    *,
    where: Condition | str | None = None,
    v_astra: str | int | None = None,
    columns: Sequence[str] | None = None,
    joins: Sequence[Model] = (),
    sdss_ids: Iterable[int] | None = None,
    latest: bool = False,
    limit: int | None = None,
) -> tuple[Selection, dict[str, str]]:
    """Make a selection of what is asked for as by `to_table`, and say where its rows come from."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        selection = select_model(
            model,
            where=where,
            columns=columns,
            joins=joins,
            v_astra=v_astra,
            sdss_ids=sdss_ids,
            latest=latest,
            limit=limit,
        )
        return selection, {"model": model.__name__, "table": model._meta.table_name, **provenance()}
    if v_astra is not None or sdss_ids is not None or latest or joins:
        raise SelectionError("joins, v_astra, sdss_ids and latest go with a model; put them into the query itself")
    selection = select_query(model, where=where, limit=limit)
    places_of(selection, columns)
    return selection, provenance()


def places_of(selection: Selection, names: Sequence[str] | None) -> list[int] | None:
    """Say which columns of a selection are wanted, if not all: a query is read as it is.

    Raises
    ------
    SelectionError
        If it has no column of a name.
    """
    there = {column.name: place for place, column in enumerate(selection.columns)}
    wanted = list(there) if names is None else column_names(names)
    if wanted == list(there):
        return None
    for name in wanted:
        if name not in there:
            raise SelectionError(f"the query has no column {shown(name)}; {did_you_mean(name, there)}")
    return [there[name] for name in wanted]


def table_of(selection: Selection, meta: Mapping[str, str] | None = None) -> "Table":
    """Read a selection into a table; see `to_table`."""
    from astropy.table import Table

    with snapshot():
        columns = zip(selection.columns, all_columns(selection), strict=True)
    return Table({out.name: described(out, column) for out, column in columns}, meta=meta)


def described(out: OutColumn, column: Column, width: int | None = None) -> np.ndarray:
    """Make an astropy column of values, masked only if one of them is NULL.

    Parameters
    ----------
    out : OutColumn
        What the column holds.
    column : Column
        The values.
    width : int, optional
        For how long text, bytes and lists there has to be room; by default, for the longest.
    """
    from astropy.table import Column as PlainColumn
    from astropy.table import MaskedColumn

    labels: dict[str, Any] = {"unit": out.unit or None, "description": out.description or None}
    data = inferred(column) if column.kind is COMPUTED else _as_array(column, width)
    if not column.null.any():
        return PlainColumn(data, **labels)
    mask = np.broadcast_to(column.null.reshape(-1, *[1] * (data.ndim - 1)), data.shape)
    return MaskedColumn(data, mask=mask, **labels)


def _as_array(column: Column, width: int | None) -> np.ndarray:
    if column.kind is MOMENT:
        return text_of_moments(column).astype(f"U{LENGTH_OF_MOMENT}")
    if column.kind is TEXT:
        dtype = "U" if width is None else f"U{width}"
        return np.array(["" if value is None else value for value in column.values], dtype=dtype)
    if column.kind in (FLOATS, BYTES):
        if width is None:
            width = max((len(value) for value in column.values if value is not None), default=0)
        return padded(column.values, max(width, 1), np.float32 if column.kind is FLOATS else np.uint8)
    return column.values
