"""Reading a FITS file back, to see that all of it is there as it was written."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from astra_models.errors import DamagedProductError, UnrecognizedFileError
from astra_models.fits.header import FETCH_AGAIN
from astra_models.fits.stream import scan


def verify(path: str | Path, n_hdus: int | None = None) -> str:
    """Read a FITS file from its beginning to its end, and compare all of its checksums.

    Parameters
    ----------
    path : str or Path
        A FITS file, gzipped or not. Each of its HDUs has to have both checksums.
    n_hdus : int, optional
        How many HDUs it has to have.

    Returns
    -------
    str
        The file's SHA-256.

    Raises
    ------
    DamagedProductError
        If a checksum is wrong or missing, the file ends too early, or there is anything after its last HDU.
    """
    with ThreadPoolExecutor(1) as pool:
        sha256 = pool.submit(_sha256, path)
        try:
            found = scan(os.fspath(path), hashed=False)
        except UnrecognizedFileError as error:
            raise _damaged(path, [str(error)]) from error
    if problems := found.problems + found.remarks:
        raise _damaged(path, problems)
    if n_hdus is not None and found.n_hdus != n_hdus:
        raise DamagedProductError(f"{path} has {found.n_hdus} HDUs, and not {n_hdus}; write it again")
    return sha256.result()


def _damaged(path: str | Path, problems: list[str]) -> DamagedProductError:
    found = "; ".join(problem.removesuffix(f"; {FETCH_AGAIN}") for problem in problems)
    return DamagedProductError(f"{path} doesn't read back: {found}; write it again")


def _sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
