"""Turning given rows of any shape into raw columns: one sequence of values per column.

Rows may be model instances, dicts, or tables: of pyarrow, of astropy (units are converted), structured arrays. The
values themselves are checked afterwards, by `batch`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import peewee

from astra_models.columns.typed import FLOAT_TYPES, Raw, Refusal
from astra_models.errors import FieldValueError, UnknownColumnError, did_you_mean
from astra_models.fields import Flag
from astra_models.upsert.plan import UpsertPlan

if TYPE_CHECKING:
    from astropy.table import Table as AstropyTable
    from typing_extensions import TypeIs

ROWS_SORTED_AT_ONCE = 500_000

UNSET = object()
"""Stands in a `Partial` column for the value of a row that doesn't set it."""

Record = Mapping[str, object]
"""What one row sets, by field name."""


class Partial(list[object]):
    """Values of a column that some rows don't set."""


class _ArrowTable(Protocol):
    """What is used here of a pyarrow Table; the package is an extra."""

    @property
    def column_names(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, name: str, /) -> Sequence[object]: ...
    def slice(self, offset: int, length: int, /) -> "_ArrowTable": ...
    def take(self, indices: np.ndarray, /) -> "_ArrowTable": ...
    def to_pylist(self) -> list[dict[str, object]]: ...


if TYPE_CHECKING:
    Table = _ArrowTable | AstropyTable | np.ndarray
    Given = Sequence[object] | Table
    """What a batch is made from: rows of any kind, or a table."""


def split_rows(plan: UpsertPlan, rows: "Iterable[object] | Table", batch_size: int) -> "Iterator[Given]":
    """Split what is given into lists of at most `batch_size` rows, or parts of a table.

    The rows of a table are taken in the order of the key: neighbouring keys are found faster.

    Raises
    ------
    TypeError
        If a single row was given instead of a list of rows.
    """
    if isinstance(rows, Mapping | peewee.Model | str | bytes):
        raise TypeError(f"rows is one {type(rows).__name__}; put it in a list")
    if is_table(rows):
        yield from _parts(plan, rows, batch_size)
        return
    for tables, group in itertools.groupby(rows, key=is_table):
        if tables:
            for table in group:
                yield from _parts(plan, cast("Table", table), batch_size)
        else:
            while some := list(itertools.islice(group, batch_size)):
                yield some


def is_table(rows: object) -> "TypeIs[Table]":
    """Tell whether rows are a pyarrow Table, an astropy Table, or a structured array."""
    if _is_arrow(rows) or hasattr(rows, "iterrows"):
        return True
    return isinstance(rows, np.ndarray) and rows.dtype.names is not None


def row_as_dict(source: "Given", row: int) -> dict[str, object]:
    """Give what was given for one row, as a dict of what it sets."""
    if _is_arrow(source):
        return source.slice(row, 1).to_pylist()[0]
    if is_table(source):
        return {name: source[name][row] for name in _names_of(source)}
    given = _row_of_table(source[row])
    if isinstance(given, peewee.Model):
        return dict(given.__data__)
    return dict(given) if isinstance(given, Mapping) else {"row": given}


def raw_columns(plan: UpsertPlan, rows: "Given", extra: str) -> tuple[dict[str, Raw], list[Refusal]]:
    """Turn rows, or a table, into columns by field name, and refuse what isn't a row.

    Parameters
    ----------
    plan : UpsertPlan
        The table that they go into.
    rows : list or table
        Model instances and dicts, or an astropy Table, a pyarrow Table, or a structured array.
    extra : {"raise", "ignore"}
        What to do about columns that the model doesn't have.

    Raises
    ------
    UnknownColumnError
        If there are such columns and `extra` is "raise".
    FieldValueError
        If the unit of a table's column can't be converted.
    """
    if is_table(rows):
        return _columns_of_table(plan, rows, extra), []
    records, strangers = [], []
    for row, given in enumerate(rows):
        if isinstance(given, plan.model):
            records.append(given.__data__)
        elif isinstance(given := _row_of_table(given), Mapping):
            records.append(_by_field_name(plan, given, extra))
        else:
            records.append({})
            strangers.append(_stranger(plan, row, given))
    return _columns_of_records(plan, records), strangers


def _is_arrow(rows: object) -> "TypeIs[_ArrowTable]":
    return hasattr(rows, "to_pylist") and hasattr(rows, "column_names")


def _names_of(table: "Table") -> list[str]:
    if _is_arrow(table):
        return table.column_names
    return list(table.dtype.names or () if isinstance(table, np.ndarray) else table.colnames)


def _parts(plan: UpsertPlan, table: "Table", batch_size: int) -> "Iterator[Table]":
    for start in range(0, len(table), ROWS_SORTED_AT_ONCE):
        some = _slice(table, start, ROWS_SORTED_AT_ONCE)
        order = _order_of_keys(plan, some)
        for first in range(0, len(some), batch_size):
            yield _slice(some, first, batch_size) if order is None else _take(some, order[first : first + batch_size])


def _slice(table: "Table", start: int, n_rows: int) -> "Table":
    if _is_arrow(table):
        return table.slice(start, n_rows)
    return cast("Table", table[start : start + n_rows])


def _take(table: "Table", places: np.ndarray) -> "Table":
    return table.take(places) if _is_arrow(table) else cast("Table", table[places])


def _order_of_keys(plan: UpsertPlan, table: "Table") -> np.ndarray | None:
    """Give the places of a table's rows in the order of the key's first column; None if they are in order."""
    names = {plan.key[0].name, plan.key[0].column_name}.intersection(_names_of(table))
    if len(names) != 1:
        return None
    keys = np.asarray(table[names.pop()])
    if keys.dtype.kind not in "iu" or keys.ndim != 1 or not (keys[1:] < keys[:-1]).any():
        return None
    return np.argsort(keys, kind="stable")


def _row_of_table(given: object) -> object:
    """Make a dict of one row of an astropy Table or a structured array; anything else is left as it is."""
    names = getattr(given, "colnames", None) or getattr(getattr(given, "dtype", None), "names", None)
    return given if names is None else {name: given[name] for name in names}  # pyright: ignore[reportIndexIssue]


def _stranger(plan: UpsertPlan, row: int, given: object) -> Refusal:
    kind = type(given).__name__
    message = f"a {kind} was given to upsert({plan.model.__name__}); give {plan.model.__name__} rows or dicts"
    return Refusal(row, f"a {kind}, not a {plan.model.__name__}", message)


def _columns_of_records(plan: UpsertPlan, records: Sequence[Record]) -> dict[str, Raw]:
    """Turn records into columns of values, quickly if all of them set the same ones."""
    names = list(records[0])
    if all(len(record) == len(names) for record in records):
        floats = [name for name in names if name in plan.float_names]
        try:
            others = {name: list(map(itemgetter(name), records)) for name in names if name not in plan.float_names}
            return others | _float_columns(floats, records)
        except KeyError:
            pass  # as many columns, but not the same
    set_by_any: set[str] = set().union(*records)
    return {name: Partial(record.get(name, UNSET) for record in records) for name in set_by_any}


def _float_columns(names: Sequence[str], records: Sequence[Record]) -> dict[str, Raw]:
    """Turn columns of floats into arrays, all at once unless one of them holds something else."""
    if len(names) < 2:
        return {name: [record[name] for record in records] for name in names}
    rows = list(map(itemgetter(*names), records))
    if set(map(type, itertools.chain.from_iterable(rows))) <= FLOAT_TYPES:
        try:
            return dict(zip(names, np.ascontiguousarray(np.array(rows, dtype=np.float64).T), strict=True))
        except OverflowError:
            pass  # an integer beyond all floats: its column will say so
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _by_field_name(plan: UpsertPlan, given: Mapping[str, Any], extra: str) -> Record:
    """Translate a dict's keys: columns and fields by their names, flags into their bit field."""
    if isinstance(given, dict) and plan.model._meta.fields.keys() >= given.keys():
        return given
    record: dict[str, Any] = {}
    flags: list[tuple[Flag, object]] = []
    for key, value in given.items():
        target = plan.model._meta.combined.get(key)
        if target is not None:
            record[target.name] = value
        elif isinstance(flag := getattr(plan.model, str(key), None), Flag):
            flags.append((flag, value))
        elif extra == "raise":
            raise _unknown_column(plan, str(key))
    for flag, is_set in flags:
        bits = record.get(flag.field.name) or 0
        record[flag.field.name] = bits | flag.value if is_set else bits & ~flag.value
    return record


def _columns_of_table(plan: UpsertPlan, table: "Table", extra: str) -> dict[str, Raw]:
    columns = {}
    for name in _names_of(table):
        target = plan.model._meta.combined.get(name)
        if target is not None:
            columns[target.name] = _in_unit_of(target, table[name])
        elif extra == "raise":
            raise _unknown_column(plan, name)
    return columns


def _in_unit_of(target: peewee.Field, values: Any) -> Raw:
    """Give a table's column, of whichever package, as an array, or a list, in the unit of its field."""
    if hasattr(values, "to_pylist"):
        return values.to_numpy() if values.null_count == 0 else values.to_pylist()
    if hasattr(values, "to_datetime"):
        return np.array([moment.isoformat() for moment in values.utc.to_datetime()], dtype=object)
    unit, wanted = getattr(values, "unit", None), getattr(target, "unit", None)
    plain = values.value if hasattr(values, "value") and not hasattr(values, "mask") else values
    array = np.ma.asarray(plain) if hasattr(plain, "mask") else np.asarray(plain)
    if unit is None or not wanted or str(unit) == wanted:
        return array
    from astropy import units

    try:
        factor = units.Unit(unit).to(units.Unit(wanted))
    except (units.UnitConversionError, ValueError, TypeError) as error:
        raise FieldValueError(f"{target.name}: unit {unit} can't be converted to {wanted}") from error
    return array if factor == 1 else array * factor


def _unknown_column(plan: UpsertPlan, name: str) -> UnknownColumnError:
    known = [field.name for field in plan.fields]
    return UnknownColumnError(
        f"{plan.model.__name__} has no column {name!r} (extra='ignore' leaves such columns out); "
        f"{did_you_mean(name, known)}"
    )
