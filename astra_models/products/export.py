"""Rows of one model as a file, of the format that its name asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import peewee

from astra_models.base import database
from astra_models.columns.typed import BYTES, TEXT, Column
from astra_models.errors import OutputFormatError
from astra_models.products.arrow import arrow_batch, arrow_schema
from astra_models.products.fits.file import FitsTable, Progress, fill_fits, replacing
from astra_models.products.provenance import provenance
from astra_models.products.query import Model, Selection, snapshot
from astra_models.products.reading import hand_on_columns
from astra_models.products.text_file import fill_csv, fill_ecsv
from astra_models.products.votable import votable_of
from astra_models.products.votable_file import fill_votable

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import ParquetWriter

ROWS_PER_GROUP = 20_000
VOPARQUET = "1.0"
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
        What was written. Memory doesn't grow with the rows.

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
    return fill_ecsv(path, selection, meta)


def _write_votable(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    return fill_votable(path, selection, meta)


def _write_csv(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    return fill_csv(path, selection)


def _write_parquet(selection: Selection, path: Path, meta: Meta, progress: Progress | None) -> int:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OutputFormatError(
            f"{path.name}: Parquet needs pyarrow; install it by `pip install 'astra-orchestration[arrow]'`"
        ) from error
    schema = arrow_schema(selection.columns, meta)
    with snapshot():
        lengths = _lengths(selection)
        about = {
            "IVOA.VOTable-Parquet.version": VOPARQUET,
            "IVOA.VOTable-Parquet.content": votable_of(selection, meta, lengths),
            # Astropy looks for the longest text itself otherwise, and fails at NULL.
            **{f"table::len::{name}": str(length) for name, length in lengths.items()},
        }
        schema = schema.with_metadata({**schema.metadata, **about})
        return _write_groups(pq.ParquetWriter(path, schema), selection, schema)


def _write_groups(writer: "ParquetWriter", selection: Selection, schema: "Schema") -> int:
    written: list[int] = []

    def write(columns: list[Column]) -> None:
        batch = arrow_batch(schema, columns)
        writer.write_batch(batch)
        written.append(batch.num_rows)

    with writer:
        hand_on_columns(selection, write, ROWS_PER_GROUP)
    return sum(written)


def _lengths(selection: Selection) -> dict[str, int]:
    """Give the length of the longest text, or bytes, of each column."""
    columns = [column for column in selection.columns if column.kind in (TEXT, BYTES) and column.is_there]
    if not columns:
        return {}
    longest = selection.select(*(peewee.fn.MAX(peewee.fn.LENGTH(column.selected)) for column in columns))
    (lengths,) = database.execute(longest.tuples())
    return {column.name: n or 1 for column, n in zip(columns, lengths, strict=True)}


_WRITERS: dict[str, Writer] = {
    ".fits": _write_fits,
    ".fits.gz": _write_fits,
    ".parquet": _write_parquet,
    ".ecsv": _write_ecsv,
    ".csv": _write_csv,
    ".vot": _write_votable,
    ".votable": _write_votable,
}
