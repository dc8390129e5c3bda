"""What a file of results is made of: tables, and of each table its rows as columns of ours, some at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from astra_models.base import BaseModel
from astra_models.columns.typed import Column, Refusal, to_column
from astra_models.ingest.rows.checked import Problems
from astra_models.ingest.tables.placing import Layout, rank
from astra_models.ingest.tables.values import Block, Converter, FileColumn
from astra_models.ingested import NO_MAPPING
from astra_models.spectrum import SpectrumMixin

ROWS_AT_ONCE = 20_000
Model = type[BaseModel]
Columns = dict[Model, dict[str, Column]]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, as columns of our tables.

    Parameters
    ----------
    rows : ndarray of int, shape (n_rows,)
        Their numbers in the file's table, from 0.
    columns : dict of type to dict of str to Column
        By model and the name of our column, the values.
    spectrum_model : type or None
        Which kind of spectrum the rows are of.
    problems : list of (int, str)
        Rows (by their number in the file's table) with a value that its column can't hold, and the reason.
    """

    rows: np.ndarray
    columns: Columns
    spectrum_model: type[SpectrumMixin] | None
    problems: Problems
    _block: Block = field(repr=False)
    _start: int = field(repr=False)

    def payload(self, row: int) -> dict[str, object]:
        """Give a row's values as the file has them.

        Parameters
        ----------
        row : int
            Its number in the file's table, one of `rows`.
        """
        return self._block.row(row - self._start)


@dataclass(frozen=True)
class Reader:
    """One column of ours, and how it is made: of one of the file's (or the sum of two), or of a constant.

    A constant beside a column is for whole numbers, where the column has none.
    """

    model: Model
    name: str
    column: FileColumn | None
    converter: Converter | None = None
    constant: object = None
    plus: FileColumn | None = None

    @property
    def names(self) -> list[str]:
        """The file's columns that it is made of."""
        return [column.name for column in (self.column, self.plus) if column is not None]

    @cached_property
    def _constant(self) -> tuple[Column, list[Refusal]]:
        return to_column(self.model._meta.fields[self.name], [self.constant])

    def read(self, block: Block) -> tuple[Column, Problems]:
        """Give the values of a block's rows."""
        if self.converter is None or self.column is None:
            constant, refusals = self._constant
            problems = [(row, refusal.message) for refusal in refusals for row in range(len(block))]
            return constant.take(np.zeros(len(block), int)), problems
        column, problems = self.converter(block.values(self.column))
        if self.constant is not None:
            values = np.where(column.null, np.asarray(self.constant, column.values.dtype), column.values)
            column = replace(column, values=values, null=np.zeros(len(block), bool))
        if self.plus is None:
            return column, problems
        other, more = self.converter(block.values(self.plus))
        null = column.null | other.null
        values = column.values.copy()
        values[~null] = column.values[~null] + other.values[~null]
        return replace(column, values=values, null=null), problems + more


@dataclass(frozen=True)
class Plan:
    """How rows of one kind are read."""

    layout: Layout
    readers: list[Reader]
    unplaced: list[tuple[str, str]]
    notes: list[str]

    @property
    def targets(self) -> dict[Model, dict[str, str]]:
        """By model and the name of our column, the name of the file's."""
        found: dict[Model, dict[str, str]] = {model: {} for model in self.layout.models}
        for reader in self.readers:
            if reader.column is not None:
                found.setdefault(reader.model, {})[reader.name] = reader.column.name
        return found


Kind = TypeVar("Kind")


@dataclass
class Part(Generic[Kind]):
    """A table of a file.

    Parameters
    ----------
    name : str
        ``BOSS``, ``APOGEE``, the name that the file gives it, or its number.
    hdu : int
        Its number in the file.
    n_rows : int
        How many rows it has.
    columns : sequence of FileColumn
        The file's columns.
    blocks : callable
        Gives the rows, some at a time.
    split : callable
        Tells what kinds of rows there are in a block, and which rows are of each.
    plan : callable
        Makes the plan for a kind of rows.
    usual : object
        The kind of its first row.
    """

    name: str
    hdu: int
    n_rows: int
    columns: Sequence[FileColumn]
    blocks: Callable[[int], Iterator[tuple[int, Block]]] = field(repr=False)
    split: Callable[[Block], Sequence[tuple[Kind, np.ndarray]]] = field(repr=False)
    plan: Callable[[Kind], Plan] = field(repr=False)
    usual: Kind
    _plans: dict[Kind, Plan] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._plan_for(self.usual)

    def _plan_for(self, kind: Kind) -> Plan:
        if kind not in self._plans:
            self._plans[kind] = self.plan(kind)
        return self._plans[kind]

    @property
    def output_model(self) -> Model | None:
        """The model of the results, or None."""
        return self._plans[self.usual].layout.result

    @property
    def spectrum_model(self) -> type[SpectrumMixin] | None:
        """The model of the spectrum of its first row, or None."""
        return self._plans[self.usual].layout.spectrum

    @property
    def targets(self) -> dict[Model, dict[str, str]]:
        """By model and the name of our column, the name of the file's: of the first row, and of those read so far."""
        found: dict[Model, dict[str, str]] = {}
        for plan in self._plans.values():
            for model, columns in plan.targets.items():
                found.setdefault(model, {}).update(columns)
        return dict(sorted(found.items(), key=lambda item: rank(item[0])))

    @property
    def unplaced(self) -> list[tuple[str, str]]:
        """Columns without a place in our tables in any of the rows seen so far, and why."""
        plans = list(self._plans.values())
        columns = [{name for name, _ in plan.unplaced} for plan in plans]
        return [entry for entry in plans[0].unplaced if all(entry[0] in names for names in columns)]

    @property
    def notes(self) -> list[str]:
        """Remarks on columns that are read: a unit that is converted, for example."""
        return list(dict.fromkeys(note for plan in self._plans.values() for note in plan.notes))

    def chunks(self, n_rows: int = ROWS_AT_ONCE) -> Iterator[Chunk]:
        """Read the rows, in one pass over the file.

        Parameters
        ----------
        n_rows : int, optional
            Rows at a time, at most.

        Yields
        ------
        Chunk
            In the order of the file; rows of different kinds of spectra in chunks of their own.
        """
        for start, block in self.blocks(n_rows):
            for kind, places in self.split(block):
                yield self._chunk(start, block, self._plan_for(kind), places)

    def _chunk(self, start: int, block: Block, plan: Plan, places: np.ndarray) -> Chunk:
        columns: Columns = {model: {} for model in plan.layout.models}
        problems: Problems = []
        is_all = len(places) == len(block)
        for reader in plan.readers:
            column, found = reader.read(block)
            columns.setdefault(reader.model, {})[reader.name] = column if is_all else column.take(places)
            problems += [(start + row, message) for row, message in found]
        if not is_all:
            ours = set((start + places).tolist())
            problems = [problem for problem in problems if problem[0] in ours]
        return Chunk(start + places, columns, plan.layout.spectrum, problems, block, start)


@dataclass
class ResultFile:
    """A file of results, once it is known what it is.

    Parameters
    ----------
    path : str
        The file, absolute.
    kind : str
        What it is, as the survey names it: ``astraAllStarASPCAP``, ``mwmTargets``...; or the name of a mapping.
    sha256, size : str, int
        Of the file as it is on disk.
    release : str or None
        The data release, if the file says it.
    v_astra : int or None
        The version of Astra that the results are of.
    parts : list of Part
        Its tables with rows.
    notes : list of str
        Remarks: tables without rows, damage that was let pass.
    mapping : str
        Checksum of the mapping by which it is read; empty if there is none.
    max_separation : float or None
        How far apart on the sky rows of one source may be, in arcsec.
    makes_spectra : bool
        Whether a result of a spectrum of which nothing is known but its number in another database gets one of its own.
    """

    path: str
    kind: str
    sha256: str
    size: int
    release: str | None = None
    v_astra: int | None = None
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mapping: str = NO_MAPPING
    max_separation: float | None = None
    makes_spectra: bool = False

    @property
    def n_rows(self) -> int:
        """Rows of all tables."""
        return sum(part.n_rows for part in self.parts)
