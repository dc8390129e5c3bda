"""Rows as an astropy Table, with units, descriptions, and masks where a value is NULL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.columns.typed import BYTES, FLOATS, MOMENT, TEXT, Column
from astra_models.products.provenance import provenance
from astra_models.products.query import Condition, Model, OutColumn, Selection, select_model, snapshot
from astra_models.products.reading import padded, read_columns

if TYPE_CHECKING:
    from astropy.table import Table


def to_table(
    model: Model,
    where: Condition | str | None = None,
    v_astra: str | int | None = None,
    *,
    columns: Sequence[str] | None = None,
    sdss_ids: Iterable[int] | None = None,
    latest: bool = False,
    limit: int | None = None,
) -> "Table":
    """Read rows of a model into a table.

    Parameters
    ----------
    model : type
        A model: a pipeline's results, sources, a kind of spectra.
    where : peewee.Expression or str, optional
        A condition, such as ``Corv.teff > 20_000`` or ``"teff > 20000 and not flag_low_snr"``: see
        `astra_models.columns.condition_text.read_condition`.
    v_astra : str or int, optional
        Only rows of this version's major.minor: ``"0.9"``, ``"0.9.0"`` or ``9000``.
    columns : sequence of str, optional
        Only these columns, in this order.
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
        If the model has no column that a condition needs.
    """
    selection = select_model(
        model, where=where, columns=columns, v_astra=v_astra, sdss_ids=sdss_ids, latest=latest, limit=limit
    )
    return table_of(selection, meta={"model": model.__name__, "table": model._meta.table_name, **provenance()})


def table_of(selection: Selection, meta: Mapping[str, str] | None = None) -> "Table":
    """Read a selection into a table; see `to_table`."""
    from astropy.table import Table

    with snapshot():
        chunks = list(read_columns(selection))
    parts = zip(*chunks, strict=True) if chunks else [()] * len(selection.columns)
    columns = zip(selection.columns, parts, strict=True)
    return Table({column.name: described(column, joined(column, some)) for column, some in columns}, meta=meta)


def joined(column: OutColumn, parts: Sequence[Column]) -> Column:
    """Put the parts of a column together."""
    if not parts:
        return Column(column.kind, np.empty(0, column.kind.dtype), np.empty(0, bool))
    values = np.concatenate([part.values for part in parts])
    return Column(column.kind, values, np.concatenate([part.null for part in parts]))


def described(out: OutColumn, column: Column) -> np.ndarray:
    """Make an astropy column of values, masked only if one of them is NULL."""
    from astropy.table import Column as PlainColumn
    from astropy.table import MaskedColumn

    labels: dict[str, Any] = {"unit": out.unit or None, "description": out.description or None}
    data = _as_array(column)
    if not column.null.any():
        return PlainColumn(data, **labels)
    mask = np.broadcast_to(column.null.reshape(-1, *[1] * (data.ndim - 1)), data.shape)
    return MaskedColumn(data, mask=mask, **labels)


def _as_array(column: Column) -> np.ndarray:
    if column.kind in (TEXT, MOMENT):
        return np.array(["" if value is None else value for value in column.values], dtype=str)
    if column.kind in (FLOATS, BYTES):
        width = max((len(value) for value in column.values if value is not None), default=0)
        return padded(column.values, max(width, 1), np.float32 if column.kind is FLOATS else np.uint8)
    return column.values
