"""FITS files as others read them: astropy, and fitsverify."""

import shutil
import subprocess
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from astra_models.fits.text import unescape

FITSVERIFY = shutil.which("fitsverify")
needs_fitsverify = pytest.mark.skipif(FITSVERIFY is None, reason="fitsverify is not installed (Debian: fitsverify)")


@contextmanager
def opened(path: str | Path) -> Iterator[fits.HDUList]:
    """Open a file with astropy, its checksums compared; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True, memmap=False) as hdus:
            for hdu in hdus:
                hdu.verify("exception")
            yield hdus


def rows_of(hdu: Any, lists: Collection[str] = ()) -> list[dict[str, Any]]:
    """Give a table's rows as Python values, None where missing; `lists` are lists also where none is longer than 1."""
    columns = {column.name: _values(column, hdu.data[column.name], column.name in lists) for column in hdu.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: Any, read: Any, is_list: bool) -> list[Any]:
    if column.format == "L":
        return [bool(value) for value in read]
    if column.format.endswith("A"):
        return [unescape(value) or None for value in read]
    if read.dtype.kind == "f" and (is_list or read.ndim > 1):
        return [without_padding(np.atleast_1d(value)) for value in read]
    if read.dtype.kind == "f":
        return [None if np.isnan(value) else float(value) for value in read]
    if column.format.endswith("B") and column.null is None:
        return [bytes(np.atleast_1d(value)).rstrip(b"\0") or None for value in read]
    return [None if value == column.null else int(value) for value in read]


def without_padding(values: Any) -> list[float | None] | None:
    """Give a list without the NaN at its end; None if nothing is left."""
    known = np.flatnonzero(~np.isnan(np.asarray(values, dtype=float)))
    if not len(known):
        return None
    return [None if np.isnan(value) else float(value) for value in values[: known[-1] + 1]]


def fitsverify(path: str | Path) -> str:
    """Give what fitsverify has to say; empty if nothing is wrong, not even a little."""
    done = subprocess.run([str(FITSVERIFY), "-q", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return "" if "verification OK" in done.stdout else done.stdout + done.stderr
