"""Rows as a VOTable file, some at a time: what astropy writes of each part, put together into one stream."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from astra_models.columns.typed import BYTES
from astra_models.products.parts import empty_part, hand_on_parts, size_of
from astra_models.products.query import Selection, snapshot
from astra_models.products.text_file import write_out
from astra_models.products.votable import votable_with_rows

if TYPE_CHECKING:
    from astropy.table import Table

STREAM = re.compile(rb'(<STREAM encoding="base64">\s*)([A-Za-z0-9+/=]*)(\s*</STREAM>)')
NROWS = re.compile(rb'(<TABLE\b[^>]*\bnrows=")\d+(")')
GROUP = 3
"""Bytes that base64 writes as four characters."""


class _Stream:
    """The base64 text of bytes that come piece by piece."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._left = b""

    def write(self, piece: bytes) -> None:
        """Write all bytes that are whole groups, and keep the others."""
        piece = self._left + piece
        whole = len(piece) // GROUP * GROUP
        self._file.write(base64.b64encode(piece[:whole]))
        self._left = piece[whole:]

    def end(self) -> None:
        """Write what is left."""
        self._file.write(base64.b64encode(self._left))


def fill_votable(path: Path, selection: Selection, meta: Mapping[str, str]) -> int:
    """Write rows as VOTable, and give their number.

    Parameters
    ----------
    path : Path
        The file.
    selection : Selection
        The rows.
    meta : mapping of str to str
        What is said of the table, a PARAM each.
    """
    with snapshot(), open(path, "wb") as file:
        size = size_of(selection)
        stream = _Stream(file)
        end = b""

        def written(table: "Table") -> bytes:
            write_out(table, selection, BYTES, widths=size.widths)  # masked arrays of integers can't be written
            return votable_with_rows(table, selection, meta)

        def write(table: "Table") -> None:
            nonlocal end
            xml = written(table)
            found = STREAM.search(xml)
            assert found is not None
            if not end:
                file.write(NROWS.sub(rb"\g<1>%d\g<2>" % size.rows, xml[: found.start(2)], count=1))
            end = xml[found.start(3) :]
            stream.write(base64.b64decode(found[2]))

        hand_on_parts(selection, size, write)
        stream.end()
        file.write(end or written(empty_part(selection, size)))
    return size.rows
