"""Rows as ECSV and CSV, some at a time: the header once, and then the lines of one part after the other."""

import json
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astra_models.columns.typed import BYTES, FLOATS, Kind
from astra_models.products.flag_bits import bits_of
from astra_models.products.parts import empty_part, hand_on_parts, size_of
from astra_models.products.query import Selection, snapshot

if TYPE_CHECKING:
    from astropy.table import Table

Prepare = Callable[["Table"], None]


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

    return _fill(path, selection, "ascii.ecsv", prepare)


def fill_csv(path: Path, selection: Selection) -> int:
    """Write rows as CSV, lists as JSON and bytes as hexadecimal digits; give their number.

    Parameters
    ----------
    path : Path
        The file.
    selection : Selection
        The rows.
    """
    return _fill(path, selection, "ascii.csv", lambda table: write_out(table, selection, FLOATS, BYTES))


def _fill(path: Path, selection: Selection, kind: str, prepare: Prepare) -> int:
    with snapshot(), open(path, "w", encoding="utf-8", newline="") as file:
        size = size_of(selection)
        head = _lines(empty_part(selection, size), kind, prepare)
        file.write(head)

        def write(table: "Table") -> None:
            lines = _lines(table, kind, prepare)
            assert lines.startswith(head)
            file.write(lines.removeprefix(head))

        hand_on_parts(selection, size, write)
    return size.rows


def _lines(table: "Table", kind: str, prepare: Prepare) -> str:
    prepare(table)
    text = StringIO()
    table.write(text, format=kind)
    return text.getvalue()


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
