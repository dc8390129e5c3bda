"""Files of arrays whose bytes follow from the arrays alone, whenever and wherever they are made."""

import hashlib
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["npz_bytes", "write_whole"]


def npz_bytes(arrays: Mapping[str, ArrayLike], level: int | None = zlib.Z_DEFAULT_COMPRESSION) -> bytes:
    """Make the content of an npz file, without objects.

    Parameters
    ----------
    arrays : mapping of str to array_like
        Arrays, numbers and texts by their names.
    level : int, optional
        How hard to compress, from 0 to 9; None for not at all.

    Raises
    ------
    ValueError
        If an array has objects in it.
    """
    made = io.BytesIO()
    with ZipFile(made, "w", ZIP_STORED if level is None else ZIP_DEFLATED, compresslevel=level) as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            member = io.BytesIO()
            # A scalar would get a dimension.
            np.lib.format.write_array(member, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
            # Without a time: numpy.savez would write that of the day into the file.
            archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue(), archive.compression, level)
    return made.getvalue()


def write_whole(content: bytes, path: str | Path) -> str:
    """Write a file so that a reader finds it whole or as it was before, and give its SHA-256; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return hashlib.sha256(content).hexdigest()
