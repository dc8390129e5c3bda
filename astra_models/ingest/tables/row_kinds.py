"""Which kind of spectrum each row of a summary file is of: a table of a file may have several."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from astra_models.ingest.tables.values import Block, FileColumn

_OF_ASTRA = b"mwmVisit"


class RowKind(NamedTuple):
    """What kind of spectrum a row is of, as far as the row itself says it.

    Parameters
    ----------
    filetype : str
        Its column of that name.
    is_in_star : bool
        Of a row with the columns of a visit and of its place in an apStar file: whether the spectrum is the latter.
    is_boss : bool
        Of a row with the columns of both instruments: whether it is of BOSS.
    """

    filetype: str = ""
    is_in_star: bool = False
    is_boss: bool = False


class RowKinds:
    """Tells rows of different kinds apart.

    Parameters
    ----------
    columns : sequence of FileColumn
        The columns of a table.
    """

    def __init__(self, columns: Sequence[FileColumn]):
        by_name = {column.name: column for column in columns if not column.unreadable}
        self._filetype = by_name.get("filetype")
        spectrum_pk, reduced_pk = by_name.get("spectrum_pk"), by_name.get("drp_spectrum_pk")
        self._pks = (spectrum_pk, reduced_pk) if spectrum_pk and reduced_pk and "apstar" in by_name else None
        self._apred = by_name.get("apred") if "run2d" in by_name else None

    def __call__(self, block: Block) -> list[tuple[RowKind, np.ndarray]]:
        """Give the kinds of rows in a block, and which rows are of each."""
        n_rows = len(block)
        filetypes = np.zeros(n_rows, "S1") if self._filetype is None else block.values(self._filetype)
        is_in_star, is_boss = self._in_star(block, filetypes), self._of_boss(block)
        codes = is_in_star * 2 + is_boss
        if n_rows and not ((filetypes == filetypes[0]).all() and (codes == codes[0]).all()):
            distinct, of_row = np.unique(filetypes, return_inverse=True)
            codes = codes + 4 * of_row
        else:
            distinct = filetypes[:1]
        found = []
        for code in dict.fromkeys(codes.tolist()) or [0]:
            filetype = distinct[code // 4].decode("latin-1").strip() if len(distinct) else ""
            found.append((RowKind(filetype, bool(code & 2), bool(code & 1)), np.flatnonzero(codes == code)))
        return found

    def _in_star(self, block: Block, filetypes: np.ndarray) -> np.ndarray:
        if self._pks is None:
            return np.zeros(len(block), np.int64)
        spectrum_pk, reduced_pk = (np.ma.filled(block.values(column), 0) for column in self._pks)
        return ((reduced_pk > 0) & (spectrum_pk != reduced_pk) & (filetypes != _OF_ASTRA)).astype(np.int64)

    def _of_boss(self, block: Block) -> np.ndarray:
        if self._apred is None:
            return np.zeros(len(block), np.int64)
        return (np.char.strip(block.values(self._apred)) == b"").astype(np.int64)
