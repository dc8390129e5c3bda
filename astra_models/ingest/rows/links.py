"""Which spectra and results the rows of files are, and the primary keys of what is new.

A spectrum is found by its natural key, a result by its unique key. What is in the database keeps its primary key; a new
row keeps the key that the file gives it, if that is free.

Where it is likely that all are new, the database isn't asked for each: its unique constraints tell if that was wrong,
and the rows are looked at again, carefully.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import peewee

from astra_models.apogee import ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.base import BaseModel, bound_schema, database
from astra_models.boss import BossVisitSpectrum
from astra_models.columns.typed import Column
from astra_models.mwm import BossRestFrameVisitSpectrum
from astra_models.outputs import all_models
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.upsert.batch import Batch
from astra_models.upsert.lookup import find_a_few, find_rows, hand_out_keys

MADE_OF: dict[type[SpectrumMixin], tuple[type[SpectrumMixin], tuple[str, ...]]] = {
    BossRestFrameVisitSpectrum: (BossVisitSpectrum, ("run2d", "fieldid", "mjd", "catalogid")),
    ApogeeVisitSpectrumInApStar: (ApogeeVisitSpectrum, ("apred", "telescope", "plate", "mjd", "fiber")),
}
"""Spectra whose ``drp_spectrum_pk`` is the key of a visit, and the columns that both have."""

VISITS_AT_ONCE = 100

Columns = Mapping[str, Column]
Key = tuple[object, ...]


@dataclass
class Links:
    """Which things (sources, spectra, results) rows are of.

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

    def gathered(self, column: Column, first: bool) -> Column:
        """Give each thing the first, or the last, value that its rows have for a column."""
        if len(self.row) == len(self.group):
            return column.take(self.row)
        places = np.flatnonzero(~column.null & (self.group >= 0))
        row = self.row.copy()
        row[self.group[places]] = places  # of several, NumPy keeps the last
        if first:
            row[self.group[places[::-1]]] = places[::-1]
        return column.take(row)


def link_spectra(model: type[SpectrumMixin], columns: Columns, wanted: Column | None, careful: bool) -> Links:
    """Find or number the spectra of rows.

    Parameters
    ----------
    model : type
        The kind of spectrum.
    columns : mapping of str to Column
        Those of the spectrum that the file has.
    wanted : Column or None
        The keys that the file gives the spectra.
    careful : bool
        Whether to ask the database about every spectrum and key.
    """
    numbers: dict[Key, int] = {}
    names = zip(*(_comparable(columns[name]).tolist() for name in model.natural_key), strict=True)
    links = links_of(np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int))
    keys = {model._meta.fields[name]: columns[name].take(links.row).values for name in model.natural_key}
    if careful or find_a_few(model, keys)[0]:
        for place, spectrum_pk in find_rows(model, keys, [model._meta.fields["spectrum_pk"]]):
            if spectrum_pk is not None:
                links.key[place], links.is_new[place] = spectrum_pk, False
    number_new(Spectrum, links, wanted, careful)
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
    links = links_of(np.arange(len(batch)))
    if careful or find_a_few(model, batch.keys())[0]:
        for place, primary_key in find_rows(model, batch.keys(), [batch.plan.primary_key]):
            links.key[place], links.is_new[place] = primary_key, False
    number_new(model, links, wanted, careful)
    return links


def find_visits(model: type[SpectrumMixin], columns: Columns) -> np.ndarray:
    """Find the visits that spectra are made of: those of the same release, if there are any, else the newest.

    Parameters
    ----------
    model : type
        The kind of spectrum, one of `MADE_OF`.
    columns : mapping of str to Column
        Those of the spectra.

    Returns
    -------
    ndarray of int
        For each spectrum, the key of its visit; 0 where there is none.
    """
    visit, shared = MADE_OF[model]
    names = list(zip(*(columns[name].values.tolist() for name in shared), strict=True))
    fields = [visit._meta.fields[name] for name in (*shared, "release", "spectrum_pk")]
    known: dict[Key, int] = {}
    distinct = list(dict.fromkeys(names))
    for start in range(0, len(distinct), VISITS_AT_ONCE):
        wanted = [_all_equal(fields, name) for name in distinct[start : start + VISITS_AT_ONCE]]
        query = visit.select(*fields).where(_any_of(wanted)).order_by(visit.spectrum_pk)
        for *name, release, spectrum_pk in database.execute(query):
            known[tuple(name)] = known[*name, release] = spectrum_pk
    releases = columns["release"].values.tolist()
    found = [known.get((*name, release), known.get(name, 0)) for name, release in zip(names, releases, strict=True)]
    return np.array(found, np.int64)


def _all_equal(fields: Sequence[peewee.Field], values: Key) -> peewee.Expression:
    return functools.reduce(operator.and_, (field == value for field, value in zip(fields, values, strict=False)))


def _any_of(conditions: list[peewee.Expression]) -> peewee.Expression:
    """Combine conditions pair by pair: SQLite can't parse a hundred levels of brackets."""
    while len(conditions) > 1:
        pairs = (conditions[i : i + 2] for i in range(0, len(conditions), 2))
        conditions = [functools.reduce(operator.or_, pair) for pair in pairs]
    return conditions[0]


def _comparable(column: Column) -> np.ndarray:
    """Give values that NumPy can sort, NULL as the same everywhere."""
    if column.values.dtype != object:
        return np.where(column.null, 0, column.values)
    return np.where(column.null, "", column.values).astype(str)


def links_of(group: np.ndarray) -> Links:
    """Make links of the numbers of things, one a row; all of them are new."""
    n_groups = int(group.max(initial=-1)) + 1
    row = np.zeros(n_groups, int)
    has_one = group >= 0
    row[group[has_one]] = np.flatnonzero(has_one)  # of several, NumPy keeps the last
    return Links(group, row, np.zeros(n_groups, np.int64), np.ones(n_groups, bool))


def number_new(model: type[BaseModel], links: Links, wanted: Column | None, careful: bool) -> None:
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
        primary_key = cast(peewee.Field, model._meta.primary_key)
        for place, *_ in find_rows(model, {primary_key: keys[places]}):
            keep[places[place]] = False
    highest = int(keys[keep].max(initial=0))
    keys[~keep] = hand_out_keys(model, int((~keep).sum()), above=highest)
    links.key[new] = keys


def stored_spectra(spectrum_pk: np.ndarray, source_pk: np.ndarray) -> np.ndarray:
    """Find the numbers of spectra that are those of stored ones of the same source.

    Parameters
    ----------
    spectrum_pk, source_pk : ndarray of int, shape (n_spectra,)
        The numbers, and the keys of the sources; 0 where there is none.

    Returns
    -------
    ndarray of bool, shape (n_spectra,)
    """
    found = np.zeros(len(spectrum_pk), bool)
    places = [row[0] for row in find_rows(Spectrum, {Spectrum._meta.fields["pk"]: spectrum_pk})]
    if not places:
        return found
    there = np.array(sorted(places))
    tables = set(database.get_tables(schema=bound_schema()))
    of_spectra = [model for model in all_models() if {"spectrum_pk", "source_pk"} <= model._meta.fields.keys()]
    for model in (model for model in of_spectra if model._meta.table_name in tables):
        field = model._meta.fields["spectrum_pk"]
        of_source = model._meta.fields["source_pk"]
        rows = find_rows(model, {field: spectrum_pk[there]}, [of_source])
        for place, owner in rows:
            found[there[place]] |= (owner or 0) == source_pk[there[place]]
    return found
