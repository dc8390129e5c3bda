"""Many results as columns: what a pipeline that works on whole arrays has in hand already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np
import peewee

from astra_models.columns.values import in_unit
from astra_models.errors import FieldValueError
from astra_models.fields import FloatArrayField
from astra_models.fields.flags import Flag
from astra_models.fields.given import unknown_column

__all__ = ["ManyResults", "columns_by_name", "key_column", "with_more_flags"]

Row = TypeVar("Row", bound=peewee.Model)


class ManyResults(Generic[Row]):
    """Rows of one model, held as columns. Iterate it for the rows; `upsert` takes it as a table.

    Parameters
    ----------
    model : type
        The model.
    columns : mapping of str to ndarray, each of shape (n_rows,)
        Values by the name of a field; the others have their defaults.
    n_rows : int
        How many rows there are.
    """

    def __init__(self, model: type[Row], columns: Mapping[str, np.ndarray], n_rows: int):
        self.model = model
        self.columns = dict(columns)
        self._n_rows = n_rows

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.model.__name__}: {', '.join(self.columns)}>"

    def __len__(self) -> int:
        return self._n_rows

    def __iter__(self) -> Iterator[Row]:
        return self.iterrows()

    @property
    def colnames(self) -> list[str]:
        """The names of the columns that are set."""
        return list(self.columns)

    @overload
    def __getitem__(self, which: str) -> np.ndarray: ...

    @overload
    def __getitem__(self, which: slice | np.ndarray) -> "ManyResults[Row]": ...

    def __getitem__(self, which: str | slice | np.ndarray) -> "np.ndarray | ManyResults[Row]":
        if isinstance(which, str):
            return self.columns[which]
        n_rows = len(np.arange(len(self))[which])
        return ManyResults(self.model, {name: values[which] for name, values in self.columns.items()}, n_rows)

    def iterrows(self) -> Iterator[Row]:
        """Give the rows, as model instances."""
        names = self.colnames
        for values in zip(*(_plain_values(column) for column in self.columns.values()), strict=True):
            yield self.model(**dict(zip(names, values, strict=True)))

    def row(self, place: int) -> Row:
        """Give one row, as a model instance."""
        return next(self[place : place + 1].iterrows())

    def set(self, name: str, value: object) -> None:
        """Set a column to the same value in all rows."""
        self.columns[name] = _repeated(value, len(self))

    def copy(self) -> "ManyResults[Row]":
        """Copy all values: whoever made the arrays may go on using them."""
        return ManyResults(self.model, {name: _copied(values) for name, values in self.columns.items()}, len(self))


def columns_by_name(model: type[peewee.Model], given: Mapping[str, object], n_rows: int) -> dict[str, np.ndarray]:
    """Give columns by the name of their field, of arrays and scalars by the name of a column or flag.

    Parameters
    ----------
    model : type
        The model.
    given : mapping of str to array_like or scalar
        Values; those with a unit are converted to the column's.
    n_rows : int
        The length that arrays have to have.

    Raises
    ------
    UnknownColumnError
        If the model has no such column or flag.
    FieldValueError
        If an array has another length, or a unit can't be converted; it names the column.
    """
    columns: dict[str, np.ndarray] = {}
    flags: list[tuple[Flag, np.ndarray]] = []
    for name, value in given.items():
        field = model._meta.combined.get(name)
        flag = None if field is not None else getattr(model, name, None)
        if field is not None:
            columns[field.name] = _column(field, value, n_rows)
        elif isinstance(flag, Flag):
            flags.append((flag, _one_for_each(name, value, n_rows)))
        else:
            raise unknown_column(model, name)
    for flag, is_set in flags:
        columns[flag.field.name] = _with_flag(flag, columns.get(flag.field.name), is_set)
    return columns


def key_column(keys: Sequence[object]) -> np.ndarray:
    """Give keys as an array of integers, masked where there is none; as they are if one is no integer."""
    kinds = set(map(type, keys))
    if kinds <= {int}:
        return np.array(keys, dtype=np.int64)
    if kinds <= {int, type(None)}:
        values = np.array([0 if key is None else key for key in keys], dtype=np.int64)
        return np.ma.MaskedArray(values, [key is None for key in keys])
    return _objects(keys)


def _column(field: peewee.Field, value: object, n_rows: int) -> np.ndarray:
    try:
        converted = in_unit(value, getattr(field, "unit", None))
    except FieldValueError as error:
        raise FieldValueError(f"{field.name}: {error}") from error
    if isinstance(field, FloatArrayField) and not _is_scalar(converted):
        return _one_for_each(field.name, _objects(list(cast("Iterable[object]", converted))), n_rows)
    return _one_for_each(field.name, converted, n_rows)


def _one_for_each(name: str, value: Any, n_rows: int) -> np.ndarray:
    if _is_scalar(value):
        return _repeated(value, n_rows)
    if hasattr(value, "unmasked"):  # astropy's masked quantities
        value = np.ma.MaskedArray(np.asarray(value.unmasked), np.asarray(value.mask))
    elif hasattr(value, "filled"):
        value = np.ma.asarray(value)
    elif hasattr(value, "__array__"):
        value = np.asarray(value)
    else:
        value = _objects(list(value))
    if value.ndim != 1 or len(value) != n_rows:
        what = f"{len(value)} values" if value.ndim == 1 else f"values of shape {value.shape}"
        raise FieldValueError(
            f"{name} has {what} for {n_rows} spectra; give one for each, in their order, or one for all"
        )
    return value


def _is_scalar(value: object) -> bool:
    if isinstance(value, str | bytes):
        return True
    return getattr(value, "ndim", None) == 0 if hasattr(value, "ndim") else not isinstance(value, Iterable)


def _repeated(value: Any, n_rows: int) -> np.ndarray:
    if hasattr(value, "unit") and not hasattr(value, "unmasked"):  # it is in the column's unit by now
        value = np.asarray(value)
    value = value.item() if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "mM" else value
    if type(value) in (bool, float) or (type(value) is int and value.bit_length() < 64):
        return np.full(n_rows, value)
    repeated = np.empty(n_rows, dtype=object)
    for place in range(n_rows):
        repeated[place] = value
    return repeated


def with_more_flags(columns: dict[str, np.ndarray], rows: Iterable[tuple[Flag, np.ndarray]]) -> None:
    """Set flags in some rows, and leave them as they are in the others.

    Parameters
    ----------
    columns : dict of str to ndarray, each of shape (n_rows,)
        Values by the name of their field; those of the flags' columns are replaced.
    rows : iterable of (Flag, ndarray of bool, of shape (n_rows,))
        Which rows are to have which flag.

    Raises
    ------
    FieldValueError
        If the bits that are there aren't integers.
    """
    for flag, is_set in rows:
        bits = _as_bits(flag, columns.get(flag.field.name), len(is_set))
        columns[flag.field.name] = np.where(is_set, bits | flag.value, bits)


def _with_flag(flag: Flag, bits: np.ndarray | None, is_set: np.ndarray) -> np.ndarray:
    """Set or clear a bit in each row. Where it isn't said whether it is set, it isn't."""
    sets = np.ma.filled(is_set, False) if isinstance(is_set, np.ma.MaskedArray) else is_set
    sets = np.array([bool(value) for value in sets]) if sets.dtype == object else sets.astype(bool)
    bits = _as_bits(flag, bits, len(sets))
    return np.where(sets, bits | flag.value, bits & ~flag.value)


def _as_bits(flag: Flag, bits: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Give the bits of each row as integers: their default where they aren't given, 0 where they are missing."""
    if bits is None:
        default: Any = flag.field.default
        return np.full(n_rows, (default() if callable(default) else default) or 0, dtype=np.int64)
    bits = np.ma.filled(bits, 0) if isinstance(bits, np.ma.MaskedArray) else bits
    if bits.dtype == object:
        bits = np.array([0 if value is None else value for value in bits])
    if bits.dtype.kind not in "iub":
        raise FieldValueError(f"{flag.field.name}: bits are integers, and not {bits.dtype}")
    return bits.astype(np.int64)


def _objects(values: Sequence[object]) -> np.ndarray:
    return np.fromiter(values, object, len(values))


def _plain_values(column: np.ndarray) -> list[Any]:
    """Give values as Python has them; None where one is masked."""
    return list(column) if column.dtype.kind in "mMV" else column.tolist()


def _copied(values: np.ndarray) -> np.ndarray:
    copied = values.copy()
    if values.dtype == object:
        for place, value in enumerate(values):
            if isinstance(value, np.ndarray):
                copied[place] = value.copy()
    return copied
