"""Rows as ECSV and CSV, some at a time: the header once, and then the lines of one part after the other."""

import json
import re
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.columns.typed import BYTES, FLOATS, TEXT, Kind
from astra_models.errors import OutputFormatError
from astra_models.messages import shown
from astra_models.products.flag_bits import bits_of
from astra_models.products.parts import empty_part, hand_on_parts, size_of
from astra_models.products.query import Selection, snapshot

if TYPE_CHECKING:
    from astropy.table import Table

Lines = Callable[["Table"], str]
Prepare = Callable[["Table"], None]

ENDS_OF_LINES = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""What astropy takes for the end of a line within quotes, too: it can't read such an ECSV file, or another text."""
QUOTED = "\n\0carriage return\0"
"""Stands for a carriage return while a table is written: the csv module of Python 3.11 and 3.12 doesn't quote it."""


def fill_ecsv(path: Path, selection: Selection, meta: Mapping[str, str]) -> int:
    """Write rows as ECSV, with units, descriptions and the meanings of flags; give their number.

    Parameters
    ----------
    path : Path
        The file.
    selection : Selection
        The rows.
    meta : mapping of str to str
        What the header says of the table.
    """

    def prepare(table: Any) -> None:
        table.meta.update(meta)
        for column in selection.columns:
            if bits := bits_of(column.field):
                told = {name: {"bit": bit, "meaning": text} for name, (bit, text) in bits.items()}
                table[column.name].meta["flags"] = told

    def lines(table: "Table") -> str:
        prepare(table)
        text = _lines(table, "ascii.ecsv")
        if ENDS_OF_LINES.search(text):
            _refuse_ends_of_lines(table, selection)
        return text

    return _fill(path, selection, lines, without_rows=_without_lists)


def fill_csv(path: Path, selection: Selection) -> int:
    """Write rows as CSV, lists as JSON and bytes as hexadecimal digits; give their number.

    Parameters
    ----------
    path : Path
        The file.
    selection : Selection
        The rows.
    """

    def lines(table: "Table") -> str:
        write_out(table, selection, FLOATS, BYTES)
        text = _lines(table, "ascii.csv", strip_whitespace=False)
        if "\r" not in text:
            return text
        _replace_in_text(table, selection, "\r", QUOTED)
        return _lines(table, "ascii.csv", strip_whitespace=False).replace(QUOTED, "\r")

    return _fill(path, selection, lines)


def _fill(path: Path, selection: Selection, lines_of: Lines, without_rows: Prepare | None = None) -> int:
    with snapshot(), open(path, "w", encoding="utf-8", newline="") as file:
        size = size_of(selection)
        empty = empty_part(selection, size)
        if without_rows is not None and not size.rows:
            without_rows(empty)
        head = lines_of(empty)
        file.write(head)

        def write(table: "Table") -> None:
            lines = lines_of(table)
            assert lines.startswith(head)
            file.write(lines.removeprefix(head))

        hand_on_parts(selection, size, write)
    return size.rows


def _without_lists(table: Any) -> None:
    """Make columns of single values of lists: astropy can't read an ECSV file that has lists and no rows."""
    for name in table.colnames:
        if table[name].ndim > 1:
            table.replace_column(name, table[name][:, 0])


def _lines(table: "Table", kind: str, **options: bool) -> str:
    text = StringIO()
    table.write(text, format=kind, **options)
    return text.getvalue()


def _refuse_ends_of_lines(table: Any, selection: Selection) -> None:
    for name in (column.name for column in selection.columns if column.kind is TEXT):
        for text in np.ma.getdata(table[name]).tolist():
            if found := ENDS_OF_LINES.search(text):
                raise OutputFormatError(
                    f"{name} has the text {shown(text)}, and readers of ECSV take {found[0]!r} for where a line ends; "
                    "write a .parquet, .csv, .vot or .fits file"
                )


def _replace_in_text(table: Any, selection: Selection, old: str, new: str) -> None:
    from astropy.table import MaskedColumn

    for name in (column.name for column in selection.columns if column.kind is TEXT):
        values = table[name]
        texts = np.array([text.replace(old, new) for text in np.ma.getdata(values).tolist()])
        table.replace_column(name, MaskedColumn(texts, mask=np.ma.getmaskarray(values)))


def write_out(table: Any, selection: Selection, *kinds: Kind, widths: Mapping[str, int] | None = None) -> None:
    """Turn lists into JSON and bytes into hexadecimal digits, for formats of plain numbers and text.

    Parameters
    ----------
    table : astropy.table.Table
        The table; its columns are replaced.
    selection : Selection
        What they are.
    *kinds : Kind
        `FLOATS`, `BYTES`: which are turned into text.
    widths : mapping of str to int, optional
        For how many bytes of a column there has to be room.
    """
    from astropy.table import MaskedColumn

    for column in selection.columns:
        if column.kind in kinds:
            values = table[column.name]
            null = np.ma.getmaskarray(values).all(axis=1)
            write = _hexadecimal if column.kind is BYTES else _json_of
            rows = zip(np.ma.getdata(values), np.atleast_1d(null), strict=True)
            text = ["" if is_null else write(row) for row, is_null in rows]
            longest = 0 if widths is None else widths.get(column.name, 0)
            dtype = f"U{2 * longest + 2}" if longest else "U"
            described = MaskedColumn(np.array(text, dtype=dtype), mask=null, description=values.description)
            table.replace_column(column.name, described)


def _hexadecimal(row: np.ndarray) -> str:
    return f"0x{bytes(row).hex()}"


def _json_of(row: np.ndarray) -> str:
    known = row[: np.flatnonzero(~np.isnan(row)).max(initial=-1) + 1]
    return json.dumps([None if np.isnan(value) else float(value) for value in known])
