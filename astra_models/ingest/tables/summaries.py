"""The survey's own summary files: FITS tables, each with rows of sources, spectra and results together."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from astra_models.apogee import ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.boss import BossVisitSpectrum
from astra_models.errors import VersionError
from astra_models.fits.columns import FitsColumn
from astra_models.fits.stream import FitsScan, TableHdu, read_rows
from astra_models.ingest.missing import DECLARED, SUMMARY_FILES
from astra_models.ingest.tables.parts import Part, Plan, Reader, ResultFile
from astra_models.ingest.tables.placing import Layout, Model, Placement, place
from astra_models.ingest.tables.recognise import kind_of_file, layout_of
from astra_models.ingest.tables.row_kinds import RowKind, RowKinds
from astra_models.ingest.tables.units import match_units
from astra_models.ingest.tables.values import Block, Converter, FileColumn, Rules, version_of

_ESCAPED = "unicode_escape"
_NOT_IN_FILE: dict[Model, dict[str, str]] = {
    BossVisitSpectrum: {"spec_file": "", "filetype": "specFull"},
    ApogeeVisitSpectrum: {"filetype": "apVisit", "prefix": "", "reduction": ""},
    ApogeeVisitSpectrumInApStar: {"filetype": "apStar", "apstar": "stars"},
}
"""Columns that can't be NULL, and what they are in a file that doesn't have them."""


@dataclass(frozen=True)
class FitsBlock:
    """Some rows of a binary table."""

    table: TableHdu
    raw: np.ndarray

    def __len__(self) -> int:
        return len(self.raw)

    def values(self, column: FileColumn) -> np.ndarray:
        """Give the values of a column."""
        assert isinstance(column, FitsColumn)
        return column.values(self.raw[str(column.number)])

    def row(self, place: int) -> dict[str, object]:
        """Give a row as the file has it."""
        one = FitsBlock(self.table, self.raw[place : place + 1])
        return {
            column.name: plain_value(one.values(column)[0]) for column in self.table.columns if not column.unreadable
        }


def open_summary(file: FitsScan) -> ResultFile | None:
    """Detect a summary file of Astra and tell where its columns go; None if it is none.

    Parameters
    ----------
    file : FitsScan
        The file, gone through once.
    """
    names = [[column.name for column in table.columns] for table in file.tables]
    recognised = kind_of_file(names, file.primary.text("PIPELINE") or None) if names else None
    if recognised is None:
        return None
    kind, model = recognised
    v_astra = _v_astra(file)
    parts = [_part(file, table, model, v_astra) for table in file.tables if table.n_rows]
    notes = [f"HDU {table.number} ({_name(table)}) has no rows" for table in file.tables if not table.n_rows]
    stated = (file.primary.get("RELEASE"), *(_first(table, "release") for table in file.tables))
    release = next((str(value) for value in stated if value), None)
    return ResultFile(file.path, kind, file.sha256, file.size, release, v_astra, parts, notes)


def blocks_of(file: FitsScan, table: TableHdu, n_rows: int) -> Iterator[tuple[int, Block]]:
    """Read a table's rows, a block at a time."""
    for start, raw in read_rows(file, table, n_rows):
        yield start, FitsBlock(table, raw)


def _part(file: FitsScan, table: TableHdu, model: Model | None, v_astra: int | None) -> Part[RowKind]:
    kinds = RowKinds(table.columns)

    def plan(kind: RowKind) -> Plan:
        return _plan(table, model, v_astra, conventions_of(file, table), kind)

    return Part(
        name=_name(table),
        hdu=table.number,
        n_rows=table.n_rows,
        columns=table.columns,
        blocks=lambda n_rows: blocks_of(file, table, n_rows),
        split=kinds,
        plan=plan,
        usual=kinds(FitsBlock(table, table.first_row))[0][0],
    )


def conventions_of(file: FitsScan, table: TableHdu) -> Rules:
    """Tell how a table writes what is missing, and text: our own products say so, and so does any TNULL."""
    is_escaped = any(_ESCAPED in comment for comment in file.primary.texts("COMMENT"))
    says_what_is_missing = is_escaped or any(column.null is not None for column in table.columns)
    return Rules(missing=DECLARED if says_what_is_missing else SUMMARY_FILES, escaped=is_escaped)


def _plan(table: TableHdu, model: Model | None, v_astra: int | None, conventions: Rules, kind: RowKind) -> Plan:
    layout = layout_of([column.name for column in table.columns], model, kind)
    placed, unplaced = place(table.columns, layout)
    readers: list[Reader] = []
    notes: list[str] = []
    for placement in placed:
        reader, remark = _reader(placement, conventions, v_astra)
        if isinstance(reader, str):
            unplaced.append((placement.column.name, reader))
        else:
            readers.append(reader)
        notes += [remark] if remark else []
    if layout.reduced is not None:  # one of the two has lost its filetype to the other
        readers = [reader for reader in readers if reader.name != "filetype"]
    readers += _constants(layout, readers, v_astra)
    return Plan(layout, readers, unplaced, list(dict.fromkeys(notes)))


def _reader(placement: Placement, conventions: Rules, v_astra: int | None) -> tuple[Reader | str, str | None]:
    """Make the reader of a column, or say why there can be none; and what is to be said about it."""
    column, field = placement.column, placement.model._meta.fields[placement.name]
    match = match_units(column.name, column.unit, getattr(field, "unit", None))
    if match.factor is None:
        return str(match.note), None
    converter = Converter(field, replace(conventions, factor=match.factor))
    if reason := converter.refuses(column):
        return reason, None
    otherwise = v_astra if placement.name == "v_astra" else None
    return Reader(placement.model, placement.name, column, converter, otherwise), match.note


def _constants(layout: Layout, readers: list[Reader], v_astra: int | None) -> list[Reader]:
    """Give the columns that a table needs and the file doesn't have."""
    there = {(reader.model, reader.name) for reader in readers}
    wanted: dict[tuple[Model, str], str | int] = {}
    for model in layout.models:
        for name, value in _NOT_IN_FILE.get(model, {}).items():
            wanted[model, name] = value
        if "v_astra" in model._meta.fields and v_astra is not None:
            wanted[model, "v_astra"] = v_astra
    return [
        Reader(model, name, None, None, value) for (model, name), value in wanted.items() if (model, name) not in there
    ]


def _v_astra(file: FitsScan) -> int | None:
    stated = file.primary.get("V_ASTRA")
    for value in (stated, *(_first(table, "v_astra") for table in file.tables)):
        if isinstance(value, int) and value > 0:
            return value
        if isinstance(value, str) and value.strip():
            with suppress(VersionError):  # a row that has this one is told of when it is read
                return version_of(value.strip())
    return None


def _first(table: TableHdu, name: str) -> object:
    """Give a value of a table's first row, or None."""
    column = next((column for column in table.columns if column.name == name), None)
    if column is None or column.unreadable or not len(table.first_row):
        return None
    return plain_value(FitsBlock(table, table.first_row).values(column)[0])


def _name(table: TableHdu) -> str:
    names = {column.name for column in table.columns}
    if table.name:
        return table.name
    is_boss, is_apogee = "run2d" in names, "apred" in names
    if is_boss == is_apogee:
        return str(table.number)
    return "BOSS" if is_boss else "APOGEE"


def plain_value(value: object) -> object:
    """Make a Python value of one of a file."""
    if value is np.ma.masked:
        return None
    if isinstance(value, bytes):
        return value.partition(b"\0")[0].decode("latin-1").strip()
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
