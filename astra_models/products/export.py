"""Rows of one model as a file, of the format that its name asks for."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astra_models.columns.typed import BYTES, FLOATS, MOMENT, Column, Kind
from astra_models.errors import OutputFormatError
from astra_models.products.fits.file import FitsTable, Progress, fill_fits, replacing
from astra_models.products.provenance import provenance
from astra_models.products.query import Model, OutColumn, Selection, snapshot
from astra_models.products.reading import read_columns
from astra_models.products.table import table_of

if TYPE_CHECKING:
    from astropy.units import UnitBase
    from pyarrow import Array, DataType, Field

ROWS_PER_GROUP = 20_000
Meta = dict[str, str]
Writer = Callable[[Selection, Path, Meta, Progress | None], int]


class Exported(NamedTuple):
    """What was written: the file, how many rows it has, and its size in bytes."""

    path: str
    rows: int
    size: int


def export(
    model: Model,
    selection: Selection,
    path: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write rows of a model into a file: FITS, Parquet, ECSV, CSV or VOTable, as its suffix says.

    Parameters
    ----------
    model : type
        The model.
    selection : Selection
        Its rows: see `select_model`.
    path : str or Path
        The file: ``.fits``, ``.fits.gz``, ``.parquet``, ``.ecsv``, ``.csv``, ``.vot`` or ``.votable``.
    overwrite : bool, optional
        Whether an existing file is replaced.
    progress : callable, optional
        Called with the number of rows written so far (FITS only).

    Returns
    -------
    Exported
        What was written. FITS and Parquet take bounded memory, the others hold all rows.

    Raises
    ------
    OutputFormatError
        If the suffix is none of these, or the package that writes the format isn't installed.
    OutputExistsError
        If the file exists, and isn't to be replaced.
    """
    write = writer_for(path)
    meta = {"model": model.__name__, "table": model._meta.table_name, **provenance()}
    with replacing(path, overwrite) as temporary:
        rows = write(selection, temporary, meta, progress)
        size = temporary.stat().st_size
    return Exported(str(path), rows, size)


def writer_for(path: str | Path) -> Writer:
    """Give the function that writes a file, by the file's suffix.

    Raises
    ------
    OutputFormatError
        If no format has the suffix.
    """
    name = Path(path).name.lower()
    for suffix, write in _WRITERS.items():
        if name.endswith(suffix):
            return write
    raise OutputFormatError(f"{path}: no format has this suffix; use one of {', '.join(_WRITERS)}")


def _write_fits(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    keywords = {name.upper()[:8]: (value, "") for name, value in meta.items()}
    report = fill_fits(path, lambda: [FitsTable(meta["table"].upper(), selection)], keywords, progress)
    return sum(report.rows.values())


def _write_ecsv(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    table = table_of(selection, meta)
    table.write(path, format="ascii.ecsv")
    return len(table)


def _write_votable(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    table: Any = table_of(selection, meta)
    _write_out(table, selection, BYTES)  # masked arrays of integers can't be written
    for column in table.itercols():
        if column.unit is not None and not _is_known_to_vo(column.unit):
            column.description = f"{column.description or column.name} [{column.unit}]"
            column.unit = None
    table.write(path, format="votable", tabledata_format="binary2")
    return len(table)


def _is_known_to_vo(unit: "UnitBase") -> bool:
    """Tell whether the standard of VOTables has a name for a unit, which its readers would warn of otherwise."""
    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            units.Unit(unit.to_string("vounit"), format="vounit")
        except (ValueError, units.UnitsWarning):
            return False
    return True


def _write_csv(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    table = table_of(selection, meta)
    _write_out(table, selection, FLOATS, BYTES)
    table.write(path, format="ascii.csv")
    return len(table)


def _write_out(table: Any, selection: Selection, *kinds: Kind) -> None:
    """Turn lists into JSON and bytes into hexadecimal digits, for formats of plain numbers and text."""
    from astropy.table import MaskedColumn

    for column in selection.columns:
        if column.kind in kinds:
            values = table[column.name]
            null = np.ma.getmaskarray(values).all(axis=1)
            write = _hexadecimal if column.kind is BYTES else _json_of
            rows = zip(np.ma.getdata(values), np.atleast_1d(null), strict=True)
            text = ["" if is_null else write(row) for row, is_null in rows]
            described = MaskedColumn(np.array(text, dtype=str), mask=null, description=values.description)
            table.replace_column(column.name, described)


def _hexadecimal(row: np.ndarray) -> str:
    return f"0x{bytes(row).hex()}"


def _json_of(row: np.ndarray) -> str:
    known = row[: np.flatnonzero(~np.isnan(row)).max(initial=-1) + 1]
    return json.dumps([None if np.isnan(value) else float(value) for value in known])


def _write_parquet(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OutputFormatError(
            f"{path}: Parquet needs pyarrow; install it by `pip install 'astra-orchestration[arrow]'`"
        ) from error
    schema = pa.schema([_arrow_field(pa, column) for column in selection.columns])
    schema = schema.with_metadata({"astra": json.dumps(meta)})
    rows = 0
    with snapshot(), pq.ParquetWriter(path, schema) as writer:
        for columns in read_columns(selection, ROWS_PER_GROUP):
            arrays = [_arrow_array(pa, field.type, column) for field, column in zip(schema, columns, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows += len(arrays[0]) if arrays else 0
    return rows


def _arrow_field(pa: ModuleType, column: OutColumn) -> "Field":
    types = {
        "text": pa.string(),
        "bytea": pa.binary(),
        "real[]": pa.list_(pa.float32()),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
    kind = types.get(column.kind.sql) or pa.from_numpy_dtype(column.kind.dtype)
    about = {"unit": column.unit, "description": column.description}
    return pa.field(column.name, kind, metadata={name: text for name, text in about.items() if text})


def _arrow_array(pa: ModuleType, kind: "DataType", column: Column) -> "Array":
    values = column.values
    if column.kind is MOMENT:
        values = np.array(values, dtype="datetime64[us]")
    return pa.array(values, type=kind, mask=column.null)


_WRITERS: dict[str, Writer] = {
    ".fits": _write_fits,
    ".fits.gz": _write_fits,
    ".parquet": _write_parquet,
    ".ecsv": _write_ecsv,
    ".csv": _write_csv,
    ".vot": _write_votable,
    ".votable": _write_votable,
}
