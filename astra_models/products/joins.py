"""The rows of summary products: a source, its spectrum and a result, side by side.

Columns of the same name appear once, at the first of their places. Where a later one means something else, it isn't
lost but gets a longer name: ``spectrum_catalogid``, ``corv_v_rad``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import peewee

from astra_models.columns.headings import categories
from astra_models.errors import SelectionError
from astra_models.fields import BooleanField
from astra_models.pipeline import PipelineOutputMixin
from astra_models.products.beside import put_beside
from astra_models.products.query import Model, OutColumn, Query, Selection, named, of_version, select_model
from astra_models.products.spectrum_columns import DRP_SPECTRUM, OTHERS, SpectrumColumns
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin

Kind = type[SpectrumMixin]
Value = peewee.ColumnBase

NOT_PUBLISHED = {"pk", "path", "modified", "v_astra_major_minor", "pwd", "ferre_index", *PipelineOutputMixin.made_from}
"""Keys that mean nothing outside the database, paths of files, and the database's own records."""

OF_THE_SOURCE = ("sdss_id", "healpix")
"""Columns of a source that some kinds of spectra have, too."""

KEYS = ("source_pk", "spectrum_pk")
RECORD = ("created",)
CORRELATIONS = "rho_"
CONDITIONS = {"flag_warn": "Whether anything is flagged", "flag_bad": "Whether not to use the result"}


def with_source(model: Model, selection: Selection) -> Selection:
    """Put the columns of their sources beside rows of a model, as it is exported: identifiers, positions, all of them.

    A column whose name is taken has ``source_`` in front. The key is the row's own ``source_pk``.

    Raises
    ------
    SelectionError
        If the model's rows have no source.
    """
    if model is Source:
        return selection
    columns = _with_source_columns(model, selection.columns)
    return selection._replace(columns=columns, base=put_beside(selection.base, model, Source))


def select_with_source(model: Model, *, columns: str | None = None, **conditions: Any) -> Selection:
    """Select rows of a model with the columns of their sources beside them, named as by `with_source`.

    Parameters
    ----------
    model : type
        The model.
    columns : str, optional
        Only these columns, of the model's and the source's, with commas between them.
    **conditions
        As for `select_model`; those that are text may be about the source's columns, too.

    Raises
    ------
    SelectionError
        If the model's rows have no source, or neither has a column that is named.
    """
    if model is Source:
        return select_model(model, columns=columns, **conditions)
    _require_source(model)
    selection = select_model(model, joins=[Source], **conditions)
    own = [column for column in selection.columns if column.field.model is model]
    beside = _with_source_columns(model, own)
    return selection._replace(columns=beside if columns is None else named(model, beside, columns))


def _require_source(model: Model) -> None:
    if "source_pk" not in model._meta.fields:
        raise SelectionError(f"{model.__name__} has no source_pk, so none of its rows has a source; leave `source` out")


def _with_source_columns(model: Model, columns: list[OutColumn]) -> list[OutColumn]:
    _require_source(model)
    headings = categories(Source)
    beside = list(columns)
    taken = {name.lower() for name in model._meta.fields}
    for field in Source._meta.sorted_fields:
        if not field.primary_key:
            name = f"source_{field.name}" if field.name.lower() in taken else field.name
            beside.append(OutColumn(name, field, field, headings[field.name], nullable=True))
    return beside


def targets() -> Selection:
    """Select all sources."""
    return Selection(list(_source_columns({})), Source.select(), (Source.sdss_id, Source.pk))


def best_results(model: type[PipelineOutputMixin], major_minor: int) -> Selection:
    """Select results that are of sources and not of spectra, with their sources."""
    query = model.select().join(Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == model.source_pk))
    columns = _Columns(list(_source_columns({})))
    columns.add_results(model)
    return Selection(columns.given, query.where(of_version(model, major_minor * 1000)), (model.source_pk,))


def spectra(kinds: SpectrumColumns, major_minor: int) -> Selection:
    """Select spectra with their sources. Of the spectra that Astra made, only those of one version are selected."""
    models = [model for model in kinds.models if model.select(model.pk).exists()]
    base, models = (models[0], models) if len(models) == 1 else (Spectrum, models or list(kinds.models))
    query = base.select()
    for model in models if base is Spectrum else ():
        query = _join(query, base, model, peewee.JOIN.LEFT_OUTER, base.pk)
    conditions = [
        model._meta.fields["v_astra"].is_null() | of_version(model, major_minor * 1000)
        for model in models
        if hasattr(model, "v_astra")
    ]
    found = _Found(models)
    if base is Spectrum:
        conditions.append(found.is_any())
    query = query.join_from(base, Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == found.value("source_pk")))
    columns = _Columns(list(_source_columns(found.values(OF_THE_SOURCE))))
    columns.add_spectra(kinds, found, None)
    order = (Spectrum.pk,) if base is Spectrum else (base._meta.fields["spectrum_pk"], base._meta.fields["pk"])
    return Selection(columns.given, query.where(*conditions) if conditions else query, order)


def results(model: type[PipelineOutputMixin], kinds: SpectrumColumns, major_minor: int) -> Selection:
    """Select results of one version, with their spectra and sources."""
    is_current = of_version(model, major_minor * 1000)
    models = [kind for kind in kinds.models if _join(model.select(), model, kind).where(is_current).exists()]
    alone = len(models) == 1
    query = model.select().where(is_current)
    for kind in models or kinds.models:
        query = _join(query, model, kind, peewee.JOIN.INNER if alone else peewee.JOIN.LEFT_OUTER)
    found = _Found(models or list(kinds.models))
    query = found.join_drp(query)
    query = query.join_from(model, Source, peewee.JOIN.LEFT_OUTER, on=(Source.pk == model.source_pk))
    if not alone:
        query = query.where(found.is_any())
    columns = _Columns(list(_source_columns(found.values(OF_THE_SOURCE))))
    columns.add_spectra(kinds, found, model)
    columns.add_results(model)
    return Selection(columns.given, query, (model.spectrum_pk,), is_key=True)


def _join(query: Query, model: Model, kind: Kind, how: str = peewee.JOIN.INNER, key: Value | None = None) -> Query:
    key = model._meta.fields["spectrum_pk"] if key is None else key
    return query.join_from(model, kind, how, on=(kind._meta.fields["spectrum_pk"] == key))


def _source_columns(instead: dict[str, Value]) -> Iterator[OutColumn]:
    """Give the columns of a source; of a row without one, as far as possible what its spectrum says."""
    headings = categories(Source)
    for field in Source._meta.sorted_fields:
        if field.name in NOT_PUBLISHED or field.name in RECORD:
            continue
        other = instead.get(field.name)
        expression = field if other is None else peewee.fn.COALESCE(field, other)
        yield OutColumn(field.name, field, expression, headings[field.name], nullable=True)


class _Found:
    """The kinds of spectra that there are rows of, as joined into a query."""

    def __init__(self, models: list[Kind]):
        self.models = models
        self._drp = {model: DRP_SPECTRUM[model].alias() for model in models if model in DRP_SPECTRUM}

    def join_drp(self, query: Query) -> Query:
        """Join the visits that spectra were made of."""
        for model, drp in self._drp.items():
            on = drp.spectrum_pk == model._meta.fields["drp_spectrum_pk"]
            query = query.join_from(model, drp, peewee.JOIN.LEFT_OUTER, on=on)
        return query

    def is_any(self) -> peewee.Expression:
        """Make the condition that a row is of one of these kinds."""
        condition = self.models[0].pk.is_null(False)
        for model in self.models[1:]:
            condition |= model.pk.is_null(False)
        return condition

    def value(self, name: str) -> Value | None:
        """Give a column of whatever kind the row is of; None if no kind has it."""
        values = [self._of(model, name) for model in self.models]
        given = [value for value in values if value is not None]
        return peewee.fn.COALESCE(*given) if len(given) > 1 else (given or [None])[0]

    def values(self, names: tuple[str, ...]) -> dict[str, Value]:
        """Give several columns, as far as a kind has them."""
        return {name: value for name in names if (value := self.value(name)) is not None}

    def _of(self, model: Kind, name: str) -> Value | None:
        if name in model._meta.sorted_field_names:
            return getattr(model, name)
        drp = self._drp.get(model)
        is_there = drp is not None and name in DRP_SPECTRUM[model]._meta.sorted_field_names
        return getattr(drp, name) if is_there else None


class _Columns:
    """Columns, each name once."""

    def __init__(self, given: list[OutColumn]):
        self.given = given

    def _is_taken(self, name: str) -> bool:
        return any(column.name.lower() == name.lower() for column in self.given)  # FITS makes no difference

    def _add(self, column: OutColumn, prefix: str) -> None:
        if self._is_taken(column.name):
            column = replace(column, name=f"{prefix}_{column.name}")
        self.given.append(column)

    def add_spectra(self, kinds: SpectrumColumns, found: _Found, result: Model | None) -> None:
        """Add the columns of spectra, in their published order.

        Keys, and the version, are those of the result if there is one.
        """
        fields: dict[str, peewee.Field] = {}
        for model in kinds.models:
            for field in model._meta.sorted_fields:
                fields.setdefault(field.name, field)
        skipped = {*NOT_PUBLISHED, *OF_THE_SOURCE, *RECORD}
        headings = kinds.headings()
        for name in dict.fromkeys((*headings, *fields)):
            if name in skipped or name not in fields:
                continue
            heading = headings.get(name, OTHERS)
            if result is not None and name in (*KEYS, "v_astra"):
                field = getattr(result, name)
                if name != "v_astra" or name in headings:  # the version has its place beside the result otherwise
                    self._add(OutColumn(name, field, field, heading, bool(field.null)), "spectrum")
                if name == "v_astra":
                    version = found.value(name)
                    self.given.append(OutColumn("spectrum_v_astra", fields[name], version, "Spectrum", nullable=True))
                continue
            nullable = any(
                name not in model._meta.sorted_field_names or model._meta.fields[name].null for model in kinds.models
            )
            self._add(OutColumn(name, fields[name], found.value(name), heading, nullable), "spectrum")

    def add_results(self, model: Model) -> None:
        """Add the columns of results, and the conditions made of their flags."""
        headings = categories(model)
        for field in model._meta.sorted_fields:
            name, heading = field.name, headings[field.name]
            is_there = self._is_taken(name) and name in (*KEYS, "v_astra")
            if name in NOT_PUBLISHED or name.startswith(CORRELATIONS) or is_there:
                continue
            self._add(OutColumn(name, field, field, heading, bool(field.null)), model.__name__.lower())
            if name == "result_flags":
                self.given += _conditions(model, heading)


def _conditions(model: Model, heading: str) -> Iterator[OutColumn]:
    for name, text in CONDITIONS.items():
        if hasattr(model, name) and name not in model._meta.fields:
            field = BooleanField(help_text=text)
            yield OutColumn(name, field, getattr(model, name), heading, nullable=False)
