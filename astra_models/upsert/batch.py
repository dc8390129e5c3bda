"""Rows of any shape, made into one set of typed columns.

A batch has every column that the table writes. A column that a row doesn't set gets that column's default, never
another row's value. Rows that can't be stored are taken out and remembered; of rows with the same key the last
one stays.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
import peewee

from astra_models.columns.copy_format import binary_copy
from astra_models.columns.typed import FLOAT_TYPES, Column, Refusal, constant_column, kind_of, to_column
from astra_models.database.layout import require_no_value
from astra_models.errors import FieldValueError, UnknownColumnError, did_you_mean
from astra_models.fields import Flag, GeneratedField, utc_now
from astra_models.upsert.compare import compared_rows
from astra_models.upsert.plan import UpsertPlan

ROWS_SORTED_AT_ONCE = 500_000

_UNSET = object()


class _Partial(list[Any]):
    """Values of a column that some rows don't set: `_UNSET` stands for those."""


@dataclass(frozen=True)
class Batch:
    """Rows as typed columns, sorted by key, and those that were taken out.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    columns : dict of str to Column
        Every written column, by field name, in the plan's order.
    rows : ndarray of int
        For each row, its place in the input.
    source : sequence
        The input, for the payload of refused rows.
    refusals : list of Refusal
        Rows that can't be stored, by their place in the input.
    superseded : int
        Rows that a later one of the same key took the place of.
    """

    plan: UpsertPlan
    columns: dict[str, Column]
    rows: np.ndarray
    source: Any
    refusals: list[Refusal] = field(default_factory=list)
    superseded: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def encoded(self) -> list[memoryview]:
        """The rows as PostgreSQL's binary COPY takes them."""
        return list(binary_copy(list(self.columns.values())))

    @cached_property
    def places(self) -> dict[tuple[Any, ...], int]:
        """The rows' places, by what makes each the same as a stored one, as PostgreSQL's driver fetches it."""
        null = np.zeros(len(self), bool)
        keys = [Column(kind_of(key), values, null) for key, values in self.keys().items()]
        others = [self.columns[column.name] for column in self.plan.compared_beside_key]
        return {row: place for place, row in enumerate(compared_rows([*keys, *others]))}

    def take(self, places: np.ndarray) -> "Batch":
        """Give the batch of some of the rows, in the order asked for."""
        columns = {name: column.take(places) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[places])

    def without(self, refused: np.ndarray, check: str, messages: Sequence[str]) -> "Batch":
        """Take rows out that can't be stored.

        Parameters
        ----------
        refused : ndarray of bool, shape (n_rows,)
            Which rows.
        check : str
            The reason, by which the report groups them.
        messages : sequence of str
            What is wrong, for each refused row.
        """
        found = [
            Refusal(int(self.rows[place]), check, message)
            for place, message in zip(np.flatnonzero(refused), messages, strict=True)
        ]
        return replace(self.take(np.flatnonzero(~refused)), refusals=self.refusals + found)

    def key_values(self) -> list[np.ndarray]:
        """Give the columns of the unique key, those that the database generates included."""
        return [self._key_column(key) for key in self.plan.key]

    def keys(self, places: np.ndarray | slice = slice(None)) -> dict[peewee.Field, np.ndarray]:
        """Give the columns of the unique key by field, of all rows or those at some places."""
        return {key: values[places] for key, values in zip(self.plan.key, self.key_values(), strict=True)}

    def _key_column(self, key: peewee.Field) -> np.ndarray:
        if isinstance(key, GeneratedField):
            return key.compute(self.columns[key.source].values)
        return self.columns[key.name].values

    def payload(self, row: int) -> dict[str, Any]:
        """Give what was given for a row."""
        return row_as_dict(self.source, row)


def split_rows(plan: UpsertPlan, rows: Iterable[Any], batch_size: int) -> Iterator[Any]:
    """Split the input into lists of at most `batch_size` rows, or parts of a table.

    The rows of a table are taken in the order of the key, for keys that are near each other are found faster.

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
                yield from _parts(plan, table, batch_size)
        else:
            while some := list(itertools.islice(group, batch_size)):
                yield some


def is_table(rows: Any) -> bool:
    """Tell whether rows are a pyarrow Table, an astropy Table, or a structured array."""
    if _is_arrow(rows) or hasattr(rows, "iterrows"):
        return True
    return isinstance(rows, np.ndarray) and rows.dtype.names is not None


def make_batch(plan: UpsertPlan, rows: Any, extra: str = "raise") -> Batch:
    """Turn rows into a batch that the database should take.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    rows : list or table
        Model instances and dicts, or an astropy Table, or a structured array.
    extra : {"raise", "ignore"}
        What to do about columns that the model doesn't have.

    Raises
    ------
    UnknownColumnError
        If there are such columns and `extra` is "raise".
    MissingColumnError
        If there are values for columns that the table doesn't have, and `extra` is "raise".
    """
    raw, strangers = _raw_columns(plan, rows, extra)
    for target in plan.missing if extra == "raise" else ():
        _require_no_values(target, raw.get(target.name))
    return last_of_each_key(check_columns(plan, raw, len(rows), rows, strangers))


def check_columns(
    plan: UpsertPlan, raw: Mapping[str, Any], n_rows: int, source: Any, strangers: Sequence[Refusal] = ()
) -> Batch:
    """Convert columns to their types, and take out the rows that can't be stored.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    raw : mapping of str to sequence
        Values by column; a column that isn't there gets its default.
    n_rows : int
        How many rows there are.
    source : sequence
        The input, for the payload of refused rows.
    strangers : sequence of Refusal, optional
        Rows that are refused already.
    """
    columns: dict[str, Column] = {}
    found: list[Refusal] = []
    for target in plan.fields:
        columns[target.name], refusals = _column(target, raw.get(target.name), n_rows)
        found += refusals + _missing(target, columns[target.name], refusals)
    refusals = _one_of_each_row(strangers, found)
    good = np.ones(n_rows, bool)
    good[[refusal.row for refusal in refusals]] = False
    batch = Batch(plan, columns, np.arange(n_rows), source, refusals)
    return batch if good.all() else batch.take(np.flatnonzero(good))


def row_as_dict(source: Any, row: int) -> dict[str, Any]:
    """Give one row of the input as a dict of what was set."""
    if _is_arrow(source):
        return source.slice(row, 1).to_pylist()[0]
    if is_table(source):
        return {name: source[name][row] for name in _names_of(source)}
    given = _row_of_table(source[row])
    if isinstance(given, peewee.Model):
        return dict(given.__data__)
    return dict(given) if isinstance(given, Mapping) else {"row": given}


def _is_arrow(rows: Any) -> bool:
    return hasattr(rows, "to_pylist") and hasattr(rows, "column_names")


def _names_of(table: Any) -> list[str]:
    if _is_arrow(table):
        return table.column_names
    return list(table.dtype.names if isinstance(table, np.ndarray) else table.colnames)


def _parts(plan: UpsertPlan, table: Any, batch_size: int) -> Iterator[Any]:
    for start in range(0, len(table), ROWS_SORTED_AT_ONCE):
        some = _slice(table, start, ROWS_SORTED_AT_ONCE)
        order = _order_of_keys(plan, some)
        for first in range(0, len(some), batch_size):
            yield _slice(some, first, batch_size) if order is None else _take(some, order[first : first + batch_size])


def _slice(table: Any, start: int, n_rows: int) -> Any:
    return table.slice(start, n_rows) if _is_arrow(table) else table[start : start + n_rows]


def _take(table: Any, places: np.ndarray) -> Any:
    return table.take(places) if _is_arrow(table) else table[places]


def _order_of_keys(plan: UpsertPlan, table: Any) -> np.ndarray | None:
    """Give the places of a table's rows in the order of the key's first column; None if they are in order."""
    names = {plan.key[0].name, plan.key[0].column_name}.intersection(_names_of(table))
    if len(names) != 1:
        return None
    keys = np.asarray(table[names.pop()])
    if keys.dtype.kind not in "iu" or keys.ndim != 1 or not (keys[1:] < keys[:-1]).any():
        return None
    return np.argsort(keys, kind="stable")


def _raw_columns(plan: UpsertPlan, rows: Any, extra: str) -> tuple[dict[str, Any], list[Refusal]]:
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


def _row_of_table(given: Any) -> Any:
    """Make a dict of one row of an astropy Table or a structured array; anything else is left as it is."""
    names = getattr(given, "colnames", None) or getattr(getattr(given, "dtype", None), "names", None)
    return given if names is None else {name: given[name] for name in names}


def _stranger(plan: UpsertPlan, row: int, given: Any) -> Refusal:
    kind = type(given).__name__
    message = f"a {kind} was given to upsert({plan.model.__name__}); give {plan.model.__name__} rows or dicts"
    return Refusal(row, f"a {kind}, not a {plan.model.__name__}", message)


def _columns_of_records(plan: UpsertPlan, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
    return {name: _Partial(record.get(name, _UNSET) for record in records) for name in set_by_any}


def _float_columns(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def _by_field_name(plan: UpsertPlan, given: Mapping[str, Any], extra: str) -> dict[str, Any]:
    """Translate a dict's keys: columns and fields by their names, flags into their bit field."""
    if isinstance(given, dict) and plan.model._meta.fields.keys() >= given.keys():
        return given
    record: dict[str, Any] = {}
    flags: list[tuple[Flag, Any]] = []
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


def _columns_of_table(plan: UpsertPlan, table: Any, extra: str) -> dict[str, Any]:
    columns = {}
    for name in _names_of(table):
        target = plan.model._meta.combined.get(name)
        if target is not None:
            columns[target.name] = _in_unit_of(target, table[name])
        elif extra == "raise":
            raise _unknown_column(plan, name)
    return columns


def _in_unit_of(target: Any, values: Any) -> Any:
    """Give a table's column as an array, or a list, in the unit of the field that it goes into."""
    if hasattr(values, "to_pylist"):
        return values.to_numpy() if values.null_count == 0 else values.to_pylist()
    if hasattr(values, "to_datetime"):
        return np.array([moment.isoformat() for moment in values.utc.to_datetime()], dtype=object)
    unit = getattr(values, "unit", None)
    plain = values.value if hasattr(values, "value") and not hasattr(values, "mask") else values
    array = np.ma.asarray(plain) if hasattr(plain, "mask") else np.asarray(plain)
    if unit is None or not target.unit or str(unit) == target.unit:
        return array
    from astropy import units

    try:
        factor = units.Unit(unit).to(units.Unit(target.unit))
    except (units.UnitConversionError, ValueError, TypeError) as error:
        raise FieldValueError(f"{target.name}: unit {unit} can't be converted to {target.unit}") from error
    return array if factor == 1 else array * factor


def _require_no_values(target: peewee.Field, raw: Any) -> None:
    """Make sure that a column that the table doesn't have is given nothing but NULL and the default."""
    if raw is None:
        return
    column, _ = to_column(target, [None if value is _UNSET else value for value in raw])
    for value in np.unique(column.values[~column.null]).tolist():
        require_no_value(target, value)


def _unknown_column(plan: UpsertPlan, name: str) -> UnknownColumnError:
    known = [field.name for field in plan.fields]
    return UnknownColumnError(
        f"{plan.model.__name__} has no column {name!r} (extra='ignore' leaves such columns out); "
        f"{did_you_mean(name, known)}"
    )


def _column(target: peewee.Field, raw: Any, n_rows: int) -> tuple[Column, list[Refusal]]:
    """Make a column, with the field's default where a row doesn't set it or a NULL isn't allowed."""
    default = utc_now() if target.name == "modified" else _default(target)
    if raw is None or target.name == "modified":
        return constant_column(target, default, n_rows), []
    if isinstance(raw, _Partial):
        raw = [default if value is _UNSET else value for value in raw]
    column, refusals = to_column(target, raw)
    if default is None or target.null or not column.null.any():
        return column, refusals
    filled = constant_column(target, default, n_rows)
    values = np.where(column.null, filled.values, column.values)
    return Column(column.kind, values, np.zeros(n_rows, bool)), refusals


def _default(target: peewee.Field) -> Any:
    return target.default() if callable(target.default) else target.default


def _missing(target: peewee.Field, column: Column, refusals: list[Refusal]) -> list[Refusal]:
    if target.null or not column.null.any():
        return []
    known = {refusal.row for refusal in refusals}
    message = f"{target.name} is missing"
    return [Refusal(int(row), message, message) for row in np.flatnonzero(column.null) if row not in known]


def _one_of_each_row(strangers: Sequence[Refusal], refusals: list[Refusal]) -> list[Refusal]:
    """Keep one refusal a row, which names everything that is wrong with it."""
    by_row = {refusal.row: refusal for refusal in strangers}
    no_rows = set(by_row)
    for refusal in refusals:
        if refusal.row in no_rows:
            continue
        first = by_row.get(refusal.row)
        message = refusal.message if first is None else f"{first.message}; {refusal.message}"
        by_row[refusal.row] = Refusal(refusal.row, first.check if first else refusal.check, message)
    return [by_row[row] for row in sorted(by_row)]


def last_of_each_key(batch: Batch) -> Batch:
    """Sort by key, so that concurrent writers lock rows in the same order, and drop all but the last of a key."""
    if not len(batch):
        return batch
    keys = batch.key_values()
    ranks = [np.unique(key, return_inverse=True)[1] if key.dtype == object else key for key in keys]
    order = np.lexsort(ranks[::-1])
    new_key = np.zeros(len(order), bool)
    for rank in ranks:
        new_key[1:] |= rank[order][1:] != rank[order][:-1]
    is_last = np.append(new_key[1:], True)
    if is_last.all() and (np.diff(order) > 0).all():
        return batch
    return replace(batch.take(order[is_last]), superseded=int((~is_last).sum()))


__all__ = [
    "Batch",
    "check_columns",
    "is_table",
    "kind_of",
    "last_of_each_key",
    "make_batch",
    "row_as_dict",
    "split_rows",
]
