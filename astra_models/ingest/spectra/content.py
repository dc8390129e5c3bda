"""What a spectrum file comes to: values of a source, and of rows in the tables of spectra."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from astra_models.fits.star_file import FitsFile
from astra_models.spectrum import SpectrumMixin

Values = dict[str, Any]


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
    notes : list of str
        What the file has that is not kept.
    """

    path: str
    source: Values | None
    spectra: Sequence[tuple[type[SpectrumMixin], Values]]
    notes: list[str] = field(default_factory=list)


class Kind(NamedTuple):
    """A kind of file: by what it is recognised, said and done, and how it is read."""

    looked_for: str
    recognises: Callable[[FitsFile], bool]
    read: Callable[[FitsFile], FileContent]


class From(NamedTuple):
    """Where a column's value is found: the first of some names that has one, and how it is converted."""

    convert: Callable[[Any], Any]
    names: tuple[str, ...]


def take(columns: Mapping[str, From], *places: Any) -> Values:
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


def _first(places: tuple[Any, ...], convert: Callable[[Any], Any], names: tuple[str, ...]) -> Any:
    for name in names:
        for place in places:
            value = place.get(name)
            found = None if value is None else convert(value)
            if found is not None:
                return found
    return convert(None)
