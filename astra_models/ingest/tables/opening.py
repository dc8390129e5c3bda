"""Files of results, read into columns of our tables.

`open_result_file` tells what a file is and where each of its columns goes; `Part.chunks` then gives the values, some
rows at a time, so that memory doesn't grow with the file.
"""

import os
from collections.abc import Callable
from typing import Literal

from astra_models.errors import ConfigurationError, UnknownKindError, UnrecognizedFileError
from astra_models.fits.byte_stream import ByteStream, TruncatedGzipError
from astra_models.fits.door import refusing
from astra_models.fits.hdu import Hdu
from astra_models.fits.stream import FitsScan, NotFitsError, scan
from astra_models.ingest.tables.mapped import open_mapped_fits, open_mapped_table
from astra_models.ingest.tables.mapping import GivenMapping, Mapping, MappingError, load_mapping, own_mappings
from astra_models.ingest.tables.own_exports import open_own_fits, open_own_table
from astra_models.ingest.tables.parts import Chunk, Part, ResultFile
from astra_models.ingest.tables.recognise import SpectrumFileError
from astra_models.ingest.tables.summaries import open_summary

__all__ = [
    "Chunk",
    "Mapping",
    "MappingError",
    "Part",
    "ResultFile",
    "SpectrumFileError",
    "file_sha256",
    "kind_without_mapping",
    "open_result_file",
]

LOOKED_FOR = (
    "a summary of Astra (astraAllStar*, astraAllVisit*, astraMWMLite, mwmAllStar, mwmAllVisit, mwmTargets), APOGEE's "
    "allStar and allVisit, BOSS's spAll"
)
NEEDS_MAPPING = "a table of another format needs a mapping of its columns (--mapping)"
AGAIN = "fetch it again"
_PER_PIXEL = {"FLUX", "LOGLAM"}
OR_READ = ", or read what is whole of it (--damaged)"


def open_result_file(
    path: str | os.PathLike[str],
    mapping: GivenMapping | None = None,
    *,
    damaged: Literal["refuse", "read"] = "refuse",
    progress: Callable[[int], None] | None = None,
) -> ResultFile:
    """Detect from its content what a file of results is, and go through it once to see that it is whole.

    Parameters
    ----------
    path : str or Path
        A FITS file, gzipped or not; with a mapping, any table that astropy reads.
    mapping : Mapping, path or dict, optional
        Which columns go where, for a file that isn't the survey's: a YAML file, or what is in one.
    damaged : {"refuse", "read"}, optional
        What to do about a truncated file and a wrong checksum: refuse it, or note it and read the rows there are.
    progress : callable, optional
        Called with the number of bytes of the file that were read so far.

    Returns
    -------
    ResultFile
        What it is, and its tables. No rows are kept.

    Raises
    ------
    UnrecognizedFileError
        If it can't be read, is damaged, or is of no kind that is known.
    SpectrumFileError
        If it is the file of one star's spectra.
    MappingError
        If the mapping is wrong, or doesn't fit the file.
    """
    path = os.path.abspath(path)
    try:
        with refusing(MappingError, ConfigurationError):
            return _open(path, mapping, damaged, progress)
    except (UnrecognizedFileError, MappingError) as error:
        raise type(error)(f"{path}: {error}") from error


def kind_without_mapping(path: str | os.PathLike[str]) -> str | None:
    """Say what a file is that can be ingested as it is; None if it needs a mapping."""
    try:
        return open_result_file(path).kind
    except SpectrumFileError:
        return "the file of one star's spectra"
    except (UnrecognizedFileError, MappingError):
        return None


def _open(path: str, mapping: GivenMapping | None, damaged: str, progress: Callable[[int], None] | None) -> ResultFile:
    told = None if mapping is None else load_mapping(mapping)
    try:
        found = scan(path, progress, look=_require_no_spectrum if told is None else lambda hdu: None)
    except NotFitsError as error:
        if told is None and (own := open_own_table(path, *file_sha256(path))) is not None:
            return own
        if told is None:
            raise NotFitsError(f"{error}; {NEEDS_MAPPING}") from error
        return open_mapped_table(path, told, *file_sha256(path, progress))
    except TruncatedGzipError as error:
        raise UnrecognizedFileError(f"{error}; {AGAIN}") from error
    if found.problems and damaged == "refuse":
        problems = "; ".join(found.problems)
        raise UnrecognizedFileError(f"{problems.removesuffix(AGAIN).rstrip('; ')}; {AGAIN}{OR_READ}")
    file = (
        open_mapped_fits(found, told) if told else open_own_fits(found) or open_summary(found) or _by_own_mapping(found)
    )
    file.notes += found.problems
    return file


def _require_no_spectrum(hdu: Hdu) -> None:
    """Check that a table has no row per pixel, before all of it is read."""
    if hdu.columns.keys() >= _PER_PIXEL:
        raise SpectrumFileError(
            f"it is the file of one star's spectra (HDU {hdu.number} has a row per pixel), not a summary of many: "
            "ingest it as a spectrum"
        )


def _by_own_mapping(found: FitsScan) -> ResultFile:
    for mapping in own_mappings():
        if any(mapping.recognises(column.name for column in table.columns) for table in found.tables):
            return open_mapped_fits(found, mapping)
    shown = "; ".join(
        f"HDU {table.number}: {table.n_rows} rows ({', '.join(column.name for column in table.columns[:4])}, ...)"
        for table in found.tables[:4]
    )
    raise UnknownKindError(
        f"it is no file of results that is known: looked for {LOOKED_FOR}; found {shown or 'no table'}. A mapping can "
        "say which columns go where"
    )


def file_sha256(path: str | os.PathLike[str], progress: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Give the SHA-256 and the size of a file, without looking at what is in it."""
    with ByteStream(os.fspath(path), hashed=True, plain=True, progress=progress) as stream:
        return stream.sha256(), stream.size
