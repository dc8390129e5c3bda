"""What is read from a file of spectra: values of a source, and of rows in the tables of spectra and results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from astra_models.fits.star_file import FitsFile
from astra_models.ingest.spectra.values import Convert, Value
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin

Values = dict[str, Value]


class Place(Protocol):
    """Where values are looked up by name: a header, or a row of a table."""

    def get(self, name: str, /) -> object:
        """Give a value; None if there is none."""
        ...


@dataclass(frozen=True)
class FileContent:
    """What was read from one file.

    Parameters
    ----------
    path : str
        The file, absolute.
    source : dict or None
        Values of the source's columns; None if the spectrum is not of one object on the sky.
    spectra : sequence of (type, dict)
        For each spectrum, the model and the values of its columns.
    results : sequence of (type, dict)
        Results of its one spectrum, likewise. A file with results is not where the spectrum itself is: a row of the
        spectrum that is stored stays as it is, and one is made only if there is none.
    """

    path: str
    source: Values | None
    spectra: Sequence[tuple[type[SpectrumMixin], Values]]
    results: Sequence[tuple[type[PipelineOutputMixin], Values]] = ()


class Kind(NamedTuple):
    """A kind of file: what it is detected from, for messages and as a test, and how it is read.

    Parameters
    ----------
    looked_for : str
        What it is and what it is detected from, for messages.
    recognises : callable
        Tells whether a file is of this kind.
    read : callable
        Reads it; raises `UnrecognizedFileError` for one that can't be ingested.
    takes_release : bool
        Whether `read` takes the data release, which may be None, as a second argument.
    models : tuple of type
        Tables of spectra that no other kind of ours fills.
    """

    looked_for: str
    recognises: Callable[[FitsFile], bool]
    read: Callable[..., FileContent]
    takes_release: bool = False
    models: tuple[type[SpectrumMixin], ...] = ()


class From(NamedTuple):
    """Where a column's value is found: the first of some names that has one, and how it is converted."""

    convert: Convert
    names: tuple[str, ...]


def take(columns: Mapping[str, From], *places: Place) -> Values:
    """Look up the values of columns.

    Parameters
    ----------
    columns : mapping of str to From
        What is wanted, by the column's name.
    *places : mappings with ``get``
        Where to look: for each name in turn, in every place.

    Returns
    -------
    dict
        A value for every column, None (or what `From.convert` gives for it) where there is none.
    """
    return {column: _first(place, *source) for column, source in columns.items() for place in [places]}


def _first(places: tuple[Place, ...], convert: Convert, names: tuple[str, ...]) -> Value:
    for name in names:
        for place in places:
            value = place.get(name)
            found = None if value is None else convert(value)
            if found is not None:
                return found
    return convert(None)
