"""Rows of a file of SQLite, read by ADBC's driver (the extra `fast`) in a process of its own, as typed arrays.

The driver guesses the types of columns from the first rows; it is given a row of constants first, of the right types.
What isn't of its column's type ends the process: the rest is then read by Python's own module, which names it.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from astra_models.base import database
from astra_models.columns.typed import BOOLEAN, BYTES, FLOAT32, FLOAT64, INT32, INT64, MOMENT, TEXT, Column
from astra_models.database.peewee_internals import limit_of
from astra_models.products.query import OutColumn, Selection
from astra_models.products.reading.key_ranges import count_up_to, key_ranges
from astra_models.products.reading.packed import read_packed
from astra_models.products.reading.values import LENGTHS_OF_MOMENTS, NO_MOMENT, UTC, nothing, typed
from astra_models.products.sqlite_watch import Watch, watched

if TYPE_CHECKING:
    import pyarrow as pa

PROGRAM = Path(__file__).with_name("adbc_process.py")
WORTHWHILE = 4_000_000
"""Values whose reading takes longer than the process needs to start."""
_AT_ONCE = (FLOAT32, FLOAT64, INT32, INT64, BOOLEAN, MOMENT, TEXT)
_NEEDED = ("adbc_driver_manager", "adbc_driver_sqlite", "pyarrow")

MOST_SAID = 500

logger = logging.getLogger(__name__)


class _OtherwiseError(Exception):
    """What the process gave isn't what was asked for."""


def is_worthwhile(selection: Selection) -> bool:
    """Tell whether a selection is large enough, in a `snapshot` of a file, and the driver there."""
    if watched() is None or not selection.is_key or any(find_spec(name) is None for name in _NEEDED):
        return False
    enough = selection.rows_of(WORTHWHILE)
    return count_up_to(selection, enough) >= enough


def read_by_adbc(selection: Selection, at_once: int) -> Iterator[list[Column]]:
    """Read the rows of a selection of models' columns from a file of SQLite.

    Parameters
    ----------
    selection : Selection
        What to read, in the order of its key; in a `snapshot`.
    at_once : int
        Rows at a time.

    Yields
    ------
    list of Column
        One for each column of the selection.

    Raises
    ------
    FieldValueError
        If the table holds something that its column can't.
    """
    n_read = 0
    watch = watched()
    if watch is not None:
        try:
            for columns in _read(selection, watch, at_once):
                yield columns
                n_read += len(columns[0].null)
            return
        except (_OtherwiseError, OSError) as error:
            logger.debug("%d rows were read by ADBC, the others are by sqlite3: %s", n_read, error)
    yield from read_packed(selection, at_once, n_read)


def all_by_adbc(selection: Selection, at_once: int) -> list[list[Column]] | None:
    """Read all rows of a selection at once, each range of its key by a process; None if that can't be done.

    What holds something that its column can't is not read, either: whoever reads it otherwise finds and names it.
    """
    watch = watched()
    if watch is None:
        return None
    parts = key_ranges(selection)
    try:
        with ExitStack() as stack:
            streams = [stack.enter_context(_running(_asked(part, watch, at_once))) for part in parts]
            _require_one_view(watch, streams)
            with ThreadPoolExecutor(len(parts)) as pool:
                found = list(pool.map(_batches_of(selection), streams))
        return [_columns(selection, batch) for batches in found for batch in batches]
    except (_OtherwiseError, OSError) as error:
        logger.debug("no rows were read by ADBC: %s", error)
        return None


def _read(selection: Selection, watch: Watch, at_once: int) -> Iterator[list[Column]]:
    with _running(_asked(selection, watch, at_once)) as stream:
        _require_one_view(watch, [stream])
        for batch in _batches(selection, stream):
            yield _columns(selection, batch)


def _batches_of(selection: Selection) -> "Callable[[IO[bytes]], list[pa.RecordBatch]]":
    return lambda stream: list(_batches(selection, stream))


def _batches(selection: Selection, stream: IO[bytes]) -> "Iterator[pa.RecordBatch]":
    """Read batches, without the row of constants, if they are of the types of their columns."""
    import pyarrow as pa

    there = [column for column in selection.columns if column.is_there]
    skipped = 1
    try:
        with pa.ipc.open_stream(stream) as batches:
            if [field.type for field in batches.schema] != [_type_of(column) for column in there]:
                raise _OtherwiseError("a column isn't of its type")
            for batch in batches:
                batch.validate(full=True)  # bytes in a column of text are no text
                yield batch.slice(skipped)
                skipped = 0
    except pa.ArrowException as error:
        raise _OtherwiseError(str(error)) from error


def _require_one_view(watch: Watch, streams: Iterable[IO[bytes]]) -> None:
    """Wait until all processes have begun to read, and make sure that they see what this one sees."""
    if any(stream.read(1) != b"+" for stream in streams):
        raise _OtherwiseError("a process did not begin to read")
    # All began to read before this look, and after the first.
    database.execute_sql("SELECT 1 FROM sqlite_master").fetchall()
    if not watch.is_as_before:
        raise _OtherwiseError("others are writing")


@contextmanager
def _running(asked: dict[str, object]) -> Iterator[IO[bytes]]:
    """Start a process, and give what it writes.

    Raises
    ------
    _OtherwiseError
        If it fails, or the block raises one; with what the process said.
    """
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen([sys.executable, "-P", str(PROGRAM)], stdin=pipe, stdout=pipe, stderr=said) as process,
    ):
        try:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(json.dumps(asked).encode() + b"\n")
            stdin.close()
            yield stdout
            _require_success(process)
        except _OtherwiseError as error:
            process.kill()
            process.wait()
            said.seek(0)
            raise _OtherwiseError(f"{error} {said.read().decode(errors='replace')[-MOST_SAID:]}") from error
        finally:
            process.kill()


def _require_success(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        raise _OtherwiseError("a process failed")


def _asked(selection: Selection, watch: Watch, at_once: int) -> dict[str, object]:
    there = [column for column in selection.columns if column.is_there]
    query = selection.ordered(*(column.selected for column in there))
    sql, parameters = query.sql()
    first = ", ".join(_first(column) for column in there)
    # A query with a limit is one that SQLite neither merges into the other nor leaves unordered.
    limit = " LIMIT -1" if limit_of(query) is None else ""
    given = [int(value) if isinstance(value, bool) else value for value in parameters]
    if not all(isinstance(value, int | float | str) for value in given):
        raise _OtherwiseError("a parameter is no number or text")
    sql = f"SELECT {first} UNION ALL SELECT * FROM ({sql}{limit})"
    return {"uri": watch.uri, "sql": sql, "parameters": given, "rows": at_once}


def _first(column: OutColumn) -> str:
    if column.kind in (FLOAT32, FLOAT64):
        return "0.0"
    return "0" if column.kind in (INT32, INT64, BOOLEAN) else "x''" if column.kind is BYTES else "''"


def _type_of(column: OutColumn) -> "pa.DataType":
    import pyarrow as pa

    if column.kind in (FLOAT32, FLOAT64):
        return pa.float64()
    if column.kind in (INT32, INT64, BOOLEAN):
        return pa.int64()
    return pa.binary() if column.kind is BYTES else pa.string()


def _columns(selection: Selection, batch: "pa.RecordBatch") -> list[Column]:
    given = iter(batch.columns)
    return [
        _column(column, next(given)) if column.is_there else nothing(column, batch.num_rows)
        for column in selection.columns
    ]


def _column(column: OutColumn, array: Any) -> Column:
    kind = column.kind
    if kind not in _AT_ONCE or getattr(column.field, "stored_type", None) is not None:
        return _one_by_one(column, array)
    null = array.is_null().to_numpy(zero_copy_only=False)
    if kind is TEXT:
        return Column(kind, array.to_numpy(zero_copy_only=False), null)
    if kind is MOMENT:
        moments = _moments(array, null)
        return _one_by_one(column, array) if moments is None else Column(kind, moments, null)
    values = array.fill_null(np.nan if kind.dtype.kind == "f" else 0).to_numpy()
    if kind is INT32 and values.size and max(-values.min() - 1, values.max()) >= 1 << 31:
        return _one_by_one(column, array)
    with np.errstate(over="ignore"):
        return Column(kind, values.astype(kind.dtype, copy=False), null)


def _one_by_one(column: OutColumn, array: Any) -> Column:
    return typed(column, tuple(array.to_pylist()))


def _moments(array: Any, null: np.ndarray) -> np.ndarray | None:
    """Read moments all at once, if they are stored as ours are."""
    import pyarrow as pa

    pc: Any = import_module("pyarrow.compute")
    known = array.drop_null()
    if not pc.all(pc.ends_with(known, UTC), min_count=0).as_py():
        return None
    lengths = set(pc.unique(pc.binary_length(known)).to_pylist())
    if not lengths <= {*LENGTHS_OF_MOMENTS}:
        return None
    plain = pc.utf8_slice_codeunits(array, 0, -len(UTC))
    since = plain.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0).to_numpy()
    return np.where(null, NO_MOMENT, since.view("datetime64[us]"))
