"""A bounded part of a table: all of a small one; of a large one its newest rows, and rows by random keys.

Keys are drawn evenly between the smallest and the largest, so every row is equally likely, and the database finds each
by its index: no row is read that isn't used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import peewee

from astra_models.base import database
from astra_models.database.sql import is_any_of
from astra_models.fields import BitField, BooleanField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products.query import of_version
from astra_models.quality.thresholds import Thresholds
from astra_models.upsert.plan import primary_key_of

__all__ = ["Rows", "Sample", "draw", "draw_keys", "flag_column", "measured_columns", "read_rows_by_key"]

SHARE_OF_NEWEST = 3
"""One in this many rows of a sample is of the newest."""
FEWEST_ROWS = 2_000
FLAGS = "result_flags"
KEYS = ("task_pk", "spectrum_pk", "source_pk", "v_astra", "snr")
FLOAT_KEYS = ("pipeline_run_pk",)
"""Keys that may be missing: held as floats, NaN if they are."""
NO_KEY = -1

Array = np.ndarray


@dataclass(frozen=True)
class Rows:
    """Columns of numbers of some rows, NaN where a value is missing.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray, each of shape (n_rows,)
        By name: float64 for what is measured, int64 for flags.
    """

    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, chosen: Array | slice) -> "Rows":
        """Give some of the rows, by a mask, by their places, or a slice of them."""
        return Rows({name: values[chosen] for name, values in self.columns.items()})


@dataclass(frozen=True)
class Sample:
    """Rows of a table, and how they were drawn.

    Attributes
    ----------
    rows : Rows
        The rows.
    total : int
        How many rows the table has.
    newest, by_chance : int
        How many rows were asked for of each; 0 if all rows were read.
    seed : int
        Seed of the random numbers.
    modified : datetime or None
        When the newest of the rows was written.
    """

    rows: Rows
    total: int
    newest: int = 0
    by_chance: int = 0
    seed: int = 1
    modified: datetime | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the table."""
        return not self.newest

    @cached_property
    def description(self) -> str:
        """How large it is, and how it was drawn."""
        if self.is_whole:
            return f"all {self.total:,} rows" if self.total else "no rows"
        return (
            f"{len(self.rows):,} of {self.total:,} rows: the newest {self.newest:,}, and those of {self.by_chance:,} "
            f"keys drawn evenly at random (seed {self.seed})"
        )


def measured_columns(model: type[PipelineOutputMixin]) -> list[peewee.Field]:
    """Give the columns of numbers that a pipeline measured: neither keys nor flags."""
    database.follow_tables()
    return [
        column
        for column in model._meta.sorted_fields
        if column.name not in model.record_columns
        and isinstance(column, peewee.FloatField | peewee.DoubleField)
        and not isinstance(column, BitField | BooleanField | peewee.ForeignKeyField)
    ]


def flag_column(model: type[PipelineOutputMixin]) -> BitField | None:
    """Give the column of a result's flags: ``result_flags``, else the first that there is."""
    found = [column for column in model._meta.sorted_fields if isinstance(column, BitField)]
    return next((column for column in found if column.name == FLAGS), found[0] if found else None)


def draw(model: type[PipelineOutputMixin], total: int, thresholds: Thresholds) -> Sample:
    """Read a sample of a table; in the transaction that is open.

    Parameters
    ----------
    model : type
        Its model.
    total : int
        How many rows it has.
    thresholds : Thresholds
        How many rows and values may be read.
    """
    columns = _columns(model)
    wanted = min(thresholds.sample_rows, max(FEWEST_ROWS, thresholds.sample_values // len(columns)))
    key = primary_key_of(model)
    if total <= wanted:
        rows, modified = _read(model, columns, None)
        return Sample(rows, total, modified=modified)
    newest = max(1, wanted // SHARE_OF_NEWEST)
    query = model.select(key).order_by(key.desc()).limit(newest)
    keys = {int(found) for (found,) in database.execute_sql(*query.sql()).fetchall()}
    keys |= set(draw_keys(key, wanted - newest, thresholds.seed))
    rows, modified = _read(model, columns, is_any_of(key, sorted(keys)))
    return Sample(rows, total, newest, wanted - newest, thresholds.seed, modified)


def draw_keys(key: peewee.Field, n: int, seed: int) -> list[int]:
    """Draw `n` keys evenly between the smallest and the largest that there is; not each of them need exist."""
    # One by one: SQLite answers either by the index, but reads the whole table for both at once.
    queries = (key.model.select(extreme(key)) for extreme in (peewee.fn.MIN, peewee.fn.MAX))
    smallest, largest = (database.execute_sql(*query.sql()).fetchone()[0] for query in queries)
    if smallest is None:
        return []
    return np.unique(np.random.default_rng(seed).integers(smallest, largest, size=n, endpoint=True)).tolist()


def read_rows_by_key(model: type[PipelineOutputMixin], spectrum_pks: Sequence[int], v_astra: int) -> Rows:
    """Read the results of some spectra at a version's major.minor, in any order."""
    chosen = is_any_of(model.spectrum_pk, spectrum_pks) & of_version(model, v_astra)
    return _read(model, _columns(model), chosen)[0]


def _columns(model: type[PipelineOutputMixin]) -> list[peewee.Field]:
    wanted = {*KEYS, *model.upsert_key, *FLOAT_KEYS, *(column.name for column in measured_columns(model))}
    return [column for column in model._meta.sorted_fields if column.name in wanted or isinstance(column, BitField)]


def _read(
    model: type[PipelineOutputMixin], columns: Sequence[peewee.Field], chosen: peewee.Expression | None
) -> tuple[Rows, datetime | None]:
    """Read columns as the driver gives them: peewee would convert value by value."""
    modified = getattr(model, "modified", None) if "modified" in model._meta.sorted_field_names else None
    query = model.select(*columns, *([] if modified is None else [modified]))
    if chosen is not None:
        query = query.where(chosen)
    read = database.execute_sql(*query.sql()).fetchall()
    values = list(zip(*read, strict=True)) or [()] * (len(columns) + 1)
    found = {str(column.name): _as_array(column, each) for column, each in zip(columns, values, strict=False)}
    newest = None if modified is None or not read else max(filter(None, values[-1]), default=None)
    return Rows(found), None if newest is None else modified.python_value(newest)  # type: ignore[union-attr]


def _as_array(column: peewee.Field, values: Sequence[object]) -> Array:
    if isinstance(column, peewee.FloatField) or column.name in FLOAT_KEYS:
        return np.array(values, dtype=float)  # None becomes NaN
    if isinstance(column, BitField):
        return np.array([value or 0 for value in values], dtype=np.int64)
    if isinstance(column, peewee.IntegerField | peewee.ForeignKeyField):
        return np.array([NO_KEY if value is None else value for value in values], dtype=np.int64)
    return np.array(values, dtype=object)
