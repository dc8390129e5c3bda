"""Which kind of spectrum a file holds, detected from its content and never from its name."""

import logging
import os

from astra_models.configuration import file_limits
from astra_models.errors import UnknownKindError, UnknownReleaseError, UnrecognizedFileError
from astra_models.fits.door import refusing
from astra_models.fits.star_file import FitsFile
from astra_models.ingest.spectra.content import FileContent, Kind
from astra_models.ingest.spectra.kinds import OURS, other_kinds
from astra_models.messages import said
from astra_models.spectrum import SpectrumMixin

logger = logging.getLogger(__name__)

KINDS = OURS
_UNKNOWN = "it is no spectrum that is known: looked for "


def looked_for() -> str:
    """Say which kinds of files are known, for messages."""
    others = other_kinds()
    return ", ".join((*(kind.looked_for for kind in (*KINDS, *others.kinds)), *others.problems))


def more_models() -> tuple[type[SpectrumMixin], ...]:
    """Give the tables of spectra that files of other packages' kinds go into."""
    return other_kinds().more_models


def read_spectrum_file(path: str | os.PathLike[str], release: str | None = None) -> FileContent:
    """Detect what a file is, and read what it says of its spectra and their source.

    Parameters
    ----------
    path : str or Path
        A FITS file, gzipped or not.
    release : str, optional
        The data release, for files that don't say it.

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
        ours = next((kind for kind in KINDS if kind.recognises(file)), None)
        if ours is not None:
            try:
                return _read(ours, file, release)
            except UnrecognizedFileError:
                if (other := _other_kind(file)) is None:
                    raise
                return _read(other, file, release)
        if (other := _other_kind(file)) is not None:
            return _read(other, file, release)
        file.require_data(len(file.hdus) - 1, "data")
        raise UnknownKindError(f"{_UNKNOWN}{looked_for()}; found {file.describe()}")


def _read(kind: Kind, file: FitsFile, release: str | None) -> FileContent:
    return kind.read(file, release) if kind.takes_release else kind.read(file)


def _other_kind(file: FitsFile) -> Kind | None:
    """Give the kind of another package that a file is of: ours may look like it, and lack what identifies them."""
    return next((kind for kind in other_kinds().kinds if _recognises(kind, file)), None)


def _recognises(kind: Kind, file: FitsFile) -> bool:
    """Ask a kind of another package whether a file is of it; one that fails is said, and doesn't recognise the file."""
    try:
        return bool(kind.recognises(file))
    except (Exception, SystemExit) as error:
        logger.warning("%s: whether it is %s can't be told: %s", file.path, kind.looked_for, said(error))
        return False


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


def is_of_spectra(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file can be read as one of spectra, once it is known of which data release it is.

    Parameters
    ----------
    path : str or Path
        Any file.
    """
    problem = why_no_spectrum(path)
    return problem is None or isinstance(problem, UnknownReleaseError)


def what_is_in(path: str | os.PathLike[str]) -> str:
    """Say which HDUs a FITS file has.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read.
    """
    with refusing():
        return FitsFile(os.path.abspath(path), largest=file_limits().largest_spectrum).describe()
