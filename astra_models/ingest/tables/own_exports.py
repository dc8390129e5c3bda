"""Our own exports, read back: files of `astra_models.products.export`, in every format that it writes.

A file says itself which model its rows are of, and each column has the name that the model's has; those of a source
that was joined have its names, or ``source_`` in front. A CSV file has no place to say so, nor has a Parquet file that
another program wrote: there the names of all columns decide.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import peewee

from astra_models import outputs
from astra_models.columns.typed import INT32, INT64, to_column
from astra_models.errors import SelectionError, UnrecognizedFileError
from astra_models.fields import BytesField, FloatArrayField, GeneratedField
from astra_models.fits.byte_stream import ByteStream
from astra_models.fits.stream import FitsScan
from astra_models.ingest.missing import DECLARED
from astra_models.ingest.rows.sources import IDENTIFIERS
from astra_models.ingest.tables.bounds import require_bounded
from astra_models.ingest.tables.mapped import TableBlock, TableColumn
from astra_models.ingest.tables.parts import Model, Part, Plan, Reader, ResultFile
from astra_models.ingest.tables.placing import Layout
from astra_models.ingest.tables.summaries import blocks_of
from astra_models.ingest.tables.values import Block, Converted, Converter, FileColumn, Rules
from astra_models.pipeline import PipelineOutputMixin
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin

if TYPE_CHECKING:
    from pyarrow import ChunkedArray

Blocks = Callable[[int], Iterator[tuple[int, Block]]]

SOFTWARE = "astra-orchestration "
OF_SOURCE = "source_"
OF_THIS_DATABASE = "the database keeps its own"
NO_COLUMN = "its table has no such column"
_KINDS = {"S": "text", "U": "text", "O": "text", "b": "bool", "i": "int", "u": "int", "f": "float", "M": "time"}


class _Opened(NamedTuple):
    """A file of one of the formats: what it says of itself, its columns and its rows."""

    told: Mapping[str, str]
    columns: Sequence[FileColumn]
    n_rows: int
    blocks: Blocks


class ExportConverter(Converter):
    """Makes values of our columns of an export, with text, lists and bytes exactly as they were."""

    def __call__(self, raw: np.ndarray) -> Converted:
        """Convert values: lists are arrays or JSON, bytes are bytes or hexadecimal digits."""
        decode = self._decoder() if raw.dtype.kind in "OU" else None
        if decode is None:
            converted = super().__call__(raw)
            return _without_zeros(converted) if isinstance(self.field, BytesField) else self._exact(converted, raw)
        values, problems = self._decoded(raw, decode)
        if isinstance(self.field, peewee.TextField) and not self.field.null:
            values = ["" if value is None else value for value in values]
        column, refusals = to_column(self.field, values)
        return Converted(column, problems + [(refusal.row, refusal.message) for refusal in refusals])

    def _exact(self, converted: Converted, raw: np.ndarray) -> Converted:
        """Refuse whole numbers that another program made floats of, because of NULLs among them, and lost digits of."""
        column, problems = converted
        if column.kind in (INT32, INT64):
            name = self.field.name
            problems = problems + [
                (row, f"{name}: {why}") for row, why in self._inexact(raw, column.values, column.null)
            ]
        return Converted(column, problems)

    def _decoded(
        self, raw: np.ndarray, decode: Callable[[object], object]
    ) -> tuple[list[object], list[tuple[int, str]]]:
        """Give values one by one, None where there is none, and what is wrong with those that can't be read."""
        name, values, problems = self.field.name, [], []
        is_text = decode is _text
        mask: Any = np.ma.getmaskarray(raw)
        null = mask.reshape(len(raw), -1).all(axis=1) if raw.ndim > 1 else mask
        for row, value in enumerate(np.ma.getdata(raw).tolist()):
            value = None if null[row] or (value == "" and not is_text) else value
            try:
                values.append(None if value is None else decode(value))
            except (ValueError, TypeError) as error:
                values.append(None)
                problems.append((row, f"{name}: {str(value)[:60]!r} isn't what an export has there: {error}"))
        return values, problems

    def _decoder(self) -> Callable[[object], object] | None:
        if isinstance(self.field, FloatArrayField):
            return _floats
        if isinstance(self.field, BytesField):
            return _bytes
        is_text = isinstance(self.field, peewee.TextField | peewee.CharField) and self.field.name != "v_astra"
        return _text if is_text else None


def open_own_fits(file: FitsScan) -> ResultFile | None:
    """Open a FITS file that `export` wrote; None if it is none."""
    told = {name: str(file.primary.get(name.upper()) or "") for name in ("model", "table", "software")}
    if not _is_ours(told) or not file.tables:
        return None
    table = file.tables[0]
    opened = _Opened(told, table.columns, table.n_rows, lambda n_rows: blocks_of(file, table, n_rows))
    return _result_file(file.path, file.sha256, file.size, opened, is_escaped=True)


def open_own_table(path: str, sha256: str, size: int) -> ResultFile | None:
    """Open a file of another format that `export` wrote; None if it is none.

    Raises
    ------
    UnrecognizedFileError
        If it is one and can't be read back, with the reason.
    """
    with ByteStream(path) as stream:
        begins = stream.read(1 << 13)
    if begins.startswith(b"PAR1"):
        opened = _open_parquet(path)
    elif b"<VOTABLE" in begins:
        opened = _open_votable(path) if SOFTWARE.encode() in begins else None
    elif begins.startswith(b"# %ECSV"):
        opened = _open_ecsv(path)
    else:
        opened = _open_csv(path, bytes(begins))
    return None if opened is None else _result_file(path, sha256, size, opened, is_escaped=False)


def _is_ours(told: Mapping[str, object]) -> bool:
    return bool(told.get("model")) and str(told.get("software", "")).startswith(SOFTWARE)


# ---- which model, and which column goes where


def _result_file(path: str, sha256: str, size: int, opened: _Opened, is_escaped: bool) -> ResultFile:
    model = _model_of(opened.told)
    plan = _plan(model, opened.columns, is_escaped)
    part = Part(
        name=model._meta.table_name,
        hdu=1,
        n_rows=opened.n_rows,
        columns=opened.columns,
        blocks=opened.blocks,
        split=lambda block: [(None, np.arange(len(block)))],
        plan=lambda _: plan,
        usual=None,
    )
    notes = [] if opened.n_rows else ["it has no rows"]
    kind = f"export of {model.__name__}"
    parts = [part] if opened.n_rows else []
    return ResultFile(path, kind, sha256, size, parts=parts, notes=notes, makes_spectra=True)


def _model_of(told: Mapping[str, str]) -> Model:
    try:
        model = outputs.model_named(str(told["model"]))
    except SelectionError as error:
        raise UnrecognizedFileError(
            f"it is an export of {told['model']}, for which there is no table here: {error}; install the package that "
            "declares it"
        ) from error
    if model is Source or issubclass(model, SpectrumMixin | PipelineOutputMixin):
        return model
    raise UnrecognizedFileError(
        f"it is an export of {model.__name__}, which the database keeps for itself; sources, spectra and results can "
        "be ingested"
    )


def _plan(model: Model, columns: Sequence[FileColumn], is_escaped: bool) -> Plan:
    placed, unplaced = _place(model, columns)
    if not any(placement.model is Source and placement.name in IDENTIFIERS for placement in placed):
        raise UnrecognizedFileError(
            f"it is an export of {model.__name__} without identifiers of its sources ({', '.join(IDENTIFIERS)}): "
            f"whose rows they are can't be told; export it with them (astra export {model.__name__} --with source)"
        )
    rules = Rules(missing=DECLARED, escaped=is_escaped)
    readers: list[Reader] = []
    for model_, name, column in placed:
        converter = ExportConverter(model_._meta.fields[name], rules)
        if reason := column.unreadable or converter.refuses(column):
            unplaced.append((column.name, reason))
        else:
            readers.append(Reader(model_, name, column, converter))
    spectrum = model if issubclass(model, SpectrumMixin) else None
    result = model if issubclass(model, PipelineOutputMixin) else None
    _require_keys(model, {reader.name for reader in readers if reader.model is model})
    return Plan(Layout(spectrum, result), readers, unplaced, [])


def _require_keys(model: Model, there: set[str]) -> None:
    if issubclass(model, PipelineOutputMixin):
        needed = {"v_astra", *(name for name in model.upsert_key if name in ("spectrum_pk", "source_pk"))}
    else:
        needed = set(getattr(model, "natural_key", ()))
    if missing := sorted(needed - there):
        raise UnrecognizedFileError(
            f"it is an export of {model.__name__} without {', '.join(missing)}: its rows can't be told from each "
            "other; export it with these columns"
        )


def _place(model: Model, columns: Sequence[FileColumn]) -> tuple[list["_Placed"], list[tuple[str, str]]]:
    placed: list[_Placed] = []
    unplaced: list[tuple[str, str]] = []
    by_name = {column.name: column for column in columns}
    for column in columns:
        target = _target(model, column.name)
        if isinstance(target, str):
            unplaced.append((column.name, target))
        else:
            placed.append(_Placed(*target, column))
    there = {(placement.model, placement.name) for placement in placed}
    if model is not Source:
        shared = {name: name for name in IDENTIFIERS} | {"pk": "source_pk"}
        for ours, theirs in shared.items():
            if theirs in by_name and (Source, ours) not in there:
                placed.append(_Placed(Source, ours, by_name[theirs]))
    return placed, unplaced


class _Placed(NamedTuple):
    model: Model
    name: str
    column: FileColumn


def _target(model: Model, name: str) -> tuple[Model, str] | str:
    field = model._meta.fields.get(name)
    if field is not None:
        return (model, name) if _is_stored(model, field) else OF_THIS_DATABASE
    for theirs in (name, name.removeprefix(OF_SOURCE)):
        field = Source._meta.fields.get(theirs)
        if field is not None:
            return (Source, theirs) if _is_stored(Source, field) else OF_THIS_DATABASE
    return NO_COLUMN


def _is_stored(model: Model, field: peewee.Field) -> bool:
    kept = {"revision", *getattr(model, "made_from", ())} | ({"pk"} if issubclass(model, SpectrumMixin) else set())
    return field.name not in kept and not isinstance(field, GeneratedField)


# ---- formats


def _open_parquet(path: str) -> _Opened | None:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UnrecognizedFileError(
            "it is a Parquet file, which needs pyarrow; install it by `pip install 'astra-orchestration[arrow]'`"
        ) from error
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    told = json.loads((schema.metadata or {}).get(b"astra", b"{}"))
    if not _is_ours(told):  # other programs, such as pandas, keep the columns alone
        model = _model_with_columns(schema.names, "Parquet")
        if model is None:
            return None
        told = {"model": model.__name__}
    columns = [TableColumn(field.name, "text", _unit_of(field.metadata)) for field in schema]

    def blocks(n_rows: int) -> Iterator[tuple[int, Block]]:
        start = 0
        with pq.ParquetFile(path) as again:
            for batch in again.iter_batches(n_rows):
                arrays = {name: _of_arrow(batch.column(name)) for name in batch.schema.names}
                yield start, TableBlock(arrays, batch.num_rows)
                start += batch.num_rows

    n_rows = file.metadata.num_rows
    file.close()
    return _Opened(told, _of_kinds(model_columns=columns, told=told), n_rows, blocks)


def _unit_of(metadata: Mapping[bytes, bytes] | None) -> str | None:
    unit = (metadata or {}).get(b"unit")
    return None if unit is None else unit.decode()


def _of_arrow(array: "ChunkedArray") -> np.ndarray:
    """Make a masked array of a column of Arrow: objects of text, bytes and lists, numbers otherwise."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_timestamp(kind):
        values = array.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0)
        return np.ma.MaskedArray(values.to_numpy(zero_copy_only=False).view("M8[us]"), array.is_null().to_numpy(False))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        zero = False if pa.types.is_boolean(kind) else 0
        values = array.fill_null(zero).to_numpy(zero_copy_only=False)
        return np.ma.MaskedArray(values, array.is_null().to_numpy(zero_copy_only=False))
    return _objects(array.to_pylist())


def _objects(values: Sequence[object]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = [None if value is None else _Listed(value) if isinstance(value, list) else value for value in values]
    return made


class _Listed(tuple[float | None, ...]):
    """A list that NumPy doesn't take apart."""


def _open_ecsv(path: str) -> _Opened | None:
    from astropy.table import Table

    require_bounded(path)
    with open(path, encoding="utf-8") as lines:
        head = "".join(line for line in islice(lines, 20_000) if line.startswith("#"))
    if SOFTWARE not in head:
        return None
    table = Table.read(path, format="ascii.ecsv")
    arrays: dict[str, np.ndarray] = {name: np.ma.asarray(table[name]) for name in table.colnames}
    return _in_memory(table.meta, arrays) if _is_ours(table.meta) else None


def _open_votable(path: str) -> _Opened | None:
    from astropy.io.votable import parse

    require_bounded(path)
    file = parse(path)
    table = file.get_first_table()
    parameters = (*file.resources[0].params, *table.params)  # of the table, after TOPCAT or STILTS has written it
    told = {parameter.name: str(parameter.value) for parameter in parameters}
    arrays = {field.name: _null_where_empty(table.array[field.ID]) for field in table.fields}
    return _in_memory(told, arrays) if _is_ours(told) else None


def _null_where_empty(values: np.ndarray) -> np.ndarray:
    """Mask empty text: a VOTable doesn't tell it from NULL."""
    return np.ma.masked_where(np.ma.getdata(values) == "", values) if values.dtype.kind in "OU" else values


def _open_csv(path: str, begins: bytes) -> _Opened | None:
    try:
        header = next(csv.reader([begins.split(b"\n", 1)[0].decode("utf-8-sig").strip()]), [])
    except (UnicodeDecodeError, csv.Error):
        return None
    model = _model_with_columns(header, "CSV")
    if model is None:
        return None

    def blocks(n_rows: int) -> Iterator[tuple[int, Block]]:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            next(rows)
            start = 0
            while some := list(islice(rows, n_rows)):
                yield start, TableBlock(_csv_arrays(header, some, start), len(some))
                start += len(some)

    count = sum(block.n_rows for _, block in blocks(20_000) if isinstance(block, TableBlock))
    told = {"model": model.__name__}
    return _Opened(told, _of_kinds([TableColumn(name, "text") for name in header], told), count, blocks)


def _csv_arrays(header: Sequence[str], rows: Sequence[Sequence[str]], start: int) -> dict[str, np.ndarray]:
    for row, cells in enumerate(rows):
        if len(cells) != len(header):
            raise UnrecognizedFileError(
                f"row {start + row} has {len(cells)} cells, the header {len(header)}; export it again"
            )
    return {name: _objects([cells[i] or None for cells in rows]) for i, name in enumerate(header)}


def _model_with_columns(header: Sequence[str], kind: str) -> Model | None:
    """Find the model that a file's columns are of, where it doesn't say so itself; None if there is none."""
    models = [model for model in outputs.all_models() if _is_header_of(header, model)]
    if len(models) > 1:
        names = " and ".join(sorted(model.__name__ for model in models))
        raise UnrecognizedFileError(
            f"its columns are those of {names}: this {kind} file doesn't say which; export it as .ecsv, which does"
        )
    return models[0] if models else None


def _is_header_of(header: Sequence[str], model: Model) -> bool:
    """Tell whether a header is that of an export of a model, with its source beside it or not."""
    own = set(model._meta.fields)
    given = set(header)
    if not own or not given >= own:
        return False
    return all(not isinstance(_target(model, name), str) for name in given - own)


def _in_memory(told: Mapping[str, str], arrays: dict[str, np.ndarray]) -> _Opened:
    n_rows = len(next(iter(arrays.values()), ()))
    columns = [TableColumn(name, _kind(values), shape=values.shape[1:]) for name, values in arrays.items()]

    def blocks(at_once: int) -> Iterator[tuple[int, Block]]:
        for start in range(0, n_rows, at_once):
            some = {name: values[start : start + at_once] for name, values in arrays.items()}
            yield start, TableBlock(some, min(at_once, n_rows - start))

    return _Opened(told, _of_kinds(columns, told), n_rows, blocks)


def _kind(values: np.ndarray) -> str:
    is_bytes = values.dtype == np.uint8 and values.ndim > 1
    return "bytes" if is_bytes else _KINDS.get(values.dtype.kind, "text")


def _of_kinds(model_columns: Sequence[TableColumn], told: Mapping[str, str]) -> list[FileColumn]:
    """Say of columns of bytes that they are, whatever they are written as."""
    model = _model_of(told)
    made: list[FileColumn] = []
    for column in model_columns:
        target = _target(model, column.name)
        field = None if isinstance(target, str) else target[0]._meta.fields[target[1]]
        made.append(replace(column, kind="bytes") if isinstance(field, BytesField) else column)
    return made


# ---- values


def _floats(value: object) -> np.ndarray | None:
    given = json.loads(value) if isinstance(value, str) else value
    if not isinstance(given, list | tuple | np.ndarray):
        raise TypeError("it is no list of numbers")
    numbers = [math.nan if one is None else float(one) for one in given]
    return np.array(numbers, np.float32)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        if not value.startswith("0x"):
            raise ValueError("bytes are written as 0x and hexadecimal digits")
        return bytes.fromhex(value[2:])
    if not isinstance(value, bytes):
        raise TypeError("it is no bytes")
    return value


def _without_zeros(converted: Converted) -> Converted:
    """Make NULL of bytes that are all 0: a format of arrays has no other way to write it."""
    column = converted.column
    is_empty = np.array([value is None or not any(value) for value in column.values], bool)
    return converted._replace(column=replace(column, null=column.null | is_empty))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
