"""Which kind of spectrum a file holds, detected from its content and never from its name."""

import os

from astra_models.configuration import file_limits
from astra_models.errors import UnknownKindError, UnrecognizedFileError
from astra_models.fits.door import refusing
from astra_models.fits.star_file import FitsFile
from astra_models.ingest.spectra.apogee_star import AP_STAR
from astra_models.ingest.spectra.apogee_visit import AP_VISIT
from astra_models.ingest.spectra.boss import TEMPLATE, VISIT
from astra_models.ingest.spectra.content import FileContent
from astra_models.ingest.spectra.mwm import MWM_STAR, MWM_VISIT

KINDS = (MWM_STAR, MWM_VISIT, AP_STAR, AP_VISIT, VISIT, TEMPLATE)
LOOKED_FOR = ", ".join(kind.looked_for for kind in KINDS)


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
        says what was looked for. Whatever a reader raises becomes this.
    ConfigurationError
        If the configuration says what can't be a size.
    """
    largest = file_limits().largest_spectrum
    with refusing():
        file = FitsFile(os.path.abspath(path), largest=largest)
        for kind in KINDS:
            if kind.recognises(file):
                return kind.read(file)
        file.require_data(len(file.hdus) - 1, "data")
        raise UnknownKindError(f"it is no spectrum that is known: looked for {LOOKED_FOR}; found {file.describe()}")


def why_no_spectrum(path: str | os.PathLike[str]) -> UnrecognizedFileError | None:
    """Tell why a file can't be read as one of spectra; None if it can.

    Parameters
    ----------
    path : str or Path
        Any file.
    """
    try:
        read_spectrum_file(path)
    except UnrecognizedFileError as error:
        return error
    return None


def what_is_in(path: str | os.PathLike[str]) -> str:
    """Say which HDUs a FITS file has.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read.
    """
    with refusing():
        return FitsFile(os.path.abspath(path), largest=file_limits().largest_spectrum).describe()
