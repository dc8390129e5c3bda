"""What files of spectra would become if they were ingested; no database is needed to tell."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from astra_models.errors import UnrecognizedFileError
from astra_models.ingest.rows.sources import SourceMatcher
from astra_models.ingest.spectra.content import FileContent
from astra_models.ingest.spectra.files import MODELS, read_checked
from astra_models.source import Source


@dataclass
class SpectraPreview:
    """What files of spectra would become.

    Parameters
    ----------
    rows : dict of str to int
        Per table, the rows that the files have for it, each once.
    columns : dict of str to dict
        Per table, the columns that they have values for, in the order of the table.
    refused : list of (str, str)
        Path and reason of each file that would not be ingested.
    files : int
        How many different files were given.
    """

    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0


def preview_spectra(paths: Iterable[str | Path]) -> SpectraPreview:
    """Read files of spectra, and tell what they would become.

    Parameters
    ----------
    paths : iterable of str or Path
        Files. A file that is named twice is read once.
    """
    preview = SpectraPreview()
    matcher = SourceMatcher([])
    sources: set[int] = set()
    spectra: dict[str, set[tuple[object, ...]]] = {}
    filled: dict[str, set[str]] = {}
    for path in dict.fromkeys(os.path.abspath(path) for path in paths):
        preview.files += 1
        try:
            content = read_checked(path)
        except UnrecognizedFileError as error:
            preview.refused.append((path, str(error)))
            continue
        if content.source is not None:
            sources.add(id(matcher.match(content.source)))
        _add(content, spectra, filled)
    counts = {Source._meta.table_name: len(sources)} | {name: len(keys) for name, keys in spectra.items()}
    for model in (Source, *MODELS):
        name = model._meta.table_name
        if counts.get(name):
            preview.rows[name] = counts[name]
            preview.columns[name] = {column: column for column in model._meta.fields if column in filled.get(name, ())}
    return preview


def _add(content: FileContent, spectra: dict[str, set[tuple[object, ...]]], filled: dict[str, set[str]]) -> None:
    of_source = filled.setdefault(Source._meta.table_name, set())
    of_source.update(name for name, value in (content.source or {}).items() if value is not None)
    for model, values in content.spectra:
        name = model._meta.table_name
        spectra.setdefault(name, set()).add(tuple(values[column] for column in model.natural_key))
        filled.setdefault(name, set()).update(column for column, value in values.items() if value is not None)
