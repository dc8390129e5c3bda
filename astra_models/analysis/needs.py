"""What a pipeline takes: kinds of spectra, each with results of other pipelines if its annotation says so.

``Iterable[tuple[BossVisitSpectrum, SnowWhite]]`` gives each spectrum with its result of Snow White at the same
major.minor version; a spectrum without one waits. ``SnowWhite | None`` makes it optional.
"""

import itertools
import logging
import types
import typing
from collections.abc import Iterable, Iterator, Sequence

from astra_models.analysis.asked import AnySpectrum, Handed
from astra_models.analysis.rule import Need
from astra_models.base import database
from astra_models.database.retry import run_transaction
from astra_models.database.sql import is_any_of
from astra_models.errors import TaskError
from astra_models.pipeline import PipelineOutputMixin
from astra_models.spectrum import SpectrumMixin
from astra_models.upsert.batch import make_batch
from astra_models.upsert.plan import REVISION, plan_for

__all__ = ["Inputs", "read_inputs", "with_results"]

CHUNK = 500
SHAPES = "Iterable[A], Iterable[A | B], Iterable[tuple[A, Result]] or Iterable[tuple[A | B, Result, Other | None]]"

Row = tuple[AnySpectrum, tuple[PipelineOutputMixin | None, ...]]
"""A spectrum and its results."""

logger = logging.getLogger(__name__)


class Inputs(typing.NamedTuple):
    """What a pipeline takes.

    Parameters
    ----------
    spectrum_models : tuple of type
        The kinds of spectra.
    needs : tuple of Need
        The results that come with each.
    """

    spectrum_models: tuple[type[SpectrumMixin], ...]
    needs: tuple[Need, ...]


# ---- annotations


def read_inputs(pipeline: str, parameter: str, hint: object) -> Inputs:
    """Read what a pipeline takes from the annotation of its first parameter.

    Parameters
    ----------
    pipeline, parameter : str
        Their names, for messages.
    hint : object
        The annotation.

    Raises
    ------
    TaskError
        If the annotation has another shape than these.
    """
    where = f"{pipeline}: the annotation of {parameter!r}"
    found = [_inputs(where, element) for element in _elements(where, hint)]
    kinds = tuple(dict.fromkeys(kind for inputs in found for kind in inputs.spectrum_models))
    if not kinds:
        raise TaskError(f"{where} names no kind of spectra that has a table; write {SHAPES}")
    needs = found[0].needs
    if any(inputs.needs != needs for inputs in found):
        raise TaskError(f"{where} has other results with one kind of spectra than with another; write {SHAPES}")
    if len({need.model for need in needs}) < len(needs):
        raise TaskError(f"{where} names one output model twice")
    return Inputs(kinds, needs)


def _elements(where: str, hint: object) -> Iterator[object]:
    """Give what there may be many of: the alternatives inside each iterable that the annotation names."""
    for iterable in _alternatives(hint):
        if iterable is types.NoneType:
            continue
        if isinstance(iterable, type) and issubclass(iterable, SpectrumMixin):
            raise TaskError(f"{where} is one spectrum, and a pipeline takes many; write {SHAPES}")
        elements = typing.get_args(iterable)
        if len(elements) != 1 or typing.get_origin(iterable) is tuple:
            raise TaskError(f"{where} names no kind of spectra; write {SHAPES}")
        yield from (element for element in _alternatives(elements[0]) if element is not types.NoneType)


def _inputs(where: str, element: object) -> Inputs:
    members = typing.get_args(element) if typing.get_origin(element) is tuple else (element,)
    kinds: list[type[SpectrumMixin]] = []
    for part in _alternatives(members[0] if members else None):
        if not (isinstance(part, type) and not typing.get_args(part) and issubclass(part, SpectrumMixin)):
            raise TaskError(f"{where} has {_name(part)} where a kind of spectra belongs; write {SHAPES}")
        kinds += part.concrete_models()
    return Inputs(tuple(kinds), tuple(_need(where, member) for member in members[1:]))


def _need(where: str, member: object) -> Need:
    parts = list(_alternatives(member))
    models = [part for part in parts if part is not types.NoneType]
    model = models[0] if len(models) == 1 else None
    if not (
        isinstance(model, type)
        and not typing.get_args(model)
        and issubclass(model, PipelineOutputMixin)
        and not model.abstract
    ):
        raise TaskError(f"{where} has {_name(member)} where one pipeline's output model belongs; write {SHAPES}")
    return Need(model, optional=len(parts) > 1)


def _alternatives(hint: object) -> Iterator[object]:
    """Give the members of a union, or the annotation itself."""
    plain = _plain(hint)
    if typing.get_origin(plain) in (typing.Union, types.UnionType):
        for part in typing.get_args(plain):
            yield from _alternatives(part)
    else:
        yield plain


def _plain(hint: object) -> object:
    """Give an annotation without what ``Annotated`` adds to it."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


# ---- reading


def with_results(
    spectra: Iterable[AnySpectrum | tuple[object, ...]], needs: Sequence[Need], v_astra: int
) -> Iterator[Handed]:
    """Look up the results that go with spectra, some at a time.

    Parameters
    ----------
    spectra : iterable
        Spectra, or tuples of one and its results, which are taken as they are.
    needs : sequence of Need
        The results.
    v_astra : int
        The version of which they are wanted; its patch number doesn't matter.

    Yields
    ------
    Handed
        A spectrum without a result that it needs is left out, and logged.
    """
    items = iter(spectra)
    while some := list(itertools.islice(items, CHUNK)):
        rows = _rows(some, needs, v_astra)
        revisions = zip(
            *(_revisions([results[place] for _, results in rows]) for place in range(len(needs))), strict=True
        )
        n_waiting = 0
        for (spectrum, results), known in zip(rows, revisions, strict=True):
            if any(result is None and not need.optional for need, result in zip(needs, results, strict=True)):
                n_waiting += 1
            else:
                total = None if None in known else sum(revision for revision in known if revision is not None)
                yield Handed(spectrum, results, total)
        if n_waiting:
            names = ", ".join(need.model.__name__ for need in needs if not need.optional)
            logger.warning("%d of %d spectra have no result of %s yet, and are left out", n_waiting, len(some), names)


def _rows(items: Sequence[AnySpectrum | tuple[object, ...]], needs: Sequence[Need], v_astra: int) -> list[Row]:
    """Look up the results of some spectra, a query for each need."""
    keys = [item.spectrum_pk for item in items if not isinstance(item, tuple) and item.spectrum_pk is not None]
    found = [_results_of(need.model, keys, v_astra) for need in needs]
    return [_row(item, found) for item in items]


def _row(item: AnySpectrum | tuple[object, ...], found: Sequence[dict[int, PipelineOutputMixin]]) -> Row:
    if not isinstance(item, tuple):
        return item, tuple(results.get(item.spectrum_pk) for results in found)
    if len(item) != len(found) + 1:
        raise TaskError(f"a tuple of {len(item)} was given; a spectrum and {len(found)} results go together")
    spectrum, *results = item
    return typing.cast("AnySpectrum", spectrum), typing.cast("tuple[PipelineOutputMixin | None, ...]", tuple(results))


def _results_of(model: type[PipelineOutputMixin], keys: Sequence[int], v_astra: int) -> dict[int, PipelineOutputMixin]:
    if not keys:
        return {}
    query = model.select().where(
        is_any_of(model._meta.fields["spectrum_pk"], keys), model.v_astra_major_minor == v_astra // 1000
    )
    return {row.spectrum_pk: row for row in run_transaction(database, lambda: list(query))}


def _revisions(results: Sequence[PipelineOutputMixin | None]) -> list[int | None]:
    """Give the revision of each result, 0 for none; of one that an older release wrote, that of its values."""
    found: list[int | None] = [0 if result is None else result.revision for result in results]
    unknown = [place for place, revision in enumerate(found) if revision is None]
    for place in unknown:
        result = results[place]
        assert result is not None
        plan = plan_for(type(result))
        batch = make_batch(plan, [result], extra="ignore")
        if plan.revised and len(batch):
            found[place] = int(batch.columns[REVISION].values[0])
    return found
