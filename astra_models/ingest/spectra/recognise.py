"""Which kind of spectrum a file holds, detected from its content and never from its name."""

import os
import struct

from astra_models.errors import UnknownKindError, UnrecognizedFileError
from astra_models.fits.byte_stream import GZIP_MAGIC
from astra_models.fits.star_file import FitsFile
from astra_models.ingest.spectra.apogee_star import AP_STAR
from astra_models.ingest.spectra.apogee_visit import AP_VISIT
from astra_models.ingest.spectra.boss import TEMPLATE, VISIT
from astra_models.ingest.spectra.content import FileContent
from astra_models.ingest.spectra.mwm import MWM_STAR, MWM_VISIT

KINDS = (MWM_STAR, MWM_VISIT, AP_STAR, AP_VISIT, VISIT, TEMPLATE)
LOOKED_FOR = ", ".join(kind.looked_for for kind in KINDS)
LARGEST_GZIPPED = 20_000_000
"""Bytes. Whether a gzipped file that is larger is a spectrum isn't looked at: that is done in memory."""


def read_spectrum_file(path: str | os.PathLike[str]) -> FileContent:
    """Detect what a file is, and read what it says of its spectra and their source.

    Parameters
    ----------
    path : str or Path
        A FITS file, gzipped or not.

    Returns
    -------
    FileContent
        Values for the tables. No pixels are kept.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read, is of no kind that is known, or doesn't identify what was observed. The message
        says what was looked for.
    """
    try:
        file = FitsFile(os.path.abspath(path))
        for kind in KINDS:
            if kind.recognises(file):
                return kind.read(file)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, struct.error) as error:
        if isinstance(error, UnrecognizedFileError):
            raise
        raise UnrecognizedFileError(f"it is damaged ({type(error).__name__}: {error}); fetch it again") from error
    if not file.hdus[-1].is_complete:
        raise UnrecognizedFileError(f"the file is truncated in the data of HDU {len(file.hdus) - 1}; fetch it again")
    raise UnknownKindError(f"it is no spectrum that is known: looked for {LOOKED_FOR}; found {file.describe()}")


def why_no_spectrum(path: str | os.PathLike[str]) -> UnrecognizedFileError | None:
    """Tell why a file can't be read as one of spectra; None if it can.

    Parameters
    ----------
    path : str or Path
        Any file.
    """
    try:
        with open(path, "rb") as file:
            is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        if is_gzip and os.path.getsize(path) > LARGEST_GZIPPED:
            return UnrecognizedFileError("it is too large for the file of a spectrum")
        read_spectrum_file(path)
    except UnrecognizedFileError as error:
        return error
    except OSError as error:
        return UnrecognizedFileError(f"it can't be read: {error.strerror or error}")
    return None


def what_is_in(path: str | os.PathLike[str]) -> str:
    """Say which HDUs a FITS file has."""
    return FitsFile(os.path.abspath(path)).describe()
