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

from astra_models.base import BaseModel
from astra_models.columns.typed import FLOAT_TYPES, Raw, Refusal
from astra_models.columns.values import Unstorable, in_unit, is_a, plain, real_number, whole_number
from astra_models.errors import FieldValueError, UnknownColumnError, did_you_mean
from astra_models.fields import Flag
from astra_models.messages import MISTAKES, name_of_type, said, shown
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
    from astra_models.columns.many import ManyResults

    Table = _ArrowTable | AstropyTable | np.ndarray | ManyResults[Any]
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
        raise TypeError(f"rows is one {name_of_type(rows)}; put it in a list")
    if isinstance(rows, np.void) or (isinstance(rows, np.ndarray) and rows.ndim == 0):
        raise TypeError("rows is one row of an array; put it in a list")
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
    kind = type(rows)
    if kind is dict or issubclass(kind, peewee.Model):
        return False
    if issubclass(kind, np.ndarray):
        array = cast("np.ndarray", rows)
        return array.dtype.names is not None and array.ndim == 1
    return _is_arrow(rows) or _type_has(rows, "iterrows")


def row_as_dict(source: "Given", row: int, model: type[BaseModel]) -> dict[str, object]:
    """Give what was given for one row of a model, as a dict of what it sets. What is no such row is only described."""
    try:
        return _row_as_dict(source, row, model)
    except MISTAKES as error:
        return {"row": Unstorable(f"a row that can't be read: {said(error)}")}


def _row_as_dict(source: "Given", row: int, model: type[BaseModel]) -> dict[str, object]:
    if _is_arrow(source):
        return source.slice(row, 1).to_pylist()[0]
    if is_table(source):
        return {name: source[name][row] for name in names_of_table(source)}
    given: Any = _row_of_table(source[row])
    if is_a(given, model):
        return dict(given.__data__)
    if is_a(given, peewee.Model):
        return {**given.__data__, "row": Unstorable(f"a {name_of_type(given)}")}
    return dict(given) if is_a(given, Mapping) else {"row": Unstorable(shown(given))}


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
    records: list[Record] = []
    strangers: list[Refusal] = []
    for row, given in enumerate(rows):
        if issubclass(type(given), plan.model):
            records.append(cast("BaseModel", given).__data__)
            continue
        record = record_of(plan, given, extra)
        if is_a(record, dict):
            records.append(cast("Record", record))
        else:
            records.append({})
            strangers.append(_stranger(plan, row, given, cast("str", record)))
    return _columns_of_records(plan, records), strangers


def record_of(plan: UpsertPlan, given: object, extra: str) -> Record | str:
    """Give what a row sets by field name, or say what is wrong with it if it is no row."""
    try:
        row: Any = _row_of_table(given)
        if not is_a(row, Mapping):
            return ""
        # What only behaves like a dict is asked for its items once, here.
        return _by_field_name(plan, row if type(row) is dict else dict(row), extra)
    except UnknownColumnError:
        raise
    except MISTAKES as error:
        return said(error)


def _is_arrow(rows: object) -> "TypeIs[_ArrowTable]":
    return _type_has(rows, "to_pylist") and _type_has(rows, "column_names")


def _type_has(value: object, name: str) -> bool:
    """Tell whether a value's type has an attribute. The value itself isn't asked: it might raise, or have any."""
    try:
        return hasattr(type(value), name)
    except MISTAKES:  # of its metaclass
        return False


def names_of_table(table: "Table") -> list[str]:
    """Give the names of a table's columns."""
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
    names = {plan.key[0].name, plan.key[0].column_name}.intersection(names_of_table(table))
    if len(names) != 1:
        return None
    keys = np.asarray(table[names.pop()])
    if keys.dtype.kind not in "iu" or keys.ndim != 1 or not (keys[1:] < keys[:-1]).any():
        return None
    return np.argsort(keys, kind="stable")


def _row_of_table(given: object) -> object:
    """Make a dict of one row of an astropy Table or a structured array; anything else is left as it is."""
    if is_a(given, np.generic, np.ndarray):
        names = cast("np.void", given).dtype.names
    else:
        names = getattr(given, "colnames", None) if _type_has(given, "colnames") else None
    return given if names is None else {name: given[name] for name in names}  # pyright: ignore[reportIndexIssue]


def _stranger(plan: UpsertPlan, row: int, given: object, problem: str) -> Refusal:
    kind, name = name_of_type(given), plan.model.__name__
    message = f"a {kind} was given to upsert({name}); give {name} rows or dicts"
    return Refusal(row, f"a {kind}, not a {name}", f"{message} ({problem})" if problem else message)


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
    try:
        if set(map(type, itertools.chain.from_iterable(rows))) <= FLOAT_TYPES:
            return dict(zip(names, np.ascontiguousarray(np.array(rows, dtype=np.float64).T), strict=True))
    except MISTAKES:
        pass  # an integer beyond all floats, or a type that can't be told: its column will say so
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _by_field_name(plan: UpsertPlan, given: Mapping[Any, Any], extra: str) -> Record:
    """Translate a dict's keys: columns and fields by their names, flags into their bit field."""
    if plan.model._meta.fields.keys() >= given.keys():
        return given
    record: dict[str, Any] = {}
    flags: list[tuple[Flag, object]] = []
    for key, value in given.items():
        name = str.__str__(key) if is_a(key, str) else shown(key)
        target = plan.model._meta.combined.get(name)
        if target is not None:
            record[target.name] = value
        elif isinstance(flag := getattr(plan.model, name, None), Flag):
            flags.append((flag, value))
        elif extra == "raise":
            raise _unknown_column(plan, name)
    for flag, is_set in flags:
        record[flag.field.name] = _with_flag(record.get(flag.field.name), flag, is_set)
    return record


def _with_flag(bits: object, flag: Flag, is_set: object) -> object:
    """Set or clear a bit; any number but 0 sets it."""
    if is_a(bits, Unstorable):
        return bits
    try:
        number = whole_number(plain(bits)) if bits is not None else 0
        value = plain(is_set)
        sets = bool(value is not None and real_number(value))
    except MISTAKES as error:
        return Unstorable(f"{flag.name}: {said(error)}")
    return (number or 0) | flag.value if sets else (number or 0) & ~flag.value


def _columns_of_table(plan: UpsertPlan, table: "Table", extra: str) -> dict[str, Raw]:
    columns = {}
    for name in names_of_table(table):
        target = plan.model._meta.combined.get(name)
        if target is not None:
            columns[target.name] = _in_unit_of(target, table[name])
        elif extra == "raise":
            raise _unknown_column(plan, name)
    return columns


def _in_unit_of(target: peewee.Field, values: Any) -> Raw:
    """Give a table's column, of whichever package, as an array, or a list, in the unit of its field."""
    if type(values) is np.ndarray:  # of hundreds of columns, it counts
        return values
    if hasattr(values, "to_pylist"):
        return values.to_numpy() if values.null_count == 0 else values.to_pylist()
    if hasattr(values, "to_datetime"):
        return [_iso_text(values[row]) for row in range(len(values))]
    unit = getattr(target, "unit", None)
    kind = getattr(getattr(values, "dtype", None), "kind", "O")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if kind == "O" and getattr(values, "unit", None) is not None:
                return [_number_in_unit(value, values.unit, unit) for value in values]
            converted = in_unit(values, unit) if kind in "fiub" else values
    except FieldValueError as error:
        raise FieldValueError(f"{target.name}: {error}") from error
    if hasattr(converted, "unmasked"):
        return np.ma.MaskedArray(np.asarray(converted.unmasked), np.asarray(converted.mask))
    return np.ma.asarray(converted) if hasattr(converted, "mask") else np.asarray(converted)


def _number_in_unit(value: object, own: Any, unit: str | None) -> object:
    """Convert one of the numbers in a column of objects; what is no number is left for the column to refuse."""
    return in_unit(value * own, unit).value if is_a(value, float, int, np.number) else value


def _iso_text(moment: Any) -> object:
    """Give one of astropy's times as text; the text of what Python has no datetime for is refused by its column."""
    try:
        found = plain(moment.utc.to_datetime())  # in an array without dimensions, if any of the times is masked
        return None if found is None else found.isoformat()
    except MISTAKES as error:
        return Unstorable(f"{moment} is no datetime: {said(error)}")


def _unknown_column(plan: UpsertPlan, name: str) -> UnknownColumnError:
    known = [field.name for field in plan.fields]
    return UnknownColumnError(
        f"{plan.model.__name__} has no column {shown(name)} (extra='ignore' leaves such columns out); "
        f"{did_you_mean(name, known)}"
    )
