"""From a star to its spectra and results, and from a spectrum to its results.

`Source.spectra`, `Source.results` and `SpectrumMixin.results` are set here: they go over all kinds of spectra and all
pipelines, those of other packages included, which sources and spectra don't know of.
"""

from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from typing import TYPE_CHECKING, Any

import peewee

from astra_models.base import BaseModel
from astra_models.database.sql import is_any_of, rows_of
from astra_models.errors import SelectionError, did_you_mean
from astra_models.messages import shown
from astra_models.notebook.html import nothing_raised, paragraph, table
from astra_models.notebook.main_columns import measured_columns, told, values_of
from astra_models.notebook.rows import ShownAs, flags_set, row_text, values_html
from astra_models.outputs.known_models import output_models
from astra_models.pipeline import LatestMixin, PipelineOutputMixin
from astra_models.schema.tables import existing_tables
from astra_models.sky import near  # noqa: F401  gives sources their place on the sky
from astra_models.source import Source
from astra_models.spectrum import Spectrum, SpectrumMixin
from astra_models.version import version_integer_to_string

if TYPE_CHECKING:
    SpectrumQuery = peewee.ModelSelect[Spectrum]
    ResultQuery = peewee.ModelSelect[Any]
else:
    SpectrumQuery = ResultQuery = peewee.ModelSelect

__all__ = ["Results"]

MOST_SHOWN = 50


class Results:
    """The results of a source or of a spectrum: a query over all tables that can have some.

    Iterating gives rows, table by table, the newest version first. ``results["corv"]`` and ``results[Corv]`` are
    queries of one table, to be refined. Nothing is read before it is wanted.

    Parameters
    ----------
    source_pk : int or None
        The source; None if a spectrum alone is asked for.
    spectrum_pks : list of int
        Spectra. A result that names no source is found by its spectrum.
    """

    def __init__(self, source_pk: int | None, spectrum_pks: list[int]):
        self._source_pk = source_pk
        self._spectrum_pks = spectrum_pks
        there = existing_tables()
        self._models = {
            model._meta.table_name: model
            for model in sorted(output_models(), key=lambda model: model._meta.table_name)
            if model._meta.table_name in there
            and (source_pk is not None or "spectrum_pk" in model._meta.fields)
            and issubclass(model, LatestMixin)
        }

    def __repr__(self) -> str:
        of = f"source {self._source_pk}" if self._source_pk is not None else f"spectra {self._spectrum_pks}"
        return f"<Results of {of}, in any of {len(self._models)} tables>"

    def __getitem__(self, name: "str | type[BaseModel]") -> ResultQuery:
        if not isinstance(name, str) and not (isinstance(name, type) and issubclass(name, BaseModel)):
            raise UnknownResultsError(f"results are of a table, such as results['corv'], not {shown(name)}")
        key = name if isinstance(name, str) else name._meta.table_name
        found = {table.replace("_", ""): model for table, model in self._models.items()}
        model = self._models.get(key) or found.get(key.replace("_", "").lower())
        if model is None:
            raise UnknownResultsError(f"there is no table of results {key!r}; {did_you_mean(key, self._models)}")
        return self._query(model)

    def __iter__(self) -> Iterator[PipelineOutputMixin]:
        for model in self._models.values():
            yield from self._query(model)

    def __len__(self) -> int:
        return self.count()

    @property
    def tables(self) -> list[str]:
        """The tables that can have some, by name."""
        return list(self._models)

    def _query(self, model: type[PipelineOutputMixin]) -> ResultQuery:
        conditions = []
        if self._source_pk is not None and "source_pk" in model._meta.fields:
            conditions.append(model.source_pk == self._source_pk)
        if "spectrum_pk" in model._meta.fields:
            conditions.append(is_any_of(model.spectrum_pk, self._spectrum_pks))
        chosen = conditions[0] if len(conditions) == 1 else conditions[0] | conditions[1]
        return model.select().where(chosen).order_by(model.v_astra.desc(), model.task_pk)

    def count(self) -> int:
        """Count the results of all tables."""
        return sum(self._query(model).count() for model in self._models.values())

    def _repr_html_(self) -> str:
        return results_html(self)


class UnknownResultsError(SelectionError, KeyError):
    """There is no table of results of this name."""

    def __str__(self) -> str:
        return str(self.args[0])


@nothing_raised
def results_html(results: Results) -> str:
    """Give results as HTML: for each row its pipeline, version, spectrum, main values and flags."""
    listed = list(islice(results, MOST_SHOWN + 1))
    told_of = [_told(row) for row in listed[:MOST_SHOWN]]
    if not told_of:
        return paragraph(f"no results in {len(results.tables)} tables")
    more = f"the first {MOST_SHOWN}, there are more" if len(listed) > MOST_SHOWN else f"{len(told_of)} results"
    return table(("table", "version", "spectrum_pk", "measured", "flags"), told_of) + paragraph(more)


def _told(row: Any) -> tuple[str, str, object, str, str]:
    model = type(row)
    units = {name: getattr(field, "unit", None) or "" for name, field in model._meta.fields.items()}
    measured = values_of(row, measured_columns(model, {*row.record_columns, *row.upsert_key}))
    flags = ", ".join(name.removeprefix("flag_") for name in flags_set(row))
    version = version_integer_to_string(row.v_astra)
    return model._meta.table_name, version, row.__data__.get("spectrum_pk", ""), ", ".join(told(measured, units)), flags


def _spectra_of(source: Source) -> SpectrumQuery:
    """Its spectra of all kinds, as a query of `Spectrum`: a row has all attributes of the row of its kind."""
    there = existing_tables()
    kinds = [kind for kind in SpectrumMixin.concrete_models() if kind._meta.table_name in there]
    if not kinds or source.pk is None:
        return Spectrum.select().where(peewee.SQL("1 = 0"))
    keys: list[Any] = [kind.select(kind.spectrum_pk).where(kind.source_pk == source.pk) for kind in kinds]
    found = reduce(lambda one, other: one + other, keys)  # UNION ALL
    return Spectrum.select().where(Spectrum.pk.in_(found)).order_by(Spectrum.pk)


def _results_of_source(source: Source) -> Results:
    """Its results of all pipelines and versions: a query for each table, by name."""
    return Results(source.pk, [key for (key,) in rows_of(_spectra_of(source).select(Spectrum.pk))])


def _results_of_spectrum(spectrum: Spectrum | SpectrumMixin) -> Results:
    """Its results of all pipelines and versions: a query for each table, by name."""
    return Results(None, [] if spectrum.spectrum_pk is None else [spectrum.spectrum_pk])


@nothing_raised
def source_html(source: Source) -> str:
    """Give a source as HTML: its identifiers and position, its spectra, its results, and all of its values."""
    if source.pk is None:
        return paragraph(row_text(source)[1:-1]) + values_html(source)
    spectra = Counter(type(row.resolve())._meta.table_name for row in _spectra_of(source))
    counted = table(("spectra of", "number"), spectra.items()) if spectra else paragraph("no spectra")
    return paragraph(row_text(source)[1:-1]) + counted + results_html(source.results) + values_html(source)


Source._repr_html_ = ShownAs(source_html)
Source.spectra = property(_spectra_of)
Source.results = property(_results_of_source)
Spectrum.results = property(_results_of_spectrum)
SpectrumMixin.results = property(_results_of_spectrum)
