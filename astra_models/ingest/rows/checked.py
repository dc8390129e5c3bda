"""Records of a file (the rows of a table, or whole files) as checked columns of the tables that they go into."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from astra_models.base import BaseModel
from astra_models.columns.typed import Column, Raw, to_column
from astra_models.fields import GeneratedField
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.upsert.batch import Batch, check_columns
from astra_models.upsert.plan import UpsertPlan, plan_for, plan_for_columns

LINKS = ("pk", "source_pk", "spectrum_pk", "task_pk")
"""Columns by which the tables refer to each other; a file's are the numbers of another database."""

Problems = list[tuple[int, str]]


class Stored(Enum):
    """What becomes of the values of a row that is stored already."""

    KEPT = "what is stored stays; only what is missing is filled in"
    FILLED = "what the file has takes the place of what is stored; where it has nothing, that stays"
    FOUND = "all that is stored stays; only rows that aren't there are made"
    REPLACED = "all of it becomes what the file says, also where that is nothing"


@dataclass(frozen=True)
class Table:
    """Rows of one table, as columns.

    Parameters
    ----------
    model : type
        The table.
    columns : mapping of str to Column or sequence
        The values of each column that the file has.
    records : ndarray of int, shape (n_rows,)
        For each row, the record that it is of.
    stored : Stored
        What becomes of rows that are there.
    """

    model: type[BaseModel]
    columns: Mapping[str, Raw | Column]
    records: np.ndarray
    stored: Stored


@dataclass(frozen=True)
class Rows:
    """Records of a file, checked, in the order in which their tables are to be written.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_records,)
        The number of each record in the file, or of the file.
    batches : sequence of Batch
        Sources, then spectra, then results; their `Batch.rows` say which record each row is of. Keys that link the
        tables are not filled in yet.
    wanted : dict
        The keys that the file gives, one a record: ``source_pk``, ``task_pk``, and of spectra by their model.
    keeps : bool
        Whether what is stored of a source stays, and only what is missing is filled in.
    problems : list of (int, str)
        Records that were taken out, by number, and why.
    max_separation : float or None
        How far apart on the sky records of one source may be, in arcsec; None if that isn't looked at.
    makes_spectra : bool
        Whether results of spectra of which the file has the number alone get spectra with this number, or another.
    source_pk : ndarray of int, shape (n_records,), or None
        The keys of the records' sources, where these are written already.
    """

    numbers: np.ndarray
    batches: Sequence[Batch]
    wanted: Mapping[object, Column] = field(default_factory=dict)
    keeps: bool = False
    problems: Problems = field(default_factory=list)
    max_separation: float | None = None
    makes_spectra: bool = False
    source_pk: np.ndarray | None = None

    def take(self, places: np.ndarray) -> "Rows":
        """Give some of the records, without the problems."""
        batches = [_of_records(batch, places, len(self)) for batch in self.batches]
        wanted = {name: column.take(places) for name, column in self.wanted.items()}
        source_pk = None if self.source_pk is None else self.source_pk[places]
        given = {"batches": batches, "wanted": wanted, "problems": [], "source_pk": source_pk}
        return replace(self, numbers=self.numbers[places], **given)

    def __len__(self) -> int:
        return len(self.numbers)


def check_rows(
    tables: Sequence[Table],
    numbers: np.ndarray,
    lacks: Callable[[Sequence[Batch]], Iterable[tuple[int, str]]] = lambda batches: (),
) -> Rows:
    """Convert columns to the types of their tables, and take out the records that can't be stored.

    Parameters
    ----------
    tables : sequence of Table
        What the records have for each table, in the order in which these are to be written. The columns ``source_pk``,
        ``spectrum_pk`` and ``task_pk`` (``pk`` of the source) are the file's own numbers.
    numbers : ndarray of int
        The records' numbers in the file.
    lacks : callable, optional
        Gives the records that can't be stored for another reason, and that.
    """
    n_records = len(numbers)
    batches = [_checked(table) for table in tables]
    messages: dict[int, list[str]] = {}
    for table, batch in zip(tables, batches, strict=True):
        for refusal in batch.refusals:
            messages.setdefault(int(table.records[refusal.row]), []).append(refusal.message)
    for record, message in lacks(batches):
        messages.setdefault(record, []).append(message)
    problems = [(int(numbers[record]), "; ".join(some)) for record, some in sorted(messages.items())]
    keeps = any(table.stored is Stored.KEPT for table in tables)
    rows = Rows(numbers, batches, _own_numbers(tables), keeps)
    if messages:
        good = np.ones(n_records, bool)
        good[list(messages)] = False
        rows = rows.take(np.flatnonzero(good))
    return replace(rows, problems=problems)


def some_of(batch: Batch, places: np.ndarray) -> Batch:
    """Give the batch of some of its rows, in the order asked for; the same one if these are all."""
    is_all = len(places) == len(batch) and bool((places == np.arange(len(batch))).all())
    return batch if is_all else batch.take(places)


def _of_records(batch: Batch, places: np.ndarray, n_records: int) -> Batch:
    number = np.full(n_records, -1)
    number[places] = np.arange(len(places))
    kept = some_of(batch, np.flatnonzero(number[batch.rows] >= 0))
    return replace(kept, rows=number[kept.rows])


def _checked(table: Table) -> Batch:
    plan = _plan(table)
    n_rows = len(table.records)
    zeros = np.zeros(n_rows, np.int64)
    links = {target.name: zeros for target in plan.fields if target.name in LINKS}
    batch = check_columns(plan, {**table.columns, **links}, n_rows, None)
    return replace(batch, rows=table.records[batch.rows], only_new=table.stored is Stored.FOUND)


def _plan(table: Table) -> UpsertPlan:
    model, names = table.model, set(table.columns)
    fills = table.stored in (Stored.KEPT, Stored.FILLED)
    if issubclass(model, SpectrumMixin):
        plan = plan_for_columns(model, names | {"source_pk", "spectrum_pk"}, model.natural_key, fills=fills)
    elif model is Source:
        plan = plan_for_columns(Source, names, ("pk",), own_keys=True, fills=fills)
    else:
        plan_for(model)  # says why, if its table can't be written
        links = {name for name in ("source_pk", "spectrum_pk") if name in model._meta.fields}
        return plan_for_columns(model, names | links, model.upsert_key, own_keys=True)
    return plan if table.stored is Stored.FILLED else _with_defaults(plan)


def _with_defaults(plan: UpsertPlan) -> UpsertPlan:
    """Let new rows have the default of every column, also of those that may be NULL."""
    there = {target.name for target in plan.fields}
    more = [
        target
        for target in plan.model._meta.sorted_fields
        if target.default is not None and target.name not in there and not isinstance(target, GeneratedField)
    ]
    return replace(plan, fields=(*plan.fields, *more))


def _own_numbers(tables: Sequence[Table]) -> dict[object, Column]:
    """Give the keys that the file has for sources, spectra and results."""
    found: dict[object, Column] = {}
    for table in tables:
        for name in LINKS:
            key = {"pk": "source_pk", "spectrum_pk": table.model}.get(name, name)
            if name in table.columns:
                found.setdefault(key, to_column(Source._meta.fields["pk"], table.columns[name])[0])
    return found
