"""Where the columns of the survey's summary files go.

A row of such a file is the columns of a source, then those of a spectrum from its keys on, then those of a
result from ``task_pk`` on. A name that two of them have is there once, at the first place; so a column belongs to the
table whose part of the row it stands in, and the other table's value is not in the file, unless it is one of our own
products, which have it under a longer name: ``spectrum_catalogid``, ``corv_v_rad``. Only keys are given to each table
that needs them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from astra_models.apogee import ApogeeCoaddedSpectrumInApStar, ApogeeVisitSpectrum, ApogeeVisitSpectrumInApStar
from astra_models.base import BaseModel
from astra_models.best import MWMBest
from astra_models.boss import BossVisitSpectrum
from astra_models.ingest.tables.renames import is_dropped, our_names, why_dropped, without_prefix
from astra_models.ingest.tables.values import FileColumn
from astra_models.mwm import (
    ApogeeCombinedSpectrum,
    ApogeeRestFrameVisitSpectrum,
    BossCombinedSpectrum,
    BossRestFrameVisitSpectrum,
)
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin

Model = type[BaseModel]

OF_OTHER_SPECTRA = "a column of spectra of another kind"
NOT_IN_FILES = {"pk", "v_astra_major_minor"}
_SOURCE_KEYS = ("source_pk", "source")
_SPECTRUM_BEGINS = ("spectrum_pk", "spectrum_pk_id", "source", "source_pk", "star_pk")
_SHARED = ("sdss_id", "healpix", "catalogid", "v_astra")

SPECTRUM_MODELS: dict[tuple[str, str], dict[str, type[SpectrumMixin]]] = {
    ("BOSS", "star"): {"mwmStar": BossCombinedSpectrum},
    ("APOGEE", "star"): {"apStar": ApogeeCoaddedSpectrumInApStar, "mwmStar": ApogeeCombinedSpectrum},
    ("BOSS", "visit"): {"specFull": BossVisitSpectrum, "mwmVisit": BossRestFrameVisitSpectrum},
    ("APOGEE", "visit"): {
        "apVisit": ApogeeVisitSpectrum,
        "mwmVisit": ApogeeRestFrameVisitSpectrum,
        "apStar": ApogeeVisitSpectrumInApStar,
    },
}
"""By instrument and by what the spectra are of: which table, by the file's ``filetype``; the first is the usual one."""


@dataclass(frozen=True)
class Layout:
    """Which tables the rows of a table of a file are of.

    Parameters
    ----------
    spectrum : type or None
        The model of the spectra.
    result : type or None
        The model of the results.
    reduced : type or None
        The model of the spectra that those are made of, where a row has the columns of both.
    """

    spectrum: type[SpectrumMixin] | None = None
    result: Model | None = None
    reduced: type[SpectrumMixin] | None = None

    @property
    def models(self) -> list[Model]:
        """All models."""
        return [model for model in (Source, self.spectrum, self.reduced, self.result) if model is not None]


@dataclass(frozen=True)
class Placement:
    """A column of a file, and the column of ours that it goes to."""

    model: Model
    name: str
    column: FileColumn


def rank(model: Model) -> int:
    """Give a model's place in the order of tables: sources come first, then spectra, then results."""
    return 0 if model is Source else 1 if issubclass(model, SpectrumMixin) else 2


def place(columns: Sequence[FileColumn], layout: Layout) -> tuple[list[Placement], list[tuple[str, str]]]:
    """Find where each column of a file goes.

    Parameters
    ----------
    columns : sequence of FileColumn
        The file's columns, in its order.
    layout : Layout
        Which tables they are of.

    Returns
    -------
    placed : list of Placement
        What goes where; a key may go to several tables.
    unplaced : list of (str, str)
        Columns that no table of ours has, and why.
    """
    found = {(longer.model, longer.name): longer for longer in _of_longer_names(columns, layout)}
    left = _place_by_name(columns, layout, found)
    for model, name, column in _keys(columns, layout):
        if (model, name) not in found and not column.unreadable:
            found[model, name] = Placement(model, name, column)
    used = {id(placement.column) for placement in found.values()}
    return list(found.values()), [(column.name, why) for column, why in left if id(column) not in used]


def _place_by_name(
    columns: Sequence[FileColumn], layout: Layout, found: dict[tuple[Model, str], Placement]
) -> list[tuple[FileColumn, str]]:
    """Add to what has a place the columns whose name is that of a column of ours; give the others, and why."""
    left: list[tuple[FileColumn, str]] = []
    named = {longer.column.name for longer in found.values()}
    placed = {id(longer.column) for longer in found.values()}
    for column, models in _with_models(columns, layout):
        if column.unreadable or column.name in named:
            if id(column) not in placed:
                left.append((column, column.unreadable or "a second column of this name"))
            continue
        named.add(column.name)
        targets = list(_targets(column.name, models, layout, found))
        for model, name in targets:
            found[model, name] = Placement(model, name, column)
            placed.add(id(column))
        if not targets:
            left.append((column, _why_not(column.name, layout)))
    return left


def _why_not(theirs: str, layout: Layout) -> str:
    """Say why no table of ours has a column."""
    result = layout.result.__name__ if layout.result else None
    name = without_prefix("spectrum", theirs) or theirs
    kinds = [model for models in SPECTRUM_MODELS.values() for model in models.values()] if layout.spectrum else []
    if any(name in model._meta.fields for model in kinds) and not is_dropped(result, theirs):
        return OF_OTHER_SPECTRA
    return why_dropped(result, theirs)


def _with_models(columns: Sequence[FileColumn], layout: Layout) -> Iterator[tuple[FileColumn, list[Model]]]:
    """Give each column with the models in which it is looked for, the one whose part of the row it is in first."""
    spectra: list[Model] = [model for model in (layout.spectrum, layout.reduced) if model is not None]
    results = [layout.result] if layout.result is not None else []
    order: list[Model] = [Source]
    for column in columns:
        if column.name in ("task_pk", "id") and results:
            order = [*results, *spectra]
        elif column.name in _SPECTRUM_BEGINS and order == [Source] and (spectra or results):
            order = [*spectra, *results] if layout.result is not MWMBest else results
        yield column, order


def _of_longer_names(columns: Sequence[FileColumn], layout: Layout) -> Iterator[Placement]:
    """Find columns whose name says which table they are of, because another one has the same name."""
    known = {name for model in layout.models for name in model._meta.fields}
    prefixes = [(model, "spectrum") for model in (layout.spectrum, layout.reduced) if model is not None]
    prefixes += [(layout.result, layout.result.__name__.lower())] if layout.result else []
    for column in columns:
        for model, prefix in prefixes if column.name not in known else ():
            name = without_prefix(prefix, column.name)
            if name and name in model._meta.fields and name not in NOT_IN_FILES and not column.unreadable:
                yield Placement(model, name, column)
                break


def _targets(
    theirs: str, models: Sequence[Model], layout: Layout, found: dict[tuple[Model, str], Placement]
) -> Iterator[tuple[Model, str]]:
    """Give the columns of ours that a column goes to: one, or one of each of two spectra that share a row."""
    result = layout.result.__name__ if layout.result else None
    if is_dropped(result, theirs):
        return
    for model in models:
        for name in our_names(model.__name__, theirs):
            if name in model._meta.fields and name not in NOT_IN_FILES and (model, name) not in found:
                yield model, name
                reduced = layout.reduced if model is layout.spectrum else None
                if reduced is not None and name in reduced._meta.fields and name != "spectrum_pk":
                    yield reduced, name
                return


def _keys(columns: Sequence[FileColumn], layout: Layout) -> Iterator[tuple[Model, str, FileColumn]]:
    """Give columns that more than one table needs."""
    by_name = {column.name: column for column in reversed(columns)}
    spectrum_pk = by_name.get("spectrum_pk") or by_name.get("spectrum_pk_id")
    of_source = next((by_name[name] for name in _SOURCE_KEYS if name in by_name), None)
    of_reduced = by_name.get("drp_spectrum_pk") or by_name.get("drp_spectrum_pk_id")
    for model in layout.models:
        own_pk = of_reduced if model is layout.reduced else spectrum_pk
        if own_pk and "spectrum_pk" in model._meta.fields:
            yield model, "spectrum_pk", own_pk
        if of_source:
            yield model, "pk" if model is Source else "source_pk", of_source
        for name in _shared_names(model, layout):
            if name in model._meta.fields and name in by_name:
                yield model, name, by_name[name]


def _shared_names(model: Model, layout: Layout) -> list[str]:
    """Name the columns that a model takes from wherever they stand in the row."""
    if model is Source:
        return []
    if layout.result is MWMBest and model is not MWMBest:
        return [name for name in model._meta.fields if name not in ("created", "modified", "pk", "path")]
    return [*_SHARED, *getattr(model, "natural_key", ())]
