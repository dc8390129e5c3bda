"""Finding the sources and spectra that the rows of a result file are of, whole columns at a time.

Rows of a file are of the same source if they share the strongest identifier that they have. A source, or a spectrum,
that is in the database already keeps its key. A new one keeps the key that the file gives it, if that is free.

Where it is likely that all are new, the database isn't asked for each: its unique constraints tell if that was wrong,
and the rows are looked at again, carefully.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astra_models.columns.typed import Column
from astra_models.ingest.rows.sources import IDENTIFIERS, UNIQUE
from astra_models.source import Source
from astra_models.spectrum import Spectrum
from astra_models.upsert.batch import Batch
from astra_models.upsert.lookup import find_a_few, find_rows, hand_out_keys


@dataclass
class Links:
    """Which things (sources, spectra) rows are of.

    Parameters
    ----------
    group : ndarray of int, shape (n_rows,)
        For each row, the number of its thing; -1 if it says nothing by which it could be found.
    row : ndarray of int, shape (n_groups,)
        For each thing, the last row that is of it.
    key : ndarray of int, shape (n_groups,)
        For each thing, its primary key.
    is_new : ndarray of bool, shape (n_groups,)
        Whether it is not in the database yet.
    """

    group: np.ndarray
    row: np.ndarray
    key: np.ndarray
    is_new: np.ndarray

    @property
    def keys_of_rows(self) -> np.ndarray:
        """For each row, the key of its thing; 0 where there is none."""
        return np.where(self.group >= 0, self.key[self.group], 0) if len(self.key) else np.zeros(len(self.group), int)


def link_sources(columns: Mapping[str, Column], wanted: Column | None, careful: bool) -> Links:
    """Find or number the sources of rows.

    Parameters
    ----------
    columns : mapping of str to Column
        Those of the source that the file has. Identifiers that another source has are set to NULL in them.
    wanted : Column or None
        The keys that the file gives the sources.
    careful : bool
        Whether to ask the database about every identifier and key.
    """
    identifiers = {name: columns[name] for name in IDENTIFIERS if name in columns}
    group = _same_identity(identifiers)
    links = _links(group)
    representative = {name: column.take(links.row) for name, column in identifiers.items()}
    _find_sources(links, representative, careful)
    _number_new(Source, links, wanted, careful)
    for name in UNIQUE:
        if name in columns:
            _leave_out_what_others_have(name, columns[name], links, careful)
    return links


def link_spectra(
    model: Any, natural_key: Sequence[str], columns: Mapping[str, Column], wanted: Column | None, careful: bool
) -> Links:
    """Find or number the spectra of rows.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    natural_key : sequence of str
        The columns that together say which spectrum it is.
    columns : mapping of str to Column
        Those of the spectrum that the file has.
    wanted : Column or None
        The keys that the file gives the spectra.
    careful : bool
        Whether to ask the database about every spectrum and key.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    names = zip(*(_comparable(columns[name]).tolist() for name in natural_key), strict=True)
    links = _links(np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int))
    keys = {model._meta.fields[name]: columns[name].take(links.row).values for name in natural_key}
    if careful or find_a_few(model, keys)[0]:
        for place, spectrum_pk in find_rows(model, keys, [model._meta.fields["spectrum_pk"]]):
            if spectrum_pk is not None:
                links.key[place], links.is_new[place] = spectrum_pk, False
    _number_new(Spectrum, links, wanted, careful)
    return links


def link_results(batch: Batch, wanted: Column | None, careful: bool) -> Links:
    """Find or number results, each row of its own.

    Parameters
    ----------
    batch : Batch
        Results, each key once, with the keys of their sources and spectra.
    wanted : Column or None
        The keys that the file gives the results.
    careful : bool
        Whether to ask the database about every result and key.
    """
    model = batch.plan.model
    links = _links(np.arange(len(batch)))
    if careful or find_a_few(model, batch.keys())[0]:
        for place, primary_key in find_rows(model, batch.keys(), [model._meta.primary_key]):
            links.key[place], links.is_new[place] = primary_key, False
    _number_new(model, links, wanted, careful)
    return links


def _comparable(column: Column) -> np.ndarray:
    """Give values that NumPy can sort, NULL as the same everywhere."""
    if column.values.dtype != object:
        return np.where(column.null, 0, column.values)
    return np.where(column.null, "", column.values).astype(str)


def _links(group: np.ndarray) -> Links:
    n_groups = int(group.max(initial=-1)) + 1
    row = np.zeros(n_groups, int)
    has_one = group >= 0
    row[group[has_one]] = np.flatnonzero(has_one)  # of several, NumPy keeps the last
    return Links(group, row, np.zeros(n_groups, np.int64), np.ones(n_groups, bool))


def _same_identity(identifiers: Mapping[str, Column]) -> np.ndarray:
    """Give each row the number of its object; -1 to rows without any identifier."""
    n_rows = len(next(iter(identifiers.values())).values) if identifiers else 0
    group = np.full(n_rows, -1)
    for column in identifiers.values():
        todo = (group < 0) & ~column.null
        if not todo.any():
            continue
        values = _comparable(column)
        done = (group >= 0) & ~column.null
        known, first = np.unique(values[done], return_index=True)
        if len(known):
            place = np.minimum(np.searchsorted(known, values), len(known) - 1)
            same = todo & (known[place] == values)
            group[same] = group[done][first][place[same]]
            todo &= ~same
        group[todo] = group.max(initial=-1) + 1 + np.unique(values[todo], return_inverse=True)[1]
    return group


def _find_sources(links: Links, identifiers: Mapping[str, Column], careful: bool) -> None:
    """Look sources up by one identifier after the other, the strongest first."""
    names = list(identifiers)
    for place, name in enumerate(names):
        column, stronger = identifiers[name], names[:place]
        field = Source._meta.fields[name]
        sought = np.flatnonzero(links.is_new & ~column.null)
        keys = {field: column.values[sought]}
        if not len(sought) or (name in UNIQUE and not careful and not find_a_few(Source, keys)[0]):
            continue
        for found, pk, *others in find_rows(Source, keys, [Source._meta.fields[other] for other in ("pk", *stronger)]):
            row = int(sought[found])
            if not _contradicted(others, [identifiers[other] for other in stronger], row):
                links.key[row], links.is_new[row] = pk, False


def _contradicted(stored: Sequence[Any], ours: Sequence[Column], row: int) -> bool:
    """Tell whether an identifier that is stronger than the one that matched says that these are two sources."""
    return any(
        value is not None and not column.null[row] and column.values[row] != value
        for value, column in zip(stored, ours, strict=True)
    )


def _number_new(model: Any, links: Links, wanted: Column | None, careful: bool) -> None:
    """Give new things the keys that the file gives them, as far as these are free, else the database's next ones."""
    new = np.flatnonzero(links.is_new)
    if not len(new):
        return
    keys = np.zeros(len(new), np.int64)
    if wanted is not None:
        asked = wanted.take(links.row[new])
        keys = np.where(asked.null, 0, asked.values)
    keep = np.zeros(len(new), bool)
    keep[np.unique(keys, return_index=True)[1]] = True
    keep &= (keys > 0) & ~np.isin(keys, links.key[~links.is_new])
    if careful and keep.any():
        places = np.flatnonzero(keep)
        for place, *_ in find_rows(model, {model._meta.primary_key: keys[places]}):
            keep[places[place]] = False
    highest = int(keys[keep].max(initial=0))
    keys[~keep] = hand_out_keys(model, int((~keep).sum()), above=highest)
    links.key[new] = keys


def _leave_out_what_others_have(name: str, column: Column, links: Links, careful: bool) -> None:
    """Set an identifier to NULL where another source has it: two sources can't share one, and are never merged."""
    values, null = column.values[links.row], column.null[links.row]
    present = np.flatnonzero(~null)
    firsts = np.unique(_comparable(column)[links.row][present], return_index=True)[1]
    taken = np.setdiff1d(present, present[firsts])
    if careful and len(present):
        holders = find_rows(Source, {Source._meta.fields[name]: values[present]}, [Source._meta.fields["pk"]])
        others = [present[place] for place, pk in holders if pk != links.key[present[place]]]
        taken = np.union1d(taken, np.array(others, dtype=int))
    if len(taken):
        column.null[np.isin(links.group, taken)] = True
