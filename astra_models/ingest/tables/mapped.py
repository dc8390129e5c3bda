"""Tables of any kind, read as a mapping says: FITS in bounded memory, everything else by astropy."""

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import escape
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import peewee

from astra_models.errors import UnrecognizedFileError, did_you_mean
from astra_models.fits.byte_stream import ByteStream
from astra_models.fits.stream import FitsScan, TableHdu
from astra_models.ingest.missing import in_mapped_table
from astra_models.ingest.tables.bounds import require_bounded
from astra_models.ingest.tables.mapping import ColumnRule, Mapping, MappingError
from astra_models.ingest.tables.parts import Model, Part, Plan, Reader, ResultFile
from astra_models.ingest.tables.placing import Layout
from astra_models.ingest.tables.reading import UNDESCRIBED, ReaderOptions
from astra_models.ingest.tables.summaries import blocks_of, plain_value
from astra_models.ingest.tables.transforms import OF_TEXT, TRANSFORMS, extracting
from astra_models.ingest.tables.units import match_units
from astra_models.ingest.tables.values import Block, Converter, FileColumn, Rules
from astra_models.messages import storable
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin
from astra_models.version import installed_version

if TYPE_CHECKING:
    from astropy.table import Table

NOT_MAPPED = "the mapping doesn't name it"
NO_VERSION = "of which version the results are isn't said: they are kept under"
_KINDS = {"S": "text", "U": "text", "O": "text", "b": "bool", "i": "int", "u": "int", "f": "float", "M": "time"}
NO_FORMAT = "its format can't be told; let its name end as its format does (.csv, .ecsv, .vot, .dat)"
NO_TABLE = "it has no binary table; an ASCII table of FITS isn't read, save it as a binary one or as CSV"
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class TableColumn:
    """A column of an astropy table."""

    name: str
    kind: str
    unit: str | None = None
    shape: tuple[int, ...] = ()
    unreadable: str | None = None


@dataclass(frozen=True)
class TableBlock:
    """Some rows of an astropy table."""

    columns: dict[str, np.ndarray]
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def values(self, column: FileColumn) -> np.ndarray:
        """Give the values of a column."""
        return self.columns[column.name]

    def row(self, place: int) -> dict[str, object]:
        """Give a row as the file has it."""
        return {name: plain_value(values[place]) for name, values in self.columns.items()}


def open_mapped_fits(file: FitsScan, mapping: Mapping) -> ResultFile:
    """Read a table of a FITS file as a mapping says.

    Parameters
    ----------
    file : FitsScan
        The file, gone through once.
    mapping : Mapping
        Which columns go where.
    """
    table = _chosen_table(file, mapping)
    blocks = partial(blocks_of, file, table)
    part = _part(mapping, table.columns, table.n_rows, blocks, table.number, table.name)
    notes = [
        f"HDU {other.number} is not read: the mapping is for one table"
        for other in file.tables
        if other is not table and other.n_rows
    ]
    if not part.n_rows:
        notes.append(f"HDU {table.number} has no rows")
    return _result_file(file.path, mapping, file.sha256, file.size, part, notes)


def open_mapped_table(path: str, mapping: Mapping, sha256: str, size: int) -> ResultFile:
    """Read any table that astropy knows, as a mapping says.

    Raises
    ------
    UnrecognizedFileError
        If astropy can't read it.
    """
    table, notes = read_table(path, mapping.reader, _columns_of_text(mapping))
    columns, arrays = columns_of(table)

    def blocks(n_rows: int) -> Iterator[tuple[int, Block]]:
        for start in range(0, len(table), n_rows):
            some = {name: values[start : start + n_rows] for name, values in arrays.items()}
            yield start, TableBlock(some, min(n_rows, len(table) - start))

    part = _part(mapping, columns, len(table), blocks, 1, "")
    return _result_file(path, mapping, sha256, size, part, notes + ([] if part.n_rows else ["it has no rows"]))


def _result_file(path: str, mapping: Mapping, sha256: str, size: int, part: Part, notes: list[str]) -> ResultFile:
    return ResultFile(
        path,
        mapping.name,
        sha256,
        size,
        mapping.release,
        mapping.v_astra,
        [part] if part.n_rows else [],
        notes,
        mapping=mapping.checksum,
        max_separation=mapping.max_separation,
    )


def _columns_of_text(mapping: Mapping) -> set[str]:
    """Give the columns that are wanted as they are written: 007 is no 7, and 1.10 no 1.1."""
    return {name for rule in mapping.rules if _is_of_text(rule) for name in rule.sources}


def _is_of_text(rule: ColumnRule) -> bool:
    field = rule.model._meta.fields[rule.name]
    is_text = isinstance(field, peewee.TextField | peewee.CharField)
    return is_text or rule.regex is not None or rule.transform in OF_TEXT


def _chosen_table(file: FitsScan, mapping: Mapping) -> TableHdu:
    if not file.tables:
        raise UnrecognizedFileError(NO_TABLE)
    wanted = mapping.table
    if wanted is None:
        recognised = (table for table in file.tables if mapping.recognises(column.name for column in table.columns))
        with_rows = (table for table in file.tables if table.n_rows)
        return next(chain(recognised, with_rows), file.tables[0])
    for table in file.tables:
        if wanted in (table.number, table.name):
            return table
    there = ", ".join(f"{table.number} {table.name}".strip() for table in file.tables)
    raise MappingError(f"the mapping {mapping.name!r} is for table {wanted!r}, which isn't there; there are {there}")


def _part(
    mapping: Mapping,
    columns: Sequence[FileColumn],
    n_rows: int,
    blocks: Callable[[int], Iterator[tuple[int, Block]]],
    number: int,
    name: str,
) -> Part[None]:
    plan = _plan(mapping, columns)
    return Part(
        name=name or str(number),
        hdu=number,
        n_rows=n_rows,
        columns=columns,
        blocks=blocks,
        split=lambda block: [(None, np.arange(len(block)))],
        plan=lambda _: plan,
        usual=None,
    )


def _plan(mapping: Mapping, columns: Sequence[FileColumn]) -> Plan:
    spectrum = next((model for model in mapping.models if issubclass(model, SpectrumMixin)), None)
    result = next((model for model in mapping.models if model is not Source and model is not spectrum), None)
    notes: list[str] = []
    readers, refused = _readers(mapping, columns, notes)
    unplaced = _unplaced(columns, readers, refused)
    layout = Layout(spectrum, result)
    readers += _constants(mapping, layout, {(reader.model, reader.name) for reader in readers})
    if result is not None and (result, "v_astra") not in {(reader.model, reader.name) for reader in readers}:
        notes.append(f"{NO_VERSION} {installed_version()}, the installed one; `v_astra` in the mapping names another")
    return Plan(layout, readers, list(unplaced.items()), list(dict.fromkeys(notes)))


def _readers(mapping: Mapping, columns: Sequence[FileColumn], notes: list[str]) -> tuple[list[Reader], dict[str, str]]:
    """Make a reader for each rule; give also the columns that can't be read as their rule says, and why."""
    readers: list[Reader] = []
    refused: dict[str, str] = {}
    for rule in mapping.rules:
        if not rule.sources:
            readers.append(Reader(rule.model, rule.name, None, None, rule.value))
            continue
        column = _find(columns, rule.sources, rule, mapping, notes)
        if column is None:
            continue
        reader, note = _reader(rule, column, columns, mapping)
        if isinstance(reader, str):
            refused[column.name] = reader
        else:
            readers.append(reader)
        notes += [note] if note else []
    return readers, refused


def _unplaced(columns: Sequence[FileColumn], readers: Sequence[Reader], refused: dict[str, str]) -> dict[str, str]:
    """Give the columns that no reader uses, and why."""
    used = {name for reader in readers for name in (reader.names or ())}
    unplaced = {name: why for name, why in refused.items() if name not in used}
    return unplaced | {column.name: NOT_MAPPED for column in columns if column.name not in used | unplaced.keys()}


def _find(
    columns: Sequence[FileColumn], names: Sequence[str], rule: ColumnRule, mapping: Mapping, notes: list[str]
) -> FileColumn | None:
    """Find the first of some columns that there is; None, and a note, if there is none and that is no error."""
    for name in names:
        same = [column for column in columns if column.name == name]
        same = same or [column for column in columns if column.name.lower() == name.lower()]
        if same:
            return same[0]
    message = f"{rule.title} is to be made of {' or '.join(names)}, which the file doesn't have"
    if mapping.strict:
        hint = did_you_mean(names[0], [column.name for column in columns])
        raise MappingError(f"the mapping {mapping.name!r} doesn't fit: {message}; {hint}")
    notes.append(message)
    return None


def _reader(
    rule: ColumnRule, column: FileColumn, columns: Sequence[FileColumn], mapping: Mapping
) -> tuple[Reader | str, str | None]:
    if reason := column.unreadable or _no_element(rule, column, mapping):
        return reason, None
    field = rule.model._meta.fields[rule.name]
    match = match_units(column.name, rule.unit or column.unit, getattr(field, "unit", None))
    if rule.transform is not None and rule.unit is None:
        match = match._replace(factor=1.0, note=None)  # what a transform gives is ours
    if match.factor is None:
        return str(match.note), None
    converter = Converter(field, _rules(rule, column, mapping, match.factor))
    if reason := converter.refuses(column):
        return reason, None
    other = _find(columns, [rule.plus], rule, mapping, []) if rule.plus else None
    return Reader(rule.model, rule.name, column, converter, plus=other), match.note


def _no_element(rule: ColumnRule, column: FileColumn, mapping: Mapping) -> str | None:
    """Say that a column has no such element as its rule asks for; None if it has."""
    length = column.shape[0] if len(column.shape) == 1 else 1
    if rule.element is None or 0 <= rule.element < length:
        return None
    reason = f"{rule.title}: {column.name} has {length} elements; there is no element {rule.element}"
    if mapping.strict:
        raise MappingError(reason)
    return reason


def _rules(rule: ColumnRule, column: FileColumn, mapping: Mapping, factor: float) -> Rules:
    missing = (*mapping.missing, *rule.missing)
    return Rules(
        missing=in_mapped_table(
            numbers=tuple(value for value in missing if isinstance(value, int | float)),
            words=frozenset(value for value in missing if isinstance(value, str)),
            is_declared=getattr(column, "null", None) is not None,
            signed=rule.signed,
        ),
        factor=factor * rule.scale,
        element=rule.element,
        transform=_transform(rule),
        of_text=rule.transform in OF_TEXT or rule.regex is not None,
        values=rule.values,
    )


def _transform(rule: ColumnRule) -> Callable[[np.ndarray], np.ndarray] | None:
    transform = TRANSFORMS[rule.transform] if rule.transform else None
    if rule.regex is None:
        return transform
    extract = extracting(re.compile(rule.regex))
    return extract if transform is None else lambda values: transform(extract(values))


def _constants(mapping: Mapping, layout: Layout, there: set[tuple[Model, str]]) -> list[Reader]:
    given = {"release": mapping.release, "v_astra": mapping.v_astra}
    return [
        Reader(model, name, None, None, value)
        for model in layout.models
        for name, value in given.items()
        if value is not None and name in model._meta.fields and (model, name) not in there
    ]


# ---- astropy tables


def read_table(
    path: str, options: ReaderOptions | None = None, of_text: Collection[str] = ()
) -> tuple["Table", list[str]]:
    """Read a table that isn't FITS, as a whole.

    Parameters
    ----------
    path : str
        The file.
    options : ReaderOptions, optional
        How it is read; its format is detected if not given.
    of_text : collection of str, optional
        Columns of which no numbers are made, in a format that doesn't say itself what its columns are.

    Returns
    -------
    Table
        The table.
    list of str
        What astropy warned of.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read.
    """
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    require_bounded(path)
    arguments = _format_of(path) if options is None else options.arguments()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            table = Table.read(path, **arguments)
            if arguments.get("format") in UNDESCRIBED:
                _read_as_text(table, path, arguments, of_text)
        except IORegistryError as error:
            raise UnrecognizedFileError(NO_FORMAT) from error
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # of any reader of astropy's: each raises what it likes
            reason = storable(str(error), 300) or type(error).__name__
            raise UnrecognizedFileError(f"astropy can't read it as a table: {reason}") from error
    if table.colnames and table.colnames[0].startswith(_BYTE_ORDER_MARK):  # spreadsheets put it there
        table.rename_column(table.colnames[0], table.colnames[0].removeprefix(_BYTE_ORDER_MARK))
    notes = dict.fromkeys(" ".join(str(warning.message).split())[:200] for warning in caught)
    return table, [f"astropy: {note}" for note in notes]


def _read_as_text(table: Any, path: str, arguments: dict[str, object], names: Collection[str]) -> None:
    """Read columns again of which numbers were made, as text; astropy's fast reader can't do so at once."""
    from astropy.table import Table

    wanted = {name.lower() for name in names}
    numbers = [name for name in table.colnames if name.lower() in wanted and table.columns[name].dtype.kind in "iuf"]
    if numbers:
        some: dict[str, object] = {"include_names": numbers, "converters": {escape(name): str for name in numbers}}
        again = Table.read(path, **(arguments | some))
        for name in numbers:
            table.replace_column(name, again[name])


def _format_of(path: str) -> dict[str, object]:
    """Detect the format from the first bytes, else from the name; otherwise plain text is tried."""
    with ByteStream(path) as stream:
        begins = stream.read(512).lstrip()
    if begins.startswith(b"<?xml") or b"<VOTABLE" in begins:
        return {"format": "votable"}
    if b"%ECSV" in begins:
        return {"format": "ascii.ecsv"}
    return {"format": "ascii.csv"} if path.lower().removesuffix(".gz").endswith(".csv") else {}


def columns_of(table: "Table") -> tuple[list[TableColumn], dict[str, np.ndarray]]:
    """Give the columns of an astropy table, and the values of each by its name."""
    columns, arrays = [], {}
    for name in table.colnames:
        values, unit, why = _array_of(table.columns[name])
        kind = _KINDS.get(values.dtype.kind, "")
        if values.dtype.kind == "u" and values.dtype.itemsize == 1 and values.ndim > 1:
            kind = "bytes"
        if not kind and not why:
            why = f"values of type {values.dtype}, for which there are no columns"
        columns.append(TableColumn(name, kind, unit, values.shape[1:], why))
        arrays[name] = values
    return columns, arrays


def _array_of(column: Any) -> tuple[np.ndarray, str | None, str | None]:
    """Give a column's values, its unit, and why it can't be read, if it can't."""
    if hasattr(column, "datetime64"):  # a Time
        return np.ma.getdata(column.utc.datetime64), None, None
    if not isinstance(column, np.ndarray):
        return np.full(len(column), None, object), None, f"a {type(column).__name__}, for which there are no columns"
    unit = getattr(column, "unit", None)
    unit = None if unit is None else str(unit)
    values = np.ma.asarray(column) if np.ma.isMA(column) else np.asarray(column)
    if values.dtype.kind == "O" and any(isinstance(value, np.ndarray | list) for value in values[:10]):
        return values, unit, "arrays of variable length, which are not read"
    return values, unit, None
