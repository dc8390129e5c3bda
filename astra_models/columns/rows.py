"""Rows of one model, column by column: what a pipeline yields that has many results at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import peewee

from astra_models.errors import FieldValueError
from astra_models.fields.flags import BitField, Flag
from astra_models.fields.given import unknown_column

__all__ = ["ColumnRows", "rows_of_columns"]

Row = TypeVar("Row", bound=peewee.Model, covariant=True)


class ColumnRows(Generic[Row]):
    """Rows of one model, column by column. `upsert` takes them like any table.

    Parameters
    ----------
    model : type
        The model.
    columns : dict of str to ndarray
        Values by the name of the field, all of the same length. A column that isn't there has its default.
    n_rows : int
        How many rows there are.
    """

    def __init__(self, model: type[Row], columns: dict[str, np.ndarray], n_rows: int):
        self.model = model
        self.columns = columns
        self._n_rows = n_rows

    def __len__(self) -> int:
        return self._n_rows

    def __repr__(self) -> str:
        return f"<{self._n_rows} rows of {self.model.__name__}: {', '.join(self.columns)}>"

    @property
    def colnames(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    @overload
    def __getitem__(self, which: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, which: slice | np.ndarray) -> "ColumnRows[Row]": ...
    def __getitem__(self, which: str | slice | np.ndarray) -> "np.ndarray | ColumnRows[Row]":
        if isinstance(which, str):
            return self.columns[which]
        n_rows = len(np.arange(self._n_rows)[which])
        return ColumnRows(self.model, {name: values[which] for name, values in self.columns.items()}, n_rows)

    def set(self, name: str, value: object) -> None:
        """Give all rows the same value in a column."""
        self.columns[name] = np.full(self._n_rows, value)

    def row(self, place: int) -> dict[str, Any]:
        """Give the values of one row by the names of columns."""
        return {name: _plain(values[place]) for name, values in self.columns.items()}

    def iterrows(self) -> Iterator[Row]:
        """Give each row as an object."""
        return (self.model(**self.row(place)) for place in range(self._n_rows))


def rows_of_columns(model: type[Row], given: Mapping[str, object], n_rows: int) -> ColumnRows[Row]:
    """Make rows of columns and flags.

    Parameters
    ----------
    model : type
        The model.
    given : mapping of str to object
        Values by the name of a column or flag: an array or list of one value per row, or one value for all.
    n_rows : int
        How many rows there are.

    Raises
    ------
    UnknownColumnError
        If the model has no such column or flag; it names the nearest one.
    FieldValueError
        If there are more or fewer values than rows.
    """
    columns: dict[str, np.ndarray] = {}
    flags: list[tuple[Flag, np.ndarray]] = []
    for name, values in given.items():
        field = model._meta.combined.get(name)
        if field is not None:
            columns[field.name] = _one_per_row(model, name, values, n_rows)
            continue
        flag = getattr(model, name, None)
        if not isinstance(flag, Flag):
            raise unknown_column(model, name)
        flags.append((flag, _one_per_row(model, name, values, n_rows)))
    for flag, is_set in flags:
        name = flag.field.name
        if name not in columns:
            columns[name] = np.full(n_rows, _default(flag.field), np.int64)
        bits = columns[name]
        columns[name] = np.where(_truth(is_set), bits | flag.value, bits & ~flag.value)
    return ColumnRows(model, columns, n_rows)


def _one_per_row(model: type[peewee.Model], name: str, values: object, n_rows: int) -> np.ndarray:
    """Give a copy of the values: a pipeline may fill the same array again."""
    if isinstance(values, np.ndarray):
        made: np.ndarray = np.array(values, subok=True)  # with its mask, or its unit
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        made = _array_of(values)
    else:
        made = np.array(values) if np.isscalar(values) else np.array(None, dtype=object)
        if not np.isscalar(values):
            made[()] = values
    if made.ndim == 0:
        return np.repeat(made.reshape(1), n_rows)
    if len(made) != n_rows:
        raise FieldValueError(
            f"{model.__name__}.{name}: {len(made)} values were given for {n_rows} spectra; give one for each, or one "
            "for all"
        )
    if made.ndim == 1:
        return made
    rows = np.empty(n_rows, dtype=object)  # a column of arrays
    for place in range(n_rows):
        rows[place] = made[place]
    return rows


def _array_of(values: Sequence[object]) -> np.ndarray:
    try:
        made = np.array(values)
    except ValueError:  # of different lengths
        made = np.empty(0, dtype=object)
    if made.ndim == 1 and made.dtype.kind in "fiub":
        return made
    objects = np.empty(len(values), dtype=object)
    objects[:] = list(values) if made.ndim <= 1 else [np.asarray(value) for value in values]
    return objects


def _truth(values: np.ndarray) -> np.ndarray:
    if np.ma.isMaskedArray(values):
        values = values.filled(False)
    return np.array([bool(value) for value in values]) if values.dtype == object else values.astype(bool)


def _default(field: BitField) -> int:
    default: Any = field.default
    made: Any = default() if callable(default) else default
    return made or 0


def _plain(value: object) -> object:
    if value is np.ma.masked:
        return None
    return value.item() if isinstance(value, np.generic) else value
