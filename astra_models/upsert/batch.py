"""A batch: rows as one set of typed columns, checked.

A batch has every column that the table writes. A column that a row doesn't set gets that column's default, never
another row's value. Rows that can't be stored are taken out and remembered; of rows with the same key the last
one stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import peewee

from astra_models.columns.copy_format import binary_copy
from astra_models.columns.typed import Column, Raw, Refusal, constant_column, kind_of, to_column
from astra_models.database.layout import require_no_value
from astra_models.database.sql import is_any_of, quoted_table
from astra_models.fields import GeneratedField, utc_now
from astra_models.upsert.compare import compared_rows
from astra_models.upsert.given import UNSET, Partial, raw_columns, row_as_dict
from astra_models.upsert.plan import REPLACE, REVISION, Key, Rules, UpsertPlan
from astra_models.upsert.revision import revision_of_rows

if TYPE_CHECKING:
    from astra_models.upsert.given import Given

__all__ = [
    "Batch",
    "batch_of_columns",
    "check_columns",
    "keys_of",
    "last_of_each_key",
    "make_batch",
    "without_unknown_keys",
]


@dataclass(frozen=True)
class Batch:
    """Rows as typed columns, sorted by key, and the refusals of rows that can't be stored.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    columns : dict of str to Column
        Every written column, by field name, in the plan's order.
    rows : ndarray of int
        For each row, its place in the input.
    source : sequence or table, optional
        The input, for the payload of refused rows, unless the caller keeps these.
    refusals : list of Refusal
        Rows that can't be stored, by their place in the input.
    superseded : int
        Rows that were left out because a later one has the same key.
    only_new : bool
        Whether rows that are stored stay as they are.
    """

    plan: UpsertPlan
    columns: dict[str, Column]
    rows: np.ndarray
    source: "Given | None"
    refusals: list[Refusal] = field(default_factory=list)
    superseded: int = 0
    only_new: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def encoded(self) -> list[memoryview]:
        """The rows as PostgreSQL's binary COPY takes them."""
        return list(binary_copy(list(self.columns.values())))

    @cached_property
    def places(self) -> dict[Key, int]:
        """The rows' places, by key and compared columns in the form in which PostgreSQL's driver fetches these."""
        null = np.zeros(len(self), bool)
        keys = [Column(kind_of(key), values, null) for key, values in self.keys().items()]
        others = [self.columns[column.name] for column in self.plan.compared_beside_key]
        return {row: place for place, row in enumerate(compared_rows([*keys, *others]))}

    def take(self, places: np.ndarray) -> "Batch":
        """Give the batch of some of the rows, in the order asked for."""
        columns = {name: column.take(places) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[places])

    def without(self, refused: np.ndarray, check: str, messages: Sequence[str]) -> "Batch":
        """Give the batch without rows that can't be stored, which are added to its refusals.

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

    def payload(self, row: int) -> dict[str, object]:
        """Give what was given for a row; where that isn't here, its values as they would be stored."""
        if self.source is not None:
            return row_as_dict(self.source, row, self.plan.model)
        places = np.flatnonzero(self.rows == row).tolist()
        return {name: column.value(place) for place in places for name, column in self.columns.items()}


def make_batch(plan: UpsertPlan, rows: "Given", extra: str = "raise", rules: Rules = REPLACE) -> Batch:
    """Make a batch of rows, without those that the database wouldn't take.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    rows : list or table
        Model instances and dicts, or an astropy Table, or a structured array.
    extra : {"raise", "ignore"}
        What to do about columns that the model doesn't have.
    rules : Rules, optional
        Which of several rows with the same key is taken; the last one, if not given.

    Raises
    ------
    UnknownColumnError
        If there are such columns and `extra` is "raise".
    MissingColumnError
        If there are values for columns that the table doesn't have, and `extra` is "raise".
    """
    raw, strangers = raw_columns(plan, rows, extra)
    told = [target for target in plan.missing if target.name not in plan.model.made_from]
    for target in told if extra == "raise" else ():
        _require_no_values(target, raw.get(target.name))
    return last_of_each_key(check_columns(plan, raw, len(rows), rows, strangers), rules)


def batch_of_columns(plan: UpsertPlan, columns: Mapping[str, Column], **constants: object) -> Batch:
    """Make a batch of columns that another process has checked, with the same value in each row of some others.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    columns : mapping of str to Column
        Columns by field name, sorted by key.
    **constants
        Values by field name; ``modified`` is now.
    """
    n_rows = len(next(iter(columns.values())).null)
    constants |= {"modified": utc_now()}
    made = {
        target.name: constant_column(target, constants[target.name], n_rows)
        if target.name in constants
        else columns[target.name]
        for target in plan.fields
    }
    return Batch(plan, made, np.arange(n_rows), None)


def keys_of(plan: UpsertPlan, rows: "Given") -> list[Key | None]:
    """Give each row's unique key as it is stored, None for a row whose key can't be."""
    raw, strangers = raw_columns(plan, rows, "ignore")
    sources = {key.source if isinstance(key, GeneratedField) else key.name for key in plan.key}
    keys_only = replace(plan, fields=tuple(target for target in plan.fields if target.name in sources))
    batch = check_columns(keys_only, raw, len(rows), None, strangers)
    found: list[Key | None] = [None] * len(rows)
    for row, key in zip(batch.rows.tolist(), zip(*(v.tolist() for v in batch.key_values()), strict=True), strict=True):
        found[row] = key
    return found


def check_columns(
    plan: UpsertPlan,
    raw: Mapping[str, Raw | Column],
    n_rows: int,
    source: "Given | None",
    strangers: Sequence[Refusal] = (),
) -> Batch:
    """Make a batch of columns: convert them to their types, and refuse rows that can't be stored.

    Parameters
    ----------
    plan : UpsertPlan
        The table.
    raw : mapping of str to sequence
        Values by column; a column that isn't there gets its default.
    n_rows : int
        How many rows there are.
    source : sequence or table, optional
        The input, for the payload of refused rows, unless the caller keeps these.
    strangers : sequence of Refusal, optional
        Rows that are refused already.
    """
    columns: dict[str, Column] = {}
    found: list[Refusal] = []
    for target in plan.fields:
        columns[target.name], refusals = _column(target, raw.get(target.name), n_rows)
        found += refusals + _missing(target, columns[target.name], refusals)
    if plan.revised:
        columns[REVISION] = revision_of_rows(plan.revised, columns, n_rows)
    refusals = _one_of_each_row(strangers, found)
    good = np.ones(n_rows, bool)
    good[[refusal.row for refusal in refusals]] = False
    batch = Batch(plan, columns, np.arange(n_rows), source, refusals)
    return batch if good.all() else batch.take(np.flatnonzero(good))


def without_unknown_keys(batch: Batch) -> Batch:
    """Refuse the rows of a batch whose foreign keys aren't in the tables that they point to: a query per column."""
    for key in batch.plan.foreign_keys:
        column = batch.columns[key.name]
        wanted = np.unique(column.values[~column.null])
        target = key.rel_field
        found = [pk for (pk,) in target.model.select(target).where(is_any_of(target, wanted)).tuples()]
        unknown = ~column.null & ~np.isin(column.values, np.array(found, dtype=np.int64))
        if unknown.any():
            table = quoted_table(target.model)
            messages = [f"{key.name} {value} is not in {table}" for value in column.values[unknown]]
            batch = batch.without(unknown, f"{key.name} is not in {table}", messages)
    return batch


def _require_no_values(target: peewee.Field, raw: Raw | None) -> None:
    """Make sure that a column that the table doesn't have is given nothing but NULL and the default."""
    if raw is None:
        return
    given = raw if isinstance(raw, Column | np.ndarray) else [None if value is UNSET else value for value in raw]
    column, _ = to_column(target, given)
    for value in column.values[~column.null].tolist():
        require_no_value(target, value)


def _column(target: peewee.Field, raw: Raw | Column | None, n_rows: int) -> tuple[Column, list[Refusal]]:
    """Make a column, with the field's default where a row doesn't set it or a NULL isn't allowed."""
    default = utc_now() if target.name == "modified" else _default(target)
    if raw is None or target.name == "modified":
        return constant_column(target, default, n_rows), []
    if isinstance(raw, Partial):
        raw = [default if value is UNSET else value for value in raw]
    column, refusals = to_column(target, raw)
    if default is None or target.null or not column.null.any():
        return column, refusals
    filled = constant_column(target, default, n_rows)
    values = np.where(column.null, filled.values, column.values)
    return Column(column.kind, values, np.zeros(n_rows, bool)), refusals


def _default(target: peewee.Field) -> object:
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


def last_of_each_key(batch: Batch, rules: Rules = REPLACE) -> Batch:
    """Sort by key, so that concurrent writers lock rows in the same order, and drop all but one of a key.

    The last one stays, or what the rules prefer: see `_preferences`.
    """
    if not len(batch):
        return batch
    keys = batch.key_values()
    ranks = [np.unique(key, return_inverse=True)[1] if key.dtype == object else key for key in keys]
    order = np.lexsort(ranks[::-1])
    new_key = np.zeros(len(order), bool)
    for rank in ranks:
        new_key[1:] |= rank[order][1:] != rank[order][:-1]
    is_last = np.append(new_key[1:], True)
    if is_last.all():
        return batch if (np.diff(order) > 0).all() else batch.take(order)
    if rules != REPLACE:
        order = np.lexsort([*_preferences(batch, rules), *ranks[::-1]])
    return replace(batch.take(order[is_last]), superseded=int((~is_last).sum()))


def _preferences(batch: Batch, rules: Rules) -> list[np.ndarray]:
    """Give what makes one of several rows with the same key the one that is written, the least weighty first.

    A row with measured values is preferred if these are protected, then the newest patch, then the last row; where
    stored rows stay as they are, the first.
    """
    place = np.arange(len(batch))
    if rules.existing == "keep":
        return [-place]
    found = [place]
    if batch.plan.version is not None and rules.existing != "replace":
        found.append(batch.columns[batch.plan.version.name].values)
    if rules.keep_good and batch.plan.measured:
        found.append(~np.all([batch.columns[column.name].null for column in batch.plan.measured], axis=0))
    return found
