"""Our spectra and sources, as a pipeline of another Astra gets them: attribute for attribute.

A spectrum that is handed over is our row, behind an object that also passes ``isinstance`` for the other Astra's class
of that table, has what that class can do beside its columns, and the rows that a default query joins.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import peewee

from astra_models.base import BaseModel
from astra_models.database.retry import run_transaction
from astra_models.errors import PipelineError
from astra_models.source import Source
from astra_models.spectrum import SpectrumMixin

__all__ = ["HandedRow", "HandedSpectra", "Theirs", "handed_source", "handed_spectrum"]

MOST_KEPT = 100_000
"""Spectra that are kept for a pipeline which goes over them twice."""

Theirs = Mapping[str, type]
"""Classes of the other Astra by the names of their tables."""


class HandedRow:
    """A row of ours, as another Astra's pipeline gets it. What it sets stays with this object."""

    def __init__(self, row: object, theirs: type | None, extra: Mapping[str, object | Callable[[], object]]):
        attributes = object.__getattribute__(self, "__dict__")
        attributes.update(_row=row, _theirs=theirs, _extra=dict(extra))

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The other Astra's class of this table, for ``isinstance``; ours where it has none."""
        theirs = object.__getattribute__(self, "__dict__").get("_theirs")
        return theirs or type(object.__getattribute__(self, "__dict__")["_row"])

    def __getattr__(self, name: str) -> object:
        # Only reached for what neither this class has nor the pipeline has set.
        attributes = object.__getattribute__(self, "__dict__")
        if "_row" not in attributes or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if name in (extra := attributes["_extra"]):
            value = extra[name]
            if callable(value):
                value = extra[name] = value()
                attributes[name] = value
            return value
        row = attributes["_row"]
        if hasattr(type(row), name) or name in vars(row):
            return getattr(row, name)
        declared = _declared(attributes["_theirs"], name)
        if declared is not None and hasattr(declared, "__get__"):
            return declared.__get__(self, attributes["_theirs"])
        if declared is not None:
            return declared
        for joined in extra.values():  # a query of ``objects()`` has the columns of all its tables in one
            if isinstance(joined, BaseModel) and name in joined._meta.fields:
                return getattr(joined, name)
        return getattr(row, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HandedRow | BaseModel) and _key_of(self) == _key_of(other)

    def __hash__(self) -> int:
        return hash(_key_of(self))

    def __repr__(self) -> str:
        table, key = _key_of(self)
        return f"<{table} {key}>"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        attributes = object.__getattribute__(self, "__dict__")
        own = {name: value for name, value in attributes.items() if name not in ("_row", "_theirs", "_extra")}
        ready = {name: value for name, value in attributes["_extra"].items() if not callable(value)}
        if "source" in attributes["_extra"]:
            ready["source"] = self.source  # a process of a pool needn't reach the database
        return _again, (attributes["_row"], attributes["_theirs"], ready, own)


def _again(row: object, theirs: type | None, extra: Mapping[str, object], own: Mapping[str, object]) -> HandedRow:
    made = HandedRow(row, theirs, extra)
    object.__getattribute__(made, "__dict__").update(own)
    return made


def _key_of(row: object) -> tuple[str, object]:
    found = object.__getattribute__(row, "__dict__").get("_row", row)
    return found._meta.table_name, getattr(found, "spectrum_pk", None) or found.get_id()


def _declared(theirs: type | None, name: str) -> Any:
    """Give what the other Astra's class declares beside its columns: methods and properties."""
    for base in () if theirs is None else theirs.__mro__:
        if base not in peewee.Model.__mro__ and name in vars(base):
            value = vars(base)[name]
            return None if isinstance(value, peewee.FieldAccessor) else value
    return None


def handed_spectrum(spectrum: Any, theirs: Theirs, joined: Mapping[str, object] | None = None) -> HandedRow:
    """Hand over a spectrum.

    Parameters
    ----------
    spectrum : SpectrumMixin or Spectrum
        Our row.
    theirs : mapping of str to type
        The other Astra's classes, by table.
    joined : mapping, optional
        Rows that are joined to it, by the attributes that the pipeline knows them by.
    """
    row = spectrum if isinstance(spectrum, SpectrumMixin) else spectrum.resolve()
    extra: dict[str, object] = {"source": lambda: _source_of(row, theirs)} | dict(joined or {})
    return HandedRow(row, theirs.get(row._meta.table_name), extra)


def _source_of(row: SpectrumMixin, theirs: Theirs) -> HandedRow | None:
    found = run_transaction(Source._meta.database, lambda: Source.get_or_none(Source.pk == row.source_pk))
    return None if found is None else handed_source(found, theirs)


def handed_source(source: Source, theirs: Theirs) -> HandedRow:
    """Hand over a source, with its spectra under the names that the other Astra gives them: ``boss_visit_spectra``."""
    model = theirs.get("source")
    extra = {name: _spectra_reader(source, kind, theirs) for name, kind in _spectra_names(model).items()}
    return HandedRow(source, model, extra)


def _spectra_names(model: type | None) -> dict[str, type[SpectrumMixin]]:
    ours = {kind._meta.table_name: kind for kind in SpectrumMixin.concrete_models()}
    names = {f"{table.removesuffix('um')}a" if table.endswith("um") else table: kind for table, kind in ours.items()}
    for key, theirs in getattr(getattr(model, "_meta", None), "backrefs", {}).items():
        if (kind := ours.get(theirs._meta.table_name)) is not None and key.backref not in (None, "+"):
            names[key.backref] = kind
    return names


def _spectra_reader(source: Source, kind: type[SpectrumMixin], theirs: Theirs) -> Callable[[], list[HandedRow]]:
    def read() -> list[HandedRow]:
        query = kind.select().where(kind.source_pk == source.pk).order_by(kind.spectrum_pk)
        return [handed_spectrum(row, theirs) for row in run_transaction(kind._meta.database, lambda: list(query))]

    return read


class HandedSpectra(Sequence[object]):
    """Spectra for a pipeline: taken one by one as it goes over them; all at once if it asks how many there are.

    It is no ``peewee.ModelSelect``, so that a pipeline which asks for one leaves it as it is.
    """

    def __init__(self, items: Iterable[object]):
        self._items = iter(items)
        self._kept: list[object] = []
        self._n_dropped = 0

    def __iter__(self) -> Iterator[object]:
        for place in itertools.count():
            if place < self._n_dropped:
                raise PipelineError(
                    f"the pipeline goes over its spectra again, and only {MOST_KEPT} are kept: run it with "
                    "--limit, or on workers, which are given fewer at a time"
                )
            if place - self._n_dropped >= len(self._kept) and not self._read():
                return
            yield self._kept[place - self._n_dropped]

    def __len__(self) -> int:
        while self._read(keep=True):
            pass
        return self._n_dropped + len(self._kept)

    @overload
    def __getitem__(self, place: int) -> object: ...
    @overload
    def __getitem__(self, place: slice) -> list[object]: ...
    def __getitem__(self, place: int | slice) -> object:
        if isinstance(place, int) and place >= 0:
            while len(self._kept) + self._n_dropped <= place and self._read(keep=True):
                pass
        else:
            len(self)
        if self._n_dropped:
            raise PipelineError("the pipeline asks for spectra that are no longer kept; run it with --limit")
        return self._kept[place]

    def __bool__(self) -> bool:
        return bool(self._kept or self._n_dropped) or self._read()

    def _read(self, *, keep: bool = False) -> bool:
        item = next(self._items, None)
        if item is None:
            return False
        self._kept.append(item)
        if len(self._kept) > MOST_KEPT and not keep:
            self._kept.pop(0)
            self._n_dropped += 1
        return True
